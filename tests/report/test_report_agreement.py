"""Numbers against numbers in the report: of the target, and of columns that state a measure."""

from dataclasses import replace

import pytest

from lucency.evaluate import Curve
from lucency.report import agreement
from lucency.report.page import render
from lucency.statistics import Metric


def with_measures(facts, *columns):
    """The same report with measured columns; the model is 1 above the table throughout."""
    part = facts.evaluation.parts[0]
    metrics, curves = dict(part.metrics), dict(part.curves)
    for column in columns:
        metrics[f"mae/{column}"] = Metric(1.0, 0.9, 1.1, part.n_patients, "patient bootstrap, 2000", 0.0)
        metrics[f"bias/{column}"] = Metric(1.0, 0.9, 1.1, part.n_patients, "patient bootstrap, 2000", 0.0)
        for side, end in (("lower", -2.0), ("upper", 4.0)):
            metrics[f"limit_{side}/{column}"] = Metric(end, None, None, part.n_patients, "too few for an interval", 0.0)
        metrics[f"mae_of_masks/{column}"] = Metric(0.02, 0.01, 0.03, part.n_patients, "patient bootstrap, 2000", 0.0)
        curves[f"agreement/{column}"] = Curve((100.0, 150.0), (101.0, 151.0))
        curves[f"difference/{column}"] = Curve((100.5, 150.5), (1.0, 1.0))
    worst = part.cases[0]
    stated = {f"{k}/{c}": v for c in columns for k, v in (("stated", 182.9), ("measured", 183.4), ("drawn", 182.91))}
    cases = (replace(worst, scores={**worst.scores, **stated}), *part.cases[1:])
    changed = replace(part, metrics=metrics, curves=curves, cases=cases)
    return replace(facts, evaluation=replace(facts.evaluation, parts=(changed,))), changed


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        ("en", ("hc_mm: Left, predicted against true", "mean absolute error, hc_mm", "table 182.90, measured 183.40")),
        ("zh", ("hc_mm：左：预测值与真实值", "平均绝对误差, hc_mm", "表中 182.90，测量 183.40")),
    ],
)
def test_every_measured_column_has_its_plot_and_its_numbers(segmentation, lang, said):
    facts, part = with_measures(segmentation, "hc_mm", 'area of "A" & <B>')
    assert agreement.of_what(part) == ("hc_mm", 'area of "A" & <B>')
    page = render(facts, lang)
    assert [word for word in said if word not in page] == []
    # Two drawings for each column, with anchors of their own; a column's name is no markup.
    assert {name for name in ("agreement0-", "agreement1-", "difference0-", "difference1-") if name in page} == {
        "agreement0-",
        "agreement1-",
        "difference0-",
        "difference1-",
    }
    assert "<B>" not in page
    assert "mae_of_masks" not in page


def test_the_plot_shows_bias_and_limits_of_its_own_column(segmentation):
    _, part = with_measures(segmentation, "hc_mm")
    drawn = agreement.difference(part, "en", "hc_mm")
    assert all(f"{end}" in drawn for end in ("+1.0", "\u22122.0", "+4.0"))
    assert agreement.difference(part, "en") == ""


def test_a_part_without_numbers_has_no_plot(segmentation):
    part = segmentation.evaluation.parts[0]
    assert agreement.of_what(part) == ()
    assert agreement.scatter(part, "en") == ""

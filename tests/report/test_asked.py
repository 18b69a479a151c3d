"""Figures that a task asks for: drawn from the curves it gave, with counts, in both languages."""

import re
from dataclasses import replace

import pytest

from lucency.evaluate import Curve, Part
from lucency.report import asked
from lucency.report.page import sections
from lucency.tasks import Figure, every_task
from lucency.text import known

GROUPS = {
    "survival/0": Curve((0.0, 100.0, 400.0), (1.0, 0.9, 0.8), (20, 18, 5)),
    "survival/1": Curve((0.0, 50.0, 300.0), (1.0, 0.7, 0.4), (19, 12, 3)),
}
RISK = {
    "calibration/horizon": Curve((0.1, 0.5), (0.15, 0.4), (15, 15)),
    "calibration/lower": Curve((0.1, 0.5), (0.05, 0.2), (15, 15)),
    "calibration/upper": Curve((0.1, 0.5), (0.3, 0.6), (15, 15)),
}
STEPS = Figure("survival", "steps", share=True, counted=True)
MARKED = Figure("calibration", "marked", band=("lower", "upper"), diagonal=True, unit=True)


def part(curves):
    return Part("locked", 39, 39, {}, curves=curves)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_curve_is_drawn_once_with_its_name(lang):
    svg = asked.drawn(part(GROUPS | RISK), STEPS, lang)
    for word in {"en": ("lowest risk", "second risk group", "days"), "zh": ("最低风险组", "第二风险组", "天")}[lang]:
        assert word in svg
    assert "{" not in re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)


def test_the_ends_of_an_interval_are_no_curves_of_their_own():
    assert list(asked.curves_of(part(RISK), MARKED)) == ["horizon"]
    with_bars = asked.drawn(part(RISK), MARKED, "en")
    without = asked.drawn(part({"calibration/horizon": RISK["calibration/horizon"]}), MARKED, "en")
    assert with_bars.count("<path") > without.count("<path")


def test_nothing_is_drawn_or_counted_without_curves():
    assert asked.drawn(part({}), STEPS, "en") == ""
    assert asked.behind(part({}), STEPS, "en") is None
    assert asked.behind(part(RISK), replace(MARKED, counted=False), "en") is None


def test_counts_are_of_those_who_go_there_or_later():
    table = asked.behind(part(GROUPS), STEPS, "en")
    assert table is not None
    # Up to 400 in at most six round steps: every 100.
    assert table.heads == ("days", "0", "100", "200", "300", "400")
    # After 200 the first of group 0 goes at 400, and 5 are left then; of group 1 at 300, and 3.
    assert table.rows == (
        ("lowest risk", "20", "18", "5", "5", "5"),
        ("second risk group", "19", "3", "3", "3", "0"),
    )


def test_names_that_are_words_of_the_data_stay():
    assert asked.line_name("froc", "nodule", "zh") == "nodule"


@pytest.mark.parametrize("last", [0.3, 1.0, 7.0, 36.5, 4000.0])
def test_places_are_round_few_and_within(last):
    places = asked._places(last)
    assert places[0] == 0
    assert 3 <= len(places) <= asked.PLACES
    assert last / 2 < places[-1] <= last


def test_a_task_without_figures_has_no_such_section(classification):
    assert "asked" not in [s.ident for s in sections(classification, "en")]


def test_every_message_that_a_task_needs_is_there():
    for task in every_task().values():
        for figure in task.figures:
            assert all(known(f"figure.{figure.family}{end}") for end in ("", "_x", "_y")), (task.name, figure.family)
            assert known(f"table.{figure.family}_caption") or not figure.counted


def test_settings_of_the_plan_were_english_in_the_chinese_report():
    from lucency.report.tables import plan_value

    settings = {"mode": "spacing", "rate": 0.5, "left_atrium": 2}
    assert plan_value(settings, "zh") == "方式 spacing, 学习率 0.5, left_atrium 2"
    assert plan_value({"weight_decay": 0.5}, "en") == "weight_decay 0.5"


def test_a_logarithmic_axis_has_plain_numbers() -> None:
    froc = {"froc/cell": Curve((0.1, 1.0, 6.0), (0.2, 0.5, 0.9)), "froc/dot": Curve((0.0, 2.0), (0.4, 0.6))}
    svg = asked.drawn(part(froc), Figure("froc", logarithmic=True, share=True, ticks=(0.125, 1.0, 8.0)), "en")
    assert "1/8" in svg
    assert "mathdefault" not in svg
    assert "$" not in svg

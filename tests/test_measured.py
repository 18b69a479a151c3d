"""Measures of masks, and the columns of tables that state them."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lucency import learn
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Prediction, Source
from lucency.errors import UsageError
from lucency.image import Image, diagonal_affine
from lucency.prepare import Prepared, place_of
from lucency.radiomics import extent
from lucency.read import load, read
from lucency.tasks import Judged, measured, task_named
from lucency.write.nifti import write_nifti
from lucency.write.rows import joined
from tiny import plan_for

SEGMENT = task_named("segment")
SPACING = (1.0, 0.5, 0.5)


def depth(size, major, minor):
    """Above 0 inside an ellipse in the middle, half axes in pixels, (J, I)."""
    j, i = np.mgrid[: size[0], : size[1]]
    return 1 - np.hypot((i - size[1] / 2 + 0.2) / major, (j - size[0] / 2 - 0.3) / minor)


def cohort(folder, columns, *, n=16, locked=3, affine=None):
    """Ellipses of many sizes; ``columns`` gives the cells of a case from its half axes in pixels."""
    rng = np.random.default_rng(0)
    cases, folds = [], {}
    for number in range(n):
        major, minor = rng.uniform(20, 44), rng.uniform(14, 20)
        mask = (depth((60, 100), major, minor) > 0).astype(np.uint8)[None, None]
        source = Source((f"{number}.nii.gz",), str(folder), "nifti", header={"spacing_known": True})
        if number >= locked:
            # Masks of the locked part are not even there: whoever opens one is found out.
            write_nifti(folder / f"{number}.nii.gz", Image(mask, diagonal_affine(SPACING), kind="labels"))
            folds[f"{number:02d}"] = number % 5
        target = Source((f"{number}.nii.gz",), str(folder), "nifti", kind="labels")
        cells = columns(major, minor, number)
        cases.append(Case(f"{number:02d}", f"p{number}", {"image": (source,)}, target, clinical=cells))
    held = frozenset(f"{number:02d}" for number in range(locked))
    return Cohort(tuple(cases), folds, held, labels={1: "head"})


def around(major, minor):
    """Circumference in mm of an ellipse with half axes in pixels."""
    return extent.circumference(major, minor) * SPACING[1]


def test_a_column_that_the_true_masks_reproduce_is_found_and_its_unit_too(tmp_path):
    def cells(major, minor, number):
        noise = np.random.default_rng(number)
        return {
            "hc": around(major, minor) + noise.normal(0, 0.1),
            "area_cm2": np.pi * major * minor * 0.25 / 100,
            "weeks": 12.0 + number,
            "always": 70.0,
            "word": "left",
        }

    options, reasons = measured.told(cohort(tmp_path, cells), {"measure": ""})
    assert options == {
        "measure": "head/area_mm2:area_cm2, head/ellipse_circumference_mm:hc",
        "measure_factors": (0.01, 1.0),
    }
    assert "13 true masks of the training part reproduce it" in reasons["measured"]
    (area, around_) = measured.stated(options, ["head"])
    assert (area.column, area.factor, around_.measure) == ("area_cm2", 0.01, "ellipse_circumference_mm")


def test_a_column_that_hardly_varies_agrees_with_anything_and_is_not_taken(tmp_path):
    # Half axes differ widely; a column near the mean of all is near half of the cases by chance only.
    def same(major, minor, number):
        return {"near": around(32, 17) * (1 + 1e-3 * number)}

    assert measured.told(cohort(tmp_path, same), {}) == ({}, {})


def test_a_column_that_is_always_a_multiple_speaks_for_another_pixel_size(tmp_path):
    def doubled(major, minor, number):
        return {"hc": 2 * around(major, minor)}

    options, reasons = measured.told(cohort(tmp_path, doubled), {})
    assert options == {}
    assert "column hc is 2 times ellipse_circumference_mm of label head in every true mask" in reasons["measured"]
    assert "--set pixel_size" in reasons["measured"]


def unscaled(known):
    """The cohort again, its images of no known scale."""

    def plain(case):
        return replace(case, images={"image": (replace(case.sources[0], header={"spacing_known": False}),)})

    return replace(known, cases=tuple(plain(c) for c in known.cases))


@pytest.mark.parametrize("asked", ["", "area:area", "area_px2:area"])
def test_a_column_that_counts_pixels_can_be_read_from_the_plan_again(tmp_path, asked):
    # The grid of the test has half millimetres, which then count as the pixels.
    def cells(major, minor, number):
        return {"area": np.pi * major * minor * 0.25}

    known = unscaled(cohort(tmp_path, cells))
    options, reasons = measured.told(known, {"measure": asked})
    assert "13 true masks" in reasons["measured"]
    case = known.cases[-1]
    truth = load(case.target)
    plan = replace(flat_plan(**options), labels={1: "head"})
    scores = dict(measured.scores(Prediction(case.id, "", mask=truth, in_mm=False), truth, case, plan))
    assert scores["measured/area"] == scores["drawn/area"] == pytest.approx(scores["stated/area"], rel=0.01)


def test_a_label_that_no_plan_can_name_has_no_column(tmp_path):
    known = replace(cohort(tmp_path, lambda a, b, n: {"hc": around(a, b)}), labels={1: "head: inner, outer"})
    options, _ = measured.told(known, {})
    assert measured.stated(options, ["head: inner, outer"]) == ()


def test_a_column_that_is_asked_for_is_taken_however_far_off_it_is(tmp_path):
    def off(major, minor, number):
        return {"hc_cm": around(major, minor) / 10 * 1.2}

    options, reasons = measured.told(cohort(tmp_path, off), {"measure": "ellipse_circumference:hc_cm"})
    assert options["measure_factors"] == (0.1,)
    assert "states ellipse_circumference_mm times 0.1 of label head" in reasons["measured"]


def test_nothing_is_looked_for_where_nobody_wants_it_or_nothing_is_there(tmp_path):
    def stated(major, minor, number):
        return {"hc": around(major, minor)}

    assert measured.told(cohort(tmp_path, stated), {"measure": "none"}) == ({}, {})
    assert measured.told(cohort(tmp_path, lambda *_: {}), {"measure": ""}) == ({}, {})


@pytest.mark.parametrize(
    ("text", "labels", "said"),
    [
        ("ellipse_circumference", ["head"], "Expected: MEASURE:COLUMN"),
        ("area_mm2:a", ["head", "neck"], "Expected: LABEL/MEASURE:COLUMN"),
        ("neck/area:a", ["head"], "No label 'neck'"),
        (
            "elipse_circumference:a",
            ["head"],
            "No measure 'elipse_circumference'.*did you mean 'ellipse_circumference_mm'",
        ),
    ],
)
def test_what_is_asked_wrongly_is_refused_with_what_there_is(text, labels, said):
    with pytest.raises(UsageError, match=said):
        measured.stated({"measure": text}, labels)


def test_a_column_that_no_table_has_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"No column 'hx' with numbers.*use one of hc"):
        measured.told(cohort(tmp_path, lambda a, b, n: {"hc": a}), {"measure": "area_mm2:hx"})


def flat_plan(**options):
    size = (1, 60, 100)
    settings = {"supervised": 2, **options}
    return plan_for("segment", dims=2, size=size, labels={1: "head", 2: "neck"}, task_options=settings)


def decoded(margin, plan, case, known=True):
    """What a network leaves that gives the head ``margin`` (J, I) more than the background."""
    head = np.clip(0.5 + margin / 2, 0, 1).astype(np.float32)
    output = np.stack([1 - head, head, np.zeros_like(head)])[:, None]
    image = Image(np.zeros((1, 1, *margin.shape), np.float32), diagonal_affine(SPACING))
    prepared = Prepared(image.array, place_of(image, plan), image.affine)
    source = replace(case.sources[0], header={"spacing_known": known})
    return SEGMENT.decode(output, replace(case, images={"image": (source,)}), prepared, plan, Calibration())


CASE = Case("a", "p", {"image": (Source(("a.nii.gz",), "/", "nifti"),)})


def test_a_border_between_pixels_is_kept_in_the_measures():
    margin, plan = depth((60, 100), 36.37, 21.61), flat_plan()
    found = decoded(margin, plan, CASE)
    exact = around(36.37, 21.61)
    ours = found.measures["head"]["ellipse_circumference_mm"]
    assert ours == pytest.approx(exact, rel=1e-3)
    of_mask = measured.of_mask(found.mask, plan.labels)["head"]["ellipse_circumference_mm"]
    assert abs(ours - exact) < abs(of_mask - exact)


def test_a_label_that_was_not_found_has_a_row_without_a_number():
    plan = flat_plan()
    tables = SEGMENT.tables(decoded(depth((60, 100), 30, 20), plan, CASE), plan)
    rows = tables[measured.TABLE]
    head, neck = (dict(zip(rows.columns, row, strict=True)) for row in rows.rows)
    assert (head["case"], head["label"], head["parts"], head["reason"]) == ("a", "head", 1, "")
    assert head["area_mm2"] == pytest.approx(np.pi * 30 * 20 / 4, rel=0.01)
    assert (neck["label"], neck["parts"], neck["reason"]) == ("neck", 0, measured.NOT_FOUND)
    assert all(neck[name] is None for name in extent.FLAT)


def test_without_a_pixel_size_no_number_is_called_millimetres():
    plan = flat_plan()
    unknown = measured.rows(decoded(depth((60, 100), 30, 20), plan, CASE, known=False), plan)
    row = dict(zip(unknown.columns, unknown.rows[0], strict=True))
    assert row["area_mm2"] is None
    assert row["long_diameter_mm"] is None
    # The grid of the test has half millimetres, which then count as the pixels.
    assert row["long_diameter_px"] == pytest.approx(30, rel=0.02)
    known = measured.rows(decoded(depth((60, 100), 30, 20), plan, CASE), plan)
    table = joined([known, unknown], "measures.csv")
    assert table.rows[0][-1] is None
    assert table.rows[2][-1] is not None


def test_a_volume_is_measured_by_its_voxels():
    plan = plan_for("segment")
    mask = np.zeros((1, 12, 16, 16), np.uint8)
    mask[0, 2:8, 3:9, 4:8] = 1
    found = Prediction("a", "", mask=Image(mask, diagonal_affine((2.0, 1.0, 0.5)), kind="labels"))
    (row,) = measured.rows(found, plan).rows
    assert row[:4] == ("a", "ball", 1, "")
    assert row[4] == pytest.approx(6 * 6 * 4 / 1000)


def judged(stated, found, drawn):
    return [
        Judged(f"{n}", f"p{n}", "", "", {}, {"dice": 1.0, "stated/hc": a, "measured/hc": b, "drawn/hc": c})
        for n, (a, b, c) in enumerate(zip(stated, found, drawn, strict=True))
    ]


def test_errors_bias_and_limits_of_agreement_are_those_worked_out_by_hand():
    # Differences 1, -2, 4 and none: mean absolute 7/3, mean 1, deviation √((0 + 9 + 9) / 2) = 3.
    plan = flat_plan(measure="head/ellipse_circumference_mm:hc", measure_factors=(1.0,))
    cases = judged([100, 110, 120, 130], [101, 108, 124, np.nan], [100.5, 110, 120, 130])
    metrics, curves = measured.summed(cases, plan, np.random.default_rng(0))
    assert list(metrics) == [f"{k}/hc" for k in ("mae", "bias", "limit_lower", "limit_upper", "mae_of_masks")]
    assert metrics["mae/hc"].value == pytest.approx(7 / 3)
    assert "1 undefined left out" in metrics["mae/hc"].method
    assert metrics["bias/hc"].value == pytest.approx(1)
    assert metrics["limit_lower/hc"].value == pytest.approx(1 - 1.959964 * 3)
    assert metrics["limit_upper/hc"].value == pytest.approx(1 + 1.959964 * 3)
    assert metrics["mae_of_masks/hc"].value == pytest.approx(0.125)
    assert all(m.best == 0 for m in metrics.values())
    assert curves["difference/hc"][0] == pytest.approx([100.5, 109, 122])
    assert curves["difference/hc"][1] == pytest.approx([1, -2, 4])


def test_intervals_are_of_patients_from_twenty_on():
    plan = flat_plan(measure="head/ellipse_circumference_mm:hc", measure_factors=(1.0,))
    rng = np.random.default_rng(1)
    truth = rng.uniform(60, 300, 40)
    found = truth + rng.normal(1, 2, 40)
    metrics, _ = measured.summed(judged(truth, found, truth), plan, np.random.default_rng(0))
    for name in ("mae/hc", "bias/hc", "limit_lower/hc", "limit_upper/hc"):
        assert metrics[name].lower < metrics[name].value < metrics[name].upper
        assert metrics[name].n == 40
    few, _ = measured.summed(judged(truth[:10], found[:10], truth[:10]), plan, np.random.default_rng(0))
    assert few["bias/hc"].lower is None


def test_a_case_is_scored_against_what_the_table_states(tmp_path):
    def cells(major, minor, number):
        return {"hc": around(major, minor) / 10}

    known = cohort(tmp_path, cells)
    case = known.cases[-1]
    options = {"measure": "ellipse_circumference:hc", "measure_factors": (0.1,)}
    plan = replace(flat_plan(**options), labels={1: "head"})
    truth = load(case.target)
    scores = dict(measured.scores(Prediction(case.id, "", mask=truth), truth, case, plan))
    assert scores["stated/hc"] == case.clinical["hc"]
    assert scores["measured/hc"] == scores["drawn/hc"] == pytest.approx(scores["stated/hc"], rel=0.01)
    assert list(measured.scores(Prediction(case.id, "", mask=truth), truth, case, flat_plan())) == []


def test_the_plan_is_told_once_what_the_cases_say(tmp_path):
    asked = []

    class Told:
        name = "told"

        def told(self, cohort, options):
            asked.append(dict(options))
            return {"measure": "found"}, {"measured": "because"}

    room = learn.Learning(SimpleNamespace(cohort=None))
    plan = flat_plan(measure="")
    first, second = room._told(Told(), plan), room._told(Told(), plan)
    assert first.task_options["measure"] == second.task_options["measure"] == "found"
    assert first.reasons["measured"] == "because"
    assert asked == [plan.task_options]
    # What was set otherwise is asked again.
    room._told(Told(), flat_plan(measure="none"))
    assert len(asked) == 2


def test_the_table_of_fetal_heads_states_the_circumference_of_their_masks():
    named = os.environ.get("LUCENCY_TEST_DATA")
    heads = (Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data") / "hc18"
    if not heads.is_dir():
        pytest.skip("real data 'hc18' are not here; set LUCENCY_TEST_DATA")
    known = read(heads)
    options, reasons = measured.told(known, {"measure": ""})
    assert options["measure"] == "1/ellipse_circumference_mm:head_circumference_mm"
    assert options["measure_factors"] == (1.0,)
    assert "40 true masks of the training part reproduce it" in reasons["measured"]
    case = known.trainable[0]
    truth = load(case.target)
    plan = replace(flat_plan(**options), labels=dict(known.labels))
    scores = dict(measured.scores(Prediction(case.id, "", mask=truth), truth, case, plan))
    column = "head_circumference_mm"
    assert scores[f"measured/{column}"] == pytest.approx(scores[f"stated/{column}"], abs=0.25)

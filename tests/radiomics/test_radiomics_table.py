"""Features of a cohort: one row a case, and one case's trouble is its own."""

import subprocess
import sys

import numpy as np
import pytest

import lucency
from lucency import radiomics
from lucency.case import Case, Source
from lucency.errors import DataError
from lucency.radiomics import Settings


@pytest.fixture
def cohort(blob, pair):
    """Two cases that can be measured, one with an empty mask, one without any."""
    held = {}

    def case(name, image, mask, **more):
        source, target = (
            Source((f"{name}.nii",), "", "nifti"),
            Source((f"{name}_mask.nii",), "", "nifti", kind="labels"),
        )
        held[source.where], held[target.where] = image, mask
        return Case(name, name, {"ct": (source,)} | more, target=None if mask is None else target)

    one, two = blob(1), blob(2)
    empty = two[1].with_array(np.zeros_like(two[1].array))
    cases = [case("a", *one), case("b", *two), case("c", two[0], empty), case("d", two[0], None)]
    return cases, held


def loader(held):
    return lambda source: held[source.where]


def test_rows_hold_what_each_case_has_by_itself(cohort, blob):
    cases, held = cohort
    settings = Settings(bin_count=16)
    rows = list(radiomics.table(cases, loader(held), settings))
    assert [row.case for row in rows] == ["a", "b", "c", "d"]
    assert dict(rows[0].values) == radiomics.features(*blob(1), settings)
    assert dict(rows[1].values) == radiomics.features(*blob(2), settings)
    assert list(rows[0].values) == list(rows[1].values)
    assert rows[0].refused == rows[1].refused == ""


def test_a_case_that_cannot_be_measured_says_why_and_the_others_go_on(cohort):
    cases, held = cohort
    rows = {row.case: row for row in radiomics.table(cases[::-1], loader(held))}
    assert set(rows) == {"a", "b", "c", "d"}
    assert "No voxel of the mask has label 1" in rows["c"].refused
    assert "No mask for this case" in rows["d"].refused
    assert not rows["c"].values
    assert not rows["d"].values
    assert rows["a"].values


def test_masks_may_come_from_elsewhere(cohort, blob):
    cases, held = cohort
    mask = blob(2)[1]
    rows = list(radiomics.table(cases[1:], loader(held), mask=lambda case: None if case.id == "c" else mask))
    assert rows[0].values == rows[2].values
    assert "No mask for this case" in rows[1].refused


def test_modalities_are_told_apart_by_name(cohort, blob):
    cases, held = cohort
    image = blob(1)[0]
    second = Source(("a_mr.nii",), "", "nifti")
    held[second.where] = image.with_array(image.array * 2)
    both = Case("a", "a", {"ct": cases[0].images["ct"], "mr": (second,)}, target=cases[0].target)
    (row,) = radiomics.table([both], loader(held))
    assert {name.split("_")[0] for name in row.values} == {"ct", "mr"}
    assert row.values["mr_original_firstorder_Mean"] == pytest.approx(2 * row.values["ct_original_firstorder_Mean"])


def test_a_file_that_cannot_be_read_costs_its_row_only(cohort):
    cases, held = cohort

    def load(source):
        if source.where == "a.nii":
            raise DataError("The file ends early", where=source.where)
        return held[source.where]

    rows = list(radiomics.table(cases[:2], load))
    assert rows[0].refused.startswith("a.nii: The file ends early")
    assert rows[1].values


def test_tables_are_made_one_row_at_a_time(cohort):
    cases, held = cohort
    seen = []

    def load(source):
        seen.append(source.where)
        return held[source.where]

    rows = radiomics.table(cases, load)
    assert seen == []
    next(rows)
    assert set(seen) == {"a.nii", "a_mask.nii"}


def test_the_package_offers_the_module_by_name_without_torch_or_scikit_learn():
    code = (
        "import sys, lucency; f = lucency.radiomics.features; "
        "assert f.__module__ == 'lucency.radiomics.measured'; "
        "print(sorted({'torch', 'sklearn', 'skimage', 'SimpleITK', 'pydicom'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
    assert "radiomics" in dir(lucency)

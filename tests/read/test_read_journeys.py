"""Every real set is recognised for what it is. No set is named in the code; only its layout counts."""

import re

import numpy as np
import pytest

from lucency.errors import DataError, UsageError
from lucency.read import ReadOptions, load, read, read_inputs


@pytest.mark.parametrize(
    ("name", "options", "layout", "n_cases", "n_patients", "names"),
    [
        ("hippocampus", {}, "pairs", 200, 200, {1: "1", 2: "2"}),
        ("sunnybrook_lv", {}, "pairs", 393, 30, {255: "1"}),
        ("hc18", {}, "pairs", 280, 240, {255: "1"}),
        ("hc18", {"target": "head_circumference_mm"}, "table", 280, 240, {}),
        ("pneumoniamnist_trainval.npz", {}, "npz", 5232, 5232, ("0", "1")),
        ("nsclc_survival", {}, "table", 140, 140, ()),
        ("nsclc_survival", {"target": "mask"}, "table", 140, 140, {1: "1"}),
        ("lus_video", {}, "table", 95, 59, ("covid", "pneumonia", "regular", "viral")),
        ("mednist/mednist_64.npz", {}, "npz", 1800, 1800, None),
        ("mednist/jpeg", {}, "classes", 120, 120, None),
        ("cxr_structures", {}, "pairs", 31, 26, {1: "left_lung", 2: "right_lung"}),
        ("brain_mri_dicom", {}, "dicom", 2, 2, {}),
        ("pyradiomics", {}, "pairs", 4, 4, None),
        ("ct_mr_samples", {}, "single", 18, 18, {}),
    ],
)
def test_layout_cases_patients_and_targets(real, name, options, layout, n_cases, n_patients, names):
    cohort = read(real / name, ReadOptions(**options))
    assert cohort.layout == layout
    assert (len(cohort.cases), len({c.patient for c in cohort.cases})) == (n_cases, n_patients)
    assert names is None or names in (cohort.classes, dict(cohort.labels))
    assert not cohort.skipped
    labelled = [c for c in cohort.cases if c.target is not None]
    assert len(cohort.trainable) + len(cohort.locked) == len(labelled)
    for case in cohort.cases[:: max(1, n_cases // 5)]:
        image = load(case.sources[0])
        assert image.size == case.sources[0].header["size"]
        assert image.spacing == pytest.approx(case.sources[0].header["spacing"])
        assert image.array.dtype == np.dtype(case.sources[0].header["dtype"])
        assert len(case.sources[0].checksum) == 64
        if hasattr(case.target, "paths"):
            assert load(case.target).size == image.size


def test_two_sets_in_one_folder_are_a_tie(real):
    with pytest.raises(UsageError, match="--layout npz or --layout classes"):
        read(real / "mednist")


def test_circumference_in_mm_comes_with_the_pixel_size(real):
    cohort = read(real / "hc18", ReadOptions(target="head_circumference_mm"))
    assert all(isinstance(c.target, float) and 40 < c.target < 400 for c in cohort.cases)
    assert all(c.sources[0].header["spacing_known"] for c in cohort.cases)


def test_a_folder_of_odd_dicom_is_refused_for_training_and_sifted_for_prediction(real):
    with pytest.raises(DataError, match="cannot be used"):
        read(real / "dicom")
    inputs = read_inputs(real / "dicom")
    assert len(inputs) >= 30
    assert all(re.fullmatch(r"[0-9a-f]{16}", c.id) for c in inputs)
    assert any("DICOM files left out: whole-slide image" in n for n in inputs.notes)
    assert any("segmentations, structure sets or reports are no images" in n for n in inputs.notes)


def test_real_series_fill_a_box_of_voxels(real):
    image = load(read_inputs(real / "brain_mri_dicom")[0].sources[0])
    assert image.size[0] > 20
    assert image.spacing == pytest.approx((1, 1, 1))

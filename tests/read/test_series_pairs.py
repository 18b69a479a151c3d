"""DICOM series with masks of another format beside them."""

import numpy as np
import pytest

from lucency.case import Source
from lucency.read import read, read_inputs


@pytest.fixture
def series_and_masks(folder):
    for number in range(1, 4):
        folder.slices(f"images/chest-{number}")
        mask = np.zeros((6, 5, 3), np.uint8)
        mask[:number, :2, 1] = 1
        folder.nifti(f"labels/chest-{number}.nii.gz", mask, np.diag([-0.75, -0.5, 2.0, 1.0]))
    return folder


def test_a_mask_named_like_the_folder_of_a_series_is_its_target(series_and_masks):
    cohort = read(series_and_masks.root)
    assert cohort.layout == "pairs"
    targets = {c.sources[0].where.split("/")[1]: c.target for c in cohort.cases}
    assert {k: v.where for k, v in targets.items() if isinstance(v, Source)} == {
        f"chest-{n}": f"labels/chest-{n}.nii.gz" for n in (1, 2, 3)
    }


def test_the_ids_of_paired_series_stay_pseudonyms_and_masks_are_no_input(series_and_masks):
    cohort = read(series_and_masks.root)
    inputs = read_inputs(series_and_masks.root)
    assert len(inputs) == 3
    assert {c.sources[0].reader for c in inputs} == {"dicom"}
    assert not any("chest" in c.id for c in cohort.cases)


def test_two_series_in_one_folder_leave_it_open_which_one_the_mask_belongs_to(series_and_masks):
    for number in range(1, 4):
        # The same folder, other file names: the second series is written over by other numbers.
        for file in (series_and_masks.root / f"images/chest-{number}").iterdir():
            file.rename(file.with_name(f"a{file.name}"))
        series_and_masks.slices(f"images/chest-{number}")
    assert read(series_and_masks.root).layout != "pairs"

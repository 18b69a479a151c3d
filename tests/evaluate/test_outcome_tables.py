"""Tables of numbers for the simple models of outcomes."""

import numpy as np
import pytest

from lucency.case import Case, Source
from lucency.evaluate.outcomes import tables_of
from lucency.image import Image, diagonal_affine
from lucency.write.nifti import write_nifti
from tiny import plan_for


def test_the_region_of_a_patient_with_visits_is_measured_in_the_image_of_the_last(tmp_path):
    inside = np.zeros((1, 6, 8, 8), np.uint8)
    inside[0, 1:5, 2:6, 2:6] = 1
    grid = diagonal_affine((1.0, 1.0, 1.0))
    rng = np.random.default_rng(0)
    for name, level in (("first", 0), ("last", 500)):
        picture = rng.normal(level, 10, (1, 6, 8, 8)).astype(np.float32)
        write_nifti(tmp_path / f"{name}.nii.gz", Image(picture, grid))
    write_nifti(tmp_path / "mask.nii.gz", Image(inside, grid, kind="labels"))
    first, last = (Source((f"{n}.nii.gz",), str(tmp_path), "nifti") for n in ("first", "last"))
    region = Source(("mask.nii.gz",), str(tmp_path), "nifti", kind="labels")
    several = Case("a", "p", {"image": (first, last)}, region=region)
    alone = Case("b", "q", {"image": (last,)}, region=region)
    found = tables_of([several, alone], [several, alone], plan_for("prognose"), None)["radiomics"]
    assert found.shape[1] > 0
    assert found[0] == pytest.approx(found[1])

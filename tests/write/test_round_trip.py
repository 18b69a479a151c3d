"""What goes out by the last door comes in by the first: the same numbers at the same place."""

import numpy as np
import pytest

from lucency.case import Source
from lucency.image import Image
from lucency.phantom import patient
from lucency.read.formats import load
from lucency.write.dicom_series import Identity, write_series
from lucency.write.nifti import write_nifti
from lucency.write.raster import write_raster


def turned(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform(0.5, 5, 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("channels", [1, 3])
def test_nifti_image_comes_back(tmp_path, seed, channels):
    rng = np.random.default_rng(seed)
    image = Image(rng.normal(size=(channels, 4, 5, 6)).astype(np.float32), turned(seed))
    write_nifti(tmp_path / "a.nii.gz", image)
    back = load(Source(("a.nii.gz",), str(tmp_path), "nifti"))
    assert np.array_equal(back.array, image.array)
    assert back.same_grid(image)


def test_nifti_mask_comes_back(tmp_path):
    mask = patient(1, 2).mask
    write_nifti(tmp_path / "a.nii.gz", mask)
    back = load(Source(("a.nii.gz",), str(tmp_path), "nifti", kind="labels"))
    assert np.array_equal(back.array, mask.array)
    assert back.same_grid(mask)


@pytest.mark.parametrize("top", [255, 65535])
def test_png_mask_comes_back(tmp_path, top):
    mask = Image(np.array([[[[0, 1], [top, 2], [0, 0]]]]), np.eye(4), "labels", "label")
    write_raster(tmp_path / "a.png", mask)
    back = load(Source(("a.png",), str(tmp_path), "raster", kind="labels"))
    assert np.array_equal(back.array, mask.array)


def test_dicom_series_comes_back_on_the_grid_of_its_mask(tmp_path):
    person = patient(1, 2)
    write_series(tmp_path / "s", person.image, Identity(1, 2))
    paths = tuple(f"s/{p.name}" for p in sorted((tmp_path / "s").iterdir()))
    back = load(Source(paths, str(tmp_path), "dicom"))
    assert back.array.dtype == np.int16
    assert back.unit == "HU"
    assert np.array_equal(back.array, person.image.array)
    assert back.same_grid(person.mask)

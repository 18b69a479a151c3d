"""NIfTI out, checked by reading it back with nibabel."""

import gzip

import nibabel
import numpy as np
import pytest

from lucency.errors import OutputError
from lucency.image import Image, diagonal_affine
from lucency.phantom import patient
from lucency.write.nifti import LPS_TO_RAS, write_nifti


def oblique(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform(0.5, 5, 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


@pytest.mark.parametrize("seed", range(5))
def test_every_voxel_keeps_its_place_and_its_number(tmp_path, seed):
    rng = np.random.default_rng(seed)
    image = Image(rng.integers(-1000, 1000, (1, 4, 5, 6)).astype(np.int16), oblique(seed))
    write_nifti(tmp_path / "a.nii.gz", image)
    back = nibabel.load(tmp_path / "a.nii.gz")
    assert back.get_data_dtype() == np.int16
    array = np.asarray(back.dataobj)
    for k, j, i in rng.integers(0, (4, 5, 6), (10, 3)):
        assert array[i, j, k] == image.array[0, k, j, i]
        place = LPS_TO_RAS @ image.affine @ (k, j, i, 1)
        assert back.affine @ (i, j, k, 1) == pytest.approx(place, abs=1e-3)
        assert back.get_qform() @ (i, j, k, 1) == pytest.approx(place, abs=1e-3)


def test_left_of_the_patient_is_minus_x_in_nifti(tmp_path):
    # LPS: i grows to the left with 2 mm, so 10 voxels are x = +20 in DICOM, which is x = -20 in NIfTI (right is +).
    write_nifti(tmp_path / "a.nii", Image(np.zeros((1, 2, 3, 11), np.int16), diagonal_affine((5, 3, 2))))
    back = nibabel.load(tmp_path / "a.nii")
    assert back.affine @ (10, 2, 1, 1) == pytest.approx((-20, -6, 5, 1))
    assert back.header.get_xyzt_units()[0] == "mm"
    assert (back.header["sform_code"], back.header["qform_code"]) == (1, 1)


def test_sheared_grid_has_an_sform_only(tmp_path):
    affine = diagonal_affine((5, 3, 2))
    affine[1, 0] = 1.0  # gantry tilt
    write_nifti(tmp_path / "a.nii", Image(np.zeros((1, 2, 3, 4), np.float32), affine))
    back = nibabel.load(tmp_path / "a.nii")
    assert back.affine @ (0, 0, 1, 1) == pytest.approx((0, -1, 5, 1))
    assert back.header["qform_code"] == 0


@pytest.mark.parametrize(
    ("values", "stored"),
    [([0, 1, 255], np.uint8), ([0, 256], np.uint16), ([0, 65535], np.uint16), ([0, 0], np.uint8)],
)
def test_labels_take_the_smallest_type_that_holds_them(tmp_path, values, stored):
    array = np.array(values, dtype=np.int64).reshape(1, 1, 1, -1)
    write_nifti(tmp_path / "a.nii.gz", Image(array, np.eye(4), "labels", "label"))
    back = nibabel.load(tmp_path / "a.nii.gz")
    assert back.get_data_dtype() == stored
    assert np.asarray(back.dataobj).ravel().tolist() == values


@pytest.mark.parametrize("value", [-1, 65536])
def test_labels_that_do_not_fit_are_refused(tmp_path, value):
    image = Image(np.full((1, 1, 1, 2), value), np.eye(4), "labels", "label")
    with pytest.raises(OutputError, match="0 to 65535"):
        write_nifti(tmp_path / "a.nii.gz", image)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("given", "stored"), [(np.int64, np.int32), (np.float16, np.float32), (bool, np.uint8)])
def test_types_that_nifti_lacks_are_widened_or_narrowed_without_loss(tmp_path, given, stored):
    array = np.array([0, 1, 1], dtype=given).reshape(1, 1, 1, 3)
    write_nifti(tmp_path / "a.nii", Image(array, np.eye(4)))
    back = nibabel.load(tmp_path / "a.nii")
    assert back.get_data_dtype() == stored
    assert np.asarray(back.dataobj).ravel().tolist() == [0, 1, 1]


def test_integers_too_large_are_refused(tmp_path):
    with pytest.raises(OutputError, match="32-bit"):
        write_nifti(tmp_path / "a.nii", Image(np.full((1, 1, 1, 1), 2**40), np.eye(4)))


def test_channels_are_a_vector_on_the_fifth_axis(tmp_path):
    array = np.arange(48, dtype=np.float32).reshape(2, 2, 3, 4)
    write_nifti(tmp_path / "a.nii.gz", Image(array, np.eye(4)))
    file = nibabel.load(tmp_path / "a.nii.gz")
    assert file.header.get_intent()[0] == "vector"
    back = np.asarray(file.dataobj)
    assert back.shape == (4, 3, 2, 1, 2)
    assert back[3, 2, 1, 0, 0] == array[0, 1, 2, 3]
    assert back[3, 2, 1, 0, 1] == array[1, 1, 2, 3]


def test_same_image_gives_the_same_bytes(tmp_path):
    mask = patient(1, 2).mask
    write_nifti(tmp_path / "a.nii.gz", mask)
    write_nifti(tmp_path / "b.nii.gz", mask)
    first = (tmp_path / "a.nii.gz").read_bytes()
    assert first == (tmp_path / "b.nii.gz").read_bytes()
    assert len(gzip.decompress(first)) == 352 + mask.array.size  # NIfTI-1 header and extender, then one byte each


def test_unwritable_place_is_an_output_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="writable"):
        write_nifti(tmp_path / "file" / "a.nii.gz", patient(1, 2).mask)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]

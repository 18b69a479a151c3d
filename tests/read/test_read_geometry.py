import numpy as np
import pytest

from lucency.errors import GeometryError
from lucency.read.geometry import as_labels, lps_from_ras, refuse_shear, rescaled, slice_spacing

Z = np.array([0.0, 0.0, 1.0])


def stack(*depths):
    return np.array([[0.0, 0.0, d] for d in depths])


@pytest.mark.parametrize("seed", range(5))
def test_spacing_is_the_same_however_the_patient_lies_and_the_files_are_ordered(seed):
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    positions = stack(*(1.25 * np.arange(20))) @ turn.T + rng.uniform(-500, 500, 3)
    spacing = slice_spacing(rng.permutation(positions), turn @ Z * rng.uniform(0.5, 2))
    assert spacing == pytest.approx(1.25)


def test_missing_slice_is_refused_and_named():
    with pytest.raises(
        GeometryError, match=r"Gap after slice 2 is 2\.00 mm, elsewhere 1\.00 mm\. .*A file may be missing"
    ):
        slice_spacing(stack(0, 1, 2, 4, 5, 6), Z)


def test_two_slices_at_one_place_are_refused():
    with pytest.raises(GeometryError, match="Slices 1 and 2 lie at the same place"):
        slice_spacing(stack(0, 1, 1, 2), Z)


def test_one_slice_has_no_gap():
    with pytest.raises(GeometryError, match="Fewer than two slices"):
        slice_spacing(stack(0), Z)


@pytest.mark.parametrize("seed", range(20))
def test_jitter_of_a_hundredth_of_a_millimetre_is_accepted_wherever_it_falls(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    depths = rng.uniform(0.3, 5) * np.arange(n) + rng.choice([-0.01, 0.01], n)
    assert slice_spacing(stack(*depths), Z) == pytest.approx((depths[-1] - depths[0]) / (n - 1))


def test_more_than_a_hundredth_of_a_millimetre_is_refused():
    # The best even grid through 0, 1.03, 2 is 1 mm from 0.015: every slice lies 0.015 mm off.
    with pytest.raises(GeometryError, match=r"Gap after slice 0 is 1\.03 mm"):
        slice_spacing(stack(0, 1.03, 2), Z)


def test_ras_becomes_lps_in_array_order():
    # Voxel (i, j, k) = (1, 2, 3) lies at RAS (2 + 10, 6 + 20, 12 + 30) = (12, 26, 42), so at LPS (-12, -26, 42).
    affine = np.array([[2, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1.0]])
    assert lps_from_ras(affine) @ [3, 2, 1, 1] == pytest.approx([-12, -26, 42, 1])


def test_shear_is_refused_with_its_angle():
    affine = np.eye(4)
    affine[0, 2] = np.tan(np.radians(10))
    with pytest.raises(GeometryError, match=r"scan: Two axes of the image meet at 80\.0 degrees"):
        refuse_shear(affine, "scan")


def test_rescaling_keeps_integers_where_they_are_exact():
    stored = np.array([0, 4000], np.uint16)
    assert rescaled(stored, 1.0, 0.0).dtype == np.uint16
    assert rescaled(stored, 1.0, -1024.0).dtype == np.int16
    assert rescaled(stored, 1.0, -1024.0).tolist() == [-1024, 2976]
    assert rescaled(stored, 0.5, 0.0).dtype == np.float32
    assert rescaled(np.array([60000], np.uint16), 1.0, -1.0).dtype == np.float32


def test_a_mask_between_the_integers_is_refused():
    assert as_labels(np.array([0.0, 2.0]), "m").tolist() == [0, 2]
    with pytest.raises(GeometryError, match="m: The mask has values between the integers"):
        as_labels(np.array([0.5]), "m")

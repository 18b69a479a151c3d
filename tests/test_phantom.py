"""The generated patients: their tissues, their truth, and that a number always gives the same one."""

import numpy as np
import pytest
from scipy import ndimage

from lucency.errors import UsageError
from lucency.phantom import DIAMETERS_MM, SIZE, Phantom, patient

SEED = 11


@pytest.fixture(scope="module")
def patients() -> list[Phantom]:
    return [patient(number, SEED) for number in range(30)]


def world(phantom: Phantom, voxels: np.ndarray) -> np.ndarray:
    """(n, 3) voxels (k, j, i) -> (n, 3) mm, LPS."""
    return voxels @ phantom.image.affine[:3, :3].T + phantom.image.affine[:3, 3]


def test_same_number_and_seed_give_the_same_patient_and_others_another():
    first, again = patient(3, SEED), patient(3, SEED)
    assert np.array_equal(first.image.array, again.image.array)
    assert np.array_equal(first.mask.array, again.mask.array)
    assert (first.age, first.sex, first.diameters_mm) == (again.age, again.sex, again.diameters_mm)
    for other in (patient(4, SEED), patient(3, SEED + 1)):
        assert np.mean(other.image.array != first.image.array) > 0.5


def test_the_global_generator_is_left_alone():
    np.random.seed(5)  # noqa: NPY002  # the point of the test
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    patient(0, SEED)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(("number", "seed"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(number, seed):
    with pytest.raises(UsageError, match="not negative"):
        patient(number, seed)


def test_image_and_mask_share_one_grid_of_the_promised_kind(patients):
    for p in patients:
        assert p.image.size == SIZE
        assert p.image.array.dtype == np.int16
        assert p.image.unit == "HU"
        assert p.mask.kind == "labels"
        assert p.mask.array.dtype == np.uint8
        assert p.image.same_grid(p.mask)
        assert p.image.array.min() >= -1024
        assert p.image.array.max() <= 3071


def test_tissues_lie_in_their_ranges_of_hounsfield_units(patients):
    # Ranges from the sources in the module: air about -1000, aerated lung -900..-500, soft tissue 20..80.
    for p in patients:
        hu = p.image.array[0].astype(float)
        assert -1015 < np.median(hu[:, :6, :6]) < -985  # a corner of the field is room air
        inside = hu > -950
        lung = (hu < -700) & ndimage.binary_erosion(ndimage.binary_fill_holes(inside.any(axis=0)), iterations=8)
        assert -900 < np.median(hu[lung & inside]) < -740
        soft = hu[(hu > -20) & (hu < 120)]
        assert 35 < np.median(soft) < 65
        assert (hu > 250).sum() > 500  # bone


def test_two_lungs_hold_as_much_air_as_a_chest_does(patients):
    for p in patients[:6]:
        air = ndimage.binary_opening(p.image.array[0] < -600, iterations=1)
        parts, n = ndimage.label(air[:30])
        volumes = ndimage.sum_labels(np.ones_like(parts), parts, range(1, n + 1))
        border = set(np.unique(parts[:, 0])) | set(np.unique(parts[:, -1])) | set(np.unique(parts[:, :, 0]))
        ml = [v * np.prod(p.image.spacing) / 1000 for k, v in enumerate(volumes, start=1) if k not in border]
        # Both lungs of an adult at rest hold 2 to 5 litres, tissue included; the slab leaves out the apices.
        assert 1500 < sum(v for v in ml if v > 100) < 5000


def test_every_nodule_is_in_the_mask_once_and_where_it_is_said_to_be(patients):
    for p in patients:
        parts, n = ndimage.label(p.mask.array[0], structure=np.ones((3, 3, 3)))
        assert n == len(p.diameters_mm) == len(p.centres_mm) == len(p.part_solid)
        if n:
            middle = world(p, np.array(ndimage.center_of_mass(parts > 0, parts, range(1, n + 1))))
            gaps = np.linalg.norm(middle[:, np.newaxis] - p.centres_mm[np.newaxis], axis=2)
            assert gaps.min(axis=1).max() < max(p.image.spacing)
            assert sorted(gaps.argmin(axis=1)) == list(range(n))


def test_mask_volume_is_that_of_the_spheres(patients):
    # Sum over many nodules: partial volume makes single small ones uneven, the mean must not be biased.
    large = [p for p in patients if p.diameters_mm and min(p.diameters_mm) > 10]
    assert len(large) >= 8
    truth = sum(np.pi / 6 * d**3 for p in large for d in p.diameters_mm)
    found = sum(float(p.mask.array.sum()) * np.prod(p.image.spacing) for p in large)
    assert found == pytest.approx(truth, rel=0.08)


def test_nodules_are_of_the_promised_number_and_size_and_lie_in_aerated_lung(patients):
    counts = [len(p.diameters_mm) for p in patients]
    assert max(counts) <= 3
    assert len(set(counts)) > 1
    for p in patients:
        assert all(DIAMETERS_MM[0] <= d <= DIAMETERS_MM[1] for d in p.diameters_mm)
        hu = p.image.array[0].astype(float)
        mask = p.mask.array[0] > 0
        parts, n = ndimage.label(mask, structure=np.ones((3, 3, 3)))
        for number in range(1, n + 1):
            ring = ndimage.binary_dilation(parts == number, iterations=3) & ~ndimage.binary_dilation(mask, iterations=2)
            assert np.median(hu[ring]) < -500


def test_solid_nodules_are_denser_than_part_solid_ones(patients):
    solid, ground_glass = [], []
    for p in patients:
        if len(p.diameters_mm) == 1 and p.diameters_mm[0] > 11:
            mean = float(p.image.array[0][p.mask.array[0] > 0].mean())
            (ground_glass if p.part_solid[0] else solid).append(mean)
    assert solid
    assert ground_glass
    assert min(solid) > max(ground_glass)


def test_noise_is_correlated_in_the_slice_and_not_between_slices(patients):
    # Slices of a step-and-shoot scan are reconstructed one by one; within one, the kernel joins neighbours.
    air = np.concatenate([p.image.array[0][:, 1:13, 1:13].astype(float) for p in patients])
    air -= air.mean()
    variance = (air**2).mean()
    assert (air[:, :, 1:] * air[:, :, :-1]).mean() / variance > 0.25
    assert (air[:, 1:] * air[:, :-1]).mean() / variance > 0.25
    assert abs((air[1:] * air[:-1]).mean() / variance) < 0.1
    assert 8 < np.sqrt(variance) < 26

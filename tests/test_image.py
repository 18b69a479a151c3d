import numpy as np
import pytest

from lucency.errors import GeometryError
from lucency.image import Image, crop, diagonal_affine, orientation_of, reorient, resample, same_place


def turned(seed, size=(5, 6, 7)):
    """An image on an oblique grid with three spacings, axes in any order and direction."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform(0.5, 3, 3)
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return Image(rng.normal(size=(2, *size)), affine)


def places(image):
    """World position, to a micrometre, of every voxel to its values over the channels."""
    index = np.stack([*np.indices(image.size), np.ones(image.size)]).reshape(4, -1)
    world = np.round((image.affine @ index)[:3].T, 3) + 0.0
    return dict(zip(map(tuple, world.tolist()), image.array.reshape(image.channels, -1).T.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(10))
def test_reorient_moves_no_voxel_in_the_patient(seed):
    image = turned(seed)
    found = reorient(image)
    assert places(found) == places(image)
    columns = found.affine[:3, :3] / np.linalg.norm(found.affine[:3, :3], axis=0)
    # k runs to the head, j to the back, i to the left; the last axis has no choice but the sign.
    assert columns[2, 0] >= 0
    assert columns[1, 1] >= 0
    assert columns[0, 2] >= 0
    assert np.abs(columns[2]).argmax() == 0
    assert reorient(found).same_grid(found)


@pytest.mark.parametrize("seed", range(10))
def test_orientation_is_undone_exactly(seed):
    image = turned(seed)
    turn = orientation_of(image.affine)
    assert np.array_equal(turn.undo(turn.apply(image.array)), image.array)


@pytest.mark.parametrize("seed", range(5))
def test_crop_keeps_what_is_inside_where_it_is(seed):
    image = turned(seed)
    found = crop(image, (1, 2, 0), (4, 5, 3))
    assert found.size == (3, 3, 3)
    everywhere = places(image)
    assert all(everywhere[place] == value for place, value in places(found).items())


@pytest.mark.parametrize("box", [((0, 0, 0), (0, 6, 7)), ((-1, 0, 0), (5, 6, 7)), ((0, 0, 0), (5, 6, 8))])
def test_crop_outside_the_image_is_refused(box):
    with pytest.raises(GeometryError, match=r"inside \(5, 6, 7\) and not empty"):
        crop(turned(0), *box)


@pytest.mark.parametrize("seed", range(5))
def test_resample_gives_a_linear_field_its_value_at_every_place(seed):
    source = turned(seed, size=(12, 12, 12))
    slope = np.random.default_rng(seed).normal(size=3)

    def field(affine, size):
        index = np.stack([*np.indices(size), np.ones(size)]).reshape(4, -1)
        return (slope @ (affine @ index)[:3]).reshape(1, *size)

    image = source.with_array(field(source.affine, source.size))
    # A finer grid, moved by fractions of a voxel, wholly inside.
    inner = source.affine @ np.array([[0.5, 0, 0, 2.3], [0, 0.7, 0, 1.6], [0, 0, 0.9, 1.2], [0, 0, 0, 1]])
    found = resample(image, inner, (10, 9, 8))
    assert np.allclose(found.array, field(inner, (10, 9, 8)), atol=1e-2)
    assert same_place(found.affine, inner, found.size)


def test_resample_to_its_own_grid_changes_nothing_and_outside_is_filled():
    image = turned(3)
    assert np.allclose(resample(image, image.affine, image.size).array, image.array, atol=1e-5)
    away = image.affine.copy()
    away[:3, 3] += 1000
    assert (resample(image, away, image.size, fill=-7.0).array == -7.0).all()


def test_labels_stay_labels_when_resampled():
    array = np.zeros((1, 6, 6, 6), np.uint8)
    array[:, 2:4, 2:4, 2:4] = 200
    mask = Image(array, diagonal_affine((2, 2, 2)), kind="labels", unit="label")
    found = resample(mask, diagonal_affine((1.3, 1.1, 0.9)), (9, 10, 12))
    assert (found.array.dtype, set(np.unique(found.array))) == (np.uint8, {0, 200})


def test_spacing_is_the_length_of_the_columns():
    # A step along k is (0, 0, 3), along j (0, 4, 0) turned by a 3-4-5 triangle: length 5; along i (0.5, 0, 0).
    affine = np.array([[0, 3.0, 0.5, 0], [0, 4.0, 0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])
    assert Image(np.zeros((1, 2, 2, 2)), affine).spacing == pytest.approx((3, 5, 0.5))


def test_same_grid_allows_a_hundredth_of_a_millimetre_at_the_far_corner():
    image = Image(np.zeros((1, 101, 2, 2)), diagonal_affine((1, 1, 1)))
    # 100 steps of 1.00005 mm end 0.005 mm off, 100 steps of 1.0002 mm end 0.02 mm off.
    assert image.same_grid(Image(image.array, diagonal_affine((1.00005, 1, 1))))
    assert not image.same_grid(Image(image.array, diagonal_affine((1.0002, 1, 1))))


@pytest.mark.parametrize(
    ("array", "affine", "kind", "words"),
    [
        (np.zeros((2, 2, 2)), np.eye(4), "intensity", r"shape \(2, 2, 2\)"),
        (np.zeros((1, 0, 2, 2)), np.eye(4), "intensity", "none of them 0"),
        (np.zeros((1, 2, 2, 2)), np.diag([1, 0, 1, 1]), "intensity", "invertible"),
        (np.zeros((1, 2, 2, 2)), np.full((4, 4), np.nan), "intensity", "invertible"),
        (np.zeros((1, 2, 2, 2)), np.eye(4), "labels", "Labels of type float64"),
        (np.full((1, 2, 2, 2), np.inf), np.eye(4), "intensity", "8 of 8 voxels are NaN or infinite.*--set nan=VALUE"),
    ],
)
def test_an_image_that_exists_is_valid(array, affine, kind, words):
    with pytest.raises(GeometryError, match=words):
        Image(array, affine, kind=kind)


def test_an_image_cannot_be_written_into():
    image = turned(0)
    with pytest.raises(ValueError, match="read-only"):
        image.array[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        image.affine[0] = 1

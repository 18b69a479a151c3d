"""Images of one case on two grids: where they lie in the patient decides, and what they have not in common."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lucency.errors import GeometryError
from lucency.image import Image, diagonal_affine
from lucency.prepare import covered, placed_on


def oblique(spacing, origin=(0.0, 0.0, 0.0)):
    """An affine that is turned in all three axes."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [12, -8, 5], degrees=True).as_matrix()[:, [2, 1, 0]] * spacing
    affine[:3, 3] = origin
    return affine


def slope(affine, size):
    """An image whose numbers are a linear function of the place in mm: 3 x - 2 y + 0.5 z + 7."""
    at = np.stack([*np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), np.ones(size)])
    x, y, z = np.tensordot(affine[:3], at, axes=1)
    return Image((3 * x - 2 * y + 0.5 * z + 7)[None].astype(np.float32), affine)


@pytest.mark.parametrize(
    ("spacing", "origin"),
    [((2.0, 1.0, 1.0), (0, 0, 0)), ((1.3, 1.7, 0.9), (4.0, 3.0, 5.0)), ((3.0, 2.0, 2.0), (1, 2, 0))],
)
def test_a_slope_in_the_patient_is_the_same_slope_on_any_grid(spacing, origin):
    wide = slope(oblique((1.5, 1.1, 1.2), (-20, -20, -20)), (50, 60, 60))
    grid = slope(oblique(spacing, origin), (8, 10, 12))
    assert covered(grid, wide) == 1
    found = placed_on(wide, grid, "case")
    assert found.same_grid(grid)
    assert found.array == pytest.approx(grid.array, abs=1e-3)


def test_the_outermost_half_voxel_is_part_of_the_image():
    # One field of 8 mm in voxels of 2 and of 1 mm: the first centre of the finer lies .25 voxels before the coarser's.
    coarse = Image(np.full((1, 4, 4, 4), 100, np.int16), diagonal_affine((2, 2, 2)))
    affine = diagonal_affine((1, 1, 1))
    affine[:3, 3] = -0.5
    fine = Image(np.zeros((1, 8, 8, 8), np.int16), affine)
    assert covered(fine, coarse) == 1
    assert (placed_on(coarse, fine, "case").array == 100).all()


def test_what_lies_outside_has_the_lowest_number_of_the_image():
    image = Image(np.random.default_rng(0).integers(-900, 400, (1, 6, 6, 6)).astype(np.int16), np.eye(4))
    affine = np.eye(4)
    affine[0, 3] = 2.0
    grid = Image(np.zeros((1, 6, 6, 6), np.int16), affine)
    found = placed_on(image, grid, "case").array
    inside = covered(grid, image)
    assert inside == pytest.approx(4 / 6)
    assert np.array_equal(found[:, :4], image.array[:, 2:])
    assert np.array_equal(found[:, 4], image.array[:, 5]), "a voxel beyond the last centre is as the edge"
    assert (found[:, 5] == image.array.min()).all()


def test_one_grid_is_left_as_it_is():
    image = Image(np.ones((1, 3, 4, 5), np.uint8), np.eye(4))
    assert placed_on(image, replace(image, array=np.zeros((1, 3, 4, 5), np.uint8)), "case") is image


def test_fields_apart_are_refused_with_case_and_share():
    image = Image(np.ones((1, 6, 6, 6), np.uint8), np.eye(4))
    affine = np.eye(4)
    affine[0, 3] = 4.0
    with pytest.raises(
        GeometryError, match=r"^p7: Two modalities .* 33 % of the field in common\. Expected: 50 % or more"
    ):
        placed_on(image, replace(image, affine=affine), "p7")
    affine[0, 3] = 400.0
    with pytest.raises(GeometryError, match=r" 0 % of the field in common"):
        placed_on(image, replace(image, affine=affine), "p7")


def test_flat_pictures_have_no_place_in_the_patient():
    image = Image(np.ones((1, 1, 6, 6), np.uint8), np.eye(4))
    with pytest.raises(GeometryError, match=r"on different grids .*--set pairs=none"):
        placed_on(image, replace(image, array=np.ones((1, 1, 6, 8), np.uint8)), "p7")

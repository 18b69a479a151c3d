"""Shape of bodies whose measures are known."""

import numpy as np
import pytest

from lucency import radiomics
from lucency.errors import DataError
from lucency.radiomics import Settings, shape


def measured(pair, mask, spacing=(1.0, 1.0, 1.0), **changes):
    image, region = pair(np.ones(np.shape(mask)), mask, spacing)
    classes = ("shape2D",) if region.size[0] == 1 else ("shape",)
    found = radiomics.features(image, region, Settings(classes=classes, **changes))
    return {name.split("_")[-1]: value for name, value in found.items()}


def test_one_voxel_is_an_octahedron_through_the_middle_of_its_faces():
    # Half axes of ½: volume 4/3 abc = 1/6; eight triangles with three sides of √½: 8 × √3/4 × ½.
    area, volume, closed = shape.mesh_of(np.ones((1, 1, 1), bool), (1.0, 1.0, 1.0))
    assert volume == closed == pytest.approx(1 / 6)
    assert area == pytest.approx(np.sqrt(3))
    # Of 1 × 2 × 3 mm: 4/3 × ½ × 1 × 1½ = 1.
    assert shape.mesh_of(np.ones((1, 1, 1), bool), (1.0, 2.0, 3.0))[1] == pytest.approx(1)


def test_two_voxels_are_the_octahedron_drawn_out_by_one():
    # A square tube, diagonals 1, is put between the halves: ½ mm³ and four sides of √½ more.
    area, volume, closed = shape.mesh_of(np.ones((1, 1, 2), bool), (1.0, 1.0, 1.0))
    assert volume == closed == pytest.approx(1 / 6 + 1 / 2)
    assert area == pytest.approx(np.sqrt(3) + 4 * np.sqrt(1 / 2))


def test_the_mesh_is_that_of_scikit_image_wherever_it_is_not_ambiguous(blob):
    from skimage.measure import marching_cubes, mesh_surface_area

    mask = blob()[1]
    inside = mask.array[0] == 1
    vertices, faces, _, _ = marching_cubes(np.pad(inside, 1).astype(np.float32), 0.5, spacing=mask.spacing)
    corner = vertices[faces].astype(np.float64)
    volume = abs(np.einsum("fa,fa->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2]))) / 6
    area = mesh_surface_area(vertices, faces)
    assert shape.mesh_of(inside, mask.spacing) == pytest.approx((area, volume, volume), rel=1e-5)
    assert {tuple(v) for v in shape.cuts(inside).tolist()} == {
        tuple(v) for v in np.round(2 * vertices / mask.spacing).astype(int).tolist()
    }


@pytest.mark.parametrize("seed", range(6))
def test_the_closed_mesh_is_that_of_scikit_image_however_the_voxels_meet(seed):
    from skimage.measure import marching_cubes

    inside = np.random.default_rng(seed).random((7, 8, 9)) < 0.3
    vertices, faces, _, _ = marching_cubes(np.pad(inside, 1).astype(np.float32), 0.5, method="lorensen")
    corner = vertices[faces].astype(np.float64)
    volume = abs(np.einsum("fa,fa->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2]))) / 6
    assert shape.mesh_of(inside, (1.0, 1.0, 1.0))[2] == pytest.approx(volume, rel=1e-5)


def test_a_torn_mesh_has_no_volume(pair):
    # A chessboard in space: all voxels meet at edges.
    found = radiomics.measure(*pair(np.ones((4, 4, 4)), np.indices((4, 4, 4)).sum(0) % 2), Settings(classes=("shape",)))
    torn = {f"original_shape_{name}" for name in ("MeshVolume", "Sphericity", "SurfaceVolumeRatio")}
    assert {name for name, value in found.values.items() if np.isnan(value)} == torn
    assert set(found.undefined.values()) == {"Voxels that meet at edges or corners only leave the mesh open"}
    assert found.values["original_shape_VoxelVolume"] == 32


def test_a_ball_has_its_volume_its_diameter_and_three_equal_axes(pair):
    radius = 12
    k, j, i = np.indices((27, 27, 27)) - 13
    found = measured(pair, k**2 + j**2 + i**2 <= radius**2)
    assert found["MeshVolume"] == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)
    assert found["Maximum3DDiameter"] == pytest.approx(2 * radius + 1, rel=0.01)
    # A uniform ball has the standard deviation R / √5 along any axis; the axis length is four of them.
    assert found["MajorAxisLength"] == pytest.approx(4 * radius / np.sqrt(5), rel=0.01)
    assert found["Elongation"] == pytest.approx(1)
    assert found["Flatness"] == pytest.approx(1)
    # The stairs of the mesh make its surface about a tenth larger than the ball's.
    assert 0.88 < found["Sphericity"] < 1


def test_a_bar_of_six_by_one_by_one(pair):
    mask = np.zeros((2, 3, 8), bool)
    mask[1, 1, 1:7] = True
    found = measured(pair, mask, (2.0, 1.0, 0.5), min_dimensions=1)
    assert found["VoxelVolume"] == pytest.approx(6)
    # Over a slanted way: from the upper face of the first voxel to the lower one of the last, 5 × 0.5 along and 2 down.
    assert found["Maximum3DDiameter"] == pytest.approx(np.hypot(2.5, 2))
    assert found["Maximum2DDiameterColumn"] == pytest.approx(np.hypot(2.5, 2))
    # Within the slice from end to end, 6 × 0.5; across it all from face to face.
    assert found["Maximum2DDiameterSlice"] == pytest.approx(3)
    assert found["Maximum2DDiameterRow"] == pytest.approx(2)
    # Six places 0.5 apart: variance 0.25 × 35 / 12.
    assert found["MajorAxisLength"] == pytest.approx(4 * np.sqrt(0.25 * 35 / 12))
    assert found["MinorAxisLength"] == found["LeastAxisLength"] == 0


def test_a_rectangle_by_hand(pair):
    # 3 × 2 pixels of 1 × 2 mm, corners cut off by triangles of ½ and 1: 12 - 4 × ¼.
    mask = np.zeros((1, 5, 4), bool)
    mask[0, 1:4, 1:3] = True
    found = measured(pair, mask, (1.0, 1.0, 2.0))
    assert found["PixelSurface"] == pytest.approx(12)
    assert found["MeshSurface"] == pytest.approx(11)
    # Straight parts 2 × 2 mm and 2 × 2 mm, and four slanted ones.
    slanted = np.hypot(0.5, 1)
    assert found["Perimeter"] == pytest.approx(2 * 2 + 2 * 2 + 4 * slanted)
    assert found["PerimeterSurfaceRatio"] == pytest.approx(found["Perimeter"] / 11)
    assert found["Sphericity"] == pytest.approx(2 * np.sqrt(np.pi * 11) / found["Perimeter"])
    # From an edge's middle to the opposite one's: 4 wide and, between pixel centres, 2 high.
    assert found["MaximumDiameter"] == pytest.approx(np.hypot(4, 2))


def test_pixels_that_meet_at_a_corner_are_two(pair):
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 1, 1] = mask[0, 2, 2] = True
    found = measured(pair, mask)
    # Two squares standing on a corner, ½ mm² each, sides of √½.
    assert found["MeshSurface"] == pytest.approx(1)
    assert found["Perimeter"] == pytest.approx(8 * np.sqrt(1 / 2))


def test_marching_squares_are_those_of_scikit_image(pair):
    from skimage.measure import find_contours

    rng = np.random.default_rng(3)
    mask = rng.random((1, 12, 15)) < 0.6
    found = measured(pair, mask)
    contours = find_contours(np.pad(mask[0], 1).astype(float), 0.5)
    length = sum(np.linalg.norm(np.diff(c, axis=0), axis=1).sum() for c in contours)
    # Shoelace; holes turn the other way round.
    turned = sum((c[:-1, 0] * c[1:, 1] - c[1:, 0] * c[:-1, 1]).sum() / 2 for c in contours)
    assert found["Perimeter"] == pytest.approx(length)
    assert found["MeshSurface"] == pytest.approx(abs(turned))


def test_shape_of_a_slice_is_not_asked_of_a_volume_nor_the_reverse(pair):
    volume = np.ones((3, 3, 3), bool)
    image, mask = pair(np.ones((3, 3, 3)), volume)
    with pytest.raises(
        DataError, match=r"region of 3 slices\. Expected: one, for the class shape2D.*ask for the class"
    ):
        radiomics.features(image, mask, Settings(classes=("shape2D",)))
    flat = pair(np.ones((1, 3, 3)), np.ones((1, 3, 3)))
    with pytest.raises(DataError, match=r"region of one slice\. Expected: a volume.*shape2D"):
        radiomics.features(*flat, Settings(classes=("shape",)))


def test_one_slice_brings_the_shape_of_a_slice_and_a_volume_that_of_a_volume(pair, blob):
    flat = radiomics.features(*pair([[1, 2, 3], [4, 5, 6]]))
    assert {name.split("_")[1] for name in flat} == set(radiomics.CLASSES) - {"shape"}
    assert {name.split("_")[1] for name in radiomics.features(*blob())} == set(radiomics.CLASSES) - {"shape2D"}

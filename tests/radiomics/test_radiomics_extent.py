"""Measures of bodies whose size is known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import ellipe

from lucency.image import diagonal_affine
from lucency.radiomics import extent

MM = diagonal_affine((1.0, 1.0, 1.0))


def depth(size, centre, axes, degrees, spacing=(1.0, 1.0)):
    """1 less the ellipse's own radius at every pixel centre, (1, J, I): above 0 inside; mm, centre (y, x)."""
    j, i = np.mgrid[: size[0], : size[1]]
    y, x = j * spacing[0] - centre[0], i * spacing[1] - centre[1]
    turn = np.radians(degrees)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return (1 - np.hypot(along / axes[0], across / axes[1]))[None]


@pytest.mark.parametrize(("degrees", "spacing"), [(0, (1.0, 1.0)), (30, (1.0, 1.0)), (115, (0.4, 1.0)), (70, (1, 0.3))])
def test_an_ellipse_is_measured_as_it_was_drawn_whatever_the_pixels(degrees, spacing):
    size = (round(240 / spacing[0]), round(240 / spacing[1]))
    field = depth(size, (120.3, 119.6), (90.0, 60.0), degrees, spacing)
    exact = 4 * 90 * ellipe(1 - (60 / 90) ** 2)
    affine = diagonal_affine((1.0, *spacing))
    below = extent.measures(field > 0, affine, field)
    assert below["ellipse_circumference_mm"] == pytest.approx(exact, rel=2e-4)
    assert (below["ellipse_major_mm"], below["ellipse_minor_mm"]) == pytest.approx((180, 120), rel=2e-4)
    assert below["ellipse_angle_deg"] == pytest.approx(degrees, abs=0.05) or degrees == 0
    assert (below["long_diameter_mm"], below["short_diameter_mm"]) == pytest.approx((180, 120), rel=1e-3)
    # Of the mask alone the border is known to half a pixel; over a whole ellipse that averages out.
    assert extent.measures(field > 0, affine)["ellipse_circumference_mm"] == pytest.approx(exact, rel=2e-3)
    assert below["area_mm2"] == pytest.approx(np.pi * 90 * 60, rel=2e-3)


def test_the_length_of_an_ellipse_is_that_of_many_short_chords():
    turn = np.linspace(0, 2 * np.pi, 200_001)
    chords = np.hypot(np.diff(5 * np.cos(turn)), np.diff(2 * np.sin(turn))).sum()
    assert extent.circumference(5.0, 2.0) == pytest.approx(chords, rel=1e-8)
    assert extent.circumference(3.0, 3.0) == pytest.approx(6 * np.pi)


def test_what_the_edge_of_the_image_cuts_off_is_gone_on_with():
    field = depth((200, 160), (100, 95.5), (90.0, 60.0), 20)
    assert (field[0, :, -1] > 0).sum() > 40
    cut = extent.measures(field > 0, MM, field)
    assert cut["ellipse_major_mm"] == pytest.approx(180, rel=1e-3)
    assert cut["area_mm2"] < np.pi * 90 * 60 * 0.99


def test_a_rectangle_has_its_diagonal_for_its_long_diameter():
    # 30 × 40 pixels of ½ mm: the outline goes through the middles between pixels; its corners are cut by half a pixel.
    inside = np.zeros((1, 60, 60), bool)
    inside[0, 10:40, 5:45] = True
    found = extent.measures(inside, diagonal_affine((1.0, 0.5, 0.5)))
    assert found["area_mm2"] == 15 * 20
    # From the middle of a side's last pixel to that of the opposite side: (29, 40) pixels or (30, 39).
    assert found["long_diameter_mm"] == pytest.approx(np.hypot(29, 40) / 2)
    assert found[extent.PARTS] == 1


def test_two_parts_add_up_and_the_larger_has_the_diameters():
    field = np.maximum(depth((200, 200), (60, 60), (40, 25), 45), depth((200, 200), (160, 160), (12, 12), 0))
    both, one = (
        extent.measures(field > 0, MM, field),
        extent.measures(depth((200, 200), (60, 60), (40, 25), 45) > 0, MM),
    )
    assert (both[extent.PARTS], one[extent.PARTS]) == (2, 1)
    assert both["area_mm2"] == pytest.approx(np.pi * (40 * 25 + 12 * 12), rel=0.01)
    assert both["ellipse_major_mm"] == pytest.approx(80, rel=0.002)
    assert both["long_diameter_mm"] == pytest.approx(80, rel=0.01)


def test_a_part_that_was_dropped_from_the_mask_does_not_come_back_with_its_margin():
    large, small = depth((120, 120), (50, 50), (40, 30), 0), depth((120, 120), (105, 105), (8, 8), 0)
    found = extent.measures(large > 0, MM, np.maximum(large, small))
    assert found[extent.PARTS] == 1
    assert found["ellipse_major_mm"] == pytest.approx(80, rel=0.002)


def test_a_hole_is_no_border():
    field = depth((200, 200), (100, 100), (80, 50), 10)
    ring = (field > 0) & (field < 0.6)
    assert extent.measures(ring, MM, field)["ellipse_circumference_mm"] == pytest.approx(
        extent.circumference(80, 50), rel=1e-3
    )


def test_an_empty_mask_has_no_numbers():
    assert extent.measures(np.zeros((1, 5, 5), bool), MM) == {}
    assert extent.measures(np.zeros((3, 5, 5), bool), MM) == {}


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (2, 2)])
def test_a_few_pixels_have_an_area_but_need_not_have_an_ellipse(shape):
    inside = np.zeros((1, 9, 9), bool)
    inside[0, 1 : 1 + shape[0], 2 : 2 + shape[1]] = True
    found = extent.measures(inside, MM)
    assert found["area_mm2"] == shape[0] * shape[1]
    # From the middle of the border before the first pixel to that behind the last.
    assert found["long_diameter_mm"] >= max(shape)
    assert np.isnan(found["ellipse_major_mm"]) or found["ellipse_major_mm"] < 3 * max(shape)


def test_a_mask_that_fills_the_image_has_no_border_to_fit():
    found = extent.measures(np.ones((1, 8, 8), bool), MM)
    assert found["area_mm2"] == 64
    assert np.isnan(found["ellipse_circumference_mm"])


def test_a_ball_is_measured_however_the_patient_lies():
    turn = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn * [2.0, 0.8, 1.0]
    k, j, i = np.mgrid[:24, :60, :50]
    inside = ((k - 12) * 2.0) ** 2 + ((j - 30) * 0.8) ** 2 + (i - 25.0) ** 2 < 18**2
    found = extent.measures(inside, affine)
    assert found["volume_ml"] == pytest.approx(4 / 3 * np.pi * 18**3 / 1000, rel=0.02)
    # Half a slice more at either end.
    assert found["longest_diameter_mm"] == pytest.approx(36, abs=2)
    assert found["slice_long_diameter_mm"] == pytest.approx(36, abs=1.5)
    assert found["slice_short_diameter_mm"] == pytest.approx(36, abs=1.5)
    # A surface of voxels is rough: a tenth and more above the smooth one.
    assert 1 < found["surface_mm2"] / (4 * np.pi * 18**2) < 1.15
    assert found[extent.PARTS] == 1


def test_a_longest_diameter_across_the_slices_is_not_one_within_them():
    inside = np.zeros((30, 20, 20), bool)
    inside[5:25, 8:12, 7:13] = True
    found = extent.measures(inside, diagonal_affine((2.0, 1.0, 1.0)))
    # 20 slices of 2 mm; in the slice 4 × 6 pixels, from the middle of a side's pixel to that of the opposite one.
    assert found["volume_ml"] == pytest.approx(20 * 2 * 4 * 6 / 1000)
    assert found["longest_diameter_mm"] > 40
    assert found["slice_long_diameter_mm"] == pytest.approx(np.hypot(3, 6))


def test_slices_that_lean_keep_volume_and_diameters_and_have_no_surface():
    affine = diagonal_affine((2.0, 1.0, 1.0))
    affine[1, 0] = 1.0
    inside = np.zeros((10, 12, 12), bool)
    inside[2:8, 3:9, 3:9] = True
    found = extent.measures(inside, affine)
    assert found["volume_ml"] == pytest.approx(6 * 6 * 6 * 2 / 1000)
    assert np.isnan(found["surface_mm2"])
    # Six slices on, the last lies 6 mm further back: from its far side to the first's near one.
    assert (
        found["longest_diameter_mm"] > extent.measures(inside, diagonal_affine((2.0, 1.0, 1.0)))["longest_diameter_mm"]
    )


def test_without_a_scale_measures_are_counted_in_pixels():
    found = extent.without_scale({"parts": 1.0, "area_mm2": 5.0, "long_diameter_mm": 3.0, "ellipse_angle_deg": 12.0})
    assert found == {"parts": 1.0, "area_px2": 5.0, "long_diameter_px": 3.0, "ellipse_angle_deg": 12.0}
    assert extent.without_scale({"volume_ml": 0.25}) == {"volume_voxels": 250.0}

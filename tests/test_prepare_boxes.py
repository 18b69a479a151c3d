"""Boxes on the network's grid and back: nothing is lost but what lies outside."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import tiny
from lucency.boxes import Box, edges_of
from lucency.image import Image, diagonal_affine
from lucency.plan import Grid
from lucency.prepare import place_of, prepare_labels
from lucency.prepare.boxes import box_rows, from_grid, to_grid

TURNED = np.eye(4)
TURNED[:3, :3] = Rotation.from_euler("xyz", [10, 5, -8], degrees=True).as_matrix()[:, [0, 2, 1]] * [1.5, -1.0, 0.8]


@pytest.mark.parametrize("affine", [diagonal_affine((1, 1, 1)), diagonal_affine((3.0, 0.7, 0.7)), TURNED])
@pytest.mark.parametrize("mode", ["fit", "spacing"])
def test_boxes_come_back_to_where_they_were(affine: np.ndarray, mode: str) -> None:
    rng = np.random.default_rng(0)
    image = Image(np.zeros((1, 12, 30, 20), np.float32), affine)
    plan = tiny.plan_for(grid=Grid(mode, (16, 24, 24), (1.3, 1.1, 0.9)), patch=(16, 24, 24))
    low = rng.uniform(0, [8, 20, 12], (20, 3))
    edges = np.concatenate([low, low + rng.uniform(1, 4, (20, 3))], axis=1)
    place = place_of(image, plan)
    assert from_grid(to_grid(edges, place), place) == pytest.approx(edges)


@pytest.mark.parametrize("affine", [diagonal_affine((1, 1, 1)), TURNED])
def test_boxes_lie_on_the_grid_where_masks_lie(affine: np.ndarray) -> None:
    # The oracle is the mask of the box, brought to the grid by the code that brings masks.
    mask = np.zeros((1, 16, 24, 20), np.uint8)
    mask[0, 4:10, 6:18, 4:12] = 1
    plan = tiny.plan_for(grid=Grid("spacing", (16, 24, 20), (0.8, 0.8, 0.8)), labels={1: "a"})
    image = Image(mask, affine, kind="labels")
    inside = np.argwhere(prepare_labels(image, plan) == 1)
    box = Box("a", (4.0, 6.0, 4.0), (10.0, 18.0, 12.0))
    found = to_grid(edges_of([box]), place_of(image, plan))[0]
    assert np.abs(found[:3] - inside.min(axis=0)).max() <= 0.51
    assert np.abs(found[3:] - inside.max(axis=0) - 1).max() <= 0.51


def test_a_leaning_stack_leans_back() -> None:
    affine = diagonal_affine((2.0, 1.0, 1.0))
    affine[:3, 0] += affine[:3, 1] * 0.5
    image = Image(np.zeros((1, 10, 20, 20), np.float32), affine)
    place = place_of(image, tiny.plan_for(grid=Grid("spacing", (10, 20, 20), (2.0, 1.0, 1.0))))
    assert any(place.lean)
    edges = np.array([[2.0, 4, 5, 6, 9, 11]])
    assert from_grid(to_grid(edges, place), place) == pytest.approx(edges)


def test_rows_hold_the_class_and_the_axes_of_the_network() -> None:
    image = Image(np.zeros((1, 1, 20, 40), np.float32), diagonal_affine((1, 1, 1)))
    place = place_of(image, tiny.plan_for(dims=2, grid=Grid("fit", (1, 40, 80)), patch=(1, 40, 80)))
    rows = box_rows([Box("b", (0.0, 5.0, 10.0), (1.0, 10.0, 30.0))], place, ("a", "b"), 2)
    assert rows.tolist() == [[1.0, 10.0, 20.0, 20.0, 60.0]]
    assert box_rows([], place, ("a", "b"), 2).shape == (0, 5)

"""Sequences of frames and images to scale on the network's grid."""

from dataclasses import replace

import numpy as np
import pytest

from lucency.image import Image, diagonal_affine
from lucency.plan import Grid
from lucency.prepare import place_of, prepare_image, restore
from tiny import ball, plan_for


def frames_plan(size=(6, 16, 16)):
    return plan_for("classify", dims=3, size=size, grid=Grid("frames", size))


def clip(n, side=16, k_axis="time", affine=None):
    """Frames whose brightness, beside a bright corner, is their number."""
    array = np.zeros((1, n, side, side), np.float32)
    array += np.arange(n)[None, :, None, None]
    array[..., 0, 0] = 100
    return Image(array, diagonal_affine((1, 1, 1)) if affine is None else affine, k_axis=k_axis)


@pytest.mark.parametrize("n", [1, 3, 6])
def test_short_sequences_keep_their_length(n):
    prepared = prepare_image([clip(n)], frames_plan())
    assert prepared.array.shape == (1, n, 16, 16)
    assert prepared.place.source_size == (n, 16, 16)


def test_of_long_sequences_whole_frames_are_taken_from_the_first_to_the_last():
    plan = frames_plan()
    prepared = prepare_image([clip(51)], plan)
    middle = prepared.array[0, :, 8, 8]
    # Frames 0, 10, 20, 30, 40, 50: evenly spaced, and none is a mean of two.
    assert np.diff(middle) == pytest.approx(np.diff(middle)[0], rel=1e-3)
    assert len(middle) == 6


def test_time_runs_forward_and_slices_run_the_same_way_in_all_scans():
    back = diagonal_affine((1, 1, 1))
    back[:3, 0] *= -1
    plan = frames_plan()
    rising = [
        np.diff(prepare_image([clip(5, k_axis=a, affine=f)], plan).array[0, :, 8, 8]).mean() > 0
        for a, f in (("time", diagonal_affine((1, 1, 1))), ("time", back), ("space", back))
    ]
    assert rising == [True, True, False]


def test_a_frame_larger_than_the_grid_is_scaled_within_its_plane_only():
    prepared = prepare_image([clip(3, side=40)], frames_plan())
    assert prepared.array.shape == (1, 3, 16, 16)
    assert prepared.place.scaled == (3, 16, 16)


def canvas_plan(dims=2, size=(1, 32, 32), step=2.0):
    return plan_for(
        "regress", dims=dims, size=size, grid=Grid("canvas", size, (step,) * 3), classes=(), task_options={}
    )


@pytest.mark.parametrize("spacing", [0.5, 1.0, 2.0])
def test_on_a_canvas_what_is_larger_in_the_patient_is_larger(spacing):
    """A disc of 20 mm covers π 10² / 2² = 79 pixels of 2 mm, whatever the pixels of its image."""
    side = round(48 / spacing)
    disc = ball((1, side, side), (0, side / 2 - 0.5, side / 2 - 0.5), 10, (spacing,) * 3)
    image = Image((disc * 100.0)[None].astype(np.float32), diagonal_affine((spacing,) * 3))
    array = prepare_image([image], canvas_plan()).array[0, 0]
    middle = (array.max() + array.min()) / 2
    assert (array > middle).sum() == pytest.approx(np.pi * 100 / 4, rel=0.1)


def test_what_does_not_fit_on_the_canvas_loses_its_border_and_comes_back_in_place():
    image = Image(np.random.default_rng(0).normal(size=(1, 1, 60, 40)).astype(np.float32), diagonal_affine((2, 2, 2)))
    plan = canvas_plan()
    prepared = prepare_image([image], plan)
    assert prepared.array.shape == (1, 1, 32, 32)
    assert prepared.place.start == (0, -14, -4)
    marked = np.zeros((1, 1, 32, 32), np.float32)
    marked[0, 0, 5, 7] = 1
    back = restore(marked, prepared.place)
    assert back.shape == (1, 1, 60, 40)
    assert np.argwhere(back[0, 0] == 1).tolist() == [[5 + 14, 7 + 4]]


def test_the_canvas_of_a_volume_is_cut_along_every_axis():
    image = Image(np.random.default_rng(0).normal(size=(1, 20, 12, 12)).astype(np.float32), diagonal_affine((1, 1, 1)))
    plan = canvas_plan(dims=3, size=(8, 16, 16), step=1.0)
    place = place_of(image, plan)
    assert (place.scaled, place.start) == ((20, 12, 12), (-6, 2, 2))
    prepared = prepare_image([image], plan)
    assert prepared.array.shape == (1, 8, 16, 16)
    assert restore(prepared.array, replace(prepared.place)).shape == (1, 20, 12, 12)

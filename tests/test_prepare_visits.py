"""Visits on the network's grid: each as if alone, one after the other."""

import numpy as np
import pytest

from lucency.errors import DataError
from lucency.image import Image, diagonal_affine
from lucency.plan import Grid
from lucency.prepare import prepare_image, prepare_visits
from tiny import plan_for


def plan(frames=6, mode="frames"):
    return plan_for("classify", dims=3, size=(frames, 16, 16), grid=Grid(mode, (frames, 16, 16)))


def picture(seed, size=(1, 16, 16), gain=1.0):
    values = np.random.default_rng(seed).normal(100, 20, (1, *size))
    return Image((gain * values).astype(np.float32), diagonal_affine((1, 1, 1)))


def test_a_single_visit_is_prepared_as_an_image_of_its_own():
    whole, alone = prepare_visits([[picture(0)]], plan()), prepare_image([picture(0)], plan())
    assert np.array_equal(whole.array, alone.array)
    assert whole.place == alone.place


def test_visits_follow_each_other_and_each_is_normalised_by_itself():
    # The second visit comes from a device with ten times the gain and a larger image.
    visits = [[picture(0)], [picture(1, size=(1, 40, 24), gain=10.0)], [picture(2)]]
    made = prepare_visits(visits, plan())
    assert made.array.shape == (1, 3, 16, 16)
    for number, visit in enumerate(visits):
        assert np.array_equal(made.array[:, number : number + 1], prepare_image(visit, plan()).array)
    assert made.place.frame == made.array.shape[1:]


def test_slices_of_several_volumes_share_the_frames_of_the_grid():
    made = prepare_visits([[picture(n, size=(10, 16, 16))] for n in range(3)], plan(frames=6))
    assert made.array.shape == (1, 6, 16, 16)


def test_of_more_visits_than_frames_the_last_are_kept():
    made = prepare_visits([[picture(n)] for n in range(9)], plan(frames=6))
    assert np.array_equal(made.array[:, :1], prepare_image([picture(3)], plan()).array)
    assert made.array.shape[1] == 6


def test_visits_are_refused_by_a_network_that_reads_single_images():
    with pytest.raises(DataError, match=r"3 visits of one patient.*network=recurrent"):
        prepare_visits([[picture(n)] for n in range(3)], plan(mode="fit"))

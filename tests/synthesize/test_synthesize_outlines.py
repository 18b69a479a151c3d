"""Masks of patients, changed: still masks of such things, yet of none of these patients."""

import numpy as np
import pytest
from scipy.ndimage import label

from lucency.losses import IGNORE
from lucency.synthesize.outlines import BENT, SCALE, SHIFT, reshaped


def balls(n=4, size=(1, 32, 32), value=1):
    """A ball of radius .25 sides off the middle, towards low numbers along every axis."""
    grid = np.stack(np.meshgrid(*(np.arange(s) for s in size), indexing="ij")).astype(float)
    middle = np.array([0.0 if s == 1 else 0.4 * s for s in size])
    away = ((grid - middle[:, None, None, None]) ** 2).sum(axis=0)
    return np.repeat(np.where(away <= (0.25 * max(size)) ** 2, value, 0)[None].astype(np.int16), n, axis=0)


@pytest.mark.parametrize("size", [(1, 32, 32), (20, 24, 28)], ids=str)
def test_a_ball_stays_one_piece_of_about_its_size_and_is_never_the_same(size):
    masks = balls(size=size)
    dims = sum(s > 1 for s in size)
    found = reshaped(masks, 12, "", np.random.default_rng(0))
    assert found.shape == (12, *size)
    assert found.dtype == np.int16
    assert set(np.unique(found)) == {0, 1}
    assert all(label(mask)[1] == 1 for mask in found)
    assert not any((mask == masks[0]).all() for mask in found)
    assert len({mask.tobytes() for mask in found}) == 12
    # Sides by exp(.1) and by slopes of .32 at the very most, each axis.
    most = (np.exp(SCALE) * (1 + 8 * BENT)) ** dims
    share = found.sum(axis=(1, 2, 3)) / masks[0].sum()
    assert 1 / most < share.min() < 1 < share.max() < most


def test_nothing_is_mirrored_where_the_task_does_not_mirror():
    """The ball lies at .4 of the side; growing by exp(.1), .05 and .04 do not bring it to .6 as a mirror does."""

    def middles(flips):
        found = reshaped(balls(), 40, flips, np.random.default_rng(1))
        return np.stack([np.argwhere(mask[0]).mean(axis=0) / 32 for mask in found])

    furthest = SHIFT + BENT + 0.1 * (np.exp(SCALE) - 1) + 0.02
    assert (np.abs(middles("") - 0.4) < furthest).all()
    rows, columns = middles("i").T
    assert (np.abs(rows - 0.4) < furthest).all()
    mirrored = np.abs(columns - 0.6) < 0.08
    # Half of forty, four standard errors.
    assert 8 <= mirrored.sum() <= 32


def test_labels_and_what_was_not_annotated_stay_what_they_are():
    masks = balls(3, value=3)
    masks[:, :, :, :6] = IGNORE
    found = reshaped(masks, 6, "ji", np.random.default_rng(2))
    assert set(np.unique(found)) == {IGNORE, 0, 3}


def test_thin_things_do_not_vanish():
    """A line of one pixel: where it is made thinner a part of it is lost, where thicker there is more of it."""
    masks = np.zeros((1, 1, 32, 32), np.int16)
    masks[0, 0, 16] = 1
    found = reshaped(masks, 60, "", np.random.default_rng(3)).sum(axis=(1, 2, 3))
    assert found.min() > 8
    assert found.mean() == pytest.approx(32, rel=0.2)


def test_every_patient_is_used_as_often_and_all_depends_on_the_generator_given():
    masks = np.stack([np.full((1, 8, 8), value, np.int16) for value in (1, 2, 3)])
    found = reshaped(masks, 200, "", np.random.default_rng(4))
    counts = np.bincount(found[:, 0, 0, 0])[1:]
    assert counts.min() >= 66
    assert counts.max() <= 67
    again = reshaped(balls(), 5, "ji", np.random.default_rng(5))
    assert np.array_equal(again, reshaped(balls(), 5, "ji", np.random.default_rng(5)))
    assert not np.array_equal(again, reshaped(balls(), 5, "ji", np.random.default_rng(6)))

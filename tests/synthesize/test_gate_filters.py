"""The sieve: copies, wrong labels, what adds nothing and what lies far off go; everything is counted once."""

import numpy as np
import pytest

from lucency.synthesize.drawn import Drawn
from lucency.synthesize.gate.filters import (
    agreement,
    copy_distance,
    doubted,
    near_enough,
    nearest,
    sieved,
)


def images(n, labels=None, patients=None, masks=None):
    own = np.zeros((n, 1, 1, 4, 4), np.float32)
    labels = np.zeros(n) if labels is None else labels
    return Drawn(own, labels, np.array([f"p{k}" for k in range(n)] if patients is None else patients), masks)


def test_a_class_is_believed_by_the_probability_of_itself():
    outputs = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    assert agreement(outputs, images(3, [0, 0, 1])).tolist() == [0.9, 0.2, 0.5]


def test_a_mask_is_believed_by_its_soft_dice_worked_out_by_hand():
    mask = np.zeros((1, 1, 4, 4), np.int16)
    mask[0, 0, 0] = 1
    outputs = np.zeros((1, 2, 1, 4, 4))
    outputs[0, 1, 0, :2] = 0.5
    outputs[0, 0] = 1 - outputs[0, 1]
    # 2 * 4 * 0.5 inside, over 8 * 0.5 said and 4 drawn: 4 / 8.
    assert agreement(outputs, images(1, [-1], [""], mask)) == pytest.approx([0.5])


def test_an_empty_mask_is_right_where_nothing_is_found():
    outputs = np.zeros((1, 2, 1, 4, 4))
    outputs[0, 0] = 0.9
    outputs[0, 1] = 0.1
    assert agreement(outputs, images(1, [-1], [""], np.zeros((1, 1, 4, 4), np.int16))) == pytest.approx([0.9])


def test_of_what_adds_nothing_a_fifth_goes_at_most_the_surest_first():
    sureness = np.array([0.1, 0.5, 0.985, 0.99, 0.995, 0.999, 0.5, 0.6, 0.7, 0.8])
    wrong, trivial = doubted(sureness, np.zeros(10))
    assert np.flatnonzero(wrong).tolist() == [0]
    assert np.flatnonzero(trivial).tolist() == [4, 5]


def test_a_class_that_is_easy_throughout_keeps_most_of_its_images():
    """A fifth of 30 is 6, and class 0 has 5: it would lose all of them by the surest of the whole."""
    sureness, labels = np.r_[np.full(5, 0.999), np.full(25, 0.985)], np.repeat([0, 1], [5, 25])
    _, trivial = doubted(sureness, labels)
    assert [int(trivial[labels == k].sum()) for k in (0, 1)] == [1, 5]


def test_distances_are_the_same_in_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(size=(25, 3)), rng.normal(size=(40, 3))
    whole = nearest(ours, theirs, 5)
    monkeypatch.setattr("lucency.synthesize.gate.filters.BLOCK", 7)
    assert nearest(ours, theirs, 5) == pytest.approx(whole)
    expected = np.sort(np.linalg.norm(ours[:, None] - theirs[None], axis=2), axis=1)[:, :5].mean(axis=1)
    assert whole == pytest.approx(expected)


def test_images_of_one_patient_do_not_make_copies_look_usual():
    places = np.array([[0.0], [0.001], [5.0], [5.001], [11.0], [11.001]])
    people = np.array(["a", "a", "b", "b", "c", "c"])
    assert copy_distance(places, people) > 4.9
    assert copy_distance(places[:2], people[:2]) == 0.0


def test_the_nearest_share_is_kept():
    made, real = np.arange(10.0)[:, None], np.zeros((5, 1))
    assert np.flatnonzero(near_enough(made, real)).tolist() == list(range(7))


def test_every_image_is_kept_or_lost_once_and_copies_come_first():
    rng = np.random.default_rng(4)
    theirs = rng.normal(size=(200, 2)) + np.repeat([[0, 0], [9, 9]], 100, axis=0)
    real = images(200, np.repeat([0, 1], 100))
    ours = rng.normal(size=(60, 2)) + np.repeat([[0, 0], [9, 9]], 30, axis=0)
    ours[:3] = theirs[:3]
    ours[3] = [40, 40]
    sureness = np.full(60, 0.7)
    sureness[[0, 10, 11]] = 0.05
    made = images(60, np.repeat([0, 1], 30), [""] * 60)
    found = sieved(made, real, sureness, (ours, theirs))
    assert found.lost["copies"] >= 3
    assert found.lost["label"] == 2
    assert found.lost["trivial"] == 0
    assert len(found.kept) + sum(found.lost.values()) == 60
    assert not {0, 1, 2, 3, 10, 11} & set(found.kept.tolist())


def test_a_class_that_no_real_image_has_is_left_out():
    theirs = np.random.default_rng(0).normal(size=(20, 2))
    made = images(4, [0, 0, 1, 1], [""] * 4)
    found = sieved(made, images(20), np.full(4, 0.6), (theirs[:4] + 0.5, theirs))
    assert set(made.labels[found.kept].tolist()) <= {0}

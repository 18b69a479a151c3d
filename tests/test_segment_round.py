"""Masks that were drawn as ellipses, and found ones that are made such: only where that is true and helps."""

import numpy as np
import pytest
from scipy import ndimage

from lucency import metrics
from lucency.calibration import Calibration
from lucency.losses import IGNORE
from lucency.tasks import task_named
from lucency.tasks.segment import _largest, _made_round
from lucency.text import sentence
from tiny import plan_for

SEGMENT = task_named("segment")
SIZE = (64, 80)
PLAN = plan_for("segment", dims=2, size=(1, *SIZE), labels={1: "head"})


def drawn(rng, *, square=False):
    """A head somewhere, and what a network gives for it: a border that wobbles, and a speck."""
    j, i = np.mgrid[: SIZE[0], : SIZE[1]]
    centre, axes = rng.uniform((28, 34), (36, 46)), rng.uniform((12, 16), (17, 24))
    away = np.stack([(j - centre[0]) / axes[0], (i - centre[1]) / axes[1]])
    radius = np.abs(away).max(axis=0) if square else np.hypot(*away)
    true, angle = radius < 1, np.arctan2(*away)
    found = radius < 1 + 0.1 * np.sin(rng.integers(4, 9) * angle + rng.uniform(0, 6))
    found[2, 3:6] = True
    logits = np.where(found, 2.0, -2.0)
    return np.stack([-logits, logits])[:, None].astype(np.float32), true[None].astype(np.int16)


def learned(n=16, **how):
    rng = np.random.default_rng(0)
    raw, targets = zip(*(drawn(rng, **how) for _ in range(n)), strict=True)
    return SEGMENT.calibrate(raw, targets, PLAN, rng), raw, targets


def dice_of(raw, targets, calibration):
    scores = []
    for output, target in zip(raw, targets, strict=True):
        index = output.argmax(axis=0)
        for label, yes in enumerate(np.atleast_1d(calibration.extra.get("largest_component", ())), start=1):
            if yes:
                index[(index == label) & ~_largest(index == label)] = 0
        _made_round(index, calibration)
        scores.append(metrics.mask_scores(target == 1, index == 1, (1.0, 1.0, 1.0), 1.0).dice)
    return float(np.mean(scores))


def test_ellipses_are_learned_where_the_truth_is_one_and_bring_masks_closer():
    calibration, raw, targets = learned()
    assert calibration.extra["ellipse"] == (1.0,)
    assert calibration.extra["largest_component"] == (1.0,)
    plain = Calibration(extra={"largest_component": (1.0,)})
    assert dice_of(raw, targets, calibration) > dice_of(raw, targets, plain) + 0.005


def test_what_is_not_round_stays_as_it_was_found():
    calibration, _, _ = learned(square=True)
    assert calibration.extra["ellipse"] == (0.0,)


def test_a_handful_of_cases_proves_nothing():
    calibration, _, _ = learned(n=9)
    assert calibration.extra["ellipse"] == (0.0,)


def test_masks_that_are_right_already_gain_nothing():
    rng = np.random.default_rng(1)
    targets = [drawn(rng)[1] for _ in range(16)]
    raw = [np.stack([-t, t]).astype(np.float32) * 2 - 1 for t in targets]
    assert SEGMENT.calibrate(raw, targets, PLAN, rng).extra["ellipse"] == (0.0,)


def test_what_nobody_annotated_is_no_reason():
    _, raw, targets = learned()
    hidden = [np.where(np.arange(SIZE[1]) < 30, IGNORE, t).astype(np.int16) for t in targets]
    # Half heads are no ellipses.
    assert SEGMENT.calibrate(raw, hidden, PLAN, np.random.default_rng(0)).extra["ellipse"] == (0.0,)


def test_another_label_is_not_painted_over():
    _, raw, _ = learned(n=1)
    index = raw[0].argmax(axis=0)
    index[0, 30:34, 36:44] = 2
    depths = _made_round(index, Calibration(extra={"ellipse": (1.0, 0.0)}))
    assert (index[0, 30:34, 36:44] == 2).all()
    assert set(depths) == {1}
    # A speck is too small to have a shape, and stays as it is.
    assert (_largest(index == 1) <= (depths[1] > 0)).all()


@pytest.mark.parametrize(("yes", "said"), [(1.0, True), (0.0, False)])
def test_the_report_says_so(yes, said):
    remarks = SEGMENT.remarks(PLAN, Calibration(extra={"ellipse": (yes,)}))
    assert bool(remarks) == said
    assert all("head" in sentence(r, "zh") and "椭圆" in sentence(r, "zh") for r in remarks)


def test_two_things_of_a_label_stay_two():
    j, i = np.mgrid[: SIZE[0], : SIZE[1]]
    two = (np.hypot((j - 20) / 8, (i - 20) / 11) < 1) | (np.hypot((j - 40) / 12, (i - 58) / 9) < 1)
    index = two[None].astype(int)
    index[0, 18:22, 7:14] = 0
    depths = _made_round(index, Calibration(extra={"ellipse": (1.0,)}))
    assert ndimage.label(index)[1] == 2
    assert np.array_equal(index[0] == 1, depths[1][0] > 0)
    assert (index[0] != two).sum() < 0.05 * two.sum()

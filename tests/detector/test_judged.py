"""What scores are worth, learned from boxes that were right or wrong."""

import numpy as np
import pytest

from lucency.boxes import Box
from lucency.detector.judged import CALIBRATED_FROM, LIKELY, Table, score_line, told_from


def square(score: float, at: float, label: str = "a") -> Box:
    return Box(label, (0.0, at, at), (1.0, at + 4, at + 4), score)


def test_the_threshold_is_where_f1_is_highest() -> None:
    # 24 right boxes of .8, 6 wrong ones of .7, 6 right ones of .6, 40 wrong ones of .2; 40 were drawn. F1 of those from
    # .8 on: 48 / 64 = .75; from .7: 48 / 70 = .69; from .6: 60 / 76 = .79; of all: 60 / 116 = .52. Half way to .2: .4.
    said = np.array([0.2] * 40 + [0.8] * 24 + [0.7] * 6 + [0.6] * 6)
    came = np.array([False] * 40 + [True] * 24 + [False] * 6 + [True] * 6)
    assert told_from(said, came, 40) == pytest.approx(0.4)
    # Were 30 drawn and all the others wrong, the 24 are best told alone: .75 is half way to the next.
    assert told_from(said[:70], came[:70], 30) == pytest.approx(0.75)


def test_a_threshold_of_its_own_needs_enough_right_boxes() -> None:
    said = np.linspace(0.1, 0.2, CALIBRATED_FROM)
    assert told_from(said, np.ones(CALIBRATED_FROM, bool), CALIBRATED_FROM) < 0.1
    assert told_from(said[1:], np.ones(CALIBRATED_FROM - 1, bool), CALIBRATED_FROM) == LIKELY
    assert told_from(np.zeros(0), np.zeros(0, bool), 3) == LIKELY


def test_scores_that_promise_too_much_are_brought_down() -> None:
    rng = np.random.default_rng(0)
    said = rng.uniform(0.3, 0.95, 4000)
    # The truth is a logit lower than what was said.
    p = 1 / (1 + np.exp(-(np.log(said / (1 - said)) - 1)))
    slope, offset = score_line(said, rng.random(4000) < p)
    assert slope == pytest.approx(1, abs=0.15)
    assert offset == pytest.approx(-1, abs=0.15)
    assert score_line(said[:30], np.ones(30)) == (1.0, 0.0)


def test_the_error_of_scores_weighs_bins_by_their_boxes() -> None:
    # One image: .9 right and .9 wrong (gap .4 of each), .3 wrong (gap .3): (2 · .4 + .3) / 3.
    drawn = [[square(1, 0)]]
    table = Table([[square(0.9, 0), square(0.9, 20), square(0.3, 40)]], drawn, ["a"])
    assert table.score_error(np.ones((1, 1)))[0] == pytest.approx((0.8 + 0.3) / 3)
    assert table.precision("a", 0.5)(np.ones((1, 1)))[0] == pytest.approx(1.0)

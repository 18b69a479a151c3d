"""How far pairs lie apart, found again where it was planted."""

import numpy as np
import pytest
from pairs import pair

from lucency.translation import displacement


@pytest.mark.parametrize(("rows", "columns"), [(3, 0), (0, -4), (2, 2), (-5, 1)])
def test_a_planted_shift_is_found_across_contrasts(rows, columns):
    first, second, _ = pair(np.random.default_rng(1), 64)
    apart, agreement = displacement(first, np.roll(second, (rows, columns), (0, 1)))
    assert apart == pytest.approx(np.hypot(rows, columns), abs=1.0)
    assert agreement > 0.3


def test_pairs_that_lie_on_each_other_are_not_moved():
    for seed in range(5):
        first, second, _ = pair(np.random.default_rng(seed), 64)
        assert displacement(first, second)[0] == 0


def test_an_image_without_edges_says_nothing():
    first, _, _ = pair(np.random.default_rng(0), 64)
    assert displacement(first, np.full((64, 64), 7)) == (0.0, 0.0)


def test_turning_both_images_changes_nothing():
    first, second, _ = pair(np.random.default_rng(2), 64)
    moved = np.roll(second, 3, 0)
    assert displacement(first, moved)[0] == displacement(first[::-1], moved[::-1])[0]
    assert displacement(first, moved)[0] == displacement(first.T, moved.T)[0]

"""Foreign images: the distance by hand, the false alarm by counting, and what lies elsewhere is far."""

import numpy as np
import pytest

from lucency import record
from lucency.errors import DataError
from lucency.foreign import FALSE_ALARM, Foreign, learn


def test_distance_by_hand():
    # One axis with deviation 2 along the first feature, 1 in what is left; scale 1, centre 0.
    foreign = Foreign((0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (2.0,), 1.0, (0.5, 1.0))
    # (4 / 2)² + (3 / 1)² = 13, over two features.
    assert foreign.distances(np.array([[4.0, 3.0]]))[0] == pytest.approx((13 / 2) ** 0.5)


def test_chance_counts_held_out_images_that_lie_as_far():
    foreign = Foreign((0.0,), (1.0,), (1.0,), (1.0,), 1.0, (1.0, 2.0, 3.0, 4.0))
    # At 3: 3 and 4 are as far, (1 + 2) / (4 + 1); beyond all: 1 / 5; nearer than all: 5 / 5.
    assert foreign.chances(np.array([[3.0], [9.0], [0.1]])).tolist() == [0.6, 0.2, 1.0]
    assert not foreign.can_tell


@pytest.mark.parametrize("seed", range(3))
def test_false_alarm_is_what_is_stated_and_what_lies_elsewhere_is_called(seed):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(12, 60))

    def usual(n):
        return rng.gamma(2.0, size=(n, 12)) @ mix + 0.3 * rng.normal(size=(n, 60)) + 5

    found = learn(usual(300), usual(199))
    assert found is not None
    assert found.can_tell
    alarms = found.chances(usual(4000)) <= FALSE_ALARM
    # 199 held-out images: the share varies by 1.5 points; four deviations.
    assert abs(alarms.mean() - FALSE_ALARM) < 0.065
    # The same directions but elsewhere, and other directions at the same place.
    assert (found.chances(usual(100) + 15 * mix[0]) <= FALSE_ALARM).mean() > 0.9
    assert (found.chances(usual(100) + 3 * rng.normal(size=(100, 60))) <= FALSE_ALARM).mean() > 0.9


def test_a_feature_that_never_varied_does_not_divide_by_nothing():
    rng = np.random.default_rng(0)
    x = np.c_[rng.normal(size=(50, 5)), np.ones(50)]
    found = learn(x[:30], x[30:])
    assert found is not None
    assert np.isfinite(found.distances(x)).all()
    assert found.chances(np.array([[0, 0, 0, 0, 0, 2.0]]))[0] == pytest.approx(1 / 21)


def test_too_few_images_teach_nothing():
    assert learn(np.ones((19, 4)), np.ones((5, 4))) is None
    assert learn(np.ones((40, 4)), np.ones((0, 4))) is None


def test_it_comes_back_from_a_file(tmp_path):
    rng = np.random.default_rng(1)
    found = learn(rng.normal(size=(40, 6)), rng.normal(size=(20, 6)))
    record.write(tmp_path / "foreign.json", found)
    assert record.read(Foreign, tmp_path / "foreign.json") == found
    with pytest.raises(DataError, match="another length"):
        Foreign((0.0, 1.0), (1.0,), (), (), 1.0, ())

"""Numbers about rankings, worked out by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from lucency.ranking import average_precision, discounted_gain, precision_at


def test_precision_counts_missing_places_as_wrong():
    assert precision_at([np.array([True, True])], 10).tolist() == [0.2]


def test_average_precision_by_hand():
    # Right at places 1, 3 and 4: (1/1 + 2/3 + 3/4) / 3.
    found = average_precision([np.array([True, False, True, True]), np.array([False])])
    assert found[0] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert np.isnan(found[1])


def test_gain_is_one_where_all_right_ones_are_in_front():
    assert discounted_gain([np.array([True, True, False, False])], 3)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    right = rng.random(30) < 0.4
    score = np.linspace(1, 0, 30)
    assert average_precision([right])[0] == pytest.approx(average_precision_score(right, score))
    assert discounted_gain([right], 10)[0] == pytest.approx(ndcg_score([right.astype(int)], [score], k=10))

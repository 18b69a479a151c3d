"""Time cut into intervals, by hand, and back to the curve."""

import numpy as np
import pytest

from lucency.errors import DataError
from lucency.survival.curves import aalen_johansen
from lucency.survival.intervals import edges_of, incidence_at, incidence_of, labelled, marginal_logits, median_days
from lucency.survival.outcome import Outcomes

EDGES = np.array([0.0, 10, 20, 40])


def test_what_each_patient_tells_of_each_interval():
    outcomes = Outcomes(np.array([10.0, 11, 14, 16, 30, 50, 0]), np.array([1, 2, 0, 0, 0, 1, 1]))
    at_risk, kind = labelled(outcomes, EDGES)
    assert at_risk.astype(int).tolist() == [
        [1, 0, 0],  # the event on the last day of the first interval
        [1, 1, 0],
        [1, 0, 0],  # last seen before the middle of the second
        [1, 1, 0],  # beyond it
        [1, 1, 1],
        [1, 1, 1],  # an event beyond the last edge is not seen
        [1, 0, 0],
    ]
    assert kind.tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_hazards_become_a_curve():
    # Hazards 1/2 (odds 1) and 1/5 (odds 1/4): 1/2, then 1/2 + 1/2 · 1/5.
    found = incidence_of(np.log(np.array([[[1.0, 0.25]]])))
    assert found[0, 0] == pytest.approx([0.5, 0.6])


def test_causes_share_what_is_lost():
    found = incidence_of(np.log(np.array([[[1.0, 1.0], [2.0, 2.0]]])))
    # Of four parts one is cause 1, two cause 2, one neither: 1/4, 1/2; then a quarter of that again.
    assert found[0] == pytest.approx(np.array([[0.25, 0.3125], [0.5, 0.625]]))


def test_marginal_hazards_follow_the_curve_of_the_patients():
    rng = np.random.default_rng(0)
    time, end = rng.exponential(300, 3000), rng.uniform(0, 900, 3000)
    outcomes = Outcomes(np.minimum(time, end), np.where(time <= end, rng.integers(1, 3, 3000), 0))
    edges = edges_of(outcomes.time[outcomes.event > 0])
    found = incidence_of(marginal_logits(outcomes, edges, 2)[None])[0]
    for cause in (1, 2):
        assert found[cause - 1, :-2] == pytest.approx(aalen_johansen(outcomes, cause).at(edges[1:-2]), abs=0.02)


def test_extreme_logits_stay_probabilities():
    found = incidence_of(np.array([[[900.0, -900.0], [-900.0, 900.0]]]))
    assert np.isfinite(found).all()
    assert found.sum(axis=1).max() <= 1 + 1e-12


def test_edges_hold_about_as_many_events_each():
    times = np.random.default_rng(1).exponential(500, 400)
    edges = edges_of(times)
    held = np.histogram(times, edges)[0]
    assert len(held) == 20
    assert held.min() >= 15
    assert edges[-1] == times.max()
    assert len(edges_of(np.array([5.0, 5, 5, 5, 5, 5]))) == 2
    with pytest.raises(DataError, match="No event after day 0"):
        edges_of(np.zeros(3))


def test_curve_between_edges_and_its_median():
    incidence = np.array([[0.2, 0.4, 0.6]])
    assert incidence_at(incidence, EDGES, np.array([0, 5.0, 15, 99]))[0] == pytest.approx([0, 0.1, 0.3, 0.6])
    # Half way between .4 and .6, so half way between days 20 and 40.
    assert median_days(incidence[0], EDGES) == pytest.approx(30)
    assert median_days(np.array([0.1, 0.2, 0.49]), EDGES) is None

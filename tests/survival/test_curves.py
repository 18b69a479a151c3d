"""Curves by hand and beside lifelines."""

import numpy as np
import pytest

from lucency.errors import DataError
from lucency.survival.curves import aalen_johansen, kaplan_meier, log_rank
from lucency.survival.outcome import Outcomes


def drawn(seed, n=80, causes=1, *, ties=False):
    """Patients with exponential times; ties where times are whole months."""
    rng = np.random.default_rng(seed)
    time, end = rng.exponential(500, n), rng.uniform(50, 1500, n)
    event = np.where(time <= end, rng.integers(1, causes + 1, n), 0)
    observed = np.minimum(time, end)
    return Outcomes(np.ceil(observed / 30) * 30 if ties else observed, event)


def test_survival_by_hand():
    # 5 patients: event at 1, censored at 2, two events at 3, censored at 4.
    curve = kaplan_meier(Outcomes(np.array([1.0, 2, 3, 3, 4]), np.array([1, 0, 1, 1, 0])))
    # 4/5 after day 1; of 3 at risk on day 3 two die: 4/5 · 1/3.
    assert curve.at(np.array([0.5, 1, 2.9, 3, 99])) == pytest.approx([1, 0.8, 0.8, 0.8 / 3, 0.8 / 3])
    assert curve.median == 3.0


def test_median_that_is_not_reached_is_unknown():
    assert kaplan_meier(Outcomes(np.array([1.0, 2, 3, 4]), np.array([1, 0, 0, 0]))).median is None


def test_competing_events_share_what_survival_loses():
    outcomes = drawn(3, causes=2)
    at = np.array([100.0, 400.0, 900.0])
    lost = 1 - kaplan_meier(outcomes).at(at)
    assert aalen_johansen(outcomes, 1).at(at) + aalen_johansen(outcomes, 2).at(at) == pytest.approx(lost)
    # One minus Kaplan–Meier of one cause alone claims more than came.
    assert (1 - kaplan_meier(outcomes.of(1)).at(at) > aalen_johansen(outcomes, 1).at(at)).all()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_survival_and_interval_are_those_of_lifelines(seed, ties):
    lifelines = pytest.importorskip("lifelines")
    outcomes = drawn(seed, ties=ties)
    theirs = lifelines.KaplanMeierFitter().fit(outcomes.time, outcomes.event)
    ours, at = kaplan_meier(outcomes), np.array([60.0, 300.0, 700.0])
    assert ours.at(at) == pytest.approx(theirs.survival_function_at_times(at).to_numpy())
    for t in at:
        band = theirs.confidence_interval_survival_function_.loc[:t].iloc[-1].to_numpy()
        assert ours.band(t) == pytest.approx(band, abs=1e-9)


def test_incidence_and_variance_are_those_of_lifelines():
    lifelines = pytest.importorskip("lifelines")
    outcomes = drawn(5, causes=2)
    theirs = lifelines.AalenJohansenFitter(calculate_variance=True).fit(outcomes.time, outcomes.event, 1)
    ours = aalen_johansen(outcomes, 1)
    for t in (200.0, 800.0):
        assert float(ours.at(t)) == pytest.approx(float(theirs.cumulative_density_.loc[:t].iloc[-1, 0]))
        low, high = theirs.confidence_interval_.loc[:t].iloc[-1].to_numpy()
        assert ours.band(t) == pytest.approx((low, high), abs=0.01)


@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_log_rank_is_that_of_lifelines(groups, ties):
    statistics = pytest.importorskip("lifelines.statistics")
    outcomes = drawn(7, ties=ties)
    group = np.random.default_rng(1).integers(0, groups, len(outcomes))
    theirs = statistics.multivariate_logrank_test(outcomes.time, group, outcomes.event)
    assert log_rank(outcomes, group) == pytest.approx((theirs.test_statistic, theirs.p_value))


def test_log_rank_of_one_group_is_undefined():
    assert np.isnan(log_rank(drawn(0), np.zeros(80))).all()


@pytest.mark.parametrize(("time", "event"), [([-1.0], [1]), ([np.nan], [1]), ([1.0], [-1]), ([], []), ([1.0, 2], [1])])
def test_outcomes_that_cannot_be_are_refused(time, event):
    with pytest.raises(DataError):
        Outcomes(np.array(time), np.array(event, dtype=int))


@pytest.mark.parametrize("seed", [2, 6, 9])
def test_the_band_of_an_incidence_that_ends_a_rounding_error_below_1_is_finite(seed):
    # The last of all has the event; of seeds 0 to 59 these were among those whose log(-log) scale overflowed.
    rng = np.random.default_rng(seed)
    time, event = rng.integers(1, 400, 50).astype(float), (rng.random(50) < 0.7).astype(int)
    event[time.argmax()] = 1
    curve = aalen_johansen(Outcomes(time, event))
    assert curve.value[-1] == pytest.approx(1.0)
    assert ((curve.lower <= curve.value + 1e-12) & (curve.value <= curve.upper + 1e-12)).all()

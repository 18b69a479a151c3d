"""Ranking and errors under censoring, by hand and beside scikit-survival and lifelines."""

import numpy as np
import pytest

from lucency.statistics import resampled
from lucency.survival.agreement import brier_at, calibration_at, expected_ratio, integrated_brier
from lucency.survival.outcome import Outcomes
from lucency.survival.ranking import auc_at, censoring, concordance


def drawn(seed, n=90):
    """Patients whose risk is known, and a score that half knows it."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    time, end = rng.exponential(600 * np.exp(-risk)), rng.uniform(100, 2000, n)
    return Outcomes(np.minimum(time, end), (time <= end).astype(int)), risk + rng.normal(size=n)


def surv(outcomes):
    util = pytest.importorskip("sksurv.util")
    return util.Surv.from_arrays(outcomes.event.astype(bool), outcomes.time)


def one(statistic, n):
    return float(statistic(np.ones((1, n)))[0])


def test_pairs_by_hand():
    # Events on days 1 and 3, censored on days 2 and 4. Pairs: 1 before 2, 3, 4; 3 before 4. Risks 4 1 2 3:
    # three right, the last wrong.
    outcomes = Outcomes(np.array([1.0, 2, 3, 4]), np.array([1, 0, 1, 0]))
    risk = np.array([4.0, 1, 2, 3])
    assert one(concordance(outcomes, risk, uno=False), 4) == pytest.approx(3 / 4)
    # Day 3 is reached uncensored with probability 2/3, so its pair weighs (3/2)² = 2.25.
    assert one(concordance(outcomes, risk), 4) == pytest.approx(3 / (3 + 2.25))
    assert one(concordance(outcomes, np.zeros(4)), 4) == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_concordance_is_that_of_scikit_survival(seed):
    metrics = pytest.importorskip("sksurv.metrics")
    outcomes, risk = drawn(seed)
    y = surv(outcomes)
    assert one(concordance(outcomes, risk, uno=False), 90) == pytest.approx(
        metrics.concordance_index_censored(y["event"], y["time"], risk)[0]
    )
    for tau in (None, 500.0):
        theirs = metrics.concordance_index_ipcw(y, y, risk, tau=tau)[0]
        assert one(concordance(outcomes, risk, tau=tau), 90) == pytest.approx(theirs)


def test_harrell_is_that_of_lifelines_with_tied_times_and_risks():
    utils = pytest.importorskip("lifelines.utils")
    outcomes, risk = drawn(4)
    coarse, rounded = Outcomes(np.ceil(outcomes.time / 100), outcomes.event), np.round(risk)
    ours = one(concordance(coarse, rounded, uno=False), 90)
    assert ours == pytest.approx(utils.concordance_index(coarse.time, -rounded, coarse.event), abs=1e-9)


@pytest.mark.parametrize("horizon", [200.0, 700.0])
def test_auc_is_that_of_scikit_survival(horizon):
    metrics = pytest.importorskip("sksurv.metrics")
    outcomes, risk = drawn(5)
    theirs = metrics.cumulative_dynamic_auc(surv(outcomes), surv(outcomes), risk, [horizon])[0][0]
    assert one(auc_at(outcomes, risk, horizon), 90) == pytest.approx(theirs)


def test_brier_is_that_of_scikit_survival():
    metrics = pytest.importorskip("sksurv.metrics")
    outcomes, risk = drawn(6)
    times = np.linspace(100, 900, 9)
    incidence = 1 - np.exp(-np.outer(np.exp(risk), times / 900))
    y = surv(outcomes)
    assert brier_at(outcomes, incidence, times)(np.ones((1, 90)))[0] == pytest.approx(
        metrics.brier_score(y, y, 1 - incidence, times)[1]
    )
    assert one(integrated_brier(outcomes, incidence, times), 90) == pytest.approx(
        metrics.integrated_brier_score(y, y, 1 - incidence, times)
    )


@pytest.mark.parametrize("kind", ["uno", "harrell", "auc", "brier"])
def test_a_weight_of_two_is_the_patient_twice(kind):
    outcomes, risk = drawn(7, 40)
    twice = np.concatenate([np.arange(40), np.arange(15)])
    weights = np.ones((1, 40))
    weights[0, :15] = 2

    def statistic(o, r):
        if kind == "auc":
            return auc_at(o, r, 500.0)
        if kind == "brier":
            return integrated_brier(o, 1 / (1 + np.exp(-np.stack([r - 1, r], axis=1))), np.array([200.0, 600.0]))
        return concordance(o, r, uno=kind == "uno")

    again = statistic(outcomes.take(twice), risk[twice])(np.ones((1, 55)))
    assert statistic(outcomes, risk)(weights) == pytest.approx(again)


def test_resampling_surrounds_the_estimate():
    outcomes, risk = drawn(8)
    statistic = concordance(outcomes, risk, tau=900.0)
    values = resampled(statistic, np.arange(90), np.random.default_rng(0), 400)
    low, high = np.quantile(values, [0.025, 0.975])
    assert low < one(statistic, 90) < high
    assert 0.02 < high - low < 0.3


def test_censoring_counts_events_before_those_censored_on_the_same_day():
    outcomes = Outcomes(np.array([1.0, 1, 2, 3]), np.array([0, 1, 0, 1]))
    # Day 1: the event goes first, then one of three is censored: 2/3; day 2: one of two: 1/3.
    assert censoring(outcomes, np.ones((1, 4)), np.array([1.0, 2.0, 2.5]))[0] == pytest.approx([1, 2 / 3, 1 / 3])


def test_competing_events_count_as_known_to_be_free_of_the_event():
    outcomes = Outcomes(np.array([1.0, 2, 5]), np.array([1, 2, 0]))
    # Nobody is censored by day 3: squares (1 - .7)², .4², .1².
    found = brier_at(outcomes, np.array([[0.7], [0.4], [0.1]]), np.array([3.0]))(np.ones((1, 3)))
    assert float(found[0, 0]) == pytest.approx((0.09 + 0.16 + 0.01) / 3)


def test_calibration_of_the_truth_is_right_and_of_half_of_it_is_not():
    rng = np.random.default_rng(9)
    p = rng.uniform(0.1, 0.9, 4000)
    time = np.where(rng.random(4000) < p, rng.uniform(0, 365, 4000), 400.0)
    outcomes = Outcomes(time, (time < 365).astype(int))
    bins = calibration_at(outcomes, p, 365.0, 5)
    assert [b.n for b in bins] == [800] * 5
    assert all(b.lower <= b.predicted <= b.upper or abs(b.predicted - b.observed) < 0.05 for b in bins)
    assert expected_ratio(outcomes, p, 365.0) == pytest.approx(1.0, abs=0.05)
    assert expected_ratio(outcomes, p / 2, 365.0) == pytest.approx(2.0, abs=0.1)
    assert len(calibration_at(outcomes, np.full(4000, 0.5), 365.0, 5)) == 1

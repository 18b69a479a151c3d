"""Cox regression beside lifelines and scikit-survival, and by what must hold."""

import numpy as np
import pytest

from lucency.survival.cox import fit_cox, fit_penalised_cox
from lucency.survival.outcome import Outcomes


def drawn(seed, n=200, p=3, *, ties=False):
    """Patients whose log hazard is the first column minus half the second."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(n, p))
    time = rng.exponential(500 * np.exp(-table[:, 0] + table[:, 1] / 2))
    end = rng.uniform(50, 1500, n)
    observed = np.minimum(time, end)
    return table, Outcomes(np.ceil(observed / 60) if ties else observed, (time <= end).astype(int))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("penalty", [0.0, 20.0])
def test_weights_are_those_of_lifelines(ties, penalty):
    lifelines = pytest.importorskip("lifelines")
    pandas = pytest.importorskip("pandas")
    table, outcomes = drawn(0, ties=ties)
    frame = pandas.DataFrame(table).assign(t=outcomes.time, e=outcomes.event)
    # There the log likelihood is divided by the patients, and columns are standardised inside.
    theirs = lifelines.CoxPHFitter(penalizer=penalty / len(outcomes)).fit(frame, "t", "e").params_.to_numpy()
    scaled = (table - table.mean(axis=0)) / table.std(axis=0, ddof=1)
    ours = fit_cox(scaled, outcomes, penalty).weight / table.std(axis=0, ddof=1)
    assert ours == pytest.approx(theirs, abs=1e-3)


def test_incidence_is_that_of_scikit_survival():
    linear = pytest.importorskip("sksurv.linear_model")
    util = pytest.importorskip("sksurv.util")
    table, outcomes = drawn(1)
    y = util.Surv.from_arrays(outcomes.event.astype(bool), outcomes.time)
    theirs = linear.CoxPHSurvivalAnalysis(ties="efron").fit(table, y).predict_survival_function(table[:4])
    ours = fit_cox(table, outcomes)
    at = np.array([100.0, 500.0])
    assert 1 - ours.incidence(table[:4], at) == pytest.approx(np.array([[f(t) for t in at] for f in theirs]), abs=1e-5)


def test_the_penalty_grows_when_the_columns_say_nothing():
    table, outcomes = drawn(2)
    told = fit_penalised_cox(table, outcomes, np.random.default_rng(0))
    noise = np.random.default_rng(3).normal(size=(200, 30))
    silent = fit_penalised_cox(noise, outcomes, np.random.default_rng(0))
    assert told.penalty < silent.penalty
    assert told.weight[0] > 0.7
    assert np.abs(silent.weight).max() < 0.3


def test_more_columns_than_patients_still_fit():
    table, outcomes = drawn(4, n=40, p=100)
    found = fit_penalised_cox(table, outcomes, np.random.default_rng(0))
    assert np.isfinite(found.weight).all()
    assert np.isfinite(found.incidence(table, np.array([300.0]))).all()

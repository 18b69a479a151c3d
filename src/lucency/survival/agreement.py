"""Is 30 % right about 30 times in a hundred? Brier scores under censoring, and calibration at a horizon."""

from dataclasses import dataclass

import numpy as np

from lucency.survival.curves import aalen_johansen
from lucency.survival.outcome import Outcomes
from lucency.survival.ranking import Statistic, censoring


def brier_at(outcomes: Outcomes, incidence: np.ndarray, times: np.ndarray) -> "Statistic":
    """Return the Brier score at each time as a function of weights: (b, n) -> (b, m).

    Args:
        outcomes: Of the cause in question; where there are competing events see ``known`` in :func:`_terms`.
        incidence: (n, m) predicted probability of the event by each time.
        times: (m,) days, ascending.

    Source:
        Graf 1999, doi:10.1002/(SICI)1097-0258(19990915/30)18:17/18<2529::AID-SIM274>3.0.CO;2-5; competing events:
        Schoop 2011, doi:10.1002/bimj.201000073.
    """
    square = np.asarray(incidence, dtype=np.float64) ** 2
    away = (1 - np.asarray(incidence, dtype=np.float64)) ** 2
    time, event = outcomes.time[:, None], outcomes.event[:, None]
    ours, others, well = (event == 1) & (time <= times), (event > 1) & (time <= times), time > times

    def statistic(weights: np.ndarray) -> np.ndarray:
        weights = np.asarray(weights, dtype=np.float64)
        ever = outcomes.any()
        by_then = _inverse(censoring(ever, weights, outcomes.time))
        still = _inverse(censoring(ever, weights, np.nextafter(times, np.inf)))
        total = (weights * by_then) @ (ours * away + others * square) + still * (weights @ (well * square))
        return np.asarray(total / weights.sum(axis=1, keepdims=True))

    return statistic


def _inverse(probability: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(1.0, probability, out=np.zeros_like(probability), where=probability > 0))


def integrated_brier(outcomes: Outcomes, incidence: np.ndarray, times: np.ndarray) -> Statistic:
    """Return the Brier score averaged over the span of ``times`` (trapezoids), as a statistic of weighted cases.

    Args:
        outcomes: As in :func:`brier_at`.
        incidence: (n, m).
        times: (m,) days, ascending, at least two.
    """
    each = brier_at(outcomes, incidence, times)
    width = float(times[-1] - times[0])
    return lambda weights: np.asarray(np.trapezoid(each(weights), times, axis=1) / width)


@dataclass(frozen=True)
class Bin:
    """Patients of about the same predicted probability.

    Args:
        predicted: Mean predicted probability of the event by the horizon.
        observed: What came: cumulative incidence at the horizon (Aalen–Johansen).
        lower: Lower end of its 95 % interval.
        upper: Upper end.
        n: Patients.
    """

    predicted: float
    observed: float
    lower: float
    upper: float
    n: int


def calibration_at(outcomes: Outcomes, predicted: np.ndarray, horizon: float, n_bins: int) -> tuple[Bin, ...]:
    """Return what was predicted for a horizon beside what came, in bins of equal size from low to high.

    Args:
        outcomes: Cause 1 is judged, the others compete.
        predicted: (n,) probability of the event by the horizon.
        horizon: Days.
        n_bins: Wanted; equal predictions are never torn apart, so there may be fewer.
    """
    cuts = np.unique(np.quantile(predicted, np.arange(1, n_bins) / n_bins))
    place = np.searchsorted(cuts, predicted, side="right")
    found = []
    for number in np.unique(place):
        inside = place == number
        came = aalen_johansen(outcomes.take(inside))
        lower, upper = came.band(horizon)
        found.append(Bin(float(predicted[inside].mean()), float(came.at(horizon)), lower, upper, int(inside.sum())))
    return tuple(found)


def expected_ratio(outcomes: Outcomes, predicted: np.ndarray, horizon: float) -> float:
    """Return observed over expected events by the horizon: 1 is right, above 1 too few were predicted."""
    expected = float(np.mean(predicted))
    return float(aalen_johansen(outcomes).at(horizon)) / expected if expected > 0 else float("nan")

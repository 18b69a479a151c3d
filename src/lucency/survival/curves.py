"""Curves over time: Kaplan–Meier, Aalen–Johansen, numbers at risk, and the log-rank test between groups."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from lucency.survival.outcome import Outcomes

#: Standard errors on either side of a 95 % interval.
NORMAL = float(special.ndtri(0.975))


@dataclass(frozen=True, eq=False)
class Curve:
    """A step function over time, with its 95 % interval.

    Args:
        time: (m,) days, ascending, the first 0.
        value: (m,) 0 to 1: from ``time`` on, until the next.
        lower: (m,) lower end of the pointwise interval.
        upper: (m,) upper end.
    """

    time: np.ndarray
    value: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def at(self, time: "np.ndarray | float") -> np.ndarray:
        """Return the value at times, the last known one beyond the end."""
        return np.asarray(self.value[_place(self.time, np.asarray(time, dtype=np.float64))])

    def band(self, time: float) -> tuple[float, float]:
        """Return the interval at one time."""
        at = int(_place(self.time, np.asarray(time, dtype=np.float64)))
        return float(self.lower[at]), float(self.upper[at])

    @property
    def median(self) -> float | None:
        """The first time at which a survival curve is at one half or below; None where it stays above."""
        below = np.flatnonzero(self.value <= 0.5 + 1e-12)
        return float(self.time[below[0]]) if below.size else None


def _place(steps: np.ndarray, time: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.searchsorted(steps, time, side="right") - 1, 0, None))


def kaplan_meier(outcomes: Outcomes) -> Curve:
    """Return the survival curve; every kind of event counts.

    The interval is Greenwood's on the log(-log) scale, which keeps it within 0 and 1.

    Source:
        Kaplan & Meier 1958, doi:10.1080/01621459.1958.10501452; the scale: Kalbfleisch & Prentice 2002,
        doi:10.1002/9781118032985, section 1.4.
    """
    steps, at_risk, died = _table(outcomes.any())
    with np.errstate(divide="ignore", invalid="ignore"):
        survived = np.cumprod(1 - died / at_risk)
        greenwood = np.cumsum(np.where(at_risk > died, died / (at_risk * (at_risk - died)), np.nan))
        middle, half = np.log(-np.log(survived)), NORMAL * np.sqrt(greenwood) / np.abs(np.log(survived))
        lower, upper = np.exp(-np.exp(middle + half)), np.exp(-np.exp(middle - half))
    lower, upper = _held(lower, survived), _held(upper, survived)
    one = np.ones(1)
    return Curve(np.concatenate([np.zeros(1), steps]), *(np.concatenate([one, a]) for a in (survived, lower, upper)))


def _held(end: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return the ends of an interval with the last defined one carried on (at survival 0 it has no variance)."""
    filled = end.copy()
    for n in range(filled.size):
        if not math.isfinite(filled[n]):
            filled[n] = value[n] if n == 0 else filled[n - 1]
    return filled


def aalen_johansen(outcomes: Outcomes, cause: int = 1) -> Curve:
    """Return the cumulative incidence of one kind of event among competing ones.

    One minus Kaplan–Meier would count patients who had another event as still in danger of this one.

    Args:
        outcomes: With events of any kind.
        cause: Whose incidence.

    Returns:
        A rising curve; the interval is the delta method's on the log(-log) scale.

    Source:
        Aalen & Johansen 1978, Scandinavian Journal of Statistics 5, 141–150; variance: Marubini & Valsecchi 1995
        (as in Putter 2007, doi:10.1002/sim.2712, appendix).
    """
    steps, at_risk, died = _table(outcomes.any())
    _, _, ours = _table(outcomes.of(cause), steps)
    survived = np.cumprod(1 - died / at_risk)
    before = np.concatenate([np.ones(1), survived[:-1]])
    incidence = np.cumsum(before * ours / at_risk)
    variance = _incidence_variance(incidence, before, (at_risk, died, ours))
    # Where nobody is left the scale is beyond all numbers, and the interval is all of 0 to 1.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = NORMAL * np.sqrt(variance) / (incidence * np.abs(np.log(incidence)))
        lower, upper = incidence ** np.exp(scale), incidence ** np.exp(-scale)
    lower = np.where(np.isfinite(lower), lower, incidence)
    upper = np.where(np.isfinite(upper), upper, incidence)
    zero = np.zeros(1)
    return Curve(*(np.concatenate([zero, a]) for a in (steps, incidence, lower, upper)))


def _incidence_variance(
    incidence: np.ndarray, before: np.ndarray, counts: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return the delta-method variance of a cumulative incidence at each of its steps."""
    at_risk, died, ours = counts
    variance = np.empty(incidence.size)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.where(at_risk > died, died / (at_risk * (at_risk - died)), 0.0)
    for n in range(incidence.size):
        gap = incidence[n] - incidence[: n + 1]
        risk, d, s = at_risk[: n + 1], ours[: n + 1], before[: n + 1]
        variance[n] = (
            (gap**2 * greenwood[: n + 1]).sum()
            + (s**2 * (risk - d) * d / risk**3).sum()
            - 2 * (gap * s * d / risk**2).sum()
        )
    return np.maximum(variance, 0.0)


def _table(outcomes: Outcomes, steps: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct times of patients, how many were at risk just before each, and how many had the event."""
    ordered = np.sort(outcomes.time)
    steps = np.unique(ordered) if steps is None else steps
    at_risk = (ordered.size - np.searchsorted(ordered, steps, side="left")).astype(np.float64)
    events = np.sort(outcomes.time[outcomes.event > 0])
    died = np.searchsorted(events, steps, side="right") - np.searchsorted(events, steps, side="left")
    return steps, at_risk, died.astype(np.float64)


def log_rank(outcomes: Outcomes, group: np.ndarray) -> tuple[float, float]:
    """Return chi-square and p of the log-rank test between two or more groups.

    Args:
        outcomes: Every kind of event counts.
        group: (n,) int, whose group each patient is in.

    Returns:
        NaN for both where there is a single group or no event.

    Source:
        Mantel 1966, Cancer Chemotherapy Reports 50, 163–170; k groups: Peto & Peto 1972, doi:10.2307/2344317.
    """
    names = np.unique(group)
    every = outcomes.any()
    steps = np.unique(every.time[every.event > 0])
    if names.size < 2 or not steps.size:
        return math.nan, math.nan
    tables = [_table(every.take(np.asarray(group) == g), steps)[1:] for g in names]
    risk, died = np.stack([t[0] for t in tables]), np.stack([t[1] for t in tables])
    total, events = risk.sum(axis=0), died.sum(axis=0)
    excess = (died - events * risk / total).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(total > 1, events * (total - events) / (total - 1), 0.0)
    share = risk / total
    covariance = np.diag((share * spread).sum(axis=1)) - (share * spread) @ share.T
    found = float(excess[1:] @ np.linalg.pinv(covariance[1:, 1:]) @ excess[1:])
    return found, float(special.chdtrc(names.size - 1, found))

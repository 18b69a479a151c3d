"""Does the higher risk come first? Concordance and time-dependent AUC, for weighted cases."""

from collections.abc import Callable

import numpy as np

from lucency.survival.outcome import Outcomes

#: (b, n) weights -> (b,) values; the shape of :data:`lucency.statistics.Statistic`.
Statistic = Callable[[np.ndarray], np.ndarray]

#: Rows of the table of pairs held at once: 256 times 20 000 patients are 40 MB.
ROWS = 256
#: Risks nearer than this tie.
TIE = 1e-8


def censoring(outcomes: Outcomes, weights: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the probability of not yet being censored just before given times, for every row of weights.

    Patients who have the event at the time at which others are censored count as first.

    Args:
        outcomes: (n,) patients; every event counts as one.
        weights: (b, n) how often each patient was drawn.
        at: (m,) days.

    Returns:
        (b, m), 0 to 1: Kaplan–Meier of the censoring, at the left limit.
    """
    order = np.lexsort((outcomes.event == 0, outcomes.time))
    time, censored = outcomes.time[order], (outcomes.event == 0)[order]
    drawn = weights[:, order]
    risk = np.cumsum(drawn[:, ::-1], axis=1)[:, ::-1]
    # One censored patient after the other: the product over a tie of k is that of one step of k.
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.where(censored & (risk > 0), 1 - drawn / risk, 1.0)
    kept = np.concatenate([np.ones((len(drawn), 1)), np.cumprod(np.clip(step, 0.0, 1.0), axis=1)], axis=1)
    return np.asarray(kept[:, np.searchsorted(time, at, side="left")])


def concordance(outcomes: Outcomes, risk: np.ndarray, *, tau: float | None = None, uno: bool = True) -> Statistic:
    """Return the share of pairs in which the patient with the earlier event has the higher risk, as a statistic.

    A pair counts where one patient had the event (before ``tau``) while the other was still without; equal risks
    count one half. Harrell's weighs all such pairs the same, and so depends on who was censored when; Uno's weighs
    each by the inverse squared probability of having been observed so long.

    Args:
        outcomes: Of the cause in question; see :meth:`Outcomes.of`.
        risk: (n,) float; higher means earlier.
        tau: Only events before this day; None for all.
        uno: Weigh by censoring, else Harrell's.

    Source:
        Uno 2011, doi:10.1002/sim.4154; Harrell 1982, doi:10.1001/jama.1982.03320430047030.
    """
    time, event, risk = outcomes.time, outcomes.event > 0, np.asarray(risk, dtype=np.float64)
    first = np.flatnonzero(event & (time < (np.inf if tau is None else tau)))

    def statistic(weights: np.ndarray) -> np.ndarray:
        weights = np.asarray(weights, dtype=np.float64)
        counted = weights[:, first]
        if uno:
            kept = censoring(outcomes, weights, time[first])
            counted = np.divide(counted, kept**2, out=np.zeros_like(counted), where=kept > 0)
        right, pairs = np.zeros(len(weights)), np.zeros(len(weights))
        for start in range(0, first.size, ROWS):
            rows = first[start : start + ROWS]
            later = (time[None] > time[rows, None]) | ((time[None] == time[rows, None]) & ~event[None])
            gap = risk[rows, None] - risk[None]
            score = later * np.where(np.abs(gap) <= TIE, 0.5, (gap > 0).astype(np.float64))
            part = counted[:, start : start + ROWS]
            right += (part * (weights @ score.T)).sum(axis=1)
            pairs += (part * (weights @ later.T.astype(np.float64))).sum(axis=1)
        return np.asarray(np.divide(right, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))

    return statistic


def auc_at(outcomes: Outcomes, risk: np.ndarray, horizon: float) -> Statistic:
    """Return the AUC that tells those with the event by ``horizon`` from those still without, as a statistic.

    Args:
        outcomes: Of the cause in question.
        risk: (n,) float; higher means earlier.
        horizon: Days.

    Source:
        Cumulative / dynamic, inverse probability of censoring: Uno 2007, doi:10.1198/016214507000000149; Hung &
        Chiang 2010, doi:10.1002/cjs.10046.
    """
    time, risk = outcomes.time, np.asarray(risk, dtype=np.float64)
    ill, well = np.flatnonzero((outcomes.event > 0) & (time <= horizon)), np.flatnonzero(time > horizon)

    def statistic(weights: np.ndarray) -> np.ndarray:
        weights = np.asarray(weights, dtype=np.float64)
        kept = censoring(outcomes, weights, time[ill])
        counted = np.divide(weights[:, ill], kept, out=np.zeros_like(kept), where=kept > 0)
        right = np.zeros(len(weights))
        for start in range(0, ill.size, ROWS):
            gap = risk[ill[start : start + ROWS], None] - risk[None, well]
            score = np.where(np.abs(gap) <= TIE, 0.5, (gap > 0).astype(np.float64))
            right += (counted[:, start : start + ROWS] * (weights[:, well] @ score.T)).sum(axis=1)
        pairs = counted.sum(axis=1) * weights[:, well].sum(axis=1)
        return np.asarray(np.divide(right, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))

    return statistic

"""Penalised Cox regression on a table of numbers: the baseline that a network has to beat."""

from dataclasses import dataclass

import numpy as np

from lucency.survival.outcome import Outcomes

#: Newton's steps at most; from the start at 0 a penalised fit needs under ten.
STEPS = 50
#: Strengths of the ridge penalty tried, as events per standardised column and unit of weight.
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
#: Folds of the choice between them.
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Cox:
    """A fitted model.

    Args:
        weight: (p,) log hazard ratio of each column.
        penalty: Ridge.
        time: (m,) days of the baseline hazard's steps.
        hazard: (m,) cumulative baseline hazard (Breslow), of a patient whose columns are all 0.
    """

    weight: np.ndarray
    penalty: float
    time: np.ndarray
    hazard: np.ndarray

    def risk(self, table: np.ndarray) -> np.ndarray:
        """Return (n,) log hazard ratios of (n, p) rows."""
        return np.asarray(table @ self.weight)

    def incidence(self, table: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return (n, t) probability of the event by each time."""
        base = np.concatenate([[0.0], self.hazard])[np.searchsorted(self.time, times, side="right")]
        return np.asarray(1 - np.exp(-np.exp(np.clip(self.risk(table), -30, 30))[:, None] * base[None]))


def fit_cox(table: np.ndarray, outcomes: Outcomes, penalty: float = 0.0) -> Cox:
    """Fit by Newton's method; ties by Efron's rule.

    Args:
        table: (n, p) float, finite; standardised, or the penalty means something else for every column.
        outcomes: Of the cause in question.
        penalty: Ridge: half of it times the squared weights is taken from the log likelihood.

    Source:
        Cox 1972, doi:10.1111/j.2517-6161.1972.tb00899.x; Efron 1977, doi:10.1080/01621459.1977.10480613; ridge:
        Verweij & van Houwelingen 1994, doi:10.1002/sim.4780132307.
    """
    table = np.asarray(table, dtype=np.float64)
    order = np.argsort(-outcomes.time, kind="stable")
    rows, time, event = table[order], outcomes.time[order], outcomes.event[order] > 0
    weight: np.ndarray = np.zeros(table.shape[1])
    step: np.ndarray = np.zeros(table.shape[1])
    value = -np.inf
    for _ in range(STEPS):
        found, slope, curvature = _likelihood(rows, time, event, weight)
        found -= 0.5 * penalty * float(weight @ weight)
        if found < value - 1e-9 and np.abs(step).max(initial=0.0) > 1e-9:
            # Newton went too far: half way back.
            step = step / 2
            weight = weight - step
            continue
        if abs(found - value) < 1e-9:
            break
        value = found
        matrix = curvature + (penalty + 1e-9) * np.eye(weight.size)
        step = np.linalg.solve(matrix, slope - penalty * weight)
        weight = weight + step
    steps, hazard = _breslow(rows, time, event, weight)
    return Cox(weight, penalty, steps, hazard)


def _likelihood(
    rows: np.ndarray, time: np.ndarray, event: np.ndarray, weight: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the partial log likelihood, its slope and its curvature; rows by falling time."""
    linear = rows @ weight
    ratio = np.exp(linear - linear.max(initial=0.0))
    sums = np.cumsum(ratio)
    firsts = np.cumsum(ratio[:, None] * rows, axis=0)
    seconds = np.zeros((weight.size, weight.size))
    value, slope = 0.0, np.zeros_like(weight)
    curvature = np.zeros((weight.size, weight.size))
    # A run of equal times: everybody in it is at risk for the events of the run.
    ends = np.flatnonzero(np.append(time[1:] != time[:-1], True))
    start = 0
    for end in ends:
        run = slice(start, end + 1)
        seconds += (ratio[run, None] * rows[run]).T @ rows[run]
        dead = np.flatnonzero(event[run]) + start
        start = int(end) + 1
        if not dead.size:
            continue
        tied, tied_first = ratio[dead].sum(), (ratio[dead, None] * rows[dead]).sum(axis=0)
        tied_second = (ratio[dead, None] * rows[dead]).T @ rows[dead]
        value += float(linear[dead].sum())
        slope += rows[dead].sum(axis=0)
        for number in range(dead.size):
            share = number / dead.size
            total = sums[end] - share * tied
            mean = (firsts[end] - share * tied_first) / total
            value -= float(np.log(total) + linear.max(initial=0.0))
            slope -= mean
            curvature += (seconds - share * tied_second) / total - np.outer(mean, mean)
    return value, slope, curvature


def _breslow(
    rows: np.ndarray, time: np.ndarray, event: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return days and the cumulative hazard of a row of zeros (Breslow 1974, doi:10.2307/2529620)."""
    ratio = np.exp(np.clip(rows @ weight, -30, 30))
    sums = np.cumsum(ratio)
    steps = np.unique(time[event])
    # Rows fall in time: the last row at a time is the sum over all at risk then.
    at = np.searchsorted(-time, -steps, side="right") - 1
    died = np.array([(event & (time == t)).sum() for t in steps])
    return steps, np.cumsum(died / sums[at]) if steps.size else np.zeros(0)


def fit_penalised_cox(table: np.ndarray, outcomes: Outcomes, rng: np.random.Generator) -> Cox:
    """Fit with the penalty that cross-validation finds best.

    The measure is the cross-validated partial log likelihood, which uses every patient as the risk set and so has
    less noise than that of the small held-out parts.

    Args:
        table: (n, p) standardised.
        outcomes: Of the cause in question.
        rng: Deals the folds.

    Source:
        Verweij & van Houwelingen 1993, doi:10.1002/sim.4780122407.
    """
    fold = np.empty(len(outcomes), dtype=int)
    for kind in (outcomes.event > 0, outcomes.event == 0):
        members = np.flatnonzero(kind)
        fold[rng.permutation(members)] = np.arange(members.size) % FOLDS
    best, best_value = PENALTIES[-1], -np.inf
    for penalty in PENALTIES:
        value = 0.0
        for number in range(FOLDS):
            inside = fold != number
            if not (outcomes.event[inside] > 0).any():
                continue
            weight = fit_cox(table[inside], outcomes.take(inside), penalty).weight
            value += _log_likelihood(table, outcomes, weight) - _log_likelihood(
                table[inside], outcomes.take(inside), weight
            )
        if value > best_value:
            best, best_value = penalty, value
    return fit_cox(table, outcomes, best)


def _log_likelihood(table: np.ndarray, outcomes: Outcomes, weight: np.ndarray) -> float:
    order = np.argsort(-outcomes.time, kind="stable")
    return _likelihood(table[order], outcomes.time[order], outcomes.event[order] > 0, weight)[0]

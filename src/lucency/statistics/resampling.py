"""Whole patients drawn with replacement, and statistics of weighted cases."""

from collections.abc import Callable

import numpy as np

from lucency.statistics.measure import N_RESAMPLES, Patients, Statistic, groups

#: Weights held at once while resampling; 4 million float64 are 32 MB.
CHUNK = 4_000_000


def resampled(statistic: Statistic, patients: Patients, rng: np.random.Generator, n: int = N_RESAMPLES) -> np.ndarray:
    """Return (n,) values of a statistic when whole patients are drawn with replacement.

    A patient's cases stay together. The statistic sees how often each case was drawn as a weight, so that a metric
    of counts is one matrix product for all resamples; :func:`by_cases` wraps one that cannot take weights.

    Args:
        statistic: (b, cases) weights -> (b,) values; NaN where a resample does not define it.
        patients: (cases,) patient of each case.
        rng: The only source of chance.
        n: Resamples.
    """
    group, count = groups(patients, len(patients))
    step = max(1, min(n, CHUNK // max(group.size, count)))
    values = []
    for start in range(0, n, step):
        rows = min(step, n - start)
        draw = rng.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(draw.ravel(), minlength=rows * count).reshape(rows, count)
        weights = times.astype(np.float64)
        values.append(np.asarray(statistic(weights[:, group])))
    return np.concatenate(values)


def by_cases(function: Callable[[np.ndarray], float]) -> Statistic:
    """Wrap ``function`` of the drawn cases' indices (repeats included) so that :func:`resampled` can use it."""

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.array([function(np.repeat(np.arange(row.size), row.astype(int))) for row in weights])

    return statistic


def mean_of(values: np.ndarray) -> Statistic:
    """Return the weighted mean of (n,) finite ``values`` as a statistic."""
    column = np.asarray(values, dtype=np.float64)
    return lambda weights: (weights @ column) / weights.sum(axis=1)


def auc_of(truth: np.ndarray, score: np.ndarray) -> Statistic:
    """Return the AUC of a binary score as a statistic; ties count one half.

    Args:
        truth: (n,) 0 or 1.
        score: (n,) float; higher means class 1.
    """
    order = np.argsort(score, kind="stable")
    ordered, positive = np.asarray(score)[order], np.asarray(truth).astype(bool)[order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(ordered) > 0]))

    def statistic(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, order]
        pos = np.add.reduceat(np.where(positive, drawn, 0.0), starts, axis=1)
        neg = np.add.reduceat(np.where(positive, 0.0, drawn), starts, axis=1)
        below = np.cumsum(neg, axis=1) - neg / 2
        pairs = pos.sum(axis=1) * neg.sum(axis=1)
        ranked = (pos * below).sum(axis=1)
        return np.asarray(np.divide(ranked, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))

    return statistic


def macro_auc_of(truth: np.ndarray, probabilities: np.ndarray) -> Statistic:
    """Return the mean one-vs-rest AUC, over the classes that occur, as a statistic.

    Args:
        truth: (n,) class index.
        probabilities: (n, classes).
    """
    present = [c for c in range(probabilities.shape[1]) if 0 < (truth == c).sum() < len(truth)]
    each = [auc_of(truth == c, probabilities[:, c]) for c in present]
    return lambda weights: np.asarray(np.mean([one(weights) for one in each], axis=0))

"""How well two or more say the same: numbers with numbers, words with words, boxes with boxes.

Every function takes weights of the cases, one row per resample, so that a patient bootstrap is one call; what counts
in a table takes the weighted tables.
"""

from collections.abc import Sequence

import numpy as np

from lucency.boxes import Box, edges_of, overlaps
from lucency.errors import UsageError

#: How far apart two classes are, by the name of the weights: the power of their distance; 0 is apart or not.
POWERS = {"none": 0, "linear": 1, "quadratic": 2}

#: Standard deviations on either side of the mean difference that hold 95 % of normal differences.
LIMITS = 1.959964


def root_mean_squared_error(truth: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the root of the weighted mean squared error, (b,), in the unit of the values."""
    return np.asarray(np.sqrt(_mean((value - truth) ** 2, weights)))


def explained_variance(truth: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return R², (b,): 1 minus the squared error over that of the mean; NaN where all truths are equal.

    It falls below 0 where the mean of the cases themselves would have been nearer.
    """
    centre = _mean(truth, weights)[:, None]
    spread = _mean((truth[None] - centre) ** 2, weights)
    error = _mean((value - truth) ** 2, weights)
    return np.asarray(1 - np.divide(error, spread, out=np.full_like(error, np.nan), where=spread > 0))


def concordance(truth: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Lin's concordance correlation coefficient, (b,), -1 to 1; NaN where nothing varies.

    Source:
        Lin 1989, doi:10.2307/2532051: twice the covariance over both variances and the squared difference of means.
    """
    one, two = _mean(truth, weights)[:, None], _mean(value, weights)[:, None]
    both = _mean((truth[None] - one) * (value[None] - two), weights)
    total = _mean((truth[None] - one) ** 2, weights) + _mean((value[None] - two) ** 2, weights)
    total = total + (one - two)[:, 0] ** 2
    return np.asarray(np.divide(2 * both, total, out=np.full_like(both, np.nan), where=total > 0))


def bias(truth: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean of value minus truth, (b,)."""
    return _mean(value - truth, weights)


def limit_of_agreement(truth: np.ndarray, value: np.ndarray, weights: np.ndarray, side: int) -> np.ndarray:
    """Return the bias plus ``side`` (-1 or 1) times 1.96 standard deviations of the differences, (b,).

    Source:
        Bland & Altman 1986, doi:10.1016/S0140-6736(86)90837-8.
    """
    difference = value - truth
    centre = _mean(difference, weights)
    total = weights.sum(axis=1)
    # One degree of freedom goes into the mean; a resample of one case has no spread.
    spread = _mean((difference[None] - centre[:, None]) ** 2, weights) * total / np.maximum(total - 1, 1)
    return np.asarray(centre + side * LIMITS * np.sqrt(spread))


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted means of (n,) or (b, n) values."""
    return np.asarray((weights * values).sum(axis=1) / weights.sum(axis=1))


def cohen_kappa(tables: np.ndarray, weighting: str = "none") -> np.ndarray:
    """Return the agreement of two beyond chance, of their weighted confusion tables.

    Args:
        tables: (b, k, k) float, >= 0; for weights other than ``"none"`` the classes are in order.
        weighting: ``"none"``, or ``"linear"`` or ``"quadratic"`` for grades: how much a distance in grades counts.

    Returns:
        (b,) float, at most 1; NaN where both always say the same one word: nothing is left to chance.

    Raises:
        UsageError: Other weights.

    Source:
        Cohen 1960, doi:10.1177/001316446002000104; weighted: Cohen 1968, doi:10.1037/h0026256.
    """
    if weighting not in POWERS:
        raise UsageError(f"Weights {weighting!r}", expected=", ".join(POWERS))
    classes = np.arange(tables.shape[-1])
    apart = np.abs(classes[:, None] - classes[None]).astype(float)
    apart = (apart > 0).astype(float) if weighting == "none" else apart ** POWERS[weighting]
    total = np.maximum(tables.sum(axis=(1, 2)), 1e-12)
    chance = tables.sum(axis=2)[:, :, None] * tables.sum(axis=1)[:, None, :] / total[:, None, None]
    seen, expected = (tables * apart).sum(axis=(1, 2)), (chance * apart).sum(axis=(1, 2))
    return np.asarray(1 - np.divide(seen, expected, out=np.full_like(seen, np.nan), where=expected > 0))


def fleiss_kappa(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the agreement of several beyond chance.

    Args:
        counts: (n, k) int: how many called a case by each class. A case that fewer than two looked at counts for
            nothing; cases may have been looked at by unlike numbers.
        weights: (b, n) float, how often each case counts.

    Returns:
        (b,) float, at most 1; NaN where only one class occurs.

    Source:
        Fleiss 1971, doi:10.1037/h0031619.
    """
    raters = counts.sum(axis=1)
    used = raters >= 2
    counts, raters, weights = counts[used].astype(float), raters[used], weights[:, used]
    alike = (counts * (counts - 1)).sum(axis=1) / np.maximum(raters * (raters - 1), 1)
    total = np.maximum(weights.sum(axis=1), 1e-12)
    seen = (weights @ alike) / total
    shares = (weights @ counts) / np.maximum(weights @ raters, 1e-12)[:, None]
    chance = (shares**2).sum(axis=1)
    left = 1 - chance
    possible = (left > 1e-12) & (weights.sum(axis=1) > 0)
    return np.asarray(np.divide(seen - chance, left, out=np.full_like(seen, np.nan), where=possible))


def shared_boxes(first: Sequence[Box], second: Sequence[Box], overlap: float = 0.5) -> int:
    """Return how many boxes of one side can be paired with one of the other, each once, label by label.

    Of all ways to pair them the one with the most pairs counts, so that the order of the boxes does not matter.

    Args:
        first: Of one image.
        second: Of the same image.
        overlap: Least intersection over union of a pair.

    Source:
        Metrics Reloaded, doi:10.1038/s41592-023-02151-z, "localization" and "assignment".
    """
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - slow to import

    pairs = 0
    for label in {b.label for b in first} & {b.label for b in second}:
        sides = [edges_of([b for b in side if b.label == label]) for side in (first, second)]
        fits = overlaps(sides[0], sides[1]) >= overlap
        pairs += int(fits[linear_sum_assignment(fits, maximize=True)].sum())
    return pairs


def box_f1(shared: np.ndarray, drawn: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the F1 of two sets of boxes over cases: pairs are hits, all other boxes misses of the one or the other.

    Args:
        shared: (n,) int, pairs on each case.
        drawn: (n,) int, boxes of both sides together on each case.
        weights: (b, n) float.

    Returns:
        (b,) float, 0 to 1; NaN where neither side drew any box.
    """
    hits, total = weights @ (2.0 * shared), weights @ drawn.astype(float)
    return np.asarray(np.divide(hits, total, out=np.full_like(hits, np.nan), where=total > 0))

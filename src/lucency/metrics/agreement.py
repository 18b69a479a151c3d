"""How well numbers agree with numbers: errors, explained variance, concordance, limits of agreement.

Every function takes weights of the cases, one row per resample, so that a patient bootstrap is one call.
"""

import numpy as np

#: Standard deviations on either side of the mean difference that hold 95 % of normal differences.
LIMITS = 1.959964


def mean_absolute_error(truth: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean of the absolute errors.

    Args:
        truth: (n,) float.
        value: (n,) float, same unit.
        weights: (b, n) float, >= 0.

    Returns:
        (b,) float, same unit.
    """
    return _mean(np.abs(value - truth), weights)


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

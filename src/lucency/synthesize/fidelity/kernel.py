"""KID: how far two sets of features lie apart by a kernel; unbiased, so that small sets may be compared."""

import math

import numpy as np
from scipy import special

from lucency.errors import DataError
from lucency.statistics import TOO_FEW, Metric

#: Images of a block, and the fewest: a block of few says little, and few blocks give no interval.
BLOCK, LEAST_BLOCK = 50, 10

#: Blocks below which no interval is stated.
LEAST_BLOCKS = 4

#: Orders in which the images are dealt to blocks; their mean is the value.
ORDERS = 20


def squared_mmd(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased squared distance of two sets of features in the cubic kernel's space; it may be below 0.

    Args:
        first: (n, d) float, n >= 2.
        second: (m, d) float, m >= 2.

    Source:
        Gretton 2012, Journal of Machine Learning Research 13, 723–773, lemma 6; kernel (x·y / d + 1)³ of Bińkowski 2018
        (doi 10.48550/arXiv.1801.01401).

    Example:
        >>> squared_mmd(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]]))
        -3.5
    """
    d, n, m = first.shape[1], len(first), len(second)
    same = (first @ first.T / d + 1) ** 3, (second @ second.T / d + 1) ** 3
    across = (first @ second.T / d + 1) ** 3
    within = [(k.sum() - np.trace(k)) / (s * (s - 1)) for k, s in zip(same, (n, m), strict=True)]
    return float(sum(within) - 2 * across.mean())


def standardised(reference: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Return sets of features with the reference's mean and deviation taken out; what never varies there is left out.

    Args:
        reference: (n, d) float; the first that is returned.
        others: (m, d) float each.
    """
    centre, scale = reference.mean(axis=0), reference.std(axis=0)
    kept = scale > 1e-6 * max(float(scale.max(initial=0.0)), 1e-30)
    if not kept.any():
        raise DataError("All images look the same to the encoder", remedy="look at the images: they may be constant")
    return [((x[:, kept] - centre[kept]) / scale[kept]).astype(np.float64) for x in (reference, *others)]


def kid(first: np.ndarray, second: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> Metric:
    """Return the kernel distance of two sets of features with its interval.

    The sets are dealt to disjoint blocks, whose distances are independent; the interval is Student's over blocks. The
    dealing is repeated, which makes the value steadier and is not taken for more data.

    Args:
        first: (n, d) float, standardised.
        second: (m, d) float.
        groups: (m,) patient of each of the second; a patient's images are dealt together.
        rng: Deals.

    Returns:
        Best is 0; ``n`` counts blocks.
    """
    most = min(len(first), len(second))
    if most < 2:
        return Metric(math.nan, method="undefined: under two images", best=0.0)
    size = min(BLOCK, max(LEAST_BLOCK, most // LEAST_BLOCKS), most)
    n_blocks = most // size
    means, variances = [], []
    for _ in range(ORDERS):
        a, b = rng.permutation(len(first)), _together(groups, rng)
        each = [
            squared_mmd(first[a[i * size : (i + 1) * size]], second[b[i * size : (i + 1) * size]])
            for i in range(n_blocks)
        ]
        means.append(float(np.mean(each)))
        variances.append(float(np.var(each, ddof=1)) if n_blocks > 1 else math.nan)
    value = float(np.mean(means))
    if n_blocks < LEAST_BLOCKS:
        return Metric(value, n=n_blocks, method=TOO_FEW, best=0.0)
    half = float(special.stdtrit(n_blocks - 1, 0.975)) * math.sqrt(float(np.mean(variances)) / n_blocks)
    return Metric(value, value - half, value + half, n_blocks, f"Student's t over blocks of {size}", 0.0)


def _together(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return all rows in an order by chance, those of one group side by side."""
    _, number = np.unique(groups, return_inverse=True)
    place = rng.permutation(int(number.max()) + 1)[number]
    return np.argsort(place + rng.uniform(0, 0.5, len(place)), kind="stable")

"""FD: how far two sets of features lie apart if both were Gaussian; only to be read beside that of two real sets."""

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from lucency.statistics import TOO_FEW, Metric

#: Directions that take part, and cases behind each: a covariance of as many directions as cases would be noise.
MOST_DIRECTIONS, CASES_PER_DIRECTION = 64, 5

#: Groups of patients that are left out in turn.
GROUPS = 10


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the squared Fréchet distance of the Gaussians of two sets of features, 0 or more.

    Args:
        first: (n, d) float, n >= 2.
        second: (m, d) float, m >= 2.

    Source:
        Dowson & Landau 1982 (doi 10.1016/0047-259X(82)90077-X); as a measure of generated images: Heusel 2017
        (doi 10.48550/arXiv.1706.08500).

    Example:
        >>> a = np.array([[-1.0], [1.0]])
        >>> round(frechet_distance(a, 3 * a + 2), 6)  # means 0 and 2, deviations 2 ** .5 and 3 * 2 ** .5: 4 + 8
        12.0
    """
    one, other = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (first, second))
    apart = first.mean(axis=0) - second.mean(axis=0)
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    # The trace of the root of a product, as that of a symmetric matrix: no complex numbers, no lost digits.
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ other @ root), 0, None)).sum()
    return max(0.0, float(apart @ apart + np.trace(one) + np.trace(other) - 2 * shared))


def directions(reference: np.ndarray, n: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the projection onto the directions in which real features vary most, at most 64 and one for five cases.

    Args:
        reference: (m, d) float, standardised.
        n: Cases on each side of the comparison.
    """
    centre = reference.mean(axis=0)
    axes = np.linalg.svd(reference - centre, full_matrices=False)[2]
    kept = axes[: max(1, min(MOST_DIRECTIONS, n // CASES_PER_DIRECTION, len(axes)))].T
    return lambda x: np.asarray((x - centre) @ kept)


def fd(first: np.ndarray, second: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> Metric:
    """Return the Fréchet distance with an interval by leaving out a tenth of both sets in turn.

    Args:
        first: (n, d) float.
        second: (m, d) float.
        groups: (m,) patient of each of the second; a patient's images are left out together.
        rng: Deals the tenths.

    Source:
        Delete-a-group jackknife: Kott 2001, Journal of Official Statistics 17, 521–526.
    """
    if min(len(first), len(second)) < 2:
        return Metric(math.nan, method="undefined: under two images", best=0.0)
    value = frechet_distance(first, second)
    _, number = np.unique(groups, return_inverse=True)
    n_groups = int(number.max()) + 1
    if n_groups < 2 * GROUPS or len(first) < 2 * GROUPS:
        return Metric(value, n=n_groups, method=TOO_FEW, best=0.0)
    tenth = rng.permutation(np.arange(n_groups) % GROUPS)[number]
    other = rng.permutation(np.arange(len(first)) % GROUPS)
    left = np.array([frechet_distance(first[other != g], second[tenth != g]) for g in range(GROUPS)])
    error = math.sqrt((GROUPS - 1) / GROUPS * float(((left - left.mean()) ** 2).sum()))
    half = float(special.stdtrit(GROUPS - 1, 0.975)) * error
    method = f"jackknife over {GROUPS} groups of patients, {first.shape[1]} directions"
    return Metric(value, max(0.0, value - half), value + half, n_groups, method, 0.0)

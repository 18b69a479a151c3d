"""Whether images and their mirror images can be told apart: the data decide which flips are safe."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

#: Blocks per side of the thumbnail that is compared with its mirror image: coarse enough that a hundred cases
#: carry its covariance, fine enough to show a heart, a liver or a letter. By number of dimensions; even.
BLOCKS = {2: 6, 3: 4}

#: Up to this AUC between originals and mirror images a flip is safe: hardly above guessing.
SAFE = 0.6

#: Cases needed beyond the number of block differences before anything is said.
LEAST_EXTRA = 10

#: Share of the mean variance added to the covariance's diagonal; blocks of constant background have none.
RIDGE = 1e-3


@dataclass(frozen=True)
class Mirror:
    """How far images differ from their mirror images along one axis, in sums that add up over sites.

    Args:
        count: Cases.
        total: (p,) sum over cases of the antisymmetric part of the thumbnail.
        products: (p * p,) sum of its outer products, row by row.
    """

    count: int = 0
    total: tuple[float, ...] = ()
    products: tuple[float, ...] = ()

    def __add__(self, other: "Mirror") -> "Mirror":
        if not self.count or not other.count:
            return self if self.count else other
        return Mirror(
            self.count + other.count,
            tuple(a + b for a, b in zip(self.total, other.total, strict=True)),
            tuple(a + b for a, b in zip(self.products, other.products, strict=True)),
        )

    @property
    def separability(self) -> float:
        """AUC with which a linear rule tells originals from mirror images: 0.5 (not at all) to 1.

        Original and mirror image have opposite antisymmetric parts, N(m, S) against N(-m, S), so the AUC is
        Phi(sqrt(2) d) with d² = m' S⁻¹ m. The estimate of d² is freed of the bias that p differences of n cases have.
        1.0 where there are too few cases to say.

        Source:
            Hotelling's T² and its expectation: Anderson 2003, An Introduction to Multivariate Statistical Analysis,
            section 5.2.
        """
        p, n = len(self.total), self.count
        if n < p + LEAST_EXTRA:
            return 1.0
        mean = np.array(self.total) / n
        scatter = np.array(self.products).reshape(p, p) - n * np.outer(mean, mean)
        covariance = scatter / (n - 1)
        spread = float(np.trace(covariance)) / p
        if spread <= 0:
            return 0.5 if not np.abs(mean).any() else 1.0
        covariance = covariance + RIDGE * spread * np.eye(p)
        squared = float(mean @ np.linalg.solve(covariance, mean))
        unbiased = max(0.0, (n - p - 2) / (n - 1) * squared - p / n)
        return float(stats.norm.cdf(math.sqrt(2 * unbiased)))


def mirror(array: np.ndarray, axis: int) -> Mirror:
    """Return the statistics of one image for one axis.

    Args:
        array: (K, J, I) real, axes in canonical order; K = 1 for single images.
        axis: 0 (k), 1 (j) or 2 (i); its length must be 2 or more.
    """
    dims = 3 if array.shape[0] > 1 else 2
    blocks = BLOCKS[dims]
    small = array.astype(np.float64)
    for a in range(3):
        if array.shape[a] > 1:
            edges = np.linspace(0, array.shape[a], blocks + 1)
            small = np.stack([_mean_between(small, a, lo, hi) for lo, hi in itertools.pairwise(edges)], axis=a)
    small = (small - small.mean()) / (small.std() or 1.0)
    half = np.take(small - np.flip(small, axis), range(blocks // 2), axis=axis).reshape(-1)
    return Mirror(1, tuple(half.tolist()), tuple(np.outer(half, half).reshape(-1).tolist()))


def _mean_between(array: np.ndarray, axis: int, low: float, high: float) -> np.ndarray:
    """Return the mean along an axis from ``low`` to ``high``; voxels cut by a border count by their share."""
    first, last = math.floor(low), min(math.ceil(high), array.shape[axis])
    places = np.arange(first, last)
    weights = np.minimum(places + 1, high) - np.maximum(places, low)
    part = np.take(array, places, axis=axis)
    shape = [1] * array.ndim
    shape[axis] = -1
    summed: np.ndarray = (part * weights.reshape(shape)).sum(axis=axis) / weights.sum()
    return summed

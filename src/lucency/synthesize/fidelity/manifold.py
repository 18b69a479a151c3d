"""Precision, recall, density and coverage: whether generated images lie among the real ones, and reach all of them."""

import numpy as np

from lucency.statistics import Metric, mean_metric, proportion_metric

#: Neighbours that span an image's ball (Naeem 2020, section 4: 5).
K = 5

#: Rows of a distance matrix that are held at once.
ROWS = 1024


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Euclidean distances, (n, m) float32, of features (n, d) and (m, d)."""
    a, b = np.asarray(first, dtype=np.float32), np.asarray(second, dtype=np.float32)
    lengths = (b**2).sum(axis=1)
    made = np.empty((len(a), len(b)), dtype=np.float32)
    for at in range(0, len(a), ROWS):
        rows = a[at : at + ROWS]
        squared = (rows**2).sum(axis=1)[:, None] + lengths - 2 * rows @ b.T
        made[at : at + ROWS] = np.sqrt(np.clip(squared, 0, None))
    return made


def radii(features: np.ndarray, k: int = K) -> np.ndarray:
    """Return how far each image's k-th nearest other lies, (n,) float32."""
    apart = distances(features, features)
    np.fill_diagonal(apart, np.inf)
    k = min(k, len(features) - 1)
    return np.asarray(np.partition(apart, k - 1, axis=1)[:, k - 1])


def manifold(
    made: np.ndarray, real: np.ndarray, people: np.ndarray, rng: np.random.Generator, k: int = K
) -> dict[str, Metric]:
    """Return precision, recall, density and coverage with intervals.

    Precision: the share of made images inside a real image's ball; recall: of real images inside a made one's ball.
    Density counts in how many real balls a made image lies, over k, and so is not fooled by one outlying real image;
    coverage is the share of real images whose ball holds a made one.

    Args:
        made: (n, d) float features.
        real: (m, d) float; about as many.
        people: (m,) patient of each real image.
        rng: Of the bootstraps.
        k: Neighbours that span a ball.

    Source:
        Kynkäänniemi 2019 (doi 10.48550/arXiv.1904.06991); Naeem 2020 (doi 10.48550/arXiv.2002.09797).
    """
    apart = distances(made, real)
    inside: np.ndarray = np.asarray(apart <= radii(real, k)[None])
    reached = np.asarray((apart <= radii(made, k)[:, None]).any(axis=0))
    alone = np.array([f"made {n}" for n in range(len(made))])
    k = min(k, len(real) - 1)
    return {
        "precision": proportion_metric(np.asarray(inside.any(axis=1)), alone, rng),
        "recall": proportion_metric(reached, people, rng),
        "density": mean_metric(inside.sum(axis=1) / k, alone, rng),
        "coverage": proportion_metric(np.asarray(inside.any(axis=0)), people, rng),
    }

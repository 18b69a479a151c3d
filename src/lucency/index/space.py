"""From features to unit vectors whose cosines mean likeness: centred, decorrelated, averaged with neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lucency.errors import DataError
from lucency.index.exact import nearest

#: Numbers of an embedding.
DIMENSIONS = 128

#: Directions are divided by their deviation, with this share of the largest variance added: without, noise would count
#: as much as what matters. P@10 on six kinds of images: .966 with none divided, .971 at 0.1, .962 at 0.01
#: (one trial each by hand, on images that a later benchmark may also hold; no benchmark records it).
SHRINK = 0.1

#: Neighbours that a vector is averaged with, and the power of their similarity as weight: .971 to .978 by the same
#: measure (Turcot 2009, doi 10.1109/ICCVW.2009.5457541; Radenović 2019, doi 10.1109/TPAMI.2018.2846566).
AVERAGED, POWER = 4, 3

#: Up to so many cases all pairs are compared, which takes a minute or two; larger indices are dense enough as they are.
MOST_AVERAGED = 100_000


@dataclass(frozen=True)
class Space:
    """A linear map from features to embeddings; linear, so that similarity falls apart over the places of an image.

    Args:
        centre: (d,) mean feature.
        axes: (d × m,) row by row: the map of what is left of a feature without the mean.

    Raises:
        DataError: Lengths that do not fit together.
    """

    centre: tuple[float, ...]
    axes: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.centre or len(self.axes) % len(self.centre):
            raise DataError("A map of another length than the features", where="index", remedy="build the index again")

    @property
    def matrix(self) -> np.ndarray:
        """(d, m) float32."""
        return np.asarray(self.axes, dtype=np.float32).reshape(len(self.centre), -1)

    def unit(self, features: np.ndarray) -> np.ndarray:
        """Return features, (n, d), as unit vectors, (n, m) float32. A feature at the centre stays 0."""
        return unit((np.asarray(features, dtype=np.float32) - np.asarray(self.centre, np.float32)) @ self.matrix)


def space_of(features: np.ndarray, shrink: float = SHRINK, dimensions: int = DIMENSIONS) -> Space:
    """Return the space in which the given features vary alike in all directions that matter.

    Args:
        features: (n, d) float; n may be smaller than d.
        shrink: See :data:`SHRINK`; the smaller, the more counts what tells neighbours apart.
        dimensions: Directions at the most.
    """
    x = np.asarray(features, dtype=np.float64)
    centre, scale = x.mean(axis=0), x.std(axis=0)
    # A feature that never varies has nothing to say.
    scale = np.where(scale <= 1e-6 * max(float(scale.max(initial=0.0)), 1e-30), np.inf, scale)
    z = (x - centre) / scale
    _, singular, axes = np.linalg.svd(z, full_matrices=False)
    m = max(1, min(dimensions, len(x) - 1, x.shape[1]))
    variance = singular[:m] ** 2 / len(x)
    spread = np.sqrt(variance + shrink * max(float(variance.max(initial=0.0)), 1e-12))
    matrix = (axes[:m].T / spread) / scale[:, None]
    # Seven digits, which single precision holds.
    return Space(_numbers(centre), _numbers(matrix.reshape(-1)))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors at length 1, (n, m) float32; what has no length stays 0."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)


def averaged(
    vectors: np.ndarray,
    queries: np.ndarray,
    *,
    allowed: np.ndarray | None = None,
    excluded: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Return queries averaged with their nearest vectors, weighed by similarity: single images mislead less.

    Args:
        vectors: (n, m) float32 unit vectors.
        queries: (q, m) float32 unit vectors.
        allowed: As for :func:`lucency.index.nearest`.
        excluded: As for :func:`lucency.index.nearest`.

    Returns:
        (q, m) float32 unit vectors.
    """
    rows, similar = nearest(vectors, queries, AVERAGED, allowed=allowed, excluded=excluded)
    weights = np.where(rows >= 0, np.clip(similar, 0, 1) ** POWER, 0.0)
    return unit(queries + (np.asarray(vectors)[rows] * weights[..., None]).sum(axis=1))


def averaged_all(vectors: np.ndarray) -> np.ndarray:
    """Return every vector of an index averaged with its nearest others, (n, m) float32."""
    made = np.empty_like(vectors)
    step = 2000
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        itself = [np.array([start + n]) for n in range(len(block))]
        made[start : start + step] = averaged(vectors, block, excluded=itself)
    return made


def _numbers(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{v:.7g}") for v in values)

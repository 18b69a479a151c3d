"""Images made without a network: of the mean, of each voxel's own intensity, of its neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lucency.errors import DataError

#: Training pairs that are looked at, and voxels that are drawn from all of them: more move no table by a visible step.
PICTURE_IMAGES, VOXELS = 60, 200_000

#: Voxels of those pairs, but three pairs at least: both sides of them are in memory at once, 8 bytes a voxel.
PICTURE_VOXELS, LEAST_PICTURES = 50_000_000, 3

#: Entries of the table from one intensity to another.
BINS = 128

#: Strength of the ridge, in voxels: enough to bear neighbours that say the same.
RIDGE = 1.0


class PictureModel(Protocol):
    """A fitted baseline."""

    def predict(self, given: np.ndarray) -> np.ndarray:
        """Return the (K, J, I) float32 image made of a (C, K, J, I) float32 one."""
        ...


@dataclass(frozen=True)
class PictureBaseline:
    """A way to make an image without a network.

    Args:
        name: Key in ``PICTURE_BASELINES`` and in the report.
        description: One sentence in plain words, for the report.
        make: Fits it to pairs.
    """

    name: str
    description: str
    make: Callable[[Sequence[np.ndarray], Sequence[np.ndarray], np.random.Generator], PictureModel]

    def fit(self, given: Sequence[np.ndarray], wanted: Sequence[np.ndarray], rng: np.random.Generator) -> PictureModel:
        """Fit to training pairs.

        Args:
            given: (C, K, J, I) float32 each, normalised; sizes may differ.
            wanted: (K, J, I) float32 each, normalised.
            rng: Draws voxels.

        Raises:
            DataError: No pair, or the two of a pair differ in size.
        """
        if not given or len(given) != len(wanted):
            raise DataError(f"{len(given)} images and {len(wanted)} wanted ones", expected="pairs, at least one")
        for a, b in zip(given, wanted, strict=True):
            if a.shape[1:] != b.shape:
                raise DataError(f"Image {a.shape[1:]} with one of {b.shape}", expected="one size")
        return self.make(given, wanted, rng)


@dataclass(frozen=True, eq=False)
class MeanPicture:
    """The mean of the training images, voxel by voxel where all have one size."""

    mean: np.ndarray

    def predict(self, given: np.ndarray) -> np.ndarray:
        """Return it."""
        return np.broadcast_to(self.mean, given.shape[1:]).astype(np.float32)


def _mean(given: Sequence[np.ndarray], wanted: Sequence[np.ndarray], rng: np.random.Generator) -> MeanPicture:
    if len({w.shape for w in wanted}) == 1:
        return MeanPicture(np.asarray(np.mean(np.stack(wanted), axis=0, dtype=np.float64)))
    total = sum(float(w.sum(dtype=np.float64)) for w in wanted)
    return MeanPicture(np.array(total / sum(w.size for w in wanted)))


@dataclass(frozen=True, eq=False)
class Lookup:
    """What is usual for a voxel of that intensity."""

    edges: np.ndarray
    values: np.ndarray

    def predict(self, given: np.ndarray) -> np.ndarray:
        """Return the usual value at each voxel of the first channel."""
        made: np.ndarray = self.values[np.searchsorted(self.edges, given[0].astype(np.float32))]
        return made.astype(np.float32)


def _lookup(given: Sequence[np.ndarray], wanted: Sequence[np.ndarray], rng: np.random.Generator) -> Lookup:
    x, y = _voxels([g[0] for g in given], wanted, rng)
    edges = np.unique(np.quantile(x, np.linspace(0, 1, BINS + 1)[1:-1])).astype(np.float32)
    at = np.searchsorted(edges, x)
    count = np.bincount(at, minlength=len(edges) + 1)
    values = np.bincount(at, y, len(edges) + 1) / np.maximum(count, 1)
    return Lookup(edges, np.where(count > 0, values, y.mean()))


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """A weighted sum of a voxel and its neighbours."""

    weights: np.ndarray
    constant: float

    def predict(self, given: np.ndarray) -> np.ndarray:
        """Return the weighted sums."""
        total = np.full(given.shape[1:], self.constant, dtype=np.float32)
        for weight, shifted in zip(self.weights, _shifted(given), strict=True):
            total += np.float32(weight) * shifted
        return total


def _neighbourhood(
    given: Sequence[np.ndarray], wanted: Sequence[np.ndarray], rng: np.random.Generator
) -> Neighbourhood:
    from sklearn.linear_model import Ridge  # noqa: PLC0415 - slow to import

    rows, values = [], []
    each = max(1, VOXELS // len(given))
    for image, goal in zip(given, wanted, strict=True):
        picked = rng.permutation(goal.size)[:each]
        rows.append(np.stack([s.reshape(-1)[picked] for s in _shifted(image)], axis=1))
        values.append(goal.reshape(-1)[picked])
    found = Ridge(alpha=RIDGE).fit(np.concatenate(rows).astype(np.float64), np.concatenate(values).astype(np.float64))
    return Neighbourhood(np.asarray(found.coef_), float(found.intercept_))


def _shifted(image: np.ndarray) -> list[np.ndarray]:
    """Return every channel at each of its 9 places around a voxel, and of volumes in the two slices beside it."""
    depth = 1 if image.shape[1] > 1 else 0
    padded = np.pad(image.astype(np.float32), ((0, 0), (depth, depth), (1, 1), (1, 1)), mode="edge")
    _, k, j, i = image.shape
    steps = [(0, b, c) for b in range(3) for c in range(3)] if not depth else _around()
    return [channel[a : a + k, b : b + j, c : c + i] for channel in padded for a, b, c in steps]


def _around() -> list[tuple[int, int, int]]:
    return [(1, b, c) for b in range(3) for c in range(3)] + [(0, 1, 1), (2, 1, 1)]


def _voxels(
    given: Sequence[np.ndarray], wanted: Sequence[np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw as many voxels of each pair."""
    each = max(1, VOXELS // len(given))
    x, y = [], []
    for a, b in zip(given, wanted, strict=True):
        picked = rng.permutation(b.size)[:each]
        x.append(a.reshape(-1)[picked])
        y.append(b.reshape(-1)[picked])
    return np.concatenate(x).astype(np.float64), np.concatenate(y).astype(np.float64)


def pairs_for(ids: Sequence[str], voxels: int) -> list[str]:
    """Return an even choice of pairs, as many as are looked at.

    Args:
        ids: Of all pairs.
        voxels: Of a large one.
    """
    most = min(PICTURE_IMAGES, len(ids), max(LEAST_PICTURES, PICTURE_VOXELS // max(voxels, 1)))
    return [ids[n] for n in np.linspace(0, len(ids) - 1, most).round().astype(int)]


PICTURE_BASELINES = {
    b.name: b
    for b in (
        PictureBaseline("mean image", "The mean of the training images of the wanted modality.", _mean),
        PictureBaseline("intensity lookup", "For each voxel what is usual for a voxel of its intensity.", _lookup),
        PictureBaseline("linear neighbourhood", "A weighted sum of each voxel and its neighbours.", _neighbourhood),
    )
}

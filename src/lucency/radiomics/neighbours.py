"""Who is whose neighbour: directions on the grid, pairs of voxels along them, and weights of the directions."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from lucency.radiomics.settings import Settings

Step = tuple[int, int, int]
#: Why a weighted matrix may be all 0.
TOO_FAR = "Neighbours are too far apart for this weighting: exp(-d²) is 0 in every direction"


def directions(settings: Settings, distances: Sequence[int], size: Sequence[int]) -> list[Step]:
    """Return one step of every pair of opposite ones at the given Chebyshev distances.

    At distance 1 these are 13 in a volume and 4 in a plane. Steps that leave a box of the region's size from every
    voxel of it join no pair, and are left out.

    Args:
        settings: Whether neighbours lie within a plane.
        distances: In voxels, each >= 1.
        size: (K, J, I) of the region's box.
    """
    reach = max(distances)
    found: list[Step] = []
    along = range(-reach, reach + 1)
    for step in product(along, along, along):
        positive = next((n > 0 for n in step if n), False)
        if not positive or max(map(abs, step)) not in distances:
            continue
        if settings.planar and step[settings.planar_axis]:
            continue
        if all(abs(a) < n for a, n in zip(step, size, strict=True)):
            found.append(step)
    return found


def paired(array: np.ndarray, step: Step) -> tuple[np.ndarray, np.ndarray]:
    """Return two views of (K, J, I): every voxel that has a neighbour at ``step``, and that neighbour."""
    here = tuple(slice(max(0, -a), n - max(0, a)) for a, n in zip(step, array.shape, strict=True))
    there = tuple(slice(max(0, a), n + min(0, a)) for a, n in zip(step, array.shape, strict=True))
    return array[here], array[there]


def both_ways(steps: Sequence[Step]) -> Iterator[Step]:
    """Yield every step and its opposite."""
    for k, j, i in steps:
        yield k, j, i
        yield -k, -j, -i


def weights(steps: Sequence[Step], spacing: Sequence[float], settings: Settings) -> np.ndarray:
    """Return the weight of each direction's matrix: 1, or exp(-d²) with d in mm by the norm of the settings.

    Args:
        steps: n of them.
        spacing: (k, j, i), mm.
        settings: ``weighting``.

    Returns:
        (n,) float.
    """
    way = np.abs(np.array(steps, dtype=np.float64).reshape(-1, 3)) * np.asarray(spacing)
    if settings.weighting == "euclidean":
        squared = (way**2).sum(1)
    elif settings.weighting == "manhattan":
        squared = way.sum(1) ** 2
    elif settings.weighting == "infinity":
        squared = way.max(1, initial=0.0) ** 2
    else:
        squared = np.zeros(len(way))
    return np.asarray(np.exp(-squared))

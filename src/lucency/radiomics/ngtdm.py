"""Neighbourhood grey tone difference: how far a voxel stands out from those around it."""

import numpy as np

from lucency.radiomics.feature import Feature, Undefined
from lucency.radiomics.neighbours import both_ways, directions, paired
from lucency.radiomics.region import Region

#: Coarseness of a region in which nothing stands out, by agreement (IBSI, QCDE).
COARSEST = 1e6


def features(region: Region) -> dict[str, Feature]:
    """Return the 5 tone difference features.

    Args:
        region: Its grey levels and ``distances``. A voxel without a neighbour in the region does not count.

    Source:
        IBSI reference manual, neighbourhood grey tone difference based features (IPET),
        doi:10.1148/radiol.2020191145; Amadasun and King 1989, doi:10.1109/21.44046.
    """
    level, count, difference = differences(region)
    if not count.sum():
        names = ("Busyness", "Coarseness", "Complexity", "Contrast", "Strength")
        return dict.fromkeys(names, Undefined("No two voxels of the region are neighbours"))
    settings = region.settings
    found = described(level[count > 0].astype(np.float64), count[count > 0], difference[count > 0])
    if settings.flat == "undefined":
        return found
    return {n: v.conventional if isinstance(v, Undefined) else v for n, v in found.items()}


def differences(region: Region) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each level, its number of voxels with neighbours, and the sum of their differences from the mean there.

    Returns:
        Three (m,) arrays: int, float, float.
    """
    levels, inside = region.levels, region.inside
    total, around = np.zeros(levels.shape), np.zeros(levels.shape)
    for step in both_ways(directions(region.settings, region.settings.distances, inside.shape)):
        paired(total, step)[0][...] += paired(levels, step)[1]
        paired(around, step)[0][...] += paired(inside, step)[1]
    own = levels[inside]
    some = around[inside] > 0
    apart = np.abs(own - total[inside] / np.maximum(around[inside], 1)) * some
    present, rank = np.unique(own, return_inverse=True)
    return present, np.bincount(rank.ravel(), some), np.bincount(rank.ravel(), apart)


def described(g: np.ndarray, count: np.ndarray, s: np.ndarray) -> dict[str, Feature]:
    """Return the features of one table.

    Args:
        g: (m,) float: grey levels that occur.
        count: (m,) float: voxels of that level, > 0.
        s: (m,) float: sum of their differences from their neighbourhoods' means.
    """
    n, m = float(count.sum()), len(g)
    p = count / n
    weighted, total = float(p @ s), float(s.sum())
    apart = np.subtract.outer(g, g)
    complexity = np.abs(apart) * np.add.outer(p * s, p * s) / np.add.outer(p, p)
    flat = "All voxels have the same level: there is nothing to stand out from"
    still = "No voxel differs from the mean of its neighbours"
    tones = float(np.abs(np.subtract.outer(g * p, g * p)).sum())
    busyness: Feature = Undefined(flat, 0.0)
    if m > 1:
        busyness = weighted / tones if tones > 0 else Undefined("The levels balance out: a division by 0", 0.0)
    return {
        "Busyness": busyness,
        "Coarseness": 1 / weighted if weighted > 0 else Undefined(still, COARSEST),
        "Complexity": float(complexity.sum() / n),
        "Contrast": float(p @ apart**2 @ p) / (m * (m - 1)) * total / n if m > 1 else Undefined(flat, 0.0),
        "Strength": float((np.add.outer(p, p) * apart**2).sum() / total) if total > 0 else Undefined(still, 0.0),
    }

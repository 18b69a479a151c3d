"""Features of matrices that count things by grey level and size: runs, zones and dependences."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lucency.radiomics.feature import Feature
from lucency.radiomics.firstorder import entropy

#: A full table of this many entries for each thing counted is still faster than sorting the things (measured).
DENSE = 10


@dataclass(frozen=True, eq=False)
class Counted:
    """The entries of such a matrix that are not 0.

    Args:
        level: (n,) float: grey level, >= 1.
        size: (n,) float: length, voxels or dependences, >= 1.
        count: (n,) float, > 0; weighted where directions are.
    """

    level: np.ndarray
    size: np.ndarray
    count: np.ndarray


def counted(level: np.ndarray, size: np.ndarray, weight: float = 1.0) -> Counted:
    """Return how often each pair of level and size occurs; both (n,) int, n >= 1."""
    width = int(size.max()) + 1
    pair = level * width + size
    if (int(level.max()) + 1) * width <= DENSE * len(pair):
        table = np.bincount(pair)
        pairs = np.flatnonzero(table)
        count = table[pairs]
    else:
        pairs, count = np.unique(pair, return_counts=True)
    levels, sizes = np.divmod(pairs, width)
    return Counted(levels.astype(np.float64), sizes.astype(np.float64), weight * count)


def merged(several: list[Counted]) -> Counted:
    """Return the sum of several matrices; at least one."""
    level, size, count = (np.concatenate([getattr(one, n) for one in several]) for n in ("level", "size", "count"))
    pairs, place = np.unique(np.stack([level, size]), axis=1, return_inverse=True)
    return Counted(pairs[0], pairs[1], np.bincount(place.ravel(), count))


def described(c: Counted, names: Mapping[str, str]) -> dict[str, Feature]:
    """Return the features of one matrix.

    Args:
        c: The matrix.
        names: What each measure is called for this kind of matrix; a measure without a name is left out. The keys:
            emphasis ``small large low high small_low small_high large_low large_high``; ``level_evenness
            size_evenness`` and their ``_share`` (non-uniformity and its normalised form); ``level_variance
            size_variance entropy``; ``filled``, the number of things over the number of voxels that they hold.

    Source:
        IBSI reference manual, grey level run length (TP0I), size zone (9SAK) and neighbouring grey level dependence
        (REK0) based features, doi:10.1148/radiol.2020191145: the same formulas with other names.
    """
    share = c.count / c.count.sum()
    level, size, total = c.level, c.size, float(c.count.sum())
    by_level = np.bincount(level.astype(np.int64), c.count)
    by_size = np.bincount(np.unique(size, return_inverse=True)[1].ravel(), c.count)
    found = {
        "small": share @ size**-2,
        "large": share @ size**2,
        "low": share @ level**-2,
        "high": share @ level**2,
        "small_low": share @ (size * level) ** -2,
        "small_high": share @ (level / size) ** 2,
        "large_low": share @ (size / level) ** 2,
        "large_high": share @ (size * level) ** 2,
        "level_evenness": by_level @ by_level / total,
        "level_evenness_share": by_level @ by_level / total**2,
        "size_evenness": by_size @ by_size / total,
        "size_evenness_share": by_size @ by_size / total**2,
        "level_variance": share @ (level - share @ level) ** 2,
        "size_variance": share @ (size - share @ size) ** 2,
        "entropy": entropy(share),
        "filled": total / (c.count @ size),
    }
    return {names[key]: float(value) for key, value in found.items() if key in names}

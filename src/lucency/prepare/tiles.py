"""Where the tiles lie in which a large image is looked at."""

import itertools
from collections.abc import Sequence

import numpy as np

#: Neighbouring tiles overlap by this share; half is the field's habit and hides the seams.
OVERLAP = 0.5


def tile_starts(size: Sequence[int], tile: Sequence[int]) -> list[tuple[int, ...]]:
    """Return where tiles begin so that they cover an image evenly with at least the wanted overlap.

    Args:
        size: Of the image, per axis.
        tile: Of a tile, per axis; an image that is smaller has one tile.

    Returns:
        One corner a tile; the last axis runs fastest.

    Example:
        >>> tile_starts((1, 10), (1, 4))
        [(0, 0), (0, 2), (0, 4), (0, 6)]
    """
    return list(itertools.product(*(_along(n, t) for n, t in zip(size, tile, strict=True))))


def _along(n: int, tile: int) -> list[int]:
    if n <= tile:
        return [0]
    count = int(np.ceil((n - tile) / (tile * (1 - OVERLAP)))) + 1
    return [round(a) for a in np.linspace(0, n - tile, count)]

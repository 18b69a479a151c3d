"""Masks that were drawn as lines around things: what the lines enclose."""

import numpy as np
from scipy import ndimage

#: A line around a thing and what it encloses have at least this many times the pixels of the line, unless the thing
#: is tiny; the wall of a heart in short axis stays below.
ENCLOSED = 3.0

#: What ``--set outlines`` may say.
FILL = "fill"


def filled(array: np.ndarray) -> np.ndarray:
    """Return a mask in which every label covers what its lines enclose, slice by slice; other labels stay.

    A line that the edge of the image cuts is closed along that edge.

    Args:
        array: (C, K, J, I) whole numbers, 0 is background.
    """
    out = array.copy()
    for plane in out.reshape(-1, *array.shape[-2:]):
        for value in (v for v in np.unique(plane) if v):
            plane[enclosed(plane == value) & (plane == 0)] = value
    return out


def enclosed(line: np.ndarray) -> np.ndarray:
    """Return (J, I) bool: the line and what it encloses."""
    whole = ndimage.binary_fill_holes(line)
    if whole.sum() >= ENCLOSED * line.sum():
        return np.asarray(whole)
    for side in range(4):
        closed = np.rot90(line, side).copy()
        at = np.flatnonzero(closed[0])
        if len(at) < 2:
            continue
        closed[0, at[0] : at[-1]] = True
        whole = np.rot90(ndimage.binary_fill_holes(closed), -side)
        if whole.sum() >= ENCLOSED * line.sum():
            return np.asarray(whole)
    return line


def is_outline(array: np.ndarray) -> bool:
    """Tell whether all that is marked in a mask are lines that enclose much more than themselves."""
    marked = np.count_nonzero(array)
    return bool(marked and np.count_nonzero(filled(array)) >= ENCLOSED * marked)

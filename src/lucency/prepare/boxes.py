"""Boxes on the network's grid, and the way back."""

from collections.abc import Sequence

import numpy as np

from lucency.boxes import Box
from lucency.prepare.place import Place


def to_grid(edges: np.ndarray, place: Place) -> np.ndarray:
    """Bring edges from the source's pixels onto the network's grid.

    Args:
        edges: (n, 6): k, j, i of the low corners, then of the high ones.
        place: Of the source. Slices that lean are set upright; a box goes with its middle slice.

    Returns:
        (n, 6) in voxels of the prepared array.
    """
    low, high = _leant(edges, place, back=False)
    out = np.zeros_like(edges, dtype=float)
    for new, old in enumerate(place.turn.order):
        length = place.upright_size[old]
        a, b = low[:, old], high[:, old]
        if place.turn.flip[new]:
            a, b = length - b, length - a
        factor = place.scaled[new] / length
        out[:, new] = a * factor + place.start[new]
        out[:, 3 + new] = b * factor + place.start[new]
    return out


def from_grid(edges: np.ndarray, place: Place) -> np.ndarray:
    """Bring (n, 6) edges from the network's grid back to the source's pixels, cut at the image's edge."""
    out = np.zeros_like(edges, dtype=float)
    for new, old in enumerate(place.turn.order):
        length = place.upright_size[old]
        factor = length / place.scaled[new]
        a = (edges[:, new] - place.start[new]) * factor
        b = (edges[:, 3 + new] - place.start[new]) * factor
        if place.turn.flip[new]:
            a, b = length - b, length - a
        out[:, old], out[:, 3 + old] = a, b
    low, high = _leant(out, place, back=True)
    size = np.array(place.source_size, dtype=float)
    return np.concatenate([np.clip(low, 0, size), np.clip(high, 0, size)], axis=1)


def _leant(edges: np.ndarray, place: Place, *, back: bool) -> tuple[np.ndarray, np.ndarray]:
    """Shift rows and columns as far as the middle slice of each box leans."""
    low, high = edges[:, :3].astype(float), edges[:, 3:].astype(float)
    n_slices = place.source_size[0]
    middle = (low[:, 0] + high[:, 0]) / 2 - 0.5
    for axis, lean in enumerate(place.lean, start=1):
        shift = max(0.0, -lean * (n_slices - 1)) + lean * middle
        low[:, axis] += -shift if back else shift
        high[:, axis] += -shift if back else shift
    return low, high


def box_rows(boxes: Sequence[Box], place: Place, classes: Sequence[str], most: int) -> np.ndarray:
    """Return what a network learns of boxes, as one row of numbers of a fixed length.

    Args:
        boxes: On the source.
        place: Of the source.
        classes: Names in order.
        most: Boxes that the row holds; those beyond are the smallest.

    Returns:
        (7 * most,) float: class, low k, j, i, high k, j, i of each box; class -1 fills up.
    """
    out = np.full((most, 7), -1.0)
    edges = to_grid(np.array([[*b.low, *b.high] for b in boxes], dtype=float).reshape(-1, 6), place)
    order = np.argsort(-(edges[:, 3:] - edges[:, :3]).prod(axis=1), kind="stable")[:most]
    for row, n in enumerate(order):
        out[row] = [classes.index(boxes[n].label), *edges[n]]
    return out.reshape(-1)

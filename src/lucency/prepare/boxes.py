"""Boxes on the network's grid, and the way back."""

from collections.abc import Sequence

import numpy as np

from lucency.boxes import Box, edges_of
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


def box_rows(boxes: Sequence[Box], place: Place, classes: Sequence[str], dims: int) -> np.ndarray:
    """Return what a network learns of boxes.

    Args:
        boxes: On the source.
        place: Of the source.
        classes: Names in order.
        dims: 2 or 3.

    Returns:
        (n, 1 + 2 dims) float: class, low corner, high corner on the network's grid.
    """
    edges = to_grid(edges_of(boxes), place)
    axes = [*range(3 - dims, 3), *range(6 - dims, 6)]
    labels = np.array([classes.index(b.label) for b in boxes], dtype=float).reshape(-1, 1)
    return np.concatenate([labels, edges[:, axes]], axis=1)

"""Labels drawn on a grid of their own come onto the image's: exactly where both share their voxels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lucency.errors import ReadError
from lucency.image import Image, KAxis
from lucency.read.labelgrid import Grid, Structure

#: Two grids share their voxels when no corner of the labels is further off a voxel's centre than this, in voxels.
ON_GRID = 0.1


@dataclass(frozen=True, eq=False)
class Placed:
    """Labels on the image's grid.

    Args:
        array: (K, J, I) integers.
        exact: Whether every voxel kept its number; else each took that of the nearest one.
        lost: Voxels with a label that lie outside the image; 0 where not exact.
    """

    array: np.ndarray
    exact: bool
    lost: int


def placed(labels: Image, grid: Grid, where: str) -> Placed:
    """Return labels on the grid of an image.

    The labels may be smaller or larger than the image, and their axes may run otherwise.

    Args:
        labels: (1, K, J, I) integers, anywhere in the patient.
        grid: Of the image.
        where: What an error names.

    Raises:
        ReadError: Labels that lie wholly outside the image.
    """
    array = labels.array[0]
    step = grid.inverse @ labels.affine
    whole = np.rint(step)
    far = np.array([[*corner, 1.0] for corner in np.ndindex(2, 2, 2)]) * [*(n - 1 for n in array.shape), 1.0]
    off = np.abs(far @ (step - whole).T).max()
    turn = np.abs(whole[:3, :3])
    if off <= ON_GRID and all(np.array_equal(turn.sum(axis=a), np.ones(3)) for a in (0, 1)):
        found = _pasted(array, whole.astype(int), grid.size)
    else:
        found = Placed(_nearest(array, np.linalg.inv(labels.affine), grid), exact=False, lost=0)
    if array.any() and not found.array.any():
        raise ReadError(
            "What is drawn lies outside the image",
            expected="labels drawn on this image",
            where=where,
            remedy="export it with the image it was drawn on, or give it the name of its own image",
        )
    return found


def _pasted(array: np.ndarray, step: np.ndarray, size: tuple[int, int, int]) -> Placed:
    """Turn the axes to those of the image, then set the numbers where they belong."""
    order = np.abs(step[:3, :3]).argmax(axis=1)  # the labels' axis that becomes k, j, i
    turned = np.transpose(array, order)
    ends = step @ np.array([[0, 0, 0, 1], [*(n - 1 for n in array.shape), 1]]).T
    turned = np.flip(turned, tuple(a for a in range(3) if step[a, order[a]] < 0))
    start = ends[:3].min(axis=1)
    low = np.maximum(start, 0)
    high = np.minimum(start + turned.shape, size)
    placed_on = np.zeros(size, dtype=array.dtype)
    if (low < high).all():
        into = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        out = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        placed_on[into] = turned[out]
    lost = int(np.count_nonzero(array)) - int(np.count_nonzero(placed_on))
    return Placed(placed_on, exact=True, lost=lost)


def _nearest(array: np.ndarray, inverse: np.ndarray, grid: Grid) -> np.ndarray:
    """Return for every voxel of the image the label whose voxel holds its centre; 0 outside."""
    found = np.zeros(grid.size, dtype=array.dtype)
    for k in range(grid.size[0]):
        at = np.rint(grid.world(k) @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.intp)
        inside = ((at >= 0) & (at < array.shape)).all(axis=1)
        plane = np.zeros(len(at), dtype=array.dtype)
        plane[inside] = array[tuple(at[inside].T)]
        found[k] = plane.reshape(grid.size[1:])
    return found


def layered(structures: Sequence[Structure], grid: Grid, k_axis: KAxis = "space") -> tuple[Image, ...]:
    """Return structures as label images, as few as hold them without one covering another; one even for none.

    Args:
        structures: On the grid; their values differ.
        grid: Of the image.
        k_axis: Of the image.
    """
    largest = max((s.value for s in structures), default=1)
    kind = np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16
    layers = [np.zeros(grid.size, dtype=kind)]
    for structure in structures:
        free = next((n for n in layers if not (n[structure.box][structure.mask]).any()), None)
        if free is None:
            free = np.zeros(grid.size, dtype=kind)
            layers.append(free)
        free[structure.box][structure.mask] = structure.value
    return tuple(Image(n[None], grid.affine, kind="labels", unit="label", k_axis=k_axis) for n in layers)

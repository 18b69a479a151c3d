"""A stack that leans, as a tilted gantry takes it, set upright and leaned back."""

import math

import numpy as np

from lucency.image import Image
from lucency.prepare.place import Place

#: A stack that leans by less than this over its whole height, in pixels, stands upright.
UPRIGHT = 0.05


def upright_of(image: Image) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the affine of a sheared stack set upright, and by how many pixels each of its slices is shifted.

    Args:
        image: Its rows and columns are at right angles; slices may be shifted against each other (gantry tilt).

    Returns:
        (4, 4) mm, LPS, with column k along the slice normal, and (j, i) pixels; the image's own affine and zeros
        where it stands upright.
    """
    normal = np.cross(image.affine[:3, 2], image.affine[:3, 1])
    normal = normal / np.linalg.norm(normal)
    gap = float(image.affine[:3, 0] @ normal)
    # In pixels: where the foot of the next slice lies in the plane of this one.
    inside = np.linalg.lstsq(image.affine[:3, 1:3], image.affine[:3, 0] - gap * normal, rcond=None)[0]
    if image.k_axis == "time" or np.abs(inside).max() * (image.size[0] - 1) <= UPRIGHT:
        return image.affine, (0.0, 0.0)
    lean = round(float(inside[0]), 6), round(float(inside[1]), 6)
    affine = image.affine.copy()
    affine[:3, 0] = gap * normal
    for axis, shift in ((1, lean[0]), (2, lean[1])):
        affine[:3, 3] -= affine[:3, axis] * _start(shift, image.size[0])
    return affine, lean


def _start(lean: float, n_slices: int) -> float:
    """Return where slice 0 begins in the upright grid, in pixels."""
    return max(0.0, -lean * (n_slices - 1))


def set_upright(array: np.ndarray, place: Place) -> np.ndarray:
    """Shift the slices of a leaning stack beside each other onto a rectangular grid.

    Args:
        array: (C, K, J, I) of the source. Floats are interpolated and go on beyond their edge; integers are labels,
            taken from the nearest pixel with background beside them.
        place: Of the source.

    Returns:
        (C, K, J, I) with ``place.upright_size``; the array itself where nothing leans.
    """
    return _sheared(array, place, place.upright_size, back=False)


def lean_back(array: np.ndarray, place: Place) -> np.ndarray:
    """Undo :func:`set_upright`: every slice is again where the scanner took it, (C, K, J, I) of the source."""
    return _sheared(array, place, place.source_size, back=True)


def _sheared(array: np.ndarray, place: Place, size: tuple[int, int, int], *, back: bool) -> np.ndarray:
    if place.lean == (0.0, 0.0):
        return array
    n_slices = size[0]
    made = np.zeros((len(array), *size), dtype=array.dtype)
    for k in range(n_slices):
        plane = array[:, k]
        for axis, lean in enumerate(place.lean, start=1):
            shift = _start(lean, n_slices) + lean * k
            plane = _shifted(plane, shift if back else -shift, axis, size[axis])
        made[:, k] = plane
    return made


def _shifted(plane: np.ndarray, by: float, axis: int, size: int) -> np.ndarray:
    """Return ``size`` rows or columns of (C, J, I), the first of them at ``by`` pixels of the plane."""
    last = plane.shape[axis] - 1
    at = np.arange(size) + by
    if plane.dtype.kind in "iu":
        nearest = np.floor(at + 0.5).astype(int)
        inside = (nearest >= 0) & (nearest <= last)
        taken = plane.take(np.clip(nearest, 0, last), axis)
        return np.asarray(taken * inside.reshape([-1 if a == axis else 1 for a in range(3)]).astype(plane.dtype))
    at = np.clip(at, 0, last)
    below = np.minimum(at.astype(int), max(0, last - 1))
    part = (at - below).astype(plane.dtype).reshape([-1 if a == axis else 1 for a in range(3)])
    return np.asarray(plane.take(below, axis) * (1 - part) + plane.take(np.minimum(below + 1, last), axis) * part)


def whole(length: float) -> int:
    """Return a length as voxels, at least one.

    Just above the half is rounded down: an image and its mask whose headers differ in the seventh digit must come
    to the same size, and exact halves are common (a 0.5 mm image on a 1 mm grid).
    """
    return max(1, math.ceil(length - 0.501))

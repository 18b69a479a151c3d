"""Slices become one stack: their order, the affine, what is missing, whether the gantry was tilted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lucency.errors import GeometryError
from lucency.read.geometry import MAX_COSINE, MOST_TILT, TOLERANCE_MM, even_places, gap_error
from lucency.read.head import Head

#: Largest difference between two direction cosines of one stack.
SAME_DIRECTION = 1e-4

#: Two pixel spacings are one when the far edge of the slice moves by less than this share of a pixel.
SAME_SPACING = 0.1

#: The header's words for a missing slice are followed by what to do.
FILL = "fetch the series again, or have it filled in with --set missing_slices=interpolate"


@dataclass(frozen=True, slots=True)
class Slice:
    """One frame and where it lies.

    Args:
        path: File, relative to the data folder.
        frame: Number of the frame in its file from 1, or 0 where the file is one image.
        head: Header of the file.
        size: (rows, columns) in pixels.
        position: (3,) mm, LPS: centre of the first pixel; None where the header does not say.
        turn: (6,) direction cosines of a row and of a column, or None.
        spacing: (between rows, between columns) mm, or None.
    """

    path: str
    frame: int
    head: Head = field(repr=False)
    size: tuple[int, int]
    position: tuple[float, ...] | None
    turn: tuple[float, ...] | None
    spacing: tuple[float, float] | None

    @property
    def placed(self) -> bool:
        """Whether the header says where the slice lies."""
        return self.position is not None and self.turn is not None

    def get(self, keyword: str) -> Any:
        """Return what the header says of this frame, or None."""
        each = self.head.get("PerFrame", {}).get(keyword) if self.frame else None
        return each[self.frame - 1] if each is not None else self.head.get(keyword)


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices that form one image.

    Args:
        slices: In order along the normal.
        affine: (4, 4) float64, mm, LPS, columns (k, j, i); sheared where the gantry was tilted.
        tilt: Degrees between the slice normal and the line through the first pixels; 0 for a straight stack.
        missing: Indices k without a slice, between the first and the last.
    """

    slices: tuple[Slice, ...]
    affine: np.ndarray
    tilt: float = 0.0
    missing: tuple[int, ...] = ()

    @property
    def size(self) -> tuple[int, int, int]:
        """(K, J, I), missing slices counted."""
        return (len(self.slices) + len(self.missing), *self.slices[0].size)


def stack_of(slices: Sequence[Slice], *, fill: bool = False) -> Stack:
    """Return the stack that slices of one size, direction and pixel spacing form.

    Args:
        slices: At least one; all placed, or a single one that is not.
        fill: Accept missing slices between others; they are named in ``missing``.

    Raises:
        GeometryError: Two slices at one place, a missing slice, uneven gaps, slices that do not lie on one line, or
            a header without a usable direction or pixel spacing.

    Source:
        DICOM PS3.3, C.7.6.2.1.1; Equation C.7.6.2.1-1.
    """
    first = slices[0]
    row_mm, column_mm = first.spacing or (1.0, 1.0)
    if min(row_mm, column_mm) <= 0:
        raise GeometryError(
            "A pixel spacing that is not above 0", expected="mm", where=first.path, remedy="export the series again"
        )
    if not first.placed:
        return Stack((first,), np.diag([1.0, row_mm, column_mm, 1.0])[[2, 1, 0, 3]])
    along_row, along_column, normal = axes_of(first)
    positions = np.array([s.position for s in slices])
    depth = positions @ normal
    order = np.argsort(depth, kind="stable")
    step, tilt, missing = normal * _thickness(first), 0.0, np.zeros(0, dtype=int)
    if len(slices) > 1:
        step, tilt, missing = _steps(positions[order], normal, first.path)
    if missing.size and not fill:
        error = gap_error(depth[order], FILL)
        n = missing.size
        lost = "1 slice is missing" if n == 1 else f"{n} slices are missing"
        raise GeometryError(f"{error.found}: {lost}", expected=error.expected, where=first.path, remedy=FILL)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = along_column * row_mm
    affine[:3, 2] = along_row * column_mm
    affine[:3, 3] = positions[order[0]]
    return Stack(tuple(slices[n] for n in order), affine, tilt, tuple(int(k) for k in missing))


def axes_of(one: Slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the unit vectors along a row and a column and the slice normal, (3,) each.

    Raises:
        GeometryError: Direction cosines that are no unit vectors at right angles.
    """
    turn = np.array(one.turn, dtype=np.float64)
    along_row, along_column = turn[:3], turn[3:]
    normal = np.cross(along_row, along_column)
    lengths = np.array([np.linalg.norm(v) for v in (along_row, along_column, normal)])
    if np.abs(lengths - 1.0).max() > MAX_COSINE:
        raise GeometryError(
            "The direction of rows and columns is no pair of unit vectors at right angles",
            expected="Image Orientation (Patient) with six direction cosines",
            where=one.path,
            remedy="export the series again",
        )
    return along_row, along_column, normal / lengths[2]


def _thickness(one: Slice) -> float:
    """Return what stands for the slice spacing of a single slice, mm."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = one.get(keyword)
        if isinstance(value, int | float) and value > 0:
            return float(value)
    return 1.0


def _steps(positions: np.ndarray, normal: np.ndarray, where: str) -> tuple[np.ndarray, float, np.ndarray]:
    """Return the step from slice to slice (3,) mm, the tilt in degrees and the missing places.

    Args:
        positions: (n, 3) mm in order along the normal.
        normal: (3,) unit vector.
        where: Named in errors.
    """
    depth = positions @ normal
    try:
        place = even_places(depth)
    except GeometryError as error:
        raise GeometryError(error.found, expected=error.expected, where=where, remedy=error.remedy) from None
    missing = np.setdiff1d(np.arange(place[-1] + 1), place)
    gap = (depth[-1] - depth[0]) / place[-1]
    beside = positions - np.outer(depth, normal)
    if np.ptp(beside, axis=0).max() <= 2 * TOLERANCE_MM:
        return normal * gap, 0.0, missing
    step = (positions[-1] - positions[0]) / place[-1]
    off = positions - np.outer(place, step)
    if (np.ptp(off, axis=0) / 2).max() > TOLERANCE_MM:
        k = int(np.argmax(np.abs(off - np.median(off, axis=0)).max(axis=1)))
        raise GeometryError(
            f"Slice {k} lies {np.abs(off[k] - np.median(off, axis=0)).max():.2f} mm beside the line of the others",
            expected="first pixels on one straight line",
            where=where,
            remedy="export the series again, each stack by itself",
        )
    tilt = float(np.degrees(np.arccos(min(1.0, gap / float(np.linalg.norm(step))))))
    if tilt > MOST_TILT:
        raise GeometryError(
            f"The slices shift sideways by {np.linalg.norm(step - normal * gap):.1f} mm for each {gap:.1f} mm of depth",
            expected="slices above each other",
            where=where,
            remedy="export the series again, each stack by itself",
        )
    # Below a thousandth the sideways shift is rounding of the direction cosines; the affine has it all the same.
    return step, (tilt if tilt > np.degrees(MAX_COSINE) else 0.0), missing

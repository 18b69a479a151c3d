"""From the headers' words for place to one affine in LPS millimetres, columns in array order (k, j, i)."""

import numpy as np

from lucency.errors import GeometryError

#: How far a slice may lie from its place on an even grid (mm); scanners write positions to 1e-3 mm or finer.
TOLERANCE_MM = 0.01

#: More than this is no gantry tilt (scanners reach 30 degrees), the slices lie beside each other.
MOST_TILT = 60.0

#: A series with fewer slices than half the places is uneven, not incomplete.
MOST_HOLES = 2.0

#: Largest cosine between two axes of one image; float32 headers keep 1e-6, a gantry tilt starts at 1e-2.
MAX_COSINE = 1e-3


def slice_spacing(positions: np.ndarray, normal: np.ndarray, *, tolerance_mm: float = TOLERANCE_MM) -> float:
    """Return the distance in mm between neighbouring slices of one series.

    The distance is measured along the slice normal. It is not read from Slice
    Thickness, which tells how thick a slice is and says nothing about the gap.

    Args:
        positions: (n, 3) float, mm, patient axes (left, posterior, superior).
            Image Position (Patient) of each slice, in any order; n >= 2.
        normal: (3,) float. Slice normal; need not have unit length.
        tolerance_mm: How far a slice may lie from its place on an even grid.

    Returns:
        Mean gap in mm, > 0.

    Raises:
        GeometryError: Fewer than two slices, two slices at one place, or a slice
            that lies further than ``tolerance_mm`` from an even grid. The message
            names the first slice at fault, counted along the normal from 0.

    Source:
        DICOM PS3.3, C.7.6.2.1.1 Image Position and Image Orientation.

    Example:
        >>> slice_spacing(np.array([[0, 0, 5.0], [0, 0, 0.0], [0, 0, 2.5]]), np.array([0, 0, 1.0]))
        2.5
    """
    positions = np.asarray(positions, dtype=np.float64)
    depth = np.sort(positions @ (np.asarray(normal, dtype=np.float64) / np.linalg.norm(normal)))
    place = even_places(depth, tolerance_mm=tolerance_mm)
    if place[-1] != len(place) - 1:
        raise gap_error(depth, "A file may be missing; fetch the series again or resample it on purpose")
    return float((depth[-1] - depth[0]) / (len(depth) - 1))


def even_places(depth: np.ndarray, *, tolerance_mm: float = TOLERANCE_MM) -> np.ndarray:
    """Return the place of each slice on an even grid: 0, 1, 2 … with holes where slices are missing.

    Args:
        depth: (n,) float, mm, ascending: distance of each slice along the normal.
        tolerance_mm: How far a slice may lie from its place.

    Returns:
        (n,) int, ascending from 0.

    Raises:
        GeometryError: Fewer than two slices, two at one place, or no even grid that holds them all.
    """
    if len(depth) < 2:
        raise GeometryError("Fewer than two slices", expected="at least 2 to measure a gap")
    gaps = np.diff(depth)
    same = np.flatnonzero(gaps <= tolerance_mm)
    if same.size:
        first = int(same[0])
        raise GeometryError(
            f"Slices {first} and {first + 1} lie at the same place",
            expected="one slice at each place",
            remedy="export the series once, without a second reconstruction or time point in it",
        )
    if _is_even(depth, np.arange(len(depth)), tolerance_mm):
        return np.arange(len(depth))
    # The smallest gaps, as far as they differ by rounding only, are gaps between neighbours.
    step = float(np.median(gaps[gaps <= gaps.min() + 4 * tolerance_mm]))
    place = np.concatenate([[0], np.cumsum(np.rint(gaps / step).astype(int))])
    if place[-1] + 1 <= MOST_HOLES * len(depth) and _is_even(depth, place, tolerance_mm):
        return place
    raise gap_error(depth, "resample the series to one slice spacing on purpose, or fetch it again")


def _is_even(depth: np.ndarray, place: np.ndarray, tolerance_mm: float) -> bool:
    """Tell whether a straight line through place and depth passes every slice within the tolerance."""
    centred = place - place.mean()
    step = float(centred @ depth) / float(centred @ centred)
    # The width of the strip is convex in its slope. Least squares gives a slope near the best.
    low, high = step - 4 * tolerance_mm / place[-1], step + 4 * tolerance_mm / place[-1]
    for _ in range(40):
        # A billionth more: 0.01 mm written in decimals is not 0.01 in binary.
        if np.ptp(depth - step * centred) / 2 <= tolerance_mm + 1e-9:
            return True
        lower, upper = low + (high - low) / 3, high - (high - low) / 3
        if np.ptp(depth - lower * centred) < np.ptp(depth - upper * centred):
            high, step = upper, lower
        else:
            low, step = lower, upper
    return False


def gap_error(depth: np.ndarray, remedy: str) -> GeometryError:
    """Return the refusal that names the first gap unlike the others.

    Args:
        depth: (n,) float, mm, ascending.
        remedy: What the user can do.
    """
    gaps = np.diff(depth)
    typical = float(np.median(gaps))
    away = np.abs(gaps - typical)
    first = int(np.argmax(away > min(2 * TOLERANCE_MM, float(away.max()) / 2)))
    return GeometryError(
        f"Gap after slice {first} is {gaps[first]:.2f} mm, elsewhere {typical:.2f} mm",
        expected="slices at even distances",
        remedy=remedy,
    )


def lps_from_ras(affine: np.ndarray) -> np.ndarray:
    """Return the (4, 4) affine of array order (k, j, i) in LPS, from one of order (i, j, k) in RAS.

    Source:
        NIfTI-1, nifti1.h: +x right, +y anterior, +z superior. DICOM PS3.3, C.7.6.2.1.1: +x left, +y posterior.
    """
    turned = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(affine, dtype=np.float64)
    return turned[:, [2, 1, 0, 3]]


def stack_tilt(affine: np.ndarray, where: str) -> float:
    """Return by how many degrees a stack leans: the angle between its column k and the normal of its slices.

    Args:
        affine: (4, 4), mm, LPS, columns (k, j, i).
        where: What the message names.

    Returns:
        0 for axes at right angles, up to rounding.

    Raises:
        GeometryError: A singular affine, rows and columns that are not at right angles, or a stack that lies down.
    """
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    upright = np.eye(4)
    upright[:3, 1:3] = columns[:, 1:]
    upright[:3, 0] = np.cross(columns[:, 1], columns[:, 2])
    refuse_shear(upright, where)
    length = float(np.linalg.norm(columns[:, 0]))
    if not np.isfinite(length) or length < 1e-9:
        raise GeometryError("The header gives no usable voxel size", where=where, remedy="export the image again")
    normal = upright[:3, 0] / np.linalg.norm(upright[:3, 0])
    cosine = abs(float(columns[:, 0] @ normal)) / length
    tilt = float(np.degrees(np.arccos(min(1.0, cosine))))
    if tilt > MOST_TILT:
        raise GeometryError(
            f"The slices lean by {tilt:.1f} degrees",
            expected=f"at most {MOST_TILT:.0f}; this header is sheared",
            where=where,
            remedy="resample the image to a rectangular grid on purpose",
        )
    return tilt if tilt > np.degrees(MAX_COSINE) else 0.0


def refuse_shear(affine: np.ndarray, where: str) -> None:
    """Refuse axes that are not at right angles.

    Args:
        affine: (4, 4), mm, any axis order.
        where: What the message names.

    Raises:
        GeometryError: A singular affine, or two axes whose cosine exceeds :data:`MAX_COSINE`.
    """
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    length = np.linalg.norm(columns, axis=0)
    if not np.isfinite(columns).all() or length.min() < 1e-9:
        raise GeometryError("The header gives no usable voxel size", where=where, remedy="export the image again")
    cosine = np.abs((columns / length).T @ (columns / length) - np.eye(3)).max()
    if cosine > MAX_COSINE:
        raise GeometryError(
            f"Two axes of the image meet at {np.degrees(np.arccos(min(1.0, cosine))):.1f} degrees",
            expected="right angles; this header is sheared",
            where=where,
            remedy="resample the image to a rectangular grid on purpose",
        )


def rescaled(array: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Return ``slope * array + intercept``: as stored for 1 and 0, int16 where exact, else float32.

    Args:
        array: Stored integers or floats.
        slope: Rescale slope.
        intercept: Rescale intercept.
    """
    if slope == 1.0 and intercept == 0.0:
        return array
    if slope == 1.0 and float(intercept).is_integer() and array.dtype.kind in "iu" and array.size:
        lowest, highest = int(array.min()) + int(intercept), int(array.max()) + int(intercept)
        if lowest >= -(2**15) and highest < 2**15:
            return (array.astype(np.int32) + int(intercept)).astype(np.int16)
    return np.asarray(array.astype(np.float64) * slope + intercept, dtype=np.float32)


def dtype_of(stored: str, slope: float, intercept: float) -> str:
    """Return the dtype that :func:`rescaled` will give, without the pixels; int16 is the expectation, not a promise."""
    if slope == 1.0 and intercept == 0.0:
        return stored
    return "int16" if slope == 1.0 and float(intercept).is_integer() and "int" in stored else "float32"


def as_labels(array: np.ndarray, where: str, *, threshold: float | None = None) -> np.ndarray:
    """Return a mask as integers, its own values kept.

    Args:
        array: Any real dtype.
        where: What the message names.
        threshold: Stored masks that were blurred by JPEG or antialiasing: at or above it 255, below 0.

    Raises:
        GeometryError: Values between the integers.
    """
    if threshold is not None:
        return np.where(array >= threshold, np.uint8(255), np.uint8(0))
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in "iu":
        return array
    whole: np.ndarray = np.rint(array)
    if not np.isfinite(array).all() or not np.array_equal(whole, array):
        raise GeometryError(
            "The mask has values between the integers", expected="whole numbers", where=where, remedy="export it again"
        )
    return np.asarray(whole, dtype=np.int32)

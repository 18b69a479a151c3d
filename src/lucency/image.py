"""An image that always travels with its place in the patient."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lucency.errors import GeometryError

Kind = Literal["intensity", "labels"]
KAxis = Literal["space", "time"]

#: Two affines are the same when no voxel of the image moves by more than this (mm); scanners write 4 to 6 digits.
SAME_PLACE_MM = 1e-2


@dataclass(frozen=True, eq=False)
class Image:
    """Numbers on a grid, with the affine that puts every voxel into the patient.

    Array order equals affine column order: ``world = affine @ (k, j, i, 1)``, in LPS millimetres
    (left, posterior, superior), as DICOM has it. A radiograph has K = 1.

    Args:
        array: (C, K, J, I), any real dtype; becomes read-only. Intensities finite, labels integers.
        affine: (4, 4) float64, mm; invertible.
        kind: ``"intensity"`` or ``"labels"``.
        unit: ``"HU"``, ``"SUV"``, ``"label"`` or ``"1"`` (no unit).
        k_axis: ``"space"``, or ``"time"`` for frames; then column k of the affine is the unit normal.

    Raises:
        GeometryError: An invariant does not hold; the message says which.
    """

    array: np.ndarray
    affine: np.ndarray
    kind: Kind = "intensity"
    unit: str = "1"
    k_axis: KAxis = "space"

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        affine = np.array(self.affine, dtype=np.float64)
        if array.ndim != 4 or array.size == 0:
            raise GeometryError(f"Array of shape {array.shape}", expected="(C, K, J, I), none of them 0")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise GeometryError("Affine is not a finite, invertible 4 × 4 matrix", remedy="export the image again")
        if self.kind == "labels" and array.dtype.kind not in "biu":
            raise GeometryError(f"Labels of type {array.dtype}", expected="integers")
        bad = _not_finite(array) if self.kind == "intensity" and array.dtype.kind == "f" else 0
        if bad:
            raise GeometryError(
                f"{bad} of {array.size} voxels are NaN or infinite",
                expected="finite numbers",
                remedy="export the image again, or fill them on purpose with --set nan=VALUE",
            )
        array = array.view()
        array.flags.writeable = False
        affine.flags.writeable = False
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "affine", affine)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.array.shape[0])

    @property
    def size(self) -> tuple[int, int, int]:
        """(K, J, I) in voxels."""
        k, j, i = self.array.shape[1:]
        return int(k), int(j), int(i)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(k, j, i) in mm: the lengths of the affine's columns."""
        k, j, i = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(k), float(j), float(i)

    def same_grid(self, other: "Image") -> bool:
        """Tell whether ``other`` has the same size and puts every corner at the same place."""
        return self.size == other.size and same_place(self.affine, other.affine, self.size)

    def with_array(self, array: np.ndarray, *, kind: Kind | None = None, unit: str | None = None) -> "Image":
        """Return this geometry with other numbers."""
        return replace(self, array=array, kind=kind or self.kind, unit=unit or self.unit)


def _not_finite(array: np.ndarray) -> int:
    """Return how many voxels are NaN or infinite, a slice at a time: a large volume gets no second array beside it."""
    return sum(plane.size - int(np.isfinite(plane).sum()) for channel in array for plane in channel)


def same_place(a: np.ndarray, b: np.ndarray, size: Sequence[int], tolerance_mm: float = SAME_PLACE_MM) -> bool:
    """Tell whether two affines put the eight corners of a (K, J, I) grid within ``tolerance_mm`` of each other."""
    corners = np.array([[k, j, i, 1.0] for k in (0, size[0] - 1) for j in (0, size[1] - 1) for i in (0, size[2] - 1)])
    return bool(np.abs(corners @ (np.asarray(a) - np.asarray(b)).T).max() <= tolerance_mm)


def diagonal_affine(spacing: Sequence[float]) -> np.ndarray:
    """Return the LPS affine of an axial image with its first voxel at the origin; ``spacing`` is (k, j, i) in mm."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing
    affine[3, 3] = 1.0
    return affine


@dataclass(frozen=True)
class Orientation:
    """How to turn an array's axes to the nearest LPS order, and back.

    Args:
        order: Source axis that becomes k, j, i.
        flip: Whether that axis runs backwards after the permutation.
    """

    order: tuple[int, int, int]
    flip: tuple[bool, bool, bool]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Turn (..., K, J, I) to the canonical order."""
        lead = array.ndim - 3
        turned = np.transpose(array, (*range(lead), *(lead + a for a in self.order)))
        return np.flip(turned, tuple(lead + a for a in range(3) if self.flip[a]))

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Turn a canonical (..., K, J, I) array back to the source's order."""
        lead = array.ndim - 3
        array = np.flip(array, tuple(lead + a for a in range(3) if self.flip[a]))
        return np.transpose(array, (*range(lead), *(lead + int(a) for a in np.argsort(self.order))))


def orientation_of(affine: np.ndarray) -> Orientation:
    """Return the turn that brings k, j, i nearest to superior, posterior, left.

    Args:
        affine: (4, 4), mm, LPS.
    """
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    order: list[int] = []
    for world in (2, 1, 0):
        free = [a for a in range(3) if a not in order]
        # Rounded: at exactly 45 degrees an image and its mask must turn alike, whatever their last digits.
        order.append(max(free, key=lambda a: round(abs(columns[world, a]), 3)))
    flip = tuple(bool(columns[world, axis] < 0) for world, axis in zip((2, 1, 0), order, strict=True))
    return Orientation((order[0], order[1], order[2]), (flip[0], flip[1], flip[2]))


def reorient(image: Image) -> Image:
    """Return the image with k nearest superior, j posterior, i left; no voxel moves in the patient."""
    turn = orientation_of(image.affine)
    affine = image.affine[:, [*turn.order, 3]].copy()
    for axis in range(3):
        if turn.flip[axis]:
            size = image.size[turn.order[axis]]
            affine[:, 3] += affine[:, axis] * (size - 1)
            affine[:, axis] = -affine[:, axis]
    return replace(image, array=np.ascontiguousarray(turn.apply(image.array)), affine=affine)


def crop(image: Image, start: Sequence[int], stop: Sequence[int]) -> Image:
    """Return voxels ``start`` to ``stop`` (exclusive), both (k, j, i); the rest stays where it is in the patient.

    Raises:
        GeometryError: The box is empty or leaves the image.
    """
    if any(not 0 <= a < b <= n for a, b, n in zip(start, stop, image.size, strict=True)):
        raise GeometryError(f"Box {tuple(start)} to {tuple(stop)}", expected=f"inside {image.size} and not empty")
    affine = image.affine.copy()
    affine[:, 3] = image.affine @ [*start, 1.0]
    window = image.array[:, start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]]
    return replace(image, array=window.copy(), affine=affine)


def resample(image: Image, affine: np.ndarray, size: Sequence[int], *, fill: float = 0.0) -> Image:
    """Return the image on another grid: linear for intensities, nearest for labels.

    Args:
        image: Any geometry, sheared included.
        affine: (4, 4), mm, LPS: the wanted grid.
        size: (K, J, I) of the wanted grid.
        fill: Value outside the image.
    """
    from scipy import ndimage  # noqa: PLC0415 - slow to import, and most who know images resample none

    # Rounded to a billionth of a voxel: what lies on the border must not fall outside by the last digit.
    step = np.round(np.linalg.inv(image.affine) @ np.asarray(affine, dtype=np.float64), 9)
    order = 0 if image.kind == "labels" else 1
    out_type = image.array.dtype if image.kind == "labels" else np.float32
    planes = [
        ndimage.affine_transform(
            channel.astype(out_type), step[:3, :3], step[:3, 3], tuple(size), order=order, mode="constant", cval=fill
        )
        for channel in image.array
    ]
    return replace(image, array=np.stack(planes), affine=affine)

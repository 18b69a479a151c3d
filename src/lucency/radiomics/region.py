"""From an image and a mask to the voxels that are measured: normalise, resample, resegment, crop, discretise."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import ndimage

from lucency.errors import DataError
from lucency.image import Image, resample
from lucency.radiomics.settings import MOST_LEVELS, Settings

#: A spline of order 3 is fitted to the crop and this margin: what lies n voxels away weighs 0.268ⁿ, here 7e-10.
SPLINE_MARGIN = 16
ORDER = {"bspline": 3, "linear": 1, "nearest": 0}
#: Cosine between two axes of the grid up to which it counts as straight (a hundredth of a degree is 1.7e-4).
STRAIGHT = 1e-3
#: A moved region may reach this far beyond the image, in voxels: rounding of the affines.
OUTSIDE = 1e-3


@dataclass(frozen=True, eq=False)
class Region:
    """The voxels that are measured, cropped to their bounding box.

    Args:
        values: (K, J, I) float64, the image's unit.
        inside: (K, J, I) bool; what first-order and texture features see.
        outline: (K', J', I') bool; what shape features see: the region before resegmentation, with its own box.
        spacing: (k, j, i), mm.
        settings: How levels are made and neighbours found.
    """

    values: np.ndarray
    inside: np.ndarray
    outline: np.ndarray
    spacing: tuple[float, float, float]
    settings: Settings

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel, mm³."""
        return float(np.prod(self.spacing))

    @cached_property
    def levels(self) -> np.ndarray:
        """(K, J, I) int64: grey level from 1, 0 outside.

        Raises:
            DataError: More than :data:`MOST_LEVELS` levels.
        """
        out = np.zeros(self.values.shape, dtype=np.int64)
        out[self.inside] = discretised(self.values[self.inside], self.settings)
        return out


def discretised(values: np.ndarray, settings: Settings) -> np.ndarray:
    """Return the grey level of every value, from 1.

    Bins of fixed width begin at a multiple of the width, so that a level means the same in every region; of a fixed
    number, they divide the range from minimum to maximum.

    Args:
        values: (n,) float, n >= 1.
        settings: ``bin_width`` or ``bin_count``.

    Returns:
        (n,) int64.

    Raises:
        DataError: More than :data:`MOST_LEVELS` levels.

    Source:
        IBSI reference manual, image discretisation (doi:10.1148/radiol.2020191145).
    """
    low, high = float(values.min()), float(values.max())
    if settings.bin_count is not None:
        if low == high:
            return np.ones(len(values), dtype=np.int64)
        place = settings.bin_count * ((values - low) / (high - low))
        return np.minimum(np.floor(place), settings.bin_count - 1).astype(np.int64) + 1
    width = float(settings.bin_width or 0)
    first = np.floor(low / width)
    # Compared as numbers: the range of a float image may exceed every integer type.
    count = np.floor(high / width) - first + 1
    if not count <= MOST_LEVELS:
        raise DataError(
            f"Bins of {width:g} make {count:.6g} grey levels",
            expected=f"at most {MOST_LEVELS}",
            where="radiomics settings",
            remedy="set a wider bin_width, or a bin_count such as 64",
        )
    return np.asarray(np.floor(values / width) - first, dtype=np.int64) + 1


def region_of(image: Image, mask: Image, settings: Settings, label: int) -> Region:
    """Return the measured voxels of one label, after everything that the settings ask for.

    Args:
        image: One channel, any spacing, axes at right angles.
        mask: Labels on the same grid.
        settings: What to do before measuring.
        label: Value of the mask that is the region.

    Raises:
        DataError: Mask on another grid, empty or too small region, more than one channel, a sheared grid.
    """
    _check(image, mask)
    if not image.same_grid(mask):
        mask = _corrected(image, mask, settings, label)
    inside = mask.array[0] == label
    if not inside.any():
        present = [int(v) for v in np.unique(mask.array) if v][:10]
        raise DataError(
            f"No voxel of the mask has label {label}",
            expected=f"one of {present}" if present else "a mask that is not empty",
            where="mask",
            remedy="name another label" if present else "draw the region, or leave this case out",
        )
    _check_size(inside, settings)
    values, spacing = image.array[0], image.spacing
    if settings.normalise:
        values = _normalised(values, settings)
    if settings.spacing_mm is not None:
        values, inside, spacing = _resampled(values, inside, spacing, settings)
        _check_size(inside, settings)
    # Cropped before it becomes float64: a whole CT would need eight bytes a voxel.
    box = _box(inside)
    values, outline = values[box].astype(np.float64), inside[box]
    inside = _resegmented(values, outline, settings)
    if inside is not outline:
        _check_size(inside, settings)
    box = _box(inside)
    if outline.shape[0] == 1 and image.size[0] == 1 and not settings.planar:
        settings = replace(settings, planar=True, planar_axis=0)
    return Region(values[box], inside[box], outline, spacing, settings)


def _check(image: Image, mask: Image) -> None:
    """Refuse what has no single number for each voxel of a straight grid."""
    for what, one in (("image", image), ("mask", mask)):
        if one.channels != 1:
            raise DataError(
                f"{one.channels} channels", expected="one", where=what, remedy="measure each channel by itself"
            )
    if mask.kind != "labels" and mask.array.dtype.kind not in "biu":
        raise DataError("A mask of fractions", expected="whole numbers", where="mask", remedy="threshold it first")
    if image.k_axis == "time" and image.size[0] > 1:
        raise DataError(
            f"{image.size[0]} frames in time", expected="a volume or one frame", where="image", remedy="choose a frame"
        )
    axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    lean = np.abs(axes.T @ axes - np.eye(3)).max()
    if lean > STRAIGHT:
        raise DataError(
            f"Axes {90 - np.degrees(np.arccos(min(lean, 1.0))):.2f} degrees from a right angle",
            expected="a straight grid",
            where="image",
            remedy="resample image and mask to a straight grid (lucency.image.resample)",
        )


def _corrected(image: Image, mask: Image, settings: Settings, label: int) -> Image:
    """Return the mask on the image's grid where that was asked for and nothing of the region is lost by it."""
    if not settings.correct_mask:
        sizes = "" if image.size == mask.size else f" ({mask.size} voxels for {image.size})"
        raise DataError(
            f"The mask lies on another grid{sizes}",
            expected="the image's size and place",
            where="mask",
            remedy="resample the mask, or set correct_mask",
        )
    inside = mask.array[0] == label
    if inside.any():
        # The corners of the region's box, outer faces of its voxels, as places in the image's array.
        ends = [(b.start - 0.5, b.stop - 0.5) for b in _box(inside)]
        corners = np.array([[k, j, i, 1.0] for k in ends[0] for j in ends[1] for i in ends[2]])
        place = (np.linalg.inv(image.affine) @ mask.affine @ corners.T)[:3].T
        if (place < -0.5 - OUTSIDE).any() or (place > np.array(image.size) - 0.5 + OUTSIDE).any():
            raise DataError(
                "The region reaches beyond the image",
                expected="a region within it",
                where="mask",
                remedy="check that mask and image belong together, or crop the mask",
            )
    return resample(replace(mask, kind="labels"), image.affine, image.size)


def _check_size(inside: np.ndarray, settings: Settings) -> None:
    """Refuse a region that is too small to measure."""
    count = int(inside.sum())
    if count < settings.min_voxels or count == 0:
        raise DataError(
            f"A region of {count} voxels",
            expected=f"at least {max(1, settings.min_voxels)}",
            where="mask, after resampling and resegmentation",
            remedy="leave this case out, or lower min_voxels, spacing_mm or resegment",
        )
    extent = [b.stop - b.start for b in _box(inside)]
    if sum(n > 1 for n in extent) < settings.min_dimensions:
        raise DataError(
            f"A region of {extent[0]} × {extent[1]} × {extent[2]} voxels",
            expected=f"two or more along {settings.min_dimensions} axes",
            where="mask, after resampling and resegmentation",
            remedy="leave this case out, or lower min_dimensions",
        )


def _box(inside: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the bounding box of a region that is not empty."""
    first, second = (
        slice(int(w[0]), int(w[-1]) + 1) for w in (np.flatnonzero(inside.any(a)) for a in ((1, 2), (0, 2)))
    )
    third = np.flatnonzero(inside.any((0, 1)))
    return first, second, slice(int(third[0]), int(third[-1]) + 1)


def _normalised(values: np.ndarray, settings: Settings) -> np.ndarray:
    """Return the whole image with mean 0 and standard deviation ``normalise_scale``."""
    spread = float(values.std(ddof=1, dtype=np.float64)) if values.size > 1 else 0.0
    if spread == 0:
        raise DataError("An image of one value", expected="at least two", where="image", remedy="switch normalise off")
    out = (values - values.mean(dtype=np.float64)) / spread
    if settings.outliers is not None:
        out = np.clip(out, -settings.outliers, settings.outliers)
    return np.asarray(out * settings.normalise_scale)


def _resegmented(values: np.ndarray, inside: np.ndarray, settings: Settings) -> np.ndarray:
    """Return the region without the values outside the range asked for."""
    if not settings.resegment:
        return inside
    limits = np.array(settings.resegment, dtype=np.float64)
    if settings.resegment_mode == "relative":
        limits = limits * values[inside].max()
    elif settings.resegment_mode == "sigma":
        limits = values[inside].mean() + values[inside].std() * limits
    kept: np.ndarray = inside & (values >= limits[0])
    if len(limits) == 2:
        kept &= values <= limits[1]
    return kept


def _resampled(
    values: np.ndarray, inside: np.ndarray, spacing: tuple[float, float, float], settings: Settings
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Return (values, inside, spacing) on the new grid, as far as the region reaches.

    The new grid shares its outermost corner with the old one. An axis along which the region is one voxel thick is
    kept.
    """
    box = _box(inside)
    wanted = np.array([w or s for w, s in zip(settings.spacing_mm or (), spacing, strict=True)])
    wanted = np.where([b.stop - b.start == 1 for b in box], spacing, wanted)
    step = wanted / spacing
    if np.allclose(step, 1, rtol=1e-9, atol=0):
        return values, inside, spacing
    size = np.array(values.shape)
    # Index of the new voxel n in the old grid: first + step * n.
    first = 0.5 * (step - 1)
    begin, end = np.array([b.start for b in box]), np.array([b.stop for b in box])
    low = np.maximum(np.floor((begin - 0.5 - first) / step), 0).astype(int)
    high = np.minimum(np.ceil((end - 0.5 - first) / step), np.ceil(size / step) - 1).astype(int)
    index = [first[a] + step[a] * np.arange(low[a], high[a] + 1) for a in range(3)]
    # The crop that the spline sees; beyond the image itself it mirrors.
    start = [max(0, int(i[0]) - SPLINE_MARGIN) for i in index]
    stop = [min(int(n), int(i[-1]) + 2 + SPLINE_MARGIN) for n, i in zip(size, index, strict=True)]
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    # Ties between two slices go up, whatever the last digits.
    nearest = [np.floor(np.round(i, 6) + 0.5).astype(int) for i in index]
    within = [(n >= 0) & (n < s) for n, s in zip(nearest, size, strict=True)]
    picked = inside[np.ix_(*(np.clip(n, 0, s - 1) for n, s in zip(nearest, size, strict=True)))]
    new_inside = picked & within[0][:, None, None] & within[1][:, None] & within[2]
    new_values = ndimage.affine_transform(
        values[window].astype(np.float64),
        step,
        [i[0] - a for i, a in zip(index, start, strict=True)],
        tuple(len(i) for i in index),
        order=ORDER[settings.interpolation],
        mode="mirror",
    )
    if values.dtype.kind in "biu" and settings.whole != "kept":
        new_values = np.trunc(new_values) if settings.whole == "truncated" else np.floor(new_values + 0.5)
    k, j, i = (float(w) for w in wanted)
    return new_values, new_inside, (k, j, i)

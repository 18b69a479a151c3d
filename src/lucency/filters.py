"""Image processing as pure functions: an Image in, an Image out, in 2-D and 3-D, its place in the patient kept.

A filter is one function with the decorator :func:`filter_named`; its keyword parameters are its settings. The stored
type stays: whole numbers are rounded and kept within their type. The unit stays unless the numbers lose its meaning;
then it becomes ``"1"``.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from lucency.errors import DataError, UsageError
from lucency.image import Image
from lucency.image import crop as cut

Setting = int | float

#: Standard deviation of normal data over their median absolute value.
MAD_TO_STD = 1 / 0.6745
#: Non-local means in volumes compares this many voxels around; in slices the user's own setting. The cost is cubed.
VOLUME_PATCH, VOLUME_REACH = 3, 3
#: Hounsfield value between air (-1000) and fat (-100): what is above it belongs to the body.
BODY_HU = -300.0
#: Without a unit, air ends this share of the grey range above the darkest value.
AIR = 0.05
#: A piece of a body is at least this share of the image; less is a marker or a speck of noise.
BODY_LEAST = 0.01
#: Time steps beyond which curvature flow is unstable on a unit grid, by dimension.
STEP = {2: 0.125, 3: 0.0625}


@dataclass(frozen=True)
class Filter:
    """A filter with what a user may set.

    Args:
        name: What it is called.
        apply: Image and settings to Image.
        settings: Setting to its default.
        sentence: What it does.
    """

    name: str
    apply: Callable[..., Image]
    settings: Mapping[str, Setting]
    sentence: str


#: Name to filter, in the order of this file.
FILTERS: dict[str, Filter] = {}


def filter_named(name: str) -> Callable[[Callable[..., Image]], Callable[..., Image]]:
    """Register a function under ``name``; its keyword parameters are numbers with defaults."""

    def register(function: Callable[..., Image]) -> Callable[..., Image]:
        parameters = list(inspect.signature(function).parameters.values())[1:]
        sentence = (inspect.getdoc(function) or "").split("\n\n", maxsplit=1)[0].replace("\n", " ")
        FILTERS[name] = Filter(name, function, {p.name: p.default for p in parameters}, sentence)
        return function

    return register


def found(name: str) -> Filter:
    """Return a filter by name.

    Raises:
        UsageError: No such filter; the message names the nearest.
    """
    if name not in FILTERS:
        near = difflib.get_close_matches(name, FILTERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"No filter {name!r}", expected=", ".join(FILTERS), where="--filter", remedy=hint)
    return FILTERS[name]


def settings_for(name: str, given: Mapping[str, str | Setting]) -> dict[str, Setting]:
    """Return all settings of a filter: the defaults, and what a user gives in their place.

    Args:
        name: Of the filter.
        given: Setting to number, or to its text.

    Raises:
        UsageError: No such filter or setting, or not a number.
    """
    chosen = dict(found(name).settings)
    for key, value in given.items():
        if key not in chosen:
            near = difflib.get_close_matches(key, chosen, n=1)
            hint = f"did you mean {near[0]!r}?" if near else ""
            expected = ", ".join(chosen) or "none"
            raise UsageError(f"{name} has no setting {key!r}", expected=expected, where="--set", remedy=hint)
        kind = type(chosen[key])
        try:
            number = kind(value)
        except ValueError:
            number = float("nan")
        if not np.isfinite(number):
            wanted = "a whole number" if kind is int else "a number"
            raise UsageError(f"{key} = {value!r}", expected=wanted, where=f"--set {name}.{key}")
        chosen[key] = number
    return chosen


def filtered(image: Image, name: str, given: Mapping[str, str | Setting] | None = None) -> Image:
    """Return the image after one filter.

    Args:
        image: Intensities.
        name: Of the filter.
        given: Settings that differ from the defaults.

    Raises:
        UsageError: No such filter or setting, or a setting out of range.
        DataError: Labels, or an image that the filter cannot work on.
    """
    if image.kind == "labels":
        raise DataError("Labels cannot be filtered", expected="an image of intensities", where="--filter")
    made: Image = found(name).apply(image, **settings_for(name, given or {}))
    return made


@filter_named("denoise")
def denoise(image: Image, *, strength: float = 0.8, patch: int = 5, reach: int = 6) -> Image:
    """Non-local means: averages places that look alike, so that edges stay.

    Args:
        image: Intensities.
        strength: Filter width in standard deviations of the noise, > 0; the noise is estimated from the image.
        patch: Side of the neighbourhoods compared, px; 3 in volumes.
        reach: How far like places are looked for, px; 3 in volumes.

    Source:
        Buades 2005, doi:10.1109/CVPR.2005.38; the estimate Donoho 1994, doi:10.1093/biomet/81.3.425.
    """
    from skimage.restoration import denoise_nl_means  # noqa: PLC0415 - slow to import

    _within("strength", strength, 0.0, 10.0)
    _within("patch", patch, 1, 21)
    _within("reach", reach, 1, 31)
    volume = image.size[0] > 1

    def work(x: np.ndarray) -> np.ndarray:
        sigma = noise_of(x)
        if sigma == 0:
            return x
        size = {"patch_size": VOLUME_PATCH, "patch_distance": VOLUME_REACH} if volume else {}
        done = denoise_nl_means(
            x, **{"patch_size": patch, "patch_distance": reach, **size}, h=strength * sigma, sigma=sigma, fast_mode=True
        )
        return np.asarray(done)

    return _each(image, work)


@filter_named("curvature")
def curvature(image: Image, *, iterations: int = 8) -> Image:
    """Curvature flow: smooths along edges and not across them.

    Args:
        image: Intensities.
        iterations: Steps, 1 to 200.

    Source:
        Malladi and Sethian 1995, doi:10.1006/gmip.1995.1003.
    """
    _within("iterations", iterations, 1, 200)

    def work(x: np.ndarray) -> np.ndarray:
        import SimpleITK as sitk  # noqa: PLC0415, N813 - slow to import

        # On a unit grid: ITK scales the step by the spacing, and a fine grid would then be left as it is.
        flowed = sitk.CurvatureFlow(sitk.GetImageFromArray(x), timeStep=STEP[x.ndim], numberOfIterations=iterations)
        return np.asarray(sitk.GetArrayFromImage(flowed))

    return _each(image, work)


@filter_named("sharpen")
def sharpen(image: Image, *, amount: float = 1.0, radius: float = 1.5) -> Image:
    """Unsharp mask: adds what a blur takes away; overshoot is cut at the image's own extremes.

    Args:
        image: Intensities.
        amount: How much is added, 0 to 10.
        radius: Standard deviation of the blur, px of a slice, 0.1 to 50; volumes are sharpened slice by slice.
    """
    _within("amount", amount, 0.0, 10.0)
    _within("radius", radius, 0.1, 50.0)

    def work(x: np.ndarray) -> np.ndarray:
        wide = (0.0, radius, radius) if x.ndim == 3 else radius
        return np.asarray(np.clip(x + amount * (x - ndimage.gaussian_filter(x, wide)), x.min(), x.max()))

    return _each(image, work)


@filter_named("clahe")
def clahe(image: Image, *, limit: float = 0.01, tiles: int = 8) -> Image:
    """Contrast-limited adaptive histogram equalisation: brings out local contrast; the unit is lost.

    Args:
        image: Intensities.
        limit: Largest share of a tile's pixels in one grey value, 0.0001 to 1.
        tiles: Tiles along each side, 1 to 64.

    Source:
        Zuiderveld 1994, Graphics Gems IV, 474-485.
    """
    from skimage.exposure import equalize_adapthist  # noqa: PLC0415 - slow to import

    _within("limit", limit, 1e-4, 1.0)
    _within("tiles", tiles, 1, 64)

    def work(x: np.ndarray) -> np.ndarray:
        low, high = float(x.min()), float(x.max())
        if high == low:
            return x
        kernel = tuple(max(1, n // tiles) for n in x.shape)
        done = equalize_adapthist((x - low) / (high - low), kernel_size=kernel, clip_limit=limit)
        return np.asarray(low + (high - low) * done)

    return replace(_each(image, work), unit="1")


@filter_named("window")
def window(image: Image, *, centre: float = 40.0, width: float = 400.0) -> Image:
    """Linear window: what lies inside fills the whole grey range, what lies outside becomes black or white.

    Args:
        image: Intensities.
        centre: In the image's unit.
        width: In the image's unit, > 0.

    Returns:
        0 to 1, or 0 to the largest number of an unsigned type; unit ``"1"``.

    Source:
        DICOM PS3.3, C.11.2.1.3.2 (LINEAR_EXACT).
    """
    _within("width", width, 1e-9, float("inf"))
    return _stretched(image, centre - width / 2, centre + width / 2)


@filter_named("rescale")
def rescale(image: Image, *, low: float = 1.0, high: float = 99.0) -> Image:
    """Stretch between two percentiles of the image; the unit is lost.

    Args:
        image: Intensities.
        low: Percentile that becomes black, 0 to 100.
        high: Percentile that becomes white, above ``low``.
    """
    _within("low", low, 0.0, 100.0)
    _within("high", high, low, 100.0)
    bottom, top = (float(v) for v in np.percentile(image.array, (low, high)))
    if not top > bottom:
        raise DataError(f"The percentiles {low:g} and {high:g} are the same value", remedy="set low and high apart")
    return _stretched(image, bottom, top)


@filter_named("bias")
def bias(image: Image, *, shrink: int = 4, iterations: int = 50, levels: int = 4) -> Image:
    """N4: takes slow changes of brightness out of an MR image; what is estimated on a coarse grid is applied in full.

    Args:
        image: Intensities; negative ones are lifted for the estimate.
        shrink: Every how many voxels the field is estimated, 1 to 16.
        iterations: At most, for each level, 1 to 500.
        levels: Of resolution, 1 to 8.

    Raises:
        DataError: Nothing stands out from the background.

    Source:
        Tustison 2010, doi:10.1109/TMI.2010.2046908.
    """
    _within("shrink", shrink, 1, 16)
    _within("iterations", iterations, 1, 500)
    _within("levels", levels, 1, 8)

    def work(x: np.ndarray) -> np.ndarray:
        import SimpleITK as sitk  # noqa: PLC0415, N813 - slow to import

        lift = max(0.0, -float(x.min()))
        whole = sitk.GetImageFromArray(x + lift)
        whole.SetSpacing([float(s) for s in image.spacing[::-1]][: x.ndim])
        mask = sitk.OtsuThreshold(whole, 0, 1, 200)
        if not sitk.GetArrayViewFromImage(mask).any():
            raise DataError("Nothing stands out from the background", expected="an image of a body")
        # A side is left whole where shrinking would leave too few voxels for the spline.
        factors = [max(1, min(shrink, n // 8)) for n in reversed(x.shape)]
        filter_ = sitk.N4BiasFieldCorrectionImageFilter()
        filter_.SetMaximumNumberOfIterations([iterations] * levels)
        filter_.Execute(sitk.Shrink(whole, factors), sitk.Shrink(mask, factors))
        field = np.exp(sitk.GetArrayFromImage(filter_.GetLogBiasFieldAsImage(whole)))
        inside = sitk.GetArrayViewFromImage(mask) > 0
        flat = (x + lift) / field
        # N4 leaves the field's overall scale open; the body keeps its mean, or whole numbers would run out of range.
        return np.asarray(flat * ((x[inside] + lift).mean() / flat[inside].mean()) - lift)

    return _each(image, work)


@filter_named("crop")
def crop(image: Image, *, margin: float = 5.0) -> Image:
    """Cut the air beside the body away; every voxel left stays where it is in the patient.

    Args:
        image: Intensities; brighter than their background.
        margin: Left around the body, mm, 0 to 1000.

    Raises:
        DataError: No body stands out.
    """
    _within("margin", margin, 0.0, 1000.0)
    inside = ndimage.find_objects(body(image).astype(np.uint8))[0]
    around = [int(np.ceil(margin / s)) for s in image.spacing]
    start = [max(0, s.start - m) for s, m in zip(inside, around, strict=True)]
    stop = [min(n, s.stop + m) for s, m, n in zip(inside, around, image.size, strict=True)]
    return cut(image, start, stop)


def body(image: Image) -> np.ndarray:
    """Return where the body is, (K, J, I) bool: every sizeable piece that is not air.

    Air is what lies below -300 HU, or within a twentieth of the grey range above the darkest value. The rule errs by
    keeping: a background brighter than that is taken for body, and nothing is cut away.

    Raises:
        DataError: Nothing stands out.
    """
    grey = image.array.mean(axis=0, dtype=np.float32)
    smooth = ndimage.uniform_filter(grey, [min(3, n) for n in grey.shape])
    lowest, high = (float(v) for v in np.percentile(smooth, (0, 99)))
    threshold = BODY_HU if image.unit == "HU" else lowest + AIR * (high - lowest)
    pieces, n = ndimage.label(smooth > threshold)
    sizes = np.bincount(pieces.ravel(), minlength=n + 1)
    sizeable = sizes >= BODY_LEAST * grey.size
    sizeable[0] = False
    if not sizeable.any():
        raise DataError("No body stands out from the background", expected="an image brighter than its background")
    return np.asarray(sizeable[pieces])


def noise_of(x: np.ndarray) -> float:
    """Return the standard deviation of the noise, by the median diagonal difference within slices.

    Args:
        x: (J, I) or (K, J, I) float.
    """
    rows, columns = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
    x = x[..., :rows, :columns]
    corner = x[..., ::2, ::2] + x[..., 1::2, 1::2] - x[..., 1::2, ::2] - x[..., ::2, 1::2]
    live = np.abs(corner[corner != 0])
    return float(np.median(live)) / 2 * MAD_TO_STD if live.size else 0.0


def _each(image: Image, work: Callable[[np.ndarray], np.ndarray]) -> Image:
    """Apply ``work`` to every channel, (J, I) of a flat image or (K, J, I) float32, and keep the stored type."""
    flat = image.size[0] == 1
    done = [work(c[0] if flat else c) for c in image.array.astype(np.float32)]
    array = np.stack([d[None] if flat else d for d in done])
    return image.with_array(_as_stored(array, image.array.dtype))


def _as_stored(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return floats in the type of the source; whole numbers rounded and kept within their type."""
    if dtype.kind in "iu":
        kept = np.iinfo(dtype)
        return np.clip(np.rint(array.astype(np.float64)), kept.min, kept.max).astype(dtype)
    return array.astype(dtype if dtype.kind == "f" and dtype.itemsize >= 4 else np.float32)


def _stretched(image: Image, low: float, high: float) -> Image:
    """Return ``low`` to ``high`` as 0 to 1, or as the whole range of an unsigned type."""
    share = np.clip((image.array.astype(np.float32) - low) / (high - low), 0.0, 1.0)
    kind = image.array.dtype
    if kind.kind == "u" and kind.itemsize <= 2:
        return image.with_array(_as_stored(share * np.iinfo(kind).max, kind), unit="1")
    return image.with_array(share.astype(np.float32), unit="1")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        said = f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"
        raise UsageError(f"{name} = {value:g}", expected=said, where=f"--set {name}")

"""Faults put into sound images on purpose, at strengths that a reader sees and still meets in practice."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from lucency.image import Image, crop

#: Standard deviation of the blur, as a share of the shorter side in the slice, and at least this many pixels.
BLUR, BLUR_LEAST = 0.008, 1.0
#: Standard deviation of the noise, as a share of the range between the 1st and 99th percentile.
NOISE = 0.08
#: Gains; what passes the largest number of the type, or the 99.9th percentile of wider types, is cut off.
OVER, UNDER = 1.6, 0.45
#: Share of one side that is cut away at one end.
CUT = 0.3

STRENGTHS = {
    "blur": f"Gaussian, standard deviation {BLUR:.1%} of the shorter side, at least {BLUR_LEAST:g} px",
    "noise": f"Gaussian, standard deviation {NOISE:.0%} of the range from the 1st to the 99th percentile",
    "overexposed": f"gain {OVER}, cut off at the top",
    "underexposed": f"gain {UNDER}",
    "crop": f"{CUT:.0%} of one side cut away at one end, stored smaller",
    "crop, enlarged": f"{CUT:.0%} of one side cut away at one end, then drawn out to the old size",
    "inverted": "dark and bright exchanged",
}

Fault = Callable[[Image, int], Image]


def stored(image: Image, array: np.ndarray) -> Image:
    """Return the array in the image's own type."""
    kind = image.array.dtype
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        array = np.clip(np.rint(array), limits.min, limits.max)
    return image.with_array(array.astype(kind))


def blur(image: Image, seed: int) -> Image:
    """Blur within the slices, and across them in volumes."""
    width = max(BLUR_LEAST, BLUR * min(image.size[1:]))
    sigma = (0, width if image.size[0] > 1 else 0, width, width)
    return stored(image, ndimage.gaussian_filter(image.array.astype(np.float32), sigma))


def noise(image: Image, seed: int) -> Image:
    """Add noise."""
    low, high = np.percentile(image.array, (1, 99))
    rng = np.random.default_rng(seed)
    grain = rng.normal(0, NOISE * (high - low), image.array.shape[1:])
    return stored(image, image.array.astype(np.float32) + grain)


def overexposed(image: Image, seed: int) -> Image:
    """Brighten until the top is cut off."""
    x = image.array.astype(np.float32)
    top = 255.0 if image.array.dtype == np.uint8 else float(np.percentile(x, 99.9))
    return stored(image, np.minimum(x.min() + OVER * (x - x.min()), top))


def underexposed(image: Image, seed: int) -> Image:
    """Darken."""
    x = image.array.astype(np.float32)
    return stored(image, x.min() + UNDER * (x - x.min()))


def cropped(image: Image, seed: int) -> Image:
    """Cut away one of the four sides of the slices, in turn."""
    axis, end = 1 + seed % 4 // 2, seed % 2
    size = image.size
    kept = int(size[axis] * (1 - CUT))
    start, stop = [0, 0, 0], list(size)
    start[axis], stop[axis] = (0, kept) if end else (size[axis] - kept, size[axis])
    return crop(image, start, stop)


def enlarged(image: Image, seed: int) -> Image:
    """Cut, and draw what is left out to the old size."""
    part = cropped(image, seed)
    zoom = [1.0, *(a / b for a, b in zip(image.size, part.size, strict=True))]
    drawn = ndimage.zoom(part.array.astype(np.float32), zoom, order=1)
    return replace(stored(part, drawn), affine=image.affine)


def inverted(image: Image, seed: int) -> Image:
    """Exchange dark and bright."""
    x = image.array.astype(np.float32)
    return stored(image, x.max() + x.min() - x)


#: Fault to what makes it and to the score that should tell it.
FAULTS: dict[str, tuple[Fault, str]] = {
    "blur": (blur, "blurred"),
    "noise": (noise, "noisy"),
    "overexposed": (overexposed, "overexposed"),
    "underexposed": (underexposed, "underexposed"),
    "crop": (cropped, "cropped"),
    "crop, enlarged": (enlarged, "cropped"),
    "inverted": (inverted, "inverted"),
}

"""Simple numbers that describe an image."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lucency.errors import UsageError

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)

#: Blocks along each axis whose means are features; orientations of the gradient histogram (Dalal & Triggs 2005).
N_BLOCKS, N_ANGLES = 4, 9


def features(array: np.ndarray, *, dims: int = 0) -> np.ndarray:
    """Return simple numbers that describe one image.

    Per channel: mean, standard deviation, skewness, kurtosis, extremes and 7 percentiles of the intensity; mean,
    standard deviation and 4 percentiles of the gradient; mean, standard deviation and 4 percentiles of the local
    standard deviation (3 voxels wide); 4 × 4 (× 4) block means; share, centre and spread of what is brighter than
    the mean. In 2-D also 4 × 4 histograms of 9 gradient directions of the channels' mean.

    Args:
        array: (C, K, J, I) float32, normalised.
        dims: 2 or 3; 0 for 2 where K = 1. All images of a set need the same.

    Returns:
        (n_features,) float32, finite; the length depends on C and ``dims`` only.

    Source:
        Dalal & Triggs 2005, doi:10.1109/CVPR.2005.177 (histograms of oriented gradients).
    """
    dims = dims or (2 if array.shape[1] == 1 else 3)
    if dims == 2 and array.shape[1] != 1:
        raise UsageError(f"An image of {array.shape[1]} slices", expected="one slice in a 2-D set")
    planes = array[:, 0] if dims == 2 else array
    parts = [_channel_features(channel) for channel in planes]
    if dims == 2:
        parts.append(_oriented_gradients(planes.mean(axis=0)))
    return np.nan_to_num(np.concatenate(parts).astype(np.float32), posinf=0.0, neginf=0.0)


def _channel_features(image: np.ndarray) -> np.ndarray:
    """Return the features of one channel, (J, I) or (K, J, I)."""
    mean, spread = float(image.mean()), float(image.std())
    z = (image - mean) / max(spread, 1e-6)
    squares = z * z
    moments = [mean, spread, float((squares * z).mean()), float((squares * squares).mean())]
    moments += [float(image.min()), float(image.max())]
    slopes = [np.gradient(image, axis=a) for a in range(image.ndim) if image.shape[a] > 1]
    gradient = np.sqrt(sum((s * s for s in slopes), np.zeros_like(image)))
    local = ndimage.uniform_filter(image, 3)
    texture = np.sqrt(np.maximum(ndimage.uniform_filter(image * image, 3) - local * local, 0.0))
    blocks = [float(image[box].mean()) for box in _blocks(image.shape)]
    return np.concatenate(
        [moments, np.percentile(image, PERCENTILES), _summary(gradient), _summary(texture), blocks, _shape(z > 0)]
    )


def _summary(values: np.ndarray) -> np.ndarray:
    return np.array([values.mean(), values.std(), *np.percentile(values, (25, 50, 75, 95))])


def _shape(bright: np.ndarray) -> np.ndarray:
    """Return share, and per axis centre and spread, of a mask, in parts of the image."""
    total = max(int(bright.sum()), 1)
    found = [total / bright.size]
    for axis, n in enumerate(bright.shape):
        along = bright.sum(axis=tuple(a for a in range(bright.ndim) if a != axis)) / total
        at = (np.arange(n) + 0.5) / n
        centre = float(along @ at)
        found += [centre, math.sqrt(max(float(along @ (at - centre) ** 2), 0.0))]
    return np.array(found)


def _blocks(shape: Sequence[int]) -> list[tuple[slice, ...]]:
    """Return 4 boxes along each axis; they overlap where an axis has fewer than 4 voxels, so the count is fixed."""
    boxes: list[tuple[slice, ...]] = [()]
    for n in shape:
        cuts = [slice(b * n // N_BLOCKS, max(b * n // N_BLOCKS + 1, (b + 1) * n // N_BLOCKS)) for b in range(N_BLOCKS)]
        boxes = [(*box, cut) for box in boxes for cut in cuts]
    return boxes


def _oriented_gradients(image: np.ndarray) -> np.ndarray:
    """Return (4 * 4 * 9,) share of the gradient's strength by place and direction of a (J, I) image."""
    rows = np.gradient(image, axis=0) if image.shape[0] > 1 else np.zeros_like(image)
    columns = np.gradient(image, axis=1) if image.shape[1] > 1 else np.zeros_like(image)
    strength = np.hypot(rows, columns)
    angle = (np.arctan2(rows, columns) % np.pi * (N_ANGLES / np.pi)).astype(int) % N_ANGLES
    row, column = ((np.arange(n) * N_BLOCKS // n)[:, None] for n in image.shape)
    cell = (row * N_BLOCKS + column.T) * N_ANGLES + angle
    found = np.bincount(cell.ravel(), strength.ravel(), N_BLOCKS * N_BLOCKS * N_ANGLES)
    return np.asarray(found / max(float(np.linalg.norm(found)), 1e-6))

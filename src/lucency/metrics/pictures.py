"""How well one image agrees with another, voxel by voxel and in its structure."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lucency.errors import UsageError

#: Standard deviation of the window in pixels, and where it is cut off, in standard deviations: 11 pixels in all.
WINDOW, CUT = 1.5, 3.5

#: What steadies the ratios, as shares of the span (Wang 2004).
K_MEAN, K_SPREAD = 0.01, 0.03

#: An error without end would come of two images that are the same; no one sees a difference at this.
MOST_DB = 100.0


@dataclass(frozen=True)
class PictureScores:
    """How well a made image agrees with the real one.

    Args:
        mae: Mean absolute error, in the images' numbers; best 0.
        psnr: Peak signal-to-noise ratio, dB, up to :data:`MOST_DB`; best is the highest.
        ssim: Structural similarity, -1 to 1, the mean over slices; best 1. NaN where the real image has no span.
            Source: Wang 2004, doi:10.1109/TIP.2003.819861.
    """

    mae: float
    psnr: float
    ssim: float


def picture_scores(truth: np.ndarray, made: np.ndarray, span: float) -> PictureScores:
    """Return how well an image agrees with the real one.

    Args:
        truth: (K, J, I) float.
        made: The same shape.
        span: Distance of the largest possible number from the smallest, over 0.

    Raises:
        UsageError: Two shapes.
    """
    if truth.shape != made.shape:
        raise UsageError(f"Images of shape {truth.shape} and {made.shape}", expected="one shape")
    a, b = truth.astype(np.float64), made.astype(np.float64)
    square = float(((a - b) ** 2).mean())
    if not span > 0:
        return PictureScores(float(np.abs(a - b).mean()), math.nan, math.nan)
    ratio = MOST_DB if square <= 0 else min(MOST_DB, 10 * math.log10(span**2 / square))
    alike = float(np.mean([_ssim(x, y, span) for x, y in zip(a, b, strict=True)]))
    return PictureScores(float(np.abs(a - b).mean()), ratio, alike)


def _ssim(a: np.ndarray, b: np.ndarray, span: float) -> float:
    """Return the mean similarity of two slices, border included."""

    def blurred(x: np.ndarray) -> np.ndarray:
        out: np.ndarray = ndimage.gaussian_filter(x, WINDOW, truncate=CUT, mode="reflect")
        return out

    mean_a, mean_b = blurred(a), blurred(b)
    spread_a, spread_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    both = blurred(a * b) - mean_a * mean_b
    c1, c2 = (K_MEAN * span) ** 2, (K_SPREAD * span) ** 2
    found = ((2 * mean_a * mean_b + c1) * (2 * both + c2)) / ((mean_a**2 + mean_b**2 + c1) * (spread_a + spread_b + c2))
    return float(found.mean())

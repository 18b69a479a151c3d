"""How well one mask agrees with another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, spatial

from lucency.errors import UsageError


@dataclass(frozen=True)
class MaskScores:
    """How well one label of a mask agrees with the truth.

    Where both are empty they agree: every score has its best value. Where one is empty, Dice and surface Dice are
    0 and the distances are the diagonal of the image, the farthest apart that anything in it can be, so that a
    missed organ is a finite worst case; the volume error of an empty truth is NaN (undefined).

    Args:
        dice: 0 to 1, best 1. Source: Dice 1945, doi:10.2307/1932409.
        surface_dice: Share of both surfaces within the tolerance of the other; best 1.
            Source: Nikolov 2021, doi:10.2196/26151.
        hd95_mm: The larger of the two directed 95th percentiles of surface distance, mm; best 0.
            Source: Huttenlocher 1993, doi:10.1109/34.232073; Metrics Reloaded, doi:10.1038/s41592-023-02151-z.
        assd_mm: Average symmetric surface distance, mm; best 0. Source: Heimann 2009, doi:10.1109/TMI.2009.2013851.
        volume_error: (predicted - true) / true volume, -1 upwards; best 0.
    """

    dice: float
    surface_dice: float
    hd95_mm: float
    assd_mm: float
    volume_error: float


def dice(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Return the Dice overlap of two boolean masks of one shape; 1 where both are empty."""
    total = int(np.count_nonzero(truth)) + int(np.count_nonzero(prediction))
    return 2 * int(np.count_nonzero(truth & prediction)) / total if total else 1.0


def mask_scores(truth: np.ndarray, prediction: np.ndarray, spacing: Sequence[float], tolerance_mm: float) -> MaskScores:
    """Return overlap and surface distances of one label.

    The surface is the set of voxels of a mask with a face neighbour outside it or outside the image; its distances
    run between voxel centres. An axis of one voxel (a radiograph's k) has no surface across it.

    Args:
        truth: (K, J, I) bool.
        prediction: (K, J, I) bool.
        spacing: (k, j, i) in mm, > 0.
        tolerance_mm: Distance that surface Dice forgives, > 0; about what two readers differ by.

    Raises:
        UsageError: Shapes differ.
    """
    if truth.shape != prediction.shape:
        raise UsageError(f"A mask of {prediction.shape}", expected=f"{truth.shape}, as the truth")
    n_truth, n_prediction = int(np.count_nonzero(truth)), int(np.count_nonzero(prediction))
    if n_truth == 0 or n_prediction == 0:
        if n_truth == n_prediction:
            return MaskScores(1.0, 1.0, 0.0, 0.0, 0.0)
        diagonal = float(np.linalg.norm(np.multiply(truth.shape, spacing)))
        return MaskScores(0.0, 0.0, diagonal, diagonal, -1.0 if n_truth else math.nan)
    box = _union_box(truth, prediction)
    flat = tuple(a for a, n in enumerate(truth.shape) if n == 1)
    window = np.array([s for a, s in enumerate(spacing) if a not in flat])
    ours = _surface(np.squeeze(prediction[box], axis=flat)) * window
    theirs = _surface(np.squeeze(truth[box], axis=flat)) * window
    away = spatial.cKDTree(theirs).query(ours)[0]
    back = spatial.cKDTree(ours).query(theirs)[0]
    surfaces = away.size + back.size
    near = int((away <= tolerance_mm).sum()) + int((back <= tolerance_mm).sum())
    return MaskScores(
        dice=dice(truth[box], prediction[box]),
        surface_dice=near / surfaces,
        hd95_mm=float(max(np.percentile(away, 95), np.percentile(back, 95))),
        assd_mm=float(away.sum() + back.sum()) / surfaces,
        volume_error=(n_prediction - n_truth) / n_truth,
    )


def _union_box(a: np.ndarray, b: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest box around two masks that are not empty."""
    found = ndimage.find_objects((a | b).astype(np.uint8))[0]
    return tuple(found)


def _surface(mask: np.ndarray) -> np.ndarray:
    """Return (n, d) indices of the voxels with a face neighbour outside; outside the array counts."""
    return np.argwhere(mask & ~ndimage.binary_erosion(mask))

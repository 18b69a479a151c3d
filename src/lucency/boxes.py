"""Boxes drawn on images: what detection learns from and what it answers."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lucency.errors import DataError


@dataclass(frozen=True)
class Box:
    """A box along the axes of its image, in the source's own pixels.

    Coordinates are edges, not centres: pixel p reaches from p to p + 1, so that the whole image is 0 to its size.

    Args:
        label: Name of what is inside.
        low: (k, j, i) where it begins; k is 0 on a single image.
        high: (k, j, i) where it ends; k is 1 on a single image.
        score: 0 to 1, how sure the model is; 1 where a person drew it.
        low_mm: (x, y, z) LPS mm, the smallest coordinates of the box in the patient; empty where not worked out.
        high_mm: (x, y, z) LPS mm, the largest.
        told: Whether its score is high enough for its class to be told as a finding; a drawn box is.

    Raises:
        DataError: A side that is not longer than nothing, a number that is not finite, a score outside 0 to 1.
    """

    label: str
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    score: float = 1.0
    low_mm: tuple[float, ...] = ()
    high_mm: tuple[float, ...] = ()
    told: bool = True

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in (*self.low, *self.high)):
            raise DataError("A box with an edge that is no finite number", expected="six finite numbers")
        if not all(a < b for a, b in zip(self.low, self.high, strict=True)):
            raise DataError("A box without extent", expected="every edge beyond its opposite")
        if not 0.0 <= self.score <= 1.0:
            raise DataError(f"Score {self.score}", expected="0 to 1")


def placed(box: Box, affine: np.ndarray) -> Box:
    """Return the box with its place in the patient.

    Args:
        box: In pixels.
        affine: (4, 4) float, mm: (k, j, i) of pixel centres to LPS.
    """
    edges = list(zip(box.low, box.high, strict=True))
    # The centre of pixel 0 is half a pixel inside its edge.
    corners = np.array([[*(e[n] - 0.5 for e, n in zip(edges, pick, strict=True)), 1.0] for pick in _CORNERS])
    world = corners @ affine.T
    low, high = world[:, :3].min(axis=0), world[:, :3].max(axis=0)
    return replace(box, low_mm=tuple(float(v) for v in low), high_mm=tuple(float(v) for v in high))


_CORNERS = tuple(itertools.product((0, 1), repeat=3))


def edges_of(boxes: Sequence[Box]) -> np.ndarray:
    """Return (n, 6) float: k, j, i of the low corners, then of the high ones."""
    return np.array([[*b.low, *b.high] for b in boxes], dtype=float).reshape(-1, 6)


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union of every pair of boxes.

    Args:
        first: (n, 2 d) float, low corners before high ones.
        second: (m, 2 d) float.

    Returns:
        (n, m) float, 0 to 1.

    Example:
        >>> overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2]])).round(3)
        array([[0.333]])
    """
    d = first.shape[1] // 2
    low = np.maximum(first[:, None, :d], second[None, :, :d])
    high = np.minimum(first[:, None, d:], second[None, :, d:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    sizes = [np.clip(b[:, d:] - b[:, :d], 0, None).prod(axis=1) for b in (first, second)]
    union = sizes[0][:, None] + sizes[1][None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))

"""What an array on the network's grid needs to find its way back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lucency.image import Orientation


@dataclass(frozen=True)
class Place:
    """What is needed to bring an array from the network's grid back to the source's.

    Args:
        turn: From the source's axes to k, j, i.
        source_size: (K, J, I) of the source, in its own order.
        scaled: (K, J, I) after turning and scaling.
        start: (k, j, i) where the scaled image begins in the frame; 0 without a frame.
        frame: (K, J, I) of the prepared array.
        lean: (j, i) pixels by which each slice of the source is shifted against the one before it (gantry tilt); the
            source is set upright before it is turned and scaled.
    """

    turn: Orientation
    source_size: tuple[int, int, int]
    scaled: tuple[int, int, int]
    start: tuple[int, int, int]
    frame: tuple[int, int, int]
    lean: tuple[float, float] = (0.0, 0.0)

    @property
    def upright_size(self) -> tuple[int, int, int]:
        """(K, J, I) of the source once it stands upright: as wide as all its slices beside each other."""
        k, j, i = self.source_size
        return k, j + _overhang(self.lean[0], k), i + _overhang(self.lean[1], k)


def _overhang(lean: float, n_slices: int) -> int:
    # A hundredth of a pixel is rounding: an image and its mask must come to the same size.
    return max(0, math.ceil(abs(lean) * (n_slices - 1) - 0.01))


@dataclass(frozen=True, eq=False)
class Prepared:
    """One case on the network's grid.

    Args:
        array: (C, K, J, I) float32, normalised.
        place: The way back.
        affine: (4, 4) of the source, mm.
        facts: (n,) float32: clinical columns as numbers, NaN where not known; empty without any.
    """

    array: np.ndarray
    place: Place
    affine: np.ndarray
    facts: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))


def triple(values: Sequence[int]) -> tuple[int, int, int]:
    """Return three whole numbers, as (k, j, i)."""
    k, j, i = values
    return int(k), int(j), int(i)

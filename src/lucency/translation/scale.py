"""From the network's numbers back to stored ones."""

from dataclasses import dataclass

import numpy as np

from lucency.plan import Plan, number_of
from lucency.prepare import own_scale

#: Types of whole numbers that are written, the first that holds them all.
KINDS = (np.uint8, np.int16, np.uint16, np.int32)


def places_of(plan: Plan) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return where in a prepared image the channels lie that are given, and those that are wanted."""
    given: list[int] = []
    wanted: list[int] = []
    at = 0
    for modality, n in zip(plan.modalities, plan.stems, strict=True):
        (wanted if modality in plan.made else given).extend(range(at, at + n))
        at += n
    return tuple(given), tuple(wanted)


@dataclass(frozen=True)
class Scale:
    """What the numbers of the wanted modality mean.

    Args:
        mean: Stored number at 0 of the network.
        std: Stored numbers in one unit of the network.
        low: Smallest stored number that is written.
        high: Largest.
        fixed: The same for every image; else each image was brought to its own mean and deviation, and what is made
            has those that are usual.
        whole: Stored numbers are whole.
        unit: ``"HU"``, ``"SUV"`` or ``"1"``.
    """

    mean: float
    std: float
    low: float
    high: float
    fixed: bool
    whole: bool
    unit: str

    @property
    def span(self) -> float:
        """Distance of the largest from the smallest number."""
        return self.high - self.low

    def stored(self, normal: np.ndarray) -> np.ndarray:
        """Return the network's numbers as stored ones, (…) float32, or whole numbers of the type that holds them."""
        values = np.clip(normal.astype(np.float32) * self.std + self.mean, self.low, self.high)
        if not self.whole:
            return np.asarray(values)
        fitting = (k for k in KINDS if np.iinfo(k).min <= self.low and self.high <= np.iinfo(k).max)
        return np.asarray(np.rint(values).astype(next(fitting, np.int32)))

    def comparable(self, truth: np.ndarray) -> np.ndarray:
        """Return a real image in the numbers in which a made one is written, (K, J, I) float64.

        Of a modality without a common scale that is the image at the usual mean and deviation.
        """
        values = truth.astype(np.float64)
        if self.fixed:
            return np.asarray(np.clip(values, self.low, self.high))
        clipped, mean, std = own_scale(values)
        usual: np.ndarray = (clipped - mean) / max(std, 1e-6) * self.std + self.mean
        return usual


def scale_of(plan: Plan) -> Scale:
    """Return the scale of what a plan makes."""
    at = places_of(plan)[1][0]
    how, told = plan.normalisation, plan.task_options
    fixed = how.is_fixed(at)
    mean = how.mean[at] if fixed else number_of(told, "wanted_mean", 0.0)
    std = how.std[at] if fixed else number_of(told, "wanted_std", 1.0)
    low = how.lower[at] if fixed else number_of(told, "wanted_low", -1e30)
    high = how.upper[at] if fixed else number_of(told, "wanted_high", 1e30)
    return Scale(mean, std, low, high, fixed, bool(told.get("wanted_whole", False)), str(told.get("wanted_unit", "1")))

"""Many numbers in few: summaries and tables of counts that merge."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lucency.errors import DataError

#: Width of a histogram's bins, as a share of the value: a percentile is right within half of it.
STEP = 0.01

#: Values nearer to zero than this are zero; the smallest physical numbers stored are diffusivities, about 1e-10 m²/s.
TINY = 1e-12


@dataclass(frozen=True)
class Summary:
    """Many numbers in few, so that two summaries merge.

    Args:
        count: How many.
        mean: Their mean; 0 for none (NaN would make two empty summaries differ).
        deviations: Sum of squared deviations from the mean.
        minimum: The smallest; 0 for none.
        maximum: The largest; 0 for none.
        bins: Symmetric logarithmic histogram: bin number to count. Bin n > 0 holds values of
            ``TINY * (1 + STEP) ** (n - 1)`` up to the next, bin -n their negatives, bin 0 zero.

    Raises:
        DataError: The bins do not add up to ``count``.
    """

    count: int = 0
    mean: float = 0.0
    deviations: float = 0.0
    minimum: float = 0.0
    maximum: float = 0.0
    bins: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if sum(self.bins.values()) != self.count:
            raise DataError(f"A histogram of {sum(self.bins.values())} of {self.count} values", remedy="profile again")

    @property
    def std(self) -> float:
        """Standard deviation (of the population); NaN for none."""
        return float(np.sqrt(self.deviations / self.count)) if self.count else float("nan")

    def percentile(self, q: float) -> float:
        """Return the value that ``q`` per cent of the numbers do not exceed, within half of ``STEP``.

        Args:
            q: 0 to 100.

        Returns:
            Exact at 0 and 100 and where all numbers are equal; NaN for no numbers.
        """
        if not self.count:
            return float("nan")
        if q <= 0:
            return self.minimum
        numbers = sorted(self.bins)
        reached = np.cumsum([self.bins[n] for n in numbers])
        # 1e-9: 5 % of 100 is the fifth value, although 0.05 * 100 is a little more than 5 in binary.
        place = int(np.searchsorted(reached, q / 100 * self.count - 1e-9))
        number = numbers[min(place, len(numbers) - 1)]
        centre = 0.0 if number == 0 else np.sign(number) * TINY * (1 + STEP) ** (abs(number) - 0.5)
        return self.maximum if q >= 100 else float(np.clip(centre, self.minimum, self.maximum))

    def merge(self, other: "Summary") -> "Summary":
        """Return the summary of both sets of numbers."""
        if not self.count or not other.count:
            return self if self.count else other
        count, gap = self.count + other.count, other.mean - self.mean
        return Summary(
            count,
            self.mean + gap * other.count / count,
            self.deviations + other.deviations + gap**2 * self.count * other.count / count,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            _added(self.bins, other.bins),
        )


def summary(values: np.ndarray, counts: np.ndarray | None = None) -> Summary:
    """Return the summary of ``values``, each taken ``counts`` times.

    Args:
        values: (n,) real, finite.
        counts: (n,) int, >= 1; None for once each.
    """
    if values.size == 0:
        return Summary()
    values = values.astype(np.float64)
    # Taken from the first value, equal numbers have exactly their own mean and no deviation.
    gaps = values - values[0]
    total = values.size if counts is None else int(counts.sum())
    shift = float(gaps.sum() if counts is None else gaps @ counts) / total
    gaps -= shift
    deviations = float(gaps @ gaps if counts is None else (gaps * gaps) @ counts)
    numbers = _bin_numbers(values)
    lowest = int(numbers.min())
    # Sums of counts in float64 are exact below 2 ** 53.
    held = np.bincount(numbers - lowest, weights=counts).astype(np.int64)
    bins = np.nonzero(held)[0]
    return Summary(
        total,
        float(values[0]) + shift,
        deviations,
        float(values.min()),
        float(values.max()),
        dict(zip((bins + lowest).tolist(), held[bins].tolist(), strict=True)),
    )


def _bin_numbers(values: np.ndarray) -> np.ndarray:
    """Return the number of the bin that holds each value, int64."""
    size = np.abs(values)
    small = size < TINY
    np.maximum(size, TINY, out=size)
    numbers = (np.log(size / TINY) / np.log1p(STEP)).astype(np.int64) + 1
    numbers[small] = 0
    return np.asarray(np.where(values < 0, -numbers, numbers))


def _added(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the sum of two tables of counts, sorted by key."""
    total = dict(a)
    for key, number in b.items():
        total[key] = total.get(key, 0) + number
    return dict(sorted(total.items()))


def merged(a: Any, b: Any) -> Any:
    """Return the union of two fields: numbers add, summaries merge, tables join key by key."""
    if isinstance(a, Summary):
        return a.merge(b)
    if isinstance(a, tuple):
        longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
        return (*(merged(x, y) for x, y in zip(a, b, strict=False)), *longer[len(shorter) :])
    if isinstance(a, Mapping):
        if not a or not b:
            return a or b
        return {
            key: merged(a[key], b[key]) if key in a and key in b else (a[key] if key in a else b[key])
            for key in sorted(a.keys() | b.keys())
        }
    return a + b


def rank(counts: Mapping[int, int], q: float) -> int:
    """Return the value that ``q`` per cent of the counted values do not exceed; 0 for none."""
    if not counts:
        return 0
    values = sorted(counts)
    reached = np.cumsum([counts[v] for v in values])
    return values[min(int(np.searchsorted(reached, q / 100 * reached[-1] - 1e-9)), len(values) - 1)]

"""What one feature can be: a number, or a reason why it has none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Undefined:
    """A feature that this region does not have.

    Args:
        reason: Why, as a sentence without its full stop.
        conventional: What other programs write in its place, where they agree on something; else NaN.
    """

    reason: str
    conventional: float = float("nan")


Feature = float | Undefined


def mean_of(found: Iterable[Mapping[str, Feature]]) -> dict[str, Feature]:
    """Return the mean of every feature over several matrices, over those of them in which it is defined.

    Args:
        found: One mapping for each matrix, all with the same names; at least one.
    """
    several = list(found)
    out: dict[str, Feature] = {}
    for name in several[0]:
        each = [one[name] for one in several]
        numbers = [v for v in each if not isinstance(v, Undefined)]
        out[name] = float(np.mean(numbers)) if numbers else each[0]
    return out


def settled(found: Iterable[Mapping[str, Feature]]) -> list[dict[str, Feature]]:
    """Return the same mappings with the conventional number wherever a feature is undefined and there is one."""
    return [
        {
            name: value.conventional if isinstance(value, Undefined) and np.isfinite(value.conventional) else value
            for name, value in one.items()
        }
        for one in found
    ]

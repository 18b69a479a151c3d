"""Times and events of many patients, checked once and then trusted."""

from dataclasses import dataclass

import numpy as np

from lucency.errors import DataError


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What became of the patients.

    Args:
        time: (n,) float, days, >= 0: until the event, or until the patient was last seen without one.
        event: (n,) int: 0 last seen without an event (censored), 1 the event, 2 and more competing events.

    Raises:
        DataError: Lengths that differ, no patient, times that are negative or not finite, or events below 0.
    """

    time: np.ndarray
    event: np.ndarray

    def __post_init__(self) -> None:
        time, event = np.asarray(self.time, dtype=np.float64), np.asarray(self.event)
        if time.ndim != 1 or time.shape != event.shape or not time.size:
            raise DataError(f"{time.size} times and {event.size} events", expected="as many of each, at least one")
        if not np.isfinite(time).all() or time.min() < 0 or event.min() < 0:
            raise DataError(
                "A time that is negative or not finite, or an event below 0",
                expected="times from 0 on; events 0 (censored), 1, 2 …",
                remedy="correct the table: time counts from the image on",
            )
        object.__setattr__(self, "time", time)
        object.__setattr__(self, "event", event.astype(int))

    def __len__(self) -> int:
        return int(self.time.size)

    @property
    def causes(self) -> tuple[int, ...]:
        """The kinds of events that occur, 0 left out."""
        return tuple(int(v) for v in np.unique(self.event) if v > 0)

    def of(self, cause: int) -> "Outcomes":
        """Return the outcomes with every other kind of event counted as censored: what a cause-specific hazard asks."""
        return Outcomes(self.time, (self.event == cause).astype(int))

    def any(self) -> "Outcomes":
        """Return the outcomes with all kinds of events counted as one."""
        return Outcomes(self.time, (self.event > 0).astype(int))

    def take(self, index: np.ndarray) -> "Outcomes":
        """Return some of the patients; an index or a bool for each."""
        return Outcomes(self.time[index], self.event[index])

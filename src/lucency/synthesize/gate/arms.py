"""The arms of the gate: what each trains on beside the real images, and with which choices of the task.

All arms of a run make as many optimiser steps on the one loop. A rival is whatever costs less than a generator: nothing
at all, the same images again in the same count, what the task offers against unlike classes, a stronger mixup.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lucency.plan import Needs, Option, Plan
from lucency.synthesize.drawn import UNKNOWN

#: Generated images for each real one (the grid of docs/decisions/0028-gate.md; beyond one careful studies see harm).
RATIOS = (0.25, 0.5, 1.0)

#: The task's own strength of mixing images, where it has one; and what is tried where it is off, or in use already
#: (Zhang 2018, doi 10.48550/arXiv.1710.09412: 0.1 to 0.4 helped).
MIXUP, MIXED = "mixup", (0.2, 0.4)

#: A class below this share of the median count is topped up.
TOPPED = 0.8

#: Of what an arm wants, so much must be left by the sieve: fewer images, drawn again and again, are another arm.
LEAST_LEFT = 0.5

#: What the rows beside the real ones are.
NOTHING, AGAIN, MADE = "nothing", "real", "generated"


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Args:
        name: In files and tables.
        kind: What lies beside the real images: :data:`NOTHING`, :data:`AGAIN` or :data:`MADE`.
        wanted: Class number (:data:`UNKNOWN` where there are none) to further images of it for each real one.
        level: Instead, every rare class of a run is brought to the median count of its classes.
        options: The task's own settings that differ from the plan's.
    """

    name: str
    kind: str = NOTHING
    wanted: Mapping[int, float] = field(default_factory=dict)
    level: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def candidate(self) -> bool:
        """Whether it is generated images that it uses."""
        return self.kind == MADE

    @property
    def slug(self) -> str:
        """Its name as a folder."""
        return "".join(c if c.isalnum() or c in ".-" else "_" for c in self.name)

    def further(self, counts: Mapping[int, int]) -> dict[int, int]:
        """Return how many further images of each class it has beside so many real ones."""
        wanted = topped_up(counts) if self.level else self.wanted
        found = {k: round(wanted.get(k, 0.0) * n) for k, n in counts.items()}
        return {k: n for k, n in found.items() if n}

    def enough(self, rows: int, counts: Mapping[int, int]) -> bool:
        """Tell whether so many images are what the arm is called by, :data:`LEAST_LEFT` of what it wants or more."""
        return rows > 0 and rows >= LEAST_LEFT * sum(self.further(counts).values())


def arms_of(plan: Plan, needs: Needs, counts: Mapping[int, int], ratios: Sequence[float] = RATIOS) -> tuple[Arm, ...]:
    """Return the arms, the plan's own training first.

    Args:
        plan: Its task options are what ``fit`` would use.
        needs: Of the task; ``tried`` names what it offers against unlike classes.
        counts: Class number to images of all folds; one entry of :data:`UNKNOWN` without classes.
        ratios: Generated images for each real one.
    """
    most = dict.fromkeys(counts, max(ratios))
    found = [Arm("real"), Arm("real again", AGAIN, most)]
    found += [Arm(f"{k} {v[0]}", options={k: v[0]}) for k, v in needs.tried.items() if v]
    if isinstance(plan.task_options.get(MIXUP), int | float):
        strength = MIXED[1] if plan.task_options[MIXUP] else MIXED[0]
        found.append(Arm(f"{MIXUP} {strength:g}", options={MIXUP: strength}))
    found += [Arm(f"generated {r:g}", MADE, dict.fromkeys(counts, r)) for r in ratios]
    if topped_up(counts):
        found += [
            Arm(f"{kind}, rare classes", made, level=True) for kind, made in (("real again", AGAIN), (MADE, MADE))
        ]
    return tuple(found)


def topped_up(counts: Mapping[int, int]) -> dict[int, float]:
    """Return for each rare class how many further images for each real one bring it to the median count.

    Example:
        >>> topped_up({0: 40, 1: 400})
        {0: 4.5}
    """
    known = {k: n for k, n in counts.items() if k != UNKNOWN and n}
    if len(known) < 2:
        return {}
    median = float(np.median(list(known.values())))
    return {k: median / n - 1 for k, n in known.items() if n < TOPPED * median}


def share_of(rows: int, counts: Mapping[int, int]) -> float:
    """Return the share of a batch that lies beside the real images: as of all images, so that each counts alike.

    Args:
        rows: Images beside the real ones.
        counts: Class number to real training images.

    Example:
        >>> share_of(200, {0: 40, 1: 360})
        0.3333333333333333
    """
    return rows / (rows + sum(counts.values()))


def pool_of(arms: Sequence[Arm], counts: Mapping[int, int]) -> dict[int, int]:
    """Return how many generated images of each class the arms need at most."""
    each = [a.further(counts) for a in arms if a.candidate]
    return {k: max(e.get(k, 0) for e in each) for k in counts if any(e.get(k, 0) for e in each)}


def rows_of(arm: Arm, counts: Mapping[int, int], labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return which rows of a pool an arm uses: of each class as many as it wants, or as there are.

    Args:
        arm: Generated images are taken in their order, so that arms share them; real ones are drawn, and drawn again
            where more are wanted than there are.
        counts: Real training images of each class.
        labels: (n,) int, of the pool.
        rng: Draws real images.
    """
    chosen: list[np.ndarray] = []
    for label, n in arm.further(counts).items():
        here = np.flatnonzero(labels == label)
        if arm.candidate:
            chosen.append(here[:n])
        elif len(here):
            whole = [rng.permutation(here) for _ in range(math.ceil(n / len(here)))]
            chosen.append(np.concatenate(whole)[:n])
    return np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)

"""A generator that is over-fitted on purpose: the privacy audit must find out whom it knows, before its silence counts.

It is of the same family as the generator that is audited, learns a few of the same training images and nothing else, is
shown them as they are, and moves faster than it should. The one loop trains it, for a time that the plan says.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lucency.errors import DataError, DivergedError, UsageError
from lucency.plan import Plan
from lucency.synthesize.arrays import cohort_of, store_of
from lucency.synthesize.audit.finder import one_each
from lucency.synthesize.drawn import Drawn
from lucency.synthesize.making import Order, make

#: Training images that it learns: as few as a generator takes, for fewer are sooner known by heart.
FEW = 16

#: Images that are drawn of it.
DRAWN = 800

#: It moves by so many times its family's rate.
HASTE = 5.0

#: It has come to repeat its images where for half of them the nearest drawn one lies within this share of the distance
#: to the nearest other one of them. Chosen: images that are only alike do not come so near.
REPEATED = 0.6


def few_of(members: Drawn, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return rows of members to over-fit a generator to, ascending: one image each of :data:`FEW` patients at the most.

    Args:
        members: What the audited generator learned from.
        rows: Those that may be taken.
        rng: Draws.
    """
    each = rows[one_each(members.people[rows], rng)]
    return np.sort(rng.permutation(each)[:FEW])


def overfitted(few: Drawn, plan: Plan, place: Path, seconds: float, order: Order) -> Drawn | None:
    """Return images of a generator that was over-fitted, None where the time did not suffice to make it repeat them.

    An interrupted training goes on; one that was done is loaded.

    Args:
        few: What it learns by heart.
        plan: Of the task.
        place: Folder of this generator.
        seconds: That training it may take.
        order: Of the audited generator: its family, clock and events.
    """
    plain = replace(plan, augmentation={})
    own = replace(order, size="tiny", chance=0.0, adaptive=False, few=True, inner=None, haste=HASTE)
    store, cohort = store_of(few, plain, place / "arrays", "case"), cohort_of(few, plain, "case")
    try:
        maker = make(cohort, plain, store, 0, place, order.clock.elapsed() + seconds, own)
    except (DataError, DivergedError, UsageError):
        return None
    drawn = maker.sample(few.labels[np.arange(DRAWN) % len(few)], np.random.default_rng((plan.seed, 71)))
    return drawn if repeats(drawn, few) else None


def repeats(drawn: Drawn, few: Drawn) -> bool:
    """Tell whether images repeat those that a generator learned, see :data:`REPEATED`.

    Args:
        drawn: Its images.
        few: What it learned.
    """
    own, made = (d.images.reshape(len(d), -1).astype(np.float64) for d in (few, drawn))
    among = _distances(own, own)
    np.fill_diagonal(among, np.inf)
    return bool(np.median(_distances(own, made).min(axis=1) / among.min(axis=1).clip(1e-12)) <= REPEATED)


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the distances of images, (n, m) float64, as root mean squares."""
    squares = (first**2).mean(axis=1)[:, None] + (second**2).mean(axis=1)[None]
    return np.asarray(np.sqrt(np.clip(squares - 2 * first @ second.T / first.shape[1], 0, None)))

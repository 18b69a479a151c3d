"""Processes that train together: the first walks and says what is trained, the others wait for it and train with it.

Only the first reads the data, decides, and writes; the others need the folder of prepared arrays and, to go on with an
interrupted training, the checkpoint. So they are of one machine, or share a disk.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lucency import record
from lucency.case import Cohort
from lucency.events import Clock, Events
from lucency.plan import Plan
from lucency.prepare import Store
from lucency.ranks import Ranks, awaited, joined, send
from lucency.tasks import task_named
from lucency.train.loop import Loop, Trained, Work


def train_member(work: Work, fold: int, deadline: float) -> Trained:
    """Train one member of the ensemble, or go on where it was interrupted; processes that were started beside help.

    Args:
        work: See :class:`Work`.
        fold: Held out.
        deadline: Reading of the clock by which this member must be done.

    Returns:
        Averaged weights.

    Raises:
        DivergedError: The loss is no longer finite.
    """
    _call(work, fold, None)
    return Loop(work, fold, deadline, ranks_of(work)).run()


def timed(work: Work, fold: int, seconds: float) -> float:
    """Return the time of a step in seconds, as :meth:`Loop.time_steps`, of all processes that would train.

    Args:
        work: Its folder is not written to.
        fold: Held out.
        seconds: That steps may take, about.
    """
    _call(work, fold, seconds)
    return Loop(work, fold, math.inf, ranks_of(work)).time_steps(seconds)


def ranks_of(work: Work) -> Ranks:
    """Return the processes that train a member: all, where the task's batches may be dealt, else this one alone.

    Weights to start from, a teacher, images beside the cohort's own and secrets are not sent; what has them trains
    alone.
    """
    plain = not (work.start or work.teacher or work.extra or work.task.private(work.plan))
    return joined() if work.task.dealt and plain else Ranks()


def _call(work: Work, fold: int, seconds: float | None) -> None:
    """Have the other processes make the same steps, where there are such and the task's batches may be dealt."""
    if ranks_of(work).n == 1:
        return
    send(
        {
            "cohort": record.to_json(work.cohort),
            "plan": record.to_json(work.plan),
            "store": str(work.store.folder),
            "folder": str(work.folder),
            "fold": fold,
            "seconds": seconds,
        }
    )


def serve() -> None:
    """Train with the first process whatever it trains, until it says that there is nothing more.

    Raises:
        DivergedError: The loss is no longer finite; it is in the first process as well.
    """
    while (order := awaited()) is not None:
        loop = Loop(_work_of(order), int(order["fold"]), math.inf, joined())
        if order["seconds"] is None:
            loop.run()
        else:
            loop.time_steps(math.inf)


def _work_of(order: Mapping[str, Any]) -> Work:
    """Return what the first process trains, without its events and its clock."""
    plan = record.from_json(Plan, order["plan"])
    cohort = record.from_json(Cohort, order["cohort"])
    return Work(
        cohort, plan, task_named(plan.task), Store(Path(order["store"])), Path(order["folder"]), Clock(), Events()
    )

"""Tasks by name: each file of this folder holds one. To add a task, add a file; nobody else learns its name.

The contract is :class:`Task`. It is the plan of the house (docs/decisions/0003-task-contract.md) plus what evaluation
asks: how cases are summed up and compared.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from lucency import statistics
from lucency.boxes import Box
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Prediction
from lucency.errors import DataError, UsageError
from lucency.plan import Needs, Option, Plan
from lucency.prepare import Prepared
from lucency.profile import Profile
from lucency.statistics import Metric, Statistic
from lucency.write.rows import Rows, tabled


@dataclass
class Batch:
    """What the loop hands to ``losses``.

    Args:
        images: (B, C, J, I) or (B, C, K, J, I), augmented, on the device.
        targets: (B,) numbers, (B, n) where a target takes several, (B, J, I) / (B, K, J, I) int64 masks, or (B, n, m)
            where it is rows of them, as many as there are: boxes, (class, low corner, high corner) in pixels of
            ``images``, axes in the order of the array; a row whose class is below 0 only fills up.
        options: The plan's ``task_options``.
        progress: 0 at the first step, 1 at the last.
        facts: (B, n) clinical columns of the plan, NaN where not known; None where the plan has none.
        counts: Training images of each class, where targets are classes.
        secret: Random numbers whose seed nobody knows, on the device, where the training is private.
    """

    images: torch.Tensor
    targets: torch.Tensor
    options: Mapping[str, Option] = field(default_factory=dict)
    progress: float = 0.0
    facts: torch.Tensor | None = None
    counts: tuple[int, ...] = ()
    secret: torch.Generator | None = None


@dataclass(frozen=True)
class Judged:
    """A held-out case with its prediction, as evaluation keeps it.

    Args:
        case: Case id.
        patient: Salted digest.
        truth: Class name, or "".
        prediction: Label and probabilities; masks are not kept.
        scores: What ``score`` gave.
        found: Boxes of the prediction, in the source's pixels.
        drawn: Boxes that are the truth.
    """

    case: str
    patient: str
    truth: str
    label: str
    probabilities: Mapping[str, float]
    scores: Mapping[str, float]
    doubt: float = 0.0
    found: tuple[Box, ...] = ()
    drawn: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Measures:
    """A part summed up: see :class:`lucency.evaluate.Part` for the fields."""

    metrics: Mapping[str, Metric]
    by_label: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    curves: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[int]]] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Figure:
    """How curves of a part are drawn in the report: ``Measures.curves`` named ``family`` or ``family/NAME``.

    The catalogue of messages has the caption as ``figure.FAMILY``, the axes as ``figure.FAMILY_x`` and ``_y``, names of
    curves as ``curve.FAMILY_NAME`` where they are not words of the data, and ``table.FAMILY_caption`` for counts.

    Args:
        family: See above.
        kind: ``"line"``, ``"steps"`` or ``"marked"``: a line with a mark at each point.
        band: Names of the two curves of the family that are the ends of an interval.
        diagonal: Draw the line on which both axes are equal.
        unit: Both axes run from 0 to 1.
        share: The ordinate runs from 0 to 1.
        logarithmic: The abscissa is logarithmic.
        ticks: Numbers that stand at the abscissa, the first and last at its ends; empty for what suits.
        counted: A table says how many stand behind each curve along the axis; ``n`` of a point counts those who are
            there or beyond.
    """

    family: str
    kind: str = "line"
    band: tuple[str, ...] = ()
    diagonal: bool = False
    unit: bool = False
    share: bool = False
    logarithmic: bool = False
    ticks: tuple[float, ...] = ()
    counted: bool = False


@dataclass(frozen=True)
class Pace:
    """How a part of a task moves, where that is not as the plan's schedule says.

    Args:
        rate: Share of the schedule's rate that is due.
        betas: Of Adam: how slowly the means of gradients and of their squares move.
        ema: How slowly the moving average of the weights moves; None: the schedule's.
    """

    rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    ema: float | None = None


class Task(Protocol):
    """What the rooms ask of a task."""

    #: Registry name.
    name: str
    #: One output per voxel (tiled prediction, mirrored back) instead of one per image.
    dense: bool
    #: The metric that the report's first line quotes and that comparisons use.
    headline: str
    #: Which simple baselines stand beside it: ``"classes"``, ``"numbers"``, ``"masks"``, ``"neighbours"`` …
    baselines: str
    #: The output is rows of boxes found, (score, class, low corner, high corner) in pixels of the network's input, as
    #: many for each image; those of tiles, mirrored copies and members follow each other and are not averaged. Rows
    #: of score 0 and class -1 fill up. The target is rows too, (n, 1 + 2 d): class, low corner, high corner.
    boxes: bool = False
    #: It learns from images alone: no target is drawn, and images without a label are drawn as well.
    blind: bool = False
    #: Images without a label can teach it: raw outputs are (B, L, ...) logits, in training of the finest map first.
    semi: bool = False
    #: It has not reached what it was to reach; the README and every report say so.
    experimental: bool = False
    #: Figures of the report that only this task has.
    figures: tuple[Figure, ...] = ()
    #: ``fit`` and its lists offer it; what is not offered belongs to a room of its own.
    offered: bool = True
    #: The part whose moving average is delivered; the others only teach it.
    delivered: str = "net"
    #: The loss on held-out cases says how far training is.
    validated: bool = True
    #: How often a loss that is no longer finite is answered by going back to the last average that was.
    recoveries: int = 0
    #: Several processes may share a batch: losses ask the parts for rows only by calling them as they are given, or by
    #: :func:`lucency.ranks.in_rows`, and what a part gives has as many rows as what it takes.
    dealt: bool = False

    def suits(self, cohort: Cohort) -> float:
        """Return 0 (not for these targets) to 1 (made for them)."""
        ...

    def needs(self, profile: Profile) -> Needs:
        """Say what the planner must provide."""
        ...

    def told(self, cohort: Cohort, options: Mapping[str, Option]) -> tuple[dict[str, Option], dict[str, str]]:
        """Return options that only the training cases can tell, and the reasons; nothing by default.

        Args:
            cohort: Only its trainable cases may be looked at.
            options: The plan's own, with what the user has set.
        """
        return {}, {}

    def build(self, plan: Plan) -> dict[str, nn.Module]:
        """Return the trained parts by name. In eval mode ``net`` gives raw output, in training what losses need."""
        ...

    def target(self, case: Case, plan: Plan) -> "np.ndarray | int | float | None":
        """Return the thing to learn, on the network's grid.

        Returns:
            A number; (n,) float of several; (n, m) float rows; (K, J, I) integers of a mask; None for nothing.
        """
        ...

    def balance(self, plan: Plan) -> float:
        """Return the share of a training batch, its last rows, in which every class is drawn as often; 0 by default."""
        return 0.0

    def private(self, plan: Plan) -> bool:
        """Tell whether patients are drawn each by himself in each step, with one case of his, and nobody can know whom.

        Batches then vary in size, and may be empty; ``plan.batch`` is their mean. The default is no.
        """
        return False

    def losses(
        self, parts: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield ``(part, loss)`` in order; the next is formed only after the part has been stepped."""
        ...

    def pace(self, part: str, plan: Plan, step: int, progress: float) -> Pace:
        """Return how a part moves at a step; as the schedule says by default.

        Args:
            part: Its name.
            plan: With the schedule.
            step: Steps made.
            progress: 0 at the first step, 1 at the last.
        """
        return Pace()

    def shown(self, net: nn.Module, plan: Plan) -> "np.ndarray | None":
        """Return a picture of what training has come to, (J, I) uint8, drawn from the plan's seed; none by default.

        Args:
            net: The averaged delivered part, in eval mode.
            plan: The one it was built for.
        """
        return None

    def activate(self, raw: torch.Tensor, calibration: Calibration) -> torch.Tensor:
        """Turn one member's (B, L, ...) output into what may be averaged over members: scaled, then averaged."""
        ...

    def calibrate(
        self, raw: Sequence[np.ndarray], targets: Sequence["np.ndarray | float"], plan: Plan, rng: np.random.Generator
    ) -> Calibration:
        """Learn from out-of-fold raw outputs, (L,) or (L, K, J, I) each, what is learned after training."""
        ...

    def decode(
        self, output: np.ndarray, case: Case, prepared: Prepared, plan: Plan, calibration: Calibration
    ) -> Prediction:
        """Turn the members' mean activated output, (L,) or (L, K, J, I), into a prediction in the patient."""
        ...

    def remarks(self, plan: Plan, calibration: Calibration) -> tuple[str, ...]:
        """Return sentences for the reader of a report on what was learned after training; none by default."""
        return ()

    def informative(self, views: Sequence[np.ndarray], prediction: Prediction, plan: Plan) -> float:
        """Return how much a person's answer to a case would tell, 0 (nothing) to 1; the prediction's doubt by default.

        Args:
            views: What ``activate`` gave for each member and each way of showing it the images, (L,) or (L, K, J, I).
            prediction: Of all of them together.
            plan: The model's.
        """
        return prediction.doubt

    def tables(self, prediction: Prediction, plan: Plan) -> Mapping[str, Rows]:
        """Return what a prediction leaves in tables, by name: one row in ``predictions``; the usual rows by default."""
        return tabled(prediction, plan.classes, plan.labels, flat=plan.dims == 2)

    def score(self, prediction: Prediction, case: Case, plan: Plan) -> dict[str, float]:
        """Return named numbers for one case, on the source's own grid."""
        ...

    def worth(self, scores: Mapping[str, float]) -> float:
        """Return how well one case went, by what ``score`` gave: pictures begin with the lowest.

        By default the headline, or else the probability of the truth; NaN where the scores do not say.
        """
        return scores.get(self.headline, scores.get("p_true", float("nan")))

    def measure(self, judged: Sequence[Judged], plan: Plan, rng: np.random.Generator) -> Measures:
        """Sum up a part, the headline first."""
        ...

    def compare(
        self, ours: Sequence[Judged], theirs: Sequence[Judged], plan: Plan, rng: np.random.Generator
    ) -> tuple[Metric, float | None, str]:
        """Return (our headline minus theirs, p, test) on the same cases, paired by patient."""
        ...

    def balanced(self, outputs: Sequence[np.ndarray], targets: Sequence["np.ndarray | float"]) -> Statistic:
        """Return the metric in which every class counts as much, of weighted cases; the higher, the better.

        Only tasks with ``needs(...).tried`` are asked. By default the mean AUC of each class against the others.

        Args:
            outputs: Activated, (classes,) each.
            targets: Class numbers.
        """
        return statistics.macro_auc_of(np.array(targets, dtype=int), np.stack(outputs))

    def perfect(self, target: "np.ndarray | float | int", plan: Plan) -> np.ndarray:
        """Return the activated output of a network that is right; kept for the contract tests."""
        ...


def class_index(case: Case, plan: Plan) -> int:
    """Return the place of a case's class among the plan's.

    Raises:
        DataError: A class that the plan does not know.
    """
    if case.target not in plan.classes:
        raise DataError(
            f"Class {case.target!r}",
            expected=", ".join(plan.classes),
            where=case.id,
            remedy="make the plan anew: the data were given another class since",
        )
    return plan.classes.index(str(case.target))


_found: dict[str, Task] = {}


def task(cls: type[Any]) -> type[Any]:
    """Register the decorated class under its ``name``; what it leaves open is as :class:`Task` has it."""
    told = {"__doc__": cls.__doc__, "__module__": cls.__module__}
    whole = cls if Task in cls.__mro__ else type(cls.__name__, (cls, Task), told)
    instance: Task = whole()
    _found[instance.name] = instance
    return cls


def every_task() -> Mapping[str, Task]:
    """Return all tasks that are offered, of this folder and of the entry points ``lucency.tasks``."""
    return {name: one for name, one in _known().items() if one.offered}


@cache
def _known() -> Mapping[str, Task]:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    for point in entry_points(group="lucency.tasks"):
        point.load()
    return dict(sorted(_found.items()))


def task_named(name: str) -> Task:
    """Return task ``name``, offered or not.

    Raises:
        UsageError: No such task; the message lists those that are offered.
    """
    offered = every_task()
    if name not in _known():
        near = difflib.get_close_matches(name, offered, n=1)
        raise UsageError(
            f"No task {name!r}", expected=", ".join(offered), remedy=f"did you mean {near[0]!r}?" if near else ""
        )
    return _known()[name]


def task_for(cohort: Cohort) -> Task:
    """Return the task that suits the cohort's targets best.

    Raises:
        DataError: None does.
    """
    fits = {t.name: t.suits(cohort) for t in every_task().values()}
    best = max(fits, key=lambda name: fits[name])
    if fits[best] <= 0:
        raise DataError(
            "No task fits the targets of these data",
            expected="classes or masks",
            remedy="name the column with --target, or give labels: see the README, 'Your data'",
        )
    return every_task()[best]

"""What a user may ask of ``synthesize``, and what of data and plan it can be done with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from lucency import record, supplement
from lucency.case import Cohort
from lucency.errors import DataError, UsageError
from lucency.generators import every_family, family_named
from lucency.plan import Plan
from lucency.prepare import Store
from lucency.synthesize.fidelity.use import HEADLINES
from lucency.synthesize.gate.arms import RATIOS
from lucency.synthesize.making import Order
from lucency.synthesize.sizes import default_family, refuse_maskless
from lucency.tasks import task_named
from lucency.walk import Settings

#: Longest sides that generators make, at least and at most; what a family makes at most it says itself.
LEAST_SIDE = 28
MOST_SIDE = 128

#: Longest side where nobody says another, by accelerator: what trains in minutes there.
USUAL_SIDE = {"cpu": 32, "cuda": 64}

#: Folds that runs need: one judges, one chooses, one at least is learned from.
LEAST_FOLDS = 3

#: In the folder of a walk: what was asked of it.
FILE = "ask.json"

#: Keys of ``--set`` that are not the plan's.
OWN = ("side", "seeds", "steps", "whole")


@dataclass(frozen=True)
class Ask:
    """What the user says.

    Args:
        settings: As for ``fit``.
        generator: Name of a family; "" leaves it to the budget.
        side: Longest side of the images; 0 is what suits the machine.
        seeds: Repetitions of each fold; 0 is what ten paired runs need.
        ratios: Generated images for each real one.
        steps: Optimiser steps of each arm; 0 leaves them to the budget.
        whole: Go through all stages although the verdict is settled: for research.
    """

    settings: Settings = field(default_factory=lambda: Settings(minutes=60.0))
    generator: str = ""
    side: int = 0
    seeds: int = 0
    ratios: tuple[float, ...] = RATIOS
    steps: int = 0
    whole: bool = False

    def __post_init__(self) -> None:
        if self.side and not LEAST_SIDE <= self.side <= MOST_SIDE:
            raise UsageError(f"side = {self.side}", expected=f"{LEAST_SIDE} to {MOST_SIDE}", where="--set side")
        for name, value in (("seeds", self.seeds), ("steps", self.steps)):
            if value < 0:
                raise UsageError(f"{name} = {value}", expected="0 or more", where=f"--set {name}")
        # A word that cannot be obeyed is told before hours of work.
        Order(self.generator)
        if not self.ratios or not all(0 < r <= 2 for r in self.ratios):
            raise UsageError(
                f"Ratios {self.ratios}", expected="more than 0 and at most 2: beyond that images only harm"
            )


def ask_of(settings: Settings, generator: str = "", before: Ask | None = None) -> Ask:
    """Return what is asked, with this command's own keys of ``--set`` taken out of the settings.

    Args:
        settings: As given.
        generator: Name of a family, or "".
        before: What was asked of the walk that is gone on with; it holds where nothing else is said.

    Raises:
        UsageError: A value of another kind.
    """
    own = {k: v for k, v in settings.values.items() if k in OWN}
    rest = replace(settings, values={k: v for k, v in settings.values.items() if k not in OWN})
    if own.get("whole", "no") not in ("yes", "no"):
        raise UsageError(f"whole = {own['whole']!r}", expected="yes or no", where="--set whole")
    before = before or Ask()
    return replace(
        before,
        settings=rest,
        generator=generator or before.generator,
        side=_whole_number(own, "side", before.side),
        seeds=_whole_number(own, "seeds", before.seeds),
        steps=_whole_number(own, "steps", before.steps),
        whole=own["whole"] == "yes" if "whole" in own else before.whole,
    )


def asked_before(run: Path) -> Ask | None:
    """Return what was asked of a walk, None where there is none in this folder."""
    path = run / supplement.FOLDER / FILE
    return record.read(Ask, path) if path.exists() else None


def refuse_other(run: Path, ask: Ask) -> None:
    """Refuse to go on in a folder with what was begun otherwise: hours of work are not thrown away for a word.

    Args:
        run: Run folder; it need not exist.
        ask: What is asked now.

    Raises:
        UsageError: The folder holds a run of ``fit``, or a walk that was begun with other settings.
    """
    before = asked_before(run)
    if before is None and (run / "plan.json").exists():
        raise UsageError(
            "The folder holds a plan or a model of 'lucency fit', which would be lost",
            expected="a new folder, or one of 'lucency synthesize'",
            where=run.name,
            remedy="give the data and another --out",
        )
    changed = _changed(before, ask) if before is not None else ()
    if changed and any((run / supplement.FOLDER).rglob("*.safetensors")):
        raise UsageError(
            f"The walk in this folder was begun with other settings: {', '.join(changed)}",
            expected="the same, for what was done cannot be compared with what would be done now",
            where=run.name,
            remedy="go on with 'lucency synthesize RUN' alone; or choose another --out, or --force to begin anew",
        )


def _changed(before: Ask, now: Ask) -> tuple[str, ...]:
    """Return the names of the settings that differ, save those that change no number."""
    own = [n for n in ("generator", "side", "seeds", "ratios", "steps") if getattr(before, n) != getattr(now, n)]
    first, second = before.settings, now.settings
    named = [f.name for f in fields(Settings) if f.name not in ("lang", "values")]
    keys = sorted({*first.values, *second.values})
    said = [n for n in named if getattr(first, n) != getattr(second, n)]
    return (*said, *(k for k in keys if first.values.get(k) != second.values.get(k)), *own)


def _whole_number(values: Mapping[str, str], key: str, otherwise: int) -> int:
    text = values.get(key)
    if text is None:
        return otherwise
    if not text.isdigit():
        raise UsageError(f"{key} = {text!r}", expected="a whole number", where=f"--set {key}")
    return int(text)


def refuse_unfit(cohort: Cohort, plan: Plan, store: Store, generator: str) -> tuple[int, ...]:
    """Return the outer folds, or refuse data and plans for which no image can be generated.

    Args:
        cohort: All of it.
        plan: Of the task.
        store: Prepared cases.
        generator: As :class:`Ask` has it.

    Raises:
        DataError: Neither a class nor a mask for each image, a task that is judged by something else, sequences,
            several modalities of which some are missing, too few folds, or no masks for a generator that needs them.
        UsageError: Volumes of too large a side.
    """
    task = task_named(plan.task)
    entries = [store.entries[c.id] for c in cohort.trainable]
    if not (plan.classes or task.dense) or any(e.vector or e.width for e in entries) or task.boxes:
        raise DataError(
            f"Task {plan.task!r} learns something else than one class or one mask for each image",
            expected="classes or masks: a generator is asked for images of a class, or draws the mask with the image",
            where="--task",
            remedy="name a column of classes with --target, or put masks beside the images",
        )
    if task.headline not in HEADLINES:
        raise DataError(
            f"Task {plan.task!r} is judged by {task.headline}",
            expected="a task that is judged by the AUC of classes or the Dice of masks: stopping, filter and gate go "
            "by these",
            where="--task",
            remedy="write --task classify: grades and kinds are taken as classes then",
        )
    lacking = [c.id for c in cohort.trainable if not set(plan.modalities) <= set(c.images)]
    if len(plan.modalities) > 1 and lacking:
        raise DataError(
            f"{len(lacking)} of {len(cohort.trainable)} cases lack a modality",
            expected=f"{', '.join(plan.modalities)} of each: what is missing would be learned as an image",
            remedy="complete these cases, or take them out",
        )
    if plan.grid.mode != "fit" or len({e.shape for e in entries}) > 1:
        raise DataError(
            "Images that are not brought onto one grid of one size",
            expected="still images or volumes; sequences of frames are not generated",
            where="--task",
            remedy="leave the setting out that changes the network or the grid",
        )
    family = family_named(Order(generator).family or default_family(plan.accelerator))
    refuse_maskless(family, masked=task.dense)
    longest, most = max(plan.grid.size), family.most_side[plan.dims]
    if longest > most:
        others = [n for n, one in every_family().items() if longest <= one.most_side[plan.dims]]
        raise UsageError(
            f"Volumes of {longest} voxels along a side for generator {family.name!r}",
            expected=f"at most {most}",
            where="--set side",
            remedy=f"write --set side={most}" + (f", or --generator {' or '.join(others)}" if others else ""),
        )
    folds = tuple(sorted(set(cohort.folds.values())))
    if len(folds) < LEAST_FOLDS:
        raise DataError(
            f"Patients in {len(folds)} folds",
            expected=f"{LEAST_FOLDS} folds or more: one judges, one chooses, the others are learned from",
            remedy="label more patients",
        )
    return folds


def rare_classes(cohort: Cohort, least: int) -> Mapping[str, int]:
    """Return the classes with fewer training patients than this, with their numbers."""
    patients: dict[str, set[str]] = {c: set() for c in cohort.classes}
    for case in cohort.trainable:
        patients.setdefault(str(case.target), set()).add(case.patient)
    return {name: len(who) for name, who in patients.items() if len(who) < least} if cohort.classes else {}

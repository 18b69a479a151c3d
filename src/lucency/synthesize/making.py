"""One generator for one outer fold: trained on the training part alone, kept with digests of what it was made from."""

import copy
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch

from lucency import record
from lucency.case import Cohort
from lucency.errors import DataError, DivergedError, ModelError, UsageError
from lucency.events import Clock, Events
from lucency.generators import SIZES, Family, every_family, family_named
from lucency.generators.differentiable import Transforms
from lucency.model import load_weights
from lucency.plan import DECISIONS, Forecast, Grid, Plan, Schedule
from lucency.prepare import Store
from lucency.synthesize.arrays import cohort_of, store_of
from lucency.synthesize.drawn import Drawn, drawn_of
from lucency.synthesize.joint import classed, one_class, with_masks
from lucency.synthesize.maker import (
    NORMALISED,
    PLAN_FILE,
    RECORD_FILE,
    Made,
    Maker,
    built,
    described,
    end_of,
    fits,
    keep,
    load,
)
from lucency.synthesize.privacy import EPSILON, cost, refuse_uncountable, wanted, with_noise
from lucency.synthesize.sizes import chosen, family_for, least_seconds
from lucency.synthesize.stopping import POINTS, SHARE, Judging
from lucency.synthesize.stopping import chosen as chosen_state
from lucency.tasks import task_named
from lucency.tasks.generate import Generate
from lucency.train import Work, train_member

#: Fewer images teach nothing that could be told from copies of them.
LEAST_IMAGES = 16

#: Chance of each change that critics see images through.
CHANCE = 0.3

#: Steps of linear warm-up of the rate at most.
WARM = 200

#: Seconds that are planned for where there is no deadline.
ENOUGH_S = 3600.0


@dataclass(frozen=True)
class Order:
    """What the user says of a generator, and where time and progress are kept.

    Args:
        family: Name of a family; "" for the default. The fields after it may follow its name, as on the command line:
            ``"dcgan:size=large,chance=0.2"``, ``"rflow:few=yes"``.
        size: A name of :data:`lucency.generators.SIZES`; "" for what the time allows.
        chance: Of each change that critics see images through, 0 to .8.
        adaptive: The chance follows the critic, up to ``chance``.
        few: Fewer images than the family is for will do.
        epsilon: Of a private family, more than 0; 0 is :data:`lucency.synthesize.privacy.EPSILON` for such.
        clock: Working time.
        events: Progress.
        inner: Real images of an inner fold, which neither the generator nor any outer judgement sees: they say which
            state of the training is kept. None keeps the end.
        haste: Times the family's rate; with more than 1 it comes sooner to the end, and to knowing its images by heart.

    Raises:
        UsageError: Such a family, field or size that there is not, or a chance out of range.
    """

    family: str = ""
    size: str = ""
    chance: float = CHANCE
    adaptive: bool = False
    few: bool = False
    epsilon: float = 0.0
    clock: Clock = field(default_factory=Clock)
    events: Events = field(default_factory=Events)
    inner: Drawn | None = None
    haste: float = 1.0

    def __post_init__(self) -> None:
        name, _, told = self.family.partition(":")
        object.__setattr__(self, "family", name)
        if name:
            family_named(name)
        for word in told.split(",") if told else ():
            key, _, value = word.partition("=")
            object.__setattr__(self, *_field(key.strip(), value.strip()))
        if self.size and self.size not in SIZES:
            raise UsageError(f"Size {self.size!r} of a generator", expected=", ".join(SIZES), where="--generator")
        Transforms(self.chance)
        object.__setattr__(self, "epsilon", _epsilon(self))


def _epsilon(order: Order) -> float:
    """Return ε of a private family, 0 for another.

    Raises:
        UsageError: A family that is not private, a chance that follows what a critic says of patients, or no opacus.
    """
    where = "--generator"
    if not (order.family and family_named(order.family).private):
        if order.epsilon:
            private = ", ".join(name for name, one in every_family().items() if one.private)
            raise UsageError(
                f"epsilon={order.epsilon:g} for a generator that is not private",
                expected=private,
                where=where,
                remedy=f"write --generator {private}:epsilon={order.epsilon:g}",
            )
        return 0.0
    if order.adaptive:
        raise UsageError(
            f"adaptive=yes for {order.family}",
            expected="a chance that does not follow what the critic says of patients",
            where=where,
            remedy="leave it out, or say chance=NUMBER",
        )
    refuse_uncountable()
    return order.epsilon or EPSILON


def _field(key: str, value: str) -> tuple[str, str | float | bool]:
    """Return a field of an order as the command line has it."""
    if key == "size" and value:
        return key, value
    if key in ("adaptive", "few") and value in ("yes", "no"):
        return key, value == "yes"
    if key in ("chance", "epsilon") and value.replace(".", "", 1).isdigit() and (key == "chance" or float(value) > 0):
        return key, float(value)
    raise UsageError(
        f"{key}={value}",
        expected="size=NAME, chance=NUMBER, adaptive=yes, few=yes or epsilon=NUMBER",
        where="--generator",
        remedy="write, for example, --generator dcgan:size=large,chance=0.2",
    )


def make(
    cohort: Cohort, plan: Plan, store: Store, fold: int, place: Path, deadline: float, order: Order | None = None
) -> Maker:
    """Train one generator on what is outside a fold, or go on, or load it where that was done.

    Args:
        cohort: Its folds say what is held out.
        plan: Of the task that the images are to help.
        store: Prepared cases, all of one size.
        fold: Held out.
        place: Folder of this generator.
        deadline: Reading of the order's clock by which it must be done; infinite for as long as it takes.
        order: What the user says.

    Raises:
        DataError: Too few images or patients, images without contrast or of several sizes, or too little time.
        ModelError: The folder holds a generator of other data or of another plan, or one that was altered.
        DivergedError: The loss is not finite, and going back did not help.
    """
    order = order or Order()
    members = members_of(cohort, plan, store, fold)
    if (place / RECORD_FILE).exists():
        return load(place, members, plan)
    own = _planned(members, plan, fold, place, deadline, order)
    work = work_of(members, own, plan, place, order)
    looks_s = 0.0
    if order.inner is not None:
        work, looks_s = replace(work, points=POINTS), SHARE * _seconds(deadline, order)
    try:
        trained = train_member(work, 0, deadline - looks_s)
    except DivergedError as error:
        # It would diverge again: the plan is kept, so only another generator helps.
        again = "choose another generator (--generator), and begin anew with --force"
        raise DivergedError(error.found, expected=error.expected, where=error.where, remedy=again) from error
    made, tensors = described(trained, own, members, plan), end_of(trained)
    if order.inner is not None:
        until = min(deadline, order.clock.elapsed() + looks_s)
        judging = Judging(members, order.inner, plan, work.folder / "looks", order.clock, until)
        made, tensors = _best(built(tensors, own, made, members, plan), tensors, trained.kept, judging)
        order.events.emit("synthesize", "chosen", step=made.kept, of=made.steps, looks=len(made.looks))
    if task_named(own.task).private(own):
        made = replace(made, privacy=cost(own.task_options, trained.steps, known=bool(cohort.patient_key)))
    keep(place, tensors, made)
    for path in (work.folder / "fold0.checkpoint.safetensors", *trained.kept.values()):
        path.unlink(missing_ok=True)
    return load(place, members, plan)


def _best(
    end: Maker, tensors: dict[str, torch.Tensor], kept: Mapping[int, Path], judging: Judging
) -> tuple[Made, dict[str, torch.Tensor]]:
    """Return the state of a training that is kept, of those that were kept on the way and its end, with its weights."""

    def loaded(path: Path) -> Maker:
        return built(load_weights(path), end.plan, end.made, judging.members, judging.plan)

    states = {step: partial(loaded, path) for step, path in kept.items()}
    found = chosen_state({**states, end.made.steps: lambda: end}, judging)
    shutil.rmtree(judging.folder, ignore_errors=True)
    made = replace(end.made, kept=found.step, looks=found.looks, why=found.why)
    return made, load_weights(kept[found.step]) if found.step in kept else tensors


def _seconds(deadline: float, order: Order) -> float:
    """Return how long making a generator may take from now on."""
    left = deadline - order.clock.elapsed()
    return ENOUGH_S if math.isinf(left) else left


def members_of(cohort: Cohort, plan: Plan, store: Store, fold: int) -> Drawn:
    """Return the images that a generator of a fold may learn from.

    Args:
        cohort: Its folds say what is held out.
        plan: Of the task.
        store: Prepared cases.
        fold: Held out.

    Raises:
        DataError: Too few images or patients, images without contrast or of several sizes.
    """
    outside = cohort.outside(fold)
    members = drawn_of(store, [c.id for c in outside], [c.patient for c in outside], classed=bool(plan.classes))
    patients = len(set(members.people.tolist()))
    if len(members) < LEAST_IMAGES or patients < 2:
        raise DataError(
            f"{len(members)} images of {patients} patients to learn from",
            expected=f"{LEAST_IMAGES} images or more, of two patients or more",
            remedy="what would be drawn could not be told from copies; add images of other patients",
        )
    flat = members.images.reshape(len(members), -1)
    if float(np.ptp(flat, axis=1).max()) < NORMALISED:
        raise DataError(
            "Images without any contrast",
            expected="images that show something",
            remedy="look at the images and at the plan's normalisation",
        )
    return members


def _planned(members: Drawn, plan: Plan, fold: int, place: Path, deadline: float, order: Order) -> Plan:
    """Return the generator's plan: that of an interrupted training, or one made by timing steps."""
    path = place / PLAN_FILE
    if path.exists():
        own = record.read(Plan, path)
        asked = (order.family in ("", own.network)) and fits(own, plan, members)
        if not asked or own.task_options.get("data") != members.digest[:16]:
            raise ModelError(
                "The folder holds a generator that was begun from other data, or as another one",
                where=place.name,
                remedy="use another --out, or delete the folder to train anew",
            )
        return own
    masked = members.masks is not None
    family = family_for(order.family, len(members), plan.accelerator, few=order.few, masked=masked)
    if order.haste != 1:
        family = copy.copy(family)
        family.least_seen = math.ceil(family.least_seen / order.haste)
    left = _seconds(deadline, order) * (1.0 if order.inner is None else 1 - SHARE)

    def to_time(draft: Plan) -> Work:
        return work_of(members, draft, plan, place, order)

    def narrow(width: int) -> Plan:
        return drafted(members, plan, fold, family, width, order)

    own = chosen(family, order.size, narrow, to_time, left)
    if family.private:
        own = replace(own, task_options=with_noise(own.task_options, own.schedule.steps))
    record.write(path, own)
    order.events.emit("synthesize", "found", network=own.network, steps=own.schedule.steps, members=1)
    return own


def drafted(members: Drawn, plan: Plan, fold: int, family: Family, width: int, order: Order) -> Plan:
    """Return a generator's plan before its steps are known.

    Args:
        members: What it learns from.
        plan: Of the task.
        fold: Held out.
        family: Of generators.
        width: Of its networks.
        order: What the user says.
    """
    size = cast("tuple[int, int, int]", tuple(members.images.shape[2:]))
    n_labels = len(plan.labels) if members.masks is not None else 0
    flips = "".join(a for a in "kji"[3 - members.dims :] if plan.augmentation.get(f"flip_{a}"))
    learning, patients = family.learning, len(set(members.people.tolist()))
    batch = batch_of(family, members, patients)
    said = "as the family has it"
    return replace(
        plan,
        task=Generate.name,
        network=family.name,
        network_options={"width": width},
        channels=members.images.shape[1] + n_labels,
        dims=members.dims,
        classes=plan.classes if classed(members) else ("image",),
        labels={},
        grid=Grid("fit", size),
        patch=size,
        tile=size,
        batch=batch,
        augmentation={},
        schedule=Schedule(1, learning.rate[0], 0.0, WARM, learning.clip, 0.999, "adam", "constant"),
        folds=(0,),
        tta=(),
        compile=False,
        seed=(plan.seed * 5 + fold) % 2**31,
        task_options={
            "family": family.name,
            "flips": flips,
            "chance": order.chance,
            "adaptive": order.adaptive,
            "masks": n_labels,
            "data": members.digest[:16],
            **(wanted(order.epsilon, patients, batch) if family.private else {}),
            **({} if order.haste == 1 else {"haste": order.haste}),
        },
        facts=(),
        controls={},
        start="",
        pretrain="none",
        pretrain_steps=0,
        pretrain_share=0.0,
        unlabelled="none",
        forecast=Forecast(),
        reasons={
            **dict.fromkeys(DECISIONS, said),
            "task": "images for another task",
            "grid": "that of the task that the images are to help",
            "normalisation": "that of the task that the images are to help",
            "augmentation": "none: critics see images through changes of their own",
            "precision": plan.reasons.get("precision", said),
            "folds": f"what is outside fold {fold} is learned from",
            "tta": "nothing is predicted",
        },
    )


def batch_of(family: Family, members: Drawn, patients: int) -> int:
    """Return how many images a step has: as the family has it, no more than there are or than it bears of that size.

    Args:
        family: Of generators.
        members: What it learns from.
        patients: Of them; a private family takes one image of each at most.
    """
    most = family.most_voxels // math.prod(members.images.shape[2:]) if family.most_voxels else len(members)
    return max(2, min(family.learning.batch, patients if family.private else len(members), most))


def work_of(members: Drawn, own: Plan, plan: Plan, place: Path, order: Order) -> Work:
    """Return what the loop needs to train a generator on these images.

    Args:
        members: What it learns from.
        own: The generator's plan.
        plan: Of the task.
        place: Folder of the generator.
        order: With clock and events.
    """
    images = with_masks(members, len(plan.labels))
    learned = members if classed(members) else one_class(members, images)
    folder = place / "training"
    folder.mkdir(parents=True, exist_ok=True)
    store = store_of(learned, own, place / "arrays", "case")
    cohort = cohort_of(learned, own, "case")
    return Work(cohort, own, task_named(own.task), store, folder, order.clock, order.events)


def least_time(cohort: Cohort, plan: Plan, store: Store, fold: int, place: Path, order: Order) -> float:
    """Return the seconds below which a generator of a fold is not worth training, by timing a few steps.

    Args:
        cohort: Its folds say what is held out.
        plan: Of the task.
        store: Prepared cases.
        fold: Held out.
        place: Folder for what is timed.
        order: What the user says.

    Raises:
        DataError: Too few images or patients, or images without contrast.
    """
    members = members_of(cohort, plan, store, fold)
    masked = members.masks is not None
    family = family_for(order.family, len(members), plan.accelerator, few=order.few, masked=masked)
    draft = drafted(members, plan, fold, family, family.widths[order.size or SIZES[0]], order)
    return least_seconds(family, draft, work_of(members, draft, plan, place, order))

"""Arrays that lie in no file of a patient, as prepared cases; and a task's network trained on such arrays alone."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Source
from lucency.events import Clock, Events
from lucency.image import Orientation, diagonal_affine
from lucency.model import load_weights, save_weights
from lucency.plan import Plan
from lucency.predict import raw_outputs, ready
from lucency.prepare import Place, Prepared, Store, writing
from lucency.prepare.place import triple
from lucency.record import to_json
from lucency.synthesize.drawn import UNKNOWN, Drawn
from lucency.tasks import task_named
from lucency.train import Work, train_member

#: Digits of a digest that tell folders apart.
DIGITS = 16

#: Largest number of warm-up steps, as a share of all.
WARM = 0.1


def ids_of(drawn: Drawn, prefix: str) -> tuple[str, ...]:
    """Return the case ids that the images have in a store, in their order.

    Example:
        >>> one = np.zeros((2, 1, 1, 4, 4), np.float32)
        >>> ids_of(Drawn(one, np.zeros(2), np.array(["", ""])), "made")
        ('made000000', 'made000001')
    """
    return tuple(f"{prefix}{n:06d}" for n in range(len(drawn)))


def store_of(drawn: Drawn, plan: Plan, folder: Path, prefix: str) -> Store:
    """Write arrays as prepared cases; what an earlier call wrote whole is kept.

    Args:
        drawn: On the plan's grid. A mask is the target where there are masks, else the class number.
        plan: Its spacing and the number of its clinical columns are used; these are not known of arrays.
        folder: Of such stores; each has its own below, named by what it holds.
        prefix: Case ids begin with it, see :func:`ids_of`.

    Raises:
        OutputError: The disk is full.
    """
    place = folder / hashlib.sha256(f"{drawn.digest} {prefix} {len(plan.facts)}".encode()).hexdigest()[:DIGITS]
    ids = ids_of(drawn, prefix)
    before = Store(place)
    if set(ids) <= set(before.entries):
        return before
    del before
    size = triple(drawn.images.shape[2:])
    lies = Place(Orientation((0, 1, 2), (False, False, False)), size, size, (0, 0, 0), size)
    affine, facts = diagonal_affine(plan.grid.spacing), np.full(len(plan.facts), np.nan, dtype=np.float32)
    with writing(place, {}) as written:
        for number, case in enumerate(ids):
            label = int(drawn.labels[number])
            learned = None if label == UNKNOWN else label
            target = learned if drawn.masks is None else drawn.masks[number]
            written.add(case, Prepared(drawn.images[number], lies, affine, facts), target)
    return Store(place)


def cohort_of(drawn: Drawn, plan: Plan, prefix: str) -> Cohort:
    """Return a cohort in which every image is to be trained on: no fold 0 is held out, nothing is locked.

    Args:
        drawn: See :func:`store_of`.
        plan: Its class names are used.
        prefix: See :func:`ids_of`.
    """
    cases = []
    for case, label, patient in zip(ids_of(drawn, prefix), drawn.labels, drawn.patients, strict=True):
        # It is never read: the store holds the array.
        source = Source((case,), "", "array")
        target = plan.classes[label] if 0 <= label < len(plan.classes) else None
        cases.append(Case(case, str(patient) or case, {plan.modalities[0]: (source,)}, target))
    return Cohort(tuple(cases), {c.id: 1 for c in cases}, frozenset(), classes=plan.classes, labels=plan.labels)


def trained_on(drawn: Drawn, plan: Plan, folder: Path, *, steps: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Train the plan's network on arrays alone, by the one loop, and return what predicts with it.

    An interrupted training goes on; one that was done is loaded.

    Args:
        drawn: What is learned from.
        plan: As for :func:`learning`.
        folder: For checkpoints, weights and the store.
        steps: Optimiser steps.
        seed: Of everything random.

    Returns:
        A function: images (n, C, K, J, I) float32 to activated outputs, (n, L) or (n, L, K, J, I) float; not
        calibrated.

    Raises:
        DivergedError: The loss is no longer finite.
        OutputError: The disk is full.
    """
    work = learning(drawn, plan, folder, steps=steps, seed=seed)
    own, task, path = work.plan, work.task, work.folder / "fold0.safetensors"
    if not path.exists():
        save_weights(path, train_member(work, 0, math.inf).weights)
        (path.parent / "fold0.checkpoint.safetensors").unlink(missing_ok=True)
    net = ready(task, own, load_weights(path))

    def predicted(images: np.ndarray) -> np.ndarray:
        outputs = raw_outputs(net, list(images), own, dense=task.dense, boxes=task.boxes)
        nothing = Calibration()
        return np.stack([task.activate(torch.from_numpy(raw)[None], nothing)[0].numpy() for raw in outputs])

    return predicted


def learning(drawn: Drawn, plan: Plan, folder: Path, *, steps: int, seed: int) -> Work:
    """Return what the loop needs to train the plan's network on arrays alone; its folder is there.

    Args:
        drawn: What is learned from.
        plan: Of the task; clinical columns, pre-training and images without a label are left out, for arrays have none.
        folder: Of such trainings; this one has its own below, named by what it depends on.
        steps: Optimiser steps.
        seed: Of everything random.

    Raises:
        OutputError: The disk is full.
    """
    warm = max(1, min(plan.schedule.warmup, int(WARM * steps)))
    own = replace(
        plan,
        schedule=replace(plan.schedule, steps=steps, warmup=warm),
        folds=(0,),
        seed=seed,
        facts=(),
        controls={},
        pretrain="none",
        unlabelled="none",
        start="",
    )
    decided = {**to_json(own), "forecast": None, "reasons": None, "minutes": None}
    name = hashlib.sha256(f"{drawn.digest} {json.dumps(decided, sort_keys=True)}".encode()).hexdigest()[:DIGITS]
    (folder / name).mkdir(parents=True, exist_ok=True)
    store = store_of(drawn, own, folder / "arrays", "case")
    return Work(cohort_of(drawn, own, "case"), own, task_named(own.task), store, folder / name, Clock(), Events())

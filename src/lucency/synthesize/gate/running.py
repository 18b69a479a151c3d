"""Arms trained and judged run by run; what is done is kept, so that an interrupted gate goes on arm by arm.

A run holds out one outer fold, by which arms are judged, and the next one, by which they are chosen and calibrated; it
trains on the others. Both are held out from the generator and from everything else in the run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lucency import evaluate, record
from lucency.calibration import Calibration
from lucency.case import Case, Cohort
from lucency.events import Events
from lucency.plan import Plan
from lucency.predict import raw_outputs, ready
from lucency.statistics import Metric
from lucency.synthesize.gate.arms import Arm
from lucency.synthesize.gate.evidence import Runs
from lucency.synthesize.gate.verdict import CALIBRATION
from lucency.tasks import Judged
from lucency.train import Extra, OutOfFold, Work
from lucency.train.member import member

#: Metric that guards a class or a label beside the headline, where it is measured.
SENSITIVITY = "sensitivity"


@dataclass(frozen=True)
class Run:
    """One fold with one seed.

    Args:
        fold: Its patients judge.
        inner: Its patients choose and calibrate.
        seed: Number of the repetition, from 0.
    """

    fold: int
    inner: int
    seed: int


def runs_of(folds: Sequence[int], seeds: int) -> tuple[Run, ...]:
    """Return all runs, seed by seed, so that an early stop leaves every fold alike."""
    following = {f: folds[(n + 1) % len(folds)] for n, f in enumerate(folds)}
    return tuple(Run(f, following[f], s) for s in range(seeds) for f in folds)


def apart(cohort: Cohort, run: Run) -> Cohort:
    """Return the cohort in which both held-out folds of a run are one."""
    return replace(cohort, folds={c: run.fold if f == run.inner else f for c, f in cohort.folds.items()})


def plan_of(plan: Plan, arm: Arm, run: Run, steps: int) -> Plan:
    """Return the plan under which an arm trains: as many steps as every other.

    Args:
        plan: The run's.
        arm: Its own options.
        run: Fold and seed.
        steps: Optimiser steps.
    """
    schedule = replace(plan.schedule, steps=steps, warmup=max(1, min(plan.schedule.warmup, steps // 10)))
    options = {**plan.task_options, **arm.options}
    own = replace(plan, task_options=options, schedule=schedule, folds=(run.fold,), seed=plan.seed + run.seed)
    return replace(own, tta=(), controls={}, compile=False, pretrain="none", unlabelled="none", synthetic="")


@dataclass(frozen=True, eq=False)
class Trained:
    """An arm of a run, as it lies on the disk.

    Args:
        work: With the arm's plan and the run's cohort.
        run: Fold and seed.
        weights: Of its network.
        calibration: Learned from the inner fold.
    """

    work: Work
    run: Run
    weights: Mapping[str, torch.Tensor]
    calibration: Calibration


def trained(work: Work, arm: Arm, run: Run, steps: int, extra: Extra | None) -> Trained:
    """Train an arm of a run, unless that was done.

    No deadline is kept: arms that make unlike numbers of steps cannot be compared.

    Args:
        work: With the whole cohort, the plan, and the folder below which arms lie.
        arm: What differs.
        run: Fold and seed.
        steps: Optimiser steps.
        extra: Images beside the real ones; None for an arm without.

    Raises:
        DivergedError: The loss is no longer finite.
    """
    place = place_of(work.folder, arm, run)
    place.mkdir(parents=True, exist_ok=True)
    own = replace(
        work,
        cohort=apart(work.cohort, run),
        plan=plan_of(work.plan, arm, run, steps),
        folder=place,
        events=Events(None),
        extra=extra,
    )
    found = member(own, run.fold, place / "out_of_fold", math.inf)
    outputs = OutOfFold(place / "out_of_fold")
    inner = [c.id for c in work.cohort.fold(run.inner)]
    targets = [evaluate.target_of(work.store, work.task, c) for c in inner]
    rng = np.random.default_rng((own.plan.seed, 29))
    return Trained(own, run, found.weights, work.task.calibrate(outputs.some(inner), targets, own.plan, rng))


def place_of(folder: Path, arm: Arm, run: Run) -> Path:
    """Return where an arm of a run lies."""
    return folder / arm.slug / f"seed{run.seed}-fold{run.fold}"


def judged(one: Trained, cases: Sequence[Case]) -> list[Judged]:
    """Return held-out cases of a run with what its network makes of them."""
    work, outputs = one.work, OutOfFold(one.work.folder / "out_of_fold")
    found = []
    for case in cases:
        raw = torch.from_numpy(np.array(outputs.output(case.id), dtype=np.float32))
        output = work.task.activate(raw[None], one.calibration)[0].numpy()
        found.append(
            evaluate.judged_of(work.task, work.plan, work.store.prepared(case.id), case, output, one.calibration)
        )
    return found


@dataclass(frozen=True)
class Marks:
    """What one arm reached in one run: ``marks.json`` beside its weights.

    Args:
        inner: Headline on the inner fold; NaN where it is not defined.
        outer: Headline on the outer fold.
        guards: What must not get worse, on the outer fold.
    """

    inner: float
    outer: float
    guards: Mapping[str, float]


def marked(work: Work, arm: Arm, run: Run, steps: int, extra: Extra | None) -> Marks:
    """Train and judge an arm of a run, unless that was done.

    Args:
        work: As for :func:`trained`.
        arm: As for :func:`trained`.
        run: As for :func:`trained`.
        steps: As for :func:`trained`.
        extra: As for :func:`trained`.
    """
    path = place_of(work.folder, arm, run) / "marks.json"
    if path.exists():
        return record.read(Marks, path)
    one = trained(work, arm, run, steps, extra)
    rng = np.random.default_rng((one.work.plan.seed, 31))
    headline = work.task.headline
    inner = work.task.measure(judged(one, work.cohort.fold(run.inner)), one.work.plan, rng).metrics
    cases = work.cohort.fold(run.fold)
    marks = Marks(_value(inner, headline), *_outer(one, cases, rng))
    record.write(path, marks)
    return marks


def _outer(one: Trained, cases: Sequence[Case], rng: np.random.Generator) -> tuple[float, dict[str, float]]:
    """Return the headline on the outer fold, and what is guarded there."""
    task, plan = one.work.task, one.work.plan
    found = judged(one, cases)
    measures = task.measure(found, plan, rng)
    guards = {k: _value(measures.metrics, k) for k in CALIBRATION if k in measures.metrics}
    for label, metrics in measures.by_label.items():
        key = SENSITIVITY if SENSITIVITY in metrics else task.headline
        if key in metrics:
            guards[f"{key}/{label}"] = _value(metrics, key)
    for name, members in evaluate.subgroups(cases, found).items():
        if len({m.patient for m in members}) >= evaluate.SUBGROUP_PATIENTS:
            own = task.measure(members, plan, rng).metrics
            key = SENSITIVITY if SENSITIVITY in own else task.headline
            guards[f"{key}/{name}"] = _value(own, key)
    return _value(measures.metrics, task.headline), guards


def _value(metrics: Mapping[str, Metric], key: str) -> float:
    return float(metrics[key].value) if key in metrics else math.nan


def gathered(arms: Sequence[Arm], marks: Mapping[str, Sequence[Marks]]) -> tuple[Runs, ...]:
    """Return the arms over all runs; what was not measured in a run is NaN there.

    Args:
        arms: All of them.
        marks: Name of each to its marks, in the order of the runs.
    """
    found = []
    for arm in arms:
        own = marks[arm.name]
        names = list(dict.fromkeys(name for m in own for name in m.guards))
        guards = {n: tuple(m.guards.get(n, math.nan) for m in own) for n in names}
        found.append(Runs(arm.name, arm.candidate, tuple(m.inner for m in own), tuple(m.outer for m in own), guards))
    return tuple(found)


def together(runs: Sequence[Trained], cases: Sequence[Case]) -> list[Judged]:
    """Return cases that no run has seen, judged by the mean of the networks of all runs of an arm.

    Each network has its own temperature; the decision is the first one's, and no comparison rests on it but that of
    masks, where it says which components are kept.

    Args:
        runs: Of one arm.
        cases: Of the locked part.
    """
    total: list[np.ndarray] = []
    for one in runs:
        work = one.work
        net = ready(work.task, work.plan, one.weights)
        arrays = (work.store.seen(c.id) for c in cases)
        raws = raw_outputs(net, arrays, work.plan, dense=work.task.dense, boxes=work.task.boxes)
        outputs = [work.task.activate(torch.from_numpy(r)[None], one.calibration)[0].numpy() for r in raws]
        total = outputs if not total else [a + b for a, b in zip(total, outputs, strict=True)]
    first = runs[0]
    work = first.work
    return [
        evaluate.judged_of(
            work.task, work.plan, work.store.prepared(case.id), case, output / len(runs), first.calibration
        )
        for case, output in zip(cases, total, strict=True)
    ]

"""A trial before the plan is fixed: choices train briefly, alike, and one is kept only on out-of-fold evidence.

It stands between the rehearsal and the plan's file, so that the plan is written once, with its verdict. What is trained
here is thrown away; an interrupted trial goes on where it was.
"""

import itertools
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lucency import machine, record, statistics
from lucency.errors import DivergedError
from lucency.evaluate import target_of
from lucency.events import Events
from lucency.plan import Plan
from lucency.planner import Arm, Trial, Tried
from lucency.statistics import Metric, Paired, Statistic
from lucency.train import OutOfFold, Work, calibrate
from lucency.train.member import member

#: A training of the trial that takes this many times what it should is cut short, and the trial with it.
PATIENCE = 1.5

#: What a gain must survive after Holm's adjustment for the number of choices.
LEVEL = 0.05

#: In a run folder: the trial at work, and what came of it.
FOLDER, FILE = "trial", "trial.json"


class _BrokenOffError(Exception):
    """The trial cannot say anything; the message is the reason."""


def begin(run: Path, digest: str, plan: Plan, trial: Trial | None, at_s: float) -> None:
    """Write down what is to be tried, so that an interrupted trial is gone on with and nothing is rehearsed anew.

    Args:
        run: Run folder.
        digest: Of what the plan depends on.
        plan: As it is without a trial.
        trial: None forgets an earlier one.
        at_s: Reading of the clock.
    """
    shutil.rmtree(run / FOLDER, ignore_errors=True)
    (run / FILE).unlink(missing_ok=True)
    if trial is not None:
        record.write(run / FOLDER / "plan.json", plan)
        record.write(run / FOLDER / "begun.json", {"digest": digest, "at_s": at_s, "trial": trial})


def waiting(run: Path, digest: str) -> tuple[Plan, Trial] | None:
    """Return the plan and the trial that was interrupted, None where there is none of this digest."""
    path = run / FOLDER / "begun.json"
    begun: dict[str, Any] = record.read_object(path) if path.exists() else {}
    if begun.get("digest") != digest:
        return None
    return record.read(Plan, run / FOLDER / "plan.json"), record.from_json(Trial, begun["trial"], FOLDER)


def settled(work: Work, trial: Trial, run: Path) -> Plan:
    """Carry the trial out and return the plan with what it showed.

    Args:
        work: With the plan as it is without a trial.
        trial: Begun.
        run: Run folder.

    Raises:
        DivergedError: The default itself cannot be trained.
    """
    begun = float(record.read_object(run / FOLDER / "begun.json")["at_s"])
    broken, choice = "", trial.choices[0]
    arms: tuple[Arm, ...] = ()
    try:
        arms = judged(work, trial, [trained(work, trial, c, run) for c in trial.choices])
        choice = kept(arms)
    except _BrokenOffError as reason:
        broken = str(reason)
    seconds = round(work.clock.elapsed() - begun, 2)
    why = _said(trial, arms, choice, seconds, broken)
    record.write(run / FILE, Tried(trial, arms, choice, why, seconds))
    work.events.emit(
        "plan",
        "tried",
        setting=trial.setting,
        kept=choice,
        steps=trial.steps,
        folds=list(trial.folds),
        seconds_in_all=seconds,
        arms=[{"choice": a.choice, "value": ends(a.value), "gain": ends(a.gain)} for a in arms],
        broken_off=broken,
    )
    old = work.plan.reasons.get(trial.setting, "")
    reasons = {**work.plan.reasons, trial.setting: f"{old}; {why}" if choice == trial.choices[0] and old else why}
    return replace(work.plan, task_options={**work.plan.task_options, trial.setting: choice}, reasons=reasons)


def end(run: Path) -> None:
    """Throw away what was trained, once the plan is written: until then a stop costs nothing."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def of_run(run: Path) -> Tried | None:
    """Return what a run's trial showed, None without one."""
    return record.read(Tried, run / FILE) if (run / FILE).exists() else None


def plan_of(plan: Plan, trial: Trial, choice: str) -> Plan:
    """Return the plan under which a choice trains: as many steps as every other, everything else as it is."""
    schedule = replace(plan.schedule, steps=trial.steps, warmup=max(1, min(plan.schedule.warmup, trial.steps // 10)))
    options = {**plan.task_options, trial.setting: choice}
    # Choices are compared by what they learn from labels; images without one would take the time of all arms.
    own = replace(plan, task_options=options, schedule=schedule, folds=trial.folds, pretrain="none", unlabelled="none")
    return replace(own, tta=(), controls={}, compile=False)


def trained(work: Work, trial: Trial, choice: str, run: Path) -> tuple[Plan, OutOfFold] | None:
    """Train a choice on every fold of the trial.

    Args:
        work: With the plan as it is without a trial.
        trial: Says on which folds and for how many steps.
        choice: One of its choices.
        run: Run folder.

    Returns:
        The plan it trained under and its held-out outputs; None where its loss diverged.

    Raises:
        DivergedError: The default itself cannot be trained.
    """
    plan, place = plan_of(work.plan, trial, choice), run / FOLDER / choice
    place.mkdir(parents=True, exist_ok=True)
    own = replace(work, plan=plan, folder=place, events=Events(None))
    outputs = place / "out_of_fold"
    number = trial.choices.index(choice) * len(trial.folds)
    each_s = trial.seconds / (len(trial.choices) * len(trial.folds))
    for fold in trial.folds:
        try:
            found = member(own, fold, outputs, work.clock.elapsed() + PATIENCE * each_s + 1)
        except DivergedError:
            if choice == trial.choices[0]:
                raise
            return None
        except (RuntimeError, MemoryError) as error:
            if not machine.is_out_of_memory(error):
                raise
            raise _BrokenOffError("the trial was broken off, for memory ran out") from error
        if found.facts["guard"]:
            raise _BrokenOffError("the trial was broken off, for the machine was slower than in the rehearsal")
        number += 1
        of = len(trial.choices) * len(trial.folds)
        work.events.emit("plan", "trial", setting=trial.setting, choice=choice, fold=fold, done=number, of=of)
    return plan, OutOfFold(outputs)


def judged(work: Work, trial: Trial, found: Sequence[tuple[Plan, OutOfFold] | None]) -> tuple[Arm, ...]:
    """Return what each choice reached and gained on the patients held out; one that diverged has no number.

    Args:
        work: As for training.
        trial: As for training.
        found: What :func:`trained` gave for each choice, in their order.
    """
    cases = [c for fold in trial.folds for c in work.cohort.fold(fold)]
    patients = [c.patient for c in cases]
    targets = [target_of(work.store, work.task, c.id) for c in cases]
    ends = np.cumsum([0, *(len(work.cohort.fold(f)) for f in trial.folds)]).tolist()
    parts = [slice(a, b) for a, b in itertools.pairwise(ends)]
    arms: list[Arm] = []
    default: list[Statistic] = []
    for choice, one in zip(trial.choices, found, strict=True):
        if one is None:
            arms.append(Arm(choice, None))
            continue
        outputs = _activated(replace(work, plan=one[0]), one[1], [c.id for c in cases])
        each = [_within(work.task.balanced(outputs[p], targets[p]), p) for p in parts]
        value = statistics.bootstrap_metric(_mean(each), patients, _rng(work), truth=np.array(targets, dtype=int))
        paired = _gained(work, trial, each, default, patients) if default else None
        default = default or each
        arms.append(Arm(choice, value, paired.difference, paired.p, test=paired.test) if paired else Arm(choice, value))
    adjusted = statistics.holm([a.p for a in arms])
    return tuple(replace(a, p_holm=p) for a, p in zip(arms, adjusted, strict=True))


def _activated(work: Work, found: OutOfFold, cases: Sequence[str]) -> list[np.ndarray]:
    """Return the outputs under one calibration for all: it is ranks that are compared, and halves would mix them up."""
    calibration = calibrate(work, found)
    raw = (torch.from_numpy(np.array(found.output(c), dtype=np.float32))[None] for c in cases)
    return [work.task.activate(one, calibration)[0].numpy() for one in raw]


def _gained(
    work: Work, trial: Trial, each: Sequence[Statistic], default: Sequence[Statistic], patients: Sequence[str]
) -> Paired:
    """Return the gain over the default: by the patients' bootstrap on one fold, over folds by Nadeau and Bengio."""
    if len(each) == 1:
        return statistics.compare_resampled(each[0], default[0], patients, _rng(work))
    whole = np.ones((1, len(patients)))
    gains = np.array([float((a(whole) - b(whole))[0]) for a, b in zip(each, default, strict=True)])
    n_train = float(np.mean([len(work.cohort.outside(f)) for f in trial.folds]))
    return statistics.nadeau_bengio(gains, n_train, len(patients) / len(each))


def _within(statistic: Statistic, rows: slice) -> Statistic:
    """Return the statistic of some of the cases, of the weights of all."""
    return lambda weights: statistic(weights[:, rows])


def _mean(each: Sequence[Statistic]) -> Statistic:
    return lambda weights: np.asarray(np.mean([one(weights) for one in each], axis=0))


def _rng(work: Work) -> np.random.Generator:
    """Return chance that is the same for every choice, so that equal outputs have equal intervals."""
    return np.random.default_rng((work.plan.seed, 23))


def kept(arms: Sequence[Arm]) -> str:
    """Return the choice whose gain is certain and largest, or the default.

    Certain is a gain whose interval lies above 0 and whose p, after Holm for the number of choices, is at most
    :data:`LEVEL`.

    Args:
        arms: The default first.
    """
    sure = [
        a
        for a in arms[1:]
        if a.gain is not None
        and a.gain.lower is not None
        and a.gain.lower > 0
        and a.p_holm is not None
        and a.p_holm <= LEVEL
    ]
    return max(sure, key=lambda a: a.gain.value if a.gain else 0.0).choice if sure else arms[0].choice


def ends(metric: Metric | None) -> list[float | None]:
    """Return value, lower and upper end of a metric; None for what there is not."""
    ends = (metric.value, metric.lower, metric.upper) if metric else (None, None, None)
    return [round(float(v), 4) if v is not None and math.isfinite(v) else None for v in ends]


def _number(metric: Metric) -> str:
    value, lower, upper = ends(metric)
    if value is None:
        return "not to be had"
    return f"{value:.3f}" + (f" ({lower:.3f} to {upper:.3f})" if lower is not None and upper is not None else "")


def _said(trial: Trial, arms: Sequence[Arm], kept: str, seconds: float, broken: str) -> str:
    """Return the trial and its verdict as the plan gives them."""
    if broken:
        return f"{broken}; {kept} stays"
    said = [f"tried on {len(trial.folds)} of 5 folds for {trial.steps} steps each, {seconds:.0f} s in all"]
    for arm in arms:
        gain = "" if arm.gain is None else f", gain {_number(arm.gain)}"
        said.append(f"{arm.choice} reaches {_number(arm.value)}{gain}" if arm.value else f"{arm.choice} diverged")
    said.append(
        f"{kept} stays, for no gain is certain after adjustment for the number of choices"
        if kept == trial.choices[0]
        else f"{kept} is kept, for its gain is certain after adjustment for the number of choices"
    )
    return "; ".join(said)

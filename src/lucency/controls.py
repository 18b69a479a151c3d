"""Simpler networks that train beside the plan's own: on the same images and folds, for as long, judged alike.

A network names its controls (:class:`lucency.networks.Network`). Whether reading frames in order is worth its trouble,
for example, is told by the same encoder under a plain mean.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from lucency import model as models
from lucency.evaluate import ZERO_FILLING, Grounds
from lucency.events import Events
from lucency.machine import peak_memory_mib
from lucency.networks import every_network, options_of
from lucency.plan import Option, Plan, Timing
from lucency.planner.pace import EVALUATION_MIB
from lucency.train import OutOfFold, Work, calibrate
from lucency.train.loop import Loop
from lucency.train.member import is_done, member

#: Seconds of steps by which a control is timed, at most.
LOOK_S = 3.0

#: More steps than a look at a control takes.
LOOK_STEPS = 100


def with_zero_filling(plan: Plan) -> Plan:
    """Return the plan with the network beside it that shows what zeros in place of a missing modality would do."""
    return replace(plan, controls={**plan.controls, ZERO_FILLING: 0}) if plan.patterns else plan


def names_of(network: str, options: Mapping[str, Option]) -> tuple[str, ...]:
    """Return the controls of a network, without one that it already is."""
    found = every_network()[network].controls
    return tuple(
        n for n, (name, own) in found.items() if name != network or any(options.get(k) != v for k, v in own.items())
    )


def plan_of(plan: Plan, name: str) -> Plan:
    """Return the plan under which a control trains: its own network and steps, everything else as it is."""
    network, own = (
        (plan.network, {"modality_dropout": 0.0})
        if name == ZERO_FILLING
        else every_network()[plan.network].controls[name]
    )
    kept = {k: v for k, v in plan.network_options.items() if k in options_of(network)}
    options: dict[str, Option] = {**kept, **own}  # type: ignore[dict-item]
    steps = max(1, plan.controls[name] or plan.schedule.steps)
    schedule = replace(plan.schedule, steps=steps, warmup=max(1, min(plan.schedule.warmup, steps // 10)))
    return replace(plan, network=network, network_options=options, schedule=schedule, controls={}, compile=False)


def timed(work: Work, timing: Timing) -> Plan:
    """Return the plan with as many steps for each control as fit into the time of the network's own, and their memory.

    Args:
        work: With the final plan; its folder is not written to.
        timing: Of the network itself.
    """
    plan, steps = work.plan, {}
    # A budget of hardly any step is timed by more of them all the same.
    long = replace(plan, schedule=replace(plan.schedule, steps=max(plan.schedule.steps, LOOK_STEPS)))
    for name in plan.controls:
        trial = replace(work, plan=plan_of(long, name), events=Events())
        step_s = Loop(trial, plan.folds[0], math.inf).time_steps(LOOK_S)
        # A quicker control gets more steps, but not so many that it only learns by heart.
        steps[name] = max(1, min(round(plan.schedule.steps * timing.step_s / step_s), 3 * plan.schedule.steps))
    if not steps:
        return plan
    # What a look at the controls took is what their training will take: a 3-D network is larger than one of frames.
    memory = max(plan.forecast.memory_mib, peak_memory_mib() + EVALUATION_MIB)
    return replace(plan, controls=steps, forecast=replace(plan.forecast, memory_mib=memory))


def folder_of(run: Path, name: str) -> Path:
    """Return where a control lies in a run folder."""
    return run / "controls" / name.replace(" ", "_")


def waiting(work: Work, run: Path) -> Iterator[tuple[str, int]]:
    """Yield (control, fold) for every member of a control that is still to be trained."""
    for name in work.plan.controls:
        own = _work(work, run, name)
        for fold in work.plan.folds:
            if not is_done(own, fold, folder_of(run, name) / "out_of_fold"):
                yield name, fold


def train(work: Work, run: Path, name: str, fold: int, deadline: float) -> str:
    """Train one member of a control; with its last member the control becomes a model of its own.

    Args:
        work: Of the network itself.
        run: The run folder.
        name: Of the control.
        fold: Held out.
        deadline: Reading of the clock by which this member must be done.

    Returns:
        What the time guard did, or nothing.
    """
    folder, own = folder_of(run, name), _work(work, run, name)
    own.folder.mkdir(parents=True, exist_ok=True)
    outputs = folder / "out_of_fold"
    guard = str(member(own, fold, outputs, deadline).facts["guard"])
    if all(is_done(own, f, outputs) for f in own.plan.folds):
        weights = {f"fold{f}": member(own, f, outputs, deadline).weights for f in own.plan.folds}
        calibration = calibrate(own, OutOfFold(outputs))
        models.save(folder / "model", own.plan, calibration, weights, f"# Control\n\n{name}: for comparison only.\n")
    return f"{name}, {guard}" if guard else ""


def grounds_of(grounds: Grounds, run: Path) -> dict[str, Grounds]:
    """Return what the evaluation of each control stands on."""
    found = {}
    for name in grounds.plan.controls:
        model = models.load(folder_of(run, name) / "model")
        outputs = OutOfFold(folder_of(run, name) / "out_of_fold")
        found[name] = replace(grounds, plan=model.plan, model=model, outputs=outputs, controls={})
    return found


def _work(work: Work, run: Path, name: str) -> Work:
    return replace(work, plan=plan_of(work.plan, name), folder=folder_of(run, name) / "training")

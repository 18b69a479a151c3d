"""What comes before a member's training: its body learns from images alone; for pseudo-labels a teacher is trained.

Both are pure by fold: a member learns, with and without labels, only from images of patients that it will not be judged
by. One pre-training for all members would have seen the held-out images of each.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from lucency import calibration as calibrations
from lucency.calibration import Calibration
from lucency.errors import UsageError
from lucency.events import Events
from lucency.model import load_facts, load_weights, save_weights
from lucency.networks import Body
from lucency.plan import Plan, Timing
from lucency.planner.pace import PRETEXT_PASSES
from lucency.pretext import PretextNet, pretext_loss
from lucency.tasks import Batch, Task
from lucency.train.company import train_member
from lucency.train.held_out import OutOfFold, predict_held_out
from lucency.train.loop import Loop, Work
from lucency.train.teacher import refuse_impossible, spread_over

#: Seconds of steps by which a pretext is timed, at most.
LOOK_S = 3.0

#: Steps of the plan under which it is timed; only the first few are made.
TIMED_STEPS = 1000

#: Images of a pretext's batch: contrast needs others to tell an image from; and voxels of all of them together.
BATCH, BATCH_VOXELS = 64, 2_000_000

#: Passes over the images beyond which a pretext is not continued, however much time there is.
MOST_PASSES = 200

#: Voxels of each label and held-out mask that a teacher's thresholds are learned from.
VOXELS = 200

#: Share of a member's steps that the teacher for pseudo-labels has.
TEACHER_SHARE = 0.5


class Pretext:
    """What the loop asks of a task, for learning from images alone.

    Args:
        task: Whose network's body learns.
        kind: A name of :data:`lucency.plan.PRETRAIN`, not ``"none"``.
        frames: Images are sequences of frames.
    """

    blind = True
    dense = boxes = semi = validated = dealt = False
    delivered, recoveries = "net", 0
    pace, shown, private = Task.pace, Task.shown, Task.private

    def __init__(self, task: Task, kind: str, *, frames: bool) -> None:
        self.name, self.task, self.kind, self.frames = kind, task, kind, frames

    def build(self, plan: Plan) -> dict[str, nn.Module]:
        """Return the body of the task's own network with what the pretext needs behind it.

        Raises:
            UsageError: That network has no body that images go through.
        """
        body = getattr(self.task.build(plan)["net"], "body", None)
        if not isinstance(body, Body):
            raise UsageError(
                f"pretrain = {self.kind!r} for a network without a body for images",
                expected="a network that images go through",
                where="--set pretrain",
                remedy="write --set pretrain=none",
            )
        return {"net": PretextNet(body, self.kind, plan, dense=self.task.dense)}

    def balance(self, plan: Plan) -> float:
        """Return 0: there are no classes."""
        return 0.0

    def losses(
        self, parts: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the pretext's loss."""
        yield "net", pretext_loss(parts["net"], self.kind, batch.images, rng, frames=self.frames)


@dataclass(frozen=True)
class Early:
    """What a member starts with.

    Args:
        work: Its weights to start from and its teacher put in.
        rows: Points of the curve of the pretext.
        sure_at: Class or label number to the probability from which on the teacher is believed; empty without one.
    """

    work: Work
    rows: Sequence[Mapping[str, float]] = ()
    sure_at: Sequence[float] = field(default_factory=tuple)


def timed(work: Work, timing: Timing, *, said: bool) -> Plan:
    """Return the plan with as many steps of its pretext as fit into their share of the time.

    Args:
        work: With the final plan; its folder is not written to.
        timing: Of a training step.
        said: The user has said how many.
    """
    plan = work.plan
    if plan.unlabelled != "none":
        refuse_impossible(work)
    if plan.pretrain == "none" or said:
        return plan
    trial = replace(of_pretext(work, "trial"), events=Events())
    # However few steps there will be, more are needed to time one.
    trial = replace(trial, plan=_shortened(trial.plan, TIMED_STEPS))
    fold = plan.folds[0]
    loop = Loop(trial, fold, math.inf)
    step_s = loop.time_steps(LOOK_S)
    member_s = plan.schedule.steps * timing.step_s / (1 - plan.pretrain_share)
    most = MOST_PASSES * loop.sampler.steps_per_epoch
    steps = max(1, min(int(plan.pretrain_share * member_s / step_s), most))
    n = len(loop.sampler.cases)
    passes = steps / loop.sampler.steps_per_epoch
    told = (
        f"{plan.reasons.get('pretrain', '')}; {steps} steps of {trial.plan.batch} images for each member, about "
        f"{passes:.0f} passes over the {n} images that it may see, labelled or not, {steps * step_s:.0f} s"
    )
    if passes < PRETEXT_PASSES / 2:
        told += f". TOO FEW: about {PRETEXT_PASSES} passes are needed; give more --minutes"
    saved = len(plan.folds) * (plan.pretrain_share * member_s - steps * step_s)
    seconds = {**plan.forecast.seconds}
    seconds["train"] = max(0.0, seconds.get("train", 0.0) - saved)
    return replace(
        plan,
        pretrain_steps=steps,
        reasons={**plan.reasons, "pretrain": told.removeprefix("; ")},
        forecast=replace(plan.forecast, seconds=seconds),
    )


def early(work: Work, fold: int, deadline: float) -> Early:
    """Return what a member starts with; what was done before is loaded.

    Args:
        work: See :class:`lucency.train.Work`.
        fold: Held out.
        deadline: Reading of the clock by which the member must be done, its training included.
    """
    outputs, folds, bare = work.folder / "teacher" / "out_of_fold", work.plan.folds, work
    work, rows = _pretrained(work, fold, deadline)
    if work.plan.unlabelled != "pseudo":
        return Early(work, rows)
    for number, other in enumerate(folds):
        if not OutOfFold(outputs).has(other) or not _weights_of(work, other).exists():
            now = work.clock.elapsed()
            until = now + TEACHER_SHARE * (deadline - now) / (len(folds) - number)
            # A teacher starts with its own fold's body: that of another has seen the images that it is judged by.
            own, _ = _pretrained(bare, other, until)
            _train_teacher(own, other, until, outputs)
    weights = load_weights(_weights_of(work, fold))
    trusted = _trusted(work, OutOfFold(outputs), fold)
    steps = max(1, work.plan.schedule.steps - _teacher_steps(work.plan))
    plan = _shortened(work.plan, steps)
    told = trusted.extra.get("sure_at", ())
    own = replace(work, plan=plan, start={**work.start, **weights}, teacher=weights, trusted=trusted)
    return Early(own, rows, told if isinstance(told, tuple) else ())


def first_round(work: Work, end: float) -> None:
    """Train the teachers of all members, where the plan asks for pseudo-labels; each has an equal share of the time.

    Args:
        work: See :class:`lucency.train.Work`.
        end: Reading of the clock by which all training must be done.
    """
    if work.plan.unlabelled != "pseudo":
        return
    outputs = work.folder / "teacher" / "out_of_fold"
    folds = work.plan.folds
    for number, fold in enumerate(folds):
        if OutOfFold(outputs).has(fold) and _weights_of(work, fold).exists():
            continue
        now = work.clock.elapsed()
        # Of the members that have no teacher yet every one is trained twice, of the others once.
        left = 2 * (len(folds) - number) + number
        started, _ = _pretrained(work, fold, now + 2 * (end - now) / left)
        now = work.clock.elapsed()
        _train_teacher(started, fold, now + (end - now) / left, outputs)


def pretext_batch(plan: Plan, *, dense: bool) -> int:
    """Return the images of a pretext's batch."""
    if dense:
        return max(4, plan.batch)
    fits = int(math.log2(max(1, BATCH_VOXELS // (plan.channels * math.prod(plan.patch)))))
    return max(plan.batch, min(BATCH, 1 << fits))


def of_pretext(work: Work, name: str) -> Work:
    """Return the work of the pretext: the same images and network, its own loss, steps and folder."""
    plan, kind = work.plan, work.plan.pretrain
    pretext = Pretext(work.task, kind, frames=plan.grid.mode == "frames")
    own = replace(
        _shortened(plan, plan.pretrain_steps or plan.schedule.steps),
        batch=pretext_batch(plan, dense=work.task.dense),
        # The views of the contrast are seen anew as it is.
        augmentation={} if kind == "contrastive" else plan.augmentation,
        unlabelled="none",
        facts=(),
    )
    # The loop asks nothing else of a task than what a pretext has.
    return replace(work, plan=own, task=cast("Task", pretext), folder=work.folder / name)


def _shortened(plan: Plan, steps: int) -> Plan:
    schedule = replace(plan.schedule, steps=steps, warmup=max(1, min(plan.schedule.warmup, steps // 10)))
    return replace(plan, schedule=schedule)


def _pretrained(work: Work, fold: int, deadline: float) -> tuple[Work, Sequence[Mapping[str, float]]]:
    """Return the work with the body that a member's pretext has taught, and the points of its curve."""
    if work.plan.pretrain == "none":
        return work, ()
    own = of_pretext(work, "pretrain")
    path = own.folder / f"fold{fold}.safetensors"
    if not path.exists():
        now = own.clock.elapsed()
        trained = train_member(own, fold, now + (work.plan.pretrain_share or 0.5) * (deadline - now))
        body = {k: v for k, v in trained.weights.items() if k.startswith("body.")}
        save_weights(path, body, {"facts": json.dumps({"history": trained.history})})
        (own.folder / f"fold{fold}.checkpoint.safetensors").unlink(missing_ok=True)
    rows = json.loads(load_facts(path)["facts"])["history"]
    return replace(work, start={**work.start, **load_weights(path)}), rows


def _weights_of(work: Work, fold: int) -> Path:
    return work.folder / "teacher" / f"fold{fold}.safetensors"


def _teacher_steps(plan: Plan) -> int:
    return max(1, int(TEACHER_SHARE * plan.schedule.steps))


def _train_teacher(work: Work, fold: int, deadline: float, outputs: Path) -> None:
    """Train on the labelled cases alone and predict the fold that was held out."""
    plan = replace(_shortened(work.plan, _teacher_steps(work.plan)), unlabelled="none")
    own = replace(work, plan=plan, folder=work.folder / "teacher")
    trained = train_member(own, fold, deadline)
    predict_held_out(own, fold, trained.weights, outputs)
    save_weights(_weights_of(work, fold), trained.weights, {"facts": json.dumps({"history": trained.history})})
    (own.folder / f"fold{fold}.checkpoint.safetensors").unlink(missing_ok=True)


def _trusted(work: Work, outputs: OutOfFold, fold: int) -> Calibration:
    """Return temperature and thresholds from held-out outputs on labelled patients that the member may see.

    The fold that the member is judged by has no part in them. With that fold alone there is nothing to learn from, and
    the teacher must be :data:`lucency.calibration.SURE` as it says it is.
    """
    place = work.cohort.folds
    seen = [c for c in outputs.cases if place.get(c, fold) != fold]
    rng = np.random.default_rng((work.plan.seed, 17, fold))
    logits, truth = [], []
    for case in seen:
        target = np.asarray(work.store.mask(case) if work.task.dense else work.store.target(case))
        one, its = spread_over(outputs.output(case), target, VOXELS, rng)
        logits.append(one)
        truth.append(its)
    if not logits:
        return Calibration()
    raw, classes = np.concatenate(logits), np.concatenate(truth)
    scaled = calibrations.fit_temperature(raw, classes)
    return Calibration(scaled.temperature, extra={"sure_at": calibrations.sure_at(scaled.apply(raw), classes)})

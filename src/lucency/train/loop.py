"""One member's training: every task's losses, a time guard, a checkpoint."""

import copy
import json
import logging
import math
import secrets
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from lucency.augment import augment, augment_boxes, augment_frames
from lucency.calibration import Calibration
from lucency.case import Cohort
from lucency.errors import DivergedError
from lucency.events import Clock, Events
from lucency.image import Image
from lucency.model import load_facts, load_weights, save_weights
from lucency.plan import Plan
from lucency.predict import device_of, memory_format
from lucency.prepare import Store, unlabelled
from lucency.ranks import Dealt, Ranks, placed, shared
from lucency.tasks import Batch, Task
from lucency.train.course import copied, fitting, follow, optimiser_of, share_of_rate
from lucency.train.sampler import Alone, Sampler
from lucency.train.synthetic import Extra, Mixing
from lucency.train.teacher import Teaching
from lucency.write.raster import write_picture

# Fabric announces its precision at every start; the plan has said it already.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

#: A crash loses at most this many seconds of training.
CHECKPOINT_S = 30.0

#: Steps over which the time guard takes the mean: enough that a busy second does not count as a slow machine.
GUARD_STEPS = 40

#: Steps before the time guard says anything, and the fewest it leaves to bring the rate down.
GUARD_FROM, COOL_STEPS = 10, 10

#: Progress from which on the rate is low enough (under a fifth of its peak) to stop at once.
COOLED = 0.7

#: Points of the loss curve; with fewer steps a point an epoch.
CURVE_POINTS = 30

#: Held-out images behind each validation loss; it is drawn for the eye, not for a decision.
VALIDATION_IMAGES = 16


@dataclass(frozen=True)
class Trained:
    """One member.

    Args:
        fold: The fold it did not see.
        weights: Averaged weights and buffers.
        history: One row per point: member, epoch, step, loss, val_loss, rate.
        steps: Steps made; fewer than planned when the time guard stepped in.
        shortened: What the time guard did, or "".
        augment_share: Share of the training time that augmentation took.
        parts: Averaged weights of the parts that are not delivered.
        rolled_back: Steps whose loss was not finite, so that training went on from the last average that was.
        seconds: That the steps took, those before an interruption included.
        kept: Steps to the files of what was kept on the way: averages of all parts, as ``PART/NAME``.
    """

    fold: int
    weights: Mapping[str, torch.Tensor]
    history: Sequence[Mapping[str, float]]
    steps: int
    shortened: str
    augment_share: float
    parts: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)
    rolled_back: Sequence[int] = ()
    seconds: float = 0.0
    kept: Mapping[int, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What every member of a run shares.

    Args:
        cohort: Its folds say what is held out.
        plan: Everything that was decided.
        task: The task's own losses.
        store: Prepared cases.
        folder: ``RUN/training``; holds the checkpoints.
        clock: Working time of the run.
        events: One event per point of the loss curve.
        start: Weights that the delivered part starts from, where they fit.
        teacher: Weights of the network that names images without a label; empty for the moving average.
        trusted: Its temperature, and under ``"sure_at"`` how sure it must be of each class.
        extra: Generated images to train on beside the cohort's own; None without.
        points: Shares of the training, ascending and under 1, at which the averages of all parts are kept in files
            beside the checkpoint; whoever asks for them removes them.
    """

    cohort: Cohort
    plan: Plan
    task: Task
    store: Store
    folder: Path
    clock: Clock
    events: Events
    start: Mapping[str, torch.Tensor] = field(default_factory=dict)
    teacher: Mapping[str, torch.Tensor] = field(default_factory=dict)
    trusted: Calibration = field(default_factory=Calibration)
    extra: Extra | None = None
    points: tuple[float, ...] = ()

    def unlabelled(self, fold: int) -> list[str]:
        """Return the ids of the cases without a label that the network of a fold may see."""
        return [c.id for c in unlabelled(self.cohort, self.plan) if self.cohort.unlabelled[c.id] != fold]


class Loop:
    """State of one member's training. Checkpoint and memory hold the same things.

    Args:
        work: See :class:`Work`.
        fold: Held out.
        deadline: Reading of the clock by which this member must be done.
        ranks: Processes in each of which the same loop runs; None for this one alone.
    """

    def __init__(self, work: Work, fold: int, deadline: float, ranks: Ranks | None = None) -> None:
        plan, task, store = work.plan, work.task, work.store
        self.plan, self.task, self.store, self.fold = plan, task, store, fold
        self.clock, self.deadline, self.events, self.folder = work.clock, deadline, work.events, work.folder
        self.path = work.folder / f"fold{fold}.checkpoint.safetensors"
        self.ranks = ranks or Ranks()
        self.fabric = Fabric(
            accelerator=device_of(plan),
            devices=placed(device_of(plan), self.ranks),
            precision="bf16-mixed" if plan.precision == "bf16" else "32-true",
        )
        with torch.random.fork_rng():
            torch.manual_seed(plan.seed * 1000 + fold)
            parts = task.build(plan)
        parts[task.delivered].load_state_dict(fitting(work.start, parts[task.delivered]), strict=False)
        self.parts = {n: p.to(memory_format=memory_format(plan)) for n, p in parts.items()}  # type: ignore[call-overload]
        self.average = {n: copy.deepcopy(p).eval().requires_grad_(requires_grad=False) for n, p in parts.items()}
        self.training: dict[str, Any] = {}
        self.optimisers: dict[str, Any] = {}
        for name, part in self.parts.items():
            if self.ranks.n > 1:
                shared(part, self.ranks)
            optimiser = optimiser_of(part, plan.schedule)
            compiled = torch.compile(part) if plan.compile else part
            self.training[name], self.optimisers[name] = self.fabric.setup(compiled, optimiser)
            self.average[name].to(self.fabric.device)
            if self.ranks.n > 1:
                self.training[name] = Dealt(self.training[name], self.ranks)
        outside = [c.id for c in work.cohort.outside(fold)]
        outside += work.unlabelled(fold) if task.blind else []
        balance = task.balance(plan)
        self.secret, alone = None, None
        if task.private(plan):
            # Not the plan's seed: whoever has the plan could take the noise out again.
            patients = {c.id: c.patient for c in work.cohort.cases}
            alone = Alone([patients[c] for c in outside], secrets.randbits(128))
            self.secret = torch.Generator(self.fabric.device).manual_seed(secrets.randbits(63))
        self.sampler = Sampler(store, outside, plan, dense=task.dense, balance=balance, blind=task.blind, alone=alone)
        self.held = [c.id for c in work.cohort.fold(fold)] if task.validated and not task.blind else []
        self.teaching = Teaching(work, fold) if plan.unlabelled != "none" else None
        self.mixing = Mixing(work.extra, fold, plan, task) if work.extra is not None and not task.blind else None
        self.step, self.left, self.progress = 0, plan.schedule.steps, 0.0
        self.history: list[dict[str, float]] = []
        self.recent: deque[float] = deque(maxlen=GUARD_STEPS)
        self.augment_s = self.train_s = 0.0
        self.losses: dict[str, list[float]] = {}
        self.good = copied(self.average) if task.recoveries else {}
        self.rolled_back: list[int] = []
        self.points = work.points
        self.kept: list[int] = []
        #: False inside a step: half a step must not be saved, for a resume would make it once more.
        self.whole = True

    def run(self) -> Trained:
        """Train to the end."""
        self._resume()
        per_point = max(self.sampler.steps_per_epoch, self.plan.schedule.steps // CURVE_POINTS)
        saved = self.clock.now()
        try:
            while self.left > 0:
                # Before the step: what an interrupt left out is made up for at the same step.
                self._keep()
                self._one_step()
                if self.step % 10 == 0:
                    self._guard()
                # Counted, not taken modulo: an interrupt may have come between a step and its point.
                if self.step // per_point > len(self.history) or self.left == 0:
                    self._point(self.step / self.sampler.steps_per_epoch)
                if self.clock.now() - saved > CHECKPOINT_S:
                    self.save()
                    saved = self.clock.now()
            if self.points:
                # What is done with them may be interrupted as well, and not be trained for again.
                self.save()
        except KeyboardInterrupt:
            if self.whole:
                self.save()
            raise
        weights = {n: {k: v.detach().cpu() for k, v in p.state_dict().items()} for n, p in self.average.items()}
        share = self.augment_s / self.train_s if self.train_s else 0.0
        others = {n: w for n, w in weights.items() if n != self.task.delivered}
        own = weights[self.task.delivered]
        facts = self.step, self.shortened, share
        kept = {step: self._kept_at(number) for number, step in enumerate(self.kept)}
        return Trained(self.fold, own, self.history, *facts, others, self.rolled_back, self.train_s, kept)

    def time_steps(self, seconds: float) -> float:
        """Return the median time of a step, in seconds, from about ``seconds`` of steps after one warm-up step."""
        times: list[float] = []
        begin = time.perf_counter()
        while len(times) < 3 or self.ranks.told(len(times) < 10 and time.perf_counter() - begin < seconds):
            before = time.perf_counter()
            self._one_step()
            times.append(time.perf_counter() - before)
        return float(np.median(times[1:]))

    def _one_step(self) -> None:
        begin = self.clock.now()
        device = self.fabric.device
        generator = torch.Generator(device).manual_seed(self.plan.seed * 1_000_003 + self.fold * 101 + self.step)
        drawn = self.sampler.batch(self.step)
        if self.mixing is not None:
            drawn = self.mixing.mixed(*drawn, self.step, self.progress)
        images, targets = (t.to(device) for t in drawn)
        augmented = self.clock.now()
        images, targets = self._augmented(images, targets, generator)
        self.augment_s += self.clock.now() - augmented
        images = images.contiguous(memory_format=memory_format(self.plan))
        facts = self.sampler.facts(self.step)
        facts = None if facts is None else facts.to(device)
        counts = self.sampler.counts
        batch = Batch(images, targets, self.plan.task_options, self.progress, facts, counts, self.secret)
        rate = self._rate()
        self.whole = False
        with torch.random.fork_rng():
            # Dropout draws from the global generator: seeded by the step and given back as it was.
            torch.manual_seed(self.plan.seed * 7919 + self.fold * 31 + self.step)
            for name, task_loss in self.task.losses(self.training, batch, generator):
                loss = task_loss
                if self.teaching is not None and name == self.task.delivered:
                    loss = loss + self.teaching.loss(self.training[name], self.average[name], batch, self.step)
                finite = self._moved(name, loss, rate)
                if not finite and self.task.recoveries:
                    break
        if finite:
            self._average()
        else:
            self._roll_back(float(loss.detach()))
        self.step += 1
        # A rehearsal may make more steps than a short plan has.
        self.progress += (1 - self.progress) / max(self.left, 1)
        self.left -= 1
        self.whole = True
        self.recent.append(self.clock.now() - begin)
        self.train_s += self.recent[-1]

    def _moved(self, name: str, loss: torch.Tensor, rate: float) -> bool:
        """Move a part down its loss; return whether the loss is finite, and the gradient where that can be mended."""
        pace, optimiser = self.task.pace(name, self.plan, self.step, self.progress), self.optimisers[name]
        for group in optimiser.param_groups:
            group["lr"] = rate * pace.rate
            if "betas" in group:
                group["betas"] = pace.betas
        optimiser.zero_grad(set_to_none=True)
        # Each process has formed the loss of the whole batch: together they go down it once.
        self.fabric.backward(loss / self.ranks.n if self.ranks.n > 1 else loss)
        self.ranks.bring_together(self.parts[name].parameters())
        norm = nn.utils.clip_grad_norm_(self.parts[name].parameters(), self.plan.schedule.clip)
        value = float(loss.detach())
        if self.task.recoveries and not math.isfinite(value + float(norm)):
            # Not stepped: weights that are no longer finite would reach the averages.
            return False
        optimiser.step()
        self.losses.setdefault(name, []).append(value)
        return math.isfinite(value)

    def _roll_back(self, loss: float) -> None:
        """Go on from the last good averages.

        Raises:
            DivergedError: Nothing to go back to, or it did not help.
        """
        if len(self.rolled_back) >= self.task.recoveries:
            raise DivergedError(
                f"The loss is {loss} at step {self.step}, or its gradient is not finite",
                expected="a finite number",
                remedy="lower schedule.rate in plan.json, or set precision to fp32, and run again",
            )
        for name, part in self.parts.items():
            part.load_state_dict(self.good[name])
            self.average[name].load_state_dict(self.good[name])
            optimiser = self.optimisers[name]
            optimiser.load_state_dict({"state": {}, "param_groups": optimiser.state_dict()["param_groups"]})
        self.rolled_back.append(self.step)
        self.events.emit("train", "rolled_back", member=self.fold, step=self.step, times=len(self.rolled_back))

    def _augmented(
        self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        masks = targets if self.task.dense else None
        spacing = self.plan.grid.spacing
        if self.plan.dims == 2:
            images, spacing = images[:, :, 0], spacing[1:]  # type: ignore[assignment]
            masks = masks[:, 0] if masks is not None else None
        if self.plan.grid.mode == "frames":
            return augment_frames(images, self.plan.augmentation, generator), targets
        if self.task.boxes:
            return augment_boxes(images, targets, self.plan.augmentation, generator, spacing)
        images, masks = augment(images, masks, self.plan.augmentation, generator, spacing)
        return images, targets if masks is None else masks

    def _rate(self) -> float:
        """Linear warm-up, then the plan's shape over the progress, which the time guard may hasten."""
        schedule = self.plan.schedule
        warm = min(1.0, (self.step + 1) / max(1, schedule.warmup))
        return schedule.rate * warm * share_of_rate(schedule.shape, self.progress, [r["loss"] for r in self.history])

    def _average(self) -> None:
        for name, part in self.parts.items():
            ema = self.task.pace(name, self.plan, self.step, self.progress).ema
            # A young average follows faster, or its start would outweigh what was learned.
            decay = min(self.plan.schedule.ema if ema is None else ema, (1 + self.step) / (10 + self.step))
            follow(self.average[name], part, decay)

    def _point(self, epoch: float) -> None:
        row = {
            "member": float(self.fold),
            "epoch": round(epoch, 2),
            "step": float(self.step),
            "loss": _mean([v for losses in self.losses.values() for v in losses]),
            **({f"loss_{n}": _mean(losses) for n, losses in self.losses.items()} if len(self.parts) > 1 else {}),
            **({} if self.task.blind or not self.task.validated else {"val_loss": self._validate()}),
            "rate": self._rate(),
        }
        self.losses, self.good = {}, copied(self.average) if self.task.recoveries else {}
        self.history.append(row)
        if not self.ranks.first:
            return
        per_step = self.train_s / max(1, self.step)
        stage = {"stage": "pretrain"} if self.task.blind else {}
        self.events.emit(
            "train", "epoch", **row, **stage, steps=self.step + self.left, seconds_left=round(per_step * self.left)
        )
        picture = self.task.shown(self.average[self.task.delivered], self.plan)
        if picture is not None:
            path = self.folder / "samples" / f"fold{self.fold}_{self.step:06d}.png"
            write_picture(path, Image(picture[None, None], np.eye(4)), text={"Synthetic": "yes"})
            self.events.emit("train", "samples", member=self.fold, step=self.step, file=f"samples/{path.name}")

    @torch.no_grad()
    def _validate(self) -> float:
        """Return the averaged network's loss on a fixed sample of held-out patches."""
        if not self.held:
            return float("nan")
        take = min(len(self.held), VALIDATION_IMAGES)
        chosen = [self.held[n] for n in np.linspace(0, len(self.held) - 1, take).astype(int)]
        sampler = Sampler(self.store, chosen, self.plan, dense=self.task.dense)
        losses = []
        for number in range(max(1, take // self.plan.batch)):
            images, targets = sampler.batch(number)
            if self.plan.dims == 2:
                images = images[:, :, 0]
                targets = targets[:, 0] if self.task.dense else targets
            images = images.to(self.fabric.device).contiguous(memory_format=memory_format(self.plan))
            facts = sampler.facts(number)
            facts = None if facts is None else facts.to(self.fabric.device)
            batch = Batch(images, targets.to(self.fabric.device), self.plan.task_options, self.progress, facts)
            with self.fabric.autocast():
                losses += [float(v) for _, v in self.task.losses(self.average, batch, torch.Generator().manual_seed(0))]
        return float(np.mean(losses))

    def _guard(self) -> None:
        """Shorten what is left when the deadline would be missed, and lengthen it again when there is time after all.

        The rate follows the progress, so it falls faster and still ends at zero.
        """
        if len(self.recent) < GUARD_FROM:
            return
        fits = (self.deadline - self.clock.elapsed()) / max(float(np.mean(self.recent)), 1e-9)
        if fits >= self.left:
            self.left = int(min(self.plan.schedule.steps - self.step, fits))
        else:
            # Even with no time left the rate comes down over a few steps: weights at full rate are worth little.
            least = COOL_STEPS if self.progress < COOLED else 0
            self.left = max(int(fits), min(self.left, least))
        # Clocks differ; what the first process has decided holds for all.
        self.left = int(self.ranks.told(self.left))

    @property
    def shortened(self) -> str:
        """What the time guard did, or nothing."""
        planned = self.plan.schedule.steps
        total = self.step + self.left
        return "" if total >= planned else f"fold {self.fold}: {total} of {planned} planned steps"

    def _keep(self) -> None:
        """Keep the averages at the points that were asked for."""
        while len(self.kept) < len(self.points) and self.progress >= self.points[len(self.kept)]:
            states = {f"{n}/{k}": v for n, p in self.average.items() for k, v in p.state_dict().items()}
            if self.ranks.first:
                save_weights(self._kept_at(len(self.kept)), states)
            self.kept.append(self.step)

    def _kept_at(self, number: int) -> Path:
        return self.folder / f"fold{self.fold}.kept{number}.safetensors"

    def save(self) -> None:
        """Write the checkpoint, whole or not at all; the first process of several does it."""
        if not self.ranks.first:
            return
        tensors: dict[str, torch.Tensor] = {}
        for name, part in self.parts.items():
            tensors |= {f"part/{name}/{k}": v for k, v in part.state_dict().items()}
            tensors |= {f"average/{name}/{k}": v for k, v in self.average[name].state_dict().items()}
            for number, state in self.optimisers[name].state_dict()["state"].items():
                tensors |= {f"optimiser/{name}/{number}/{k}": torch.as_tensor(v) for k, v in state.items()}
        facts = {
            "step": self.step,
            "left": self.left,
            "progress": self.progress,
            "history": self.history,
            "augment_s": self.augment_s,
            "train_s": self.train_s,
            "losses": self.losses,
            "rolled_back": self.rolled_back,
            "kept": self.kept,
        }
        save_weights(self.path, tensors, {"facts": json.dumps(facts)})
        self.events.emit("train", "checkpoint", member=self.fold, step=self.step)

    def _resume(self) -> None:
        if not self.path.exists():
            return
        facts = json.loads(load_facts(self.path)["facts"])
        tensors = load_weights(self.path)
        for name, part in self.parts.items():
            part.load_state_dict(_under(tensors, f"part/{name}/"))
            self.average[name].load_state_dict(_under(tensors, f"average/{name}/"))
            optimiser = self.optimisers[name]
            state: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in _under(tensors, f"optimiser/{name}/").items():
                number, field_name = key.split("/", 1)
                state.setdefault(int(number), {})[field_name] = value
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        self.step, self.left, self.progress = facts["step"], facts["left"], facts["progress"]
        self.history, self.losses = facts["history"], facts["losses"]
        self.augment_s, self.train_s = facts["augment_s"], facts["train_s"]
        self.rolled_back, self.kept = facts["rolled_back"], facts["kept"]
        self.good = copied(self.average) if self.task.recoveries else {}
        self.events.emit("train", "resumed", member=self.fold, step=self.step)


def _mean(losses: Sequence[float]) -> float:
    """Return the mean; NaN where there is nothing: all steps since the last point were taken back."""
    return float(np.mean(losses)) if losses else math.nan


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

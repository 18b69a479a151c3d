"""Images without a label in training: a teacher says what it thinks of them, and the network is to think the same.

The mean teacher is the moving average of the network itself: its opinion counts as it is, and more as training goes on.
A teacher for pseudo-labels has been trained before, on the same folds; only what it is sure of counts, and how sure it
must be of each class was learned from outputs on labelled patients that were held out from it.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from lucency.augment import augment, augment_frames
from lucency.calibration import SURE
from lucency.errors import UsageError
from lucency.losses import IGNORE
from lucency.plan import Plan
from lucency.predict import autocast, device_of, memory_format
from lucency.tasks import Batch
from lucency.train.sampler import Sampler

if TYPE_CHECKING:
    from lucency.train.loop import Work

#: Weight of the mean squared difference of probabilities, and the share of training over which it grows to that
#: (Tarvainen 2017, doi 10.48550/arXiv.1703.01780, sections 3 and A).
CONSISTENCY, RAMP = 10.0, 0.4

#: Weight of the loss on images that the teacher has named.
NAMED = 1.0

#: What the network sees of an image beyond what its teacher sees.
STRONGER = {"contrast": 0.4, "brightness": 0.4, "gamma": 0.3, "noise": 0.3}

#: Fewer named images than this in a batch teach nothing: their mean and deviation would be noise.
LEAST_NAMED = 2


class Teaching:
    """What images without a label add to the loss of one member.

    Args:
        work: With the plan, the task and, for pseudo-labels, the teacher.
        fold: Held out; images of its patients are not used.

    Raises:
        UsageError: The task cannot be taught so, or no image without a label may be used.
    """

    def __init__(self, work: "Work", fold: int) -> None:
        self.plan, self.task, self.fold = work.plan, work.task, fold
        refuse_impossible(work)
        self.sampler = Sampler(work.store, work.unlabelled(fold), work.plan, dense=False, blind=True)
        self.trusted = work.trusted
        self.frozen: nn.Module | None = None
        if work.teacher:
            with torch.random.fork_rng():
                self.frozen = work.task.build(work.plan)[work.task.delivered].eval().requires_grad_(requires_grad=False)
            self.frozen.load_state_dict(dict(work.teacher))
            self.frozen.to(device_of(work.plan)).to(memory_format=memory_format(work.plan))  # type: ignore[call-overload]

    def loss(self, student: nn.Module, average: nn.Module, labelled: Batch, step: int) -> torch.Tensor:
        """Return what is added to the loss of a step.

        Args:
            student: The network in training.
            average: Its moving average.
            labelled: The batch of the step; its progress, options and counts are used.
            step: Number of the step: what is drawn depends on it and on the plan's seed.
        """
        device = labelled.images.device
        rng = torch.Generator(device).manual_seed(self.plan.seed * 1_000_033 + self.fold * 103 + step)
        images = self.sampler.batch(step)[0].to(device)
        weak, strong = self._seen_twice(images[:, :, 0] if self.plan.dims == 2 else images, rng)
        with torch.no_grad(), autocast(self.plan):
            raw = (self.frozen or average)(_laid(weak, self.plan)).float()
        opinion = torch.softmax(raw / self.trusted.temperature, dim=1)
        if self.plan.unlabelled == "mean-teacher":
            answer = student(_laid(strong, self.plan))
            logits = answer if isinstance(answer, torch.Tensor) else answer[0]
            apart = (torch.softmax(logits.float(), dim=1) - opinion).square().mean()
            return CONSISTENCY * ramp(labelled.progress) * apart
        names = named(opinion, torch.tensor(self._sure_at(opinion.shape[1]), device=device))
        return NAMED * self._on_named(student, strong, names, labelled, rng)

    def _on_named(
        self, student: nn.Module, images: torch.Tensor, names: torch.Tensor, labelled: Batch, rng: torch.Generator
    ) -> torch.Tensor:
        """Return the task's own loss on what the teacher is sure of, times the share of that."""
        sure = names != IGNORE
        rows = sure.reshape(len(sure), -1).any(dim=1)
        if int(rows.sum()) < LEAST_NAMED:
            return torch.zeros((), device=images.device)
        targets = names[rows] if self.task.dense else names[rows].float()
        inside = Batch(
            _laid(images[rows], self.plan), targets, labelled.options, labelled.progress, None, labelled.counts
        )
        losses = [loss for part, loss in self.task.losses({"net": student}, inside, rng) if part == "net"]
        return torch.stack(losses).sum() * sure.float().mean()

    def _seen_twice(self, images: torch.Tensor, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the teacher and what the network sees; places agree where the answer has places."""
        spacing = self.plan.grid.spacing if self.plan.dims == 3 else self.plan.grid.spacing[1:]
        usual = dict(self.plan.augmentation)
        if self.plan.grid.mode == "frames":
            return augment_frames(images, usual, rng), augment_frames(images, usual | STRONGER, rng)
        weak = augment(images, None, usual, rng, spacing)[0]
        if self.task.dense:
            return weak, augment(weak, None, STRONGER, rng, spacing)[0]
        return weak, augment(images, None, usual | STRONGER, rng, spacing)[0]

    def _sure_at(self, classes: int) -> tuple[float, ...]:
        known = self.trusted.extra.get("sure_at")
        return known if isinstance(known, tuple) and len(known) == classes else (SURE,) * classes


def refuse_impossible(work: "Work") -> None:
    """Refuse a plan under which images without a label cannot teach.

    Raises:
        UsageError: The task cannot be taught so, or there is no such image.
    """
    where = "--set unlabelled"
    if not work.task.semi:
        raise UsageError(
            f"unlabelled = {work.plan.unlabelled!r} for task {work.task.name!r}",
            expected="classes or masks, one for each image",
            where=where,
            remedy="leave it out, or use the images without a label by --set pretrain=contrastive",
        )
    if not all(work.unlabelled(fold) for fold in work.plan.folds):
        raise UsageError(
            f"unlabelled = {work.plan.unlabelled!r}, and no image without a label that may be learned from",
            expected="images without a label, of patients who are in no held-out part",
            where=where,
            remedy="add such images to the data, or leave the setting out",
        )


def ramp(progress: float) -> float:
    """Return how much a young teacher counts, 0 to 1.

    Args:
        progress: 0 at the first step, 1 at the last.

    Source:
        Laine 2017 (doi 10.48550/arXiv.1610.02242), section 2.1.

    Example:
        >>> round(ramp(0.0), 4), ramp(0.4), ramp(1.0)
        (0.0067, 1.0, 1.0)
    """
    return math.exp(-5 * (1 - min(1.0, progress / RAMP)) ** 2)


def named(opinion: torch.Tensor, sure_at: torch.Tensor) -> torch.Tensor:
    """Return the likeliest class where the teacher is sure enough of it, else IGNORE: (B, ...) int64.

    Args:
        opinion: (B, L, ...) probabilities.
        sure_at: (L,) probability from which on a class is believed; above 1 it never is.
    """
    best, number = opinion.max(dim=1)
    return torch.where(best >= sure_at.to(best.dtype)[number], number, torch.full_like(number, IGNORE))


def spread_over(
    raw: np.ndarray, target: np.ndarray, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (n, L) and classes (n,) of one held-out case: itself, or of a mask some voxels of every label.

    Args:
        raw: (L,) or (L, K, J, I) logits.
        target: A number, or (K, J, I) integers.
        most: Voxels of each label.
        rng: Draws them.
    """
    if raw.ndim == 1:
        return raw[None].astype(np.float64), np.asarray(target).reshape(1).astype(int)
    flat, truth = raw.reshape(len(raw), -1), np.asarray(target).reshape(-1)
    chosen = []
    for label in np.unique(truth[truth != IGNORE]):
        here = np.flatnonzero(truth == label)
        chosen.append(here if len(here) <= most else rng.choice(here, most, replace=False))
    at = np.concatenate(chosen) if chosen else np.zeros(0, dtype=int)
    return flat[:, at].T.astype(np.float64), truth[at].astype(int)


def _laid(images: torch.Tensor, plan: Plan) -> torch.Tensor:
    return images.contiguous(memory_format=memory_format(plan))

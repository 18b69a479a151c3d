"""A trained generator: how it draws, how it is kept, and how it is told that it is whole and of these data."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lucency import record
from lucency.errors import DataError, ModelError
from lucency.model import load_weights, save_weights
from lucency.plan import Plan
from lucency.predict import device_of
from lucency.statistics import Metric
from lucency.synthesize.drawn import UNKNOWN, Drawn
from lucency.synthesize.joint import apart, channels_of, classed, with_masks
from lucency.synthesize.outlines import reshaped
from lucency.synthesize.privacy import Privacy
from lucency.tasks import task_named
from lucency.tasks.generate import Generate, family_of, sampled
from lucency.train import Trained

#: Images of a class below which a remark says that hardly more than copies can come of them.
FEW_IMAGES = 20

#: Images whose mean is so near 0 and whose standard deviation is so near 1 were normalised each by itself.
NORMALISED = 0.02

#: Deviation below which an image is flat, and not stretched.
FLAT = 1e-6

GENERATOR_FILE, RECORD_FILE, PLAN_FILE = "generator.safetensors", "generator.json", "plan.json"


@dataclass(frozen=True)
class Look:
    """What an inner fold says of the images of one state of a training.

    Args:
        step: Of the training.
        teaches: What a narrow network of the task that learned from these images alone reaches there.
        fd: Fréchet distance of the images to that fold's, in the random network.
    """

    step: int
    teaches: Metric
    fd: Metric


@dataclass(frozen=True)
class Made:
    """What a generator was made from and how.

    Args:
        data: SHA-256 of the images it learned from, with their classes, masks and patients.
        plan: SHA-256 of the generator's plan.
        weights: SHA-256 of the file of weights.
        images: Images it learned from, by class name; one class where there are none.
        patients: Patients of these.
        steps: Steps made.
        planned: Steps planned.
        seconds: That its steps took.
        rolled_back: Steps at which the loss was not finite, and training went on from the last average that was.
        lowest: Of each channel, in the images it learned from; nothing lower is drawn.
        highest: The same, upwards.
        normalised: Each image has mean 0 and standard deviation 1, and so have those that are drawn.
        remarks: What is to be said of it.
        kept: Step of the state that was kept; ``steps`` where it is the end.
        looks: States that were looked at, the latest first; empty where the end was kept unseen.
        why: Why that state was kept, or "" where nobody asked.
        privacy: What its steps have cost, of a private family.
    """

    data: str
    plan: str
    weights: str
    images: Mapping[str, int]
    patients: int
    steps: int
    planned: int
    seconds: float
    rolled_back: tuple[int, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    normalised: bool
    remarks: tuple[str, ...] = ()
    kept: int = 0
    looks: tuple[Look, ...] = ()
    why: str = ""
    privacy: Privacy | None = None


@dataclass(frozen=True, eq=False)
class Maker:
    """A trained generator.

    Args:
        plan: Its own.
        parts: Averaged, in eval mode; one is the generator.
        made: Of what and how.
        n_labels: Labels of the masks that it draws; 0 without.
        classed: It draws images of a class that is asked for.
        masks: (m, K, J, I) int16 masks of the patients it learned from, which it draws images for, changed; None where
            it draws the masks as well, or there are none.
    """

    plan: Plan
    parts: Mapping[str, nn.Module]
    made: Made
    n_labels: int
    classed: bool
    masks: np.ndarray | None = None

    def sample(self, labels: "np.ndarray | Sequence[int]", rng: np.random.Generator) -> Drawn:
        """Draw images.

        Args:
            labels: (n,) class numbers; of a task without classes only their number counts.
            rng: The images depend on it and on nothing else.

        Raises:
            DataError: A class of which there was no image to learn from, or none asked for.
        """
        asked = np.asarray(labels, dtype=np.int64)
        self._refuse_unknown(asked)
        told = asked if self.classed else np.zeros_like(asked)
        device = device_of(self.plan)
        chance = torch.Generator(device).manual_seed(int(rng.integers(2**31)))
        wanted = torch.from_numpy(np.array(told)).to(device)
        outlines = self._outlines(len(asked), rng)
        given = None if outlines is None else self._channels(outlines).to(device)
        images = sampled(self.parts[Generate.delivered], self.plan, wanted, chance, given)
        images = images[:, :, None] if self.plan.dims == 2 else images
        images, masks = apart(images, self.n_labels)
        masks = masks if outlines is None else outlines
        kept = asked if self.classed else np.full(len(asked), UNKNOWN)
        return Drawn(self._bounded(images), kept, np.full(len(asked), ""), masks)

    def score(self, drawn: Drawn) -> np.ndarray | None:
        """Return how real the critic takes images to be, (n,) float64, higher for more; None without a critic."""
        family, device = family_of(self.plan), device_of(self.plan)
        images = with_masks(drawn, self.n_labels)
        labels = drawn.labels.clip(min=0) if self.classed else np.zeros(len(drawn), dtype=np.int64)
        found = []
        with torch.no_grad():
            for start in range(0, len(images), self.plan.batch):
                # Copies, for arrays of a set cannot be written to, and torch does not bear that.
                rows = slice(start, start + self.plan.batch)
                some, told = (torch.from_numpy(np.array(v[rows])).to(device) for v in (images, labels))
                some = some[:, :, 0] if self.plan.dims == 2 else some
                said = family.score(self.parts, some, told)
                if said is None:
                    return None
                found.append(said.double().cpu().numpy())
        return np.concatenate(found)

    def _outlines(self, n: int, rng: np.random.Generator) -> np.ndarray | None:
        """Return masks to make images for; None where the generator needs none."""
        flips = str(self.plan.task_options.get("flips", ""))
        return None if self.masks is None else reshaped(self.masks, n, flips, rng)

    def _channels(self, masks: np.ndarray) -> torch.Tensor:
        """Return masks as the generator is given them."""
        channels = torch.from_numpy(channels_of(masks, self.n_labels))
        return channels[:, :, 0] if self.plan.dims == 2 else channels

    def _refuse_unknown(self, asked: np.ndarray) -> None:
        if not len(asked):
            raise DataError("No image asked for", expected="one label or more")
        if not self.classed:
            return
        known = {k for k, name in enumerate(self.plan.classes) if self.made.images.get(name)}
        strange = sorted({int(k) for k in asked} - known)
        if strange:
            raise DataError(
                f"Images of class number {', '.join(map(str, strange))}",
                expected=f"one that the generator has learned from: {', '.join(map(str, sorted(known)))}",
                remedy="leave the class out, or choose folds whose training part has it",
            )

    def _bounded(self, images: np.ndarray) -> np.ndarray:
        """Return images normalised as real ones are, and within their range."""
        if self.made.normalised:
            axes = tuple(range(2, images.ndim))
            spread = images.std(axis=axes, keepdims=True)
            images = (images - images.mean(axis=axes, keepdims=True)) / np.maximum(spread, FLAT)
        low, high = (
            np.array(v, dtype=np.float32)[None, :, None, None, None] for v in (self.made.lowest, self.made.highest)
        )
        clipped: np.ndarray = np.clip(images, low, high).astype(np.float32)
        return clipped


def load(place: Path, members: Drawn, plan: Plan) -> Maker:
    """Load a generator, checking that it is whole and of these data.

    Args:
        place: Its folder.
        members: What it should have learned from.
        plan: Of the task.

    Raises:
        ModelError: It was made from other data, or altered since.
    """
    made = record.read(Made, place / RECORD_FILE)
    own = record.read(Plan, place / PLAN_FILE)
    path = place / GENERATOR_FILE
    if made.data != members.digest or not fits(own, plan, members):
        raise ModelError(
            "This generator was made from other data or for another plan",
            expected="one of these training images",
            where=place.name,
            remedy="use another --out, or delete the folder to train anew",
        )
    if not path.exists() or _digest(path.read_bytes()) != made.weights or _digest_of(own) != made.plan:
        raise ModelError(
            "The generator was changed after training: its SHA-256 differs from its record's",
            where=path.name,
            remedy="delete its folder and train anew",
        )
    return built(load_weights(path), own, made, members, plan)


def built(tensors: Mapping[str, torch.Tensor], own: Plan, made: Made, members: Drawn, plan: Plan) -> Maker:
    """Return a generator with these weights.

    Args:
        tensors: Of all parts, as ``PART/NAME``.
        own: The generator's plan.
        made: From :func:`described`.
        members: What it learned from.
        plan: Of the task.
    """
    parts = task_named(own.task).build(own)
    for name, part in parts.items():
        own_weights = {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}
        part.load_state_dict(own_weights)
        part.eval().requires_grad_(False).to(device_of(own))
    n_labels = len(plan.labels) if members.masks is not None else 0
    masks = members.masks if family_of(own).needs_masks else None
    return Maker(own, parts, made, n_labels, classed(members), masks)


def end_of(trained: Trained) -> dict[str, torch.Tensor]:
    """Return the weights of all parts at the end of a training, as ``PART/NAME``."""
    weights = {Generate.delivered: trained.weights, **trained.parts}
    return {f"{name}/{k}": v for name, part in weights.items() for k, v in part.items()}


def keep(place: Path, tensors: Mapping[str, torch.Tensor], made: Made) -> None:
    """Write weights and record; the record last, for it vouches for the rest.

    Args:
        place: Folder of the generator, with its plan.
        tensors: Of all parts, as ``PART/NAME``.
        made: From :func:`described`.
    """
    path = place / GENERATOR_FILE
    save_weights(path, tensors)
    record.write(place / RECORD_FILE, replace(made, weights=_digest(path.read_bytes())))


def described(trained: Trained, own: Plan, members: Drawn, plan: Plan) -> Made:
    """Return what a generator was made from and how, but for the digest of its weights.

    Args:
        trained: By the loop.
        own: The generator's plan.
        members: What it learned from.
        plan: Of the task.
    """
    axes = (0, *range(2, members.images.ndim))
    each = tuple(range(2, members.images.ndim))
    off = np.abs(members.images.mean(axis=each)).max(), np.abs(members.images.std(axis=each) - 1).max()
    counts = {plan.classes[k]: n for k, n in members.counts.items()} if classed(members) else {"image": len(members)}
    return Made(
        data=members.digest,
        plan=_digest_of(own),
        weights="",
        images=counts,
        patients=len(set(members.people.tolist())),
        steps=trained.steps,
        planned=own.schedule.steps,
        seconds=round(trained.seconds, 2),
        rolled_back=tuple(trained.rolled_back),
        lowest=tuple(float(v) for v in members.images.min(axis=axes)),
        highest=tuple(float(v) for v in members.images.max(axis=axes)),
        normalised=plan.normalisation.kind == "zscore" and max(off) < NORMALISED,
        remarks=(*_reused(own, members), *_remarks(counts, trained, own.schedule.steps)),
        kept=trained.steps,
    )


def _reused(own: Plan, members: Drawn) -> tuple[str, ...]:
    """Return what is to be said of the masks that images are made for; nothing where they are drawn as well."""
    if not family_of(own).needs_masks:
        return ()
    n = len(set(members.people.tolist()))
    return (f"Images are made for the masks of {n} patients, moved, scaled and bent",)


def _remarks(counts: Mapping[str, int], trained: Trained, planned: int) -> list[str]:
    """Return what is to be said of a training."""
    said = [
        f"Class {name!r} has {n} images: hardly more than copies of them can be drawn"
        for name, n in counts.items()
        if n < FEW_IMAGES
    ]
    if trained.rolled_back:
        said.append(
            f"The loss was not finite at step {', '.join(map(str, trained.rolled_back))}: "
            "training went on from the last average that was"
        )
    if trained.shortened:
        said.append(f"The time guard stopped training at step {trained.steps} of {planned}.")
    return said


def fits(own: Plan, plan: Plan, members: Drawn) -> bool:
    """Tell whether a generator's plan is for images of this shape, normalised so.

    Args:
        own: The generator's plan.
        plan: Of the task.
        members: What it learns from.
    """
    return own.normalisation == plan.normalisation and own.patch == tuple(members.images.shape[2:])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(plan: Plan) -> str:
    return _digest(json.dumps(record.to_json(plan), sort_keys=True).encode())

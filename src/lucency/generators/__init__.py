"""Families of generators by name: each file of this folder holds one. To add a family, add a file.

A family says how its parts are built for a shape of image, yields each part's loss in order, and draws images of given
classes. It knows nothing of plans, patients or files; the one loop trains it (:mod:`lucency.tasks.generate`).
"""

import difflib
import importlib
import math
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch import nn

from lucency.errors import UsageError
from lucency.generators.differentiable import Transforms

#: Widths by name, from seconds on a processor to hours on a GPU.
SIZES = ("tiny", "small", "medium", "large")

#: Part of every family whose average is delivered and draws the images, and the part of most that teaches it.
GENERATOR, CRITIC = "generator", "critic"


@dataclass(frozen=True)
class Shape:
    """What is to be generated.

    Args:
        size: (J, I) or (K, J, I) pixels, at least 4 each.
        channels: Of the images, those of masks included.
        n_classes: Classes that an image may be asked of; 1 where there are none.
        width: Channels at full resolution, or whatever the family scales with.
        masks: Channels at the end that are masks.

    Raises:
        UsageError: Other than two or three axes, a number below 1, or nothing but masks.
    """

    size: tuple[int, ...]
    channels: int
    n_classes: int
    width: int
    masks: int = 0

    def __post_init__(self) -> None:
        if len(self.size) not in (2, 3) or min(self.size) < 4:
            raise UsageError(f"Images of {self.size} to generate", expected="two or three sides of 4 pixels or more")
        if min(self.channels, self.n_classes, self.width) < 1:
            raise UsageError(
                f"{self.channels} channels, {self.n_classes} classes, width {self.width}", expected="1 or more of each"
            )
        if not 0 <= self.masks < self.channels:
            raise UsageError(f"{self.masks} of {self.channels} channels are masks", expected="one channel of an image")

    @property
    def dims(self) -> int:
        """2 or 3."""
        return len(self.size)


@dataclass(frozen=True)
class Learning:
    """How a family learns, as the task hands it to the loop.

    Numbers given as pairs go from the first to the second as half a cosine over ``burn_in``, and stay.

    Args:
        rate: Of Adam.
        beta1: Decay of its mean of gradients.
        beta2: Decay of its mean of squares.
        batch: Real images in a step.
        burn_in: Share of the training; 1 is all of it.
        ema_images: Images over which the average forgets half, at the end of the burn-in; it grows up to there.
        clip: Largest gradient norm.
    """

    rate: tuple[float, float]
    beta1: float
    beta2: tuple[float, float]
    batch: int
    burn_in: float
    ema_images: float
    clip: float = 1000.0


@dataclass(frozen=True)
class Noise:
    """What hides a single patient in the gradients of real images.

    Args:
        noise: Standard deviation, for a longest gradient of 1.
        clip: Longest gradient of an image.
        rows: Images expected in a step; there are more or fewer by chance.
        rng: Nobody knows its seed; on the device of the images.
    """

    noise: float
    clip: float
    rows: int
    rng: torch.Generator


@dataclass(frozen=True)
class Step:
    """What one step of training is given.

    Args:
        images: (B, C, J, I) or (B, C, K, J, I) float32 real images; channels of masks are -1 and 1.
        labels: (B,) int64 their class numbers.
        drawn: (k,) int64 class numbers that images are made of, each as often; how often real ones come does not count.
        progress: 0 at the first step, 1 at the last.
        transforms: What critics see the images through.
        privacy: For a private family.
    """

    images: torch.Tensor
    labels: torch.Tensor
    drawn: torch.Tensor
    progress: float
    transforms: Transforms
    privacy: Noise | None = None

    def asked(self, n: int, rng: torch.Generator) -> torch.Tensor:
        """Return (n,) class numbers to make images of, each class as often but for chance."""
        chosen = torch.randint(len(self.drawn), (n,), generator=rng, device=self.labels.device)
        return self.drawn[chosen]


class Family(Protocol):
    """What the task asks of a family."""

    #: Registry name.
    name: str
    #: The paper.
    doi: str
    #: Width by name, one of :data:`SIZES`.
    widths: Mapping[str, int]
    learning: Learning
    #: Fewer images are refused, unless the user says that they know.
    least_images: int = 0
    #: Images that training should see at least, or it is not worth its time.
    least_seen: int = 20_000
    #: Longest side by dimensions of the images.
    most_side: Mapping[int, int] = {2: 128, 3: 64}
    #: Voxels of all images in a step at most; 0 is any number.
    most_voxels: int = 0
    #: It draws images for masks that it is given; others draw the masks with their images.
    needs_masks: bool = False
    #: It learns under differential privacy; steps tell it of the noise.
    private: bool = False

    def parts(self, shape: Shape) -> dict[str, nn.Module]:
        """Return the trained parts; one is :data:`GENERATOR`."""
        ...

    def losses(
        self, parts: Mapping[str, nn.Module], step: Step, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield ``(part, loss)`` in order; the next is formed only after the part has been stepped."""
        ...

    def sample(
        self, generator: nn.Module, labels: torch.Tensor, rng: torch.Generator, masks: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return images of these classes, (n, C, ...) float32; the last channels are masks where there are such.

        Args:
            generator: In eval mode.
            labels: (n,) int64, on its device.
            rng: On its device.
            masks: (n, M, ...) float32 of -1 and 1, on its device, for a family that needs them.
        """
        ...

    def memory_mib(self, shape: Shape, batch: int) -> float:
        """Return the memory in MiB that a step takes at its peak, beside weights; 0 where that is not known.

        Args:
            shape: What is generated.
            batch: Images in a step.
        """
        return 0.0

    def score(self, parts: Mapping[str, nn.Module], images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor | None:
        """Return how real the critic takes images to be, (n,) float32, higher for more; None without a critic.

        Args:
            parts: In eval mode.
            images: (n, C, ...) float32.
            labels: (n,) int64.
        """
        return None


_found: dict[str, Family] = {}


def family(cls: type[Any]) -> type[Any]:
    """Register the decorated class under its ``name``; what it leaves open is as :class:`Family` has it."""
    told = {"__doc__": cls.__doc__, "__module__": cls.__module__}
    one: Family = type(cls.__name__, (cls, Family), told)()
    _found[one.name] = one
    return cls


@cache
def every_family() -> Mapping[str, Family]:
    """Return all families of this folder."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_found.items()))


def family_named(name: str) -> Family:
    """Return family ``name``.

    Raises:
        UsageError: No such family; the message names the nearest.
    """
    known = every_family()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"No generator {name!r}", expected=", ".join(known), remedy=f"did you mean {near[0]!r}?" if near else ""
        )
    return known[name]


def between(pair: tuple[float, float], burn_in: float, progress: float) -> float:
    """Return a number on its way from the first to the second as half a cosine.

    Args:
        pair: First and last.
        burn_in: Share of the training that the way takes.
        progress: 0 at the first step, 1 at the last.

    Example:
        >>> between((2.0, 1.0), 0.5, 0.0), between((2.0, 1.0), 0.5, 0.25), between((2.0, 1.0), 0.5, 0.9)
        (2.0, 1.5, 1.0)
    """
    share = min(1.0, progress / burn_in) if burn_in else 1.0
    return round(pair[1] + (pair[0] - pair[1]) * 0.5 * (1 + math.cos(math.pi * share)), 12)

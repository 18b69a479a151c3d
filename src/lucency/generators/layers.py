"""What the families share: how sizes double, what a class says, penalties of gradients."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from lucency.ranks import OverRows, in_rows

#: The coarsest map is at most so many pixels along each axis, as in the usual networks for 28 and 32 pixels.
COARSEST = 7

#: Numbers that an image is drawn from; the class is told in as many.
LATENT = 64

#: Under a root, whose slope at 0 has no end.
TINY = 1e-8

#: Standard deviation of the normal distribution that weights start from (Radford 2016, doi 10.48550/arXiv.1511.06434).
START = 0.02

#: Standard deviation of what a class adds behind a norm at first, beside 1 of the random numbers: enough to be seen.
TOLD = 0.2

#: Slope of leaky rectifiers in generators and critics (Radford 2016, doi 10.48550/arXiv.1511.06434).
SLOPE = 0.2


@dataclass(frozen=True)
class Ladder:
    """How a size is reached by doublings from a coarse one.

    Args:
        base: Of the coarsest map.
        strides: Factors of each step along each axis, 1 or 2, from coarse to fine.
    """

    base: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    @property
    def whole(self) -> tuple[int, ...]:
        """The size at the end, at least the one that was asked for."""
        return tuple(n * math.prod(s[a] for s in self.strides) for a, n in enumerate(self.base))


def ladder(size: Sequence[int]) -> Ladder:
    """Return the way from a map of at most :data:`COARSEST` pixels along each axis to ``size``, rounded up.

    Axes that are shorter are doubled in the last steps only.

    Example:
        >>> ladder((28, 28)).base, ladder((50, 100)).whole, ladder((16, 64, 64)).strides[0]
        ((7, 7), (56, 112), (1, 2, 2))
    """
    times = [max(0, math.ceil(math.log2(n / COARSEST))) for n in size]
    steps = max(times)
    strides = tuple(tuple(2 if number >= steps - t else 1 for t in times) for number in range(steps))
    return Ladder(tuple(math.ceil(n / 2**t) for n, t in zip(size, times, strict=True)), strides)


def cropped(images: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Return the middle of (B, C, ...) images, of ``size``."""
    for axis, n in enumerate(size, start=2):
        images = images.narrow(axis, (images.shape[axis] - n) // 2, n)
    return images


def padded(images: torch.Tensor, whole: Sequence[int]) -> torch.Tensor:
    """Return (B, C, ...) images in the middle of zeros, of size ``whole``."""
    if tuple(images.shape[2:]) == tuple(whole):
        return images
    around: list[int] = []
    for n, w in zip(reversed(images.shape[2:]), reversed(whole), strict=True):
        around += [(w - n) // 2, w - n - (w - n) // 2]
    return functional.pad(images, around)


def convolution(dims: int, inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> nn.Module:
    """Return a convolution that keeps the size, with bias."""
    kind = nn.Conv3d if dims == 3 else nn.Conv2d
    return kind(inputs, outputs, kernel, padding=kernel // 2, groups=groups)


def down(inputs: int, outputs: int, stride: Sequence[int]) -> nn.Module:
    """Return a convolution that halves the axes whose stride is 2."""
    kind = nn.Conv3d if len(stride) == 3 else nn.Conv2d
    return kind(inputs, outputs, tuple(s + 2 for s in stride), tuple(stride), 1)  # type: ignore[arg-type]


def up(inputs: int, outputs: int, stride: Sequence[int]) -> nn.Module:
    """Return a transposed convolution that doubles the axes whose stride is 2."""
    kind = nn.ConvTranspose3d if len(stride) == 3 else nn.ConvTranspose2d
    return kind(inputs, outputs, tuple(s + 2 for s in stride), tuple(stride), 1)  # type: ignore[arg-type]


def batch_norm(dims: int, channels: int) -> nn.Module:
    """Return batch normalisation (Ioffe 2015, doi 10.48550/arXiv.1502.03167)."""
    return nn.BatchNorm3d(channels) if dims == 3 else nn.BatchNorm2d(channels)


class ClassNorm(nn.Module):
    """Batch normalisation whose scale and shift belong to the class.

    Told in front of a norm, unlike classes make up most of what varies in a batch, and the norm shrinks what the random
    numbers vary to next to nothing: a class comes to one image. Told behind it, the random numbers keep their share.

    Source:
        de Vries 2017 (doi 10.48550/arXiv.1707.00683), section 4; Miyato 2018 (doi 10.48550/arXiv.1802.05637), appendix.

    Args:
        dims: 2 or 3.
        channels: Of what comes in.
        n_classes: 1 or more.
    """

    def __init__(self, dims: int, channels: int, n_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(channels, affine=False) if dims == 3 else nn.BatchNorm2d(channels, affine=False)
        self.scale, self.shift = nn.Embedding(n_classes, channels), nn.Embedding(n_classes, channels)
        nn.init.normal_(self.scale.weight, 1.0, START)
        # From nothing, Adam would take a thousand steps to tell the classes apart.
        nn.init.normal_(self.shift.weight, 0.0, TOLD)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return (B, C, ...) from (B, C, ...) and (B,)."""
        scale, shift = (told(labels).view(*x.shape[:2], *(1 for _ in x.shape[2:])) for told in (self.scale, self.shift))
        out: torch.Tensor = self.norm(x) * scale + shift
        return out


class Seed(nn.Module):
    """What an image is made of: random numbers, and beside them the class, told in as many.

    Args:
        n_classes: 1 or more.
        latent: Random numbers.
    """

    def __init__(self, n_classes: int, latent: int = LATENT) -> None:
        super().__init__()
        self.classes = nn.Embedding(n_classes, latent)
        self.width = 2 * latent

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return (B, 2 latent)."""
        return torch.cat([z, self.classes(labels)], dim=1)


class Projection(nn.Module):
    """What a critic says at its end: a number for the image, and how well the image fits its class.

    Source:
        Miyato 2018 (doi 10.48550/arXiv.1802.05637).

    Args:
        inputs: Numbers that the critic has come to.
        n_classes: 1 or more; of one class the second part says nothing new.
    """

    def __init__(self, inputs: int, n_classes: int) -> None:
        super().__init__()
        self.alone = nn.Linear(inputs, 1)
        self.classes = nn.Embedding(n_classes, inputs)
        nn.init.normal_(self.classes.weight, std=inputs**-0.5)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return (B,) from (B, inputs)."""
        fits = (x * self.classes(labels)).sum(dim=1)
        said: torch.Tensor = self.alone(x)[:, 0] + fits
        return said


class Strength(nn.Module):
    """The chance of the changes that a critic sees images through, where it adapts; kept with its weights."""

    chance: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("chance", torch.zeros(()))


class Deviation(OverRows):
    """Adds a channel that says how much the images of a class in a batch differ, so that sameness is seen.

    Made batches have another mix of classes than real ones, so that each class is taken for itself; of an image that
    is alone in its class nothing is known, and the channel is 0. In eval mode every image is taken to be alone: what a
    critic then says of it must not depend on the images beside it, or it would tell sets apart and not images.

    Source:
        Karras 2018 (doi 10.48550/arXiv.1710.10196), section 3.
    """

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return (B, C + 1, ...) from (B, C, ...)."""
        flat, labels = self.ranks.whole(x.flatten(1).float()), self.ranks.whole(labels)
        same = (labels[:, None] == labels[None]).to(flat.dtype)
        count = same.sum(dim=1, keepdim=True)
        away = flat - same @ flat / count
        spread = same @ away.square() / count
        told = spread.add(TINY).sqrt().mean(dim=1) * ((count[:, 0] > 1) & self.training)
        channel = self.ranks.own(told).to(x.dtype).view(-1, *(1 for _ in x.shape[1:])).expand(-1, 1, *x.shape[2:])
        return torch.cat([x, channel], dim=1)


def bare(part: nn.Module) -> nn.Module:
    """Return a part without what the loop wraps it in: it is then called in the precision of the caller."""
    inner = getattr(part, "module", part)
    return bare(inner) if isinstance(inner, nn.Module) and inner is not part else part


def latent_of(n: int, width: int, rng: torch.Generator) -> torch.Tensor:
    """Return (n, width) standard normal numbers on the device of ``rng``."""
    return torch.randn(n, width, generator=rng, device=rng.device)


@contextmanager
def resting(*parts: nn.Module) -> Iterator[None]:
    """Leave the weights of some parts out of the gradient: of a critic that is only asked."""
    weights = [p for part in parts for p in part.parameters() if p.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def steepness(critic: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a critic says, (B,), and the squared length of its gradient by the images, (B,), in fp32.

    Args:
        critic: As the loop holds it.
        images: (B, C, ...).
        labels: (B,) int64.
    """

    def slopes(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(images.device.type, enabled=False):
            seen = images.detach().float().requires_grad_(True)
            said = bare(critic)(seen, labels)
            (slope,) = torch.autograd.grad(said.sum(), seen, create_graph=True)
            return said, slope.square().flatten(1).sum(dim=1)

    said, steep = in_rows(critic, slopes, images, labels)
    return said, steep

"""Large volumes through a code: an autoencoder learns first and rests; then a rectified flow learns the codes it gives.

The code has a quarter of the sides, so that a flow over 128³ voxels costs what one over 32³ does.

Source:
    Rombach 2022 (doi 10.48550/arXiv.2112.10752): a slightly regularised code, scaled to unit deviation, and a second
    network that generates it. The flow is that of :mod:`lucency.generators.rflow`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from lucency.generators import GENERATOR, Learning, Shape, Step, family
from lucency.generators.differentiable import mirrored
from lucency.generators.layers import TINY, bare, convolution, cropped, down, padded, up
from lucency.generators.rflow import Velocity, carried, grouped, straightness
from lucency.ranks import in_rows

#: Channels of a code, and how often each axis is halved at most; no axis gets shorter than this.
CODE, HALVINGS, SHORTEST = 4, 2, 4

#: Share of the training after which the autoencoder rests.
REST = 0.4

#: Weight of the code's distance from normal numbers (Rombach 2022, appendix G: 1e-6, "slightly regularised").
KL = 1e-6

#: Log variances of a code: beyond these the exponential would be 0 or without end.
LEAST, MOST = -30.0, 20.0

#: By how much the mean and deviation of codes follow those of a step, until the autoencoder rests.
FOLLOWING = 0.05

#: Channels of the flow's finest map, as a multiple of the autoencoder's: its maps have a 64th of the voxels.
FLOW = 2


def strides_of(size: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the factors of each halving along each axis, from fine to coarse.

    Example:
        >>> strides_of((128, 128, 128)), strides_of((6, 12, 16))
        (((2, 2, 2), (2, 2, 2)), ((1, 2, 2), (1, 1, 2)))
    """
    left, found = list(size), []
    for _ in range(HALVINGS):
        step = tuple(2 if n >= 2 * SHORTEST else 1 for n in left)
        left = [math.ceil(n / s) for n, s in zip(left, step, strict=True)]
        found.append(step)
    return tuple(found)


class Block(nn.Module):
    """Two convolutions with norms, added to what came in.

    Args:
        dims: 2 or 3.
        channels: In and out.
    """

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        each = [(grouped(channels), nn.SiLU(), convolution(dims, channels, channels)) for _ in range(2)]
        self.body = nn.Sequential(*(layer for three in each for layer in three))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, C, ...)."""
        out: torch.Tensor = x + self.body(x)
        return out


class Autoencoder(nn.Module):
    """From images to codes and back; nothing is computed at full size but the image itself.

    Args:
        shape: Of the images.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        dims, w = shape.dims, shape.width
        first, second = strides_of(shape.size)
        self.size = shape.size
        self.code = tuple(math.ceil(n / (a * b)) for n, a, b in zip(shape.size, first, second, strict=True))
        self.whole = tuple(n * a * b for n, a, b in zip(self.code, first, second, strict=True))
        self.encoder = nn.Sequential(
            down(shape.channels, w, first),
            Block(dims, w),
            down(w, 2 * w, second),
            Block(dims, 2 * w),
            grouped(2 * w),
            nn.SiLU(),
            convolution(dims, 2 * w, 2 * CODE),
        )
        half = max(1, w // 2)
        self.decoder = nn.Sequential(
            convolution(dims, CODE, 2 * w),
            Block(dims, 2 * w),
            up(2 * w, w, second),
            Block(dims, w),
            up(w, half, first),
            grouped(half),
            nn.SiLU(),
            convolution(dims, half, shape.channels),
        )

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance of the codes, (B, :data:`CODE`, ...) each."""
        mean, spread = self.encoder(padded(images, self.whole)).float().chunk(2, dim=1)
        return mean, spread.clamp(LEAST, MOST)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Return images, (B, C, ...)."""
        return cropped(self.decoder(codes), self.size)


class LatentGenerator(nn.Module):
    """An autoencoder and the velocity of its codes: what is kept is both.

    Args:
        shape: Of the images.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.autoencoder = Autoencoder(shape)
        self.velocity = Velocity(Shape(self.autoencoder.code, CODE, shape.n_classes, FLOW * shape.width))
        level = (1, CODE, *(1 for _ in shape.size))
        self.register_buffer("mean", torch.zeros(level))
        self.register_buffer("deviation", torch.ones(level))

    def forward(
        self, x: torch.Tensor, labels: torch.Tensor, told: torch.Tensor
    ) -> "torch.Tensor | tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Return what the part that is asked says: the flow where times are told, else the autoencoder.

        Args:
            x: (B, :data:`CODE`, ...) between noise and code; or images, (B, C, ...).
            labels: (B,) int64.
            told: (B,) times, 0 at the noise and 1 at the code; or (B, :data:`CODE`, ...) normal numbers.

        Returns:
            Velocities, (B, :data:`CODE`, ...); or the images given back, mean and log variance of their codes.
        """
        if told.ndim == 1:
            moved: torch.Tensor = self.velocity(x, told, labels)
            return moved
        mean, spread = self.autoencoder.encode(x)
        return self.autoencoder.decode(mean + told * (spread / 2).exp()), mean, spread

    def codes(self, images: torch.Tensor) -> torch.Tensor:
        """Return the codes of images, of mean 0 and deviation 1, (B, :data:`CODE`, ...)."""
        return (self.autoencoder.encode(images)[0] - self.mean) / self.deviation

    def images(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the images of such codes, (B, C, ...)."""
        return self.autoencoder.decode(codes * self.deviation + self.mean)

    def follow(self, mean: torch.Tensor) -> None:
        """Let mean and deviation follow those of the codes of a step, (B, :data:`CODE`, ...)."""
        axes = (0, *range(2, mean.ndim))
        self.mean.lerp_(mean.mean(axes, keepdim=True), FOLLOWING)
        self.deviation.lerp_(mean.std(axes, keepdim=True) + TINY, FOLLOWING)


@family
class LatentFlow:
    """See the head of the file."""

    name = "latent-flow"
    doi = "10.48550/arXiv.2112.10752"
    widths: Mapping[str, int] = {"tiny": 16, "small": 32, "medium": 64, "large": 96}
    learning = Learning(
        rate=(5e-4, 5e-5), beta1=0.9, beta2=(0.99, 0.99), batch=64, burn_in=1.0, ema_images=10_000, clip=1.0
    )
    #: Of fewer it learns most by heart (Dar 2024, doi 10.48550/arXiv.2402.01054).
    least_images = 1000
    least_seen = 20_000
    most_side: Mapping[int, int] = {2: 128, 3: 128}
    most_voxels = 2**20

    def parts(self, shape: Shape) -> dict[str, nn.Module]:
        """Return autoencoder and flow as one part: both are asked when an image is drawn."""
        return {GENERATOR: LatentGenerator(shape)}

    def memory_mib(self, shape: Shape, batch: int) -> float:
        """Return what the autoencoder keeps for the way back, and half as much again for what is on it."""
        first, second = (math.prod(s) for s in strides_of(shape.size))
        # Each norm, activation and convolution keeps its input: of half the width at full size, of the width after one
        # halving, of twice the width after two; the image itself three times.
        each = shape.width * (1.5 + 14 / first + 33 / (first * second)) + 3 * shape.channels
        return 1.5 * 4 * batch * math.prod(shape.size) * each / 2**20

    def losses(
        self, parts: Mapping[str, nn.Module], step: Step, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the autoencoder's error in the first part of the training, the flow's in the rest.

        What a loss does not reach has no gradient, and the optimiser leaves it as it is.
        """
        images, part = mirrored(step.images, step.transforms, rng), parts[GENERATOR]
        own = bare(part)
        if not isinstance(own, LatentGenerator):
            raise TypeError("Not the part that this family has built")
        if step.progress < REST:
            noise = torch.randn((len(images), CODE, *own.autoencoder.code), generator=rng, device=images.device)
            back, mean, spread = part(images, step.labels, noise)
            own.follow(mean.detach())
            code = 0.5 * (mean.square() + spread.exp() - 1 - spread).flatten(1).sum(dim=1).mean()
            error = functional.l1_loss(back.float(), images)
            yield GENERATOR, error + KL * code / math.prod(images.shape[1:])
            return
        with torch.no_grad():
            codes = in_rows(part, own.codes, images)
        if isinstance(codes, torch.Tensor):
            yield GENERATOR, straightness(lambda x, t: part(x, step.labels, t), codes, rng)

    def sample(
        self, generator: nn.Module, labels: torch.Tensor, rng: torch.Generator, masks: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the images of codes that noise has moved to."""
        if not isinstance(generator, LatentGenerator):
            raise TypeError("Not the part that this family has built")
        shape = (len(labels), CODE, *generator.autoencoder.code)
        noise = torch.randn(shape, generator=rng, device=labels.device)
        codes = carried(lambda x, t: generator(x, labels, t), noise)
        return generator.images(codes).float()

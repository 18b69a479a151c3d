"""Rectified flow: noise moves to images along nearly straight lines. For thousands of images; it learns few by heart.

Source:
    Liu 2023 (doi 10.48550/arXiv.2209.03003); times drawn as the logistic of normal numbers: Esser 2024
    (doi 10.48550/arXiv.2403.03206). That diffusion learns small sets of patients by heart: Dar 2024
    (doi 10.48550/arXiv.2402.01054), hence the least number of images.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from lucency.generators import GENERATOR, Learning, Shape, Step, family
from lucency.generators.differentiable import mirrored
from lucency.generators.layers import convolution, cropped, down, ladder, padded, up

#: Numbers that tell time and class.
TOLD = 128

#: Steps from noise to image; each asks the network twice (Heun).
STEPS = 20

#: Channels of the coarsest map at most, as a multiple of those at full size.
WIDEST = 4

#: Channels that a norm takes together at least.
NORMED = 8


class Told(nn.Module):
    """A residual block that is told time and class: they scale and move what its norm gives.

    Args:
        dims: 2 or 3.
        inputs: Channels.
        outputs: Channels.
    """

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.before = grouped(inputs)
        self.one = convolution(dims, inputs, outputs)
        self.between = grouped(outputs)
        self.told = nn.Linear(TOLD, 2 * outputs)
        self.two = convolution(dims, outputs, outputs)
        self.beside = convolution(dims, inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.two.weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.two.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs, ...)."""
        y = self.between(self.one(functional.silu(self.before(x))))
        scale, move = (v.view(*v.shape, *(1 for _ in x.shape[2:])) for v in self.told(told).chunk(2, dim=1))
        out: torch.Tensor = self.beside(x) + self.two(functional.silu(y * (1 + scale) + move))
        return out


class Velocity(nn.Module):
    """A small U-Net that says which way each pixel moves.

    Args:
        shape: Of the images.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        way = ladder(shape.size)
        self.shape, self.whole = (shape.channels, *shape.size), way.whole
        n, dims = len(way.strides), shape.dims
        widths = [min(WIDEST, 2**k) * shape.width for k in range(n + 1)]
        self.classes = nn.Embedding(shape.n_classes, TOLD)
        self.told = nn.Sequential(nn.Linear(TOLD, TOLD), nn.SiLU(), nn.Linear(TOLD, TOLD), nn.SiLU())
        self.first = convolution(dims, shape.channels, widths[0])
        strides = way.strides[::-1]
        self.falls = nn.ModuleList(Told(dims, w, w) for w in widths)
        self.downs = nn.ModuleList(down(a, b, s) for a, b, s in zip(widths, widths[1:], strides, strict=False))
        self.ups = nn.ModuleList(up(b, a, s) for a, b, s in zip(widths, widths[1:], strides, strict=False))
        self.middle = Told(dims, widths[-1], widths[-1])
        self.rises = nn.ModuleList(Told(dims, 2 * w, w) for w in widths[:-1])
        self.last = convolution(dims, widths[0], shape.channels)

    def forward(self, x: torch.Tensor, time: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the velocity, (B, C, ...).

        Args:
            x: (B, C, ...) between noise and image.
            time: (B,) 0 at the noise, 1 at the image.
            labels: (B,) int64.
        """
        told = self.told(waves(time, TOLD) + self.classes(labels))
        y = self.first(padded(x, self.whole))
        kept = []
        for number, fall in enumerate(self.falls):
            y = fall(y, told)
            if number < len(self.downs):
                kept.append(y)
                y = self.downs[number](y)
        y = self.middle(y, told)
        for number in reversed(range(len(kept))):
            y = self.rises[number](torch.cat([self.ups[number](y), kept[number]], dim=1), told)
        return cropped(self.last(functional.silu(y)), self.shape[1:])


@family
class RectifiedFlow:
    """See the head of the file."""

    name = "rflow"
    doi = "10.48550/arXiv.2209.03003"
    widths: Mapping[str, int] = {"tiny": 16, "small": 32, "medium": 64, "large": 96}
    learning = Learning(
        rate=(5e-4, 5e-5), beta1=0.9, beta2=(0.99, 0.99), batch=64, burn_in=1.0, ema_images=20_000, clip=1.0
    )
    least_images = 5000
    least_seen = 200_000

    def parts(self, shape: Shape) -> dict[str, nn.Module]:
        """Return the network of velocities."""
        return {GENERATOR: Velocity(shape)}

    def losses(
        self, parts: Mapping[str, nn.Module], step: Step, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the squared error of the velocity at a place between noise and image."""
        images, part = mirrored(step.images, step.transforms, rng), parts[GENERATOR]
        yield GENERATOR, straightness(lambda x, time: part(x, time, step.labels), images, rng)

    def sample(
        self, generator: nn.Module, labels: torch.Tensor, rng: torch.Generator, masks: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return what noise has moved to, in :data:`STEPS` steps of Heun's method."""
        shape: Sequence[int] = generator.shape  # type: ignore[assignment]
        noise = torch.randn((len(labels), *shape), generator=rng, device=labels.device)
        return carried(lambda x, time: generator(x, time, labels), noise)


def straightness(
    velocity: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], ends: torch.Tensor, rng: torch.Generator
) -> torch.Tensor:
    """Return the squared error of a velocity at a place on the straight way from noise to each end.

    Args:
        velocity: Of places (B, C, ...) at times (B,), 0 at the noise and 1 at the end.
        ends: (B, C, ...).
        rng: On their device.
    """
    noise = torch.randn(ends.shape, generator=rng, device=ends.device)
    time = torch.sigmoid(torch.randn(len(ends), generator=rng, device=ends.device))
    share = time.view(-1, *(1 for _ in ends.shape[1:]))
    moved = velocity((1 - share) * noise + share * ends, time)
    return (moved.float() - (ends - noise)).square().mean()


def carried(velocity: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], noise: torch.Tensor) -> torch.Tensor:
    """Return where a velocity carries noise, in :data:`STEPS` steps of Heun's method.

    Args:
        velocity: As for :func:`straightness`.
        noise: (n, C, ...).
    """
    x, times = noise, torch.linspace(0, 1, STEPS + 1, device=noise.device)
    for number in range(STEPS):
        slope = velocity(x, times[number].expand(len(x))).float()
        again = velocity(x + slope / STEPS, times[number + 1].expand(len(x))).float()
        x = x + (again + slope) / (2 * STEPS)
    return x


def grouped(channels: int) -> nn.Module:
    """Return a norm over groups of :data:`NORMED` channels, or of as many as divide them."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // NORMED)), channels)


def waves(time: torch.Tensor, width: int) -> torch.Tensor:
    """Return times as sines and cosines of many lengths, (B, width) (Vaswani 2017, doi 10.48550/arXiv.1706.03762).

    Args:
        time: (B,) 0 to 1.
        width: Even.
    """
    lengths = torch.exp(torch.arange(width // 2, device=time.device) * (-math.log(10_000.0) / (width // 2)))
    angle = 1000 * time[:, None] * lengths[None]
    return torch.cat([angle.sin(), angle.cos()], dim=1)

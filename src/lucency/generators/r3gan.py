"""A pair without tricks that settles: images are judged in pairs, and both gradients of the critic are held short.

Written from the paper: relativistic pairing loss, zero-centred penalties on real and on made images, no normalisation,
residual blocks with grouped convolutions whose last convolution starts at 0, resampling by interpolation, and a
warm-up of rate, penalty, average and of the chance of changed images.

Source:
    Huang 2024 (doi 10.48550/arXiv.2501.05441).
"""

import itertools
import math
from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn import functional

from lucency.generators import CRITIC, GENERATOR, Learning, Shape, Step, between, family
from lucency.generators.adversarial import Adversarial
from lucency.generators.differentiable import changed
from lucency.generators.layers import (
    SLOPE,
    Projection,
    Seed,
    Strength,
    convolution,
    cropped,
    ladder,
    latent_of,
    padded,
    resting,
    steepness,
)

#: Channels in a group, channels inside a block for one outside, and blocks at each size.
GROUP, EXPANSION, BLOCKS = 16, 2, 2

#: Channels double with every halving up to so many times those at full size.
WIDEST = 3

#: Penalty at 32 pixels, first and last, for images from -1 to 1; it grows with the number of pixels (there .05 and .005
#: at 32 pixels, 150 and 15 at 256). Ours have twice that standard deviation, and so a quarter of the squared slope.
PENALTY, PENALTY_SIDE, SCALE = (0.05, 0.005), 32, 4.0


class Residual(nn.Module):
    """One block: 1 × 1, grouped 3 × 3, 1 × 1, added to what came in; it begins as the identity.

    Args:
        dims: 2 or 3.
        channels: Outside; inside there are :data:`EXPANSION` times as many.
        depth: Blocks in the whole network, by which the start of the weights is scaled (Zhang 2019,
            doi 10.48550/arXiv.1901.09321).
    """

    def __init__(self, dims: int, channels: int, depth: int) -> None:
        super().__init__()
        inside = EXPANSION * channels
        self.one = convolution(dims, channels, inside, 1)
        self.two = convolution(dims, inside, inside, 3, groups=math.gcd(inside, max(1, inside // GROUP)))
        self.three = convolution(dims, inside, channels, 1)
        for layer in (self.one, self.two):
            _scaled(layer, math.sqrt(2 / (1 + SLOPE**2)) * depth**-0.25)
        nn.init.zeros_(self.three.weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.three.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return as much as came in."""
        y = functional.leaky_relu(self.one(x), SLOPE)
        y = functional.leaky_relu(self.two(y), SLOPE)
        out: torch.Tensor = x + self.three(y)
        return out


class PairedGenerator(nn.Module):
    """A learned coarse map, scaled by what the image is made of, then blocks and doublings."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        way = ladder(shape.size)
        widths = _widths(shape.width, len(way.strides))
        depth = BLOCKS * len(widths)
        self.size, self.dims, self.strides = shape.size, shape.dims, way.strides
        self.seed = Seed(shape.n_classes)
        self.basis = nn.Parameter(torch.randn(1, widths[0], *way.base))
        self.first = nn.Linear(self.seed.width, widths[0], bias=False)
        _scaled(self.first, 1.0)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Residual(shape.dims, w, depth) for _ in range(BLOCKS))) for w in widths
        )
        self.turns = nn.ModuleList(_turn(shape.dims, a, b) for a, b in itertools.pairwise(widths))
        self.last = convolution(shape.dims, widths[-1], shape.channels, 1)
        _scaled(self.last, 1.0)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return (B, C, ...)."""
        scale = self.first(self.seed(z, labels))
        x = self.basis * scale.view(*scale.shape, *(1 for _ in range(self.dims)))
        for number, block in enumerate(self.blocks):
            if number:
                # The narrower side first: convolving before doubling costs a quarter.
                x = self.turns[number - 1](x)
                mode = "trilinear" if self.dims == 3 else "bilinear"
                factors = tuple(float(s) for s in self.strides[number - 1])
                x = functional.interpolate(x, scale_factor=factors, mode=mode, align_corners=False)
            x = block(x)
        return cropped(self.last(x), self.size)


class PairedCritic(nn.Module):
    """The generator turned round: blocks and halvings, then one number of each channel, judged for the class."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        way = ladder(shape.size)
        widths = _widths(shape.width, len(way.strides))[::-1]
        depth = BLOCKS * len(widths)
        self.whole, self.strides = way.whole, way.strides[::-1]
        self.strength = Strength()
        self.first = convolution(shape.dims, shape.channels, widths[0], 1)
        _scaled(self.first, 1.0)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Residual(shape.dims, w, depth) for _ in range(BLOCKS))) for w in widths
        )
        self.turns = nn.ModuleList(_turn(shape.dims, a, b) for a, b in itertools.pairwise(widths))
        kind = nn.Conv3d if shape.dims == 3 else nn.Conv2d
        # Each channel by itself over the whole of the coarsest map.
        self.pooled = kind(widths[-1], widths[-1], way.base, groups=widths[-1], bias=False)  # type: ignore[arg-type]
        self.said = Projection(widths[-1], shape.n_classes)

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return (B,)."""
        x = self.first(padded(images, self.whole))
        for number, block in enumerate(self.blocks):
            if number:
                stride = self.strides[number - 1]
                halved = functional.avg_pool3d(x, stride) if len(stride) == 3 else functional.avg_pool2d(x, stride)
                x = self.turns[number - 1](halved)
            x = block(x)
        said: torch.Tensor = self.said(self.pooled(x).flatten(1), labels).float()
        return said


@family
class R3GAN(Adversarial):
    """See the head of the file."""

    name = "r3gan"
    doi = "10.48550/arXiv.2501.05441"
    widths: Mapping[str, int] = {"tiny": 16, "small": 32, "medium": 64, "large": 96}
    learning = Learning(rate=(2e-4, 5e-5), beta1=0.0, beta2=(0.9, 0.99), batch=32, burn_in=0.8, ema_images=20_000)
    least_seen = 100_000

    def parts(self, shape: Shape) -> dict[str, nn.Module]:
        """Return generator and critic."""
        return {GENERATOR: PairedGenerator(shape), CRITIC: PairedCritic(shape)}

    def losses(
        self, parts: Mapping[str, nn.Module], step: Step, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the critic's loss with both penalties, then the generator's."""
        critic, generator = parts[CRITIC], parts[GENERATOR]
        chance = self.chance(critic, step)
        if not step.transforms.adaptive:
            chance = between((0.0, step.transforms.chance), self.learning.burn_in, step.progress)
        pixels = math.prod(step.images.shape[2:]) / PENALTY_SIDE ** (step.images.ndim - 2)
        weight = SCALE * pixels * between(PENALTY, self.learning.burn_in, step.progress)
        asked = step.asked(len(step.images), rng)
        made = generator(latent_of(len(asked), self.latent, rng), asked)
        real, real_slope = steepness(critic, changed(step.images, step.transforms, rng, chance), step.labels)
        false, false_slope = steepness(critic, changed(made.detach(), step.transforms, rng, chance), asked)
        self.follow(critic, step, real, false)
        paired = functional.softplus(false - real).mean()
        yield CRITIC, paired + weight / 2 * (real_slope + false_slope).mean()
        with resting(critic):
            seen = torch.cat([changed(x, step.transforms, rng, chance) for x in (step.images, made)])
            real, false = critic(seen, torch.cat([step.labels, asked])).chunk(2)
            yield GENERATOR, functional.softplus(real - false).mean()


def _widths(width: int, n_steps: int) -> list[int]:
    """Return the channels at each size, coarse to fine."""
    return [min(WIDEST, 2 ** (n_steps - k)) * width for k in range(n_steps + 1)]


def _turn(dims: int, inputs: int, outputs: int) -> nn.Module:
    """Return what changes the number of channels between two sizes, nothing where it stays."""
    if inputs == outputs:
        return nn.Identity()
    layer = convolution(dims, inputs, outputs, 1)
    _scaled(layer, 1.0)
    return layer


def _scaled(layer: nn.Module, gain: float) -> None:
    """Draw weights so that what comes out varies ``gain`` times as much as what goes in; no bias at first."""
    weight, bias = layer.weight, getattr(layer, "bias", None)
    if isinstance(weight, torch.Tensor):
        fan_in = weight[0].numel()
        nn.init.normal_(weight, 0.0, gain / math.sqrt(fan_in))
    if isinstance(bias, torch.Tensor):
        nn.init.zeros_(bias)

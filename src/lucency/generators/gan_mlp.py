"""The fully connected pair of the classic tutorials: a baseline to teach with, for small images."""

import itertools
import math
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from lucency.generators import CRITIC, GENERATOR, Learning, Shape, Step, family
from lucency.generators.adversarial import Adversarial, non_saturating
from lucency.generators.layers import SLOPE, Projection, Seed, Strength

#: Share of the critic's numbers that are dropped, so that it does not run ahead; as tutorials have it.
DROPPED = 0.3


class FlatGenerator(nn.Module):
    """Four linear layers, each twice as wide as the one before, and batch normalisation between them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = (shape.channels, *shape.size)
        self.seed = Seed(shape.n_classes)
        widths = [self.seed.width, shape.width, 2 * shape.width, 4 * shape.width]
        layers: list[nn.Module] = []
        for number, (a, b) in enumerate(itertools.pairwise(widths)):
            layers += [nn.Linear(a, b), *([nn.BatchNorm1d(b)] if number else []), nn.LeakyReLU(SLOPE)]
        self.body = nn.Sequential(*layers, nn.Linear(widths[-1], math.prod(self.shape)))

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return (B, C, ...)."""
        made: torch.Tensor = self.body(self.seed(z, labels)).unflatten(1, self.shape)
        return made


class FlatCritic(nn.Module):
    """Three linear layers, each half as wide as the one before."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = [shape.channels * math.prod(shape.size), 4 * shape.width, 2 * shape.width, shape.width]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.LeakyReLU(SLOPE), nn.Dropout(DROPPED)]
        self.body = nn.Sequential(*layers)
        self.strength = Strength()
        self.said = Projection(widths[-1], shape.n_classes)

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return (B,)."""
        said: torch.Tensor = self.said(self.body(images.flatten(1)), labels).float()
        return said


@family
class FlatGAN(Adversarial):
    """Source: Goodfellow 2014 (doi 10.48550/arXiv.1406.2661)."""

    name = "gan-mlp"
    doi = "10.48550/arXiv.1406.2661"
    widths: Mapping[str, int] = {"tiny": 64, "small": 128, "medium": 256, "large": 512}
    learning = Learning(rate=(2e-4, 6e-5), beta1=0.5, beta2=(0.999, 0.999), batch=64, burn_in=1.0, ema_images=10_000)
    least_seen = 100_000

    def parts(self, shape: Shape) -> dict[str, nn.Module]:
        """Return generator and critic."""
        return {GENERATOR: FlatGenerator(shape), CRITIC: FlatCritic(shape)}

    def losses(
        self, parts: Mapping[str, nn.Module], step: Step, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the critic's loss, then the generator's."""
        yield from non_saturating(self, parts, step, rng)

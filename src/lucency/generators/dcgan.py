"""The deep convolutional pair: batch norms, a loss whose gradient does not fade, and an eye for sameness."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from lucency.generators import CRITIC, GENERATOR, Learning, Shape, Step, family
from lucency.generators.adversarial import Adversarial, ConvolutionalCritic, ConvolutionalGenerator, non_saturating


@family
class DCGAN(Adversarial):
    """Source: Radford 2016 (doi 10.48550/arXiv.1511.06434), with classes told to both and changed images."""

    name = "dcgan"
    doi = "10.48550/arXiv.1511.06434"
    widths: Mapping[str, int] = {"tiny": 16, "small": 32, "medium": 64, "large": 96}
    learning = Learning(rate=(2e-4, 6e-5), beta1=0.5, beta2=(0.999, 0.999), batch=32, burn_in=1.0, ema_images=10_000)
    least_seen = 60_000

    def parts(self, shape: Shape) -> dict[str, nn.Module]:
        """Return generator and critic."""
        critic = ConvolutionalCritic(shape, normed=True, deviation=True)
        return {GENERATOR: ConvolutionalGenerator(shape), CRITIC: critic}

    def losses(
        self, parts: Mapping[str, nn.Module], step: Step, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the critic's loss, then the generator's."""
        yield from non_saturating(self, parts, step, rng)

"""The same pair under the Wasserstein distance: a critic whose slope is held at 1 takes several steps to one."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from lucency.generators import CRITIC, GENERATOR, Learning, Shape, Step, family
from lucency.generators.adversarial import Adversarial, ConvolutionalCritic, ConvolutionalGenerator
from lucency.generators.differentiable import changed
from lucency.generators.layers import TINY, latent_of, resting, steepness

#: Weight of the penalty (Gulrajani 2017, algorithm 1). There the critic makes five steps to one of the generator; three
#: leave more of these for the generator in a fixed time.
WEIGHT, CRITIC_STEPS = 10.0, 3


@family
class WassersteinGP(Adversarial):
    """Source: Gulrajani 2017 (doi 10.48550/arXiv.1704.00028)."""

    name = "wgan-gp"
    doi = "10.48550/arXiv.1704.00028"
    widths: Mapping[str, int] = {"tiny": 16, "small": 32, "medium": 64, "large": 96}
    learning = Learning(
        rate=(2e-4, 2e-5), beta1=0.0, beta2=(0.9, 0.9), batch=32 * CRITIC_STEPS, burn_in=1.0, ema_images=10_000
    )
    least_seen = 120_000

    def parts(self, shape: Shape) -> dict[str, nn.Module]:
        """Return generator and critic, the latter without norms over the batch: slopes are of single images."""
        critic = ConvolutionalCritic(shape, normed=False, deviation=False)
        return {GENERATOR: ConvolutionalGenerator(shape), CRITIC: critic}

    def losses(
        self, parts: Mapping[str, nn.Module], step: Step, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the critic's loss on each part of the batch, then the generator's."""
        critic, generator = parts[CRITIC], parts[GENERATOR]
        chance = self.chance(critic, step)
        pieces = min(CRITIC_STEPS, len(step.images))
        for images, labels in zip(step.images.chunk(pieces), step.labels.chunk(pieces), strict=True):
            # Made of the classes that are there: between a real and a made image of one class the slope is taken.
            with torch.no_grad():
                made = generator(latent_of(len(labels), self.latent, rng), labels)
            real, false = (changed(x, step.transforms, rng, chance) for x in (images, made))
            share = torch.rand(len(real), generator=rng, device=real.device).view(-1, *(1 for _ in real.shape[1:]))
            _, slope = steepness(critic, real + share * (false - real), labels)
            penalty = ((slope + TINY).sqrt() - 1).square().mean()
            said, denied = critic(real, labels), critic(false, labels)
            self.follow(critic, step, said, denied)
            yield CRITIC, denied.mean() - said.mean() + WEIGHT * penalty
        asked = step.asked(len(step.images) // pieces, rng)
        made = generator(latent_of(len(asked), self.latent, rng), asked)
        with resting(critic):
            yield GENERATOR, -critic(changed(made, step.transforms, rng, chance), asked).mean()

"""A pair whose critic learns from real images under differential privacy: no patient moves it by more than noise hides.

The generator sees the images through the critic alone, so that what holds for the critic holds for it and for all that
it makes. Each real image's gradient is cut to a length, the sum gets normal noise, and what is divided by is the
expected number of images, not the number that happened to be drawn. Nothing else that a step does depends on a real
image: norms are within one image, sameness within a batch is not looked for, and the loss that is told is that of made
images.

Source:
    Abadi 2016 (doi 10.1145/2976749.2978318), algorithm 1; for the critic of a pair: Xie 2018 (doi
    10.48550/arXiv.1802.06739).
"""

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from lucency.errors import UsageError
from lucency.generators import CRITIC, GENERATOR, Learning, Shape, Step, family
from lucency.generators.adversarial import Adversarial, ConvolutionalCritic, ConvolutionalGenerator
from lucency.generators.differentiable import changed
from lucency.generators.layers import TINY, bare, latent_of, resting

#: Images whose gradients are held at once.
AT_ONCE = 8

#: Channels that a norm takes together at least.
NORMED = 8


@family
class PrivateGAN(Adversarial):
    """See the head of the file."""

    name = "dp-gan"
    doi = "10.1145/2976749.2978318"
    widths: Mapping[str, int] = {"tiny": 16, "small": 32, "medium": 64, "large": 96}
    learning = Learning(rate=(2e-4, 6e-5), beta1=0.5, beta2=(0.999, 0.999), batch=64, burn_in=1.0, ema_images=10_000)
    least_seen = 60_000
    private = True

    def parts(self, shape: Shape) -> dict[str, nn.Module]:
        """Return generator and critic, the latter with norms within each image."""
        critic = ConvolutionalCritic(shape, normed=True, deviation=False)
        critic.body = nn.Sequential(*(_within(layer) for layer in critic.body))
        return {GENERATOR: ConvolutionalGenerator(shape), CRITIC: critic}

    def losses(
        self, parts: Mapping[str, nn.Module], step: Step, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the critic's loss, whose gradient is private, then the generator's.

        Raises:
            UsageError: The step says nothing of noise.
        """
        privacy = step.privacy
        if privacy is None:
            raise UsageError("A step without noise", expected="what the gradients of real images are given")
        critic, generator, chance = parts[CRITIC], parts[GENERATOR], step.transforms.chance
        labels = step.asked(privacy.rows, rng)
        with torch.no_grad():
            made = generator(latent_of(len(labels), self.latent, rng), labels).float()
            made = changed(made, step.transforms, rng, chance)
            real = changed(step.images, step.transforms, privacy.rng, chance)
        ours = cut(critic, real, step.labels, lambda said: functional.softplus(-said), privacy.clip)
        theirs = cut(critic, made, labels, functional.softplus, privacy.clip)
        slopes = {}
        for name, slope in ours.items():
            noise = torch.randn(slope.shape, generator=privacy.rng, device=slope.device)
            slopes[name] = (slope + privacy.clip * privacy.noise * noise + theirs[name]) / privacy.rows
        with torch.no_grad():
            told = functional.softplus(critic(made, labels)).mean()
        yield CRITIC, sloped(critic, slopes, told)
        labels = step.asked(privacy.rows, rng)
        made = generator(latent_of(len(labels), self.latent, rng), labels)
        with resting(critic):
            again = critic(changed(made, step.transforms, rng, chance), labels)
            yield GENERATOR, functional.softplus(-again).mean()


def cut(
    critic: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    loss: Callable[[torch.Tensor], torch.Tensor],
    clip: float,
) -> dict[str, torch.Tensor]:
    """Return the sum of the images' own gradients by the critic's weights, each cut to a length, by weight, in fp32.

    Args:
        critic: As the loop holds it; what it says of an image does not depend on the others.
        images: (B, C, ...), B may be 0.
        labels: (B,) int64.
        loss: Of what the critic says of one image.
        clip: Longest gradient of an image, over all weights.
    """
    net = bare(critic)
    weights = {k: v.detach() for k, v in net.named_parameters()}
    buffers = dict(net.named_buffers())

    def one(weights: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = functional_call(net, (weights, buffers), (image[None], label[None]))
        return loss(said[0])

    each = vmap(grad(one), in_dims=(None, 0, 0))
    total = {k: torch.zeros_like(v) for k, v in weights.items()}
    with torch.autocast(images.device.type, enabled=False):
        for some, told in zip(torch.split(images.float(), AT_ONCE), torch.split(labels, AT_ONCE), strict=True):
            if not len(some):
                continue
            slopes = each(weights, some, told)
            length = torch.stack([s.square().flatten(1).sum(dim=1) for s in slopes.values()]).sum(dim=0).sqrt()
            share = (clip / length.clamp(min=TINY)).clamp(max=1.0)
            for name, slope in slopes.items():
                total[name] += torch.einsum("b,b...->...", share, slope)
    return total


def sloped(part: nn.Module, slopes: Mapping[str, torch.Tensor], value: torch.Tensor) -> torch.Tensor:
    """Return a loss of this value whose gradient by the weights of a part is the given one.

    Args:
        part: As the loop holds it.
        slopes: Of each weight, by name.
        value: () float.
    """
    line = torch.stack([(weight * slopes[name]).sum() for name, weight in bare(part).named_parameters()]).sum()
    return line - line.detach() + value.detach()


def _within(layer: nn.Module) -> nn.Module:
    """Return a norm within each image in the place of one over the batch; other layers as they are."""
    if not isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
        return layer
    n = layer.num_features
    return nn.GroupNorm(math.gcd(n, max(1, n // NORMED)), n)

"""What families with a critic share: the convolutional pair, how images are drawn, and the loss that does not fade."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn import functional

from lucency.generators import CRITIC, GENERATOR, Shape, Step
from lucency.generators.differentiable import changed, followed
from lucency.generators.layers import (
    LATENT,
    SLOPE,
    START,
    ClassNorm,
    Deviation,
    Projection,
    Seed,
    Strength,
    bare,
    batch_norm,
    convolution,
    cropped,
    down,
    ladder,
    latent_of,
    padded,
    resting,
    up,
)

#: Channels of the coarsest map at most, as a multiple of those at full size.
WIDEST = 8


class ConvolutionalGenerator(nn.Module):
    """Transposed convolutions from a coarse map to the image; no bound on what comes out.

    Args:
        shape: What is generated.
        beside: The class is told beside the random numbers, in front of all norms, and not behind each. Where random
            numbers are codes of images, which hold the class as well, one that is told late is never listened to.
    """

    def __init__(self, shape: Shape, *, beside: bool = False) -> None:
        super().__init__()
        way = ladder(shape.size)
        self.size, self.base = shape.size, way.base
        n = len(way.strides)
        widths = [min(WIDEST, 2 ** (n - k)) * shape.width for k in range(n + 1)]
        self.seed = Seed(shape.n_classes) if beside else None
        self.first = nn.Linear(LATENT if self.seed is None else self.seed.width, widths[0] * math.prod(way.base))
        self.ups = nn.ModuleList(up(a, b, s) for a, b, s in zip(widths, widths[1:], way.strides, strict=False))
        self.norms = nn.ModuleList(ClassNorm(shape.dims, w, 1 if beside else shape.n_classes) for w in widths)
        self.last = convolution(shape.dims, widths[-1], shape.channels)
        self.apply(started)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return (B, C, ...) from (B, :data:`LATENT`) and (B,)."""
        if self.seed is not None:
            z, labels = self.seed(z, labels), torch.zeros_like(labels)
        x = functional.relu(self.norms[0](self.first(z).unflatten(1, (-1, *self.base)), labels))
        for larger, norm in zip(self.ups, self.norms[1:], strict=True):
            x = functional.relu(norm(larger(x), labels))
        return cropped(self.last(x), self.size)


class ConvolutionalCritic(nn.Module):
    """Strided convolutions from the image to a number that counts for the class asked of.

    Args:
        shape: Of the images.
        normed: Batch normalisation, but for the first layer (Radford 2016); a penalty on single images forbids it.
        deviation: It also sees how much the images of a batch differ.
    """

    def __init__(self, shape: Shape, *, normed: bool, deviation: bool) -> None:
        super().__init__()
        way = ladder(shape.size)
        self.whole = way.whole
        n = len(way.strides)
        widths = [min(WIDEST, 2**k) * shape.width for k in range(n + 1)]
        self.strength = Strength()
        layers: list[nn.Module] = [convolution(shape.dims, shape.channels, widths[0]), nn.LeakyReLU(SLOPE)]
        for a, b, stride in zip(widths, widths[1:], reversed(way.strides), strict=False):
            layers += [down(a, b, stride), *([batch_norm(shape.dims, b)] if normed else []), nn.LeakyReLU(SLOPE)]
        self.body = nn.Sequential(*layers)
        self.deviation = Deviation() if deviation else None
        self.inputs = (widths[-1] + deviation) * math.prod(way.base)
        self.head = nn.Sequential(nn.Linear(self.inputs, widths[-1]), nn.LeakyReLU(SLOPE))
        self.said = Projection(widths[-1], shape.n_classes)
        self.apply(started if normed else _level)

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return (B,) from (B, C, ...) and (B,)."""
        x = self.body(padded(images, self.whole))
        if self.deviation is not None:
            x = self.deviation(x, labels)
        said: torch.Tensor = self.said(self.head(x.flatten(1)), labels).float()
        return said


class Adversarial:
    """A generator and a critic, and the steps that all such pairs make."""

    #: Random numbers that an image is made of.
    latent = LATENT

    def sample(
        self, generator: nn.Module, labels: torch.Tensor, rng: torch.Generator, masks: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return images of these classes."""
        made: torch.Tensor = generator(latent_of(len(labels), self.latent, rng), labels)
        return made.float()

    def asked(self, step: Step, rng: torch.Generator) -> torch.Tensor:
        """Return (B,) class numbers that the generator's own step makes images of."""
        return step.asked(len(step.images), rng)

    def made(self, generator: nn.Module, labels: torch.Tensor, step: Step, rng: torch.Generator) -> torch.Tensor:
        """Return as many images of these classes as a critic is shown in a step, (B, C, ...)."""
        made: torch.Tensor = generator(latent_of(len(labels), self.latent, rng), labels)
        return made

    def score(self, parts: Mapping[str, nn.Module], images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor | None:
        """Return what the critic says."""
        said: torch.Tensor = bare(parts[CRITIC])(images, labels)
        return said

    def chance(self, critic: nn.Module, step: Step) -> "float | torch.Tensor":
        """Return how likely each change is that the critic sees images through."""
        if step.transforms.adaptive:
            return strength_of(critic).chance
        return step.transforms.chance

    def follow(self, critic: nn.Module, step: Step, real: torch.Tensor, made: torch.Tensor) -> None:
        """Let the chance follow what the critic has said of real and of made images, where it adapts."""
        if step.transforms.adaptive:
            strength = strength_of(critic)
            moved = followed(strength.chance, real.detach(), made.detach(), step.transforms.chance)
            strength.chance.copy_(moved)


def strength_of(critic: nn.Module) -> Strength:
    """Return where a critic keeps its chance."""
    found = bare(critic).get_submodule("strength")
    if not isinstance(found, Strength):
        raise TypeError("A critic without its strength")
    return found


def non_saturating(
    family: Adversarial, parts: Mapping[str, nn.Module], step: Step, rng: torch.Generator
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the critic's loss and then the generator's, whose gradient does not fade while the critic is ahead.

    The critic compares real images with made ones of the same classes, for its norms are over the batch and would
    otherwise tell the two apart by their mix. The generator learns every class as often.

    Source:
        Goodfellow 2014 (doi 10.48550/arXiv.1406.2661), section 3.
    """
    critic, generator = parts[CRITIC], parts[GENERATOR]
    chance = family.chance(critic, step)
    with torch.no_grad():
        made = family.made(generator, step.labels, step, rng)
    # Apart, so that norms over a batch see what is real and what is made each for itself.
    real = critic(changed(step.images, step.transforms, rng, chance), step.labels)
    false = critic(changed(made, step.transforms, rng, chance), step.labels)
    family.follow(critic, step, real, false)
    yield CRITIC, functional.softplus(-real).mean() + functional.softplus(false).mean()
    asked = family.asked(step, rng)
    made = family.made(generator, asked, step, rng)
    with resting(critic):
        again = critic(changed(made, step.transforms, rng, chance), asked)
        yield GENERATOR, functional.softplus(-again).mean()


def _level(module: nn.Module) -> None:
    """Draw weights so that what passes neither fades nor grows where no norm sees to it (He 2015, 1502.01852)."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, SLOPE)


def started(module: nn.Module) -> None:
    """Draw the weights of a convolution or a norm as Radford 2016 has them."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.normal_(module.weight, 0.0, START)
    elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) and module.affine:
        nn.init.normal_(module.weight, 1.0, START)

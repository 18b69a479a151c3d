"""Images for masks: at every size the mask scales and shifts each pixel of what a norm has made level.

The critic is told the mask beside the image. No loss pulls an image towards the patient whose mask it has, as pairs of
image and mask would allow: the best answer to such a loss is a copy.

Source:
    Park 2019 (doi 10.48550/arXiv.1903.07291).
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional

from lucency.errors import UsageError
from lucency.generators import CRITIC, GENERATOR, Learning, Shape, Step, family
from lucency.generators.adversarial import WIDEST, Adversarial, ConvolutionalCritic, non_saturating, started
from lucency.generators.differentiable import mirrored
from lucency.generators.layers import SLOPE, Seed, convolution, cropped, ladder, latent_of, padded, up


class Modulated(nn.Module):
    """Batch normalisation whose scale and shift are read off the mask at each pixel.

    Args:
        dims: 2 or 3.
        channels: That are normalised.
        masks: Channels of the mask.
        inside: Channels between the mask and what it says.
    """

    def __init__(self, dims: int, channels: int, masks: int, inside: int) -> None:
        super().__init__()
        kind = nn.BatchNorm3d if dims == 3 else nn.BatchNorm2d
        self.norm = kind(channels, affine=False)
        self.read = convolution(dims, masks, inside)
        self.told = convolution(dims, inside, 2 * channels)

    def forward(self, x: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return as much as came in, (B, C, ...); ``masks`` are (B, M, ...) of the same size."""
        scale, move = self.told(functional.relu(self.read(masks))).chunk(2, dim=1)
        out: torch.Tensor = self.norm(x) * (1 + scale) + move
        return out


class Block(nn.Module):
    """A residual block whose norms are told the mask.

    Args:
        dims: 2 or 3.
        channels: In and out.
        masks: Channels of the mask.
        inside: See :class:`Modulated`.
    """

    def __init__(self, dims: int, channels: int, masks: int, inside: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(Modulated(dims, channels, masks, inside) for _ in range(2))
        self.layers = nn.ModuleList(convolution(dims, channels, channels) for _ in range(2))

    def forward(self, x: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return (B, C, ...)."""
        y = x
        for norm, layer in zip(self.norms, self.layers, strict=True):
            y = layer(functional.leaky_relu(norm(y, masks), SLOPE))
        return x + y


class MaskedGenerator(nn.Module):
    """From a coarse map to the image, a block that is told the mask at each size.

    Args:
        shape: What is generated; its masks are what it is generated for.

    Raises:
        UsageError: A shape without masks.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        if not shape.masks:
            raise UsageError("A generator of images for masks, and no mask", expected="one channel of masks or more")
        way = ladder(shape.size)
        n, dims = len(way.strides), shape.dims
        widths = [min(WIDEST, 2 ** (n - k)) * shape.width for k in range(n + 1)]
        self.size, self.base, self.whole = shape.size, way.base, way.whole
        # Size at each step: masks are brought to it by means, so that thin things do not vanish.
        self.sides = [
            tuple(b * math.prod(s[a] for s in way.strides[:k]) for a, b in enumerate(way.base)) for k in range(n + 1)
        ]
        self.seed = Seed(shape.n_classes)
        self.first = nn.Linear(self.seed.width, widths[0] * math.prod(way.base))
        self.ups = nn.ModuleList(up(a, b, s) for (a, b), s in zip(itertools.pairwise(widths), way.strides, strict=True))
        self.blocks = nn.ModuleList(Block(dims, w, shape.masks, shape.width) for w in widths)
        self.last = convolution(dims, widths[-1], shape.channels - shape.masks)
        self.apply(started)

    def forward(self, z: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return images without their masks, (B, C - M, ...).

        Args:
            z: (B, :data:`~lucency.generators.layers.LATENT`) normal numbers.
            labels: (B,) int64.
            masks: (B, M, ...) -1 and 1.
        """
        whole = padded(masks, self.whole)
        x = self.first(self.seed(z, labels)).unflatten(1, (-1, *self.base))
        for number, block in enumerate(self.blocks):
            if number:
                x = self.ups[number - 1](x)
            x = block(x, functional.interpolate(whole, size=self.sides[number], mode="area"))
        return cropped(self.last(functional.leaky_relu(x, SLOPE)), self.size)


@family
class SPADE(Adversarial):
    """See the head of the file."""

    name = "spade"
    doi = "10.48550/arXiv.1903.07291"
    widths: Mapping[str, int] = {"tiny": 16, "small": 32, "medium": 64, "large": 96}
    learning = Learning(rate=(2e-4, 6e-5), beta1=0.5, beta2=(0.999, 0.999), batch=32, burn_in=1.0, ema_images=10_000)
    least_seen = 40_000
    needs_masks = True

    def parts(self, shape: Shape) -> dict[str, nn.Module]:
        """Return generator and critic."""
        critic = ConvolutionalCritic(shape, normed=True, deviation=True)
        return {GENERATOR: MaskedGenerator(shape), CRITIC: critic}

    def losses(
        self, parts: Mapping[str, nn.Module], step: Step, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the critic's loss, then the generator's; both see the masks of the step's real images."""
        # Mirrored before anything is made: the generator must see mirrored masks, not only the critic.
        images = mirrored(step.images, step.transforms, rng)
        yield from non_saturating(
            self, parts, replace(step, images=images, transforms=replace(step.transforms, flips=())), rng
        )

    def asked(self, step: Step, rng: torch.Generator) -> torch.Tensor:
        """Return the classes of the real images: a mask is of its image's class."""
        return step.labels

    def made(self, generator: nn.Module, labels: torch.Tensor, step: Step, rng: torch.Generator) -> torch.Tensor:
        """Return images for the masks of the step, with these."""
        return _for_masks(generator, labels, step.images[:, -step.transforms.masks :], rng)

    def sample(
        self, generator: nn.Module, labels: torch.Tensor, rng: torch.Generator, masks: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return images for these masks, with them.

        Raises:
            UsageError: No masks.
        """
        if masks is None:
            raise UsageError("Generator 'spade' without masks", expected="a mask for each image")
        return _for_masks(generator, labels, masks, rng).float()


def _for_masks(generator: nn.Module, labels: torch.Tensor, masks: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Return (n, C, ...): images for masks, and these as the last channels."""
    made = generator(latent_of(len(labels), SPADE.latent, rng), labels, masks)
    return torch.cat([made, masks.to(made.dtype)], dim=1)

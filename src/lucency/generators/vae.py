"""An autoencoder whose code is held close to normal numbers: blurred, but far from copies; told the class.

Source:
    Kingma 2014 (doi 10.48550/arXiv.1312.6114); weight of the code: Higgins 2017, ICLR (beta-VAE); the noise of the
    image is not chosen but follows from the error: Rybkin 2021 (doi 10.48550/arXiv.2006.13202).
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from lucency.generators import GENERATOR, Learning, Shape, Step, family
from lucency.generators.adversarial import ConvolutionalCritic, ConvolutionalGenerator
from lucency.generators.differentiable import mirrored
from lucency.generators.layers import LATENT, SLOPE, TINY, latent_of, padded

#: Weight of the code's distance from normal numbers against the error of the image.
BETA = 1.0


class Autoencoder(nn.Module):
    """An encoder like a critic, a decoder like a generator.

    Args:
        shape: Of the images.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        like = ConvolutionalCritic(shape, normed=True, deviation=False)
        self.whole, self.body = like.whole, like.body
        self.classes = nn.Embedding(shape.n_classes, LATENT)
        self.head = nn.Sequential(nn.Linear(like.inputs + LATENT, 4 * LATENT), nn.LeakyReLU(SLOPE))
        self.code = nn.Linear(4 * LATENT, 2 * LATENT)
        self.decoder = ConvolutionalGenerator(shape, beside=True)

    def forward(
        self, images: torch.Tensor, labels: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the image given back, (B, C, ...), and mean and log variance of its code, (B, latent) each.

        Args:
            images: (B, C, ...).
            labels: (B,) int64.
            noise: (B, latent) standard normal numbers.
        """
        x = self.body(padded(images, self.whole)).flatten(1)
        mean, spread = self.code(self.head(torch.cat([x, self.classes(labels)], dim=1))).float().chunk(2, dim=1)
        # Beyond these the exponential would be 0 or without end.
        spread = spread.clamp(-12.0, 6.0)
        return self.decoder(mean + noise * (spread / 2).exp(), labels), mean, spread


@family
class VAE:
    """See the head of the file."""

    name = "vae"
    doi = "10.48550/arXiv.1312.6114"
    widths: Mapping[str, int] = {"tiny": 16, "small": 32, "medium": 64, "large": 96}
    learning = Learning(
        rate=(1e-3, 1e-4), beta1=0.9, beta2=(0.999, 0.999), batch=64, burn_in=1.0, ema_images=10_000, clip=5.0
    )

    def parts(self, shape: Shape) -> dict[str, nn.Module]:
        """Return the autoencoder."""
        return {GENERATOR: Autoencoder(shape)}

    def losses(
        self, parts: Mapping[str, nn.Module], step: Step, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the bound on the likelihood, for one pixel."""
        images = mirrored(step.images, step.transforms, rng)
        back, mean, spread = parts[GENERATOR](images, step.labels, latent_of(len(images), LATENT, rng))
        error = (back.float() - images).square().mean()
        code = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum(dim=1).mean()
        yield GENERATOR, 0.5 * (error + TINY).log() + BETA * code / math.prod(images.shape[1:])

    def sample(
        self, generator: nn.Module, labels: torch.Tensor, rng: torch.Generator, masks: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return what the decoder makes of normal numbers."""
        decoder = generator.get_submodule("decoder")
        made: torch.Tensor = decoder(latent_of(len(labels), LATENT, rng), labels)
        return made.float()

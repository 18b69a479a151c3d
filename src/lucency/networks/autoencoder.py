"""The way back from a body's coarsest map to the image: with a decoder any body becomes an autoencoder."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from lucency.networks import Body
from lucency.networks.layers import convolution, start_weights


class Decoder(nn.Module):
    """Level by level up to the image, without connections beside the coarsest map: all must pass through it.

    Args:
        dims: 2 or 3.
        body: Gives the widths and strides of the levels.
        outputs: Channels of the image.

    Source:
        Hinton 2006 (doi 10.1126/science.1127647), convolutional.
    """

    def __init__(self, dims: int, body: Body, outputs: int) -> None:
        super().__init__()
        norm = nn.BatchNorm3d if dims == 3 else nn.BatchNorm2d
        self.mode = "trilinear" if dims == 3 else "bilinear"
        self.strides = body.strides
        self.levels = nn.ModuleList()
        for wide, narrow in zip(body.channels[:0:-1], body.channels[-2::-1], strict=True):
            step = convolution(dims, wide, narrow, (3,) * dims, (1,) * dims)
            self.levels.append(nn.Sequential(step, norm(narrow), nn.ReLU(inplace=True)))
        self.last = convolution(dims, body.channels[0], outputs, (3,) * dims, (1,) * dims)
        start_weights(self)

    def forward(self, coarse: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """Return an image, (B, outputs, *size), from the coarsest map."""
        x = coarse
        for level, stride in zip(self.levels, self.strides[-2::-1], strict=True):
            finer = [-(-n // s) for n, s in zip(size, stride, strict=True)]
            x = level(functional.interpolate(x, size=finer, mode=self.mode, align_corners=False))
        out: torch.Tensor = self.last(x)
        return out

"""The plain convolutional network: convolution, normalisation, rectifier, and a stride now and then."""

import torch
from torch import nn

from lucency.networks import Body, network
from lucency.networks.layers import convolution, cumulative, parse_strides, parse_widths, start_weights


class CNN(Body):
    """Levels of two convolutions; one map a level."""

    def __init__(
        self, channels: int, dims: int, widths: tuple[int, ...], strides: list[tuple[int, ...]], dropout: float
    ) -> None:
        super().__init__()
        self.channels = widths
        self.strides = cumulative(strides, dims)
        norm = nn.BatchNorm3d if dims == 3 else nn.BatchNorm2d
        self.levels = nn.ModuleList()
        before = channels
        for width, step in zip(widths, [(1,) * dims, *strides], strict=True):
            rows: list[nn.Module] = []
            for stride in (step, (1,) * dims):
                rows += [convolution(dims, before, width, (3,) * dims, stride), norm(width), nn.ReLU(inplace=True)]
                before = width
            self.levels.append(nn.Sequential(*rows, nn.Dropout(dropout)))
        start_weights(self)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one map a level."""
        maps = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        return maps


@network("cnn", doi="10.48550/arXiv.1409.1556")
def cnn(
    channels: int,
    dims: int,
    *,
    widths: tuple[float, ...] = (16, 32, 64),
    strides: str = "",
    dropout: float = 0.1,
) -> Body:
    """Return a plain network of 3 × 3 convolutions.

    Args:
        channels: Input channels.
        dims: 2 or 3.
        widths: Channels of each level.
        strides: Downsampling between the levels; empty means 2 everywhere.
        dropout: After each level.

    Source:
        Simonyan and Zisserman 2015 (doi 10.48550/arXiv.1409.1556), with batch normalisation.
    """
    whole = parse_widths(widths)
    return CNN(channels, dims, whole, parse_strides(strides, dims, len(whole)), dropout)

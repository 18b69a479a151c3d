"""U-Net, with a plain or a residual encoder, for images and volumes, anisotropic ones included."""

import torch
from torch import nn

from lucency.networks import Body, network
from lucency.networks.layers import (
    SLOPE,
    Bridge,
    convolution,
    cumulative,
    instance_norm,
    parse_strides,
    parse_widths,
    start_weights,
)


class PlainBlock(nn.Module):
    """Two convolutions, each with normalisation and rectifier; the first carries the stride."""

    def __init__(self, dims: int, inputs: int, outputs: int, kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        self.one = convolution(dims, inputs, outputs, kernel, stride)
        self.two = convolution(dims, outputs, outputs, kernel, (1,) * dims)
        self.norm_one, self.norm_two = instance_norm(outputs), instance_norm(outputs)
        self.act = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's features."""
        x = self.act(self.norm_one(self.one(x)))
        out: torch.Tensor = self.act(self.norm_two(self.two(x)))
        return out


class ResidualBlock(PlainBlock):
    """The same with a skip connection around it, added before the last rectifier."""

    def __init__(self, dims: int, inputs: int, outputs: int, kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__(dims, inputs, outputs, kernel, stride)
        self.bridge = Bridge(dims, inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's features."""
        y = self.act(self.norm_one(self.one(x)))
        out: torch.Tensor = self.act(self.norm_two(self.two(y)) + self.bridge(x))
        return out


class UNet(Body):
    """Encoder, decoder and the connections between them; the maps are the decoder's, fine to coarse."""

    def __init__(
        self, channels: int, dims: int, widths: tuple[int, ...], strides: list[tuple[int, ...]], *, residual: bool
    ) -> None:
        super().__init__()
        block = ResidualBlock if residual else PlainBlock
        self.channels = widths
        self.strides = cumulative(strides, dims)
        steps = [(1,) * dims, *strides]
        # A level whose voxels are still thick slices convolves within the slice only (nnU-Net's rule).
        kernels = [tuple(1 if thin else 3 for thin in _thick(strides, level, dims)) for level in range(len(widths))]
        self.down = nn.ModuleList(
            block(dims, channels if n == 0 else widths[n - 1], widths[n], kernels[n], steps[n])
            for n in range(len(widths))
        )
        transposed = nn.ConvTranspose3d if dims == 3 else nn.ConvTranspose2d
        self.up = nn.ModuleList(
            transposed(widths[n + 1], widths[n], strides[n], strides[n])  # type: ignore[arg-type]
            for n in range(len(widths) - 1)
        )
        self.join = nn.ModuleList(
            PlainBlock(dims, 2 * widths[n], widths[n], kernels[n], (1,) * dims) for n in range(len(widths) - 1)
        )
        start_weights(self)

    def encoded(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps of the way down, fine to coarse."""
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        return skips

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps of ``x``, of any size."""
        skips = self.encoded(x)
        x = skips[-1]
        maps = [x]
        for level in reversed(range(len(self.up))):
            x = self.join[level](torch.cat([_cropped(self.up[level](x), skips[level]), skips[level]], dim=1))
            maps.append(x)
        return maps[::-1]


def _cropped(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Cut off what doubling an odd size, rounded up when it was halved, has put on."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return x[(slice(None), slice(None), *(slice(n) for n in like.shape[2:]))]


def _thick(strides: list[tuple[int, ...]], level: int, dims: int) -> tuple[bool, ...]:
    """Tell for each axis whether the next step still leaves it unhalved while another axis is halved."""
    if level >= len(strides):
        return (False,) * dims
    return tuple(s == 1 and max(strides[level]) > 1 for s in strides[level])


@network("unet", doi="10.1007/978-3-319-24574-4_28")
def unet(
    channels: int,
    dims: int,
    *,
    widths: tuple[float, ...] = (12, 24, 48, 96),
    strides: str = "",
    residual: bool = False,
) -> Body:
    """Return a U-Net.

    Args:
        channels: Input channels.
        dims: 2 or 3.
        widths: Channels of each level, fine to coarse.
        strides: Downsampling between the levels, ``"1x2x2,2x2x2"``; empty means 2 everywhere.
        residual: Residual encoder blocks.

    Source:
        Ronneberger 2015 (doi 10.1007/978-3-319-24574-4_28); block order, leaky rectifier and deep supervision after
        Isensee 2021 (doi 10.1038/s41592-020-01008-z), residual encoder after Isensee 2024
        (doi 10.48550/arXiv.2404.09556).
    """
    whole = parse_widths(widths)
    return UNet(channels, dims, whole, parse_strides(strides, dims, len(whole)), residual=residual)

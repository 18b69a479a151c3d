"""Pre-activation residual network; ``residual=False`` takes the skip connections away, for comparison."""

import torch
from torch import nn

from lucency.networks import Body, network
from lucency.networks.layers import Bridge, convolution, cumulative, parse_strides, parse_widths, start_weights


class PreActivationBlock(nn.Module):
    """Normalise, rectify, convolve, twice, around a skip connection."""

    def __init__(
        self, dims: int, inputs: int, outputs: int, stride: tuple[int, ...], *, residual: bool, dropout: float
    ) -> None:
        super().__init__()
        norm = nn.BatchNorm3d if dims == 3 else nn.BatchNorm2d
        kernel = (3,) * dims
        self.norm_one, self.norm_two = norm(inputs), norm(outputs)
        self.one = convolution(dims, inputs, outputs, kernel, stride)
        self.two = convolution(dims, outputs, outputs, kernel, (1,) * dims)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(dropout)
        self.bridge = Bridge(dims, inputs, outputs, stride) if residual else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's features."""
        y: torch.Tensor = self.two(self.drop(self.act(self.norm_two(self.one(self.act(self.norm_one(x)))))))
        return y if self.bridge is None else y + self.bridge(x)


class ResNet(Body):
    """Stages of pre-activation blocks; one map a stage."""

    def __init__(
        self,
        channels: int,
        dims: int,
        widths: tuple[int, ...],
        blocks: int,
        strides: list[tuple[int, ...]],
        *,
        residual: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.channels = widths
        self.strides = cumulative(strides, dims)
        norm = nn.BatchNorm3d if dims == 3 else nn.BatchNorm2d
        self.stem = convolution(dims, channels, widths[0], (3,) * dims, (1,) * dims)
        steps = [(1,) * dims, *strides]
        self.stages = nn.ModuleList()
        before = widths[0]
        for width, step in zip(widths, steps, strict=True):
            rows = []
            for number in range(blocks):
                stride = step if number == 0 else (1,) * dims
                rows.append(PreActivationBlock(dims, before, width, stride, residual=residual, dropout=dropout))
                before = width
            self.stages.append(nn.Sequential(*rows))
        self.last = nn.Sequential(norm(widths[-1]), nn.ReLU(inplace=True))
        start_weights(self)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one map a stage, the last one normalised and rectified."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        maps[-1] = self.last(maps[-1])
        return maps


@network("resnet", doi="10.1007/978-3-319-46493-0_38")
def resnet(
    channels: int,
    dims: int,
    *,
    widths: tuple[float, ...] = (32, 64, 128),
    depth: int = 14,
    strides: str = "",
    residual: bool = True,
    dropout: float = 0.2,
) -> Body:
    """Return a pre-activation ResNet.

    Args:
        channels: Input channels.
        dims: 2 or 3.
        widths: Channels of each stage.
        depth: Convolutions in all: 2 + 2 × blocks a stage × stages, rounded to whole blocks (at least one a stage).
        strides: Downsampling between the stages; empty means 2 everywhere.
        residual: Keep the skip connections.
        dropout: Between the two convolutions of a block.

    Source:
        He 2016, Identity mappings in deep residual networks (doi 10.1007/978-3-319-46493-0_38).
    """
    whole = parse_widths(widths)
    steps = parse_strides(strides, dims, len(whole))
    blocks = max(1, round((depth - 2) / (2 * len(whole))))
    return ResNet(channels, dims, whole, blocks, steps, residual=residual, dropout=dropout)

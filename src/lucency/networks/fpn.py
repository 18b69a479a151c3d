"""Feature pyramid: a residual encoder whose coarse maps are carried back to the fine ones, for boxes."""

import torch
from torch import nn
from torch.nn import functional

from lucency.networks import Body, network
from lucency.networks.layers import Bridge, convolution, cumulative, parse_strides, parse_widths, start_weights


class _Block(nn.Module):
    """Two convolutions, each normalised, around a skip connection; the first carries the stride."""

    def __init__(self, dims: int, inputs: int, outputs: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.one = convolution(dims, inputs, outputs, (3,) * dims, stride)
        self.two = convolution(dims, outputs, outputs, (3,) * dims, (1,) * dims)
        norm = nn.BatchNorm3d if dims == 3 else nn.BatchNorm2d
        self.norm_one, self.norm_two = norm(outputs), norm(outputs)
        self.act = nn.ReLU(inplace=True)
        self.bridge = Bridge(dims, inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's features."""
        y = self.act(self.norm_one(self.one(x)))
        out: torch.Tensor = self.act(self.norm_two(self.two(y)) + self.bridge(x))
        return out


class Pyramid(Body):
    """Encoder, and from its coarsest map back down to map ``finest``; all maps have the same channels."""

    def __init__(
        self,
        channels: int,
        dims: int,
        widths: tuple[int, ...],
        strides: list[tuple[int, ...]],
        *,
        finest: int,
        top: int,
        maps: int,
    ) -> None:
        super().__init__()
        total = cumulative(strides, dims)[1:]
        self.finest = finest
        given = min(maps, len(widths) - finest) if maps else len(widths) - finest
        self.channels = (top,) * given
        self.strides = total[finest : finest + given]
        one, three = (1,) * dims, (3,) * dims
        kernel = tuple(2 * s + 1 for s in strides[0])
        norm = nn.BatchNorm3d if dims == 3 else nn.BatchNorm2d
        self.stem = nn.Sequential(
            convolution(dims, channels, widths[0], kernel, strides[0]), norm(widths[0]), nn.ReLU(inplace=True)
        )
        before = (widths[0], *widths)
        self.down = nn.ModuleList(
            _Block(dims, before[n], widths[n], strides[n] if n else one) for n in range(len(widths))
        )
        self.lateral = nn.ModuleList(convolution(dims, w, top, one, one) for w in widths[finest:])
        self.smooth = nn.ModuleList(
            nn.Sequential(convolution(dims, top, top, three, one), norm(top), nn.ReLU(inplace=True))
            for _ in range(given)
        )
        start_weights(self)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps of ``x``, of any size."""
        skips = []
        x = self.stem(x)
        for down in self.down:
            x = down(x)
            skips.append(x)
        levels: list[torch.Tensor] = []
        above: torch.Tensor | None = None
        for lateral, skip in zip(reversed(self.lateral), reversed(skips[self.finest :]), strict=True):
            y = lateral(skip)
            if above is not None:
                y = y + functional.interpolate(above, size=y.shape[2:], mode="nearest")
            above = y
            levels.append(y)
        return [smooth(y) for smooth, y in zip(self.smooth, reversed(levels), strict=False)]


@network("fpn", doi="10.1109/CVPR.2017.106")
def fpn(
    channels: int,
    dims: int,
    *,
    widths: tuple[float, ...] = (16, 32, 64, 96, 128),
    strides: str = "",
    finest: int = 0,
    top: int = 64,
    maps: int = 0,
) -> Body:
    """Return a feature pyramid.

    Args:
        channels: Input channels.
        dims: 2 or 3.
        widths: Channels of each level of the encoder, fine to coarse.
        strides: Downsampling between the levels, ``"1x2x2,2x2x2"``, or with one step more, the first of them before
            the first level; empty means 2 between all levels.
        finest: Level of the finest map that is given out, from 0; at most the coarsest level.
        top: Channels of every map.
        maps: Maps that are given out, from the finest on; 0 for all.

    Source:
        Lin 2017, Feature Pyramid Networks (doi 10.1109/CVPR.2017.106).
    """
    whole = parse_widths(widths)
    before = bool(strides) and strides.count(",") + 1 == len(whole)
    steps = parse_strides(strides, dims, len(whole) + before)
    steps = steps if before else [(1,) * dims, *steps]
    return Pyramid(channels, dims, whole, steps, finest=min(finest, len(whole) - 1), top=top, maps=maps)

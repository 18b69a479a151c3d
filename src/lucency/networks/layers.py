"""What the families share: convolutions by dimension, instance normalisation, strides as text."""

import torch
from torch import nn
from torch.nn import functional

from lucency.errors import UsageError

#: Slope of the leaky rectifier; the value nnU-Net made common (doi 10.1038/s41592-020-01008-z).
SLOPE = 0.01


def convolution(dims: int, inputs: int, outputs: int, kernel: tuple[int, ...], stride: tuple[int, ...]) -> nn.Module:
    """Return a convolution without bias that keeps the size but for its stride."""
    kind = TrimmedConv3d if dims == 3 else nn.Conv2d
    padding = tuple(k // 2 for k in kernel)
    return kind(inputs, outputs, kernel, stride, padding, bias=False)  # type: ignore[arg-type]


class TrimmedConv3d(nn.Conv3d):
    """A 3-D convolution that leaves out the parts of its kernel that would only see padding.

    A volume of one slice meets one third of a kernel, and so the result is the same in less time. Above all it is a
    result: on processors with bf16 tiles torch 2.13 reads memory that nobody wrote where it pads so thin a volume, and
    NaN comes out now and then, as that memory happened to be. Two columns that become one err the same way, trimmed or
    not; they are few and are computed in single precision.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution of (B, C, K, J, I)."""
        taps, padding = [slice(None)] * 2, [int(p) for p in self.padding]
        for axis, n in enumerate(x.shape[2:]):
            kernel, pad = self.kernel_size[axis], padding[axis]
            one = pad > 0 and n + 2 * pad - kernel < self.stride[axis]
            taps.append(slice(pad, pad + n) if one else slice(None))
            if one:
                padding[axis] = 0
                x = x.narrow(axis + 2, 0, min(n, kernel - pad))
        weight = self.weight[tuple(taps)]
        if weight.shape[-1] in (1, self.kernel_size[-1]):
            return functional.conv3d(x, weight, self.bias, self.stride, tuple(padding))
        with torch.autocast(x.device.type, enabled=False):
            return functional.conv3d(x.float(), weight, self.bias, self.stride, tuple(padding))


def instance_norm(channels: int) -> nn.Module:
    """Return instance normalisation, as a group norm with one channel a group.

    The arithmetic is that of InstanceNorm (doi 10.48550/arXiv.1607.08022); in one hand
    run torch's group norm trained a 3-D U-Net faster in bf16 (19 patches/s against 16, each in its better layout).
    ``benchmarks/layers.py`` measures it; no full run is recorded yet.
    """
    return nn.GroupNorm(channels, channels)


class MeanPool(nn.Module):
    """Means of blocks; a cut block at the end counts, and an axis shorter than a block is one block."""

    def __init__(self, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return one value a block."""
        pool = functional.avg_pool3d if len(self.stride) == 3 else functional.avg_pool2d
        # torch refuses a kernel that is longer than the axis.
        kernel = tuple(min(s, n) for s, n in zip(self.stride, x.shape[2:], strict=True))
        out: torch.Tensor = pool(x, kernel, self.stride, ceil_mode=True)
        return out


class Bridge(nn.Module):
    """The skip connection of a residual block: identity, or mean pooling and a 1 × 1 convolution."""

    def __init__(self, dims: int, inputs: int, outputs: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        if any(s > 1 for s in stride):
            steps.append(MeanPool(stride))
        if inputs != outputs:
            steps.append(convolution(dims, inputs, outputs, (1,) * dims, (1,) * dims))
        self.steps = nn.Sequential(*steps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` in the shape of the block's output."""
        out: torch.Tensor = self.steps(x)
        return out


def parse_strides(text: str, dims: int, levels: int) -> list[tuple[int, ...]]:
    """Read ``"2x2x2,1x2x2"``, the steps between ``levels`` levels, as tuples; empty text means 2 everywhere.

    Raises:
        UsageError: Not one step of ``dims`` whole numbers, 1 or more, between each two levels.
    """
    if not text:
        return [(2,) * dims] * (levels - 1)
    steps = [step.split("x") for step in text.split(",")]
    sound = all(len(step) == dims and all(n.isdecimal() and int(n) >= 1 for n in step) for step in steps)
    if not sound or len(steps) != levels - 1:
        raise UsageError(
            f"Strides {text!r} for {levels} levels",
            expected=f"{levels - 1} steps of {dims} numbers such as {','.join(['x'.join('2' * dims)] * 2)}",
            where="network_options.strides",
        )
    return [tuple(int(n) for n in step) for step in steps]


def parse_widths(widths: tuple[float, ...]) -> tuple[int, ...]:
    """Read the channels of each level.

    Raises:
        UsageError: No level, or a width that is not a whole number of channels.
    """
    if not isinstance(widths, tuple | list) or not widths or any(w < 1 or w != int(w) for w in widths):
        raise UsageError(
            f"Widths {widths!r}", expected="whole numbers of channels, one per level", where="network_options.widths"
        )
    return tuple(int(w) for w in widths)


def cumulative(strides: list[tuple[int, ...]], dims: int) -> tuple[tuple[int, ...], ...]:
    """Return the total stride after each level, level 0 (no stride) first."""
    total: list[tuple[int, ...]] = [(1,) * dims]
    for stride in strides:
        total.append(tuple(a * b for a, b in zip(total[-1], stride, strict=True)))
    return tuple(total)


def start_weights(module: nn.Module) -> None:
    """Draw convolution weights after He (doi 10.1109/ICCV.2015.123); biases start at 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(part.weight, a=SLOPE)
            if part.bias is not None:
                nn.init.zeros_(part.bias)

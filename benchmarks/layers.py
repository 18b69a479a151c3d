"""Normalisation and memory layout: what a training step takes with each, in 2-D and 3-D, in bf16 and fp32."""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from recorded import Row, begin, interleaved, parser, rates, write
from torch import nn

from lucency.networks import body
from lucency.networks.layers import instance_norm

NAME = "layers"

NORMS, LAYOUTS, PRECISIONS = ("group", "instance"), ("contiguous", "channels last"), ("fp32", "bf16")


@dataclass(frozen=True)
class Subject:
    """A network, or one normalisation layer, and its input.

    Args:
        name: In the result.
        make: Builds it, with group normalisation.
        shape: (B, C, ...) of the input.
    """

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]


def subjects(*, quick: bool) -> list[Subject]:
    """Return the networks as the planner draws them for volumes and images, and a layer by itself for each."""
    part = 2 if quick else 1
    side, volume = 192 // part, tuple(n // part // 8 * 8 for n in (40, 56, 40))
    images = {"widths": (12.0, 24.0, 48.0, 96.0, 128.0)}
    return [
        Subject("unet 3-D", lambda: body("unet", 1, 3, {}), (4, 1, *volume)),
        Subject("unet 2-D", lambda: body("unet", 1, 2, images), (8, 1, side, side)),
        Subject(
            "resnet 2-D",
            lambda: body("resnet", 1, 2, {"widths": (32.0, 64.0, 128.0), "depth": 14}),
            (128 // part, 1, 28, 28),
        ),
        Subject("layer 3-D", lambda: instance_norm(24), (4, 24, *volume)),
        Subject("layer 2-D", lambda: instance_norm(24), (8, 24, side, side)),
    ]


def main() -> int:
    """Measure and record."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--rounds", type=int, default=5, help="each row is timed once a round [5]")
    made.add_argument("--steps", type=int, default=4, help="steps a round [4]")
    options = made.parse_args()
    if options.quick:
        options.rounds, options.steps = 1, 1
    facts = begin()
    found = {subject.name: compared(subject, options) for subject in subjects(quick=options.quick)}
    bf16 = [each["group to instance"][f"{layout}, bf16"] for each in found.values() for layout in LAYOUTS]
    said = f"group norm {min(bf16):.2f} to {max(bf16):.2f} × as fast as instance norm in bf16"
    write(NAME, said, facts | {"settings": {"steps_a_round": options.steps}, "subjects": found}, options)
    return 0


def compared(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """Return steps per second of every combination, and how normalisations and layouts compare."""
    rows = [
        Row(", ".join(kind), stepper(subject, *kind, options), options.steps)
        for kind in itertools.product(NORMS, LAYOUTS, PRECISIONS)
    ]
    for row in rows:
        row.work()  # the first step pays for choosing kernels and for memory
    times = interleaved(rows, options.rounds, time.perf_counter)
    speed = {name: 1 / statistics.median(t) for name, t in times.items()}
    return {
        "shape": subject.shape,
        "steps_per_s": rates(rows, times),
        "group to instance": {
            f"{layout}, {precision}": round(
                speed[f"group, {layout}, {precision}"] / speed[f"instance, {layout}, {precision}"], 3
            )
            for layout, precision in itertools.product(LAYOUTS, PRECISIONS)
        },
        "channels last to contiguous": {
            f"{norm}, {precision}": round(
                speed[f"{norm}, channels last, {precision}"] / speed[f"{norm}, contiguous, {precision}"], 3
            )
            for norm, precision in itertools.product(NORMS, PRECISIONS)
        },
        "bf16 to fp32": {
            f"{norm}, {layout}": round(speed[f"{norm}, {layout}, bf16"] / speed[f"{norm}, {layout}, fp32"], 3)
            for norm, layout in itertools.product(NORMS, LAYOUTS)
        },
    }


def stepper(
    subject: Subject, norm: str, layout: str, precision: str, options: argparse.Namespace
) -> Callable[[], None]:
    """Return a function that makes the steps of a round: forward, mean of what comes out, backward."""
    dims = len(subject.shape) - 2
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net: nn.Module = nn.Sequential(subject.make())
    if norm == "instance":
        replace_norms(net, dims)
    last = torch.channels_last_3d if dims == 3 else torch.channels_last
    form = last if layout == "channels last" else torch.contiguous_format
    net.to(device).to(memory_format=form).train()  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(options.seed)
    x = torch.randn(subject.shape, generator=generator).to(device).contiguous(memory_format=form)
    # Inside a network a normalisation gets the precision that the convolution before it gives, and hands a gradient on.
    single = subject.name.startswith("layer")
    if single:
        x = x.to(torch.bfloat16 if precision == "bf16" else torch.float32).requires_grad_()

    def steps() -> None:
        for _ in range(options.steps):
            net.zero_grad(set_to_none=True)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16"):
                out = net(x)
            maps = [out] if isinstance(out, torch.Tensor) else out
            loss = torch.stack([m.float().square().mean() for m in maps]).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            if device == "cuda":
                torch.cuda.synchronize()

    return steps


def replace_norms(net: nn.Module, dims: int) -> None:
    """Put torch's own InstanceNorm in place of every group norm with one channel a group."""
    kind = nn.InstanceNorm3d if dims == 3 else nn.InstanceNorm2d
    for part in list(net.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, nn.GroupNorm) and child.num_groups == child.num_channels:
                setattr(part, name, kind(child.num_channels, affine=True))


if __name__ == "__main__":
    sys.exit(main())

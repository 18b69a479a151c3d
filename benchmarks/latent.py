"""Time and memory of `latent-flow` on large volumes: a step of its autoencoder, a step of its flow, and drawing.

Steps are those of the family and its optimiser alone, in fp32: loss, gradient, clipping, Adam; no data are read. On a
GPU where there is one, else on the processor. Memory is the highest that the process had beyond what it had with the
networks built, beside what the family forecasts.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from recorded import begin, parser, write
from torch import nn

from lucency import machine
from lucency.generators import GENERATOR, SIZES, Shape, Step, family_named
from lucency.generators.differentiable import Transforms

NAME = "latent"

#: Progress of the training at which each part of the family learns.
WHEN = {"autoencoder": 0.0, "flow": 1.0}


def main() -> int:
    """Run and record."""
    options = arguments()
    facts = begin()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = {str(side): timed(side, options, device) for side in options.sides}
    said = "; ".join(
        f"{side}³ {options.size}, batch {row['batch']}: step of the autoencoder {row['autoencoder_s']} s, of the flow "
        f"{row['flow_s']} s, a volume in {row['draw_s']} s, {row['memory_mib']} MiB (forecast {row['forecast_mib']})"
        for side, row in rows.items()
    )
    settings = {"size": options.size, "repeats": options.repeats, "device": str(device), "precision": "fp32"}
    write(NAME, said, facts | {"settings": settings, "sides": rows}, options)
    return 0


def arguments() -> argparse.Namespace:
    """Return what was asked for, with what --quick makes small."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--sides", type=int, nargs="+", default=[64, 128], help="of cubes [64 128]")
    made.add_argument("--size", choices=SIZES, default="tiny", help="[tiny]")
    made.add_argument("--repeats", type=int, default=5, help="steps that are timed, after one that is not [5]")
    options = made.parse_args()
    if options.quick:
        options.sides, options.repeats = [16], 1
    return options


def timed(side: int, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Return seconds of a step of each part and of drawing a volume, and MiB at the peak."""
    family = family_named("latent-flow")
    torch.manual_seed(options.seed)
    shape = Shape((side, side, side), 1, 1, family.widths[options.size])
    batch = max(2, min(family.learning.batch, family.most_voxels // side**3))
    net = family.parts(shape)[GENERATOR].to(device)
    optimiser = torch.optim.Adam(net.parameters(), family.learning.rate[0], (0.9, 0.99))
    rng = torch.Generator(device).manual_seed(options.seed)
    images = torch.randn(batch, 1, side, side, side, device=device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    before = peak(device, fresh=True)
    row: dict[str, Any] = {"batch": batch, "weights": sum(p.numel() for p in net.parameters())}
    for name, progress in WHEN.items():
        step = Step(images, labels, labels[:1], progress, Transforms(0.0))

        def once(step: Step = step) -> None:
            for _, loss in family.losses({GENERATOR: net}, step, rng):
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), family.learning.clip)
                optimiser.step()

        row[f"{name}_s"] = median_s(once, options.repeats, device)
        print(f"{side}³ {name}: {row[f'{name}_s']} s", file=sys.stderr, flush=True)
    row["memory_mib"] = round(peak(device) - before)
    row["forecast_mib"] = round(family.memory_mib(shape, batch))
    net.eval()

    def draw() -> None:
        with torch.no_grad():
            family.sample(net, labels[:1], rng)

    row["draw_s"] = median_s(draw, 1, device)
    return row


def median_s(work: Callable[[], None], repeats: int, device: torch.device) -> float:
    """Return the median time in seconds, after one run that is not counted."""
    found = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - begun)
    return round(statistics.median(found[1:]), 3)


def peak(device: torch.device, *, fresh: bool = False) -> float:
    """Return the highest memory so far in MiB: of the GPU since it was asked afresh, else of the process."""
    if device.type == "cpu":
        return machine.peak_memory_mib()
    if fresh:
        torch.cuda.reset_peak_memory_stats()
    return torch.cuda.max_memory_allocated() / 2**20


if __name__ == "__main__":
    sys.exit(main())

"""Training throughput: our loop beside a plain MONAI loop, with one network, batch, loss and set of augmentations."""

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from material import Material, faster_layout, volumes
from peer import PlainLoop, cached, endless
from recorded import Row, begin, interleaved, parser, rates, ratio_of, write

from lucency import machine
from lucency.train import Sampler
from lucency.train.loop import Loop

NAME = "throughput_train"

#: Ratio to the plain loop in fp32 with two workers: what the project asks of itself, and what it hopes for.
NEEDED, HOPED = 1.8, 2.3

#: Steps before the clock of a round starts: more than a loader keeps ready (2 batches a worker), so that only what
#: is made during the round counts, and what the other loader's workers still do is over.
SETTLE = 5


def main() -> int:
    """Measure and record."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--rounds", type=int, default=5, help="each row is timed once a round [5]")
    made.add_argument("--steps", type=int, default=10, help="timed steps a round [10]")
    made.add_argument("--workers", type=int, default=2, help="processes of MONAI's loader [2]")
    made.add_argument("--loss", choices=("ours", "monai"), default="ours", help="loss of MONAI's loop [ours]")
    options = made.parse_args()
    if options.quick:
        options.rounds, options.steps = 2, 2
    facts = begin()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        measure(volumes(Path(folder), quick=options.quick, seed=options.seed), options, facts)
    return 0


def measure(found: Material, options: argparse.Namespace, facts: dict[str, Any]) -> None:
    """Time all rows side by side and write the result."""
    cases = [c.id for c in found.cohort.outside(0)]
    dataset = cached(found.store, cases, found.plan)
    # Workers start before anything was trained here: a process that forks later would inherit busy threads.
    loaders = {workers: _started(endless(dataset, found.plan, workers)) for workers in (options.workers, 0)}
    layout = faster_layout(found)
    plan = replace(found.plan, channels_last=layout)
    ours = {
        precision: Loop(found.work(replace(plan, precision=precision)), 0, math.inf) for precision in ("bf16", "fp32")
    }
    peers = {
        (precision, workers): PlainLoop(found.task, plan, loader, precision, options.loss)
        for precision in ("fp32", "bf16")
        for workers, loader in loaders.items()
    }
    steps = {f"ours {p}": loop._one_step for p, loop in ours.items()}
    steps |= {f"monai {p}, {w} workers": loop.step for (p, w), loop in peers.items()}
    losses = {f"ours {p}": loop.losses.setdefault("net", []) for p, loop in ours.items()}
    losses |= {f"monai {p}, {w} workers": loop.losses for (p, w), loop in peers.items()}
    rows = [Row(name, step, options.steps * plan.batch) for name, step in steps.items()]
    times = timed(rows, options)
    best, table = f"ours {_best_precision(found)}", f"monai fp32, {options.workers} workers"
    in_process = "monai fp32, 0 workers"
    ratio = ratio_of(times, table, best)
    result = facts | {
        "settings": {
            "set": "generated" if options.quick else "hippocampus",
            "cases": len(cases),
            "parameters": sum(p.numel() for p in found.task.build(plan)["net"].parameters()),
            "patch": plan.patch,
            "batch": plan.batch,
            "augmentation": dict(plan.augmentation),
            "channels_last": {"ours": layout, "monai": False},
            "loss": {"ours": "ours", "monai": options.loss},
            "steps_a_round": options.steps,
            "torch_threads": torch.get_num_threads(),
        },
        "patches_per_s": rates(rows, times),
        "data_ms_per_step": _data_ms(found, loaders, options),
        "augment_share": {n: round(loop.augment_s / loop.train_s, 4) for n, loop in ours.items()},
        "last_loss": {name: round(statistics.mean(each[-options.steps :]), 4) for name, each in losses.items()},
        "ratios": {
            f"{best} to {table}": ratio,
            f"{best} to {in_process}": ratio_of(times, in_process, best),
            f"ours fp32 to {table}": ratio_of(times, table, "ours fp32"),
            f"ours bf16 to monai bf16, {options.workers} workers": ratio_of(
                times, f"monai bf16, {options.workers} workers", "ours bf16"
            ),
        },
        "needed": NEEDED,
        "hoped": HOPED,
        "reached": ratio >= NEEDED,
    }
    rate = result["patches_per_s"]
    said = f"{rate[best]['median']:.2f} patches/s ({best}) against {rate[table]['median']:.2f} ({table}): {ratio:.2f} ×"
    write(NAME, f"{said}, needed {NEEDED} ×", result, options)


def _started(batches: Iterator[dict[str, torch.Tensor]]) -> Iterator[dict[str, torch.Tensor]]:
    next(batches)
    return batches


def _best_precision(found: Material) -> str:
    return "bf16" if found.machine.bf16 else "fp32"


def timed(rows: list[Row], options: argparse.Namespace) -> dict[str, list[float]]:
    """Return seconds per round of each row, its settling steps left out."""
    spans: dict[str, list[float]] = {row.name: [] for row in rows}

    def span(row: Row) -> Callable[[], None]:
        def work() -> None:
            for _ in range(1 if options.quick else SETTLE):
                row.work()
            begin_s = time.perf_counter()
            for _ in range(options.steps):
                row.work()
            spans[row.name].append(time.perf_counter() - begin_s)

        return work

    interleaved([replace(row, work=span(row)) for row in rows], options.rounds, time.perf_counter)
    return spans


def _data_ms(
    found: Material, loaders: dict[int, Iterator[dict[str, torch.Tensor]]], options: argparse.Namespace
) -> dict[str, float]:
    """Return what a batch costs before the network sees it, ms: where the ratio beyond the precision comes from."""
    sampler = Sampler(found.store, [c.id for c in found.cohort.outside(0)], found.plan, dense=True)
    loop = Loop(found.work(), 0, math.inf)
    device = loop.fabric.device
    generator = torch.Generator(device).manual_seed(options.seed)

    def ours() -> None:
        images, targets = sampler.batch(0)
        loop._augmented(images.to(device), targets.to(device), generator)

    repeats = 2 if options.quick else 8
    each = {"ours": ours, "monai in process": lambda: next(loaders[0])}
    return {name: round(1000 * machine.best_time(work, repeats=repeats), 2) for name, work in each.items()}


if __name__ == "__main__":
    sys.exit(main())

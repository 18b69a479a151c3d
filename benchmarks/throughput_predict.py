"""Prediction throughput: our path beside MONAI's sliding window, with the same weights and the same quality."""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import Material, faster_layout, volumes
from peer import slide
from recorded import Row, begin, interleaved, parser, rates, ratio_of, write
from torch import nn

from lucency.metrics import dice
from lucency.predict import device_of, memory_format, raw_outputs
from lucency.train import train_member

NAME = "throughput_predict"

#: Ratio to the sliding window in fp32: what the project asks of itself, and what it hopes for; and how far the Dice
#: of the two may differ.
NEEDED, HOPED, SAME = 2.0, 5.0, 0.001

#: Size of the mosaics, and of the blocks they are laid from.
MOSAIC, BLOCK = (96, 112, 96), (32, 56, 32)
SMALL_MOSAIC, SMALL_BLOCK = (32, 48, 32), (16, 24, 16)

Set = tuple[list[np.ndarray], list[np.ndarray]]


def main() -> int:
    """Measure and record."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--rounds", type=int, default=5, help="each row is timed once a round [5]")
    made.add_argument("--train-steps", type=int, default=150, help="steps that make the network worth asking [150]")
    made.add_argument("--mosaics", type=int, default=2, help="large volumes [2]")
    made.add_argument("--volumes", type=int, help="volumes of the held-out fold, at most [all]")
    options = made.parse_args()
    if options.quick:
        options.rounds, options.train_steps, options.mosaics = 2, 15, 1
    facts = begin()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        measure(volumes(Path(folder), quick=options.quick, seed=options.seed), options, facts)
    return 0


def measure(found: Material, options: argparse.Namespace, facts: dict[str, Any]) -> None:
    """Train, predict both sets both ways in turns, and write the result."""
    held = [c.id for c in found.cohort.fold(0)][: options.volumes]
    layout = faster_layout(found)
    schedule = replace(found.plan.schedule, steps=options.train_steps, warmup=max(1, options.train_steps // 10))
    plan = replace(found.plan, channels_last=layout, schedule=schedule)
    trained = train_member(found.work(plan), 0, deadline=1e9)
    volume_set = (
        [found.store.image(c).astype(np.float32) for c in held],
        [np.asarray(found.store.mask(c)) for c in held],
    )
    size, block = (SMALL_MOSAIC, SMALL_BLOCK) if options.quick else (MOSAIC, BLOCK)
    sets = {"volumes": volume_set, "mosaics": mosaics(volume_set, options.mosaics, size, block)}
    ways = contenders(found, replace(plan, precision="bf16" if found.machine.bf16 else "fp32"), trained.weights)
    result = facts | {
        "settings": {
            "set": "generated" if options.quick else "hippocampus, fold 0",
            "train_steps": options.train_steps,
            "window": plan.patch,
            "tile": plan.tile,
            "channels_last": {"ours": layout, "monai": False},
            "torch_threads": torch.get_num_threads(),
        },
        "needed": NEEDED,
        "hoped": HOPED,
        "sets": {name: side_by_side(each, ways, options) for name, each in sets.items()},
    }
    parts = result["sets"].items()
    result["reached"] = all(s["ratio"] >= NEEDED and abs(s["dice_difference"]) <= SAME for _, s in parts)
    said = "; ".join(
        f"{name}: {s['ratio']:.2f} × ({s['fastest_monai']}), Dice {s['dice']['ours']:.4f} ({s['dice_difference']:+.4f})"
        for name, s in parts
    )
    write(NAME, f"{said}; needed {NEEDED} ×, Dice within {SAME}", result, options)


Way = Callable[[np.ndarray], torch.Tensor]


def contenders(found: Material, plan: Any, weights: Any) -> dict[str, Way]:
    """Return every way to predict an array; all hold the same weights."""

    def net(channels_last: bool) -> nn.Module:
        made = found.task.build(plan)["net"]
        made.load_state_dict(dict(weights))
        layout = memory_format(plan) if channels_last else torch.contiguous_format
        made.eval().to(device_of(plan)).to(memory_format=layout)  # type: ignore[call-overload]
        return made

    mine, theirs = net(plan.channels_last), net(False)

    def ours(precision: str, tile: tuple[int, int, int]) -> Way:
        asked = replace(plan, precision=precision, tile=tile)
        return lambda array: torch.from_numpy(next(iter(raw_outputs(mine, [array], asked, dense=True))))

    def peer(windows: int, bf16: bool) -> Way:
        return lambda array: slide(theirs, array, plan, windows=windows, bf16=bf16)

    return {
        "ours": ours(plan.precision, plan.tile),
        "ours fp32": ours("fp32", plan.tile),
        "ours in tiles of the patch": ours(plan.precision, plan.patch),
        "monai fp32, 1 window": peer(1, False),
        "monai fp32, 4 windows": peer(4, False),
        "monai bf16, 1 window": peer(1, True),
    }


def side_by_side(given: Set, ways: dict[str, Way], options: argparse.Namespace) -> dict[str, Any]:
    """Return rates, ratio and Dice of all ways on one set."""
    arrays, masks = given
    scores = {name: mean_dice([way(a) for a in arrays], masks) for name, way in ways.items()}
    amount = sum(a[0].size for a in arrays) / 1e6

    def all_of(way: Way) -> Callable[[], None]:
        def work() -> None:
            for array in arrays:
                way(array)

        return work

    rows = [Row(name, all_of(way), amount) for name, way in ways.items()]
    times = interleaved(rows, options.rounds, time.perf_counter)
    fp32 = [n for n in ways if n.startswith("monai fp32")]
    fastest = min(fp32, key=lambda n: statistics.median(times[n]))
    return {
        "volumes": len(arrays),
        "median_size": [int(n) for n in np.median([a.shape[1:] for a in arrays], axis=0)],
        "megavoxels_per_s": rates(rows, times),
        "fastest_monai": fastest,
        "ratio": ratio_of(times, fastest, "ours"),
        "ratio_fp32": ratio_of(times, fastest, "ours fp32"),
        "ratio_tiles": ratio_of(times, fastest, "ours in tiles of the patch"),
        "ratio_to_monai_bf16": ratio_of(times, "monai bf16, 1 window", "ours"),
        "dice": {n: round(v, 5) for n, v in scores.items()},
        "dice_difference": round(scores["ours"] - scores[fastest], 5),
    }


def mean_dice(outputs: Sequence[torch.Tensor], masks: Sequence[np.ndarray]) -> float:
    """Return the mean over cases and labels."""
    scores = []
    for output, truth in zip(outputs, masks, strict=True):
        found = output.argmax(dim=0).numpy()
        scores += [dice(truth == label, found == label) for label in range(1, output.shape[0])]
    return float(np.mean(scores))


def mosaics(given: Set, n: int, size: tuple[int, ...], block: tuple[int, ...]) -> Set:
    """Lay volumes side by side into ``n`` large ones; each is cut or edge-padded about its middle to a block."""
    arrays, masks = given
    counts = [s // b for s, b in zip(size, block, strict=True)]
    images, labels = [], []
    for number in range(n):
        image, label = np.zeros((arrays[0].shape[0], *size), np.float32), np.zeros(size, masks[0].dtype)
        for place, at in enumerate(np.ndindex(*counts)):
            case = (number * int(np.prod(counts)) + place) % len(arrays)
            window = tuple(slice(a * b, (a + 1) * b) for a, b in zip(at, block, strict=True))
            image[(slice(None), *window)] = np.stack([fitted(c, block, "edge") for c in arrays[case]])
            label[window] = fitted(masks[case], block, "constant")
        images.append(image)
        labels.append(label)
    return images, labels


def fitted(array: np.ndarray, size: tuple[int, ...], mode: Any) -> np.ndarray:
    """Return (K, J, I) cut or padded to ``size`` about its middle."""
    for axis, wanted in enumerate(size):
        have = array.shape[axis]
        low = max(0, (have - wanted) // 2)
        array = array.take(range(low, low + min(have, wanted)), axis=axis)
        before = max(0, (wanted - have) // 2)
        pads = [(0, 0)] * array.ndim
        pads[axis] = (before, wanted - array.shape[axis] - before)
        array = np.pad(array, pads, mode=mode)
    return array


if __name__ == "__main__":
    sys.exit(main())

"""How every benchmark records itself: one JSON file with machine and versions, one line in ``results/README.md``."""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from lucency import __version__, machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
VERSIONED = ("torch", "monai", "numpy", "scipy", "scikit-learn", "lightning-fabric")
HEAD = """# Results

One line for each benchmark, its latest recorded run; the JSON file beside it holds every row and setting.
A commit with `+` had changes that were not committed. Load is the mean number of running processes in the minute
before the run; well above 0 means that others used the machine too.

| benchmark | measured | machine | versions | load before | commit |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """One contender: what it is called, what one repetition does, and how much work that is.

    Args:
        name: Key in the result.
        work: One repetition.
        amount: Patches, voxels or cases in a repetition.
    """

    name: str
    work: Callable[[], object]
    amount: float


def parser(description: str, name: str) -> argparse.ArgumentParser:
    """Return a parser with what all benchmarks share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--quick", action="store_true", help="generated data and a few steps: shows that it runs")
    made.add_argument(
        "--out", type=Path, help=f"result file [default: benchmarks/results/{name}.json; with --quick none]"
    )
    made.add_argument("--seed", type=int, default=0, help="of everything random [0]")
    return made


def begin() -> dict[str, Any]:
    """Return machine, versions, commit and load, taken before anything runs, and give torch all usable cores."""
    torch.set_num_threads(machine.cores())
    installed = {}
    for package in VERSIONED:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "machine": {
            "processor": machine.name(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
            "cores": machine.cores(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version(), "lucency": __version__, **installed},
        "commit": commit(),
        "load_before": [round(v, 2) for v in psutil.getloadavg()],
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", ""),
    }


def commit() -> str:
    """Return the short commit of the working tree, with ``+`` where tracked source was changed; "" without git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks/*.py")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def interleaved(rows: Sequence[Row], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Time every row once a round, so that a change of the machine's speed meets all of them.

    The order turns by one each round: no row always runs behind the same neighbour.

    Returns:
        Row name to seconds per round.
    """
    times: dict[str, list[float]] = {row.name: [] for row in rows}
    for number in range(rounds):
        turn = number % len(rows)
        for row in (*rows[turn:], *rows[:turn]):
            before = clock()
            row.work()
            times[row.name].append(clock() - before)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return times


def rates(rows: Sequence[Row], times: Mapping[str, Sequence[float]], digits: int = 3) -> dict[str, dict[str, float]]:
    """Return median, lowest and highest rate of each row, in its amount per second."""
    found = {}
    for row in rows:
        each = [row.amount / t for t in times[row.name]]
        found[row.name] = {
            "median": round(statistics.median(each), digits),
            "lowest": round(min(each), digits),
            "highest": round(max(each), digits),
            "rounds": len(each),
        }
    return found


def ratio_of(times: Mapping[str, Sequence[float]], slow: str, fast: str) -> float:
    """Return how many times as fast ``fast`` is as ``slow`` at the same work: the ratio of their median rates."""
    rate = {name: statistics.median(1 / t for t in times[name]) for name in (slow, fast)}
    return round(rate[fast] / rate[slow], 3)


def write(name: str, said: str, result: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Print a result, and unless it was only a trial write its file and its line in the table.

    Args:
        name: Of the benchmark; the file is ``NAME.json``.
        said: What was measured, one phrase for the table.
        result: From :func:`begin`, with the benchmark's own keys.
        options: ``out``, ``quick`` and ``seed``.
    """
    head = {"schema": 1, "benchmark": name, "quick": options.quick, "seed": options.seed}
    text = json.dumps({**head, **result}, indent=1, allow_nan=False)
    print(text)
    print(f"{name}: {said}")
    path = options.out or (None if options.quick else RESULTS / f"{name}.json")
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    if not options.quick:
        _write_line(path.with_name("README.md"), name, said, result)


def _write_line(table: Path, name: str, said: str, result: Mapping[str, Any]) -> None:
    """Put the benchmark's line into the table, in place of its last one; lines stand in the order of their names."""
    text = table.read_text(encoding="utf-8") if table.exists() else ""
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `")}
    computer, versions = result["machine"], result["versions"]
    where = f"{computer['accelerator'] or computer['processor']}, {computer['cores']} cores"
    kinds = ", ".join(f"{k} {versions[k]}" for k in ("lucency", "torch", "monai") if k in versions)
    load = result["load_before"][0]
    lines[f"`{name}`"] = f"| `{name}` | {said} | {where} | {kinds} | {load:.2f} | {result['commit'] or '–'} |"
    table.write_text(HEAD + "".join(lines[k] + "\n" for k in sorted(lines)), encoding="utf-8")

"""The whole command on a real set, seen from outside: quality, time against the budget, memory against the forecast."""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from material import DATA
from recorded import RESULTS, begin, parser, write

#: Set to its place and to what it must reach: metric of the locked part, by minutes.
SETS: dict[str, tuple[str, dict[float, dict[str, float]]]] = {
    "hippocampus": ("hippocampus", {10: {"dice": 0.875}, 30: {"dice": 0.885}}),
    "pneumoniamnist": ("pneumoniamnist_trainval.npz", {10: {"auc": 0.975, "accuracy": 0.90, "ece": 0.05}}),
    "sunnybrook_lv": ("sunnybrook_lv", {10: {"dice": 0.88}}),
    "hc18": ("hc18", {20: {"dice": 0.97, "mae/head_circumference_mm": 3.0}}),
    "mednist": ("mednist/mednist_64.npz", {}),
    "lus_video": ("lus_video", {}),
    "hc18_circumference": ("hc18", {}),
    "nsclc_survival": ("nsclc_survival", {}),
    "bccd": ("bccd", {20: {"map50": 0.75}}),
    "cxr_structures": ("cxr_structures", {15: {"map50": 0.80}}),
    "cxr_mass_boxes": ("cxr_mass_boxes", {}),
}

#: What a user adds to the command for a set: the column, the patients, what the refusal suggests.
WORDS: dict[str, list[str]] = {
    "lus_video": ["--target", "label", "--patient", "patient", "--set", "drop_classes=viral"],
    "hc18_circumference": ["--target", "head_circumference_mm"],
    "cxr_structures": ["--task", "detect", "--set", "keep_classes=left_lung,right_lung,cardiomediastinum"],
}

#: Sets too small for a locked part to say anything: their target is for cross-validation.
CROSS_VALIDATED = ("cxr_structures", "nsclc_survival", "lus_video")

#: How far the headline may stay below that of the best simple baseline on the same patients, where that is the target.
SHORTFALL = {"nsclc_survival": 0.02}

#: Metrics whose best value is 0, whatever column they are of: a target is an upper limit.
LOWER_IS_BETTER = ("ece", "mae")

#: The memory of the process and its children is looked at this often.
WATCH_S = 0.25

#: Rooms that the budget covers.
BUDGETED = ("profile", "plan", "prepare", "train", "evaluate", "report")


def main() -> int:
    """Run, read what the run left, and record."""
    made = parser(__doc__ or "", "fit_NAME_MINUTES")
    made.add_argument("name", choices=sorted(SETS))
    made.add_argument("--minutes", type=float, default=10.0, help="budget [10]")
    made.add_argument("--keep", type=Path, help="run folder to leave behind [a temporary one]")
    made.add_argument("--option", action="append", default=[], help="further word for lucency fit, e.g. --option=--set")
    options = made.parse_args()
    if options.quick:
        options.minutes = 1.0
    place, targets = SETS[options.name]
    if not (DATA / place).exists():
        raise SystemExit(f"No set {place!r}: set LUCENCY_TEST_DATA to the folder of the real data")
    facts = begin()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = options.keep or Path(folder) / "run"
        watched = watch(command(DATA / place, run, options))
        result = facts | watched | read_run(run, options.minutes, watched)
    judge(result, options.name, targets.get(options.minutes, {}))
    name = f"fit_{options.name}_{options.minutes:g}"
    if options.out is None and not options.quick:
        options.out = RESULTS / f"{name}.json"
    write(name, told(result), result, options)
    return 0


def command(data: Path, run: Path, options: argparse.Namespace) -> list[str]:
    """Return the words a user would type."""
    words = [sys.executable, "-m", "lucency", "fit", str(data), "--out", str(run), "--minutes", f"{options.minutes:g}"]
    return [*words, "--seed", str(options.seed), *WORDS.get(options.name, []), *options.option]


def watch(words: list[str]) -> dict[str, Any]:
    """Run a command and return its wall clock and its highest memory, seen from outside.

    Raises:
        SystemExit: The command failed; its own message stands above.
    """
    begin_s = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    seen = 0.0
    while process.poll() is None:
        seen = max(seen, resident_mib(process.pid))
        time.sleep(WATCH_S)
    wall = time.monotonic() - begin_s
    if process.returncode:
        raise SystemExit(f"lucency fit ended with status {process.returncode}")
    return {"wall_s": round(wall, 1), "memory_mib": {"seen": round(seen), "kernel": kernel_peak_mib()}}


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process and everything it started, MiB; 0 once it is gone."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0.0
    total = 0
    for one in family:
        try:
            total += one.memory_info().rss
        except psutil.Error:
            continue
    return total / 2**20


def kernel_peak_mib() -> int | None:
    """Return the highest resident memory of any finished child, by the kernel's own count; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(peak / (2**20 if platform.system() == "Darwin" else 2**10))


def read_run(run: Path, minutes: float, watched: dict[str, Any]) -> dict[str, Any]:
    """Return what the run's files say, beside what was seen from outside."""
    metrics = json.loads((run / "report" / "metrics.json").read_text(encoding="utf-8"))
    plan = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    rooms = json.loads((run / "rooms.json").read_text(encoding="utf-8"))
    history = json.loads((run / "training" / "history.json").read_text(encoding="utf-8"))
    seconds = {
        room: rooms[room]["seconds"] for room in rooms if isinstance(rooms[room], dict) and "digest" in rooms[room]
    }
    budgeted = sum(seconds.get(room, 0.0) for room in BUDGETED)
    peak = watched["memory_mib"]["kernel"] or watched["memory_mib"]["seen"]
    headline = next(iter(metrics["metrics"]))
    outside = {name: part for name, part in metrics["parts"].items() if name != "locked"}
    forecast = plan["forecast"]
    return {
        "minutes": minutes,
        "task": metrics["task"],
        "headline": headline,
        "n_patients_locked": metrics["n_patients"],
        "n_patients": {name: part["n_patients"] for name, part in metrics["parts"].items()},
        "locked": metrics["metrics"],
        "by_label": metrics["parts"]["locked"]["by_label"],
        "out_of_fold": {name: part["metrics"] for name, part in outside.items()},
        "ece": {k: metrics["metrics"][k] for k in ("ece_before", "ece") if k in metrics["metrics"]},
        "best_baseline": None,
        "beside": {name: compared(part["baselines"], headline) for name, part in metrics["parts"].items()},
        "rooms_s": seconds,
        "forecast_s": forecast["seconds"],
        "wall_to_budget": round(watched["wall_s"] / (60 * minutes), 4),
        "profile_to_report_to_budget": round(budgeted / (60 * minutes), 4),
        "memory_forecast_mib": round(forecast["memory_mib"]),
        "memory_actual_to_forecast": round(peak / forecast["memory_mib"], 4) if forecast["memory_mib"] else None,
        "augment_share": rooms["train"].get("augment_share"),
        "steps": plan["schedule"]["steps"],
        "time_guard": history["time_guard"],
        "folds": plan["folds"],
        "controls": plan["controls"],
        "plan": {k: plan[k] for k in ("network", "grid", "patch", "tile", "batch", "precision", "channels_last")},
    }


def judge(result: dict[str, Any], name: str, targets: dict[str, float]) -> None:
    """Add which part counts for a set, what was reached there, and the target beside the best baseline."""
    pooled = next(iter(result["out_of_fold"]), "locked")
    part = pooled if name in CROSS_VALIDATED else "locked"
    judged = result["out_of_fold"].get(part, result["locked"])
    result["judged_part"] = part
    result["targets"] = reached(judged, targets)
    # Networks that train beside the plan's own are no simple baselines.
    simple = {n: b for n, b in result["beside"][part].items() if n not in result.get("controls", {})}
    best = strongest(simple, result["headline"])
    if best is not None:
        result["best_baseline"] = {"name": best, **result["beside"][part][best]}
        if name in SHORTFALL:
            wanted = result["best_baseline"][result["headline"]]["value"] - SHORTFALL[name]
            result["targets"] |= reached(judged, {result["headline"]: wanted})


def strongest(beside: dict[str, Any], headline: str) -> str | None:
    """Return which of the things compared has the best headline."""
    known = {n: b[headline]["value"] for n, b in beside.items() if (b[headline] or {}).get("value") is not None}
    sign = -1 if headline in LOWER_IS_BETTER else 1
    return max(known, key=lambda n: sign * known[n], default=None)


def compared(found: dict[str, Any], headline: str) -> dict[str, Any]:
    """Return every baseline and control with its headline and its paired difference."""
    kept = ("difference", "p_holm", "verdict")
    return {n: {headline: b["metrics"].get(headline), **{k: b.get(k) for k in kept}} for n, b in found.items()}


def reached(metrics: dict[str, Any], targets: dict[str, float]) -> dict[str, Any]:
    """Return for each target what was wanted, found, and whether it was reached."""
    out: dict[str, Any] = {}
    for name, wanted in targets.items():
        value = metrics.get(name, {}).get("value")
        lower = name.partition("/")[0] in LOWER_IS_BETTER
        good = value is not None and (value <= wanted if lower else value >= wanted)
        out[name] = {"wanted": wanted, "found": value, "reached": good}
    return out


def told(result: dict[str, Any]) -> str:
    """Return the line for the table: the part that counts, what stands beside it, budget, memory."""
    names = list(result["targets"]) or [result["headline"]]
    part = result["judged_part"]
    judged = result["out_of_fold"].get(part, result["locked"])
    found = ", ".join(shown(n, judged.get(n)) for n in names)
    best = result["best_baseline"]
    if best is not None:
        found += f" ({best['name']}: {shown(result['headline'], best[result['headline']])})"
    ratio = result["memory_actual_to_forecast"]
    memory = "–" if ratio is None else f"{ratio:.2f}"
    return (
        f"{part} part, {result['n_patients'][part]} patients: {found}; "
        f"wall {result['wall_to_budget']:.2f} of the budget, memory {memory} of the forecast"
    )


def shown(name: str, metric: dict[str, Any] | None) -> str:
    """Return ``"dice 0.891 (0.885–0.897)"``."""
    if metric is None or metric["value"] is None:
        return f"{name} –"
    ends = "" if metric["lower"] is None else f" ({metric['lower']:.3f}–{metric['upper']:.3f})"
    return f"{name} {metric['value']:.3f}{ends}"


if __name__ == "__main__":
    sys.exit(main())

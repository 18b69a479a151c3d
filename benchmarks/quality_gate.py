"""What degraded images cost a model, with and without the quality gate: fetal heads in ultrasound, train to prediction.

A model is fitted to three quarters of hc18 as a user would do it. The others are predicted untouched, and again each
with one fault of ``quality_faults.py``. Without the gate every mask counts; with it those of rejected images, or of
rejected and warned ones, are abstained from.
"""

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from material import DATA
from quality_faults import FAULTS, STRENGTHS
from recorded import begin, parser, write

from lucency.case import Prediction
from lucency.fit import Run, Settings, fit
from lucency.metrics import dice
from lucency.read import load, read_inputs
from lucency.write.raster import write_picture

NAME = "quality_gate"
#: Every how many-th image is held back, and the faults put into them in turn; a crop would change the task.
HELD = 4
CHOSEN = ("blur", "noise", "overexposed", "underexposed", "inverted")
BOOTSTRAPS = 2000


def main() -> int:
    """Fit, predict three times and record."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--minutes", type=float, default=4.0, help="of the fit [4]")
    options = made.parse_args()
    facts = begin()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = Path(place)
        if options.quick:
            generate_discs(folder / "source", options.seed)
        source = folder / "source" if options.quick else DATA / "hc18"
        truth = parted(source, folder, options.seed)
        minutes = 0.3 if options.quick else options.minutes
        run = fit(folder / "train", folder / "run", settings=Settings(minutes=minutes, seed=options.seed))
        scored = {part: scored_of(run, folder / part, truth) for part in ("untouched", "degraded")}
    rng = np.random.default_rng(options.seed)
    result = facts | {
        "settings": {"set": source.name, "minutes": minutes, "held_back": len(truth), "faults": list(CHOSEN)},
        "strengths": {f: STRENGTHS[f] for f in CHOSEN},
        "parts": {part: gated(rows, rng) for part, rows in scored.items()},
        "by_fault": by_fault(scored["degraded"]),
    }
    whole = {part: found["no gate"]["dice"] for part, found in result["parts"].items()}
    kept = result["parts"]["degraded"]
    write(
        NAME,
        f"Dice untouched {whole['untouched']:.3f}; degraded {whole['degraded']:.3f} without the gate, "
        f"{shown(kept['reject'])} when rejected images are abstained from, {shown(kept['warn'])} with warned ones too",
        result,
        options,
    )
    return 0


def shown(row: Mapping[str, Any]) -> str:
    """Return Dice and abstention in words."""
    value = "none left" if row["dice"] is None else f"{row['dice']:.3f}"
    return f"{value} ({row['abstained']:.0%} abstained)"


def parted(source: Path, folder: Path, seed: int) -> dict[str, np.ndarray]:
    """Lay three quarters out for training and the rest untouched and degraded; return the true masks of the rest."""
    truth = {}
    cases = read_inputs(source / "images")
    masks = {p.name.split(".")[0]: p for p in (source / "masks").iterdir()}
    held = 0
    for number, case in enumerate(cases):
        image = source / "images" / case.sources[0].paths[0]
        # A mask bears the image's name, with or without a word behind it.
        mask = next(p for name, p in masks.items() if name == case.id or name.startswith(case.id + "_"))
        if number % HELD:
            for kind, path in (("images", image), ("masks", mask)):
                (folder / "train" / kind).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / "train" / kind / (case.id + path.suffix))
            continue
        loaded = load(case.sources[0])
        fault = CHOSEN[held % len(CHOSEN)]
        write_picture(folder / "untouched" / f"{case.id}.png", loaded)
        write_picture(folder / "degraded" / f"{case.id}.png", FAULTS[fault][0](loaded, seed + number))
        truth[case.id] = load(read_inputs(mask)[0].sources[0]).array[0, 0] > 0
        held += 1
    return truth


Row = tuple[str, float, Prediction]


def scored_of(run: Run, folder: Path, truth: Mapping[str, np.ndarray]) -> list[Row]:
    """Return fault, Dice and prediction of every image, in the order of the case ids."""
    rows = []
    for number, found in enumerate(sorted(run.predict(folder), key=lambda p: p.case)):
        assert found.mask is not None
        score = dice(truth[found.case], found.mask.array[0, 0] > 0)
        rows.append((CHOSEN[number % len(CHOSEN)], score, found))
    return rows


def gated(rows: Sequence[Row], rng: np.random.Generator) -> dict[str, Any]:
    """Return mean Dice and abstention without a gate, without rejected and without warned images."""
    gates = {"no gate": ("accept", "warn", "reject"), "reject": ("accept", "warn"), "warn": ("accept",)}
    found = {}
    for name, kept in gates.items():
        scores = np.array([score for _, score, p in rows if p.quality in kept])
        lower = upper = value = None
        if len(scores):
            draws = rng.choice(scores, (BOOTSTRAPS, len(scores))).mean(axis=1)
            lower, upper = (round(float(v), 4) for v in np.quantile(draws, (0.025, 0.975)))
            value = round(float(scores.mean()), 4)
        abstained = round(1 - len(scores) / len(rows), 4)
        found[name] = {"dice": value, "lower": lower, "upper": upper, "abstained": abstained}
    return found


def by_fault(rows: Sequence[Row]) -> dict[str, Any]:
    """Return mean Dice and verdicts of each fault."""
    found = {}
    for fault in CHOSEN:
        own = [(score, p.quality) for name, score, p in rows if name == fault]
        counts = {q: sum(quality == q for _, quality in own) for q in ("accept", "warn", "reject")}
        found[fault] = {"dice": round(float(np.mean([s for s, _ in own])), 4), **counts} if own else counts
    return found


def generate_discs(folder: Path, seed: int, n: int = 80) -> None:
    """Write pictures of a bright disc and their masks, for a trial."""
    from lucency.image import Image, diagonal_affine

    rng = np.random.default_rng(seed)
    for number in range(n):
        j, i = np.mgrid[:64, :64] - 32 + rng.normal(0, 3, (2, 1, 1))
        inside = j**2 + i**2 < 250
        grey = (30 + 120 * inside + rng.normal(0, 6, (64, 64))).clip(0, 255)
        for kind, array in (("images", grey), ("masks", 255 * inside)):
            image = Image(array.astype(np.uint8)[None, None], diagonal_affine((1, 1, 1)))
            write_picture(folder / kind / f"disc{number:03}.png", image)


if __name__ == "__main__":
    sys.exit(main())

"""What is lost without a modality, and whether a network trained for that beats zeros in its place.

Two windows of the same lung CT are two modalities of a tumour's outline: the lung window holds -1000 to -200 HU, the
soft-tissue window -150 to 250 HU, each as eight bits. The windows do not overlap: what is white in the first (tumour,
vessel, chest wall) is told apart by the second alone, and what is black in the second (lung, emphysema, air) by the
first alone, so neither can be worked out from the other. Three axial slices a patient, 32 x 32 pixels of 2 mm, from
``nsclc_survival``.

Two sets: one in which all patients have both windows (``--set modality_dropout=0.3``), and one in which a share of them
lacks one, which the planner answers by itself. Each is read, profiled, planned, prepared, trained and judged by the
rooms of ``lucency fit``, with a fixed number of steps so that the machine's load does not change the result. Beside it
the same network without stems and dropout, which is given zeros, trains for as many steps on the same fold. All numbers
are of patients who took no part in training: the locked part, and the fold that was held out.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import DATA
from PIL import Image as Picture
from recorded import begin, parser, write

from lucency import controls, planner, record
from lucency import model as models
from lucency.case import Cohort
from lucency.evaluate import ZERO_FILLING, Grounds, Pattern
from lucency.evaluate.judge import judge_locked, judge_out_of_fold
from lucency.evaluate.missing import patterns
from lucency.events import Clock, Events
from lucency.plan import Machine, Plan
from lucency.planner import Budget
from lucency.prepare import prepare
from lucency.profile import profile
from lucency.read import ReadOptions, read
from lucency.statistics import Metric
from lucency.tasks import task_for
from lucency.train import OutOfFold, Work, calibrate
from lucency.train.member import member

NAME = "missing_modality"

#: (low, high) HU of each modality.
WINDOWS = {"0000": (-1000.0, -200.0), "0001": (-150.0, 250.0)}

#: Chance of a patient to lack one window or the other, in the second run; never both.
LACKING = 0.15

#: Set against the planner's own choice, so that minutes on a busy processor are enough for four networks.
LITTLE = {"batch": "8", "network_options.widths": "[8, 16, 32]", "precision": "fp32"}

#: What the plan is made for, whatever machine runs it.
MACHINE = Machine(cores=2, memory_mib=4000, gflops=100, gflops_fp32=100)

#: Side of the square around the tumour that is shown, in pixels of 2 mm.
SIDE = 32

#: Slices on either side of the one with most tumour, and their distance, in slices of 2 mm.
STEPS = (-3, 0, 3)


def volumes(options: argparse.Namespace) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return patients with their scan in HU and the tumour's mask; those with an empty mask are left out."""
    if options.quick:
        rng = np.random.default_rng(options.seed)
        grid = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"))
        found = []
        for number in range(24):
            inside = ((grid - rng.uniform(9, 14, 3)[:, None, None, None]) ** 2).sum(axis=0) < rng.uniform(16, 40)
            found.append((f"patient_{number:03d}", rng.normal(-800, 60, inside.shape) + 850 * inside, inside))
        return found
    found = []
    for path in sorted((DATA / "nsclc_survival").rglob("*.npz")):
        with np.load(path) as file:
            if file["mask"].any():
                edge = (file["scan"].shape[1] - SIDE) // 2
                middle = (slice(None), slice(edge, edge + SIDE), slice(edge, edge + SIDE))
                found.append((path.stem, file["scan"][middle].astype(np.float32), file["mask"][middle].astype(bool)))
    return found


def laid_out(patients: list[tuple[str, np.ndarray, np.ndarray]], folder: Path, lacking: float, seed: int) -> int:
    """Write the patients as an nnU-Net raw folder, and return how many of them lack a window."""
    rng = np.random.default_rng(seed)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    n = 0
    for patient, scan, mask in patients:
        draw = rng.random()
        gone = "0000" if draw < lacking else "0001" if draw < 2 * lacking else ""
        n += bool(gone)
        middle = int(mask.sum(axis=(1, 2)).argmax())
        for step in STEPS:
            k = int(np.clip(middle + step, 0, len(scan) - 1))
            name = f"{patient}_s{k:02d}"
            Picture.fromarray(mask[k].astype(np.uint8)).save(folder / "labelsTr" / f"{name}.png")
            for window, (low, high) in WINDOWS.items():
                if window != gone:
                    shown = (np.clip((scan[k] - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
                    Picture.fromarray(shown).save(folder / "imagesTr" / f"{name}_{window}.png")
    return n


def numbers(metric: Metric | None) -> list[float | None] | None:
    """Return value and interval."""
    if metric is None:
        return None
    return [
        None if v is None or not np.isfinite(v) else round(v, 4) for v in (metric.value, metric.lower, metric.upper)
    ]


def row(pattern: Pattern) -> dict[str, Any]:
    """Return one choice of modalities as plain numbers."""
    return {
        "cases": pattern.n_cases,
        "patients": pattern.n_patients,
        "dice": numbers(pattern.metric),
        "against_all": numbers(pattern.loss),
        "p_against_all": pattern.p_loss,
        "zero_filling": numbers(pattern.zero_filling),
        "minus_zero_filling": numbers(pattern.gain),
        "p_minus_zero_filling": pattern.p_gain,
        "test": pattern.test,
    }


def planned(cohort: Cohort, options: argparse.Namespace, *, asked: bool) -> Plan:
    """Return the planner's own plan with a fixed number of steps, and zero filling beside it for as many."""
    seen = profile(cohort, workers=1)
    needs = task_for(cohort).needs(seen)
    draft = planner.plan(cohort, seen, needs, MACHINE, Budget(10.0, options.seed))
    draft = planner.overridden(draft, LITTLE | ({"modality_dropout": "0.3"} if asked else {}))
    steps = 4 if options.quick else options.steps
    schedule = replace(draft.schedule, steps=steps, warmup=max(1, steps // 10))
    return replace(draft, schedule=schedule, controls={ZERO_FILLING: steps}, folds=(0,), tta=())


def measured(folder: Path, place: Path, options: argparse.Namespace, *, asked: bool) -> dict[str, Any]:
    """Train both networks on one set, and return every choice of modalities in both held-out parts."""
    cohort = read(folder, ReadOptions(patient=r"(patient_\d+)"))
    plan, task = planned(cohort, options, asked=asked), task_for(cohort)
    store = prepare(cohort, plan, task.target, place / "prepared")
    work = Work(cohort, plan, task, store, place / "training", Clock(), Events())
    work.folder.mkdir()
    weights = member(work, 0, place / "out_of_fold", 1e9).weights
    controls.train(work, place, ZERO_FILLING, 0, 1e9)
    models.save(
        place / "model", plan, calibrate(work, OutOfFold(place / "out_of_fold")), {"fold0": weights}, "# Card\n"
    )
    outputs = OutOfFold(place / "out_of_fold")
    grounds = Grounds(cohort, plan, task, store, models.load(place / "model"), outputs, Events())
    grounds = replace(grounds, controls=controls.grounds_of(grounds, place))
    locked, held = list(cohort.locked_cases), list(cohort.fold(0))
    judged = {"locked": judge_locked(grounds, locked), "out-of-fold": judge_out_of_fold(grounds, held)}
    found = {n: patterns(n, c, judged[n], grounds) for n, c in (("locked", locked), ("out-of-fold", held))}
    return {
        "cases": len(cohort.cases),
        "network_options": record.to_json(plan.network_options),
        "why": plan.reasons["modality_dropout"],
        "parts": {name: {"+".join(x.given): row(x) for x in each} for name, each in found.items()},
    }


def main() -> None:
    """Run the benchmark."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--steps", type=int, default=400, help="of each of the four networks [400]")
    options = made.parse_args()
    result = begin()
    # One thread: two that wait for each other on a busy machine take longer.
    torch.set_num_threads(1)
    patients = volumes(options)
    runs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        for name, share in (("complete", 0.0), ("incomplete", LACKING)):
            folder = Path(place) / name
            lacking = laid_out(patients, folder / "data", share, options.seed)
            found = measured(folder / "data", folder, options, asked=not share)
            runs[name] = {"patients_that_lack_one": lacking, **found}
    said = []
    for name, found in runs.items():
        alone = {k: v for k, v in found["parts"]["out-of-fold"].items() if "+" not in k}
        words = ", ".join(
            f"{k} alone {v['dice'][0]:.3f} ({v['against_all'][0]:+.3f}; beside zeros {v['minus_zero_filling'][0]:+.3f})"
            for k, v in alone.items()
        )
        said.append(f"Dice, {name}: {found['parts']['out-of-fold']['0000+0001']['dice'][0]:.3f} with both, {words}")
    write(
        NAME,
        "; ".join(said),
        result
        | {
            "set": "generated" if options.quick else "nsclc_survival",
            "patients": len(patients),
            "steps": options.steps,
            "runs": runs,
        },
        options,
    )


if __name__ == "__main__":
    main()

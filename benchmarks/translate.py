"""What translation is worth: made images against real ones, voxel by voxel and by what a segmentation model sees.

Two windows of one lung CT, as radiologists look at it, stand for two modalities of which every voxel is known: the lung
window (-1350 to 150 HU) is given, the soft-tissue window (-160 to 240 HU) is wanted, each as eight bits. What lies
above 150 HU is white in the first, and soft tissue takes few of its grey levels. Three axial slices a patient around a
tumour, 46 x 46 pixels of 2 mm, from ``nsclc_survival``.

Two runs over the same patients, locked part and folds: pairs, in which every training patient has both windows, and
single sides, in which each has one of them and the translation learns without pairs. Held-out patients have both in
either run, so that errors can be measured. A segmentation of the tumour learns from the real wanted window of the
training patients and is then shown held-out patients: their real image, the made one, the given one as it is, and
nothing. Steps are fixed, save those of the segmentation, which has a fixed time.
"""

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import DATA
from PIL import Image as Picture
from recorded import begin, parser, write

from lucency import downstream, evaluate, planner, record
from lucency import model as models
from lucency.case import Cohort
from lucency.evaluate import Downstream, Evaluation, Grounds
from lucency.events import Clock, Events
from lucency.plan import Machine, Plan
from lucency.planner import Budget
from lucency.prepare import prepare
from lucency.profile import profile
from lucency.read import ReadOptions, read
from lucency.read.translated import BOTH, GIVEN, WANTED, Words, translated
from lucency.statistics import Metric
from lucency.tasks import task_named
from lucency.train import OutOfFold, Work, calibrate
from lucency.train.member import member
from lucency.walk import LABELLED

NAME = "translate"

#: (low, high) HU of each window.
WINDOWS = {"lung": (-1350.0, 150.0), "soft": (-160.0, 240.0)}

#: Slices on either side of the one with most tumour, and their distance, in slices of 2 mm.
STEPS = (-3, 0, 3)

#: What the plan is made for, whatever machine runs it.
MACHINE = Machine(cores=2, memory_mib=4000, gflops=100, gflops_fp32=100)


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
                found.append((path.stem, file["scan"].astype(np.float32), file["mask"].astype(bool)))
    return found


def laid_out(patients: list[tuple[str, np.ndarray, np.ndarray]], folder: Path) -> None:
    """Write the patients as an nnU-Net raw folder of both windows."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for patient, scan, mask in patients:
        middle = int(mask.sum(axis=(1, 2)).argmax())
        for step in STEPS:
            k = int(np.clip(middle + step, 0, len(scan) - 1))
            name = f"{patient}_s{k:02d}"
            Picture.fromarray(mask[k].astype(np.uint8)).save(folder / "labelsTr" / f"{name}.png")
            for number, (low, high) in enumerate(WINDOWS.values()):
                shown = (np.clip((scan[k] - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
                Picture.fromarray(shown).save(folder / "imagesTr" / f"{name}_{number:04d}.png")
    (folder / "dataset.json").write_text(
        '{"channel_names": {"0": "lung", "1": "soft"}, "labels": {"background": 0, "tumour": 1}}', encoding="utf-8"
    )


def halved(cohort: Cohort, fold: int) -> Cohort:
    """Return the cohort in which each training patient has one window; those held out keep both."""
    patients = sorted({c.patient for c in cohort.outside(fold)})
    given = set(patients[::2])
    cases = []
    for case in cohort.cases:
        name = "lung" if case.patient in given else "soft"
        one = replace(case, images={name: case.images[name]}, target=GIVEN if name == "lung" else WANTED)
        cases.append(one if cohort.folds.get(case.id, fold) != fold else case)
    return replace(cohort, cases=tuple(cases))


def planned(cohort: Cohort, options: argparse.Namespace, *, paired: bool) -> Plan:
    """Return the planner's own plan with a fixed number of steps."""
    task = task_named("translate")
    seen = profile(cohort, workers=1)
    draft = planner.plan(cohort, seen, task.needs(seen), MACHINE, Budget(10.0, options.seed))
    way = {"translate": options.way if paired else options.unpaired_way}
    draft = planner.overridden(draft, way | {"precision": "fp32", "batch": "8" if options.quick else "16"})
    told, reasons = task.told(cohort, draft.task_options)
    steps = 3 if options.quick else options.steps if paired else options.unpaired_steps
    schedule = replace(draft.schedule, steps=steps, warmup=max(1, steps // 10))
    return replace(
        draft,
        schedule=schedule,
        folds=(0,),
        tta=(),
        task_options={**draft.task_options, **told},
        reasons={**draft.reasons, **reasons},
    )


def numbers(metric: Metric | None) -> list[float | None] | None:
    """Return value and interval."""
    if metric is None:
        return None
    return [
        None if v is None or not np.isfinite(v) else round(v, 4) for v in (metric.value, metric.lower, metric.upper)
    ]


def voxels(found: Evaluation) -> dict[str, Any]:
    """Return error and similarity of each part, beside the baselines."""
    return {
        part.name: {
            "patients": part.n_patients,
            **{k: numbers(m) for k, m in part.metrics.items()},
            "baselines": {
                name: {
                    **{k: numbers(m) for k, m in c.metrics.items()},
                    "mae_minus": numbers(c.difference),
                    "p": c.p_holm,
                }
                for name, c in part.baselines.items()
            },
        }
        for part in found.parts
    }


def beside(found: Downstream | None) -> dict[str, Any]:
    """Return what the segmentation makes of each kind of image."""
    if found is None:
        return {}
    return {
        "patients": found.n_patients,
        "steps": found.steps,
        "dice": {arm: numbers(m) for arm, m in found.arms.items()},
        "made_minus": {arm: numbers(m) for arm, m in found.made_minus.items()},
        "p_holm": dict(found.p_holm),
        "test": found.test,
    }


def measured(folder: Path, place: Path, options: argparse.Namespace, *, paired: bool) -> dict[str, Any]:
    """Train one translation, judge it and let the segmentation look at what it makes."""
    place.mkdir()
    labelled = read(folder, ReadOptions(patient=r"(patient_\d+)" if options.quick else r"(.+)_s\d+"))
    record.write(place / LABELLED, labelled)
    cohort = translated(labelled, Words(("lung",), "soft"))
    whole = cohort if paired else halved(cohort, 0)
    plan, task = planned(whole, options, paired=paired), task_named("translate")
    store = prepare(whole, plan, task.target, place / "prepared")
    clock = Clock()
    work = Work(whole, plan, task, store, place / "training", clock, Events())
    work.folder.mkdir()
    begun = clock.elapsed()
    weights = member(work, 0, place / "out_of_fold", 1e9).weights
    train_s = clock.elapsed() - begun
    # The segmentation learns from every training patient's real image in both runs: it is one and the same.
    kept = place.parent / downstream.FOLDER
    if kept.exists():
        shutil.copytree(kept, place / downstream.FOLDER)
    else:
        end = clock.elapsed() + (2.0 if options.quick else options.seconds)
        downstream.train(replace(work, cohort=cohort), place, end)
        shutil.copytree(place / downstream.FOLDER, kept)
    models.save(
        place / "model", plan, calibrate(work, OutOfFold(place / "out_of_fold")), {"fold0": weights}, "# Card\n"
    )
    outputs = OutOfFold(place / "out_of_fold")
    grounds = Grounds(whole, plan, task, store, models.load(place / "model"), outputs, Events())
    found = evaluate.evaluate(grounds, place / "ledger.jsonl")
    return {
        "way": plan.task_options["translate"],
        "training": {kind: sum(c.target == kind for c in whole.outside(0)) for kind in (BOTH, GIVEN, WANTED)},
        "steps": plan.schedule.steps,
        "train_s": round(train_s, 1),
        "voxels": voxels(found),
        "downstream": beside(downstream.judged(grounds, place)),
    }


def main() -> None:
    """Run the benchmark."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--steps", type=int, default=300, help="of the translation from pairs [300]")
    made.add_argument("--unpaired-steps", type=int, default=150, help="of the one without [150]")
    made.add_argument("--way", default="pix2pix", help="from pairs [pix2pix]")
    made.add_argument("--unpaired-way", default="cyclegan", help="without [cyclegan]")
    made.add_argument("--seconds", type=float, default=45.0, help="of the segmentation's training [45]")
    options = made.parse_args()
    result = begin()
    # One thread: two that wait for each other on a busy machine take longer.
    torch.set_num_threads(1)
    patients = volumes(options)
    runs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        laid_out(patients, Path(place) / "data")
        for name, paired in (("pairs", True), ("single sides", False)):
            runs[name] = measured(Path(place) / "data", Path(place) / name.replace(" ", "_"), options, paired=paired)
    said = []
    for name, found in runs.items():
        locked, dice = found["voxels"]["locked"], found["downstream"].get("dice", {})
        arms = ", ".join(f"{arm} {v[0]:.3f}" for arm, v in dice.items())
        said.append(f"{name}: error {locked['mae'][0]:.1f} of 255, SSIM {locked['ssim'][0]:.3f}; tumour Dice {arms}")
    write(
        NAME,
        "; ".join(said),
        result | {"set": "generated" if options.quick else "nsclc_survival", "patients": len(patients), "runs": runs},
        options,
    )


if __name__ == "__main__":
    main()

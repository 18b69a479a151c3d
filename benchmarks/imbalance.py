"""Unlike classes: what the default and the choices that the planner tries reach, and what the trial makes of them.

Chest radiographs (28 × 28) of which the normal ones are thinned out to one in twenty. Every choice trains for as many
steps on the same three folds, as in a trial; beside them stands the default once more with another seed, which can
have no true gain: how often it would be kept is how often a trial errs. All are judged twice: out of fold, as a trial
does, and on images that took no part, half of each class, where nobody chose anything.

The networks are a quarter as wide as planned and see the images few times, so that all of it takes minutes.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import DATA, Material, material
from recorded import begin, parser, write

from lucency import metrics, model, statistics, trial
from lucency.planner import Arm, Trial
from lucency.predict import raw_outputs
from lucency.tasks.classify import TRIED
from lucency.train import OutOfFold, calibrate

NAME = "imbalance"
SETTING, DEFAULT, AGAIN = "imbalance", "plain", "plain, another seed"
FOLDS = (0, 1, 2)

#: Training images of the two classes, and images to judge by of each.
COMMON, RARE, JUDGED = 2100, 105, 400

#: The network and batch of the benchmark.
SMALL = {"widths": (8.0, 16.0, 32.0), "depth": 8}
BATCH = 32


def thinned(path: Path, options: argparse.Namespace, seed: int) -> None:
    """Write the set in which one class is rare, and the images to judge by as its test part."""
    rng = np.random.default_rng(seed)
    if options.quick:
        classes = rng.permutation(np.repeat([0, 1], 400))
        images = rng.normal(100, 30, (800, 12, 12)) + 12 * classes[:, None, None] * np.linspace(-1, 1, 12)
        images = images.clip(0, 255).astype(np.uint8)
        common, rare, n_judged = 200, 60, 40
    else:
        with np.load(DATA / "pneumoniamnist_trainval.npz") as file:
            images = np.concatenate([file["train_images"], file["val_images"]])
            classes = np.concatenate([file["train_labels"], file["val_labels"]]).ravel()
        common, rare, n_judged = COMMON, RARE, JUDGED
    mixed = [rng.permutation(np.flatnonzero(classes == c)) for c in (0, 1)]
    learned = np.concatenate([mixed[0][:rare], mixed[1][:common]])
    judged = np.concatenate([m[-n_judged:] for m in mixed])
    np.savez(
        path,
        train_images=images[learned],
        train_labels=classes[learned, None],
        test_images=images[judged],
        test_labels=classes[judged, None],
    )


def drawn(folder: Path, options: argparse.Namespace, seed: int) -> Material:
    """Return the thinned set on the network's grid, with the benchmark's network in the plan."""
    folder.mkdir()
    thinned(folder / "set.npz", options, seed)
    found = material(folder / "set.npz", folder, seed=seed)
    plan = replace(found.plan, network_options={**found.plan.network_options, **SMALL}, batch=BATCH)
    return replace(found, plan=plan)


def judged_apart(found: Material, asked: Trial, choice: str, run: Path) -> dict[str, float]:
    """Return the mean AUC and balanced accuracy of a choice's members on the images that took no part."""
    work = found.work(trial.plan_of(found.plan, asked, DEFAULT if choice == AGAIN else choice))
    place = run / trial.FOLDER / (DEFAULT if choice == AGAIN else choice)
    calibration = calibrate(work, OutOfFold(place / "out_of_fold"))
    cases = [c.id for c in work.cohort.locked_cases]
    truth = np.array([found.store.target(c) for c in cases], dtype=int)
    each = []
    for fold in asked.folds:
        net = work.task.build(work.plan)["net"]
        net.load_state_dict(model.load_weights(place / f"fold{fold}.safetensors"))
        arrays = (found.store.seen(c) for c in cases)
        raw = np.stack(list(raw_outputs(net.eval(), arrays, work.plan, dense=False, boxes=False)))
        p = work.task.activate(torch.from_numpy(raw), calibration).numpy()
        labels = calibration.label(p)
        auc = float(statistics.auc_of(truth, p[:, 1])(np.ones((1, len(truth))))[0])
        each.append((auc, float(metrics.balanced_accuracy(metrics.confusion(truth, labels, 2)))))
    auc, balanced = np.mean(each, axis=0)
    return {"auc": round(float(auc), 4), "balanced_accuracy": round(float(balanced), 4)}


def told(arms: Sequence[Arm]) -> dict[str, Any]:
    """Return the numbers of a trial, choice by choice, and its verdict."""
    found: dict[str, Any] = {
        a.choice: {
            "auc": trial.ends(a.value),
            **({"gain": trial.ends(a.gain), "p_holm": a.p_holm} if a.gain else {}),
        }
        for a in arms
    }
    return {"arms": found, "kept": trial.kept(arms)}


def one_seed(options: argparse.Namespace, folder: Path, seed: int) -> dict[str, Any]:
    """Train every choice on one draw of the set; judge over folds, fold by fold, and apart."""
    found = drawn(folder, options, seed)
    work = found.work()
    asked = Trial(SETTING, (DEFAULT, *TRIED), FOLDS, options.steps, seconds=1e9)
    trained = [trial.trained(work, asked, choice, folder / "run") for choice in asked.choices]
    other = replace(work, plan=replace(work.plan, seed=seed + 1000))
    again = trial.trained(other, asked, DEFAULT, folder / "again")
    row = {"over folds": told(trial.judged(work, asked, trained))}
    null = replace(asked, choices=(DEFAULT, AGAIN))
    row["seed against seed, over folds"] = told(trial.judged(work, null, [trained[0], again]))
    for fold in FOLDS:
        row[f"fold {fold} alone"] = told(trial.judged(work, replace(asked, folds=(fold,)), trained))
        alone = told(trial.judged(work, replace(null, folds=(fold,)), [trained[0], again]))
        row[f"seed against seed, fold {fold} alone"] = alone
    apart = {choice: judged_apart(found, asked, choice, folder / "run") for choice in asked.choices}
    apart[AGAIN] = judged_apart(found, asked, AGAIN, folder / "again")
    return {"seed": seed, "apart": apart, **row}


def main() -> None:
    """Run the benchmark."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--steps", type=int, default=165, help="of every training [165], three passes")
    made.add_argument("--seeds", type=int, default=3, help="draws of the set [3]")
    made.add_argument(
        "--most-s", type=float, default=400.0, help="no draw is begun that would end after so many seconds [400]"
    )
    options = made.parse_args()
    if options.quick:
        options.steps, options.seeds = 4, 1
    result, began = begin(), time.perf_counter()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for number in range(options.seeds):
            rows.append(one_seed(options, Path(place) / str(number), options.seed + number))
            print(rows[-1]["apart"], rows[-1]["over folds"]["kept"], file=sys.stderr, flush=True)
            so_far = time.perf_counter() - began
            if so_far * (number + 2) / (number + 1) > options.most_s:
                break
    choices = (DEFAULT, *TRIED, AGAIN)
    apart = {
        c: {k: round(float(np.mean([r["apart"][c][k] for r in rows])), 4) for k in ("auc", "balanced_accuracy")}
        for c in choices
    }
    kept = {kind: [v["kept"] for r in rows for k, v in r.items() if _is(k, kind)] for kind in KINDS}
    result |= {
        "set": "generated" if options.quick else "pneumoniamnist_trainval, normal 1 : 20",
        "steps": options.steps,
        "seeds": len(rows),
        "folds": len(FOLDS),
        "seconds": round(time.perf_counter() - began, 1),
        "apart": apart,
        "kept": kept,
        "rows": rows,
    }
    shown = ", ".join(f"{c} {v['auc']:.3f} / {v['balanced_accuracy']:.3f}" for c, v in apart.items())
    errors = [c for kind in NULLS for c in kept[kind] if c != DEFAULT]
    said = (
        f"AUC / balanced accuracy on {2 * JUDGED} images apart, mean of {len(rows)} draws: {shown}; "
        f"trials over folds kept {', '.join(kept['over folds'])}; the default against itself with another seed was "
        f"replaced in {len(errors)} of {sum(len(kept[k]) for k in NULLS)} trials"
    )
    write(NAME, said, result, options)


#: Kinds of trial in a row; those of the default against itself.
NULLS = ("seed against seed, over folds", "seed against seed, one fold")
KINDS = ("over folds", "one fold", *NULLS)


def _is(key: str, kind: str) -> bool:
    """Tell whether a key of a row is of a kind of trial."""
    single = key.endswith(" alone")
    null = key.startswith("seed against seed")
    return key not in ("seed", "apart") and single == kind.endswith("one fold") and null == kind.startswith("seed")


if __name__ == "__main__":
    main()

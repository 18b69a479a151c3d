"""What images without a label are worth: forty labelled chest radiographs, and thousands without a label.

Every way trains the same network, on the same forty labelled images, for as many steps of the labelled task: from
scratch; from a body that first learned from all images by contrast or by filling in what was hidden; taught by the
moving average of itself; and by the pseudo-labels of a teacher, who has the first half of those steps. Each is an
ensemble of two members, each trained with the fold of the other held out. Judged by images of the supplied validation
part, which nobody learned from. Several draws of the forty, each with its own seed.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import DATA
from recorded import begin, parser, write

from lucency import machine, metrics, planner, statistics
from lucency.case import Case, Cohort
from lucency.events import Clock, Events
from lucency.plan import Plan
from lucency.planner import Budget
from lucency.predict import raw_outputs
from lucency.prepare import Store, prepare
from lucency.profile import profile
from lucency.read import read
from lucency.spare import with_unlabelled
from lucency.tasks import Task, task_named
from lucency.train import OutOfFold, Work, calibrate, early
from lucency.train.member import member

NAME = "unlabelled"

#: Way to the settings of the plan that make it.
WAYS: Mapping[str, Mapping[str, str]] = {
    "scratch": {},
    "contrastive": {"pretrain": "contrastive"},
    "masked": {"pretrain": "masked"},
    "mean-teacher": {"unlabelled": "mean-teacher"},
    "pseudo": {"unlabelled": "pseudo"},
}

#: Labelled images of a draw, steps of the labelled task and of a pretext, draws, and members: folds that are held out.
LABELLED, STEPS, PRETEXT_STEPS, DRAWS, MEMBERS = 40, 150, 150, 3, 2

#: Network and batch: the planner's kind of network, narrow enough for so many runs.
WIDTHS, DEPTH, BATCH = (8.0, 16.0, 32.0), 8, 16

#: Draws of the bootstrap over images and draws of the forty.
RESAMPLES = 2000


def made(folder: Path) -> Path:
    """Write images of 28 × 28 in two classes, noise on a slope one way or the other; return the file."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 120), ("val", 60)):
        truth = rng.integers(0, 2, n)
        slope = (2 * truth[:, None, None] - 1) * np.linspace(-30, 30, 28)
        arrays[f"{part}_images"] = (128 + slope + rng.normal(0, 40, (n, 28, 28))).clip(0, 255).astype(np.uint8)
        arrays[f"{part}_labels"] = truth
    np.savez(folder / "made.npz", **arrays)  # type: ignore[arg-type]
    return folder / "made.npz"


def cohort_of(file: Path, seed: int, labelled: int) -> Cohort:
    """Return the set with the labels of all but a few training images taken away, the validation part locked."""
    found = read(file)
    rng = np.random.default_rng(seed)
    train = [c for c in found.cases if c.part == "train"]
    kept: set[str] = set()
    for name in found.classes:
        own = [c.id for c in train if c.target == name]
        share = max(2, round(labelled * len(own) / len(train)))
        kept |= {own[int(n)] for n in rng.choice(len(own), share, replace=False)}
    others = [c for c in train if c.id not in kept]
    cases = [
        *(replace(c, part="") for c in train if c.id in kept),
        *(replace(c, target=None, part="") for c in others),
        *(replace(c, part="test") for c in found.cases if c.part == "val"),
    ]
    order = {name: rng.permutation([i for i in sorted(kept) if _target(train, i) == name]) for name in found.classes}
    folds = {str(i): n % 5 for ids in order.values() for n, i in enumerate(ids)}
    locked = frozenset(c.id for c in cases if c.part == "test")
    return with_unlabelled(replace(found, cases=tuple(cases), folds=folds, locked=locked))


def _target(cases: list[Case], name: str) -> object:
    return next(c.target for c in cases if c.id == name)


def plan_of(cohort: Cohort, task: Task, seed: int, steps: int) -> Plan:
    """Return the planner's plan with network, batch, steps and members fixed."""
    found = profile(cohort)
    needs = replace(task.needs(found), pretrain="none")
    draft = planner.plan(cohort, found, needs, machine.measure(), Budget(10.0, seed))
    schedule = replace(draft.schedule, steps=steps, warmup=max(1, steps // 10))
    options = {**draft.network_options, "widths": WIDTHS, "depth": DEPTH, "strides": ""}
    return replace(
        draft,
        network="resnet",
        network_options=options,
        batch=BATCH,
        schedule=schedule,
        folds=tuple(range(MEMBERS)),
        seed=seed,
        precision="fp32",
        compile=False,
    )


def answered(work: Work, pretext_steps: int, way: str) -> tuple[np.ndarray, float, list[list[float]]]:
    """Train one way; return (n, classes) mean probabilities of the judged images, seconds, and thresholds if any."""
    before = time.perf_counter()
    settings = WAYS[way]
    plan = replace(work.plan, **settings, pretrain_steps=pretext_steps if "pretrain" in settings else 0)  # type: ignore[arg-type]
    own = replace(work, plan=plan, folder=work.folder / way.replace(" ", ""))
    outputs = own.folder / "out_of_fold"
    early.first_round(own, 1e9)
    members = [member(own, fold, outputs, 1e9) for fold in plan.folds]
    calibration = calibrate(own, OutOfFold(outputs))
    judged = [c.id for c in own.cohort.locked_cases]
    total = np.zeros((len(judged), len(plan.classes)))
    for one in members:
        net = own.task.build(plan)["net"]
        net.load_state_dict(dict(one.weights))
        raw = np.stack(list(raw_outputs(net.eval(), [own.store.image(c) for c in judged], plan, dense=False)))
        total += own.task.activate(torch.from_numpy(raw), calibration).numpy()
    sure = [[float(v) for v in one.facts["sure_at"]] for one in members]
    return total / len(members), time.perf_counter() - before, [s for s in sure if s]


def judged_of(truth: np.ndarray, p: np.ndarray, seed: int) -> dict[str, Any]:
    """Return AUC and accuracy with intervals; every image is its own patient."""
    patients = [str(n) for n in range(len(truth))]
    auc = statistics.auc_metric(truth, p[:, 1], patients, np.random.default_rng(seed))
    hits = int((p.argmax(axis=1) == truth).sum())
    low, high = statistics.wilson(hits, len(truth))
    return {
        "auc": {"value": round(auc.value, 4), "lower": auc.lower, "upper": auc.upper, "method": auc.method},
        "accuracy": {"value": round(hits / len(truth), 4), "lower": low, "upper": high, "method": "Wilson"},
    }


def against_scratch(truth: np.ndarray, answers: Mapping[str, list[np.ndarray]]) -> dict[str, Any]:
    """Return the mean AUC of each way over the draws and its gain, both resampled over images and over draws."""
    rng = np.random.default_rng(0)
    n, draws = len(truth), len(answers["scratch"])
    weights, chosen = [], []
    for _ in range(RESAMPLES):
        weights.append(np.bincount(rng.integers(0, n, n), minlength=n))
        chosen.append(rng.integers(0, draws, draws))
    counted = np.stack(weights)
    found: dict[str, Any] = {}
    areas = {}
    for way, each in answers.items():
        areas[way] = np.stack([statistics.macro_auc_of(truth, p)(counted) for p in each])
        plain = [metrics.auc(truth, p[:, 1]) for p in each]
        found[way] = {"mean_auc": round(float(np.mean(plain)), 4), "auc_of_draws": [round(v, 4) for v in plain]}
    picked = np.stack(chosen)
    rows = np.arange(RESAMPLES)[:, None]
    for way, area in areas.items():
        gain = (area - areas["scratch"]).T[rows, picked].mean(axis=1)
        mean = found[way]["mean_auc"] - found["scratch"]["mean_auc"]
        low, high = np.quantile(gain, [0.025, 0.975])
        found[way] |= {"gain": round(mean, 4), "gain_lower": round(float(low), 4), "gain_upper": round(float(high), 4)}
    return found


def run(options: Any, folder: Path) -> dict[str, Any]:
    """Train every way on every draw."""
    steps, pretext = (20, 20) if options.quick else (options.steps, options.pretext_steps)
    labelled = 20 if options.quick else options.labelled
    file = made(folder) if options.quick else DATA / "pneumoniamnist_trainval.npz"
    task = task_named("classify")
    answers: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
    draws: list[dict[str, Any]] = []
    truth = np.zeros(0, dtype=int)
    for draw in range(1 if options.quick else options.draws):
        cohort = cohort_of(file, options.seed + draw, labelled)
        plan = plan_of(cohort, task, options.seed + draw, steps)
        # Images of 28 pixels keep one core busy; more threads wait for each other longer than they work.
        torch.set_num_threads(1)
        # Prepared once, with the images without a label in it.
        store: Store = prepare(cohort, replace(plan, pretrain="contrastive"), task.target, folder / f"prepared{draw}")
        work = Work(cohort, plan, task, store, folder / f"draw{draw}", Clock(), Events())
        truth = np.array([plan.classes.index(str(c.target)) for c in cohort.locked_cases])
        row: dict[str, Any] = {"labelled": len(cohort.trainable), "unlabelled": len(cohort.unlabelled)}
        for way in WAYS:
            p, seconds, sure = answered(work, pretext, way)
            answers[way].append(p)
            row[way] = {
                **judged_of(truth, p, draw),
                "seconds": round(seconds, 1),
                **({"sure_at": sure} if sure else {}),
            }
            print(f"draw {draw}, {way}: {row[way]['auc']['value']}, {seconds:.0f} s", file=sys.stderr, flush=True)
        draws.append(row)
    settings = {"steps": steps, "pretext_steps": pretext, "members": MEMBERS, "batch": BATCH, "judged": len(truth)}
    return {**settings, "draws": draws, "ways": against_scratch(truth, answers)}


def said(result: Mapping[str, Any]) -> str:
    """Return the line of the table."""
    first = result["draws"][0]
    words = [
        f"{way} {one['mean_auc']:.3f}"
        + ("" if way == "scratch" else f" ({one['gain']:+.3f}, {one['gain_lower']:+.3f} to {one['gain_upper']:+.3f})")
        for way, one in result["ways"].items()
    ]
    return (
        f"pneumoniamnist, {first['labelled']} labelled, {first['unlabelled']} not, {len(result['draws'])} draws, "
        f"mean AUC on {result['judged']} others and gain over scratch: {'; '.join(words)}"
    )


def main() -> None:
    """Run the benchmark."""
    words = parser(__doc__ or "", NAME)
    words.add_argument("--labelled", type=int, default=LABELLED, help=f"labelled images [{LABELLED}]")
    words.add_argument("--draws", type=int, default=DRAWS, help=f"draws of them [{DRAWS}]")
    words.add_argument("--steps", type=int, default=STEPS, help=f"steps of the labelled task [{STEPS}]")
    words.add_argument("--pretext-steps", type=int, default=PRETEXT_STEPS, help=f"steps of a pretext [{PRETEXT_STEPS}]")
    options = words.parse_args()
    head = begin()
    with tempfile.TemporaryDirectory() as place:
        result = {**head, **run(options, Path(place))}
    write(NAME, said(result), result, options)


if __name__ == "__main__":
    main()

"""A simulated annotator: how many slices and how much drawing the work list of ``lucency annotate`` saves.

On heart slices (``sunnybrook_lv``) a network begins with a few slices, the room orders the rest, the annotator gives
the truth of the first of them, and so on; by every strategy and by the control, foreground-aware random, from the same
start with the same number of training steps, over several seeds. Judged is Dice on patients that take no part.

Two savings are told apart. *By order*: the share of the cases that a strategy needs to reach the score that the control
has at the end. *By pre-annotation*: contour pixels that are drawn when the model's suggestion is corrected, against all
contour pixels when everything is drawn afresh. The model of drawing: pixels of the true border farther than one pixel
from the suggested border are drawn, pixels of the suggested border farther than one pixel from the true one are taken
away, and whoever would touch more pixels than the true border has draws it afresh instead; one click stands for five
pixels of border, so shares of clicks and of pixels are the same.

Beside them stands how well the stated quality ranks the cases: Spearman's correlation with the true Dice of the
pre-annotations, one for each look at the pool.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from material import DATA, generate_volumes
from recorded import begin, parser, write
from scipy import ndimage, stats

from lucency import machine, metrics, planner
from lucency import model as models
from lucency.annotate import listed, look
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Source
from lucency.events import Clock, Events
from lucency.plan import Grid, Plan
from lucency.planner import Budget
from lucency.predict import predict
from lucency.prepare import Store, prepare
from lucency.profile import profile
from lucency.read import ReadOptions, load, read
from lucency.tasks import Task, task_for
from lucency.train import Work, train_member

NAME = "annotate"

#: Orders that are compared: the control, and the default.
STRATEGIES = ("random", "mixed")

#: Labelled slices at the start and after each round.
SIZES = (8, 16, 32)

#: Patients who take no part, and slices of a patient that do: neighbouring ones tell nothing new.
TEST_PATIENTS, SLICES = 10, 4

#: Side of the network's grid, its widths, and the steps of every training. A network of two levels at 48 pixels called
#: nothing after 60 steps and reached a Dice of .5 after 300: then no order can matter.
SIDE, WIDTHS, STEPS, BATCH = 96, (8.0, 16.0, 32.0, 64.0), 250, 8

#: A border within so many pixels of the true one needs no correction.
NEAR = 1.0

#: Dice by which the control must be better than calling nothing, for the result to say anything.
LEARNED = 0.2

#: Resamples of seeds and patients.
RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Bench:
    """What all runs share.

    Args:
        cohort: Every case with its truth.
        pool: Ids that can be annotated.
        test: Cases of the patients who take no part.
        plan: Of the small network.
        task: Segmentation.
        store: Prepared cases.
        folder: For weights.
    """

    cohort: Cohort
    pool: tuple[str, ...]
    test: tuple[Case, ...]
    plan: Plan
    task: Task
    store: Store
    folder: Path


def main() -> None:
    """Run the benchmark."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--seeds", type=int, default=4, help="repetitions with another start [4]")
    made.add_argument("--minutes", type=float, default=9.0, help="no further repetition is begun that would end later")
    made.add_argument("--steps", type=int, default=STEPS, help=f"of every training [{STEPS}]")
    options = made.parse_args()
    sizes = (4, 6) if options.quick else SIZES
    if options.quick:
        options.seeds, options.steps = 2, 10
    result = begin()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        bench = bench_of(Path(place), options)
        scores, drawn, ranks = runs(bench, sizes, options.seeds, time.monotonic() + 60 * options.minutes)
    # A network that calls nothing has the Dice of the slices on which there is nothing.
    empty = float(np.mean([not _truth(c).any() for c in bench.test]))
    if not options.quick and np.nanmean(scores[STRATEGIES[0]][:, -1]) < empty + LEARNED:
        raise SystemExit("The control learned nothing, so no order can be judged: give more --steps")
    patients = [c.patient for c in bench.test]
    found = summed(scores, drawn, patients, sizes, np.random.default_rng(options.seed))
    found["quality_ranks"] = ranked(ranks, np.random.default_rng(options.seed))
    settings = {
        "set": "generated" if options.quick else "sunnybrook_lv",
        "sizes": sizes,
        "seeds": len(next(iter(scores.values()))),
        "steps": options.steps,
        "pool": len(bench.pool),
        "test": {"cases": len(bench.test), "patients": len(set(patients))},
        "network": {"side": SIDE, "widths": WIDTHS, "batch": BATCH},
        "click_pixels": 5,
    }
    write(NAME, said(found, sizes), {**result, "settings": settings, **found}, options)


def bench_of(folder: Path, options: argparse.Namespace) -> Bench:
    """Return slices of every patient on the grid of the small network."""
    data, options_read = DATA / "sunnybrook_lv", ReadOptions()
    if options.quick:
        generate_volumes(folder / "data", np.random.default_rng(options.seed))
        data = folder / "data"
    cohort = read(data, options_read)
    rng = np.random.default_rng(options.seed)
    patients = sorted({c.patient for c in cohort.cases})
    aside = set(rng.permutation(patients)[: min(TEST_PATIENTS, len(patients) // 3)])
    cases = [c for p in patients for c in _spread([c for c in cohort.cases if c.patient == p])]
    test = tuple(c for c in cases if c.patient in aside)
    pool = tuple(c.id for c in cases if c.patient not in aside)
    # The pool's own cases are all that the plan may know of.
    known = replace(cohort, cases=tuple(cases), folds=dict.fromkeys(pool, 1), locked=frozenset(c.id for c in test))
    task, seen = task_for(known), profile(known, workers=1)
    drafted = planner.plan(known, seen, task.needs(seen), machine.measure(), Budget(10.0, options.seed))
    size = (1, SIDE, SIDE) if drafted.dims == 2 else drafted.grid.size
    plan = replace(
        drafted,
        grid=Grid("fit", size, (1.0, 1.0, 1.0)) if drafted.dims == 2 else drafted.grid,
        patch=size if drafted.dims == 2 else drafted.patch,
        tile=size if drafted.dims == 2 else drafted.tile,
        batch=BATCH if drafted.dims == 2 else 2,
        network_options={**drafted.network_options, "widths": WIDTHS, "strides": ""},
        # So few steps need a high rate and a short memory of the weights.
        schedule=replace(drafted.schedule, steps=options.steps, warmup=max(1, options.steps // 10), rate=5e-3, ema=0.9),
        folds=(0,),
        tta=(),
    )
    store = prepare(known, plan, task.target, folder / "prepared", workers=1)
    return Bench(known, pool, test, plan, task, store, folder)


def _spread(cases: Sequence[Case]) -> list[Case]:
    """Return some slices of a patient, evenly spaced."""
    take = np.unique(np.linspace(0, len(cases) - 1, min(SLICES, len(cases))).astype(int))
    return [cases[n] for n in take]


def runs(
    bench: Bench, sizes: Sequence[int], seeds: int, deadline: float
) -> tuple[dict[str, np.ndarray], dict[str, list[tuple[float, float]]], list[list[float]]]:
    """Return Dice, (seed, size, test case), and (touched, all) border pixels of each seed, by strategy.

    The third are the correlations of stated quality and true Dice, seed by seed.
    """
    by_id = {c.id: c for c in bench.cohort.cases}
    scores = {s: np.full((seeds, len(sizes), len(bench.test)), np.nan) for s in STRATEGIES}
    drawn: dict[str, list[tuple[float, float]]] = {s: [] for s in STRATEGIES}
    ranks: list[list[float]] = []
    truths = {c: _truth(by_id[c]) for c in bench.pool}
    began = time.monotonic()
    for seed in range(seeds):
        if seed and time.monotonic() + (time.monotonic() - began) / seed > deadline:
            print(f"no time for more than {seed} of {seeds} seeds", flush=True)
            return {s: v[:seed] for s, v in scores.items()}, drawn, ranks
        ranks.append([])
        start = _start(bench, sizes[0], np.random.default_rng(1000 + seed))
        first = trained(bench, start, seed)
        for strategy in STRATEGIES:
            model, labelled = first, set(start)
            touched = whole = 0.0
            for number, size in enumerate(sizes):
                scores[strategy][seed, number] = judged(bench, model)
                if number + 1 == len(sizes):
                    break
                cases = [replace(by_id[c], target=None) for c in bench.pool]
                masks, looks = zip(*((p.mask, one) for p, one in look(model, cases)), strict=True)
                suggested = {one.case.id: mask.array[0] for mask, one in zip(masks, looks, strict=True)}
                open_ = [one for one in looks if one.case.id not in labelled]
                true = [metrics.dice(suggested[o.case.id] > 0, truths[o.case.id]) for o in open_]
                rank = float(stats.spearmanr([o.quality for o in open_], true).statistic)
                ranks[-1].append(rank if np.isfinite(rank) else 0.0)
                order = listed(list(looks), labelled, strategy, np.random.default_rng(seed))
                chosen = [one.case.id for one, _ in order[: sizes[number + 1] - size]]
                for case in chosen:
                    one, every = pixels(suggested[case] > 0, truths[case])
                    touched, whole = touched + one, whole + every
                labelled |= set(chosen)
                model = trained(bench, sorted(labelled), seed)
            drawn[strategy].append((touched, whole))
            print(f"seed {seed}, {strategy}: {np.nanmean(scores[strategy][seed], axis=1).round(3)}", flush=True)
    return scores, drawn, ranks


def _truth(case: Case) -> np.ndarray:
    """Return the true region, (K, J, I) bool."""
    assert isinstance(case.target, Source)
    return np.asarray(load(case.target).array[0] > 0)


def ranked(ranks: Sequence[Sequence[float]], rng: np.random.Generator) -> dict[str, float | None]:
    """Return the mean correlation of stated quality and true Dice, with a bootstrap interval over seeds."""
    means = np.array([np.mean(one) for one in ranks])
    return _interval(float(means.mean()), means[rng.integers(0, len(means), (RESAMPLES, len(means)))].mean(axis=1))


def _start(bench: Bench, n: int, rng: np.random.Generator) -> list[str]:
    """Return the first labelled cases: two of each of a few patients, as a project begins."""
    patient = {c.id: c.patient for c in bench.cohort.cases}
    chosen: list[str] = []
    for who in rng.permutation(sorted({patient[c] for c in bench.pool})):
        own = [c for c in bench.pool if patient[c] == who]
        chosen += [str(c) for c in rng.permutation(own)[:2]]
        if len(chosen) >= n:
            break
    return sorted(chosen[:n])


def trained(bench: Bench, labelled: Sequence[str], seed: int) -> models.Model:
    """Return a model that was trained on these cases for the same number of steps as any other."""
    held = bench.test[0].id
    cases = tuple(c for c in bench.cohort.cases if c.id in {*labelled, held})
    # A fold must be held out; nothing is chosen by it.
    cohort = replace(bench.cohort, cases=cases, folds={c.id: int(c.id != held) for c in cases}, locked=frozenset[str]())
    with tempfile.TemporaryDirectory(dir=bench.folder) as place:
        plan = replace(bench.plan, seed=seed)
        work = Work(cohort, plan, bench.task, bench.store, Path(place), Clock(), Events())
        weights = train_member(work, 0, deadline=1e9).weights
        # A folder for each: a model reads its weights when they are first asked for.
        folder = Path(tempfile.mkdtemp(dir=bench.folder, prefix="model"))
        models.save(folder, plan, Calibration(), {"fold0": weights}, "# simulated annotator")
    return models.load(folder)


def judged(bench: Bench, model: models.Model) -> np.ndarray:
    """Return Dice of each test case."""
    cases = {c.id: c for c in bench.test}
    found = predict(model, bench.test)
    return np.array([bench.task.score(p, cases[p.case], model.plan)["dice"] for p in found])


def pixels(suggested: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return the border pixels that are touched when a suggestion is corrected, and those of the whole true border."""
    mine, true = (_border(m) for m in (suggested, truth))
    every = float(true.sum())
    if not mine.any() or not true.any():
        return every, every
    far = [ndimage.distance_transform_edt(~b) > NEAR for b in (mine, true)]
    touched = float((true & far[0]).sum() + (mine & far[1]).sum())
    return min(touched, every), every


def _border(mask: np.ndarray) -> np.ndarray:
    return np.asarray(mask & ~ndimage.binary_erosion(mask, np.ones((1, 3, 3))))


def summed(
    scores: dict[str, np.ndarray],
    drawn: dict[str, list[tuple[float, float]]],
    patients: Sequence[str],
    sizes: Sequence[int],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return curves, shares of cases and of border pixels, each with a bootstrap interval over seeds and patients."""
    control, seeds = STRATEGIES[0], next(iter(scores.values())).shape[0]
    names, who = np.unique(patients, return_inverse=True)
    draws = []
    for _ in range(RESAMPLES):
        seed = rng.integers(0, seeds, seeds)
        count = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        draws.append((seed, count[who].astype(float)))
    whole = (np.arange(seeds), np.ones(len(patients)))

    def curve(strategy: str, draw: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        values, weight = scores[strategy][draw[0]], draw[1]
        known = np.isfinite(values)
        total = (np.where(known, values, 0) * weight).sum(axis=2) / (known * weight).sum(axis=2)
        return np.asarray(total.mean(axis=0))

    found: dict[str, Any] = {}
    for strategy in STRATEGIES:
        curves = np.stack([curve(strategy, d) for d in draws])
        goal = np.array([curve(control, d)[-1] for d in draws])
        gain = curves - np.stack([curve(control, d) for d in draws])
        shares = np.array([share_of_cases(c, g, sizes) for c, g in zip(curves, goal, strict=True)])
        ratio = np.array(drawn[strategy])
        means = [ratio[d[0]].sum(axis=0) for d in draws]
        found[strategy] = {
            "dice": [_interval(v, c) for v, c in zip(curve(strategy, whole), curves.T, strict=True)],
            "gain_over_control": [
                _interval(v, c) for v, c in zip(curve(strategy, whole) - curve(control, whole), gain.T, strict=True)
            ],
            "share_of_cases": _interval(
                share_of_cases(curve(strategy, whole), curve(control, whole)[-1], sizes), shares
            )
            | {"not_reached": round(float(np.isinf(shares).mean()), 3)},
            "share_of_border": _interval(
                float(ratio[:, 0].sum() / ratio[:, 1].sum()), np.array([a / b for a, b in means])
            ),
        }
    return {"strategies": found}


def share_of_cases(curve: np.ndarray, goal: float, sizes: Sequence[int]) -> float:
    """Return the cases at which a curve first reaches the goal, as a share of the last size; infinite where never."""
    for number in range(len(sizes)):
        if curve[number] >= goal - 1e-12:
            if number == 0:
                return sizes[0] / sizes[-1]
            rise = (goal - curve[number - 1]) / max(curve[number] - curve[number - 1], 1e-12)
            return float((sizes[number - 1] + rise * (sizes[number] - sizes[number - 1])) / sizes[-1])
    return float("inf")


def _interval(value: float, draws: np.ndarray) -> dict[str, float | None]:
    """Return value and 95 % percentiles; None where a number is infinite: the goal was not reached."""
    lower, upper = np.percentile(draws, (2.5, 97.5), method="nearest")
    shown = {"value": value, "lower": lower, "upper": upper}
    return {k: round(float(v), 4) if np.isfinite(v) else None for k, v in shown.items()}


def said(found: dict[str, Any], sizes: Sequence[int]) -> str:
    """Return the result as one phrase."""
    parts = []
    for strategy, one in found["strategies"].items():
        cases, border, gain = one["share_of_cases"], one["share_of_border"], one["gain_over_control"][-1]
        told = f"{strategy}: border drawn {border['value']:.2f} ({border['lower']:.2f}-{border['upper']:.2f})"
        if strategy != STRATEGIES[0]:
            share = " ".join("never" if cases[k] is None else f"{cases[k]:.2f}" for k in ("value", "lower", "upper"))
            told += (
                f", cases to the control's score {share}, Dice against it {gain['value']:+.3f} "
                f"({gain['lower']:+.3f} to {gain['upper']:+.3f})"
            )
        parts.append(told)
    rank = found["quality_ranks"]
    parts.append(f"stated quality ranks true Dice by {rank['value']:.2f} ({rank['lower']:.2f}-{rank['upper']:.2f})")
    return f"{'; '.join(parts)}; {sizes[0]} to {sizes[-1]} slices"


if __name__ == "__main__":
    main()

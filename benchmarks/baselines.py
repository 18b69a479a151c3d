"""Seconds that the simple baselines take, case by case, beside what the planner sets aside for them."""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from material import DATA, Material, generate_images, generate_volumes, material
from recorded import begin, parser, write

from lucency import baselines
from lucency.losses import IGNORE
from lucency.planner.pace import baseline_seconds

NAME = "baselines"

#: Real sets, small and large, images and masks.
SETS = {
    "pneumoniamnist": "pneumoniamnist_trainval.npz",
    "mednist": "mednist/mednist_64.npz",
    "hippocampus": "hippocampus",
    "sunnybrook_lv": "sunnybrook_lv",
    "hc18": "hc18",
}


def main() -> int:
    """Measure and record."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("sets", nargs="*", help=f"of {', '.join(SETS)} [all]")
    made.add_argument("--most", type=int, help="cases of a set, at most [all]")
    options = made.parse_args()
    unknown = sorted(set(options.sets) - set(SETS))
    if unknown:
        made.error(f"no set {unknown[0]!r}; there are {', '.join(SETS)}")
    facts = begin()
    rng = np.random.default_rng(options.seed)
    found = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = Path(place)
        wanted = {n: DATA / SETS[n] for n in options.sets or SETS}
        if options.quick:
            generate_volumes(folder / "data" / "volumes", rng)
            generate_images(folder / "data" / "images.npz", rng)
            wanted = {"volumes": folder / "data" / "volumes", "images": folder / "data" / "images.npz"}
        for number, (name, data) in enumerate(wanted.items()):
            given = material(data, folder / str(number), seed=options.seed, most=options.most)
            found[name] = (masks if given.task.dense else images)(given)
    said = ", ".join(f"{n}: {v['all_s']:.1f} s (set aside {v['set_aside_s']:.1f} s)" for n, v in found.items())
    write(NAME, said, facts | {"sets": found}, options)
    return 0


def images(given: Material) -> dict[str, Any]:
    """Time the features and every classifier, as evaluation uses them: out of fold 0 and on the locked part."""
    store, plan = given.store, given.plan
    ids = sorted(store.entries)
    table: dict[str, np.ndarray] = {}

    def describe() -> None:
        for case in ids:
            table[case] = baselines.features(store.image(case).astype(np.float32), dims=plan.dims)

    seconds = {"features": spent(describe)}
    for baseline in baselines.IMAGE_BASELINES.values():

        def judge(baseline: baselines.ImageBaseline = baseline) -> None:
            for learn, asked in splits(given):
                targets = np.array([int(store.target(c)) for c in learn])
                known, new = (np.stack([table[c] for c in part]) for part in (learn, asked))
                baseline.fit_predict(known, targets, new, len(plan.classes), plan.seed)

        seconds[baseline.name] = spent(judge)
    return told(given, seconds)


def masks(given: Material) -> dict[str, Any]:
    """Time fitting and drawing of every mask baseline, as evaluation uses them."""
    store, n_labels = given.store, len(given.plan.labels)
    seconds = {}
    for baseline in baselines.MASK_BASELINES.values():

        def judge(baseline: baselines.MaskBaseline = baseline) -> None:
            for learn, asked in splits(given):
                chosen = learn[:: max(1, len(learn) // baselines.MASK_IMAGES)]
                fitted = baseline.fit(
                    [store.image(c).astype(np.float32) for c in chosen],
                    [np.asarray(store.mask(c)) for c in chosen],
                    n_labels,
                    ignore=IGNORE,
                )
                for case in asked:
                    fitted.predict(store.image(case).astype(np.float32))

        seconds[baseline.name] = spent(judge)
    return told(given, seconds)


def splits(given: Material) -> list[tuple[list[str], list[str]]]:
    """Return (cases to learn from, cases to ask) of fold 0 and of the locked part."""
    cohort = given.cohort
    pairs = [(cohort.outside(0), cohort.fold(0)), (cohort.trainable, cohort.locked_cases)]
    return [([c.id for c in learn], [c.id for c in asked]) for learn, asked in pairs if learn and asked]


def spent(work: Callable[[], None]) -> float:
    """Return the seconds of one call: a baseline is fitted once, so nothing is warmed up."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def told(given: Material, seconds: dict[str, float]) -> dict[str, Any]:
    """Return the times beside the planner's allowance."""
    n, total = given.profile.n_cases, sum(seconds.values())
    return {
        "training_cases": n,
        "grid": given.plan.grid.size,
        "all_s": round(total, 3),
        "set_aside_s": round(baseline_seconds(given.profile, dense=given.task.dense), 3),
        "seconds": {name: round(s, 3) for name, s in seconds.items()},
        "ms_per_training_case": {name: round(1000 * s / n, 3) for name, s in seconds.items()},
    }


if __name__ == "__main__":
    sys.exit(main())

"""Mosaics for boxes: the same network and steps on few images with and without, judged on images it did not see."""

import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import DATA
from recorded import begin, parser, write

from lucency.calibration import Calibration
from lucency.case import Case, Cohort
from lucency.events import Clock, Events
from lucency.plan import Machine, Plan
from lucency.planner import Budget
from lucency.planner import plan as make_plan
from lucency.predict import raw_outputs
from lucency.prepare import prepare
from lucency.profile import profile
from lucency.read import ReadOptions, read
from lucency.tasks import Judged, Task, task_named
from lucency.train import Work, train_member

NAME = "detect_mosaic"

#: The planner's choices shall not depend on who measures.
MACHINE = Machine(cores=2, memory_mib=4000, gflops=50, gflops_fp32=50)


def main() -> int:
    """Train once with each chance of a mosaic and record."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--set", default="bccd", help="set with boxes [bccd]")
    made.add_argument("--images", type=int, default=60, help="images to train on, and as many to judge on [60]")
    made.add_argument("--steps", type=int, default=200, help="steps of each training [200]")
    made.add_argument("--chances", type=float, nargs="+", default=[0.0, 0.5], help="of a mosaic, the first is compared")
    options = made.parse_args()
    if options.quick:
        options.images, options.steps, options.chances = 12, 2, [0.0, 1.0]
    if not (DATA / options.set).exists():
        raise SystemExit(f"No set {options.set!r}: set LUCENCY_TEST_DATA to the folder of the real data")
    facts, task = begin(), task_named("detect")
    cohort = few(read(DATA / options.set, ReadOptions(boxes=True)), options.images)
    seen = profile(cohort)
    drawn = make_plan(cohort, seen, task.needs(seen), MACHINE, Budget(5, options.seed))
    drawn = replace(drawn, precision="fp32", schedule=replace(drawn.schedule, steps=options.steps, warmup=20))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        judged = {c: trained(cohort, with_mosaic(drawn, c), task, Path(folder) / str(c)) for c in options.chances}
    rows: dict[str, Any] = {}
    for chance, found in judged.items():
        rng = np.random.default_rng(options.seed)
        metrics = task.measure(found, drawn, rng).metrics
        rows[f"{chance:g}"] = {name: asdict(metrics[name]) for name in ("map50", "map50_95", "froc")}
        if chance != options.chances[0]:
            gain, p, test = task.compare(found, judged[options.chances[0]], drawn, rng)
            rows[f"{chance:g}"]["gain"] = {**asdict(gain), "p": p, "test": test}
    said = "; ".join(f"mosaic {name}: map50 {row['map50']['value']:.3f}" for name, row in rows.items())
    settings = {"set": options.set, "images": options.images, "steps": options.steps, "grid": drawn.grid.size}
    write(
        NAME, f"{options.set}, {options.images} images: {said}", facts | {"settings": settings, "rows": rows}, options
    )
    return 0


def few(cohort: Cohort, n: int) -> Cohort:
    """Return two times n labelled cases: fold 0 is judged, fold 1 learned from."""
    cases = [c for c in cohort.cases if isinstance(c.target, tuple)][: 2 * n]
    return replace(
        cohort, cases=tuple(cases), folds={c.id: k % 2 for k, c in enumerate(cases)}, locked=frozenset(), left_out={}
    )


def with_mosaic(plan: Plan, chance: float) -> Plan:
    """Return the plan with that chance of a mosaic."""
    kept = {k: v for k, v in plan.augmentation.items() if k != "mosaic"}
    return replace(plan, augmentation=kept | ({"mosaic": chance} if chance else {}))


def trained(cohort: Cohort, plan: Plan, task: Task, folder: Path) -> list[Judged]:
    """Train one member and return what it says of the images it did not see."""
    (folder / "training").mkdir(parents=True)
    store = prepare(cohort, plan, task.target, folder / "prepared")
    member = train_member(
        Work(cohort, plan, task, store, folder / "training", Clock(), Events()), plan.folds[0], math.inf
    )
    net = task.build(plan)["net"]
    net.load_state_dict(dict(member.weights))
    held: Sequence[Case] = cohort.fold(plan.folds[0])
    arrays = (store.seen(c.id) for c in held)
    found = []
    with torch.inference_mode():
        for case, raw in zip(held, raw_outputs(net.eval(), arrays, plan, dense=False, boxes=True), strict=True):
            said = task.decode(raw, case, store.prepared(case.id), plan, Calibration())
            truth = case.target if isinstance(case.target, tuple) else ()
            found.append(Judged(case.id, case.patient, "", "", {}, {}, found=said.boxes or (), drawn=truth))
    return found


if __name__ == "__main__":
    sys.exit(main())

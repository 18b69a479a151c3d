"""Small things in volumes: planted, learned in pieces, found in tiles, given back in the source's own voxels."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from lucency import detection
from lucency.boxes import Box
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Source
from lucency.events import Clock, Events
from lucency.image import Image, diagonal_affine
from lucency.plan import Machine, Schedule
from lucency.planner import Budget
from lucency.planner import plan as make_plan
from lucency.planner.pieces import in_pieces
from lucency.predict import raw_outputs
from lucency.prepare import prepare
from lucency.profile import profile
from lucency.tasks import task_named
from lucency.train import Work, train_member
from lucency.write.nifti import write_nifti

MACHINE = Machine(cores=1, memory_mib=4000, gflops=50, gflops_fp32=50)

#: Nodules have this radius in mm: 8 mm across in volumes of 128 mm.
RADIUS = 4.0


def planted(folder: Path, spacing: tuple[float, float, float], n: int = 10) -> Cohort:
    """Volumes of noise, 32 × 128 × 128 mm, with two or three bright balls each."""
    rng = np.random.default_rng(5)
    size = tuple(round(mm / s) for mm, s in zip((32, 128, 128), spacing, strict=True))
    cases = []
    for number in range(n):
        voxels = rng.normal(0, 0.5, size)
        boxes: list[Box] = []
        while len(boxes) < 2 + number % 2:
            middle = [rng.uniform(RADIUS + s, mm - RADIUS - s) for s, mm in zip(spacing, (32, 128, 128), strict=True)]
            # Voxel p reaches from p to p + 1: its middle is at p + 1/2.
            low = tuple((m - RADIUS) / s for m, s in zip(middle, spacing, strict=True))
            high = tuple((m + RADIUS) / s for m, s in zip(middle, spacing, strict=True))
            voxels += 3 * tiny.ball(size, [m / s - 0.5 for m, s in zip(middle, spacing, strict=True)], RADIUS, spacing)
            boxes.append(Box("nodule", low, high))  # type: ignore[arg-type]
        name = f"scan{number}"
        write_nifti(folder / f"{name}.nii.gz", Image(voxels[None].astype(np.float32), diagonal_affine(spacing)))
        header = {"spacing_known": True}
        source = Source((f"{name}.nii.gz",), str(folder), "nifti", header=header, checksum=name)
        cases.append(Case(name, name, {"image": (source,)}, tuple(boxes)))
    return Cohort(tuple(cases), {c.id: k % 5 for k, c in enumerate(cases)}, frozenset(), classes=("nodule",))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (4.0, 1.0, 1.0)])
def test_planted_nodules_are_learned_in_pieces_and_found_in_tiles(
    tmp_path: Path, spacing: tuple[float, float, float]
) -> None:
    cohort, task = planted(tmp_path, spacing), task_named("detect")
    seen = profile(cohort)
    assert in_pieces(seen, 3)
    made = make_plan(cohort, seen, task.needs(seen), MACHINE, Budget(5))
    assert made.grid.mode == "spacing"
    thick = round(16 / made.grid.spacing[0])
    # Smaller pieces and tiles than planned, so that the test is quick and has many tiles.
    plan = replace(
        made,
        network_options={
            **made.network_options,
            "widths": (16.0, 32.0, 32.0),
            "top": 32,
            "strides": _first_three(made),
        },
        patch=(thick, 32, 32),
        tile=(thick, 64, 64),
        batch=4,
        precision="fp32",
        augmentation={"flip_j": 0.5, "flip_i": 0.5},
        schedule=Schedule(150, warmup=10, rate=4e-3, clip=5.0, ema=0.9),
    )
    store = prepare(cohort, plan, task.target, tmp_path / "prepared")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        work = Work(cohort, plan, task, store, tmp_path / "training", Clock(), Events())
        (tmp_path / "training").mkdir()
        trained = train_member(work, 0, math.inf)
        net = task.build(plan)["net"]
        net.load_state_dict(dict(trained.weights))
        held = cohort.fold(0)
        arrays = [store.seen(c.id) for c in held]
        outputs = list(raw_outputs(net.eval(), arrays, plan, dense=False, boxes=True))
    finally:
        torch.set_num_threads(threads)
    found = [
        task.decode(o, c, store.prepared(c.id), plan, Calibration()).boxes for o, c in zip(outputs, held, strict=True)
    ]
    hits = detection.hits_of(found, [c.target for c in held], "nodule", 0.3)  # type: ignore[misc]
    sensitivity = detection.sensitivities(hits, np.ones((1, len(held))), [1.0])[0, 0]
    assert sensitivity >= 0.75
    # The millimetres are those of the voxels: the middle of a box is where the ball was planted.
    for boxes, case in zip(found, held, strict=True):
        best = boxes[0]
        middle_mm = (np.array(best.low_mm) + np.array(best.high_mm)) / 2
        planted_mm = [
            (np.array(b.low[::-1]) + np.array(b.high[::-1]) - 1) / 2 * np.array(spacing[::-1]) for b in case.target
        ]
        assert min(np.abs(middle_mm - p).max() for p in planted_mm) < 3.0


def _first_three(plan: object) -> str:
    return ",".join(str(plan.network_options["strides"]).split(",")[:3])  # type: ignore[attr-defined]

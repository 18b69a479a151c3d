"""What the benchmarks work on: a real or a generated set, walked to prepared arrays by the rooms themselves."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lucency import machine, planner
from lucency.case import Cohort
from lucency.events import Clock, Events
from lucency.image import Image, diagonal_affine
from lucency.plan import Machine, Plan
from lucency.planner import Budget
from lucency.prepare import Store, prepare
from lucency.profile import Profile, profile
from lucency.read import read
from lucency.tasks import Task, task_for
from lucency.train import Work, rehearse
from lucency.write.nifti import write_nifti

DATA = Path(os.environ.get("LUCENCY_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

#: The network of the throughput benchmarks: 0.79 million weights on patches that hold a whole hippocampus volume.
PATCH, BATCH, WIDTHS = (40, 56, 40), 4, (12.0, 24.0, 48.0, 96.0)

#: The same in little, for a trial that takes seconds.
SMALL_PATCH, SMALL_BATCH, SMALL_WIDTHS = (16, 24, 16), 2, (4.0, 8.0)


#: Seconds for choosing the memory layout; what a run of ten minutes allows itself, and more.
REHEARSAL_S = 60.0


@dataclass(frozen=True)
class Material:
    """A set on the network's grid, and the plan for it.

    Args:
        cohort: As read.
        profile: Of its training part.
        machine: As measured.
        plan: As the planner draws it, with what a benchmark fixes put in.
        task: The plan's task.
        store: Prepared cases.
        folder: Where checkpoints may lie.
    """

    cohort: Cohort
    profile: Profile
    machine: Machine
    plan: Plan
    task: Task
    store: Store
    folder: Path

    def work(self, plan: Plan | None = None) -> Work:
        """Return what a training loop needs."""
        return Work(self.cohort, plan or self.plan, self.task, self.store, self.folder / "training", Clock(), Events())


def material(data: Path, folder: Path, *, seed: int, most: int | None = None) -> Material:
    """Walk a set from its folder to prepared arrays.

    Args:
        data: Any layout.
        folder: For prepared arrays and checkpoints.
        seed: Of the plan.
        most: Cases used at most, evenly spaced; None is all.
    """
    if not data.exists():
        raise SystemExit(f"No set {data.name!r}: set LUCENCY_TEST_DATA to the folder of the real data, or use --quick")
    cohort = read(data)
    if most is not None and len(cohort.cases) > most:
        kept = [cohort.cases[n] for n in np.linspace(0, len(cohort.cases) - 1, most).astype(int)]
        ids = {c.id for c in kept}
        cohort = replace(
            cohort,
            cases=tuple(kept),
            folds={c: f for c, f in cohort.folds.items() if c in ids},
            locked=cohort.locked & ids,
        )
    measured = machine.measure()
    found = profile(cohort, workers=measured.cores)
    task = task_for(cohort)
    plan = planner.plan(cohort, found, task.needs(found), measured, Budget(10.0, seed))
    store = prepare(cohort, plan, task.target, folder / "prepared", workers=measured.cores)
    return Material(cohort, found, measured, plan, task, store, folder)


def volumes(folder: Path, *, quick: bool, seed: int) -> Material:
    """Return the volumes of the throughput benchmarks, with their network, patch and batch in the plan."""
    if quick:
        generate_volumes(folder / "data", np.random.default_rng(seed))
        found = material(folder / "data", folder, seed=seed)
    else:
        found = material(DATA / "hippocampus", folder, seed=seed)
    patch, batch = (SMALL_PATCH, SMALL_BATCH) if quick else (PATCH, BATCH)
    widths: tuple[float, ...] = SMALL_WIDTHS if quick else WIDTHS
    k, j, i = (max(t, p) for t, p in zip(found.plan.tile, patch, strict=True))
    plan = replace(
        found.plan,
        patch=patch,
        batch=batch,
        tile=(k, j, i),
        network_options={**found.plan.network_options, "widths": widths, "strides": "", "residual": False},
        # The rate's schedule must not end while steps are timed.
        schedule=replace(found.plan.schedule, steps=1_000_000, warmup=20),
    )
    return replace(found, plan=plan)


def faster_layout(found: Material) -> bool:
    """Tell whether channels-last trains faster here, by the rehearsal that every run makes before it plans."""
    held = found.cohort.fold(0)[0].id
    return rehearse(found.work(), held, lambda: None, REHEARSAL_S).channels_last


def generate_volumes(folder: Path, rng: np.random.Generator, n: int = 14) -> None:
    """Write image and mask pairs: two touching ellipsoids of different brightness in noise."""
    for number in range(n):
        size = (16 + int(rng.integers(3)), 24, 14 + int(rng.integers(3)))
        grid = np.meshgrid(*(np.arange(m) - m / 2 for m in size), indexing="ij")
        shift = rng.uniform(-1.5, 1.5, 3)
        mask = np.zeros(size, dtype=np.uint8)
        for label, side in ((1, -3.0), (2, 3.0)):
            k, j, i = (g - s for g, s in zip(grid, shift, strict=True))
            mask[(k / 4) ** 2 + ((j - side) / 3.5) ** 2 + (i / 4) ** 2 < 1] = label
        voxels = rng.normal(0, 0.3, size) + 1.5 * (mask == 1) + 2.5 * (mask == 2)
        affine = diagonal_affine((1, 1, 1))
        for kind, image in (
            ("images", Image((voxels[None] * 100).astype(np.float32), affine)),
            ("labels", Image(mask[None], affine, kind="labels", unit="label")),
        ):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            write_nifti(folder / kind / f"volume{number:03d}.nii.gz", image)


def generate_images(path: Path, rng: np.random.Generator, n: int = 120) -> None:
    """Write an npz of lying and standing stripes, 28 × 28."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.sin(np.arange(28) * 0.9)
    labels = np.arange(n) % 2
    images = np.stack([(wave[:, None] if y else wave[None]) + rng.normal(0, 0.5, (28, 28)) for y in labels])
    stored = (images * 40 + 128).clip(0, 255).astype(np.uint8)
    np.savez(path, train_images=stored, train_labels=labels[:, None].astype(np.uint8))

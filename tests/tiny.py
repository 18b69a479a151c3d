"""Small plans and small data sets on disk, for the tests of the training side."""

from pathlib import Path

import numpy as np
import torch

from lucency.case import Case, Cohort, Source
from lucency.image import Image, diagonal_affine
from lucency.plan import DECISIONS, Grid, Normalisation, Plan, Schedule
from lucency.prepare import prepare
from lucency.tasks import task_named
from lucency.write.nifti import write_nifti

REASONS = dict.fromkeys(DECISIONS, "for a test")


def plan_for(task="segment", **changes):
    """A plan of the smallest network that can still learn."""
    dims = changes.get("dims", 3 if task == "segment" else 2)
    size = changes.pop("size", (12, 16, 16) if dims == 3 else (1, 16, 16))
    settings = {
        "task": task,
        "network": "unet" if task == "segment" else "resnet",
        "network_options": {"widths": (4.0, 8.0)} | ({} if task == "segment" else {"depth": 6}),
        "channels": 1,
        "modalities": ("image",),
        "dims": dims,
        "grid": Grid("spacing" if dims == 3 else "fit", size),
        "patch": size,
        "tile": size,
        "batch": 2 if task == "segment" else 4,
        "normalisation": Normalisation("zscore"),
        "augmentation": {"rotate": 10.0, "noise": 0.1},
        "schedule": Schedule(20, warmup=2),
        "precision": "fp32",
        "folds": (0,),
        "seed": 0,
        "minutes": 1.0,
        "reasons": REASONS,
        "classes": () if task == "segment" else ("lying", "standing"),
        "labels": {1: "ball"} if task == "segment" else {},
        "task_options": {"supervised": 2} if task == "segment" else {"mixup": 0.2, "smoothing": 0.05, "dropout": 0.1},
    }
    return Plan(**settings | changes)


def ball(size, centre, radius, spacing=(1.0, 1.0, 1.0)):
    """A ball, (K, J, I) bool; centre in voxels, radius in mm."""
    grid = np.meshgrid(*(np.arange(n) for n in size), indexing="ij")
    return sum(((g - c) * s) ** 2 for g, c, s in zip(grid, centre, spacing, strict=True)) <= radius**2


def masks(folder: Path, n=6, size=(12, 16, 16), affine=None, seed=0, value=1):
    """Volumes with a bright ball, and its mask."""
    rng = np.random.default_rng(seed)
    affine = diagonal_affine((1, 1, 1)) if affine is None else affine
    cases = []
    for number in range(n):
        inside = ball(size, [s / 2 + rng.uniform(-2, 2) for s in size], rng.uniform(3, 5))
        voxels = rng.normal(0, 0.3, size) + 3 * inside
        name = f"case{number}"
        write_nifti(folder / f"{name}.nii.gz", Image(voxels[None].astype(np.float32), affine))
        mask = Image((inside * value).astype(np.uint8)[None], affine, kind="labels")
        write_nifti(folder / f"{name}_mask.nii.gz", mask)
        image = Source((f"{name}.nii.gz",), str(folder), "nifti", checksum=f"{seed}/{name}")
        target = Source((f"{name}_mask.nii.gz",), str(folder), "nifti", kind="labels", checksum=f"{seed}/{name}m")
        cases.append(Case(name, name, {"image": (image,)}, target))
    return Cohort(tuple(cases), {c.id: k % 3 for k, c in enumerate(cases)}, frozenset(), labels={value: "ball"})


def stripes(folder: Path, n=12, side=16, seed=0):
    """Images of lying and standing stripes."""
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(side) * 0.9)
    images = np.stack([(wave[:, None] if k % 2 else wave[None]) + rng.normal(0, 0.3, (side, side)) for k in range(n)])
    np.savez(folder / "all.npz", train_images=(images * 40 + 128).clip(0, 255).astype(np.uint8))
    cases = []
    for number in range(n):
        source = Source(("all.npz",), str(folder), "npz", f"train_images/{number}", checksum=f"{seed}/{number}")
        cases.append(Case(f"{number:03d}", f"{number}", {"image": (source,)}, ("standing", "lying")[number % 2]))
    folds = {c.id: k // 2 % 3 for k, c in enumerate(cases)}
    return Cohort(tuple(cases), folds, frozenset(), classes=("lying", "standing"))


def stored(cohort, plan, folder: Path):
    """The cohort on the plan's grid."""
    return prepare(cohort, plan, task_named(plan.task).target, folder / "prepared")


def network_of(plan, seed=0):
    """The plan's network with weights that depend on the seed only."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return task_named(plan.task).build(plan)["net"].eval()


def turned(seed, spacing=(1.0, 1.0, 1.0), *, flips=(), order=(0, 1, 2), oblique=0.0):
    """An affine: axes permuted by ``order``, some flipped, tilted by up to ``oblique`` radians, moved."""
    rng = np.random.default_rng(seed)
    columns = np.eye(3)[::-1][:, list(order)].copy()
    for axis in flips:
        columns[:, axis] *= -1
    skew = rng.uniform(-oblique, oblique, (3, 3))
    turn, _ = np.linalg.qr(np.eye(3) + skew - skew.T)
    turn = turn * np.sign(np.diag(turn))
    affine = np.eye(4)
    affine[:3, :3] = turn @ columns * np.asarray(spacing)
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine

"""Made-up runs with known content: a classification and a segmentation, as the other rooms would hand them over."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lucency.case import Case, Cohort, Skipped, Source, with_folds
from lucency.evaluate import Comparison, Curve, Evaluation, Part, Scored
from lucency.plan import Forecast, Grid, Machine, Normalisation, Plan, Schedule
from lucency.report import Facts, Picture, cases_to_show
from lucency.statistics import Metric

MACHINE = Machine(cores=2, memory_mib=7600, gflops=141, gflops_fp32=60, bf16=True, name="a processor with 2 cores")
REASONS = {
    "task": "The targets are of this kind.",
    "network": "The default of the task; 0.7 M parameters fit the budget.",
    "grid": "The median image has this size; larger would be interpolation.",
    "patch": "The whole image fits.",
    "batch": "Measured: larger batches gain less than 3 % per image.",
    "normalisation": "8-bit images of one device; every image by its own mean and standard deviation.",
    "augmentation": "Small shifts, turns and contrast; no left–right flip, because the heart lies on the left.",
    "schedule": "2400 steps are what 85 % of the budget allows at 0.21 s a step.",
    "precision": "bf16 is 2.3 times as fast as fp32 here.",
    "folds": "Three folds repay more than a longer single training.",
    "tta": "No axis may be mirrored.",
}


def metric(
    value: float, half: float | None = None, n: int = 60, method: str = "patient bootstrap, 2000", best: float = 1
):
    if half is None:
        return Metric(value, None, None, n, "too few for an interval", best)
    low, high = value - half, value + half
    if best == 1:
        high = min(high, 1.0)
    return Metric(value, low, high, n, method, best)


def cohort(n: int, target: Callable[[int], object], **changes: object) -> Cohort:
    header = {"size": (1, 64, 64), "spacing": (1.0, 1.0, 1.0), "channels": 1, "dtype": "uint8"}
    cases = tuple(
        Case(
            f"case_{at:03d}",
            f"{at // 2:016x}",
            {"image": (Source((f"images/case_{at:03d}.png",), "", "raster", header=header, checksum=f"{at:064x}"),)},
            target(at),
            facts={"sex": "F" if at % 4 < 2 else "M", "age": float(30 + at % 50)},
        )
        for at in range(n)
    )
    return with_folds(Cohort(cases, {}, frozenset(), patient_key="column 'patient'", **changes))


def plan(**changes: object) -> Plan:
    base = Plan(
        task="classify",
        network="resnet",
        network_options={"width": 32, "depth": 3, "residual": True},
        channels=1,
        modalities=("image",),
        dims=2,
        grid=Grid("fit", (1, 64, 64)),
        patch=(1, 64, 64),
        batch=64,
        normalisation=Normalisation("zscore"),
        augmentation={"shift": 0.1, "turn": 15.0, "contrast": 0.2},
        schedule=Schedule(2400),
        precision="bf16",
        folds=(0, 1, 2),
        seed=0,
        minutes=10.0,
        reasons=REASONS,
        forecast=Forecast(2100.0, {"prepare": 6.0, "train": 410.0, "evaluate": 31.0, "report": 4.0}),
    )
    return replace(base, **changes)


def history(members: int = 3, epochs: int = 24) -> list[dict[str, float]]:
    rng = np.random.default_rng(5)
    return [
        {
            "member": m,
            "epoch": e,
            "step": 100 * e,
            "loss": 0.15 + 0.6 * np.exp(-e / 6) + 0.02 * rng.random(),
            "val_loss": 0.2 + 0.55 * np.exp(-e / 6) + 0.04 * rng.random(),
            "rate": 1e-3,
        }
        for m in range(members)
        for e in range(1, epochs + 1)
    ]


def blob(rng: np.random.Generator, size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """An image with two touching ellipses and the mask of both."""
    j, i = np.mgrid[:size, :size] / size - 0.5
    cj, ci = rng.uniform(-0.08, 0.08, 2)
    a = ((j - cj) / 0.22) ** 2 + ((i - ci - 0.06) / 0.14) ** 2 < 1
    b = ((j - cj - 0.2) / 0.14) ** 2 + ((i - ci + 0.1) / 0.2) ** 2 < 1
    mask = np.where(a, 1, np.where(b, 2, 0))
    image = 0.25 + 0.25 * a + 0.4 * b + 0.15 * np.cos(9 * i) + 0.05 * rng.standard_normal((size, size))
    return np.clip(image, 0, 1), mask


@pytest.fixture(scope="session")
def classification() -> Facts:
    rng = np.random.default_rng(0)
    classes = ("normal", "pneumonia")
    people = cohort(400, lambda at: classes[at % 3 > 0] if at % 40 else None, classes=classes, layout="classes")
    scored = []
    for case in people.locked_cases:
        logit = (2.2 if case.target == "pneumonia" else -2.0) + 2.0 * rng.standard_normal()
        p = float(1 / (1 + np.exp(-logit)))
        chances = {"normal": 1 - p, "pneumonia": p}
        scored.append(Scored(case.id, case.patient, "locked", {}, str(case.target), classes[p > 0.5], chances))
    scored.sort(key=lambda s: s.probabilities[s.truth])
    counts = [[sum(s.truth == a and s.label == b for s in scored) for b in classes] for a in classes]
    x = np.linspace(0, 1, 60)
    n = len(scored)
    auc, patients = metric(0.951, 0.031, n, "DeLong, logit"), len({s.patient for s in scored})
    metrics = {
        "auc": auc,
        "accuracy": metric(0.883, 0.07, n, "Wilson"),
        "balanced_accuracy": metric(0.871, 0.08, n),
        "sensitivity": metric(0.9, 0.08, n, "Wilson"),
        "specificity": metric(0.842, 0.13, n, "Wilson"),
        "f1": metric(0.91, 0.05, n),
        "auprc": metric(0.967, 0.02, n),
        "brier": metric(0.081, 0.03, n, best=0),
        "ece": metric(0.047, 0.03, n, best=0),
        "ece_before": metric(0.092, 0.03, n, best=0),
        "calibration_slope": Metric(0.94, None, None, n, "logistic recalibration"),
    }
    weak = {"majority class": (0.5, 0.451), "logistic regression": (0.902, 0.049), "random forest": (0.931, 0.02)}
    baselines = {
        b: Comparison(
            {"auc": metric(v, 0.05, n, "DeLong, logit")},
            metric(d, 0.03, n, "paired DeLong"),
            p,
            p_holm,
            "paired DeLong",
            "better" if p_holm < 0.05 else "no different",
        )
        for (b, (v, d)), p, p_holm in zip(weak.items(), (1e-9, 0.004, 0.19), (3e-9, 0.008, 0.19), strict=True)
    }
    curves = {
        "roc/pneumonia": Curve(tuple(x), tuple(x**0.12)),
        "pr/pneumonia": Curve(tuple(x), tuple(1 - 0.33 * x**6)),
        "reliability": Curve((0.08, 0.3, 0.52, 0.74, 0.95), (0.05, 0.36, 0.5, 0.7, 0.97), (14, 6, 5, 9, 26)),
        "reliability before": Curve((0.03, 0.2, 0.5, 0.86, 0.99), (0.1, 0.33, 0.45, 0.66, 0.96), (17, 4, 3, 7, 29)),
    }
    groups = {"sex = F": {"auc": metric(0.96, 0.04, 21)}, "sex = M": {"auc": metric(0.94, 0.06, 19)}}
    by_label = {c: {"recall": metric(0.87, 0.07, 30, "Wilson"), "f1": metric(0.9, 0.05, 30)} for c in classes}
    locked = Part(
        "locked", n, patients, metrics, by_label, groups, curves, tuple(map(tuple, counts)), baselines, tuple(scored)
    )
    oof = Part("out-of-fold", 330, 165, {k: replace(m, value=m.value - 0.004, n=165) for k, m in metrics.items()})
    evaluation = Evaluation("classify", "auc", (locked, oof), classes, 1, ())
    pictures = {}
    for group in cases_to_show(evaluation).values():
        for each in group:
            pictures[each.case] = Picture(blob(rng)[0])
    return Facts(
        people,
        plan(classes=classes),
        evaluation,
        MACHINE,
        "0.1.0",
        "ab" * 32,
        inspection_warnings=("2 images are exact copies of each other and were kept in one fold.",),
        inspection_skipped=(Skipped("images/broken.png", "The file is truncated."),),
        history=history(),
        actual=Forecast(2240.0, {"prepare": 5.2, "train": 399.0, "evaluate": 38.5, "report": 2.9}),
        pictures=pictures,
    )


@pytest.fixture(scope="session")
def segmentation() -> Facts:
    rng = np.random.default_rng(1)
    names = {1: "anterior", 2: "posterior"}
    mask = Source(("labels/x.nii.gz",), "", "nifti", kind="labels", checksum="0" * 64)
    people = cohort(200, lambda at: mask, labels=names, layout="pairs")
    alone = [replace(c, patient=c.id) for c in people.cases]
    people = with_folds(replace(people, cases=tuple(alone), patient_key=""))
    scored = []
    for case in people.locked_cases:
        one, two = np.clip(rng.normal([0.885, 0.87], [0.03, 0.035]), 0, 0.96)
        if len(scored) == 3:
            one = 0.42
        scores = {
            "dice": (one + two) / 2,
            "dice/anterior": one,
            "dice/posterior": two,
            "hd95_mm/anterior": 2 * (1 - one),
        }
        scored.append(Scored(case.id, case.patient, "locked", {k: float(v) for k, v in scores.items()}))
    scored.sort(key=lambda s: s.scores["dice"])
    n = len(scored)
    by_label = {
        label: {
            "dice": metric(0.88, 0.012, n),
            "surface_dice": metric(0.97, 0.01, n),
            "hd95_mm": metric(1.34, 0.2, n, best=0),
            "volume_error": metric(-0.02, 0.03, n, best=0),
        }
        for label in names.values()
    }
    metrics = {
        "dice": metric(0.879, 0.011, n),
        "surface_dice": metric(0.968, 0.01, n),
        "hd95_mm": metric(1.3, 0.2, n, best=0),
    }
    baselines = {
        b: Comparison(
            {"dice": metric(v, 0.03, n)},
            metric(0.879 - v, 0.03, n),
            1e-6,
            2e-6,
            "Wilcoxon signed-rank on patients' means",
            "better",
        )
        for b, v in {"threshold": 0.31, "location prior": 0.64}.items()
    }
    locked = Part("locked", n, n, metrics, by_label, {}, {}, (), baselines, tuple(scored))
    evaluation = Evaluation("segment", "dice", (locked,), tuple(names.values()), 3, ("The tolerance is 1 mm.",))
    pictures = {}
    for group in cases_to_show(evaluation).values():
        for each in group:
            image, truth = blob(rng)
            predicted = np.roll(truth, rng.integers(-4, 5, 2), (0, 1))
            pictures[each.case] = Picture(image, truth, predicted, 1.2, {"slice": "12 of 35"})
    made = plan(task="segment", network="unet", dims=3, labels=names, grid=Grid("spacing", (36, 48, 32)), folds=(0,))
    return Facts(
        people,
        made,
        evaluation,
        MACHINE,
        "0.1.0",
        history=history(1),
        actual=Forecast(2011.0, {"train": 430.0}),
        pictures=pictures,
        time_guard="The time guard stopped training at step 2100 of 2400.",
    )

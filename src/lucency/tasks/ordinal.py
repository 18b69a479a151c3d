"""Ordered classes: grades, stages and scores. A mistake by two grades weighs more than one by one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lucency import metrics, statistics
from lucency.calibration import Calibration, fit_temperature
from lucency.case import Case, Cohort, Prediction
from lucency.metrics.agreement import cohen_kappa
from lucency.networks import Body, body
from lucency.plan import Needs, Plan
from lucency.prepare import Prepared
from lucency.profile import Profile
from lucency.read.grades import order_of
from lucency.statistics import Metric, Statistic
from lucency.tasks import Judged, Measures, task
from lucency.tasks.classify import Classify, ClassifyNet


class GradeNet(ClassifyNet):
    """A body and one output for each step between neighbouring grades.

    Output k is the log odds of being above grade k for a case that is not below it; the log probabilities of the
    grades follow, so that their likelihood is cross-entropy and the grades stay in order.
    """

    def __init__(self, trunk: Body, grades: int, dropout: float) -> None:
        super().__init__(trunk, grades - 1, dropout)
        self.outputs = grades

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return log probabilities (B, grades); they sum to 1 as probabilities."""
        steps = super().forward(x).float()
        above = functional.logsigmoid(steps).cumsum(dim=1)
        reached = functional.pad(above, (1, 0))
        ended = functional.pad(functional.logsigmoid(-steps), (0, 1))
        return reached + ended


@task
class Ordinal(Classify):
    """The grading task: classification whose classes have an order."""

    name = "ordinal"
    headline = "kappa"
    #: No full run on its reference data has been recorded that reaches what it must.
    experimental = True

    def suits(self, cohort: Cohort) -> float:
        """Class names in a known order, or numbers in a column that is called a grade."""
        if super().suits(cohort) <= 0:
            return 0.0
        return 1.0 if order_of(cohort.classes, cohort.target_name) == cohort.classes else 0.0

    def needs(self, profile: Profile) -> Needs:
        """As classification, with one output for each step between grades."""
        asked = super().needs(profile)
        grades = len(profile.class_counts)
        reasons = {
            **{k: v for k, v in asked.reasons.items() if k != "imbalance"},
            "task": f"{grades} classes in a known order",
            "loss": "the odds of being above each grade for a case that is not below it: grades stay in order "
            "(doi 10.1007/s10044-023-01181-9)",
        }
        # Rare grades are helped by their neighbours; classes as such have no weight here.
        options = {k: v for k, v in asked.options.items() if k != "imbalance"}
        return replace(asked, task=self.name, outputs=grades - 1, options=options, reasons=reasons, tried={})

    def build(self, plan: Plan) -> dict[str, nn.Module]:
        """Return the network."""
        trunk = body(plan.network, plan.channels, plan.dims, plan.network_options)
        return {"net": GradeNet(trunk, len(plan.classes), float(plan.task_options.get("dropout", 0.2)))}  # type: ignore[arg-type]

    def calibrate(
        self, raw: Sequence[np.ndarray], targets: Sequence["np.ndarray | float"], plan: Plan, rng: np.random.Generator
    ) -> Calibration:
        """Fit the temperature on out-of-fold outputs; the label is the median grade and needs no threshold."""
        return fit_temperature(np.stack(raw).astype(np.float64), np.array(targets, dtype=int))

    def decode(
        self, output: np.ndarray, case: Case, prepared: Prepared, plan: Plan, calibration: Calibration
    ) -> Prediction:
        """Return the probability of each grade; the label is the median grade, which errs by the fewest grades.

        The doubt is the variance of the grade as a share of the largest there can be.
        """
        p = np.clip(np.asarray(output, dtype=np.float64), 0, 1)
        p = p / p.sum()
        grades = np.arange(len(p))
        # A rounding error below one half is one half.
        median = int(np.searchsorted(np.cumsum(p), 0.5 - 1e-9))
        variance = float((grades - grades @ p) ** 2 @ p)
        doubt = min(max(variance / ((len(p) - 1) / 2) ** 2, 0.0), 1.0)
        named = dict(zip(plan.classes, (float(v) for v in p), strict=True))
        return Prediction(case.id, "", probabilities=named, label=plan.classes[median], doubt=doubt)

    def measure(self, judged: Sequence[Judged], plan: Plan, rng: np.random.Generator) -> Measures:
        """Return agreement in grades first, then what classification measures."""
        plain = super().measure(judged, plan, rng)
        truth, label, patients = _grades(judged, plan)
        distance = np.abs(truth - label).astype(float)
        kappa = _kappa_of(truth, label, len(plan.classes))
        found = {
            "kappa": statistics.bootstrap_metric(kappa, patients, rng, bounds=None),
            "grade_mae": statistics.mean_metric(distance, patients, rng, best=0.0),
            "within_one": statistics.proportion_metric(distance <= 1, patients, rng),
        }
        return replace(plain, metrics={**found, **plain.metrics})

    def compare(
        self, ours: Sequence[Judged], theirs: Sequence[Judged], plan: Plan, rng: np.random.Generator
    ) -> tuple[Metric, float | None, str]:
        """Compare weighted kappas by the paired patient bootstrap."""
        truth, first, patients = _grades(ours, plan)
        second, n = _grades(theirs, plan)[1], len(plan.classes)
        paired = statistics.compare_resampled(_kappa_of(truth, first, n), _kappa_of(truth, second, n), patients, rng)
        return paired.difference, paired.p, paired.test


def _kappa_of(truth: np.ndarray, label: np.ndarray, n: int) -> Statistic:
    return lambda weights: cohen_kappa(metrics.confusion(truth, label, n, weights), "quadratic")


def _grades(judged: Sequence[Judged], plan: Plan) -> tuple[np.ndarray, np.ndarray, list[str]]:
    truth, label = (np.array([plan.classes.index(getattr(j, k)) for j in judged]) for k in ("truth", "label"))
    return truth, label, [j.patient for j in judged]

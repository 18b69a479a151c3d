"""Regression: one number per image, with an interval that holds at the stated frequency."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from lucency import statistics
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Prediction
from lucency.errors import DataError
from lucency.metrics import agreement
from lucency.networks import Body, body
from lucency.plan import Needs, Plan, number_of
from lucency.prepare import Prepared
from lucency.profile import Profile
from lucency.statistics import Metric
from lucency.tasks import Batch, Judged, Measures, task
from lucency.tasks.pooled import image_network

#: Share of new patients whose number shall lie in the interval.
COVERAGE = 0.9

#: Power of the variance that weighs each case's likelihood: half way between plain likelihood (0), under which cases
#: with a large error are given up, and squared error (1) (Seitzer 2022, arXiv:2203.09168).
BETA = 0.5

#: Least and largest log of the standard deviation that the network may state, in units of the training deviation.
LOG_SPREAD = (-5.0, 2.0)


class RegressNet(nn.Module):
    """A body, its coarsest map pooled, and two numbers: the value and its standard deviation, in the target's unit."""

    def __init__(self, trunk: Body, centre: float, scale: float, dropout: float) -> None:
        super().__init__()
        self.body = trunk
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(trunk.channels[-1], 2)
        self.centre, self.scale = centre, scale
        # It begins by saying the mean and deviation of the training part.
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, 2): value and standard deviation."""
        coarse = self.body(x)[-1]
        pooled = coarse.float().mean(dim=tuple(range(2, coarse.ndim)))
        # Full precision: a number may need more digits than half precision has.
        with torch.autocast(pooled.device.type, enabled=False):
            raw = self.head(self.drop(pooled))
        low, high = LOG_SPREAD
        middle, half = (low + high) / 2, (high - low) / 2
        # A soft bound that is the identity around 0, where it begins.
        spread = torch.exp(middle + half * torch.tanh((raw[:, 1] - middle) / half))
        return torch.stack([self.centre + self.scale * raw[:, 0], self.scale * spread], dim=1)


@task
class Regress:
    """The regression task."""

    name = "regress"
    dense = False
    headline = "mae"
    baselines = "numbers"
    #: No full run on its reference data has been recorded that reaches what it must.
    experimental = True

    def suits(self, cohort: Cohort) -> float:
        """Numbers; class names that are numbers only where nothing else is asked for."""
        targets = [c.target for c in cohort.cases if c.target is not None]
        if not targets:
            return 0.0
        if all(isinstance(t, float | int) for t in targets):
            return 1.0
        return 0.1 if all(_number(t) is not None for t in targets) else 0.0

    def needs(self, profile: Profile) -> Needs:
        """A residual network with two outputs, scaled to the training part's numbers."""
        centre, scale, lowest, highest = _spread(profile)
        few = profile.n_cases * 0.8 < 1 / (1 - COVERAGE) - 1
        network, why = image_network(profile)
        return Needs(
            task=self.name,
            network=network,
            outputs=2,
            dense=False,
            sized=True,
            classes=False,
            options={"centre": centre, "scale": scale, "coverage": COVERAGE, "dropout": 0.1},
            reasons={
                "task": f"numbers from {lowest:g} to {highest:g} in {profile.n_cases} training images",
                "network": why,
                "loss": "value and deviation by the likelihood of a normal distribution, weighed by the square root "
                "of the variance, so that hard cases are not given up (arXiv 2203.09168)",
                "coverage": "too few cases for an interval"
                if few
                else f"{COVERAGE:.0%} intervals: the deviation that the network states, stretched until they hold on "
                "out-of-fold predictions (split conformal prediction, doi 10.1080/01621459.2017.1307116)",
            },
        )

    def build(self, plan: Plan) -> dict[str, nn.Module]:
        """Return the network."""
        trunk = body(plan.network, plan.channels, plan.dims, plan.network_options)
        centre, scale, dropout = (
            number_of(plan.task_options, k, d) for k, d in (("centre", 0.0), ("scale", 1.0), ("dropout", 0.1))
        )
        return {"net": RegressNet(trunk, centre, scale, dropout)}

    def target(self, case: Case, plan: Plan) -> float:
        """Return the number.

        Raises:
            DataError: The target is none.
        """
        found = _number(case.target)
        if found is None:
            raise DataError("The target is not a number", where=case.id, remedy="choose another column with --target")
        return found

    def losses(
        self, parts: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Normal likelihood, each case weighed by a power of its own variance that takes no gradient."""
        out = parts["net"](batch.images).float()
        scale = max(abs(float(batch.options.get("scale", 1.0))), 1e-12)  # type: ignore[arg-type]
        error = (batch.targets.float() - out[:, 0]) / scale
        spread = out[:, 1] / scale
        terms = 0.5 * (error / spread) ** 2 + torch.log(spread)
        yield "net", (terms * spread.detach() ** (2 * BETA)).mean()

    def activate(self, raw: torch.Tensor, calibration: Calibration) -> torch.Tensor:
        """Return value and standard deviation of one member; both may be averaged."""
        return raw.double().cpu()

    def calibrate(
        self, raw: Sequence[np.ndarray], targets: Sequence["np.ndarray | float"], plan: Plan, rng: np.random.Generator
    ) -> Calibration:
        """Find the half width of the interval on out-of-fold outputs: relative to the stated deviation, or constant.

        The one that gives the narrower intervals on the same cases is kept; both hold.
        """
        outputs, truth = np.stack(raw).astype(np.float64), np.array(targets, dtype=np.float64)
        error, stated = np.abs(truth - outputs[:, 0]), np.maximum(outputs[:, 1], 1e-12)
        coverage = number_of(plan.task_options, "coverage", COVERAGE)
        relative, constant = (conformal_quantile(e, coverage) for e in (error / stated, error))
        if relative is None or constant is None:
            return Calibration(extra={"cases": float(len(truth))})
        by_stated = relative * float(stated.mean()) < constant
        half = {"relative": relative} if by_stated else {"constant": constant}
        return Calibration(extra={**half, "cases": float(len(truth))})

    def decode(
        self, output: np.ndarray, case: Case, prepared: Prepared, plan: Plan, calibration: Calibration
    ) -> Prediction:
        """Return the value with its interval; the doubt is the stated deviation as a share of the training part's."""
        value, stated = (float(v) for v in output)
        half = _half_width(stated, calibration)
        doubt = min(max(stated / max(number_of(plan.task_options, "scale", 1.0), 1e-12), 0.0), 1.0)
        ends = (None, None) if half is None else (value - half, value + half)
        return Prediction(case.id, "", value=value, lower=ends[0], upper=ends[1], doubt=doubt)

    def informative(self, views: Sequence[np.ndarray], prediction: Prediction, plan: Plan) -> float:
        """Return the deviation of the number as a share of the training part's: what is stated, and between views.

        Source:
            Lakshminarayanan 2017, arXiv:1612.01474, section 2.4: the variance of a mixture of normal distributions.
        """
        value, stated = np.stack(views).astype(float).T
        spread = float(np.sqrt((stated**2).mean() + value.var()))
        return min(spread / max(abs(number_of(plan.task_options, "scale", 1.0)), 1e-12), 1.0)

    def score(self, prediction: Prediction, case: Case, plan: Plan) -> dict[str, float]:
        """Return truth, value and the absolute error; with an interval its ends and whether it holds."""
        truth, value = _number(case.target), prediction.value
        if truth is None or value is None:
            return {}
        found = {"truth": truth, "value": value, "mae": abs(value - truth)}
        if prediction.lower is not None and prediction.upper is not None:
            found |= {"lower": prediction.lower, "upper": prediction.upper}
            found["covered"] = float(prediction.lower <= truth <= prediction.upper)
        return found

    def worth(self, scores: Mapping[str, float]) -> float:
        """The smaller the error, the better."""
        return -scores.get("mae", float("nan"))

    def measure(self, judged: Sequence[Judged], plan: Plan, rng: np.random.Generator) -> Measures:
        """Return errors, agreement and what the intervals hold; truth against value, and Bland and Altman's points."""
        truth, value, patients = _arrays(judged)
        found = {"mae": statistics.mean_metric(np.abs(value - truth), patients, rng, best=0.0)}

        def over(function: Callable[..., np.ndarray], best: float, *more: int) -> Metric:
            def statistic(weights: np.ndarray) -> np.ndarray:
                return function(truth, value, weights, *more)

            return statistics.bootstrap_metric(statistic, patients, rng, best=best, bounds=None)

        found["rmse"] = over(agreement.root_mean_squared_error, 0.0)
        found["r2"] = over(agreement.explained_variance, 1.0)
        found["ccc"] = over(agreement.concordance, 1.0)
        found["bias"] = over(agreement.bias, 0.0)
        found["limit_lower"] = over(agreement.limit_of_agreement, 0.0, -1)
        found["limit_upper"] = over(agreement.limit_of_agreement, 0.0, 1)
        if all("covered" in j.scores for j in judged):
            covered = np.array([j.scores["covered"] for j in judged]) > 0
            width = np.array([j.scores["upper"] - j.scores["lower"] for j in judged])
            held = statistics.proportion_metric(covered, patients, rng)
            best = number_of(plan.task_options, "coverage", COVERAGE)
            found["coverage"] = Metric(held.value, held.lower, held.upper, held.n, held.method, best)
            found["interval_width"] = statistics.mean_metric(width, patients, rng, best=0.0)
        mean, difference = (value + truth) / 2, value - truth
        curves = {
            "agreement": (truth.tolist(), value.tolist(), ()),
            "difference": (mean.tolist(), difference.tolist(), ()),
        }
        return Measures(metrics=found, curves=curves)

    def compare(
        self, ours: Sequence[Judged], theirs: Sequence[Judged], plan: Plan, rng: np.random.Generator
    ) -> tuple[Metric, float | None, str]:
        """Compare absolute errors case by case: Wilcoxon's signed ranks of the patients' means."""
        truth, first, patients = _arrays(ours)
        second = _arrays(theirs)[1]
        paired = statistics.compare_values(np.abs(first - truth), np.abs(second - truth), patients, rng, best=0.0)
        return paired.difference, paired.p, paired.test

    def perfect(self, target: "np.ndarray | float | int", plan: Plan) -> np.ndarray:
        """Return the number, with certainty."""
        return np.array([float(target), 0.0])


def conformal_quantile(scores: np.ndarray, coverage: float) -> float | None:
    """Return the score that a new case stays below with probability ``coverage`` or more; None for too few cases.

    Args:
        scores: (n,) float >= 0: how far off each calibration case was.
        coverage: 0 to 1.

    Source:
        Lei 2018, doi:10.1080/01621459.2017.1307116: the ceil((n + 1) coverage)-th smallest.

    Example:
        >>> conformal_quantile(np.arange(1.0, 20.0), 0.9), conformal_quantile(np.arange(8.0), 0.9)
        (18.0, None)
    """
    # Less a rounding error: 20 × 0.9 is 18, not 19.
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(np.sort(scores)[rank - 1]) if 1 <= rank <= len(scores) else None


def _half_width(stated: float, calibration: Calibration) -> float | None:
    constant, relative = (calibration.extra.get(k) for k in ("constant", "relative"))
    if isinstance(constant, float | int):
        return float(constant)
    return stated * float(relative) if isinstance(relative, float | int) else None


def _number(target: object) -> float | None:
    """Return a target as a finite number, or None."""
    try:
        found = float(target)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _spread(profile: Profile) -> tuple[float, float, float, float]:
    """Return mean, deviation, lowest and highest number of the training part."""
    seen = profile.values
    if seen.count:
        return float(f"{seen.mean:.6g}"), float(f"{max(seen.std, 1e-12):.6g}"), seen.minimum, seen.maximum
    values = np.array([float(name) for name in profile.class_counts])
    counts = np.array(list(profile.class_counts.values()), dtype=float)
    mean = float((values * counts).sum() / counts.sum())
    deviation = math.sqrt(float(((values - mean) ** 2 * counts).sum() / counts.sum()))
    return float(f"{mean:.6g}"), float(f"{max(deviation, 1e-12):.6g}"), float(values.min()), float(values.max())


def _arrays(judged: Sequence[Judged]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    truth, value = (np.array([j.scores[k] for j in judged], dtype=float) for k in ("truth", "value"))
    return truth, value, [j.patient for j in judged]

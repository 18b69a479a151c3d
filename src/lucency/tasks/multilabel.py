"""Several labels of one image, each there or not; what is not known of an image is left out of learning and judging."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from scipy import special
from torch import nn
from torch.nn import functional

from lucency import calibration as calibrations
from lucency import metrics, statistics
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Findings, Prediction
from lucency.errors import DataError
from lucency.networks import body
from lucency.plan import Needs, Plan
from lucency.prepare import Prepared
from lucency.profile import Profile
from lucency.statistics import Metric, Statistic
from lucency.tasks import Batch, Judged, Measures, task
from lucency.tasks.classify import ClassifyNet
from lucency.tasks.pooled import image_network

#: Labels with fewer cases than this are named in the plan: their numbers will be uncertain whatever the network.
RARE = 30

#: What stands for "not known" in a target.
UNKNOWN = -1.0


@task
class MultiLabel:
    """The task of several labels an image."""

    name = "multilabel"
    dense = False
    headline = "macro_auc"
    baselines = "labels"
    #: No full run on its reference data has been recorded that reaches what it must.
    experimental = True

    def suits(self, cohort: Cohort) -> float:
        """Several labels, each known to be there or not."""
        return 1.0 if any(isinstance(c.target, Findings) for c in cohort.cases) else 0.0

    def needs(self, profile: Profile) -> Needs:
        """A residual network with one output for each label."""
        counts = profile.class_counts
        rare = sorted((n, name) for name, n in counts.items() if n < RARE)
        lacking = sum(profile.n_cases - profile.class_known.get(name, 0) for name in counts)
        network, why = image_network(profile)
        reasons = {
            "task": f"{len(counts)} labels, {min(counts.values())} to {max(counts.values())} training images each",
            "network": why,
            "missing": f"{lacking} of {profile.n_cases * len(counts)} labels are not known and take no part in the loss"
            if lacking
            else "every label of every image is known",
            "rare": "labels with few cases, whose numbers are uncertain: " + ", ".join(f"{w} ({n})" for n, w in rare)
            if rare
            else f"no label with fewer than {RARE} cases",
        }
        options = {"smoothing": 0.02, "dropout": 0.2}
        return Needs(self.name, network, len(counts), dense=False, options=options, reasons=reasons)

    def build(self, plan: Plan) -> dict[str, nn.Module]:
        """Return the network."""
        trunk = body(plan.network, plan.channels, plan.dims, plan.network_options)
        return {"net": ClassifyNet(trunk, len(plan.classes), float(plan.task_options.get("dropout", 0.2)))}  # type: ignore[arg-type]

    def target(self, case: Case, plan: Plan) -> np.ndarray:
        """Return (labels,) float: 1 there, 0 not, -1 not known.

        Raises:
            DataError: The target is none of several labels, or has a label that the plan does not know.
        """
        if not isinstance(case.target, Findings):
            raise DataError("The target does not hold several labels", where=case.id, remedy="choose another --target")
        foreign = sorted(set(case.target.known) - set(plan.classes))
        if foreign:
            raise DataError(f"Label {foreign[0]!r}", expected=", ".join(plan.classes), where=case.id)
        known = case.target.known
        return np.array([float(known[name]) if name in known else UNKNOWN for name in plan.classes])

    def losses(
        self, parts: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Binary cross-entropy over the labels that are known, each with a little smoothing."""
        net = parts["net"]
        logits, truth = net(batch.images).float(), batch.targets.float()
        known = (truth != UNKNOWN).float()
        smoothing = float(batch.options.get("smoothing", 0.0)) if net.training else 0.0  # type: ignore[arg-type]
        soft = truth.clamp_min(0) * (1 - smoothing) + smoothing / 2
        each = functional.binary_cross_entropy_with_logits(logits, soft, reduction="none") * known
        yield "net", each.sum() / known.sum().clamp_min(1)

    def activate(self, raw: torch.Tensor, calibration: Calibration) -> torch.Tensor:
        """Return the calibrated probability of each label of one member."""
        temperatures = _extra(calibration, "temperatures", raw.shape[1])
        return torch.from_numpy(special.expit(raw.double().cpu().numpy() / temperatures))

    def calibrate(
        self, raw: Sequence[np.ndarray], targets: Sequence["np.ndarray | float"], plan: Plan, rng: np.random.Generator
    ) -> Calibration:
        """Fit a temperature and a threshold for each label on the cases of which it is known."""
        logits = np.stack(raw).astype(np.float64)
        truth = np.stack([np.asarray(t, dtype=float) for t in targets])
        temperatures, thresholds = [], []
        for column in range(logits.shape[1]):
            known = truth[:, column] != UNKNOWN
            there = truth[known, column].astype(int)
            if there.size == 0 or there.min() == there.max():
                temperatures.append(1.0)
                thresholds.append(0.5)
                continue
            pairs = np.stack([np.zeros(known.sum()), logits[known, column]], axis=1)
            found = calibrations.fit(pairs, there)
            temperatures.append(found.temperature)
            thresholds.append(found.thresholds[0] if found.thresholds else 0.5)
        return Calibration(extra={"temperatures": tuple(temperatures), "cuts": tuple(thresholds)})

    def decode(
        self, output: np.ndarray, case: Case, prepared: Prepared, plan: Plan, calibration: Calibration
    ) -> Prediction:
        """Return each label's probability, those above their thresholds, and the doubt of the least certain label."""
        p = np.clip(np.asarray(output, dtype=np.float64), 0, 1)
        cuts = _extra(calibration, "cuts", len(p), 0.5)
        there = [name for name, value, cut in zip(plan.classes, p, cuts, strict=True) if value >= cut]
        sure = np.clip(p, 1e-12, 1 - 1e-12)
        entropy = -(sure * np.log2(sure) + (1 - sure) * np.log2(1 - sure))
        named = dict(zip(plan.classes, (float(v) for v in p), strict=True))
        doubt = min(max(float(entropy.max()), 0.0), 1.0)
        return Prediction(case.id, "", probabilities=named, label="|".join(there), doubt=doubt)

    def informative(self, views: Sequence[np.ndarray], prediction: Prediction, plan: Plan) -> float:
        """Return the mean over the labels of how near each is to being undecided: 1 at one half, 0 at certainty."""
        p = np.mean(np.stack(views), axis=0)
        return float(np.clip(1 - np.abs(2 * p - 1), 0, 1).mean())

    def score(self, prediction: Prediction, case: Case, plan: Plan) -> dict[str, float]:
        """Return for each known label whether it is there and whether it was called, and whether all are right."""
        known = case.target.known if isinstance(case.target, Findings) else {}
        called = set(prediction.label.split("|"))
        right = [there == (name in called) for name, there in known.items()]
        found = {"exact": float(all(right))}
        found |= {f"there/{name}": float(there) for name, there in known.items()}
        return found | {f"called/{name}": float(name in called) for name in known}

    def worth(self, scores: Mapping[str, float]) -> float:
        """The share of the known labels that are right."""
        names = [k.partition("/")[2] for k in scores if k.startswith("there/")]
        right = [scores[f"there/{n}"] == scores[f"called/{n}"] for n in names]
        return float(np.mean(right)) if right else float("nan")

    def measure(self, judged: Sequence[Judged], plan: Plan, rng: np.random.Generator) -> Measures:
        """Return the mean AUC over labels first, then each label's own numbers on the cases where it is known."""
        patients = [j.patient for j in judged]
        truth, p = _truth(judged, plan), _said(judged, plan)
        exact = np.array([j.scores["exact"] for j in judged]) > 0
        found = {
            "macro_auc": statistics.bootstrap_metric(_macro_auc(truth, p), patients, rng),
            "exact": statistics.proportion_metric(exact, patients, rng),
        }
        by_label: dict[str, dict[str, Metric]] = {}
        curves: dict[str, tuple[Sequence[float], Sequence[float], Sequence[int]]] = {}
        for column, name in enumerate(plan.classes):
            known = truth[:, column] != UNKNOWN
            there = truth[known, column].astype(int)
            if there.size == 0 or there.min() == there.max():
                continue
            who = [patient for patient, k in zip(patients, known, strict=True) if k]
            called = np.array([j.scores[f"called/{name}"] for j, k in zip(judged, known, strict=True) if k]) > 0
            by_label[name] = {
                "auc": statistics.auc_metric(there, p[known, column], who, rng),
                "sensitivity": statistics.proportion_metric(called, who, rng, among=there == 1),
                "specificity": statistics.proportion_metric(~called, who, rng, among=there == 0),
            }
            x, y = metrics.roc_points(there, p[known, column])
            curves[f"roc/{name}"] = (x.tolist(), y.tolist(), ())
        return Measures(metrics=found, by_label=by_label, curves=curves)

    def compare(
        self, ours: Sequence[Judged], theirs: Sequence[Judged], plan: Plan, rng: np.random.Generator
    ) -> tuple[Metric, float | None, str]:
        """Compare mean AUCs by the paired patient bootstrap."""
        truth = _truth(ours, plan)
        first, second = _macro_auc(truth, _said(ours, plan)), _macro_auc(truth, _said(theirs, plan))
        paired = statistics.compare_resampled(first, second, [j.patient for j in ours], rng)
        return paired.difference, paired.p, paired.test

    def perfect(self, target: "np.ndarray | float | int", plan: Plan) -> np.ndarray:
        """Return certainty; a label that is not known is taken as absent."""
        return np.asarray(np.maximum(np.asarray(target, dtype=float), 0.0))


def _extra(calibration: Calibration, key: str, n: int, default: float = 1.0) -> np.ndarray:
    found = calibration.extra.get(key, ())
    return np.array(found) if isinstance(found, tuple | list) and len(found) == n else np.full(n, default)


def _truth(judged: Sequence[Judged], plan: Plan) -> np.ndarray:
    """Return (n, labels): 1, 0 or :data:`UNKNOWN`."""
    return np.array([[j.scores.get(f"there/{name}", UNKNOWN) for name in plan.classes] for j in judged])


def _said(judged: Sequence[Judged], plan: Plan) -> np.ndarray:
    return np.array([[j.probabilities[name] for name in plan.classes] for j in judged])


def _macro_auc(truth: np.ndarray, p: np.ndarray) -> Statistic:
    """Return the mean over the labels of the AUC on the cases where the label is known, as a statistic."""
    each: list[tuple[np.ndarray, Statistic]] = []
    for column in range(truth.shape[1]):
        known = truth[:, column] != UNKNOWN
        there = truth[known, column].astype(int)
        if there.size and there.min() < there.max():
            each.append((known, statistics.auc_of(there, p[known, column])))

    def statistic(weights: np.ndarray) -> np.ndarray:
        if not each:
            return np.full(len(weights), np.nan)
        values = np.array([one(weights[:, known]) for known, one in each])
        # A resample without cases of a label says nothing of it.
        defined = np.isfinite(values)
        total = np.where(defined, values, 0.0).sum(axis=0)
        return np.asarray(total / np.where(defined.any(axis=0), defined.sum(axis=0), np.nan))

    return statistic

"""Classification: one class per image, two or more classes, in 2-D and 3-D."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lucency import calibration as calibrations
from lucency import metrics, statistics
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Prediction
from lucency.errors import UsageError
from lucency.losses import IMBALANCE, imbalanced_cross_entropy, margins, soft_cross_entropy
from lucency.networks import Body, body
from lucency.plan import Needs, Option, Plan
from lucency.prepare import Prepared
from lucency.profile import Profile
from lucency.statistics import Metric
from lucency.tasks import Batch, Judged, Measures, class_index, task
from lucency.tasks.pooled import image_network

#: Over this many training images mixup is left out: it is meant for few, and slows. Chosen, not measured here.
SMALL_SET = 20_000

#: Balanced-MixUp's exponent (Galdran 2021, doi 10.1007/978-3-030-87240-3_31: 0.1 and 0.2 were best).
BALANCED_ALPHA = 0.2

#: Share of a batch that each choice draws class by class.
BALANCE = {"balanced_mixup": 0.5, "balanced_sampling": 1.0}

#: From this many times as many images of the commonest class as of the rarest on, other choices are tried. At less
#: than that base rates cost little; chosen, not measured.
UNLIKE = 5

#: The choices that are then tried, one by sampling (ahead of other samplings and losses in Galdran 2021) and one by
#: the loss (Menon 2021). Each costs a training, so there are two and not six.
TRIED = ("balanced_mixup", "logit_adjustment")

#: Length of the logits where they are cosines (Cao 2019, doi 10.48550/arXiv.1906.07413).
COSINE_SCALE = 30.0


class CosineHead(nn.Linear):
    """A linear layer between vectors of unit length: margins mean the same for all classes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scaled cosines (B, classes); the bias has no part in them."""
        return COSINE_SCALE * functional.linear(functional.normalize(x), functional.normalize(self.weight))


class ClassifyNet(nn.Module):
    """A body, its coarsest map pooled, dropout and a linear layer."""

    def __init__(self, trunk: Body, outputs: int, dropout: float) -> None:
        super().__init__()
        self.body = trunk
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(trunk.channels[-1], outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (B, classes)."""
        coarse = self.body(x)[-1]
        pooled = coarse.float().mean(dim=tuple(range(2, coarse.ndim)))
        out: torch.Tensor = self.head(self.drop(pooled))
        return out


@task
class Classify:
    """The classification task."""

    name = "classify"
    semi = True
    dense = False
    headline = "auc"
    baselines = "classes"

    def suits(self, cohort: Cohort) -> float:
        """Class names as targets; a task for classes with more to them (an order) goes first."""
        return 0.9 if len(cohort.classes) >= 2 and any(isinstance(c.target, str) for c in cohort.cases) else 0.0

    def needs(self, profile: Profile) -> Needs:
        """A residual network with one output per class."""
        n, classes = profile.n_cases, len(profile.class_counts)
        few = n < SMALL_SET
        network, why = image_network(profile)
        counts = sorted(profile.class_counts.values())
        unlike = counts[-1] > UNLIKE * counts[0]
        return Needs(
            task=self.name,
            network=network,
            outputs=classes,
            dense=False,
            options={"mixup": 0.2 if few else 0.0, "smoothing": 0.05, "dropout": 0.2, "imbalance": "plain"},
            reasons={
                "task": f"{classes} classes, {counts[0]} to {counts[-1]} training images each",
                "network": why,
                "imbalance": "plain cross-entropy, thresholds chosen on calibrated out-of-fold probabilities; "
                "resampling would spoil calibration (arXiv 2603.00208)"
                + ("" if unlike else f"; no other choice is tried below {UNLIKE} images to 1"),
            },
            tried={"imbalance": TRIED} if unlike else {},
        )

    def build(self, plan: Plan) -> dict[str, nn.Module]:
        """Return the network."""
        trunk = body(plan.network, plan.channels, plan.dims, plan.network_options)
        net = ClassifyNet(trunk, len(plan.classes), float(plan.task_options.get("dropout", 0.2)))  # type: ignore[arg-type]
        if imbalance_of(plan.task_options) == "ldam_drw":
            net.head = CosineHead(trunk.channels[-1], len(plan.classes), bias=False)
        return {"net": net}

    def balance(self, plan: Plan) -> float:
        """Half of a batch or all of it is drawn class by class, where the plan says so."""
        return BALANCE.get(imbalance_of(plan.task_options), 0.0)

    def target(self, case: Case, plan: Plan) -> int:
        """Return the class index.

        Raises:
            DataError: A class that the plan does not know.
        """
        return class_index(case, plan)

    def losses(
        self, parts: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Cross-entropy with label smoothing, light mixup and the plan's answer to unlike classes.

        Source: Zhang 2018 (doi 10.48550/arXiv.1710.09412); :func:`lucency.losses.imbalanced_cross_entropy`.
        """
        net = parts["net"]
        images, classes = batch.images, int(getattr(net, "outputs", 0) or _outputs(net))
        truth = functional.one_hot(batch.targets.long(), classes).float()
        choice = imbalance_of(batch.options) if net.training else "plain"
        if choice == "balanced_mixup":
            images, truth = _balanced_mixup(images, truth, rng)
        elif net.training:
            images, truth = _mixup(images, truth, float(batch.options.get("mixup", 0.0)), rng)  # type: ignore[arg-type]
        smoothing = float(batch.options.get("smoothing", 0.0)) if net.training else 0.0  # type: ignore[arg-type]
        if choice == "plain":
            yield "net", soft_cross_entropy(net(images), truth, smoothing)
            return
        truth = truth * (1 - smoothing) + smoothing / classes
        counts = [max(1, n) for n in batch.counts] or [1] * classes
        logits = net(images).float()
        if choice == "ldam_drw":
            logits = logits - COSINE_SCALE * truth * margins(torch.tensor(counts, device=logits.device))
        yield "net", imbalanced_cross_entropy(logits, truth, counts, choice, progress=batch.progress)

    def activate(self, raw: torch.Tensor, calibration: Calibration) -> torch.Tensor:
        """Return calibrated class probabilities of one member."""
        return torch.from_numpy(calibration.apply(raw.float().cpu().numpy().astype(np.float64)))

    def calibrate(
        self, raw: Sequence[np.ndarray], targets: Sequence["np.ndarray | float"], plan: Plan, rng: np.random.Generator
    ) -> Calibration:
        """Fit the temperature, then the thresholds, on out-of-fold outputs.

        A network that learned as if classes were equally frequent also gets the base rates back, or its
        probabilities would not be those of these patients.
        """
        logits, truth = np.stack(raw).astype(np.float64), np.array(targets, dtype=int)
        if imbalance_of(plan.task_options) == "plain":
            return calibrations.fit(logits, truth)
        return calibrations.fit_with_rates(logits, truth)

    def decode(
        self, output: np.ndarray, case: Case, prepared: Prepared, plan: Plan, calibration: Calibration
    ) -> Prediction:
        """Return probabilities, the class at the thresholds, and the doubt: entropy as a share of its maximum."""
        p = np.clip(output.astype(np.float64), 0, 1)
        p = p / p.sum()
        entropy = float(-(p * np.log(np.maximum(p, 1e-12))).sum() / np.log(len(p)))
        label = plan.classes[int(calibration.label(p[None])[0])]
        named = dict(zip(plan.classes, (float(v) for v in p), strict=True))
        return Prediction(case.id, "", probabilities=named, label=label, doubt=min(max(entropy, 0.0), 1.0))

    def informative(self, views: Sequence[np.ndarray], prediction: Prediction, plan: Plan) -> float:
        """Return how near the two likeliest classes are: 1 minus the margin (Scheffer 2001, 10.1007/3-540-44816-0_31).

        Unlike the entropy it does not rise with chances shared among classes that are out of the question.
        """
        first, second = np.sort(np.mean(np.stack(views), axis=0))[::-1][:2]
        return float(np.clip(1 - (first - second), 0, 1))

    def score(self, prediction: Prediction, case: Case, plan: Plan) -> dict[str, float]:
        """Return whether the label is right, the probability of the true class and its log loss."""
        p = float((prediction.probabilities or {}).get(str(case.target), 0.0))
        return {
            "correct": float(prediction.label == case.target),
            "p_true": p,
            "log_loss": float(-np.log(max(p, 1e-12))),
        }

    def measure(self, judged: Sequence[Judged], plan: Plan, rng: np.random.Generator) -> Measures:
        """Return discrimination, decisions and calibration with intervals; curves; the confusion matrix."""
        truth, p, label, patients = _arrays(judged, plan)
        n = len(plan.classes)
        score = p[:, 1] if n == 2 else p
        over_counts = _of_counts(truth, label, n)
        hits = truth == label
        found: dict[str, Metric] = {
            "auc": statistics.auc_metric(truth, score, patients, rng),
            "accuracy": statistics.proportion_metric(hits, patients, rng),
            "balanced_accuracy": _bootstrap(over_counts(metrics.balanced_accuracy), patients, truth, rng),
        }
        if n == 2:
            found["sensitivity"] = statistics.proportion_metric(hits, patients, rng, among=truth == 1)
            found["specificity"] = statistics.proportion_metric(hits, patients, rng, among=truth == 0)
        found["f1"] = _bootstrap(over_counts(metrics.f1), patients, truth, rng)
        found["auprc"] = _auprc(truth, p, patients, rng)
        bounds = (0.0, 1.0 if n == 2 else 2.0)
        found["brier"] = statistics.mean_metric(metrics.brier_terms(truth, p), patients, rng, best=0.0, bounds=bounds)
        found["log_loss"] = statistics.mean_metric(metrics.log_loss_terms(truth, p), patients, rng, best=0.0)
        found["ece"] = _bootstrap(lambda w: metrics.calibration_error(truth, p, w), patients, truth, rng, best=0.0)
        slope, intercept = metrics.calibration_line(truth, p)
        found["calibration_slope"] = Metric(slope, n=len(set(patients)), method="logistic recalibration", best=1.0)
        found["calibration_intercept"] = Metric(
            intercept, n=len(set(patients)), method="logistic recalibration", best=0.0
        )
        return Measures(
            metrics=found,
            by_label=_by_class(truth, p, label, patients, plan, rng),
            curves=_curves(truth, p, plan),
            confusion=tuple(tuple(int(v) for v in row) for row in metrics.confusion(truth, label, n)),
        )

    def compare(
        self, ours: Sequence[Judged], theirs: Sequence[Judged], plan: Plan, rng: np.random.Generator
    ) -> tuple[Metric, float | None, str]:
        """Compare AUCs: paired DeLong for two classes, paired patient bootstrap above."""
        truth, first, _, patients = _arrays(ours, plan)
        second = _arrays(theirs, plan)[1]
        if len(plan.classes) == 2:
            paired = statistics.compare_auc(truth, first[:, 1], second[:, 1], patients)
        else:
            paired = statistics.compare_resampled(
                statistics.macro_auc_of(truth, first),
                statistics.macro_auc_of(truth, second),
                patients,
                rng,
                truth=truth,
            )
        return paired.difference, paired.p, paired.test

    def perfect(self, target: "np.ndarray | float | int", plan: Plan) -> np.ndarray:
        """Return certainty of the true class."""
        sure: np.ndarray = np.eye(len(plan.classes))[int(np.asarray(target))]
        return sure


def imbalance_of(options: Mapping[str, Option]) -> str:
    """Return how the plan answers to classes of unlike size.

    Raises:
        UsageError: A name that there is not.
    """
    choice = str(options.get("imbalance", "plain"))
    if choice not in IMBALANCE:
        near = difflib.get_close_matches(choice, IMBALANCE, n=1)
        raise UsageError(
            f"imbalance = {choice!r}",
            expected=", ".join(IMBALANCE),
            where="plan.json",
            remedy=f"did you mean {near[0]!r}?" if near else "",
        )
    return choice


def _mixup(
    images: torch.Tensor, truth: torch.Tensor, alpha: float, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    if not alpha:
        return images, truth
    share = _beta(alpha, rng)
    other = torch.randperm(len(images), generator=rng, device=rng.device)
    return share * images + (1 - share) * images[other], share * truth + (1 - share) * truth[other]


def _balanced_mixup(
    images: torch.Tensor, truth: torch.Tensor, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix images drawn as they come with images drawn class by class, the last half of the batch.

    Source: Galdran 2021 (doi 10.1007/978-3-030-87240-3_31), equation 3: the share of the latter is Beta(alpha, 1).
    """
    half = len(images) // 2
    share = torch.rand(half, generator=rng, device=rng.device) ** (1 / BALANCED_ALPHA)
    wide = share.reshape(-1, *[1] * (images.ndim - 1)).to(images.dtype)
    mixed = (1 - wide) * images[:half] + wide * images[-half:]
    return mixed, (1 - share[:, None]) * truth[:half] + share[:, None] * truth[-half:]


def _outputs(net: nn.Module) -> int:
    # The head is the last layer; a body may have linear layers of its own.
    head = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
    return int(head.out_features)


def _beta(alpha: float, rng: torch.Generator) -> float:
    """Draw from Beta(alpha, alpha) by Jöhnk's method, which needs only uniform numbers."""
    while True:
        u, v = torch.rand(2, generator=rng, device=rng.device).tolist()
        x, y = u ** (1 / alpha), v ** (1 / alpha)
        if 0 < x + y <= 1:
            return float(x / (x + y))


def _arrays(judged: Sequence[Judged], plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    truth = np.array([plan.classes.index(j.truth) for j in judged])
    p = np.array([[j.probabilities[c] for c in plan.classes] for j in judged])
    label = np.array([plan.classes.index(j.label) for j in judged])
    return truth, p, label, [j.patient for j in judged]


Statistic = Callable[[np.ndarray], np.ndarray]


def _of_counts(
    truth: np.ndarray, label: np.ndarray, n: int
) -> Callable[[Callable[[np.ndarray], np.ndarray]], Statistic]:
    """Return a way to turn a function of the confusion matrix into a statistic of weighted cases."""

    def over(function: Callable[[np.ndarray], np.ndarray]) -> Statistic:
        return lambda weights: function(metrics.confusion(truth, label, n, weights))

    return over


def _bootstrap(
    statistic: Statistic, patients: list[str], truth: np.ndarray, rng: np.random.Generator, best: float = 1.0
) -> Metric:
    return statistics.bootstrap_metric(statistic, patients, rng, truth=truth, best=best)


def _auprc(truth: np.ndarray, p: np.ndarray, patients: list[str], rng: np.random.Generator) -> Metric:
    present = [c for c in range(p.shape[1]) if (truth == c).any()]
    chosen = [1] if p.shape[1] == 2 else present

    def statistic(weights: np.ndarray) -> np.ndarray:
        each = [metrics.weighted_average_precision((truth == c).astype(int), p[:, c], weights) for c in chosen]
        return np.asarray(np.mean(each, axis=0))

    return _bootstrap(statistic, patients, truth, rng)


def _by_class(
    truth: np.ndarray, p: np.ndarray, label: np.ndarray, patients: list[str], plan: Plan, rng: np.random.Generator
) -> dict[str, dict[str, Metric]]:
    found: dict[str, dict[str, Metric]] = {}
    for number, name in enumerate(plan.classes):
        here = truth == number
        if not here.any() or here.all():
            continue
        found[name] = {
            "auc": statistics.auc_metric(here.astype(int), p[:, number], patients, rng),
            "sensitivity": statistics.proportion_metric(label == number, patients, rng, among=here),
            "specificity": statistics.proportion_metric(label != number, patients, rng, among=~here),
        }
    return found


def _curves(
    truth: np.ndarray, p: np.ndarray, plan: Plan
) -> dict[str, tuple[Sequence[float], Sequence[float], Sequence[int]]]:
    found: dict[str, tuple[Sequence[float], Sequence[float], Sequence[int]]] = {}
    shown = [1] if len(plan.classes) == 2 else range(len(plan.classes))
    for number in shown:
        here = (truth == number).astype(int)
        if 0 < here.sum() < len(here):
            x, y = metrics.roc_points(here, p[:, number])
            found[f"roc/{plan.classes[number]}"] = (x.tolist(), y.tolist(), ())
            x, y = metrics.pr_points(here, p[:, number])
            found[f"pr/{plan.classes[number]}"] = (x.tolist(), y.tolist(), ())
    said, came, count = metrics.reliability(truth, p)
    found["reliability"] = (said.tolist(), came.tolist(), count.tolist())
    return found

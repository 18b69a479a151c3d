"""What is learned after training so that 80 % means 80 %, and where to cut: temperature, bias, thresholds.

Nothing here may be judged on the data it was learned from; :func:`cross_fit` keeps that rule.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy import optimize, special

from lucency.errors import DataError, UsageError

Rule = Literal["balanced accuracy", "accuracy"]

#: Fewer cases than this do not carry a bias per class: it would follow chance.
BIAS_CASES = 500
#: Logits beyond this are certainty to 9 digits; beyond it only rounding differs.
LARGEST_LOGIT = 20.0
#: Cases of the smaller class at which the threshold found in them weighs as much as the base rate. Of 0, 10, 30
#: and 100, 30 lost least balanced accuracy over simulated calibrated and miscalibrated scores of 60 to 800 cases.
TRUSTED_CASES = 30
#: Thresholds this close to the best smoothed accuracy are one plateau; its middle is taken.
PLATEAU = 0.005
#: How sure a network must be of a class before what it says of an image without a label is believed: so many of the
#: held-out cases it was as sure of must be right (Sohn 2020, doi 10.48550/arXiv.2001.07685, and Cascante-Bonilla 2021,
#: doi 10.1609/aaai.v35i8.16852, take .95 and percentiles of the probability itself, which need not be calibrated).
SURE = 0.95
#: Held-out cases called by a class from which on its threshold is learned; with fewer the calibrated probability must
#: be :data:`SURE` itself. A threshold that leaves fewer than the second is not tried. NEVER is above any probability.
LEARNED_FROM, LEAST_ABOVE, NEVER = 10, 5, 2.0
#: Thresholds tried, and the most scores a class is stood for by (evenly spaced quantiles beyond).
N_GRID, N_QUANTILES = 400, 2000


@dataclass(frozen=True)
class Calibration:
    """How raw outputs become probabilities and labels. The default is the identity.

    Args:
        temperature: Divides the logits; > 0.
        bias: (classes,) added to the logits after division, or empty.
        thresholds: Empty: the likeliest class. One number t (two classes): class 1 where p1 >= t. One number per
            class: the class with the largest p / t, which is logit adjustment.
        extra: What a task adds, for example components to keep.

    Raises:
        UsageError: A temperature or threshold that is not a positive number, or a bias that is not finite.

    Source:
        Guo 2017, arXiv:1706.04599 (temperature, bias); Menon 2021, arXiv:2007.07314 (logit adjustment).
    """

    temperature: float = 1.0
    bias: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = ()
    extra: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positive = (self.temperature, *self.thresholds)
        if not all(np.isfinite(v) and v > 0 for v in positive) or not np.isfinite(self.bias).all():
            raise UsageError(
                f"Temperature {self.temperature}, bias {self.bias}, thresholds {self.thresholds}",
                expected="finite numbers, temperature and thresholds above 0",
                where="calibration",
            )

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Return (n, classes) float64 probabilities of (n, classes) logits; rows sum to 1."""
        scaled = np.asarray(logits, dtype=np.float64) / self.temperature
        if self.bias:
            scaled = scaled + np.asarray(self.bias)
        return np.asarray(special.softmax(scaled, axis=1))

    def label(self, probabilities: np.ndarray) -> np.ndarray:
        """Return (n,) int class index of (n, classes) calibrated probabilities, by the thresholds."""
        if not self.thresholds:
            return np.asarray(probabilities.argmax(axis=1))
        if len(self.thresholds) == 1:
            if probabilities.shape[1] != 2:
                raise UsageError(
                    f"One threshold for {probabilities.shape[1]} classes", expected="one per class", where="calibration"
                )
            return np.asarray(probabilities[:, 1] >= self.thresholds[0]).astype(int)
        return np.asarray((probabilities / np.asarray(self.thresholds)).argmax(axis=1))


def fit_temperature(logits: np.ndarray, targets: np.ndarray, *, bias: bool = False) -> Calibration:
    """Return the temperature, and the bias if asked for, under which the targets are likeliest.

    A normal prior of one unit on the log-temperature (and on each bias) weighs as much as a single surprising case:
    it vanishes for large n and keeps the temperature off 0 where few cases are all labelled rightly.

    Args:
        logits: (n, classes) float, of cases the network was not trained on.
        targets: (n,) class index.
        bias: Whether to add one number per class; used from 500 cases on, where it does not follow chance.

    Returns:
        A Calibration without thresholds; the bias sums to 0.

    Raises:
        DataError: No case, or logits that are not finite.
    """
    logits, targets = np.asarray(logits, dtype=np.float64), np.asarray(targets)
    if not targets.size or not np.isfinite(logits).all():
        raise DataError("No case or no finite output to calibrate on", remedy="train again with a lower rate")
    n_classes = logits.shape[1]
    # A common shift changes no probability but would swamp the step of the optimiser.
    centred = logits - logits.mean(axis=1, keepdims=True)
    truth = np.eye(n_classes)[targets]
    with_bias = bias and targets.size >= BIAS_CASES

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = centred * np.exp(-point[0])
        shifted = scaled + point[1:] if with_bias else scaled
        log_p = special.log_softmax(shifted, axis=1)
        excess = np.exp(log_p) - truth
        slope = np.concatenate([[-(excess * scaled).sum()], excess.sum(axis=0) if with_bias else []])
        return float(-(truth * log_p).sum() + 0.5 * (point**2).sum()), slope + point

    start = np.zeros(1 + (n_classes if with_bias else 0))
    # Beyond e ** ±5 a temperature makes certainty or ignorance of any logit.
    bounds = [(-5.0, 5.0)] * start.size
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    shift = tuple(float(b) for b in found[1:] - found[1:].mean()) if with_bias else ()
    return Calibration(temperature=float(np.exp(found[0])), bias=shift)


def choose_thresholds(
    probabilities: np.ndarray, targets: np.ndarray, rule: Rule = "balanced accuracy"
) -> tuple[float, ...]:
    """Return where to cut calibrated probabilities into labels.

    The best cut of a sample jumps from case to case. Two steadier answers are joined. (1) The optimum of the
    accuracy smoothed by a normal kernel on the logits, the middle of its plateau: half the regret of the raw
    optimum or less in simulation. (2) The optimum if the probabilities are right: the base rates for balanced
    accuracy, even odds for accuracy; it has hardly any variance. The logit between them moves from (2) to (1) as
    the smaller class grows, half way at 30 cases. Above two classes (2) alone: there are too many cuts to find.

    Args:
        probabilities: (n, classes) calibrated, of cases that were not trained on.
        targets: (n,) class index.
        rule: What the labels shall be best at.

    Returns:
        One number for two classes, one per class above; empty when a class is missing of two.

    Source:
        Fluss, Faraggi & Reiser 2005, doi:10.1002/bimj.200410135 (kernel estimate of the Youden cut).
    """
    targets, n_classes = np.asarray(targets), probabilities.shape[1]
    counts = np.bincount(targets, minlength=n_classes).astype(np.float64)
    if n_classes > 2:
        if rule == "accuracy":
            return ()
        # One case added to each class: a class that is absent by chance keeps a base rate above 0.
        return tuple(float(c) for c in (counts + 1) / (counts + 1).sum())
    if counts.min() == 0:
        return ()
    base = counts / counts.sum()
    weights = np.array([0.5, 0.5]) if rule == "balanced accuracy" else base
    right = float(special.logit(base[1])) if rule == "balanced accuracy" else 0.0
    trust = counts.min() / (counts.min() + TRUSTED_CASES)
    cut = trust * _smooth_cut(_logits_of(probabilities[:, 1]), targets, weights) + (1 - trust) * right
    return (float(special.expit(cut)),)


def fit(
    logits: np.ndarray, targets: np.ndarray, *, rule: Rule = "balanced accuracy", bias: bool = False
) -> Calibration:
    """Return temperature, bias (if asked for) and thresholds learned from out-of-fold outputs.

    Args:
        logits: (n, classes) float, of cases the network was not trained on.
        targets: (n,) class index.
        rule: See :func:`choose_thresholds`.
        bias: See :func:`fit_temperature`.
    """
    scaled = fit_temperature(logits, targets, bias=bias)
    cuts = choose_thresholds(scaled.apply(logits), targets, rule)
    return Calibration(scaled.temperature, scaled.bias, cuts)


def sure_at(probabilities: np.ndarray, targets: np.ndarray) -> tuple[float, ...]:
    """Return for each class the probability from which on a network that calls it is right :data:`SURE` of the time.

    Args:
        probabilities: (n, classes) calibrated, of cases the network was not trained on.
        targets: (n,) class index.

    Returns:
        The lowest such probability, at least one half; :data:`SURE` itself where too few cases are called by the class
        to tell; :data:`NEVER` where no probability is high enough.

    Example:
        >>> p = np.linspace(0.5, 1, 20, endpoint=False)
        >>> right = (p >= 0.7).astype(int)
        >>> sure_at(np.stack([1 - p, p], axis=1), right)
        (0.95, 0.7)
    """
    called, best = probabilities.argmax(axis=1), probabilities.max(axis=1)
    found = []
    for label in range(probabilities.shape[1]):
        mine = called == label
        order = np.argsort(-best[mine], kind="stable")
        p, right = best[mine][order], (np.asarray(targets)[mine] == label)[order]
        if len(p) < LEARNED_FROM:
            found.append(SURE)
            continue
        share = np.cumsum(right) / np.arange(1, len(p) + 1)
        # A threshold stands at a probability that occurs, all that have it included.
        last = np.append(p[1:] < p[:-1], True)
        good = np.flatnonzero(last & (share >= SURE) & (np.arange(1, len(p) + 1) >= LEAST_ABOVE))
        found.append(float(max(p[good[-1]], 0.5)) if len(good) else NEVER)
    return tuple(found)


#: Shares of the log base rates that are tried: 0 leaves the outputs as they are, 1 undoes even odds in training.
RATE_SHARES = np.linspace(0.0, 1.5, 31)


def fit_with_rates(logits: np.ndarray, targets: np.ndarray, *, rule: Rule = "balanced accuracy") -> Calibration:
    """Return temperature, bias and thresholds for outputs that were learned as if classes were equally frequent.

    The bias is a share of the log base rates, one number to learn however many classes there are: the one under which
    the targets are likeliest.

    Args:
        logits: (n, classes) float, of cases the network was not trained on.
        targets: (n,) class index.
        rule: See :func:`choose_thresholds`.

    Source:
        Saerens 2002 (doi 10.1162/089976602753284446), equation 4, for the share 1.
    """
    targets = np.asarray(targets)
    # One case added to each class, as for thresholds.
    counts = np.bincount(targets, minlength=logits.shape[1]) + 1.0
    rates = np.log(counts / counts.sum())
    best, likeliest = Calibration(), -math.inf
    for share in RATE_SHARES:
        moved = logits + share * rates
        scaled = fit_temperature(moved, targets)
        found = float(np.log(np.maximum(scaled.apply(moved)[np.arange(len(targets)), targets], 1e-300)).sum())
        if found > likeliest:
            bias = share * rates / scaled.temperature
            best, likeliest = Calibration(scaled.temperature, tuple(float(b) for b in bias - bias.mean())), found
    cuts = choose_thresholds(best.apply(logits), targets, rule)
    return Calibration(best.temperature, best.bias, cuts)


def cross_fit(
    logits: np.ndarray,
    targets: np.ndarray,
    patients: Sequence[str] | np.ndarray,
    rng: np.random.Generator,
    *,
    rule: Rule = "balanced accuracy",
    bias: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and labels in which no patient was judged by a calibration that saw them.

    The patients are dealt to two halves, class by class; each half gets the calibration of the other.

    Args:
        logits: (n, classes) float, out-of-fold.
        targets: (n,) class index.
        patients: (n,) patient of each case.
        rng: Deals the patients.
        rule: See :func:`choose_thresholds`.
        bias: See :func:`fit_temperature`.

    Returns:
        (n, classes) float64 probabilities and (n,) int labels.

    Raises:
        DataError: Fewer than two patients.
    """
    half = _halves(np.asarray(targets), np.asarray(patients), rng)
    probabilities = np.empty(np.shape(logits), dtype=np.float64)
    labels = np.empty(len(probabilities), dtype=int)
    for judged in (half, ~half):
        other = fit(logits[~judged], np.asarray(targets)[~judged], rule=rule, bias=bias)
        probabilities[judged] = other.apply(logits[judged])
        labels[judged] = other.label(probabilities[judged])
    return probabilities, labels


def _halves(targets: np.ndarray, patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (n,) bool: which half a case is in; patients whole, their highest class spread evenly."""
    names, group = np.unique(patients, return_inverse=True)
    if names.size < 2:
        raise DataError(
            f"{names.size} patient to calibrate on", expected="two or more", remedy="add patients with labels"
        )
    highest = np.zeros(names.size, dtype=int)
    np.maximum.at(highest, group, targets)
    order = rng.permutation(names.size)
    order = order[np.argsort(highest[order], kind="stable")]
    side = np.zeros(names.size, dtype=bool)
    side[order[::2]] = True
    return np.asarray(side[group])


def _logits_of(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        raw = special.logit(np.asarray(p, dtype=np.float64))
    return np.asarray(np.clip(raw, -LARGEST_LOGIT, LARGEST_LOGIT))


def _smooth_cut(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """Return the middle of the plateau of weights · (specificity, sensitivity), smoothed by a normal kernel."""
    grid = np.linspace(logits.min(), logits.max(), N_GRID)
    share_below = []
    for c in (0, 1):
        scores = logits[targets == c]
        if scores.size > N_QUANTILES:
            scores = np.quantile(scores, (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES)
        width = _bandwidth(scores)
        share_below.append(special.ndtr((grid[:, None] - scores[None]) / width).mean(axis=1))
    gain = weights[0] * share_below[0] + weights[1] * (1 - share_below[1])
    best = int(gain.argmax())
    good = gain >= gain[best] - PLATEAU
    # Only the stretch that holds the optimum: another peak of nearly the same height is another decision.
    first = best - int(np.argmin(np.concatenate([good[best::-1], [False]]))) + 1
    last = best + int(np.argmin(np.concatenate([good[best:], [False]]))) - 1
    return float((grid[first] + grid[last]) / 2)


def _bandwidth(scores: np.ndarray) -> float:
    """Return Silverman's width of a normal kernel, doi:10.1007/978-1-4899-3324-9, equation 3.31."""
    if scores.size < 2:
        return 1.0
    quartiles = np.percentile(scores, [25, 75])
    spreads = [s for s in (float(scores.std(ddof=1)), float(quartiles[1] - quartiles[0]) / 1.34) if s > 0]
    # Equal scores have no width of their own; a thousandth of a logit keeps the kernel a function.
    return max(0.9 * min(spreads, default=0.0) / math.pow(scores.size, 0.2), 1e-3)

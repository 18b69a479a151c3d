"""What is learned after training: how much each branch is worth, the level of the hazards, where risk groups part.

Raw outputs of patients that the members did not see go in; nothing of it is judged on the same patients.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from lucency.survival.intervals import incidence_of, labelled, marginal_logits
from lucency.survival.outcome import Outcomes

#: Spread of the normal prior on a branch's weight around an even share: as wide as the weights that occur.
PRIOR_SPREAD = 0.5
#: No branch counts negatively: a branch that is wrong for a half of few patients is rather worth nothing.
WEIGHTS = (0.0, 2.0)
#: Risk groups: three, or two under this many patients, whose curves would be of a handful.
THREE_GROUPS = 60


@dataclass(frozen=True, eq=False)
class Fusion:
    """How branches become one hazard.

    Args:
        base: (causes, m) log odds of an average patient.
        mean: (branches, causes, m) mean raw output, which the branches' outputs are taken from.
        weight: (branches,) what each is worth.
        cuts: (groups - 1,) risks at which groups part, ascending.
    """

    base: np.ndarray
    mean: np.ndarray
    weight: np.ndarray
    cuts: np.ndarray

    @property
    def extra(self) -> dict[str, float | tuple[float, ...]]:
        """The numbers as a calibration holds them."""
        return {
            "shape": tuple(float(n) for n in self.mean.shape),
            "base": tuple(float(v) for v in self.base.ravel()),
            "mean": tuple(float(v) for v in self.mean.ravel()),
            "weight": tuple(float(v) for v in self.weight),
            "cuts": tuple(float(v) for v in self.cuts),
        }

    def logits(self, raw: np.ndarray) -> np.ndarray:
        """Return (n, causes, m) fused log odds of (n, branches, causes, m) raw outputs."""
        return np.asarray(self.base + np.tensordot(raw - self.mean, self.weight, axes=(1, 0)))


def fusion_of(extra: Mapping[str, float | tuple[float, ...]]) -> Fusion | None:
    """Return what :attr:`Fusion.extra` stored, or None where nothing was learned."""
    if "base" not in extra:
        return None
    held = {name: np.atleast_1d(np.asarray(extra[name], dtype=np.float64)) for name in extra}
    shape = [round(n) for n in held["shape"]]
    return Fusion(held["base"].reshape(shape[1:]), held["mean"].reshape(shape), held["weight"], held["cuts"])


def even(shape: tuple[int, ...]) -> Fusion:
    """Return the fusion of (branches, causes, m) outputs of which nothing was learned: their plain mean."""
    none = np.zeros(shape)
    return Fusion(none[0], none, np.full(shape[0], 1 / shape[0]), np.zeros(0))


def fit_fusion(raw: np.ndarray, outcomes: Outcomes, edges: np.ndarray, horizon: float) -> Fusion:
    """Learn the weights by the penalised likelihood of what happened to patients that no member had seen.

    The level of each interval is that of these patients; a common shift and one weight for each branch are fitted, so
    that few events are enough.

    Args:
        raw: (n, branches, causes, m).
        outcomes: Of the same patients.
        edges: (m + 1,) days.
        horizon: Days; risk groups part patients by their risk until then.
    """
    branches, causes = raw.shape[1:3]
    base = marginal_logits(outcomes, edges, causes)
    mean = raw.mean(axis=0)
    apart = raw - mean
    at_risk, kind = labelled(outcomes, edges)
    picked = np.eye(causes + 1)[kind][..., 1:].transpose(0, 2, 1) * at_risk[:, None]

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        logits = base + point[0] + np.tensordot(apart, point[1:], axes=(1, 0))
        top = np.maximum(logits.max(axis=1, keepdims=True), 0)
        odds = np.exp(logits - top)
        total = odds.sum(axis=1, keepdims=True) + np.exp(-top)
        excess = odds / total * at_risk[:, None] - picked
        value = float((at_risk * (np.log(total) + top)[:, 0]).sum() - (picked * logits).sum())
        slope = np.array([excess.sum(), *((excess[:, None] * apart).sum(axis=(0, 2, 3)))])
        away = (point[1:] - 1 / branches) / PRIOR_SPREAD
        slope[1:] += away / PRIOR_SPREAD
        return value + 0.5 * float(away @ away), slope

    start = np.array([0.0, *np.full(branches, 1 / branches)])
    bounds = [(-5.0, 5.0), *[WEIGHTS] * branches]
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    fitted = Fusion(base + found[0], mean, found[1:], np.zeros(0))
    at = int(np.clip(np.searchsorted(edges, horizon) - 1, 0, edges.size - 2))
    risk = incidence_of(fitted.logits(raw))[:, 0, at]
    groups = 3 if len(outcomes) >= THREE_GROUPS else 2
    cuts = np.quantile(risk, np.arange(1, groups) / groups)
    return Fusion(fitted.base, fitted.mean, fitted.weight, cuts)


def group_of(risk: "np.ndarray | float", cuts: np.ndarray) -> np.ndarray:
    """Return 0 for the lowest risk, and so on."""
    return np.asarray(np.searchsorted(cuts, risk, side="right"))

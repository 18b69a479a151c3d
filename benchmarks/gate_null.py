"""How often the evidence gate accepts images that cannot help, and how often it sees a gain that is there.

Whole gates are simulated: patients with features instead of images, five folds, a locked part, arms of a cheap model
(regularised discriminant analysis on a random part of the columns, drawn by the seed) with the fold × seed runs of the
program, judged by the program's own rules (``lucency.synthesize.gate``). Under the null the "synthetic" rows are
training rows drawn again. With a planted gain they are new draws from the truth, as if a perfect generator knew more
patients: the more there are, the larger the true gain, which is measured on four thousand further patients.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from recorded import begin, parser, write

from lucency import metrics
from lucency.statistics import auc_of, clopper_pearson, compare_auc, compare_resampled
from lucency.synthesize.gate import (
    ACCEPT,
    INCONCLUSIVE,
    REJECT,
    Confirmation,
    Runs,
    Verdict,
    contrasted,
    guarded,
    rival_of,
    verdict,
)
from lucency.synthesize.gate.verdict import chosen, sure

NAME = "gate_null"
FOLDS, SEEDS, RATIOS = 5, 2, (0.25, 0.5, 1.0)
#: Share of class 1, of the columns that a model is given, and of the identity in its covariance.
PREVALENCE, PART, SHRUNK = 0.35, 0.95, 0.1
JUDGES = 4000


@dataclass(frozen=True)
class World:
    """What is planted.

    Args:
        name: In the record.
        times: New draws for each synthetic row that stands for one; 0 draws training rows again.
        patients: In the folds.
        locked: In the locked part.
        columns: Of each patient: with half as many as training patients a model has much left to learn.
        distance: Of the classes' means, in standard deviations.
    """

    name: str
    times: int
    patients: int = 1000
    locked: int = 200
    columns: int = 300
    distance: float = 2.0


Rows = tuple[np.ndarray, np.ndarray]


def drawn(n: int, world: World, rng: np.random.Generator) -> Rows:
    """Return patients: columns, all of which the class shifts a little, and the class."""
    y = (rng.random(n) < PREVALENCE).astype(int)
    x = rng.normal(size=(n, world.columns)) + world.distance / np.sqrt(world.columns) * y[:, None]
    return x, y


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained model: the columns that its seed drew, and their weights."""

    columns: np.ndarray
    weights: np.ndarray
    middle: float

    def logit(self, x: np.ndarray) -> np.ndarray:
        """(n,) log odds of class 1, but for their scale."""
        return np.asarray(x[:, self.columns] @ self.weights - self.middle)


def fitted(x: np.ndarray, y: np.ndarray, weight: np.ndarray, rng: np.random.Generator) -> Fitted:
    """Fit regularised discriminant analysis of weighted rows."""
    columns = np.sort(rng.permutation(x.shape[1])[: round(PART * x.shape[1])])
    z = x[:, columns]
    means = [np.average(z[y == c], axis=0, weights=weight[y == c]) for c in (0, 1)]
    centred = (z - np.where(y[:, None] == 1, means[1], means[0])) * np.sqrt(weight)[:, None]
    covariance = (1 - SHRUNK) * centred.T @ centred / weight.sum() + SHRUNK * np.eye(len(columns))
    weights = np.linalg.solve(covariance, means[1] - means[0])
    return Fitted(columns, weights, float(weights @ (means[0] + means[1]) / 2))


def arms_of(
    x: np.ndarray, y: np.ndarray, world: World, rng: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return rows, classes and weights that each arm learns from; extra rows count together what their ratio says."""
    n = len(x)

    def beside(extra: Rows, ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = np.concatenate([np.ones(n), np.full(len(extra[0]), ratio * n / len(extra[0]))])
        # Equal optimiser steps: whatever there is, all rows together weigh as much as the real ones alone would.
        return np.concatenate([x, extra[0]]), np.concatenate([y, extra[1]]), rows * n / rows.sum()

    def again(m: int) -> Rows:
        rows = rng.integers(0, n, m)
        return x[rows], y[rows]

    def made(m: int) -> Rows:
        return drawn(m * world.times, world, rng) if world.times else again(m)

    shares = np.bincount(y, minlength=2) / n
    jitter = x + 0.3 * rng.normal(size=x.shape)
    found = {
        "real": (x, y, np.ones(n)),
        "duplicated": beside(again(n), 1.0),
        "imbalance": (x, y, 0.5 / shares[y]),
        "mixup": (np.concatenate([x, jitter]), np.concatenate([y, y]), np.full(2 * n, 0.5)),
    }
    return found | {f"synthetic {r:g}": beside(made(round(r * n)), r) for r in RATIOS}


@dataclass(frozen=True, eq=False)
class Gate:
    """One simulated gate."""

    verdict: Verdict
    gain: float


def gate(world: World, rng: np.random.Generator, *, measured: bool) -> Gate:
    """Simulate a gate.

    Args:
        world: What is planted.
        rng: Of everything.
        measured: Measure the true gain of the candidate over the rival, on further patients.
    """
    x, y = drawn(world.patients, world, rng)
    far_x, far_y = drawn(world.locked, world, rng)
    fold = rng.permutation(len(x)) % FOLDS
    scores: dict[str, dict[str, list[float]]] = {}
    nets: dict[str, list[tuple[Fitted, Scaled]]] = {}
    for number in range(FOLDS):
        inner = (number + 1) % FOLDS
        train = (fold != number) & (fold != inner)
        for _ in range(SEEDS):
            for arm, rows in arms_of(x[train], y[train], world, rng).items():
                net = fitted(*rows, rng)
                learned = scaled(net.logit(x[fold == inner]), y[fold == inner])
                nets.setdefault(arm, []).append((net, learned))
                found = scores.setdefault(arm, {})
                for key, value in measures(net, learned, x[fold == number], y[fold == number]).items():
                    found.setdefault(key, []).append(value)
                found.setdefault("inner", []).append(auc(y[fold == inner], net.logit(x[fold == inner])))
    arms = [
        Runs(
            arm,
            arm.startswith("synthetic"),
            tuple(s.pop("inner")),
            tuple(s.pop("auc")),
            {k: tuple(v) for k, v in s.items()},
        )
        for arm, s in scores.items()
    ]
    n_train, n_test = len(x) * (FOLDS - 2) / FOLDS, len(x) / FOLDS
    contrasts = contrasted(arms, n_train, n_test)
    rival = rival_of(arms)
    candidate = next(a for a in arms if a.arm == chosen(arms, contrasts))
    guards = guarded(candidate, rival, n_train, n_test)
    confirmed = confirmation(nets[candidate.arm], nets[rival.arm], far_x, far_y, rng) if sure(contrasts) else None
    gain = float("nan")
    if measured:
        judges = drawn(JUDGES, world, rng)
        gain = together(nets[candidate.arm], *judges) - together(nets[rival.arm], *judges)
    return Gate(verdict(arms, contrasts, guards, confirmed, "pass"), gain)


@dataclass(frozen=True)
class Scaled:
    """How log odds become probabilities: learned on the inner fold (Platt 1999)."""

    slope: float
    shift: float

    def apply(self, logit: np.ndarray) -> np.ndarray:
        """(n,) probability of class 1."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * logit + self.shift, -30, 30))))


def scaled(logit: np.ndarray, y: np.ndarray) -> Scaled:
    """Fit slope and shift by Newton's method, held a little to 1 and 0."""
    at, start = np.array([1.0, 0.0]), np.array([1.0, 0.0])
    x = np.stack([logit, np.ones_like(logit)], axis=1)
    for _ in range(12):
        p = Scaled(*at).apply(logit)
        curve = (x * (p * (1 - p))[:, None]).T @ x + np.eye(2)
        at = at - np.linalg.solve(curve, x.T @ (p - y) + (at - start))
    return Scaled(float(at[0]), float(at[1]))


def auc(y: np.ndarray, score: np.ndarray) -> float:
    return float(auc_of(y, score)(np.ones((1, len(y))))[0])


def measures(net: Fitted, learned: Scaled, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return what the program measures of a run: the score, and what is guarded."""
    one = learned.apply(net.logit(x))
    p, label = np.stack([1 - one, one], axis=1), (one >= PREVALENCE).astype(int)
    found = {
        "auc": auc(y, p[:, 1]),
        "brier": float(metrics.brier_terms(y, p).mean()),
        "ece": float(metrics.calibration_error(y, p, np.ones((1, len(y))))[0]),
    }
    return found | {f"sensitivity/{c}": float((label[y == c] == c).mean()) for c in (0, 1)}


def ensemble(nets: Sequence[tuple[Fitted, Scaled]], x: np.ndarray) -> np.ndarray:
    """(n,) mean probability of class 1."""
    return np.asarray(np.mean([learned.apply(net.logit(x)) for net, learned in nets], axis=0))


def together(nets: Sequence[tuple[Fitted, Scaled]], x: np.ndarray, y: np.ndarray) -> float:
    return auc(y, ensemble(nets, x))


def confirmation(
    ours: Sequence[tuple[Fitted, Scaled]],
    theirs: Sequence[tuple[Fitted, Scaled]],
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
) -> Confirmation:
    """Compare candidate and rival on the locked part, as the program does."""
    first, second = ensemble(ours, x), ensemble(theirs, x)
    patients = [str(n) for n in range(len(x))]
    paired = compare_resampled(auc_of(y, first), auc_of(y, second), patients, rng, truth=y)
    check = compare_auc(y, first, second, patients)
    return Confirmation(paired.difference, paired.p, check.difference, check.p, check.test, len(x))


def summed(world: World, gates: Sequence[Gate]) -> dict[str, Any]:
    """Return verdicts with exact intervals, gains and what the gates said could be seen."""
    words = [g.verdict.word for g in gates]
    accepted = words.count(ACCEPT)
    lower, upper = clopper_pearson(accepted, len(gates))
    certain = sum(bool(sure(g.verdict.contrasts)) for g in gates)
    gains = [g.gain for g in gates if np.isfinite(g.gain)]
    own = [c for g in gates for c in g.verdict.contrasts if c.arm == g.verdict.arm]
    found = {
        "planted": {k: v for k, v in vars(world).items() if k != "name"},
        "gates": len(gates),
        "accepted": accepted,
        "share_accepted": round(accepted / len(gates), 4),
        "lower": round(lower, 4),
        "upper": round(upper, 4),
        "rejected": words.count(REJECT),
        "inconclusive": words.count(INCONCLUSIVE),
        "certain_over_folds": certain,
        "guards_in_the_way": sum(any(k.state != "kept" for k in g.verdict.guards) for g in gates),
        # Of single models over the folds, and of the mean of all of them on the locked part.
        "gain_over_folds": median([c.gain.value for c in own]),
        "detectable_over_folds": median([c.detectable for c in own]),
        "true_gain": round(float(np.mean(gains)), 4) if gains else None,
        "detectable_locked": median([g.verdict.confirmation.detectable for g in gates if g.verdict.confirmation]),
    }
    found["gain_over_detectable"] = multiple(found)
    return found


def multiple(found: Mapping[str, Any]) -> float | None:
    """Return how many times the gain is what can be seen, over the folds or on the locked part, whichever is less."""
    pairs_of = (("gain_over_folds", "detectable_over_folds"), ("true_gain", "detectable_locked"))
    each = [found[gain] / found[seen] for gain, seen in pairs_of if found[gain] is not None and found[seen]]
    return round(min(each), 2) if each and found["true_gain"] is not None else None


def median(values: Sequence[float]) -> float | None:
    known = [v for v in values if np.isfinite(v)]
    return round(float(np.median(known)), 4) if known else None


def main() -> int:
    """Simulate and record."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--gates", type=int, default=200, help="under each null [200]")
    made.add_argument("--gains", type=int, default=60, help="gates of each planted gain [60]")
    options = made.parse_args()
    facts = begin()
    worlds = [
        World("null, few patients, classes further apart", 0, 300, 60, 40, 3.0),
        World("gain, eight times as many new", 8, 1000, 800, 500),
        World("gain, four times as many new", 4, 1000, 800, 500),
        World("gain, twice as many new", 2, 1000, 800, 500),
        World("null", 0, 400, 80, 100),
        World("gain, as many new", 1, 400, 80, 100),
        World("gain, eight times as many new, few patients", 8, 400, 80, 100),
    ]
    rows = {}
    for at, world in enumerate([worlds[0], World("gain", 8, 300, 200, 90)] if options.quick else worlds):
        rng = np.random.default_rng((options.seed, at))
        number = 4 if options.quick else options.gains if world.times else options.gates
        rows[world.name] = summed(world, [gate(world, rng, measured=world.times > 0) for _ in range(number)])
        print(f"{world.name}: {rows[world.name]}", file=sys.stderr, flush=True)
    result = facts | {
        "settings": {"folds": FOLDS, "seeds": SEEDS, "ratios": list(RATIOS)},
        "needed": {"null": "at most 0.05 accepted", "gain": "0.8 accepted at twice the stated detectable gain"},
        "worlds": rows,
    }
    nulls = [r for n, r in rows.items() if n.startswith("null")]
    gains = [r for n, r in rows.items() if n.startswith("gain")]
    worst = max(nulls, key=lambda r: r["upper"])
    told = ", ".join(f"{r['share_accepted']:.0%} at {r['gain_over_detectable']} ×" for r in gains)
    write(
        NAME,
        f"false ACCEPT at most {worst['accepted']} of {worst['gates']} (95 % under {worst['upper']:.1%}; needed 5 %); "
        f"planted gains, in multiples of what the gate says it can see: ACCEPT in {told} (needed 80 % at 2)",
        result,
        options,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a task's network learns from generated images: trained on them and tried on real ones, and the reverse."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lucency import metrics
from lucency.errors import DivergedError, UsageError
from lucency.losses import IGNORE
from lucency.plan import Plan
from lucency.statistics import Metric, auc_metric, mean_metric, proportion_metric
from lucency.synthesize.arrays import trained_on
from lucency.synthesize.drawn import UNKNOWN, Drawn
from lucency.synthesize.fidelity.matched import matched
from lucency.tasks import task_named

#: Images that are predicted at once.
AT_ONCE = 256

#: The measure that stopping and the pre-gate go by: of classes, and of masks.
HEADLINES = ("auc", "dice")


@dataclass(frozen=True)
class Use:
    """How much of the real images' use the generated ones have.

    Args:
        tstr: Trained on synthetic, tried on real: measure to value. Measures are ``"auc"`` and ``"accuracy"`` of
            classes, ``"dice"`` of masks.
        trtr: Trained on as many real images of the same classes for as long, tried on the same.
        trts: The latter tried on synthetic: near ``trtr`` where what it learned is in them.
        steps: Optimiser steps of each training.
        n: Images of each.
    """

    tstr: Mapping[str, Metric]
    trtr: Mapping[str, Metric]
    trts: Mapping[str, Metric]
    steps: int
    n: int

    @property
    def share(self) -> float:
        """The headline of ``tstr`` over that of ``trtr``; 1 where generated images teach as much as real ones."""
        return headline(self.tstr) / max(headline(self.trtr), 1e-12)


def headline(found: Mapping[str, Metric]) -> float:
    """Return the measure that stopping and the pre-gate go by; NaN where it is not defined."""
    return leading(found).value


def leading(found: Mapping[str, Metric]) -> Metric:
    """Return the same with its interval."""
    return next((found[name] for name in HEADLINES if name in found), Metric(float("nan")))


def scores(
    answer: Callable[[np.ndarray], np.ndarray], judged: Drawn, plan: Plan, rng: np.random.Generator
) -> dict[str, Metric]:
    """Return how well a network answers for images whose truth is known.

    Args:
        answer: From :func:`lucency.synthesize.arrays.trained_on`.
        judged: With classes or masks.
        plan: Of the task.
        rng: Of the bootstraps.

    Raises:
        UsageError: Neither classes nor masks.
    """
    dense = task_named(plan.task).dense
    if dense and judged.masks is not None:
        each: list[float] = []
        for at in range(0, len(judged), AT_ONCE):
            found = answer(judged.images[at : at + AT_ONCE]).argmax(axis=1)
            truth = judged.masks[at : at + AT_ONCE]
            each += [_overlap(f, t, len(plan.labels)) for f, t in zip(found, truth, strict=True)]
        return {"dice": mean_metric(np.array(each), judged.people, rng, bounds=(0.0, 1.0))}
    if dense or (judged.labels == UNKNOWN).any():
        raise UsageError("Images without the truth that the task learns", expected="a class or a mask for each image")
    p = np.concatenate([answer(judged.images[at : at + AT_ONCE]) for at in range(0, len(judged), AT_ONCE)])
    return {
        "auc": auc_metric(judged.labels, p, judged.people, rng),
        "accuracy": proportion_metric(p.argmax(axis=1) == judged.labels, judged.people, rng),
    }


def _overlap(found: np.ndarray, truth: np.ndarray, labels: int) -> float:
    """Return the mean Dice over the labels that the truth or the answer has; NaN where nothing is annotated."""
    known = truth != IGNORE
    each = [
        metrics.dice((truth == k) & known, (found == k) & known)
        for k in range(1, labels + 1)
        if ((truth == k) & known).any() or ((found == k) & known).any()
    ]
    return float(np.mean(each)) if each else 1.0 if known.any() else float("nan")


def tstr(synthetic: Drawn, real: Drawn, plan: Plan, folder: Path, *, steps: int, seed: int) -> dict[str, Metric]:
    """Train the task's network on synthetic images and try it on real ones.

    This is what a generator's training is stopped by: give it real images of an inner fold, which neither the generator
    learned from nor any outer judgement will use.

    Args:
        synthetic: Learned from.
        real: Tried on.
        plan: Of the task.
        folder: For checkpoints, weights and the store; what was done there is not done again.
        steps: Optimiser steps.
        seed: Of everything random.

    Returns:
        Measure to value; :func:`headline` names the one to go by. Empty where the loss did not stay finite: nothing can
        be learned from such images.

    Source:
        Ravuri 2019 (doi 10.48550/arXiv.1905.10887), classification accuracy score; Esteban 2017
        (doi 10.48550/arXiv.1706.02633), section 4.2.
    """
    try:
        answer = trained_on(synthetic, plan, folder, steps=steps, seed=seed)
    except DivergedError:
        return {}
    return scores(answer, real, plan, np.random.default_rng(seed))


def use_of(
    synthetic: Drawn, members: Drawn, held_out: Drawn, plan: Plan, folder: Path, *, steps: int, seed: int = 0
) -> Use:
    """Return what generated images teach beside what as many real ones of the same classes teach in as many steps.

    Args:
        synthetic: As many as are wanted; of each class no more are used than there are real ones.
        members: What the generator learned from.
        held_out: What all networks are tried on.
        plan: Of the task.
        folder: For checkpoints, weights and the store.
        steps: Optimiser steps of each training.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    made, real = matched((synthetic, members), rng)
    taught = trained_on(real, plan, folder, steps=steps, seed=seed)
    return Use(
        tstr(made, held_out, plan, folder, steps=steps, seed=seed),
        scores(taught, held_out, plan, np.random.default_rng(seed)),
        scores(taught, made, plan, np.random.default_rng(seed)),
        steps,
        len(made),
    )

"""The one look at the locked part: candidate against rival, paired by patient."""

from collections.abc import Sequence

import numpy as np

from lucency import statistics
from lucency.plan import Plan
from lucency.statistics import Statistic
from lucency.synthesize.gate.verdict import Confirmation
from lucency.tasks import Judged, Task


def statistic_of(task: Task, plan: Plan, judged: Sequence[Judged]) -> Statistic:
    """Return the score of some cases as a statistic of weighted cases, the higher the better.

    Args:
        task: Says how well a case went, or what counts every class alike.
        plan: Its classes.
        judged: All of them with a score.
    """
    if plan.classes and all(j.truth and j.probabilities for j in judged):
        outputs = [np.array([j.probabilities[c] for c in plan.classes]) for j in judged]
        return task.balanced(outputs, [plan.classes.index(j.truth) for j in judged])
    return statistics.mean_of(np.array([task.worth(j.scores) for j in judged]))


def confirmed(
    ours: Sequence[Judged], theirs: Sequence[Judged], task: Task, plan: Plan, rng: np.random.Generator, looks: int
) -> Confirmation:
    """Compare the candidate with the rival on the locked part.

    Args:
        ours: Of the candidate; the mean of the networks of all its runs.
        theirs: Of the rival; the same cases in the same order.
        task: Compares as its reports do, for a check.
        plan: Its classes.
        rng: Of the bootstrap.
        looks: How often the locked part was looked at, this time included.

    Source:
        Paired bootstrap of patients, see :func:`lucency.statistics.compare_resampled`.
    """
    known = [n for n in range(len(ours)) if _defined(task, ours[n], plan) and _defined(task, theirs[n], plan)]
    first, second = [ours[n] for n in known], [theirs[n] for n in known]
    patients = [j.patient for j in first]
    truth = (
        np.array([plan.classes.index(j.truth) for j in first]) if plan.classes and all(j.truth for j in first) else None
    )
    paired = statistics.compare_resampled(
        statistic_of(task, plan, first), statistic_of(task, plan, second), patients, rng, truth=truth
    )
    check, check_p, test = task.compare(first, second, plan, rng)
    return Confirmation(paired.difference, paired.p, check, check_p, test, len(set(patients)), looks)


def _defined(task: Task, judged: Judged, plan: Plan) -> bool:
    return bool(plan.classes and judged.truth) or bool(np.isfinite(task.worth(judged.scores)))

"""What an audit found, as plain records that a report can print and a person can open."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lucency.statistics import TOO_FEW, Metric

PASS, FAIL, UNDECIDED, TOLD, UNSEEN = "pass", "fail", "undecided", "told", "unseen"

#: Verdicts.
NOT_AUDITABLE = "not auditable"

#: What may be done with a generator and its images, from the least to the most.
INSIDE, SAMPLES, WEIGHTS = "internal training", "share samples", "share weights"

#: By how much an interval of 95 % is stretched before it counts as proof against a generator: 2.94 standard errors. An
#: audit asks about fifteen questions, and an honest generator must not fail one of them by chance.
STRETCH = 1.5


@dataclass(frozen=True)
class Finding:
    """The answer to one question.

    Args:
        name: The question: the catalogue has it as ``synth.audit_NAME``.
        space: Where it was asked: ``"pixels"``, an encoder's name, ``"discriminator"``, or "" for all together.
        value: The answer.
        reference: The same of real images, or towards patients whom the generator never saw; None where the question
            holds it already.
        limit: What is not to be passed.
        outcome: ``"pass"``, ``"fail"``, ``"undecided"`` where the interval is too wide to say, ``"told"`` where nothing
            hangs on it, ``"unseen"`` where it would be a pass, had the question not missed a generator that gives
            patients away.
        p: Probability of so much under honesty, where that is exact; else None.
    """

    name: str
    space: str
    value: Metric
    reference: Metric | None
    limit: float
    outcome: str
    p: float | None = None


@dataclass(frozen=True)
class SelfTest:
    """Whether the auditor sees at all.

    Args:
        found: Share of planted copies that it found.
        false: Share of held-out images that it called copies, with a threshold set on other held-out images.
        by_kind: The first, for each kind of change.
        planted: How many were planted.
        able: Found at least 95 % at no more than 1 % false.
    """

    found: Metric
    false: Metric
    by_kind: Mapping[str, Metric]
    planted: int
    able: bool


@dataclass(frozen=True)
class Pair:
    """A generated image and the training image that it is nearest to.

    Args:
        made: Row among the generated images.
        member: Row among the training images.
        score: How unlike chance the likeness is: deviations below what held-out images have; the lower, the more alike.
        distances: Space to distance, 0 the same.
    """

    made: int
    member: int
    score: float
    distances: Mapping[str, float]


@dataclass(frozen=True)
class Reason:
    """Why a verdict is what it is.

    Args:
        key: The sentence, ``synth.KEY`` in the catalogue.
        values: What stands in its gaps.
    """

    key: str
    values: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Audit:
    """Whom the generated images may give away.

    Args:
        verdict: ``"pass"``, ``"fail"`` or ``"not auditable"``.
        scope: What may be done, the least first.
        reasons: Why, the gravest first.
        self_test: Whether the auditor sees at all; None where there were too few images to try.
        findings: The answers.
        control: The answers about generators that give patients away: they show that the questions can be failed.
            Copies are asked of members that were moved and made noisy, membership of what ``control_is`` says.
        control_is: ``"overfitted"`` for a generator that was over-fitted on purpose, ``"resampled"`` for the same moved
            and noisy members.
        gallery: The closest pairs, the closest first.
        usual: As many closest pairs of held-out images and members: what chance looks like.
        by: ``"patient"``, or ``"image"`` where patients are not known.
        counts: ``synthetic``, ``members``, ``held_out``, ``patients``, ``repeated`` (held-out images that are members
            bit by bit), ``masks`` (patients whose masks, changed, the images were made for) and ``control`` (members
            that a generator was over-fitted to on purpose).
        digests: Of the same, and of the encoders.
    """

    verdict: str
    scope: tuple[str, ...]
    reasons: tuple[Reason, ...]
    self_test: SelfTest | None
    findings: tuple[Finding, ...]
    control: tuple[Finding, ...] = ()
    control_is: str = ""
    gallery: tuple[Pair, ...] = ()
    usual: tuple[Pair, ...] = ()
    by: str = "patient"
    counts: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)


def surely_above(found: Metric, limit: float) -> bool:
    """Tell whether a value lies above a limit beyond chance: its interval, stretched, does not reach down to it."""
    return found.lower is not None and found.value - STRETCH * (found.value - found.lower) > limit


def surely_below(found: Metric, limit: float) -> bool:
    """Tell whether a value lies below a limit beyond chance."""
    return found.upper is not None and found.value + STRETCH * (found.upper - found.value) < limit


def share_outcome(found: Metric, limit: float, bearable: float, null: float) -> str:
    """Return the outcome of something that should be small.

    Args:
        found: The value.
        limit: Its interval must not lie above this.
        bearable: Its interval must not reach above this, or nothing can be said for it.
        null: What honesty gives.
    """
    if found.lower is None or found.upper is None:
        return UNDECIDED
    if found.lower > limit and surely_above(found, null):
        return FAIL
    return UNDECIDED if found.upper > bearable else PASS


def difference(first: Metric, second: Metric) -> Metric:
    """Return a difference of two means with the interval that theirs give.

    Args:
        first: A mean with its interval.
        second: Another one, of other patients.

    Source:
        Zou & Donner 2008 (doi 10.1002/sim.3095).
    """
    value, n = first.value - second.value, min(first.n, second.n)
    if first.lower is None or first.upper is None or second.lower is None or second.upper is None:
        return Metric(value, n=n, method=TOO_FEW, best=0.0)
    lower = value - math.hypot(first.value - first.lower, second.upper - second.value)
    upper = value + math.hypot(first.upper - first.value, second.value - second.lower)
    return Metric(value, lower, upper, n, "patient bootstraps, put together", 0.0)


def effective(patients: np.ndarray) -> int:
    """Return how many patients stand behind a count of images that are shared out unevenly among them.

    Images that are like no real one have few nearest patients, who are nearest to all of them.

    Args:
        patients: (n,) the nearest patient of each image.

    Source:
        Kish 1965, Survey Sampling, section 8.2: the squared sum of weights over the sum of their squares.

    Example:
        >>> effective(np.array(["a", "b", "c", "d"])), effective(np.array(["a"] * 97 + ["b", "c", "d"]))
        (4, 1)
    """
    weights = np.unique(patients, return_counts=True)[1].astype(float)
    return round(float(weights.sum() ** 2 / (weights**2).sum()))

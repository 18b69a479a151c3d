"""Whether an attacker can tell who was trained on, and which patient an image leads back to."""

import math

import numpy as np

from lucency.statistics import TOO_FEW, Metric, auc_metric, clopper_pearson, mean_metric
from lucency.synthesize.audit.finder import PROOF, excess, one_each, rank_of
from lucency.synthesize.audit.finding import FAIL, PASS, TOLD, UNDECIDED, Finding, difference, surely_above
from lucency.synthesize.audit.sides import Made, Real

#: An attack's AUC must not reach this: nearer to .5 than most that were published as leaks.
AUC_BEARABLE = 0.60

#: Share of members found at one false alarm in a hundred that is not to be passed.
RARE = 0.03

#: Share of the members that are called isolated.
ISOLATED = 0.05

#: How much better than a held-out image a generated one may lead to the other images of a patient.
LINKED = 0.05


def strength(made: Made) -> tuple[np.ndarray, np.ndarray]:
    """Return how sure an attacker is of each member and of each held-out image, (n,) and (m,) float; high is sure.

    The nearest generated image tells, and nothing else. Dividing by the distance to held-out images would make the
    attack stronger and its interval false: held-out images would be compared with each other, members would not.

    Args:
        made: The generated images in a space.

    Source:
        GAN-Leaks: Chen 2020 (doi 10.1145/3372297.3417238), the full black box.
    """
    return -np.asarray(made.seen.back, dtype=np.float64), -np.asarray(made.held.back, dtype=np.float64)


def membership(
    name: str,
    ours: np.ndarray,
    theirs: np.ndarray,
    people: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> list[Finding]:
    """Return how well members are told from others: the AUC, and how many are found at one false alarm in a hundred.

    Args:
        name: Of the space, or ``"discriminator"``.
        ours: (n,) how sure the attacker is of each member.
        theirs: (m,) of each held-out image.
        people: Their patients.
        rng: Which image stands for a patient.

    Source:
        LOGAN: Hayes 2019 (doi 10.2478/popets-2019-0008); at few false alarms: Carlini 2022
        (doi 10.1109/SP46214.2022.9833649).
    """
    truth = np.repeat([1, 0], [len(ours), len(theirs)])
    found = auc_metric(truth, np.concatenate([ours, theirs]), np.concatenate(people), rng)
    return [
        Finding("membership", name, found, None, AUC_BEARABLE, auc_outcome(found)),
        _rare(name, ours, theirs, people, rng),
    ]


def auc_outcome(found: Metric) -> str:
    """Return the outcome of an attack: its interval must not reach :data:`AUC_BEARABLE`."""
    if found.upper is None:
        return UNDECIDED
    if found.upper <= AUC_BEARABLE:
        return PASS
    return FAIL if surely_above(found, 0.5) else UNDECIDED


def _rare(
    name: str, ours: np.ndarray, theirs: np.ndarray, people: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> Finding:
    """Return the share of members that are found at one false alarm in a hundred, patient by patient."""
    rows, others = (one_each(p, rng) for p in people)
    usual = np.sort(-theirs[others])
    rank = rank_of(len(usual))
    hits = -ours[rows] < usual[rank - 1]
    count, n = int(hits.sum()), len(hits)
    rate = Metric(count / n, *clopper_pearson(count, n), n, "Clopper–Pearson", 0.01)
    p = excess(count, n, rank, len(usual))
    outcome = FAIL if rate.value > RARE and p < PROOF else PASS
    reference = Metric(rank / (len(usual) + 1), n=len(usual), method="by rank", best=0.01)
    return Finding("membership_rare", name, rate, reference, RARE, outcome, p)


def isolated(real: Real) -> tuple[np.ndarray, np.ndarray]:
    """Return which members and which held-out images are as far from everybody as the most isolated members.

    Args:
        real: In a space where members were compared with each other.

    Returns:
        (n,) and (m,) bool.
    """
    limit = float(np.quantile(real.isolation, 1 - ISOLATED))
    return real.isolation >= limit, real.held_isolation >= limit


def membership_isolated(real: Real, made: Made, rng: np.random.Generator) -> Finding:
    """Return how well isolated members are told from held-out images that are as isolated.

    Few patients are: where they are too few to say, it is told and nothing hangs on it, save that weights are not to be
    shared.
    """
    ours, theirs = strength(made)
    mine, other = isolated(real)
    truth = np.repeat([1, 0], [int(mine.sum()), int(other.sum())])
    people = np.concatenate([real.people[mine], real.held_people[other]])
    scores = np.concatenate([ours[mine], theirs[other]])
    if not other.any() or not mine.any():
        found = Metric(math.nan, n=int(mine.sum()), method=TOO_FEW)
    else:
        found = auc_metric(truth, scores, people, rng)
    outcome = auc_outcome(found)
    return Finding(
        "membership_isolated",
        real.measure.name,
        found,
        None,
        AUC_BEARABLE,
        TOLD if outcome == UNDECIDED else outcome,
    )


def reidentified(real: Real, made: Made, rng: np.random.Generator) -> Finding | None:
    """Return how well generated images lead to the other images of a patient, beside held-out ones; None without such.

    Args:
        real: In a space where that was looked at.
        made: The generated images there.
        rng: Of the intervals, over the patients who are led to.
    """
    ours, theirs = np.isfinite(made.linked), np.isfinite(real.linked)
    if not ours.any() or not theirs.any():
        return None
    value = mean_metric(made.linked[ours], real.people[made.seen.at][ours], rng, best=0.5)
    usual = mean_metric(real.linked[theirs], real.people[real.held_seen.at][theirs], rng, best=0.5)
    apart = difference(value, usual)
    outcome = TOLD if apart.lower is None else PASS
    if apart.value > LINKED and surely_above(apart, 0.0):
        outcome = FAIL
    return Finding("reidentified", real.measure.name, apart, usual, LINKED, outcome)

"""Whether generated images lie nearer to the patients they were learned from than to others: three old questions.

Each is asked towards the members and, of the same images, towards patients whom the generator never saw.
"""

import numpy as np

from lucency.statistics import TOO_FEW, Metric, by_cases, proportion_metric, resampled, wilson
from lucency.statistics.measure import MIN_PATIENTS, percentiles
from lucency.synthesize.audit.finding import (
    FAIL,
    PASS,
    UNDECIDED,
    Finding,
    difference,
    effective,
    share_outcome,
    surely_below,
)
from lucency.synthesize.audit.sides import TINY, Made, Real
from lucency.synthesize.audit.spaces import Near

#: Share nearer to a member than to a held-out image, with as many of each: its interval must not lie above the first
#: and must not reach above the second; .5 is honest.
CLOSER, CLOSER_BEARABLE = 0.55, 0.60

#: The least ratio of nearest to second nearest, against the same towards held-out images; and what it must not reach.
RATIO, RATIO_BEARABLE = 0.8, 0.6

#: How much less authentic than towards held-out images; and what it must not reach.
AUTHENTIC, AUTHENTIC_BEARABLE = -0.05, -0.10

#: Quantile of the ratios that is compared, and resamples of it.
LOW, RESAMPLES = 0.05, 500


def share_over(hits: np.ndarray, patients: np.ndarray) -> Metric:
    """Return a share of images with the interval that the patients behind them allow.

    Args:
        hits: (n,) bool.
        patients: (n,) the nearest patient of each image, on whom all depends.
    """
    n, value = effective(patients), float(hits.mean())
    return Metric(value, *wilson(value * n, n), n, "Wilson, effective number of nearest patients")


def closer(real: Real, made: Made) -> Finding:
    """Ask how many generated images are nearer to a member than to any held-out image.

    With unequal numbers of both the share is brought to equal ones by its odds: that the nearest of all is a member has
    odds in proportion to how many members there are.

    Args:
        real: The real images in a space.
        made: The generated ones.
    """
    hits = made.seen.first < made.held.first
    nearest = np.where(hits, real.people[made.seen.at], real.held_people[made.held.at])
    found = share_over(hits, nearest)
    odds = len(real.people) / len(real.held_people)

    def even(share: float | None) -> float | None:
        return None if share is None else share / (share + (1 - share) * odds)

    value = even(found.value)
    equal = Metric(0.0 if value is None else value, even(found.lower), even(found.upper), found.n, found.method, 0.5)
    return Finding(
        "closer",
        real.measure.name,
        equal,
        Metric(0.5, method="by definition", best=0.5),
        CLOSER,
        share_outcome(equal, CLOSER, CLOSER_BEARABLE, 0.5),
    )


def ratio(real: Real, made: Made, rng: np.random.Generator) -> Finding:
    """Ask how much nearer the nearest patient is than the next: of a copy much, of a new image hardly.

    Args:
        real: The real images in a space.
        made: The generated ones.
        rng: Of the interval, over the patients who are nearest.

    Source:
        The nearest-neighbour distance ratio of Lowe 2004 (doi 10.1023/B:VISI.0000029664.99615.94), as a measure of
        privacy: Platzer 2021 (doi 10.3389/fdata.2021.679939).
    """
    ours = _low(made.seen, real.people, rng)
    theirs = _low(made.held, real.held_people, rng)
    apart = difference(ours, theirs)
    ends = [None if e is None else float(np.exp(e)) for e in (apart.lower, apart.upper)]
    found = Metric(float(np.exp(apart.value)), ends[0], ends[1], apart.n, apart.method)
    reference = float(np.quantile((real.held_seen.first + TINY) / (real.held_seen.second + TINY), LOW))
    fails = found.value < RATIO and surely_below(found, 1.0)
    wide = found.lower is None or found.lower < RATIO_BEARABLE
    return Finding(
        "ratio",
        real.measure.name,
        found,
        Metric(reference, n=len(real.held_people), method="held-out images to members, 5th percentile"),
        RATIO,
        FAIL if fails else UNDECIDED if wide else PASS,
    )


def _low(near: Near, people: np.ndarray, rng: np.random.Generator) -> Metric:
    """Return the log of the low quantile of nearest over second nearest, with an interval over nearest patients."""
    second = np.where(np.isfinite(near.second), near.second, near.first)
    each = np.log((near.first + TINY) / (second + TINY)).astype(np.float64)
    patients = people[near.at]
    n, value = effective(patients), float(np.quantile(each, LOW))
    if n < MIN_PATIENTS:
        return Metric(value, n=n, method=TOO_FEW)
    found = resampled(by_cases(lambda rows: float(np.quantile(each[rows], LOW))), patients, rng, RESAMPLES)
    return Metric(value, *percentiles(found, n), n, f"bootstraps over nearest patients, {RESAMPLES}")


def authentic(real: Real, made: Made, rng: np.random.Generator) -> Finding | None:
    """Ask how many generated images lie farther from their nearest member than that one from any other patient.

    The difference to the same towards held-out images is judged: blurred images lie near to all.

    Args:
        real: The real images in a space; None is returned where members were not compared with each other.
        made: The generated ones.
        rng: Of the reference's interval.

    Source:
        Alaa 2022 (doi 10.48550/arXiv.2102.08921), section 3.3.
    """
    if real.seen_seen is None:
        return None
    ours = share_over(made.seen.first > real.seen_seen.first[made.seen.at], real.people[made.seen.at])
    theirs = share_over(made.held.first > real.held_held.first[made.held.at], real.held_people[made.held.at])
    change = difference(ours, theirs)
    usual = real.held_seen.first > real.seen_seen.first[real.held_seen.at]
    reference = proportion_metric(usual, real.held_people, rng)
    fails = change.value < AUTHENTIC and surely_below(change, 0.0)
    wide = change.lower is None or change.lower < AUTHENTIC_BEARABLE
    return Finding(
        "authentic",
        real.measure.name,
        change,
        reference,
        AUTHENTIC,
        FAIL if fails else UNDECIDED if wide else PASS,
    )

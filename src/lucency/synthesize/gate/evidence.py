"""What paired runs say of an arm: its gain over the best rival, how sure that is, and what could have been seen.

A run is one outer fold with one seed. All arms of a run train on the same patients for as many steps and are judged on
the same patients, whom nothing in that run has seen. Pure arithmetic: nothing is trained here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import special

from lucency.errors import UsageError
from lucency.statistics import Metric, corrected_error, holm, nadeau_bengio, one_sided

#: Paired runs below which nothing is accepted: two seeds on five folds, or three on four.
LEAST_RUNS = 10

#: What a gain must survive, one-sided, after Holm's adjustment for the number of candidates.
LEVEL = 0.05

#: Chance to see a gain of the stated size.
POWER = 0.8

#: Gains and losses up to half a point do not matter in practice (Benavoli 2017 takes one point for accuracies in all;
#: images that must be made, audited and kept should not be had for less than half of it).
ROPE = 0.005


@dataclass(frozen=True)
class Runs:
    """One arm over all runs, in one order for all arms; the higher a score the better.

    Args:
        arm: Its name.
        candidate: It uses generated images; else it is a rival that they must beat.
        inner: Score on the inner validation patients of each run, by which arms are chosen.
        outer: Score on the outer patients of each run, by which they are judged; NaN where it is not defined.
        guards: Name of what must not get worse to its value in each run, as measured; NaN where not defined.
    """

    arm: str
    candidate: bool
    inner: tuple[float, ...]
    outer: tuple[float, ...]
    guards: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(self.inner), len(self.outer), *(len(v) for v in self.guards.values())}
        if len(lengths) > 1:
            raise UsageError(f"Runs of {sorted(lengths)} lengths", expected="one value for each run", where=self.arm)

    def over(self, rival: "Runs") -> np.ndarray:
        """Return the score minus a rival's on outer patients, (n,) float, of the runs in which both have one."""
        change = np.array(self.outer) - np.array(rival.outer)
        return np.asarray(change[np.isfinite(change)])


@dataclass(frozen=True)
class Contrast:
    """A candidate beside the rival, over the runs that both have a score in.

    Args:
        arm: The candidate.
        rival: The best of the others by inner scores.
        gain: Candidate minus rival, with the interval of Nadeau and Bengio.
        p: One-sided: how often chance alone gives so much or more; None with a single run.
        p_holm: Adjusted for the number of candidates.
        worse: Chance that the candidate is worse by more than :data:`ROPE`, by the Bayesian correlated t.
        same: Chance that the difference is smaller than that.
        better: Chance that it is better by more than that.
        detectable: Smallest true gain that the runs would show with a chance of :data:`POWER`; NaN with one run.
        runs: Pairs behind it.
    """

    arm: str
    rival: str
    gain: Metric
    p: float | None
    p_holm: float | None
    worse: float
    same: float
    better: float
    detectable: float
    runs: int


def rival_of(arms: Sequence[Runs]) -> Runs:
    """Return the rival with the best mean score on the inner patients; of equal ones the first.

    Raises:
        UsageError: There is none with a score.
    """
    best = the_best(arms, [a.arm for a in arms if not a.candidate])
    if not best:
        raise UsageError("No rival with a score on inner patients", expected="one arm without generated images or more")
    return next(a for a in arms if a.arm == best)


def contrasted(arms: Sequence[Runs], n_train: float, n_test: float) -> tuple[Contrast, ...]:
    """Compare every candidate with the best rival.

    Args:
        arms: With the same runs in the same order.
        n_train: Cases that a run trains on.
        n_test: Cases that it is judged on.

    Returns:
        One for each candidate, in their order; without interval and p where fewer than two pairs are there.

    Source:
        Nadeau & Bengio 2003 (doi:10.1023/A:1024068626366); Holm 1979; Benavoli 2017 (JMLR 18(77), section 3).
    """
    rival = rival_of(arms)
    found = [_contrast(a, rival, n_train, n_test, sum(b.candidate for b in arms)) for a in arms if a.candidate]
    adjusted = holm([c.p for c in found])
    return tuple(replace(c, p_holm=p) for c, p in zip(found, adjusted, strict=True))


def the_best(arms: Sequence[Runs], among: Sequence[str]) -> str:
    """Return which of these arms had the best mean score on the inner patients; "" of none."""
    fit = [a for a in arms if a.arm in among and np.isfinite(a.inner).any()]
    return max(fit, key=lambda a: float(np.nanmean(a.inner))).arm if fit else ""


def detectable(error: float, runs: int, n_tests: int = 1) -> float:
    """Return the smallest true gain that a one-sided t-test shows with a chance of :data:`POWER`.

    Args:
        error: Standard error of the mean gain.
        runs: Behind it; 2 or more.
        n_tests: Candidates; the strictest step of Holm's adjustment is counted with.

    Returns:
        From the noncentral t-distribution; NaN under two runs.

    Example:
        >>> round(detectable(0.01, 10), 4)
        0.0267
    """
    if runs < 2 or not math.isfinite(error):
        return math.nan
    critical = float(special.stdtrit(runs - 1, 1 - LEVEL / max(1, n_tests)))
    return error * float(special.nctdtrinc(runs - 1, 1 - POWER, critical))


def chances(differences: np.ndarray, n_train: float, n_test: float) -> tuple[float, float, float]:
    """Return the chances that the first method is worse, practically the same, and better.

    The posterior of the mean difference under a flat prior is Student's t about the mean, as wide as the corrected
    standard error.

    Args:
        differences: (n,) one per run, n >= 2.
        n_train: Cases that a run trains on.
        n_test: Cases that it is judged on.

    Source:
        Corani & Benavoli 2015 (doi:10.1007/s10994-015-5486-z), equation 7; Benavoli 2017, JMLR 18(77).
    """
    mean, error = float(differences.mean()), corrected_error(differences, n_train, n_test)
    if not math.isfinite(error) or error == 0:
        here = (mean < -ROPE, abs(mean) <= ROPE, mean > ROPE)
        return (float(here[0]), float(here[1]), float(here[2]))
    below, above = (float(special.stdtr(differences.size - 1, (edge - mean) / error)) for edge in (-ROPE, ROPE))
    return below, above - below, 1 - above


def _contrast(arm: Runs, rival: Runs, n_train: float, n_test: float, n_tests: int) -> Contrast:
    differences = arm.over(rival)
    if not differences.size:
        nothing = Metric(math.nan, n=0, method="not defined on these patients")
        return Contrast(arm.arm, rival.arm, nothing, None, None, math.nan, math.nan, math.nan, math.nan, 0)
    paired = nadeau_bengio(differences, n_train, n_test)
    error = corrected_error(differences, n_train, n_test)
    return Contrast(
        arm.arm,
        rival.arm,
        paired.difference,
        one_sided(paired),
        None,
        *chances(differences, n_train, n_test),
        detectable(error, differences.size, n_tests),
        differences.size,
    )

"""The numbers of a prognosis: ranking, error, calibration, and curves of the risk groups."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lucency import statistics
from lucency.prognosis.fusion import group_of
from lucency.statistics import Metric, Paired
from lucency.statistics.measure import MIN_PATIENTS
from lucency.survival.agreement import brier_at, calibration_at, expected_ratio, integrated_brier
from lucency.survival.curves import aalen_johansen, kaplan_meier, log_rank
from lucency.survival.outcome import Outcomes
from lucency.survival.ranking import auc_at, concordance

#: Name to abscissae, ordinates, patients at each.
Lines = dict[str, tuple[Sequence[float], Sequence[float], Sequence[int]]]

#: Patients behind a point of the calibration curve, at least, and points at most.
BIN_PATIENTS, MOST_BINS = 15, 5


@dataclass(frozen=True, eq=False)
class Told:
    """What was predicted for patients, and what became of them.

    Args:
        outcomes: Cause 1 is judged.
        risk: (n,) probability of the event by the horizon.
        incidence: (n, m) probability by each of ``times``.
        times: (m,) days, ascending, up to the horizon.
        group: (n,) risk group, 0 the lowest.
        patients: (n,) pseudonyms.
        horizon: Days.
    """

    outcomes: Outcomes
    risk: np.ndarray
    incidence: np.ndarray
    times: np.ndarray
    group: np.ndarray
    patients: Sequence[str]
    horizon: float


def told(scores: Sequence[Mapping[str, float]], patients: Sequence[str], horizon: float) -> Told:
    """Gather the scores of cases, as the task gave them.

    Args:
        scores: ``time_days``, ``event``, ``risk``, ``group`` and ``by/<day>`` of each case.
        patients: Of each case.
        horizon: Days.
    """
    days = sorted({float(k.removeprefix("by/")) for s in scores for k in s if k.startswith("by/")})
    kept = [d for d in days if d <= horizon] or days[:1]
    times = np.array([*kept, *([horizon] if kept[-1] < horizon else [])])
    full = np.array([[s[f"by/{d:g}"] for d in days] for s in scores])
    incidence = np.stack([np.interp(times, [0.0, *days], [0.0, *row]) for row in full])
    return Told(
        outcomes=Outcomes(np.array([s["time_days"] for s in scores]), np.array([int(s["event"]) for s in scores])),
        risk=np.array([s["risk"] for s in scores]),
        incidence=incidence,
        times=times,
        group=np.array([int(s["group"]) for s in scores]),
        patients=list(patients),
        horizon=horizon,
    )


def metrics(known: Told, rng: np.random.Generator) -> dict[str, Metric]:
    """Return concordance (Uno's first), AUC and calibration at the horizon, integrated Brier score, log-rank."""
    ours = known.outcomes.of(1)
    n = len(set(known.patients))

    def interval(statistic: statistics.Statistic, best: float = 1.0) -> Metric:
        if not (ours.event > 0).any():
            return Metric(math.nan, n=n, method="undefined: no events", best=best)
        return statistics.bootstrap_metric(
            statistic, known.patients, rng, truth=ours.event, best=best, bounds=(0.0, 1.0) if best else None
        )

    found = {
        "uno_c": interval(concordance(ours, known.risk, tau=known.horizon)),
        "harrell_c": interval(concordance(ours, known.risk, tau=known.horizon, uno=False)),
        "auc_horizon": interval(auc_at(ours, known.risk, known.horizon)),
        "integrated_brier": interval(_error(known), best=0.0),
        "observed_expected": _ratio(known, n),
    }
    if np.unique(known.group).size > 1:
        found["log_rank_p"] = Metric(log_rank(ours, known.group)[1], n=n, method="log-rank test", best=0.0)
    return found


def _error(known: Told) -> statistics.Statistic:
    if known.times.size > 1:
        return integrated_brier(known.outcomes, known.incidence, known.times)
    each = brier_at(known.outcomes, known.incidence, known.times)
    return lambda weights: each(weights)[:, 0]


def _ratio(known: Told, n: int) -> Metric:
    """Return observed over expected events, with the interval of what was observed."""
    value = expected_ratio(known.outcomes, known.risk, known.horizon)
    expected = float(known.risk.mean())
    if n < MIN_PATIENTS or expected <= 0:
        return Metric(value, n=n, method=statistics.TOO_FEW)
    lower, upper = aalen_johansen(known.outcomes).band(known.horizon)
    return Metric(value, lower / expected, upper / expected, n, "Aalen–Johansen")


def compare(ours: Told, theirs: Told, rng: np.random.Generator) -> Paired:
    """Compare Uno's C of two predictions for the same patients by the paired patient bootstrap."""
    outcomes = ours.outcomes.of(1)
    if not (outcomes.event > 0).any():
        return Paired(Metric(math.nan, n=len(set(ours.patients)), method="undefined: no events"), None, "none")
    return statistics.compare_resampled(
        concordance(outcomes, ours.risk, tau=ours.horizon),
        concordance(outcomes, theirs.risk, tau=ours.horizon),
        ours.patients,
        rng,
        truth=outcomes.event,
    )


def lines(known: Told) -> Lines:
    """Return the curves of the risk groups and the calibration at the horizon.

    ``survival/<group>`` is the share still without the event (with competing events: one minus its incidence), with
    the patients still at risk; ``calibration/horizon`` what was predicted and what came, with the ends of its interval
    in ``calibration/lower`` and ``calibration/upper``.
    """
    found: Lines = {}
    for number in np.unique(known.group):
        members = known.outcomes.take(known.group == number)
        if members.causes and members.causes != (1,):
            curve = aalen_johansen(members)
            time, value = curve.time, 1 - curve.value
        else:
            curve = kaplan_meier(members)
            time, value = curve.time, curve.value
        n = [int((members.time >= t).sum()) for t in time]
        found[f"survival/{int(number)}"] = (time.tolist(), value.tolist(), n)
    wanted = int(np.clip(len(known.risk) // BIN_PATIENTS, 1, MOST_BINS))
    bins = calibration_at(known.outcomes, known.risk, known.horizon, wanted)
    said, n = [b.predicted for b in bins], [b.n for b in bins]
    found["calibration/horizon"] = (said, [b.observed for b in bins], n)
    found["calibration/lower"] = (said, [b.lower for b in bins], n)
    found["calibration/upper"] = (said, [b.upper for b in bins], n)
    return found


def grouped(risk: float, cuts: np.ndarray) -> int:
    """Return the risk group of one patient."""
    return int(group_of(risk, cuts))

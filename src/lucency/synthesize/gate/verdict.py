"""ACCEPT, REJECT or INCONCLUSIVE, with every reason; decided by rules that stand here and nowhere else.

ACCEPT needs all of: a gain over the best rival that is certain after Holm's adjustment, at least ten runs, guardrails
kept, the gain again on the locked part, and an audit that did not fail. REJECT needs one thing that is shown: copies of
patients, harm, or that no candidate gains half a point. Everything else is INCONCLUSIVE, and says what was too small.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from lucency.statistics import Metric, nadeau_bengio
from lucency.synthesize.gate.evidence import LEAST_RUNS, LEVEL, POWER, ROPE, Contrast, Runs, the_best

ACCEPT, REJECT, INCONCLUSIVE = "ACCEPT", "REJECT", "INCONCLUSIVE"

#: What of a measured value must not get worse, and by how much it may: calibration, where less is better.
CALIBRATION: Mapping[str, float] = {"ece": 0.01, "brier": 0.01}

#: Of all else that is guarded, where more is better: the sensitivity of a class or of a subgroup, a label's Dice.
MARGIN = 0.02

#: Share of the runs in which it must have been measured.
MEASURED = 0.5

#: Chance of a gain that matters up to which it counts as shown that there is none.
NONE_LEFT = 0.05

#: What the audit may say that stands in the way of an ACCEPT.
FAILED = "fail"


@dataclass(frozen=True)
class Guard:
    """What must not get worse.

    Args:
        name: ``"ece"``, ``"brier"``, ``"sensitivity/CLASS"``, ``"subgroup/sex = F"`` …
        change: Candidate minus rival, with its interval; turned so that below 0 is worse.
        margin: Loss that is borne.
        state: ``"kept"``, ``"broken"`` (the interval lies beyond the margin), ``"unsure"`` (the estimate does) or
            ``"unknown"`` (measured in fewer than :data:`MEASURED` of the runs).
    """

    name: str
    change: Metric
    margin: float
    state: str


@dataclass(frozen=True)
class Confirmation:
    """The gain on the locked part, looked at once, after everything was decided.

    Args:
        gain: Candidate minus rival, both the mean of their networks; by paired bootstrap of patients.
        p: Two-sided, or None.
        check: The same by the task's own test (DeLong for two classes).
        check_p: Its p, or None.
        test: Its name.
        n_patients: In the locked part.
        looks: How often the locked part of these data was looked at, this time included.
    """

    gain: Metric
    p: float | None
    check: Metric
    check_p: float | None
    test: str
    n_patients: int
    looks: int = 1

    @property
    def detectable(self) -> float:
        """Smallest true gain whose interval would lie above 0 with a chance of :data:`POWER`; NaN without interval."""
        if self.gain.lower is None or self.gain.upper is None:
            return math.nan
        edge = float(special.ndtri(0.975))
        error = (self.gain.upper - self.gain.lower) / 2 / edge
        return error * (edge + float(special.ndtri(POWER)))


@dataclass(frozen=True)
class Verdict:
    """What came of the gate.

    Args:
        word: :data:`ACCEPT`, :data:`REJECT` or :data:`INCONCLUSIVE`.
        arm: The candidate that it is about; "" where none was trained.
        rival: What it was compared with.
        reasons: In words, the decisive one first.
        detectable: Smallest true gain that this gate would have accepted with a chance of 80 %; NaN where unknown.
        contrasts: Every candidate beside the rival.
        guards: Of the candidate.
        confirmation: None where the locked part was not looked at.
        audit: Verdict of the audit.
    """

    word: str
    arm: str
    rival: str
    reasons: tuple[str, ...]
    detectable: float = math.nan
    contrasts: tuple[Contrast, ...] = ()
    guards: tuple[Guard, ...] = ()
    confirmation: Confirmation | None = None
    audit: str = ""


def sure(contrasts: Sequence[Contrast]) -> tuple[str, ...]:
    """Return the candidates whose gain is certain."""
    return tuple(
        c.arm
        for c in contrasts
        if c.runs >= LEAST_RUNS and c.gain.value > 0 and c.p_holm is not None and c.p_holm <= LEVEL
    )


def chosen(arms: Sequence[Runs], contrasts: Sequence[Contrast]) -> str:
    """Return the candidate that the verdict is about: of those that are certain, else of all, the best inside."""
    return the_best(arms, sure(contrasts) or [c.arm for c in contrasts])


def guarded(candidate: Runs, rival: Runs, n_train: float, n_test: float) -> tuple[Guard, ...]:
    """Compare everything that must not get worse, over the runs that both have it in.

    Args:
        candidate: With ``guards``.
        rival: With the same runs.
        n_train: Cases that a run trains on.
        n_test: Cases that it is judged on.
    """
    found = []
    for name in candidate.guards:
        if name not in rival.guards:
            continue
        margin = CALIBRATION.get(name, MARGIN)
        sign = -1 if name in CALIBRATION else 1
        change = sign * (np.array(candidate.guards[name]) - np.array(rival.guards[name]))
        change, runs = change[np.isfinite(change)], change.size
        if change.size < MEASURED * runs:
            nothing = Metric(math.nan, n=change.size, method="not defined on these patients", best=0.0)
            found.append(Guard(name, nothing, margin, "unknown"))
            continue
        metric = nadeau_bengio(change, n_train, n_test).difference
        found.append(Guard(name, metric, margin, _state(metric, margin)))
    return tuple(found)


def _state(change: Metric, margin: float) -> str:
    if change.value >= -margin:
        return "kept"
    return "broken" if change.upper is not None and change.upper < -margin else "unsure"


def stopped(reason: str, audit: str = "") -> Verdict:
    """Return the verdict of a gate that was not walked through: there is no sense in going on.

    Args:
        reason: In words.
        audit: Verdict of the audit, where there was one.
    """
    return Verdict(REJECT, "", "", (reason,), audit=audit)


def verdict(
    arms: Sequence[Runs],
    contrasts: Sequence[Contrast],
    guards: Sequence[Guard],
    confirmation: Confirmation | None,
    audit: str,
) -> Verdict:
    """Decide.

    Args:
        arms: All of them.
        contrasts: From :func:`lucency.synthesize.gate.contrasted`.
        guards: Of the candidate that :func:`chosen` names.
        confirmation: Of that candidate; None where its gain is not certain, for then nobody looks.
        audit: ``"pass"``, ``"fail"`` or ``"not auditable"``.
    """
    arm = chosen(arms, contrasts)
    rival = contrasts[0].rival if contrasts else ""
    against = _against(contrasts, guards, confirmation, audit)
    open_still = _open(arm, contrasts, guards, confirmation)
    word = REJECT if against else INCONCLUSIVE if open_still else ACCEPT
    said = (*against, *open_still) if word != ACCEPT else (_gained(arm, contrasts, confirmation),)
    if word == ACCEPT:
        said += tuple(f"{_told(g)} was measured in too few runs to be guarded" for g in guards if g.state == "unknown")
    if audit != "pass" and word == ACCEPT:
        said = (*said, "the audit could not tell whether the images give patients away: use them in this house only")
    numbers = [c.detectable for c in contrasts if c.arm == arm]
    numbers += [confirmation.detectable] if confirmation is not None else []
    known = [v for v in numbers if math.isfinite(v)]
    return Verdict(
        word,
        arm,
        rival,
        said,
        max(known, default=math.nan),
        tuple(contrasts),
        tuple(guards),
        confirmation,
        audit,
    )


def _against(
    contrasts: Sequence[Contrast], guards: Sequence[Guard], confirmation: Confirmation | None, audit: str
) -> tuple[str, ...]:
    """Return what is shown against the images."""
    said = []
    if audit == FAILED:
        said.append("the audit failed: the images give patients away")
    enough = [c for c in contrasts if c.runs >= LEAST_RUNS]
    if enough and len(enough) == len(contrasts) and all(c.better <= NONE_LEFT for c in contrasts):
        most = max(100 * c.better for c in contrasts)
        said.append(
            f"no candidate gains {100 * ROPE:g} points over the best rival: the chance of that is {most:.1f} % at most"
        )
    said += [
        f"{_told(g)} gets worse: by {-100 * g.change.value:.1f} points, and {100 * g.margin:g} are borne"
        for g in guards
        if g.state == "broken"
    ]
    gain = confirmation.gain if confirmation is not None else None
    if gain is not None and gain.upper is not None and gain.upper < 0:
        said.append(f"on the locked part it is worse by {-100 * gain.value:.1f} points")
    return tuple(said)


def _open(
    arm: str, contrasts: Sequence[Contrast], guards: Sequence[Guard], confirmation: Confirmation | None
) -> tuple[str, ...]:
    """Return what is not shown and would have to be."""
    said = []
    own = next((c for c in contrasts if c.arm == arm), None)
    certain = own is not None and arm in sure(contrasts)
    # A candidate that is certain rests on its own runs; whether another lacks some does not matter then.
    runs = own.runs if own is not None and certain else min((c.runs for c in contrasts), default=0)
    if runs < LEAST_RUNS:
        said.append(f"{runs} paired runs with a score; {LEAST_RUNS} are needed")
    if own is None or not math.isfinite(own.gain.value):
        pass  # without a score there is no gain to speak of, and the number of runs says so
    elif not certain:
        seen = f"; a true gain of {100 * own.detectable:.1f} points would be seen in 4 of 5 such gates"
        told = f"the gain of {100 * own.gain.value:.1f} points is not certain after adjustment for all candidates"
        said.append(told + (seen if math.isfinite(own.detectable) else ""))
    elif confirmation is None:
        said.append("the gain has not been confirmed on a locked part")
    elif confirmation.gain.lower is None:
        said.append(f"the locked part of {confirmation.n_patients} patients is too small to confirm the gain")
    elif confirmation.gain.lower <= 0:
        said.append(
            f"the locked part of {confirmation.n_patients} patients does not confirm the gain; a true gain of "
            f"{100 * confirmation.detectable:.1f} points would be confirmed in 4 of 5 such parts"
        )
    said += [
        f"{_told(g)} may get worse: by {-100 * g.change.value:.1f} points, and {100 * g.margin:g} are borne"
        for g in guards
        if g.state == "unsure"
    ]
    return tuple(said)


def _gained(arm: str, contrasts: Sequence[Contrast], confirmation: Confirmation | None) -> str:
    own = next(c for c in contrasts if c.arm == arm)
    locked = 100 * confirmation.gain.value if confirmation is not None else math.nan
    return (
        f"{100 * own.gain.value:.1f} points over the best rival in {own.runs} paired runs, and {locked:.1f} points on "
        "the locked part; by the estimates nothing that is guarded loses more than its margin"
    )


def _told(guard: Guard) -> str:
    return guard.name.replace("/", " of ", 1)

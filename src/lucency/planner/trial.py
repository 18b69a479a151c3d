"""Which choices are worth a trial before the plan is fixed, on how many patients, and for how long."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lucency.case import Cohort
from lucency.plan import Needs, Plan, Timing
from lucency.planner.pace import LEAST_EPOCHS, TRAIN_SHARE, epoch_steps
from lucency.profile import Profile
from lucency.statistics import Metric

#: Share of the budget that all trainings of a trial may take together: enough for three short trainings on one fold of
#: a small set, and little enough that the plan itself keeps its passes.
TRIAL_SHARE = 0.15

#: Numbers of folds that are tried on, the best first. Two give Nadeau and Bengio's test one degree of freedom, with
#: which nothing can be shown. One fold is judged by the patients' bootstrap, which does not see what another seed would
#: have trained: it took the default with another seed for a gain in 1 of 3 trials (benchmarks/imbalance.py).
FOLDS = (5, 3)

#: Patients of the rarest class among those judged, in all and in each fold: with fewer no gain could be shown.
LEAST_RARE, LEAST_RARE_FOLD = 20, 5

#: Passes over the images of each training: below FEWEST it says nothing; beyond MOST it is no longer brief.
FEWEST_PASSES, MOST_PASSES = 6, 12

#: Steps of each training at least: warm-up and cosine need some.
FEWEST_STEPS = 60


@dataclass(frozen=True)
class Trial:
    """Values of one setting that train briefly, alike and on the same patients, before the plan is fixed.

    Args:
        setting: One of the task's own.
        choices: Its values, the default first.
        folds: Held out, one after the other.
        steps: Optimiser steps of each training, the same for all.
        seconds: What it should take in all.
    """

    setting: str
    choices: tuple[str, ...]
    folds: tuple[int, ...]
    steps: int
    seconds: float


@dataclass(frozen=True)
class Arm:
    """What one choice reached.

    Args:
        choice: Value of the setting.
        value: The task's balanced metric on the held-out patients, the mean over the folds; None where it diverged.
        gain: Over the default; None for the default itself.
        p: Two-sided, or None.
        p_holm: Adjusted for the number of choices.
        test: How the gain was judged.
    """

    choice: str
    value: Metric | None
    gain: Metric | None = None
    p: float | None = None
    p_holm: float | None = None
    test: str = ""


@dataclass(frozen=True)
class Tried:
    """A trial and its verdict: ``trial.json``.

    Args:
        trial: As it was designed.
        arms: The default first; empty where the trial was broken off.
        kept: The choice that the plan has.
        why: In words.
        seconds: What it took.
    """

    trial: Trial
    arms: tuple[Arm, ...]
    kept: str
    why: str
    seconds: float


def designed(
    draft: Plan, needs: Needs, timing: Timing, cohort: Cohort, profile: Profile, *, said: Sequence[str] = ()
) -> tuple[Trial | None, dict[str, str]]:
    """Decide whether the choices that the task names are tried, on which folds and for how long.

    Args:
        draft: As rehearsed.
        needs: Whose ``tried`` names the setting and the values.
        timing: Of the rehearsal.
        cohort: Folds, patients and classes.
        profile: Of the training part.
        said: Settings that the user chose; these are not tried.

    Returns:
        The trial, or None; and for each setting that is not tried after all, why.
    """
    refused: dict[str, str] = {}
    for setting, values in needs.tried.items():
        if {setting, f"task_options.{setting}"} & set(said):
            continue
        default = str(draft.task_options[setting])
        rarest, usable = _folds(cohort)
        if not usable:
            refused[setting] = (
                f"no other choice is tried, for {rarest} patients of the rarest class are in the folds and "
                f"{LEAST_RARE} must be judged to tell choices apart, {LEAST_RARE_FOLD} of them in each fold"
            )
            continue
        # More folds say more than more choices: the first is tried alone before folds are given up.
        tried = [(folds, (default, *some)) for folds in usable for some in dict.fromkeys((tuple(values), values[:1]))]
        for folds, choices in tried:
            found = _fitted(draft, choices, folds, timing, profile)
            if found is not None:
                return Trial(setting, choices, folds, *found), refused
        refused[setting] = (
            f"no other choice is tried, for 2 trainings of {FEWEST_PASSES} passes do not fit into "
            f"{TRIAL_SHARE * draft.minutes * 60:.0f} s beside the training itself"
        )
    return None, refused


def remarked(reasons: Mapping[str, str], remarks: Mapping[str, str]) -> dict[str, str]:
    """Return reasons with what is to be added to some of them."""
    return {**reasons, **{k: f"{reasons[k]}; {v}" if reasons.get(k) else v for k, v in remarks.items()}}


def _folds(cohort: Cohort) -> tuple[int, list[tuple[int, ...]]]:
    """Return how many patients the rarest class has, and the sets of folds that hold enough of them, the best first."""
    patients: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for case in cohort.trainable:
        patients[str(case.target)][cohort.folds[case.id]].add(case.patient)
    counts = {name: Counter({f: len(p) for f, p in by_fold.items()}) for name, by_fold in patients.items()}
    if not counts:
        return 0, []
    rarest = min(counts.values(), key=lambda c: c.total())
    all_folds = sorted(set(cohort.folds.values()))
    usable = []
    for number in FOLDS:
        folds = tuple(all_folds[:number])
        enough = sum(rarest[f] for f in folds) >= LEAST_RARE and min(rarest[f] for f in folds) >= LEAST_RARE_FOLD
        if len(folds) == number and enough:
            usable.append(folds)
    return rarest.total(), usable


def _fitted(
    draft: Plan, choices: tuple[str, ...], folds: tuple[int, ...], timing: Timing, profile: Profile
) -> tuple[int, float] | None:
    """Return (steps, seconds) of a trial that fits into its share of the budget, or None."""
    members = len(choices) * len(folds)
    epoch = epoch_steps(draft, profile)
    allowed = TRIAL_SHARE * draft.minutes * 60 / members - profile.n_cases / 5 * timing.predict_s
    steps = min(int(allowed / timing.step_s), max(MOST_PASSES * epoch, FEWEST_STEPS))
    if steps < max(FEWEST_PASSES * epoch, FEWEST_STEPS):
        return None
    seconds = members * (steps * timing.step_s + profile.n_cases / 5 * timing.predict_s)
    left = (TRAIN_SHARE * draft.minutes * 60 - seconds) / (1 + len(draft.controls)) / timing.step_s / epoch
    # The plan itself comes first: it must keep the passes that a network needs.
    return (steps, seconds) if left >= LEAST_EPOCHS[False] else None

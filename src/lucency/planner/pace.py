"""How much training the budget holds: members, steps and forecast, from what the rehearsal measured."""

import math
from dataclasses import replace

from lucency.plan import Forecast, Plan, Timing
from lucency.profile import Profile

#: Share of the budget that the plan fills; the rest is for what a forecast cannot know.
FILL = 0.85

#: Share of the budget that training gets in the first estimate, before anything was timed.
TRAIN_SHARE = 0.65

#: Passes over the training images, by ``dense``. Below LEAST the grid is coarsened; with time for ENOUGH, another
#: member of the ensemble gains more than further passes; beyond MOST a small set is only learned by heart.
LEAST_EPOCHS = {True: 20, False: 12}
ENOUGH_EPOCHS = {True: 25, False: 22}
MOST_EPOCHS = {True: 600, False: 300}
#: Passes that a member makes at least where more members are wanted than there is time for.
FEWEST_EPOCHS = 6


#: Share of a member's training time in which its body learns from images alone, where it does; and members wanted where
#: images without a label are named by a teacher.
PRETRAIN_SHARE, PSEUDO_MEMBERS = 0.3, 3

#: Passes over the images from which on learning from them alone is worth a member less, and the time of such an image
#: against one in training (1.0 for filling in, 1.4 for two views on a small residual network, by hand).
PRETEXT_PASSES, PRETEXT_COST = 10, 1.5

#: Cases by which a choice of modalities is scored, at most, in each part.
PATTERN_CASES = 40

#: Patients outside the folds that a network and its controls are trained on, for intervals that can tell them apart.
COMPARED_PATIENTS = 40


def compared_members(profile: Profile) -> int:
    """Return in how many folds there are enough patients for a comparison, 1 to 5."""
    return min(5, math.ceil(5 * COMPARED_PATIENTS / max(profile.n_patients, 1)))


def timed(  # noqa: PLR0913 - one parameter for each thing that takes time
    draft: Plan,
    timing: Timing,
    profile: Profile,
    *,
    n_locked: int,
    spent_s: float,
    dense: bool,
    trial_s: float = 0.0,
    beside_s: float = 0.0,
) -> Plan:
    """Put what the rehearsal measured into the plan: layout, members, steps, forecast.

    Args:
        draft: From :func:`plan`.
        timing: On this machine.
        profile: Of the training part.
        n_locked: Cases of the locked part.
        spent_s: Working time used so far.
        dense: One output per voxel.
        trial_s: Set aside for a trial of choices before training.
        beside_s: Set aside for another model that is trained beside this one.

    Returns:
        The final plan.
    """
    epoch = math.ceil(profile.n_cases * 0.8 / draft.batch)
    held = profile.n_cases / 5
    patches = _patches(draft, profile)
    enough = ENOUGH_EPOCHS[dense] * epoch * patches
    room = draft.minutes * 60 * FILL - spent_s - trial_s - beside_s - REPORT_S - baseline_seconds(profile, dense=dense)
    # Every control has as long as the network itself.
    whole, room = room, room / (1 + len(draft.controls))
    mirrors = tuple(a for a in "kji" if draft.augmentation.get(f"flip_{a}"))[:2]
    predict_s = timing.predict_s * 2 ** len(mirrors)
    if (held + n_locked) * predict_s > MIRROR_SHARE * room:
        mirrors, predict_s = (), timing.predict_s
    # Every member predicts its own fold and, in the end, the locked part.
    per_member = (held + n_locked) * predict_s + held * timing.score_s
    # Every choice of modalities is scored in both parts, for the network and for the one that is given zeros.
    # What the network gives with all of them is known by then.
    n_choices = max(0, 2 * len(draft.patterns) - 1)
    chosen = n_choices * (min(n_locked, PATTERN_CASES) + min(held, PATTERN_CASES))
    fixed = n_locked * timing.score_s + chosen * (predict_s + timing.score_s)
    members = int((room - fixed) / (enough * timing.step_s + pretext_seconds(draft, timing, profile) + per_member))
    members = min(draft.members, max(1, members))
    if draft.controls:
        # A comparison needs patients: rather more folds with fewer passes than one fold of a dozen patients.
        wanted = compared_members(profile)
        shorter = LEAST_EPOCHS[dense] * epoch * patches * timing.step_s + per_member
        members = max(members, min(wanted, int((room - fixed) / shorter)))
    # Thresholds for pseudo-labels are learned from other folds than the member's own.
    least = max(draft.least_members, PSEUDO_MEMBERS if draft.unlabelled == "pseudo" else 1)
    if least > members:
        shorter = FEWEST_EPOCHS * epoch * patches * timing.step_s + per_member
        members = max(members, min(least, int((room - fixed) / shorter)))
    train_s = max(room - fixed - members * per_member, 0.2 * room, 1.0)
    share = PRETRAIN_SHARE if draft.pretrain != "none" else 0.0
    whole_train_s, train_s = train_s, (1 - share) * train_s
    steps = int(train_s / members / timing.step_s)
    most_passes = draft.most_passes or MOST_EPOCHS[dense]
    most = most_passes * epoch * patches
    reasons = dict(draft.reasons)
    passes = steps / (epoch * patches)
    schedule_reason = (
        f"{steps} steps a member: {train_s:.0f} s for training at {1000 * timing.step_s:.0f} ms a step, "
        f"about {passes:.0f} passes over the training images"
    )
    if steps > most:
        steps = most
        schedule_reason = (
            f"{steps} steps a member, {most_passes} passes over the training images: the budget allows more, "
            "but so few images would only be learned by heart"
        )
        # What training has no use for, learning from images alone may have.
        share = 1 - members * steps * timing.step_s / whole_train_s if share else 0.0
    reasons["schedule"] = f"{schedule_reason}. {reasons['schedule']}"
    if passes < LEAST_EPOCHS[dense] / 2:
        reasons["schedule"] += f". TOO FEW: about {LEAST_EPOCHS[dense]} passes are needed; give more --minutes"
    reasons["folds"] = (
        f"{members} of 5 folds: time for {members} members with about {steps / (epoch * patches):.0f} passes each; "
        "each is judged on the fold it did not see"
        if members > 1
        else "fold 0 alone: outputs of members that were trained apart cannot be averaged"
        if draft.members == 1
        else f"fold 0 alone: the budget holds one member with up to {ENOUGH_EPOCHS[dense]} passes, not two"
    )
    if mirrors:
        reasons["tta"] = f"mean of {2 ** len(mirrors)} mirrored copies along {', '.join(mirrors)}, which are safe here"
    train_forecast = members * steps * timing.step_s / (1 - share) + whole - room + beside_s
    evaluate_s = members * per_member + fixed + baseline_seconds(profile, dense=dense)
    seconds = {
        "before training": spent_s,
        **({"trial": trial_s} if trial_s else {}),
        "train": train_forecast,
        "evaluate": evaluate_s,
        "report": REPORT_S,
    }
    return replace(
        draft,
        folds=tuple(range(members)),
        pretrain_share=share,
        tta=mirrors,
        channels_last=timing.channels_last,
        schedule=replace(
            draft.schedule,
            steps=max(1, steps),
            warmup=max(1, min(draft.schedule.warmup, steps // 10)),
            ema=draft.schedule.ema if steps < 6000 else 0.998,
        ),
        reasons=reasons,
        forecast=Forecast(timing.memory_mib + EVALUATION_MIB, seconds),
    )


#: Mirrored copies at prediction may take this share of the time.
MIRROR_SHARE = 0.1

#: Writing the report and its pictures, s; and memory that evaluation and report add to the peak of training, MiB.
REPORT_S = 8.0
EVALUATION_MIB = 120.0


def pretext_seconds(draft: Plan, timing: Timing, profile: Profile) -> float:
    """Return what a member should have for learning from images alone; 0 where it does not."""
    if draft.pretrain == "none":
        return 0.0
    images = profile.n_cases + profile.n_unlabelled
    return PRETEXT_PASSES * images * PRETEXT_COST * timing.step_s / draft.batch


def baseline_seconds(profile: Profile, *, dense: bool) -> float:
    """Return what the simple baselines take, with room to spare; ``benchmarks/baselines.py`` measures it."""
    return 3 + (0.1 if dense else 0.004) * min(profile.n_cases, 60 if dense else 10_000)


def _patches(draft: Plan, profile: Profile) -> int:
    """Return how many patches cover a median image, at most 8: a pass over the images is that many draws each."""
    if draft.grid.mode != "spacing":
        return 1
    ratio = math.prod(draft.grid.size) / math.prod(draft.patch)
    return int(min(8, max(1, round(ratio))))


def epoch_steps(draft: Plan, profile: Profile) -> int:
    """Return the steps of one pass over the images of a member."""
    return math.ceil(profile.n_cases * 0.8 / draft.batch) * _patches(draft, profile)


def passes(draft: Plan, timing: Timing, profile: Profile) -> float:
    """Return how many passes over the training images the rehearsed step allows in the time planned for training."""
    return TRAIN_SHARE * draft.minutes * 60 / timing.step_s / epoch_steps(draft, profile)


def wanted_passes(least_members: int, *, dense: bool) -> int:
    """Return how many passes of a member training needs in all: one member's, or fewer for each of the members wanted.

    Args:
        least_members: Members that are wanted even where each then makes fewer passes.
        dense: One output per voxel.
    """
    return max(LEAST_EPOCHS[dense], FEWEST_EPOCHS * least_members if least_members > 1 else 0)


def surprise(draft: Plan, timing: Timing, profile: Profile, *, dense: bool) -> float:
    """Return how many times faster (over 1) or slower the machine is than the draft took it to be; 1 if it serves.

    The draft serves when the passes that the rehearsed step allows are neither too few to converge nor several times
    what is enough; between the two a finer or coarser grid would gain nothing.
    """
    found = passes(draft, timing, profile)
    wanted = wanted_passes(draft.least_members, dense=dense)
    # Fewer passes can be borne; fewer members than are wanted leave most patients unjudged.
    if found < (1.0 if wanted > LEAST_EPOCHS[dense] else 0.6) * wanted:
        return found / wanted
    if found > 4 * ENOUGH_EPOCHS[dense]:
        return found / (2 * ENOUGH_EPOCHS[dense])
    return 1.0

"""Everything that can be decided before anything was timed."""

import math
import re
from dataclasses import dataclass

from lucency.case import Cohort
from lucency.columns import told_columns, treatment_in
from lucency.errors import DataError
from lucency.mirror import SAFE
from lucency.plan import Grid, Machine, Needs, Normalisation, Option, Plan, Schedule
from lucency.planner.boxes import box_augmentation
from lucency.planner.pace import LEAST_EPOCHS, TRAIN_SHARE
from lucency.planner.shape import ANISOTROPIC, choose_shape, largest_tile
from lucency.profile import Profile

#: Budgets from which on ``torch.compile`` is worth its start-up on a GPU.
COMPILE_MINUTES = 45.0

#: Augmentation, by the number of training patients behind masks. One seed each: with about 25 patients the strong one
#: gained 2 to 4 points of Dice (heart, 700 steps), with 136 it gained none (hippocampus, 800 steps). The border of 80
#: lies between the two sets; nothing was measured there.
FEW_PATIENTS = 80
MILD = {"rotate": 14.0, "scale": 0.15, "shift": 0.05, "contrast": 0.2, "brightness": 0.2, "noise": 0.1}
STRONG = {
    "rotate": 30.0,
    "scale": 0.25,
    "shift": 0.1,
    "contrast": 0.3,
    "brightness": 0.3,
    "noise": 0.15,
    "gamma": 0.3,
}

#: So many times as many images without a label as with one let the body learn from images alone first.
UNLABELLED_TIMES = 10

#: Chance that a modality is left out of a training image, where cases lack some. Chosen, not compared with others.
MODALITY_DROPOUT = 0.3

#: A modality that fewer training cases have is passed over: a stem cannot be learned from a handful.
LEAST_CASES, LEAST_SHARE = 3, 0.05

#: DICOM modalities that a plan may be bound to.
MODALITY_WORDS = {"CT", "MR", "CR", "DX", "US", "PT", "MG", "XA", "NM"}


@dataclass(frozen=True)
class Budget:
    """What the user allows.

    Args:
        minutes: Wall clock from profile to report.
        seed: Of everything random.
    """

    minutes: float = 10.0
    seed: int = 0

    @property
    def seconds(self) -> float:
        """The wall clock in seconds."""
        return self.minutes * 60


def plan(cohort: Cohort, profile: Profile, needs: Needs, machine: Machine, budget: Budget) -> Plan:
    """Decide everything that can be decided before anything was timed.

    Args:
        cohort: Names of classes and labels, clinical columns; nothing of the locked part is read.
        profile: Of the training part.
        needs: What the task asks.
        machine: As measured.
        budget: As allowed.

    Returns:
        A plan whose number of steps and members is an estimate until :func:`timed` puts in what was measured.
    """
    reasons = dict(needs.reasons)
    dims = max(profile.dims, key=lambda d: profile.dims[d])
    train_s = TRAIN_SHARE * budget.seconds
    grid, options, patch, batch = choose_shape(profile, needs, machine, dims, train_s, reasons)
    steps_per_epoch = math.ceil(profile.n_cases / batch)
    steps = max(1, int(LEAST_EPOCHS[needs.dense] * steps_per_epoch))
    modality = _only_modality(profile)
    task_options: dict[str, Option] = dict(needs.options) | ({"modality": modality} if modality else {})
    if cohort.visits:
        task_options |= {"visits": cohort.visits, "patient": _column_of(cohort)}
    schedule = _schedule(steps, needs.dense, batch, reasons)
    modalities, sizes = told_modalities(profile, reasons)
    if cohort.made and cohort.made not in modalities:
        raise DataError(
            f"{profile.modalities.get(cohort.made, 0)} of {profile.n_cases} training cases have {cohort.made!r}",
            expected="enough to learn what it looks like",
            remedy="add cases that have it, or take out some of those that lack it",
        )
    if len(modalities) > 1 and not needs.sequence:
        options |= _modality_options(profile, modalities, sizes, reasons, made=cohort.made)
    reasons["precision"] = (
        f"bf16: convolutions train at {machine.gflops:.0f} against {machine.gflops_fp32:.0f} GFLOP/s in fp32 here"
        if machine.bf16
        else "fp32: bf16 is not faster on this processor"
    )
    reasons["tta"] = "no mirrored copies at prediction: no mirror axis is known to be safe for these images"
    sized = sorted(
        {str(s.header["spacing_from"]) for c in cohort.trainable for s in c.sources if "spacing_from" in s.header}
    )
    if sized:
        reasons["spacing"] = (
            f"the files do not say how large a pixel is; column {', '.join(sized)} of the table does, in mm"
        )
    told = told_columns(cohort.trainable) if needs.facts else ()
    if told:
        reasons["facts"] = (
            f"told beside the image: {', '.join(c.name for c in told)}; missing values are the mean of the training "
            "fold, with a flag"
        )
    pretrain = _pretrain(cohort, profile, needs, reasons)
    given = treatment_in(told)
    if given and "treatment" in task_options and not task_options["treatment"]:
        task_options["treatment"] = given
        reasons["treatment"] = (
            f"column {given!r} is taken for a treatment by its name: the report says what is predicted under each of "
            "its values, if patients are comparable; --set treatment=none leaves that out"
        )
    reasons.setdefault("folds", "fold 0 until the rehearsal has shown how many members the budget allows")
    return Plan(
        task=needs.task,
        network=needs.network,
        network_options=options,
        channels=sum(sizes) if len(modalities) > 1 else max(profile.channels, key=lambda c: profile.channels[c]),
        modalities=modalities,
        dims=dims,
        classes=cohort.classes if needs.classes else (),
        labels=dict(sorted(cohort.labels.items())),
        ignore=cohort.ignore,
        grid=grid,
        patch=patch,
        tile=largest_tile(grid, patch, options, needs, machine),
        batch=batch,
        normalisation=_normalisation(profile, needs, reasons),
        augmentation=_augmentation(profile, needs, dims, grid, reasons),
        schedule=schedule,
        precision="bf16" if machine.bf16 else "fp32",
        accelerator=machine.accelerator,
        channels_last=dims == 2 and not needs.dense,
        compile=_compile(machine, budget, reasons),
        folds=(0,),
        seed=budget.seed,
        minutes=budget.minutes,
        reasons=reasons,
        task_options=task_options,
        facts=told,
        members=needs.members,
        least_members=needs.least_members,
        most_passes=needs.most_passes,
        controls=dict.fromkeys(needs.controls, 0),
        pretrain=pretrain,
        made=(cohort.made,) if cohort.made else (),
    )


def _pretrain(cohort: Cohort, profile: Profile, needs: Needs, reasons: dict[str, str]) -> str:
    """Choose what the body learns from images alone: nothing, unless most images have no label."""
    spare = len(cohort.unlabelled)
    if needs.pretrain == "none" or spare < UNLABELLED_TIMES * profile.n_cases:
        return "none"
    reasons["pretrain"] = (
        f"{needs.pretrain}: {spare} images without a label are at least {UNLABELLED_TIMES} times the "
        f"{profile.n_cases} with one, so the network's body learns from images alone first; no image of the locked "
        "part or of the fold that a member is judged by is among them"
    )
    return needs.pretrain


def told_modalities(profile: Profile, reasons: dict[str, str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the modalities that enough training cases have, in order, and the channels of each.

    Args:
        profile: Of the training part.
        reasons: Gets the reason where a modality is passed over.
    """
    least = max(LEAST_CASES, math.ceil(LEAST_SHARE * profile.n_cases))
    every = tuple(sorted(profile.modalities))
    kept = tuple(m for m in every if profile.modalities[m] >= min(least, max(profile.modalities.values())))
    if len(kept) < len(every):
        rare = ", ".join(f"{m} ({profile.modalities[m]})" for m in every if m not in kept)
        reasons["modalities"] = (
            f"passed over, for fewer than {least} of {profile.n_cases} training cases have it: {rare}"
        )
    return kept, tuple(len(profile.intensity[m]) for m in kept)


def _modality_options(
    profile: Profile, modalities: tuple[str, ...], sizes: tuple[int, ...], reasons: dict[str, str], *, made: str
) -> dict[str, Option]:
    """Return the network's options for several modalities: whether it learns to do without some of them."""
    if made:
        counts = ", ".join(f"{m} in {profile.modalities[m]}" for m in modalities)
        reasons["modality_dropout"] = f"none: {made} is made of what is there; {counts} of {profile.n_cases} cases"
        return {"stems": tuple(float(n) for n in sizes), "modality_dropout": 0.0}
    lacking = {m: profile.n_cases - profile.modalities[m] for m in modalities}
    said = ", ".join(f"{m} in {n}" for m, n in lacking.items() if n)
    reasons["modality_dropout"] = (
        f"missing in training cases: {said} of {profile.n_cases}; each modality has a stem of its own, the mean is "
        f"over those that are there, and each is left out of {MODALITY_DROPOUT:.0%} of the training images, never all"
        if said
        else "no training case lacks a modality, and none may be missing later; --set modality_dropout=0.3 trains "
        "for that"
    )
    return {"stems": tuple(float(n) for n in sizes), "modality_dropout": MODALITY_DROPOUT if said else 0.0}


def _column_of(cohort: Cohort) -> str:
    """Return the column that told patients apart, or nothing where something else did."""
    found = re.fullmatch(r"column '(.*)'", cohort.patient_key)
    return found[1] if found else ""


#: Stored numbers that reach down to here and no further are Hounsfield units, whether a file says so or not: padding
#: of scanners lies down to -4096 HU, air at -1000.
AIR, PADDING = -900.0, -4100.0


def _shared_scale(profile: Profile, modality: str) -> tuple[str, bool]:
    """Return why the numbers of a modality mean the same in every image, and whether they are HU; "" where not so."""
    scales, spread = profile.scales.get(modality, {}), profile.intensity[modality]
    low, high = min(s.minimum for s in spread), max(s.maximum for s in spread)
    if set(scales) == {"HU"}:
        return "Hounsfield units", True
    if set(scales) == {"SUV"}:
        return "standardised uptake values", False
    if set(scales) == {"uint8"}:
        return "eight bits, 0 to 255", False
    if PADDING <= low <= AIR and low < high <= 32767:
        return f"as Hounsfield units, from {low:g} to {high:g}", True
    if -1.0 <= low < high <= 1.0:
        return "between -1 and 1 throughout", False
    return "", False


def _exact_normalisation(profile: Profile, reasons: dict[str, str]) -> Normalisation:
    """Return fixed numbers for every modality on a common scale; the others go by each image."""
    rows: list[tuple[float, float, float, float]] = []
    said = []
    for modality in told_modalities(profile, {})[0]:
        why, is_hu = _shared_scale(profile, modality)
        said.append(f"{modality}: {why}" if why else f"{modality}: each image by its own mean and deviation")
        for s in profile.intensity[modality]:
            # Nothing that a body holds is clipped; padding and metal are.
            low, high = (max(s.minimum, -1024.0), min(s.maximum, 3071.0)) if is_hu else (s.minimum, s.maximum)
            rows.append((low, high, s.mean, max(s.std, 1e-6)) if why and high > low else (0.0, 0.0, 0.0, 0.0))
    reasons["normalisation"] = f"what a number means is kept where it means the same in every image ({'; '.join(said)})"
    low_, high_, mean_, std_ = (tuple(float(r[n]) for r in rows) for n in range(4))
    if not any(std_):
        return Normalisation("zscore")
    return Normalisation("fixed" if all(std_) else "mixed", low_, high_, mean_, std_)


def _normalisation(profile: Profile, needs: Needs, reasons: dict[str, str]) -> Normalisation:
    if needs.exact:
        return _exact_normalisation(profile, reasons)
    if profile.units and max(profile.units, key=lambda u: profile.units[u]) == "HU":
        summaries = [s for m in told_modalities(profile, {})[0] for s in profile.body[m]]
        low, high = [s.percentile(0.5) for s in summaries], [s.percentile(99.5) for s in summaries]
        reasons["normalisation"] = (
            f"Hounsfield units mean the same in every scan: clipped to {low[0]:.0f} … {high[0]:.0f} HU "
            "(0.5 and 99.5 % of the voxels inside the body), then scaled by the set's own mean and deviation"
        )
        return Normalisation(
            "fixed",
            tuple(low),
            tuple(high),
            tuple(s.mean for s in summaries),
            tuple(max(s.std, 1e-6) for s in summaries),
        )
    spread = [s for m in told_modalities(profile, {})[0] for s in profile.intensity[m]]
    reasons["normalisation"] = (
        f"each image by its own mean and deviation: stored numbers run from {spread[0].minimum:g} to "
        f"{spread[0].maximum:g} and have no common unit"
    )
    return Normalisation("zscore")


def _augmentation(profile: Profile, needs: Needs, dims: int, grid: Grid, reasons: dict[str, str]) -> dict[str, float]:
    few = needs.dense and profile.n_patients < FEW_PATIENTS
    strengths = dict(STRONG if few else MILD)
    if needs.boxes:
        return box_augmentation(strengths, profile, reasons, dims)
    if grid.mode == "frames":
        # All frames of a sequence are seen anew in the same way; nothing is turned from one frame into another.
        dims = 2
    if needs.sized:
        strengths["scale"] = 0.0
    if needs.exact:
        strengths |= dict.fromkeys(("contrast", "brightness", "noise", "gamma"), 0.0)
    if dims == 3:
        anisotropic = grid.mode == "spacing" and max(grid.spacing) / min(grid.spacing) >= ANISOTROPIC
        strengths["tilt"] = 0.0 if anisotropic else (20.0 if few else 14.0)
    safe, told = [], []
    for axis in "kji"[3 - dims :]:
        auc = profile.mirror_separability(axis)
        words = f"are told from originals with AUC {auc:.2f}" + (" or cannot be judged" if auc >= 1.0 else "")
        told.append(f"along {axis} mirror images {words}")
        if auc <= SAFE:
            strengths[f"flip_{axis}"] = 0.5
            safe.append(axis)
    reasons["augmentation"] = (
        "turned, "
        + ("" if needs.sized else "scaled, ")
        + ("shifted, " if needs.exact else "shifted, contrast, brightness and noise ")
        + "as scanners and positions vary, "
        + (f"strongly, for {profile.n_patients} patients show few of the ways to vary; " if few else "mildly; ")
        + (f"mirrored along {', '.join(safe)}" if safe else "no mirror image")
        + ("; not scaled, since size may be what is asked for" if needs.sized else "")
        + f" (safe up to AUC {SAFE}): "
        + "; ".join(told)
    )
    return strengths


def _schedule(steps: int, dense: bool, batch: int, reasons: dict[str, str]) -> Schedule:
    decay = 0.01 if dense else 0.05
    reasons["schedule"] = (
        f"AdamW at 0.002 with weight decay {decay}, warm-up, then cosine to zero; weights averaged "
        "(a moving average costs nothing and steadies short runs)"
    )
    return Schedule(steps=steps, rate=2e-3, weight_decay=decay, warmup=100, clip=5.0, ema=0.995)


def _compile(machine: Machine, budget: Budget, reasons: dict[str, str]) -> bool:
    """Decide whether ``torch.compile`` repays itself: it takes a minute or two before the first step."""
    repays = machine.accelerator == "cuda" and budget.minutes >= COMPILE_MINUTES
    reasons["compile"] = (
        f"yes: on a GPU its one or two minutes repay themselves in {budget.minutes:g}"
        if repays
        else f"no: it takes a minute or two, which only a GPU and a budget over {COMPILE_MINUTES:g} minutes repay"
    )
    return repays


def _only_modality(profile: Profile) -> str:
    """Return the DICOM modality that all training images share, or nothing."""
    words = set(profile.dicom_modalities)
    total = sum(profile.dicom_modalities.values())
    if len(words) == 1 and words <= MODALITY_WORDS and total >= profile.n_cases:
        return next(iter(words))
    return ""

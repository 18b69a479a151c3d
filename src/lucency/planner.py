"""How decisions are made: profile, needs, machine and budget in; a plan with its reasons out."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lucency.case import Cohort
from lucency.errors import UsageError
from lucency.mirror import SAFE
from lucency.plan import Forecast, Grid, Machine, Needs, Normalisation, Option, Plan, Schedule, Timing
from lucency.profile import Profile
from lucency.record import from_json, to_json

#: Share of the budget that the plan fills; the rest is for what a forecast cannot know.
FILL = 0.85

#: Share of the budget that training gets in the first estimate, before anything was timed.
TRAIN_SHARE = 0.65

#: Passes over the training images, by ``dense``. Below LEAST the grid is coarsened; with time for ENOUGH, another
#: member of the ensemble gains more than further passes; beyond MOST a small set is only learned by heart.
LEAST_EPOCHS = {True: 20, False: 12}
ENOUGH_EPOCHS = {True: 25, False: 22}
MOST_EPOCHS = {True: 600, False: 300}

#: Slices this many times thicker than wide are convolved within the slice first (Isensee 2021).
ANISOTROPIC = 3.0

#: A side below this is not halved again.
LEAST_SIDE = 4

#: Voxels of a training patch, by accelerator: what keeps a step under a second on two cores, and a GPU busy.
PATCH_VOXELS = {"cpu": 100_000, "mps": 300_000, "cuda": 1_200_000}

#: Long sides tried for images, in pixels.
SIDES = (512, 448, 384, 320, 256, 224, 192, 160, 128, 112, 96, 80, 64, 48, 32)

#: Longest side worth its cost, by ``dense``: above 224 classification gains little (doi 10.1038/s41598-025-91956-w).
LONGEST = {True: 512, False: 224}

#: Budgets from which on ``torch.compile`` is worth its start-up on a GPU.
COMPILE_MINUTES = 45.0

#: Sides below which an image is not scaled down for speed, by ``dense``: what is small in it would be gone.
SHORTEST = {True: 128, False: 64}

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

#: Bytes that predicting one voxel takes per channel of the finest level: activations, skip and normalisation copies.
BYTES_PER_VOXEL_CHANNEL = 24

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
        cohort: Names of classes and labels; nothing of the locked part is read.
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
    grid, options, patch, batch = _shape(profile, needs, machine, dims, train_s, reasons)
    steps_per_epoch = math.ceil(profile.n_cases / batch)
    steps = max(1, int(LEAST_EPOCHS[needs.dense] * steps_per_epoch))
    modality = _only_modality(profile)
    task_options: dict[str, Option] = dict(needs.options) | ({"modality": modality} if modality else {})
    schedule = _schedule(steps, needs.dense, batch, reasons)
    reasons["precision"] = (
        f"bf16: convolutions train at {machine.gflops:.0f} against {machine.gflops_fp32:.0f} GFLOP/s in fp32 here"
        if machine.bf16
        else "fp32: bf16 is not faster on this processor"
    )
    reasons["tta"] = "no mirrored copies at prediction: no mirror axis is known to be safe for these images"
    reasons.setdefault("folds", "fold 0 until the rehearsal has shown how many members the budget allows")
    return Plan(
        task=needs.task,
        network=needs.network,
        network_options=options,
        channels=max(profile.channels, key=lambda c: profile.channels[c]),
        modalities=tuple(sorted(profile.modalities)),
        dims=dims,
        classes=cohort.classes,
        labels=dict(sorted(cohort.labels.items())),
        ignore=cohort.ignore,
        grid=grid,
        patch=patch,
        tile=_tile(grid, patch, options, needs, machine),
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
    )


def timed(draft: Plan, timing: Timing, profile: Profile, *, n_locked: int, spent_s: float, dense: bool) -> Plan:
    """Put what the rehearsal measured into the plan: layout, members, steps, forecast.

    Args:
        draft: From :func:`plan`.
        timing: On this machine.
        profile: Of the training part.
        n_locked: Cases of the locked part.
        spent_s: Working time used so far.
        dense: One output per voxel.

    Returns:
        The final plan.
    """
    epoch = math.ceil(profile.n_cases * 0.8 / draft.batch)
    held = profile.n_cases / 5
    patches = _patches(draft, profile)
    enough = ENOUGH_EPOCHS[dense] * epoch * patches
    room = draft.minutes * 60 * FILL - spent_s - REPORT_S - _baseline_seconds(profile, dense=dense)
    mirrors = tuple(a for a in "kji" if draft.augmentation.get(f"flip_{a}"))[:2]
    predict_s = timing.predict_s * 2 ** len(mirrors)
    if (held + n_locked) * predict_s > MIRROR_SHARE * room:
        mirrors, predict_s = (), timing.predict_s
    # Every member predicts its own fold and, in the end, the locked part.
    per_member = (held + n_locked) * predict_s + held * timing.score_s
    fixed = n_locked * timing.score_s
    members = int((room - fixed) / (enough * timing.step_s + per_member))
    members = min(5, max(1, members))
    train_s = max(room - fixed - members * per_member, 0.2 * room, 1.0)
    steps = int(train_s / members / timing.step_s)
    most = MOST_EPOCHS[dense] * epoch * patches
    reasons = dict(draft.reasons)
    passes = steps / (epoch * patches)
    schedule_reason = (
        f"{steps} steps a member: {train_s:.0f} s for training at {1000 * timing.step_s:.0f} ms a step, "
        f"about {passes:.0f} passes over the training images"
    )
    if steps > most:
        steps = most
        schedule_reason = (
            f"{steps} steps a member, {MOST_EPOCHS[dense]} passes over the training images: the budget allows more, "
            "but so few images would only be learned by heart"
        )
    reasons["schedule"] = f"{schedule_reason}. {reasons['schedule']}"
    if passes < LEAST_EPOCHS[dense] / 2:
        reasons["schedule"] += f". TOO FEW: about {LEAST_EPOCHS[dense]} passes are needed; give more --minutes"
    reasons["folds"] = (
        f"{members} of 5 folds: time for {members} members with about {ENOUGH_EPOCHS[dense]} passes each; "
        "each is judged on the fold it did not see"
        if members > 1
        else f"fold 0 alone: the budget holds one member with up to {ENOUGH_EPOCHS[dense]} passes, not two"
    )
    if mirrors:
        reasons["tta"] = f"mean of {2 ** len(mirrors)} mirrored copies along {', '.join(mirrors)}, which are safe here"
    train_forecast = members * steps * timing.step_s
    evaluate_s = members * per_member + fixed + _baseline_seconds(profile, dense=dense)
    seconds = {"before training": spent_s, "train": train_forecast, "evaluate": evaluate_s, "report": REPORT_S}
    return replace(
        draft,
        folds=tuple(range(members)),
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


def _baseline_seconds(profile: Profile, *, dense: bool) -> float:
    """Return what the simple baselines take, with room to spare; ``benchmarks/baselines.py`` measures it."""
    return 3 + (0.1 if dense else 0.004) * min(profile.n_cases, 60 if dense else 10_000)


def _patches(draft: Plan, profile: Profile) -> int:
    """Return how many patches cover a median image, at most 8: a pass over the images is that many draws each."""
    if draft.grid.mode == "fit":
        return 1
    ratio = math.prod(draft.grid.size) / math.prod(draft.patch)
    return int(min(8, max(1, round(ratio))))


def _shape(
    profile: Profile, needs: Needs, machine: Machine, dims: int, train_s: float, reasons: dict[str, str]
) -> tuple[Grid, dict[str, Option], tuple[int, int, int], int]:
    """Choose grid, network size, patch and batch together: they share the time."""
    if needs.dense and dims == 3:
        return _volume_shape(profile, machine, train_s, reasons)
    size, spacing = profile.median_size(), profile.median_spacing()
    extent = [n * s for n, s in zip(size, spacing, strict=True)]
    axes = (0, 1, 2) if dims == 3 else (1, 2)
    longest = max(axes, key=lambda a: extent[a])
    native = size[longest]
    cap = min(native, LONGEST[needs.dense] if dims == 2 else 96)
    least = min(cap, SHORTEST[needs.dense] if dims == 2 else 32)
    sides = [native] if native <= 64 else []
    sides += [s for s in (native, *SIDES) if least <= s <= cap and s not in sides]
    sides = sorted(set(sides), reverse=True)
    epochs = LEAST_EPOCHS[needs.dense]
    for side in sides or [native]:
        frame = _frame(extent, axes, side, _step(side, needs.dense))
        options = _options(frame, dims, needs)
        cost = _train_flops(frame, options, dims) / machine.gflops / 1e9
        if cost * profile.n_cases * epochs <= train_s or side == sides[-1]:
            break
    fit = "fit" if cost * profile.n_cases * epochs <= train_s else "do not fit"
    reasons["grid"] = (
        f"images scaled into {'×'.join(str(frame[a]) for a in axes)}: median {'×'.join(str(size[a]) for a in axes)}, "
        f"{epochs} passes over {profile.n_cases} of that size {fit} into {train_s:.0f} s at "
        f"{machine.gflops:.0f} GFLOP/s"
        + ("" if fit == "fit" else "; no smaller size is tried, small structures would be gone")
    )
    voxels = math.prod(frame)
    if needs.dense:
        batch = max(2, min(16, round(300_000 / voxels)))
    else:
        batch = 2 ** int(math.log2(min(128, max(8, profile.n_cases / 24))))
        batch = max(4, min(batch, 2 ** int(math.log2(max(4, 4_000_000 / voxels)))))
    reasons["patch"] = "the whole frame: it fits"
    reasons["batch"] = f"{batch}: about {math.ceil(profile.n_cases / batch)} steps a pass"
    return Grid("fit", frame, (1.0, 1.0, 1.0)), options, frame, batch


def _volume_shape(
    profile: Profile, machine: Machine, train_s: float, reasons: dict[str, str]
) -> tuple[Grid, dict[str, Option], tuple[int, int, int], int]:
    spacing = list(profile.median_spacing())
    upper = profile.size_percentile(75)
    coarser = 1.0
    limit = PATCH_VOXELS[machine.accelerator]
    # A volume of more than 24 patches is coarsened: in minutes a network never sees enough of its pieces.
    most = 24 * limit * max(1.0, train_s / 600)
    while math.prod(upper) / coarser**3 > most:
        coarser *= 1.1
    spacing = [s * coarser for s in spacing]
    size = [max(1, round(n / coarser)) for n in profile.median_size()]
    upper = tuple(max(1, round(n / coarser)) for n in upper)  # type: ignore[assignment]
    anisotropy = max(spacing) / min(spacing)
    reasons["grid"] = f"median spacing {_mm(profile.median_spacing())} mm" + (
        f", coarsened {coarser:.2f} times: a median volume of {'×'.join(map(str, profile.median_size()))} voxels is "
        f"too large for {train_s:.0f} s of training on this machine"
        if coarser > 1
        else ": no resampling of a typical volume"
    )
    patch = [float(n) for n in upper]
    while math.prod(patch) > limit:
        largest = max(range(3), key=lambda a: patch[a] * spacing[a])
        patch[largest] *= 0.95
    widths = [12, 24, 48, 96] if machine.accelerator != "cuda" else [24, 48, 96, 192]
    strides = _strides([round(n) for n in patch], spacing, len(widths) - 1)
    widths = widths[: len(strides) + 1]
    total = [math.prod(s[a] for s in strides) for a in range(3)]
    whole = all(p >= n * 0.999 for p, n in zip(patch, upper, strict=True))
    # Whole volumes are rounded up, so that nothing is cut off; pieces are rounded to the nearest.
    rounded = [max(t, (math.ceil if whole else round)(p / t) * t) for p, t in zip(patch, total, strict=True)]
    batch = max(2, min(8, round(4 * limit / max(math.prod(rounded), 1))))
    batch = min(batch, max(2, profile.n_cases))
    reasons["patch"] = (
        f"whole volumes: three of four fit into {'×'.join(map(str, rounded))}"
        if whole
        else f"{'×'.join(map(str, rounded))} of a median {'×'.join(map(str, size))}: the largest that trains at speed "
        f"({limit} voxels on {machine.accelerator})"
    )
    reasons["batch"] = f"{batch} patches of {math.prod(rounded)} voxels: small sets learn from many small steps"
    if anisotropy >= ANISOTROPIC:
        reasons["network"] = (
            reasons.get("network", "")
            + f"; slices {anisotropy:.1f} times thicker than wide are convolved within the slice first"
        )
    options: dict[str, Option] = {
        "widths": tuple(float(w) for w in widths),
        "strides": ",".join("x".join(map(str, s)) for s in strides),
        "residual": False,
    }
    grid = Grid("spacing", _triple(size), (spacing[0], spacing[1], spacing[2]))
    return grid, options, _triple(rounded), batch


def _strides(size: list[int], spacing: list[float], levels: int) -> list[tuple[int, ...]]:
    """Halve, level by level, every axis that is long enough and not much coarser than the finest."""
    size, spacing = list(size), list(spacing)
    strides: list[tuple[int, ...]] = []
    for _ in range(levels):
        finest = min(s for s, n in zip(spacing, size, strict=True) if n >= 2 * LEAST_SIDE) if max(size) >= 8 else 0
        step = tuple(2 if n >= 2 * LEAST_SIDE and s < 2 * finest else 1 for n, s in zip(size, spacing, strict=True))
        if max(step) == 1:
            break
        strides.append(step)
        size = [math.ceil(n / s) for n, s in zip(size, step, strict=True)]
        spacing = [a * s for a, s in zip(spacing, step, strict=True)]
    return strides or [(1, 1, 1)]


def _step(side: int, dense: bool) -> int:
    """Return the multiple that a frame's sides are rounded up to: the network's total stride."""
    if dense:
        return 16
    return 4 if side <= 64 else 8


def _frame(extent: list[float], axes: tuple[int, ...], side: int, step: int) -> tuple[int, int, int]:
    longest = max(extent[a] for a in axes)
    frame = [1, 1, 1]
    for axis in axes:
        frame[axis] = max(step, math.ceil(round(side * extent[axis] / longest, 3) / step) * step)
    return _triple(frame)


def _options(frame: tuple[int, int, int], dims: int, needs: Needs) -> dict[str, Option]:
    side = max(frame)
    if needs.dense:
        widths = (12.0, 24.0, 48.0, 96.0, 128.0)[: max(3, min(5, int(math.log2(min(frame[1:]) / LEAST_SIDE))))]
        return {"widths": widths, "residual": False}
    if dims == 3:
        return {"widths": (16.0, 32.0, 64.0) if side <= 40 else (8.0, 16.0, 32.0, 64.0), "depth": 14}
    if side <= 64:
        return {"widths": (32.0, 64.0, 128.0), "depth": 14}
    return {"widths": (16.0, 32.0, 64.0, 128.0, 128.0) if side > 112 else (16.0, 32.0, 64.0, 128.0), "depth": 18}


def _train_flops(frame: tuple[int, int, int], options: Mapping[str, Option], dims: int) -> float:
    """Return the operations of one training step per image: forward, and backward at twice that."""
    taps = 3**dims
    widths = options.get("widths", (32.0, 64.0, 128.0))
    if not isinstance(widths, tuple):
        return 0.0
    # Two convolutions a level, and in a decoder one more of double input; a ResNet's blocks count as they are.
    convolutions = (
        5.0
        if "residual" in options
        else 2 * max(1, round((int(str(options.get("depth", 14))) - 2) / (2 * len(widths))))
    )
    voxels, total = float(math.prod(frame)), 0.0
    for width in widths:
        total += convolutions * voxels * taps * width**2
        voxels /= 2**dims
    return 3 * 2 * total


def passes(draft: Plan, timing: Timing, profile: Profile) -> float:
    """Return how many passes over the training images the rehearsed step allows in the time planned for training."""
    epoch = math.ceil(profile.n_cases * 0.8 / draft.batch) * _patches(draft, profile)
    return TRAIN_SHARE * draft.minutes * 60 / timing.step_s / epoch


def surprise(draft: Plan, timing: Timing, profile: Profile, *, dense: bool) -> float:
    """Return how many times faster (over 1) or slower the machine is than the draft took it to be; 1 if it serves.

    The draft serves when the passes that the rehearsed step allows are neither too few to converge nor several times
    what is enough; between the two a finer or coarser grid would gain nothing.
    """
    found = passes(draft, timing, profile)
    if found < 0.6 * LEAST_EPOCHS[dense]:
        return found / LEAST_EPOCHS[dense]
    if found > 4 * ENOUGH_EPOCHS[dense]:
        return found / (2 * ENOUGH_EPOCHS[dense])
    return 1.0


def _tile(
    grid: Grid, patch: tuple[int, int, int], options: Mapping[str, Option], needs: Needs, machine: Machine
) -> tuple[int, int, int]:
    """Return the largest block predicted at once: in a sixth of the free memory, and never under the patch."""
    widths = options.get("widths", (32.0,))
    width = float(widths[0]) if isinstance(widths, tuple) else 32.0
    memory = (machine.device_memory_mib or machine.memory_mib) * 2**20 / 6
    voxels = memory / (BYTES_PER_VOXEL_CHANNEL * width + 8 * needs.outputs)
    if grid.mode == "fit":
        return patch
    side = int(voxels ** (1 / 3)) // 16 * 16
    return _triple([max(p, side) for p in patch])


def _normalisation(profile: Profile, needs: Needs, reasons: dict[str, str]) -> Normalisation:
    if profile.units and max(profile.units, key=lambda u: profile.units[u]) == "HU":
        summaries = [s for m in sorted(profile.modalities) for s in profile.body[m]]
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
    spread = [s for m in sorted(profile.modalities) for s in profile.intensity[m]]
    reasons["normalisation"] = (
        f"each image by its own mean and deviation: stored numbers run from {spread[0].minimum:g} to "
        f"{spread[0].maximum:g} and have no common unit"
    )
    return Normalisation("zscore")


def _augmentation(profile: Profile, needs: Needs, dims: int, grid: Grid, reasons: dict[str, str]) -> dict[str, float]:
    few = needs.dense and profile.n_patients < FEW_PATIENTS
    strengths = dict(STRONG if few else MILD)
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
        "turned, scaled, shifted, contrast, brightness and noise as scanners and positions vary, "
        + (f"strongly, for {profile.n_patients} patients show few of the ways to vary; " if few else "mildly; ")
        + (f"mirrored along {', '.join(safe)}" if safe else "no mirror image")
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


def smaller(draft: Plan) -> Plan:
    """Return the plan after memory ran out: half the batch, then smaller patches and tiles.

    Raises:
        UsageError: Nothing is left to shrink.
    """
    reasons = dict(draft.reasons)
    if draft.batch > 2:
        reasons["batch"] = f"{draft.batch // 2}: {draft.batch} did not fit into memory"
        tile = _triple([max(p, t // 2) for p, t in zip(draft.patch, draft.tile, strict=True)])
        return replace(draft, batch=draft.batch // 2, tile=tile, reasons=reasons)
    if draft.grid.mode == "spacing" and math.prod(draft.patch) > 4096:
        patch = _triple([max(8, p // 2 // 8 * 8) if p >= 16 else p for p in draft.patch])
        reasons["patch"] = f"{'×'.join(map(str, patch))}: {'×'.join(map(str, draft.patch))} did not fit into memory"
        return replace(draft, patch=patch, tile=patch, reasons=reasons)
    raise UsageError(
        "Memory ran out and the plan cannot be made smaller", remedy="close other programs or use a larger machine"
    )


def overridden(draft: Plan, settings: Mapping[str, str]) -> Plan:
    """Return the plan with ``--set key=value`` put in.

    Args:
        draft: Any plan.
        settings: Keys of the plan, dotted for its parts: ``schedule.rate``, ``network_options.residual``; values as
            JSON, or as text where they are not.

    Raises:
        UsageError: An unknown key; the message names the nearest.
    """
    payload: dict[str, Any] = to_json(draft)
    for key, text in settings.items():
        *parents, last = key.split(".")
        place = payload
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                raise UsageError(f"No part {parent!r} in the plan", where=f"--set {key}", expected=", ".join(payload))
            place = place[parent]
        place[last] = _fitting(place.get(last), text, key)
        payload["reasons"][key.split(".")[0]] = f"set by the user: {key} = {text}"
    return from_json(Plan, payload, "--set")


def _fitting(old: Any, text: str, key: str) -> Any:
    """Return the value in ``text``, of the kind that stands in the plan; a new key takes any.

    Raises:
        UsageError: Another kind.
    """
    if isinstance(old, str):
        return text
    try:
        new = json.loads(text)
    except json.JSONDecodeError:
        new = text
    number = isinstance(new, int | float) and not isinstance(new, bool)
    wanted = {
        bool: ("true or false", isinstance(new, bool)),
        int: ("a whole number", number and isinstance(new, int)),
        float: ("a number", number),
        dict: ("an object in braces", isinstance(new, dict)),
    }
    if isinstance(old, list):
        # The number of levels of a network, of folds and of mirrors is free; all other lists have their length.
        free = key.split(".", maxsplit=1)[0] in {"network_options", "folds", "tta"}
        fits = isinstance(new, list) and (free or len(new) == len(old))
        expected = "a list in brackets" if free else f"a list of {len(old)} in brackets"
    else:
        expected, fits = wanted.get(type(old), ("", True))
    if not fits:
        raise UsageError(f"Value {text}", expected=expected, where=f"--set {key}")
    return new


def _triple(values: "list[int] | list[float] | tuple[int, ...]") -> tuple[int, int, int]:
    k, j, i = (int(v) for v in values)
    return k, j, i


def _mm(values: tuple[float, ...]) -> str:
    return " × ".join(f"{v:.3g}" for v in values)

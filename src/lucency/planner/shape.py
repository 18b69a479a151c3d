"""Grid, network size, patch and batch: chosen together, for they share the time."""

import math
from collections.abc import Mapping

from lucency.plan import Grid, Machine, Needs, Option
from lucency.planner.boxes import box_shape
from lucency.planner.pace import LEAST_EPOCHS, compared_members, wanted_passes
from lucency.planner.size import USUAL, sized
from lucency.profile import Profile

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

#: Sides below which an image is not scaled down for speed, by ``dense``: what is small in it would be gone.
SHORTEST = {True: 128, False: 64}

#: A longer side of an image with masks must leave room for so many times the least passes, by a count of operations:
#: on 280 ultrasound images 26 passes at 400 pixels (20 minutes) gave a Dice of .957 out of fold, 29 passes at 256
#: (10 minutes) .965 (``benchmarks/fit_sets.py hc18``).
FINE_SIDE, FINE_PASSES = 256, 6

#: Bytes that predicting one voxel takes per channel of the finest level: activations, skip and normalisation copies.
BYTES_PER_VOXEL_CHANNEL = 24


def choose_shape(
    profile: Profile, needs: Needs, machine: Machine, dims: int, train_s: float, reasons: dict[str, str]
) -> tuple[Grid, dict[str, Option], tuple[int, int, int], int]:
    """Choose grid, network size, patch and batch together: they share the time."""
    if needs.boxes:
        return box_shape(profile, machine, dims, train_s, reasons)
    if needs.dense and dims == 3 and not needs.frame:
        return _volume_shape(profile, machine, train_s, reasons)
    if needs.sequence and dims == 3 and not needs.frame:
        return sequence_shape(profile, needs, machine, train_s, reasons)
    size, spacing = profile.median_size(), profile.median_spacing()
    extent = [n * s for n, s in zip(size, spacing, strict=True)]
    to_scale = needs.sized and profile.spacing_known == profile.n_cases
    if to_scale:
        # A canvas for nearly all; what is larger loses its border.
        extent = [e.percentile(98) for e in profile.extents]
    axes = (0, 1, 2) if dims == 3 else (1, 2)
    longest = max(axes, key=lambda a: extent[a])
    native = size[longest]
    cap = min(native, LONGEST[needs.dense] if dims == 2 else 96)
    least = min(cap, needs.least_side or (SHORTEST[needs.dense] if dims == 2 else 32))
    sides = [native] if native <= 64 else []
    sides += [s for s in (native, *SIDES) if least <= s <= cap and s not in sides]
    sides = [min(native, needs.frame)] if needs.frame else sorted(set(sides), reverse=True)
    # Passes of a member are over four of five folds.
    several = math.ceil(0.8 * wanted_passes(needs.least_members, dense=needs.dense)) if needs.least_members > 1 else 0
    epochs = needs.passes or max(LEAST_EPOCHS[needs.dense], several)
    for side in sides or [native]:
        frame = _frame(extent, axes, side, _step(side, needs.dense))
        options = _options(frame, dims, needs)
        cost = _train_flops(frame, options, dims) / machine.gflops / 1e9
        room = FINE_PASSES if needs.dense and side > FINE_SIDE else 1
        if room * cost * profile.n_cases * epochs <= train_s or side == sides[-1]:
            break
    fit = "fit" if cost * profile.n_cases * epochs <= train_s else "do not fit"
    reasons["grid"] = (
        f"images scaled into {'×'.join(str(frame[a]) for a in axes)}: median {'×'.join(str(size[a]) for a in axes)}, "
        f"{epochs} passes over {profile.n_cases} of that size {fit} into {train_s:.0f} s at "
        f"{machine.gflops:.0f} GFLOP/s"
        + ("" if fit == "fit" or needs.frame else "; no smaller size is tried, small structures would be gone")
        + ("; no larger size, for generated images have this one" if needs.frame else "")
    )
    if not (needs.narrow or needs.passes):
        options = sized(
            options,
            profile.n_cases,
            lambda o: train_s * machine.gflops * 1e9 / _train_flops(frame, o, dims),
            reasons,
            dense=needs.dense,
        )
    voxels = math.prod(frame)
    if needs.dense:
        batch = max(2, min(16, round(300_000 / voxels)))
    else:
        batch = 2 ** int(math.log2(min(128, max(8, profile.n_cases / 24))))
        batch = max(4, min(max(batch, needs.batch), 2 ** int(math.log2(max(4, 4_000_000 / voxels)))))
    reasons["patch"] = "the whole frame: it fits"
    reasons["batch"] = f"{batch}: about {math.ceil(profile.n_cases / batch)} steps a pass"
    if to_scale:
        step = extent[longest] / side
        reasons["grid"] = (
            f"images at {step:.3g} mm on a canvas of {'×'.join(str(frame[a]) for a in axes)}, which holds 98 % of them "
            f"whole: the size of things may be what is asked for. {reasons['grid']}"
        )
        return Grid("canvas", frame, (step, step, step)), options, frame, batch
    return Grid("fit", frame, (1.0, 1.0, 1.0)), options, frame, batch


#: Frames of a sequence: more cost time in proportion, and neighbours of a clip or stack say nearly the same.
MOST_FRAMES, LEAST_FRAMES = 32, 8

#: Encoder of a frame: narrow, for it runs on every frame of every sequence, and sets of sequences are small.
SEQUENCE_WIDTHS: Mapping[str, Option] = {"widths": (8.0, 16.0, 32.0, 64.0), "depth": 10}

#: Share of the frames that a training step encodes; the others are left out at random.
KEPT_FRAMES = 0.5


def sequence_shape(
    profile: Profile, needs: Needs, machine: Machine, train_s: float, reasons: dict[str, str]
) -> tuple[Grid, dict[str, Option], tuple[int, int, int], int]:
    """Choose how many frames of which size a network over sequences sees; frames are given up last."""
    size, spacing = profile.median_size(), profile.median_spacing()
    extent = [n * s for n, s in zip(size, spacing, strict=True)]
    longest = max((1, 2), key=lambda a: extent[a])
    cap = min(size[longest], LONGEST[False])
    least = min(cap, SHORTEST[False])
    long = profile.size_percentile(95)[0]
    # The controls train for as long, one after the other.
    train_s /= 1 + len(needs.controls)
    counts = sorted({min(long, n) for n in (MOST_FRAMES, MOST_FRAMES // 2, LEAST_FRAMES)}, reverse=True)
    sides = sorted({s for s in (cap, *SIDES) if least <= s <= cap}, reverse=True)
    tried = [(n, s) for n in counts for s in sides]
    # With controls beside it a network needs patients to be compared on, and so several members.
    members = compared_members(profile) if needs.controls else 1
    epochs = LEAST_EPOCHS[False] * max(1, round(0.8 * members))
    for n_frames, side in tried:
        flat = _frame(extent, (1, 2), side, _step(side, dense=False))
        frame = (n_frames, flat[1], flat[2])
        options = dict(SEQUENCE_WIDTHS)
        cost = KEPT_FRAMES * _train_flops(frame, options, 2) / machine.gflops / 1e9
        fits = cost * profile.n_cases * epochs <= train_s
        if fits:
            break
    # The usual one is narrow already.
    options = sized(
        options,
        profile.n_cases,
        lambda o: train_s * machine.gflops * 1e9 / (KEPT_FRAMES * _train_flops(frame, o, 2)),
        reasons,
        dense=False,
        least=USUAL,
    )
    few = "" if n_frames == long else f", evenly taken from up to {max(profile.sizes[0], default=long)}"
    reasons["grid"] = (
        f"{n_frames} frames of {frame[1]}×{frame[2]}{few}: memory and time grow with every frame; {epochs} passes over "
        f"{profile.n_cases} sequences {'fit' if fits else 'do not fit'} into {train_s:.0f} s at "
        f"{machine.gflops:.0f} GFLOP/s"
    )
    batch = 2 ** int(math.log2(min(32, max(4, profile.n_cases / 24))))
    batch = max(2, min(batch, 2 ** int(math.log2(max(2, 2_000_000 / math.prod(frame))))))
    reasons["patch"] = "the whole sequence: shorter ones are padded with frames that the network passes over"
    reasons["batch"] = f"{batch}: about {math.ceil(profile.n_cases / batch)} steps a pass"
    return Grid("frames", frame), options, frame, batch


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
    strides = strides_of([round(n) for n in patch], spacing, len(widths) - 1)
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
    options = sized(
        options,
        profile.n_cases,
        lambda o: train_s * machine.gflops * 1e9 / _train_flops(triple(rounded), o, 3),
        reasons,
        dense=True,
    )
    grid = Grid("spacing", triple(size), (spacing[0], spacing[1], spacing[2]))
    return grid, options, triple(rounded), batch


def strides_of(size: list[int], spacing: list[float], levels: int) -> list[tuple[int, ...]]:
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
    return triple(frame)


def _options(frame: tuple[int, int, int], dims: int, needs: Needs) -> dict[str, Option]:
    side = max(frame)
    if needs.dense:
        widths = (12.0, 24.0, 48.0, 96.0, 128.0)[: max(3, min(5, int(math.log2(min(frame[1:]) / LEAST_SIDE))))]
        return {"widths": widths, "residual": False}
    if needs.narrow:
        return {"widths": (8.0, 16.0, 32.0) if side <= 40 else (8.0, 16.0, 32.0, 48.0), "depth": 8}
    if dims == 3:
        return {"widths": (16.0, 32.0, 64.0) if side <= 40 else (8.0, 16.0, 32.0, 64.0), "depth": 14}
    if side <= 40 and needs.passes:
        # Many passes need a network that is quick and sees the whole image.
        return {"widths": (16.0, 32.0, 64.0, 128.0), "depth": 10}
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


def largest_tile(
    grid: Grid, patch: tuple[int, int, int], options: Mapping[str, Option], needs: Needs, machine: Machine
) -> tuple[int, int, int]:
    """Return the largest block predicted at once: in a sixth of the free memory, and never under the patch."""
    widths = options.get("widths", (32.0,))
    width = float(widths[0]) if isinstance(widths, tuple) else 32.0
    memory = (machine.device_memory_mib or machine.memory_mib) * 2**20 / 6
    voxels = memory / (BYTES_PER_VOXEL_CHANNEL * width + 8 * needs.outputs)
    if grid.mode != "spacing":
        return patch
    side = int(voxels ** (1 / 3)) // 16 * 16
    return triple([max(p, side) for p in patch])


def triple(values: "list[int] | list[float] | tuple[int, ...]") -> tuple[int, int, int]:
    """Return three whole numbers, as (k, j, i)."""
    k, j, i = (int(v) for v in values)
    return k, j, i


def _mm(values: tuple[float, ...]) -> str:
    return " × ".join(f"{v:.3g}" for v in values)

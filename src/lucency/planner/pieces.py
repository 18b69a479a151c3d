"""Volumes that are looked at in pieces: what is small in them would be gone in one frame of the whole."""

import math

import numpy as np

from lucency.plan import Grid, Option
from lucency.profile import Profile
from lucency.profile.boxes import shapes_of

#: Longest side of a volume that is looked at whole, in voxels, and of a piece.
WHOLE = 96

#: Voxels along the shortest side of nine boxes in ten: two cells of the finest map.
SEEN = 8

#: A box longer than this share of a piece is cut in all pieces that hold a part of it: they overlap by half.
WITHIN = 0.5

#: Voxels of a piece: two of them make a step of about a second on two cores.
PIECE = 270_000

#: Pieces of a median volume in ten minutes of training; a volume of more is coarsened, or a network never sees enough.
PIECES = 24

#: Pieces of a step.
BATCH = 2


def in_pieces(profile: Profile, dims: int) -> bool:
    """Tell whether things are so small that a volume scaled into one frame would not show them."""
    return dims == 3 and bool(profile.box_shapes) and max(_grid(profile)[0]) > WHOLE


def pieces_shape(
    profile: Profile, train_s: float, reasons: dict[str, str]
) -> tuple[Grid, dict[str, Option], tuple[int, int, int], int]:
    """Choose spacing, pyramid, piece and batch for small things in volumes.

    Args:
        profile: With boxes in volumes.
        train_s: Seconds for training.
        reasons: Gets a reason for each choice.
    """
    size, spacing = _grid(profile)
    small = _small_and_large(profile)[0]
    coarser = 1.0
    while math.prod(size) > PIECE * PIECES * max(1.0, train_s / 600):
        coarser *= 1.1
        size, spacing = _grid(profile, coarser)
    shown = " × ".join(f"{s:.3g}" for s in spacing)
    reasons["grid"] = (
        f"{shown} mm a voxel: there nine boxes in ten are at least {small / min(spacing):.1f} pixels wide "
        f"({SEEN} are wanted)"
        + (f", coarsened {coarser:.2f} times, for larger volumes take longer than {train_s:.0f} s" * (coarser > 1))
    )
    piece = [float(min(n, WHOLE)) for n in size]
    while math.prod(piece) > PIECE:
        piece[max(range(3), key=lambda a: piece[a] * spacing[a])] *= 0.95
    options = volume_options([round(n) for n in piece], spacing)
    total = [math.prod(int(s.split("x")[a]) for s in str(options["strides"]).split(",")) for a in range(3)]
    k, j, i = (max(t, round(n / t) * t) for n, t in zip(piece, total, strict=True))
    reasons["patch"] = f"pieces of {k}×{j}×{i}, half of them around a box; in prediction they overlap by half"
    reasons["batch"] = f"{BATCH} pieces: small sets learn from many small steps"
    reasons["placed"] = "the head is not told where on the image it looks: it sees pieces"
    grid = Grid("spacing", (size[0], size[1], size[2]), (spacing[0], spacing[1], spacing[2]))
    return grid, options, (k, j, i), BATCH


def volume_options(
    frame: "list[int] | tuple[int, ...]", spacing: "list[float] | tuple[float, ...]"
) -> dict[str, Option]:
    """Return the pyramid for a frame or a piece of so many voxels."""
    steps = halvings(frame, spacing)
    return {
        "widths": (16.0, 32.0, 64.0, 96.0)[: len(steps)],
        "strides": ",".join("x".join(map(str, s)) for s in steps),
        "finest": 1,
        "top": 48,
    }


def halvings(frame: "list[int] | tuple[int, ...]", spacing: "list[float] | tuple[float, ...]") -> list[tuple[int, ...]]:
    """Return up to four steps, each halving the axes that are still long and not much coarser than the finest."""
    size, width = list(frame), list(spacing)
    steps: list[tuple[int, ...]] = []
    for _ in range(4):
        finest = min((w for w, n in zip(width, size, strict=True) if n >= 8), default=0.0)
        step = tuple(2 if n >= 8 and w < 2 * finest else 1 for n, w in zip(size, width, strict=True))
        if max(step) == 1 and steps:
            break
        steps.append(step)
        size = [-(-n // s) for n, s in zip(size, step, strict=True)]
        width = [w * s for w, s in zip(width, step, strict=True)]
    return steps


def _small_and_large(profile: Profile) -> tuple[float, float]:
    """Return in mm the shortest side that nine boxes in ten reach, and the longest that nine in ten stay under."""
    sides, counts = shapes_of(profile)
    extent = max(n * s for n, s in zip(profile.median_size(), profile.median_spacing(), strict=True))
    return extent * tenth(sides.min(axis=1), counts), -extent * tenth(-sides.max(axis=1), counts)


def _grid(profile: Profile, coarser: float = 1.0) -> tuple[list[int], list[float]]:
    """Return size and spacing on which small boxes are wide enough and large ones lie within a piece."""
    small, large = _small_and_large(profile)
    native = profile.median_spacing()
    least = coarser * max(small / SEEN, large / (WITHIN * WHOLE), min(native))
    # Never finer than the scanner was, and thick slices are left as they are.
    spacing = [max(s, least) for s in native]
    return [max(1, round(n * s / w)) for n, s, w in zip(profile.median_size(), native, spacing, strict=True)], spacing


def tenth(values: np.ndarray, counts: np.ndarray) -> float:
    """Return the value that nine in ten reach."""
    if not values.size:
        return 0.1
    order = np.argsort(values)
    share = np.cumsum(counts[order]) / counts.sum()
    return float(values[order][np.searchsorted(share, 0.1)])

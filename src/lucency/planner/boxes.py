"""How boxes are looked for: the grid that shows the small ones, the head that the set can teach, anchors that fit."""

import math

import numpy as np

from lucency.boxes import overlaps
from lucency.mirror import SAFE
from lucency.plan import Grid, Machine, Option
from lucency.planner.pieces import WHOLE, in_pieces, pieces_shape, tenth, volume_options
from lucency.profile import Profile
from lucency.profile.boxes import shapes_of
from lucency.profile.sums import Summary

#: Nine boxes in ten should have this many pixels along their shorter side: four cells of the finest map.
SEEN = 16

#: Long sides that are tried, in pixels.
SIDES = (640, 576, 512, 448, 384, 320, 256, 224, 192, 160, 128, 96, 80, 64, 48)

#: Longest side of an image, and the fewest pixels it is scaled down to.
LONGEST, SHORTEST = 640, 128

#: Images from which on "never two on one image" is a rule, and the share of images that must have one.
LEAST_SINGLE, NEARLY_ALL = 15, 0.9

#: Passes over the training images that detection from scratch needs at the least.
LEAST_PASSES = 25

#: How much finer than wanted images may be, and the passes, of all members together, that there must be time for then.
#: Blood cells at 128 pixels after 140 passes on two cores had an mAP of .880 out of fold, at 224 after 43 on one .908.
FINER, AMPLE_PASSES = 1.5, 150

#: Images under which a heat map of centres is learned instead of anchors: see docs/decisions/0015-boxes.md.
FEW_IMAGES = 300

#: Anchors fitted to the shapes.
ANCHORS = 9

#: Operations of a training step per pixel of a 2-D image, forward and back, in thousands: widths of 2-D below.
THOUSANDS_PER_PIXEL = 120.0

#: Voxels of a batch of volumes and of images: what keeps a step near a second on two cores.
BATCH_PIXELS = {2: 640_000, 3: 400_000}

#: A class has a place of its own where its boxes spread by less than this share of the image along every axis; spread
#: over all of it they would by 0.29.
PLACED = 0.15

#: A class lies on one side when the mean place of its boxes is this far from the middle, as a share of the image.
ASIDE = 0.08


def box_shape(
    profile: Profile, machine: Machine, dims: int, train_s: float, reasons: dict[str, str]
) -> tuple[Grid, dict[str, Option], tuple[int, int, int], int]:
    """Choose grid, pyramid, patch and batch for boxes.

    Args:
        profile: With boxes.
        machine: As measured.
        dims: 2 or 3.
        train_s: Seconds for training.
        reasons: Gets a reason for each choice.
    """
    if in_pieces(profile, dims):
        return pieces_shape(profile, train_s, reasons)
    size, spacing = profile.median_size(), profile.median_spacing()
    extent = [n * s for n, s in zip(size, spacing, strict=True)]
    axes = (0, 1, 2) if dims == 3 else (1, 2)
    longest = max(axes, key=lambda a: extent[a])
    sides, counts = shapes_of(profile)
    small = tenth(sides[:, list(axes)].min(axis=1), counts)
    wanted = SEEN / small
    most = WHOLE if dims == 3 else LONGEST
    least = 48 if dims == 3 else SHORTEST
    top = min(size[longest], most)
    tried = sorted({s for s in (top, *SIDES) if min(least, top) <= s <= top}, reverse=True)
    enough = max(1.05 * wanted, least)
    tried = [s for s in tried if s <= max(FINER * wanted, least)] or tried[-1:]
    step = 32 if dims == 2 else 8
    for side in tried:
        frame = _frame(extent, axes, side, step)
        cost = THOUSANDS_PER_PIXEL * 1e3 * math.prod(frame) / machine.gflops / 1e9
        passes = LEAST_PASSES if side <= enough else AMPLE_PASSES
        if cost * profile.n_cases * passes <= train_s or side == tried[-1]:
            break
    shown = "×".join(str(frame[a]) for a in axes)
    reasons["grid"] = (
        f"images scaled into {shown}: there nine boxes in ten are at least {small * side:.0f} pixels wide "
        f"({SEEN} are wanted), and {passes} passes over {profile.n_cases} images are affordable in "
        f"{train_s:.0f} s at {machine.gflops:.0f} GFLOP/s"
    )
    batch = 2 ** int(math.log2(max(2, min(8, BATCH_PIXELS[dims] / math.prod(frame), profile.n_cases / 3))))
    reasons["patch"] = "the whole frame: boxes are judged by what is around them"
    reasons["batch"] = f"{batch}: about {math.ceil(profile.n_cases / batch)} steps a pass"
    options: dict[str, Option] = {
        "widths": (24.0, 48.0, 96.0, 128.0),
        "strides": "2x2,2x2,2x2,2x2",
        "finest": 1,
        "top": 64,
    }
    return Grid("fit", frame), volume_options(frame, (1.0, 1.0, 1.0)) if dims == 3 else options, frame, batch


def _frame(extent: list[float], axes: tuple[int, ...], side: int, step: int) -> tuple[int, int, int]:
    longest = max(extent[a] for a in axes)
    frame = [1, 1, 1]
    for axis in axes:
        frame[axis] = max(step, math.ceil(round(side * extent[axis] / longest, 3) / step) * step)
    k, j, i = frame
    return k, j, i


def fitted_anchors(profile: Profile, dims: int, n: int = ANCHORS) -> np.ndarray:
    """Return the shapes of anchors, (m, dims) as shares of the longest side, small to large, m <= n.

    K-means on the shapes with 1 - overlap as distance, begun at even steps of size, so that nothing is random.

    Source:
        Redmon 2017, section 2 (doi 10.1109/CVPR.2017.690).
    """
    sides, counts = shapes_of(profile)
    sides = sides[:, 3 - dims :]
    order = np.argsort(sides.prod(axis=1), kind="stable")
    sides, counts = sides[order], counts[order]
    share = (np.cumsum(counts) - counts / 2) / counts.sum()
    anchors = np.unique(sides[np.searchsorted(share, (np.arange(n) + 0.5) / n).clip(max=len(sides) - 1)], axis=0)
    boxes = np.concatenate([-sides / 2, sides / 2], axis=1)
    for _ in range(50):
        own = overlaps(boxes, np.concatenate([-anchors / 2, anchors / 2], axis=1)).argmax(axis=1)
        moved = np.stack(
            [
                np.average(sides[own == k], axis=0, weights=counts[own == k]) if (own == k).any() else anchors[k]
                for k in range(len(anchors))
            ]
        )
        if np.allclose(moved, anchors):
            break
        anchors = moved
    return np.asarray(anchors[np.argsort(anchors.prod(axis=1), kind="stable")])


def box_augmentation(
    strengths: dict[str, float], profile: Profile, reasons: dict[str, str], dims: int
) -> dict[str, float]:
    """Return the strengths that suit boxes: no turns, for a turned box is no box along the axes; safe mirrors only."""
    kept = {k: v for k, v in strengths.items() if k not in ("rotate", "tilt")}
    kept |= {"scale": 0.3, "shift": 0.1}
    aside = {a: sorted(c for c, p in profile.box_places.items() if _off(p, n)) for n, a in enumerate("kji")}
    told = []
    for axis in "kji"[3 - dims :]:
        if aside[axis] and f"flip_{axis}" in kept:
            del kept[f"flip_{axis}"]
        if aside[axis]:
            told.append(f"not mirrored along {axis}, where {', '.join(aside[axis][:3])} lie on one side")
        elif profile.mirror_separability(axis) > SAFE and _many_all_over(profile, "kji".index(axis)):
            kept[f"flip_{axis}"] = 0.5
            told.append(f"mirrored along {axis}: boxes lie all over the image")
    reasons["augmentation"] = "; ".join(
        [
            "scaled by a third and shifted together with their boxes, not turned (boxes lie along the axes)",
            *told,
            "contrast, brightness and noise as scanners vary",
        ]
    )
    return kept


def _off(places: tuple[Summary, ...], axis: int) -> bool:
    return bool(abs(places[axis].mean - 0.5) > ASIDE)


def _many_all_over(profile: Profile, axis: int) -> bool:
    """Tell whether every class lies anywhere along an axis: its places spread as evenly as chance would have it."""
    # An even spread over the image has a deviation of 0.29.
    return all(bool(p[axis].std > 0.2) for p in profile.box_places.values())


def has_places(profile: Profile, dims: int) -> bool:
    """Tell whether a class lies at a place of its own on the images, as organs do."""
    lying = (all(p[a].std < PLACED for a in range(3 - dims, 3)) for p in profile.box_places.values())
    # In a piece of a volume nobody knows where it was cut.
    return any(lying) and not in_pieces(profile, dims)


def single_classes(profile: Profile) -> tuple[str, ...]:
    """Return the classes of which nearly every image has a box at about one place and none has two, as of an organ.

    One lesion on every image is chance: a second one elsewhere would be lost.
    """
    if profile.n_cases < LEAST_SINGLE:
        return ()
    images = profile.class_counts
    return tuple(
        label
        for label, places in sorted(profile.box_places.items())
        if places[0].count == images.get(label, 0) >= NEARLY_ALL * profile.n_cases
        and all(p.std < PLACED for p in places)
        and "," not in label
    )


def typical_box(profile: Profile, dims: int) -> tuple[float, ...]:
    """Return the sides of a typical box (geometric mean), as shares of the image's longest side."""
    sides, counts = shapes_of(profile)
    means = [float(np.exp(np.average(np.log(sides[:, a]), weights=counts))) for a in range(3 - dims, 3)]
    return tuple(round(m, 5) for m in means)

"""Images and masks on the network's grid, and the way back."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from lucency.errors import DataError
from lucency.image import Image, Orientation, orientation_of
from lucency.losses import IGNORE
from lucency.plan import Plan
from lucency.prepare.place import Place, Prepared, triple
from lucency.prepare.tilt import lean_back, set_upright, upright_of, whole

#: Percentiles between which an image's own mean and deviation are taken; outliers (metal, hot pixels) stay out.
ROBUST = (0.5, 99.5)

#: Normalised values beyond this carry no contrast and would spoil half precision.
CLIP = 10.0

#: Voxels read for an image's own percentiles; more changes them by less than 1 %.
SAMPLE = 200_000


def place_of(image: Image, plan: Plan) -> Place:
    """Decide where the image comes to lie on the plan's grid."""
    if plan.grid.mode == "frames":
        return _frames_of(image, plan)
    affine, lean = upright_of(image)
    bare = Place(Orientation((0, 1, 2), (False, False, False)), image.size, image.size, (0, 0, 0), image.size, lean)
    turn = orientation_of(affine) if plan.dims == 3 else bare.turn
    size = [bare.upright_size[a] for a in turn.order]
    spacing = [float(np.linalg.norm(affine[:3, a])) for a in turn.order]
    if plan.grid.mode == "spacing":
        target = plan.grid.spacing
        scaled = [whole(n * s / t) for n, s, t in zip(size, spacing, target, strict=True)]
        if plan.dims == 2:
            scaled[0] = 1
        frame, start = scaled, [0, 0, 0]
    elif plan.grid.mode == "canvas":
        frame, axes = list(plan.grid.size), range(3 - plan.dims, 3)
        scaled = [whole(size[a] * spacing[a] / plan.grid.spacing[a]) if a in axes else 1 for a in range(3)]
        # Negative where the image is larger than the canvas: its border is cut.
        start = [(f - s) // 2 for f, s in zip(frame, scaled, strict=True)]
    else:
        frame = list(plan.grid.size)
        axes = range(3) if plan.dims == 3 else range(1, 3)
        step = max(size[a] * spacing[a] / frame[a] for a in axes)
        scaled = [min(frame[a], whole(size[a] * spacing[a] / step)) if a in axes else 1 for a in range(3)]
        start = [(f - s) // 2 for f, s in zip(frame, scaled, strict=True)]
    return Place(turn, image.size, triple(scaled), triple(start), triple(frame), lean)


def _frames_of(image: Image, plan: Plan) -> Place:
    """Place every slice or frame as it was taken; each has a plane of its own, and none is made of two others."""
    columns = image.affine[:3, :3]
    main = np.abs(columns).argmax(axis=0)
    # Slices run the same way in all scans; the frames of a clip run forward.
    back = [bool(columns[main[a], a] < 0) for a in range(3)] if image.k_axis == "space" else [False] * 3
    turn = Orientation((0, 1, 2), (back[0], back[1], back[2]))
    height, width = plan.grid.size[1:]
    extent = [image.size[a] * float(np.linalg.norm(columns[:, a])) for a in (1, 2)]
    step = max(extent[0] / height, extent[1] / width)
    flat = [min(n, whole(e / step)) for n, e in zip((height, width), extent, strict=True)]
    kept = min(image.size[0], plan.grid.size[0])
    start = (0, (height - flat[0]) // 2, (width - flat[1]) // 2)
    return Place(turn, image.size, triple([kept, *flat]), start, triple([kept, height, width]))


def _prepared_frames(array: np.ndarray, place: Place, plan: Plan) -> torch.Tensor:
    """Return the frames that are kept, (C, K, J, I), evenly taken from the first to the last."""
    picked = np.linspace(0, array.shape[1] - 1, place.scaled[0]).round().astype(int)
    # Taken before anything is made of them: a long clip needs no more memory than a short one.
    normal = normalise(np.ascontiguousarray(array[:, picked]).astype(np.float32), plan)
    return resize(torch.from_numpy(np.ascontiguousarray(place.turn.apply(normal))), place.scaled)


def prepare_image(images: "Sequence[Image | None]", plan: Plan) -> Prepared:
    """Bring the images of a case (one per modality, on one grid) onto the network's grid.

    Args:
        images: In the plan's order; None where a modality is missing, and then its channels are zero throughout.
        plan: Grid, normalisation and channels.

    Raises:
        DataError: Channel count or grid does not fit the plan.
    """
    given = [image for image in images if image is not None]
    first = given[0]
    for other in given[1:]:
        if not first.same_grid(other):
            raise DataError(
                f"Modalities of one case on different grids ({first.size} and {other.size})",
                expected="images of one case registered and resampled to one grid",
            )
    # What is missing has the channels that the plan's stem has; a plan without stems misses nothing.
    sizes = [plan.stems[n] if image is None else image.channels for n, image in enumerate(images)]
    arrays = [
        np.zeros((n, *first.size), first.array.dtype) if image is None else image.array
        for image, n in zip(images, sizes, strict=True)
    ]
    array = np.concatenate(arrays, axis=0) if len(arrays) > 1 else first.array
    if array.shape[0] != plan.channels:
        raise DataError(
            f"{array.shape[0]} channels", expected=f"{plan.channels}, as in training", remedy="convert the image first"
        )
    if plan.dims == 2 and first.size[0] != 1:
        raise DataError(
            f"A volume of {first.size[0]} slices",
            expected="single images, as in training",
            remedy="give single images, or use a model trained on volumes",
        )
    sequence = plan.grid.mode == "frames"
    if plan.dims == 3 and first.size[0] == 1 and min(plan.patch) > 1 and not sequence:
        raise DataError(
            "A single image",
            expected="volumes, as in training",
            remedy="give the whole series, or use a model trained on single images",
        )
    place = place_of(first, plan)
    if sequence:
        scaled = _prepared_frames(array, place, plan)
    else:
        normal = set_upright(normalise(array.astype(np.float32), plan), place)
        scaled = resize(torch.from_numpy(np.ascontiguousarray(place.turn.apply(normal))), place.scaled)
    framed = _framed(scaled, place, edge=True).numpy()
    at = 0
    for image, n in zip(images, sizes, strict=True):
        if image is None:
            framed[at : at + n] = 0.0
        at += n
    return Prepared(framed, place, first.affine)


def prepare_labels(mask: Image, plan: Plan) -> np.ndarray:
    """Bring a mask onto the network's grid.

    Returns:
        (K, J, I) int16: 0 background, 1..L in the order of ``plan.labels``, IGNORE where not annotated.
    """
    place = place_of(mask, plan)
    index = np.full(mask.size, 0, dtype=np.int16)
    for number, value in enumerate(sorted(plan.labels), start=1):
        index[mask.array[0] == value] = number
    if plan.ignore is not None:
        index[mask.array[0] == plan.ignore] = IGNORE
    turned = np.ascontiguousarray(place.turn.apply(set_upright(index[None], place)[0]))
    if turned.shape == place.scaled:
        scaled = torch.from_numpy(turned)
    elif len(plan.labels) <= 8:
        # Each label's share of the new voxel decides: smoother than the nearest voxel, and unbiased.
        values = [IGNORE, *range(len(plan.labels) + 1)] if plan.ignore is not None else range(len(plan.labels) + 1)
        shares = [_share(turned == v, place.scaled) for v in values]
        winner = torch.stack(shares).argmax(dim=0)
        scaled = torch.tensor(list(values), dtype=torch.int16)[winner]
    else:
        scaled = functional.interpolate(
            torch.from_numpy(turned)[None, None].float(), size=place.scaled, mode="nearest-exact"
        )[0, 0].short()
    return _framed(scaled[None], place, edge=False)[0].numpy()


def _share(inside: np.ndarray, size: tuple[int, int, int]) -> torch.Tensor:
    """Return the share of each new voxel that lies inside; means over the voxel itself where the grid gets coarser.

    The wider filter that suits intensities would shrink small structures: 10 to 24 % of the volume of balls of two to
    four voxels.
    """
    flat = inside.astype(np.float32)
    if not all(new <= old for new, old in zip(size, inside.shape, strict=True)):
        return resize(torch.from_numpy(flat)[None], size)[0]
    for axis, new in enumerate(size):
        old = flat.shape[axis]
        if new == old:
            continue
        # Means over new voxels, those cut by a border by their share: differences of the running sum at the borders.
        running = np.concatenate([np.zeros_like(flat.take([0], axis)), flat.cumsum(axis)], axis=axis)
        borders = np.arange(new + 1) * (old / new)
        below = np.minimum(borders.astype(int), old - 1)
        part = (borders - below).reshape([-1 if a == axis else 1 for a in range(3)])
        at = running.take(below, axis) * (1 - part) + running.take(below + 1, axis) * part
        flat = np.diff(at, axis=axis) * (new / old)
    return torch.from_numpy(flat.astype(np.float32))


def restore(array: np.ndarray, place: Place) -> np.ndarray:
    """Bring (L, K, J, I) from the network's grid back to the source's own grid and axis order."""
    inside = array[(slice(None), *(slice(max(a, 0), a + n) for a, n in zip(place.start, place.scaled, strict=True)))]
    # What lay outside the frame is unknown; the edge goes on.
    lost = [
        (max(-a, 0), n - max(-a, 0) - m) for a, n, m in zip(place.start, place.scaled, inside.shape[1:], strict=True)
    ]
    if any(max(pair) > 0 for pair in lost):
        inside = np.pad(inside, [(0, 0), *lost], mode="edge")
    inner = torch.from_numpy(np.ascontiguousarray(inside, dtype=np.float32))
    turned_size = triple([place.upright_size[a] for a in place.turn.order])
    upright = place.turn.undo(resize(inner, turned_size).numpy())
    return np.ascontiguousarray(lean_back(upright, place))


def _framed(array: torch.Tensor, place: Place, *, edge: bool) -> torch.Tensor:
    """Put (C, K, J, I) into its frame: edge values around images, background around masks."""
    if place.frame == place.scaled:
        return array
    pads: list[int] = []
    for axis in (2, 1, 0):
        before = place.start[axis]
        after = place.frame[axis] - place.scaled[axis] - before
        if before < 0 or after < 0:
            array = array.narrow(axis + 1, max(-before, 0), place.scaled[axis] + min(before, 0) + min(after, 0))
        pads += [max(before, 0), max(after, 0)]
    if edge:
        return functional.pad(array[None], pads, mode="replicate")[0]
    return functional.pad(array, pads)


def resize(array: torch.Tensor, size: tuple[int, int, int]) -> torch.Tensor:
    """Scale (C, K, J, I) float to ``size``, linear, with a low-pass where it shrinks; voxel edges stay in place."""
    c, k, j, i = array.shape
    if (j, i) != size[1:]:
        array = functional.interpolate(array, size=size[1:], mode="bilinear", antialias=True, align_corners=False)
    if k != size[0]:
        flat = array.reshape(1, c, k, -1)
        flat = functional.interpolate(
            flat, size=(size[0], flat.shape[3]), mode="bilinear", antialias=True, align_corners=False
        )
        array = flat.reshape(c, *size)
    return array


def normalise(array: np.ndarray, plan: Plan) -> np.ndarray:
    """Return (C, K, J, I) float32 as the plan's normalisation says."""
    how = plan.normalisation
    out = np.empty(array.shape, dtype=np.float32)
    for number, channel in enumerate(array):
        if how.is_fixed(number):
            clipped = np.clip(channel, how.lower[number], how.upper[number])
            mean, std = how.mean[number], how.std[number]
        else:
            clipped, mean, std = own_scale(channel)
        out[number] = np.clip((clipped - mean) / max(std, 1e-6), -CLIP, CLIP)
    return out


def own_scale(channel: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return an image without its outliers, and the mean and deviation of what is left.

    Args:
        channel: (K, J, I) in stored numbers.
    """
    flat = channel.reshape(-1)
    sample = flat[:: max(1, flat.size // SAMPLE)]
    low, high = np.percentile(sample, ROBUST)
    clipped = np.clip(channel, low, high)
    return clipped, float(clipped.mean(dtype=np.float64)), float(clipped.std(dtype=np.float64))

"""Augmentation of whole batches at once: one warp, then intensities. What is safe is the plan's decision."""

import difflib
import itertools
from collections.abc import Mapping

import torch
from torch.nn import functional

from lucency.errors import UsageError

#: Every transform that a plan may ask for.
TRANSFORMS = (
    *("rotate", "tilt", "scale", "shift"),
    *("flip_k", "flip_j", "flip_i"),
    *("contrast", "brightness", "gamma", "noise", "cutout", "slices"),
)

#: What boxes know beyond them: images made of pieces of several.
MOSAIC = "mosaic"

#: Where a mosaic is cut, as a share of each axis.
CUT = (0.3, 0.7)

#: Those that move every frame of a sequence alike.
FRAME_WARPS = ("rotate", "scale", "shift", "flip_j", "flip_i")

#: A box of which less than this share is left in the image is no longer learned from.
HELD = 0.5

#: Axes by name, counted from the end of a tensor.
AXES = {"k": -3, "j": -2, "i": -1}


def augment(
    images: torch.Tensor,
    masks: torch.Tensor | None,
    strengths: Mapping[str, float],
    generator: torch.Generator,
    spacing: tuple[float, ...] = (),
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return a batch seen anew: turned, scaled, shifted, mirrored, brighter, noisier.

    Args:
        images: (B, C, J, I) or (B, C, K, J, I) float32, normalised.
        masks: (B, J, I) or (B, K, J, I) int64, or None.
        strengths: ``rotate`` (degrees in the plane of the slice, standard range ±), ``tilt`` (degrees out of it),
            ``scale``, ``shift`` (shares of the image), ``contrast``, ``brightness`` (of one standard deviation),
            ``gamma``, ``noise`` (standard deviation), ``flip_k``, ``flip_j``, ``flip_i`` (probability),
            ``cutout`` (side as a share), ``slices`` (share of a volume's inner slices that are lost and filled in
            from their neighbours). Absent or 0 is off.
        generator: Everything random comes from it; on the device of the images.
        spacing: Voxel size per spatial axis; turns are rigid in mm. Empty means equal.

    Returns:
        New tensors; the given ones are left as they are.

    Raises:
        UsageError: A transform that does not exist; the message names the nearest.
    """
    seen, masks, _ = _seen_anew(images, masks, strengths, generator, spacing)
    return _still_missing(images, seen), masks


def _seen_anew(
    images: torch.Tensor,
    masks: torch.Tensor | None,
    strengths: Mapping[str, float],
    generator: torch.Generator,
    spacing: tuple[float, ...],
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Do :func:`augment`; return also (B, dims, dims + 1): where each place was, in ``grid_sample``'s coordinates."""
    _check_names(strengths)
    on = {name: value for name, value in strengths.items() if value}
    dims = images.ndim - 2
    theta = torch.eye(dims, dims + 1, device=images.device).repeat(len(images), 1, 1)
    if any(name in on for name in ("rotate", "tilt", "scale", "shift")):
        theta = _warps(images, on, generator, spacing or (1.0,) * dims)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
        if masks is not None:
            warped = functional.grid_sample(masks.unsqueeze(1).float(), grid, mode="nearest", align_corners=False)
            masks = warped.squeeze(1).round().long()
    for name, axis in AXES.items():
        if f"flip_{name}" in on:
            chosen = _uniform((len(images),), 0, 1, generator) < on[f"flip_{name}"]
            images = torch.where(chosen.view(-1, *(1 for _ in images.shape[1:])), images.flip(axis), images)
            if masks is not None:
                masks = torch.where(chosen.view(-1, *(1 for _ in masks.shape[1:])), masks.flip(axis), masks)
            # The last axis of the array is the first of the coordinates.
            theta[:, :, -1 - axis] *= torch.where(chosen, -1.0, 1.0)[:, None]
    return _intensities(images, on, generator), masks, theta


def augment_boxes(
    images: torch.Tensor,
    rows: torch.Tensor,
    strengths: Mapping[str, float],
    generator: torch.Generator,
    spacing: tuple[float, ...] = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch seen anew together with the boxes on it.

    The box around a turned box grows with the angle although the thing inside does not; the box around the turned
    ellipse in it fits better where the shape is not known.

    Args:
        images: As for :func:`augment`.
        rows: (B, n, 1 + 2 d) float: class, low corner, high corner in pixels, axes in the order of the array; a class
            below 0 only fills up.
        strengths: As for :func:`augment`, and ``mosaic``, the probability that an image is made of pieces of several.
        generator: As for :func:`augment`.
        spacing: As for :func:`augment`.

    Returns:
        Images and rows; a box that is mostly outside now has class -1.

    Source:
        Kalra 2021, Towards Rotation Invariance in Object Detection, ICCV, pages 3530-3540 (arXiv:2109.13488).
    """
    if strengths.get(MOSAIC):
        images, rows = mosaic(images, rows, strengths[MOSAIC], generator)
    alone = {k: v for k, v in strengths.items() if k != MOSAIC}
    seen_anew, _, theta = _seen_anew(images, None, alone, generator, spacing)
    images = _still_missing(images, seen_anew)
    dims = images.ndim - 2
    size = torch.tensor(images.shape[2:], dtype=torch.float32, device=images.device)
    low, high = rows[..., 1 : 1 + dims].float(), rows[..., 1 + dims :].float()
    # Pixel edges run from -1 to 1; axes in reverse.
    middle, half = ((low + high) / size - 1).flip(-1), ((high - low) / size).flip(-1)
    back = torch.linalg.inv(theta[:, :, :dims])
    middle = (middle - theta[:, None, :, dims]) @ back.transpose(1, 2)
    half = torch.sqrt(half**2 @ (back**2).transpose(1, 2))
    low, high = ((middle - half).flip(-1) + 1) * size / 2, ((middle + half).flip(-1) + 1) * size / 2
    inside = [torch.minimum(edge.clamp(min=0), size) for edge in (low, high)]
    left = (inside[1] - inside[0]).prod(-1) >= HELD * (high - low).prod(-1)
    kept = (rows[..., :1] >= 0) & left[..., None]
    seen = torch.cat([rows[..., :1], *inside], dim=-1)
    return images, torch.where(kept, seen, torch.full_like(seen, -1.0))


def _still_missing(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Return ``after`` with the channels zero that were zero throughout: of several modalities these are missing."""
    if before.shape[1] == 1:
        return after
    there = (before != 0).flatten(2).any(dim=2)
    return after * there.view(*there.shape, *[1] * (after.ndim - 2))


def mosaic(
    images: torch.Tensor, rows: torch.Tensor, chance: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch in which some images are made of pieces of several, each cut out at its own scale.

    The image is cut in two along every axis, and each part is filled with as large a piece from anywhere on an image
    of the batch; so a small set shows more neighbourhoods than it has.

    Args:
        images: (B, C, ...) float32.
        rows: (B, n, 1 + 2 d) float, as for :func:`augment_boxes`.
        chance: 0 to 1, for each image.
        generator: Everything random comes from it.

    Returns:
        Images, and (B, m, 1 + 2 d) rows, m up to 2 ** d times n; a box that a piece holds less than half of is left
        out.

    Source:
        Bochkovskiy 2020, section 3.3 (doi 10.48550/arXiv.2004.10934); pieces are not scaled here, for the size of
        things is known.
    """
    dims, n = images.ndim - 2, len(images)
    size = torch.tensor(images.shape[2:])
    made = (_uniform((n,), 0, 1, generator) < chance).tolist()
    cuts = (_uniform((n, dims), *CUT, generator).cpu() * size).round().long()
    corners = list(itertools.product((0, 1), repeat=dims))
    whose = torch.randint(n, (n, len(corners)), generator=generator, device=generator.device).tolist()
    places = _uniform((n, len(corners), dims), 0, 1, generator).cpu()
    out, kept = images.clone(), []
    for number in range(n):
        if not made[number]:
            kept.append(rows[number])
            continue
        found = []
        for part, corner in enumerate(corners):
            side = torch.tensor(corner)
            low, high = side * cuts[number], torch.where(side > 0, size, cuts[number])
            start = (places[number, part] * (size - (high - low) + 1)).long().clamp(max=size - (high - low))
            source = tuple(slice(int(a), int(a + b)) for a, b in zip(start, high - low, strict=True))
            goal = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
            owner = whose[number][part]
            out[number][(slice(None), *goal)] = images[owner][(slice(None), *source)]
            found.append(_moved_into(rows[owner], (low - start).to(rows), low.to(rows), high.to(rows)))
        kept.append(torch.cat(found))
    most = max(len(k) for k in kept)
    filled = rows.new_full((n, most, rows.shape[2]), -1.0)
    for number, own in enumerate(kept):
        filled[number, : len(own)] = own
    return out, filled


def _moved_into(rows: torch.Tensor, shift: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Return the rows of real boxes, shifted, that lie at least half between two corners, cut there."""
    own = rows[rows[:, 0] >= 0]
    d = len(shift)
    first, last = own[:, 1 : 1 + d] + shift, own[:, 1 + d :] + shift
    inside = [torch.minimum(torch.maximum(edge, low), high) for edge in (first, last)]
    held = (inside[1] - inside[0]).prod(1) >= HELD * (last - first).prod(1)
    return torch.cat([own[:, :1], *inside], dim=1)[held]


def _check_names(strengths: Mapping[str, float]) -> None:
    for name in strengths:
        if name not in TRANSFORMS:
            near = difflib.get_close_matches(name, TRANSFORMS, n=1)
            raise UsageError(
                f"No transform {name!r}",
                expected=", ".join(TRANSFORMS),
                where="augmentation",
                remedy=f"did you mean {near[0]!r}?" if near else "",
            )


def augment_frames(images: torch.Tensor, strengths: Mapping[str, float], generator: torch.Generator) -> torch.Tensor:
    """Return sequences seen anew: all frames of one turned, scaled, shifted and mirrored alike, none mixed.

    Args:
        images: (B, C, K, J, I) float32, normalised; a frame of one number throughout is no frame and stays one.
        strengths: As for :func:`augment`, in two dimensions.
        generator: As for :func:`augment`.

    Raises:
        UsageError: A transform that does not exist; the message names the nearest.
    """
    _check_names(strengths)
    flat = images.transpose(1, 2).flatten(2)
    present = (flat.amax(dim=2) > flat.amin(dim=2))[:, None, :, None, None]
    warps = {k: v for k, v in strengths.items() if k in FRAME_WARPS}
    moved, _ = augment(images.flatten(1, 2), None, warps, generator)
    rest = {k: v for k, v in strengths.items() if k not in FRAME_WARPS and k not in ("tilt", "flip_k", "slices")}
    return _intensities(moved.view(images.shape), rest, generator) * present


def _warps(
    images: torch.Tensor, on: Mapping[str, float], generator: torch.Generator, spacing: tuple[float, ...]
) -> torch.Tensor:
    """Return (B, dims, dims + 1) maps in the normalised x, y(, z) coordinates of ``grid_sample``."""
    n, dims = len(images), images.ndim - 2
    turn = _rotation(_angles(n, on.get("rotate", 0.0), generator), (0, 1), dims)
    if dims == 3 and "tilt" in on:
        turn = turn @ _rotation(_angles(n, on["tilt"], generator), (0, 2), dims)
        turn = turn @ _rotation(_angles(n, on["tilt"], generator), (1, 2), dims)
    scale = torch.exp(_uniform((n, 1, 1), -1, 1, generator) * on.get("scale", 0.0))
    # Normalised coordinates stretch with the image, so the turn is made in mm and brought back.
    extent = torch.tensor(
        [s * n_voxels for s, n_voxels in zip(spacing, images.shape[2:], strict=True)][::-1], device=images.device
    )
    linear = turn * scale * extent[None, None, :] / extent[None, :, None]
    shift = _uniform((n, dims, 1), -2, 2, generator) * on.get("shift", 0.0)
    return torch.cat([linear, shift], dim=2)


def _angles(n: int, degrees: float, generator: torch.Generator) -> torch.Tensor:
    return (
        torch.deg2rad(_uniform((n,), -degrees, degrees, generator))
        if degrees
        else torch.zeros(n, device=generator.device)
    )


def _rotation(angle: torch.Tensor, plane: tuple[int, int], dims: int) -> torch.Tensor:
    turn = torch.eye(dims, device=angle.device).repeat(len(angle), 1, 1)
    a, b = plane
    turn[:, a, a] = turn[:, b, b] = angle.cos()
    turn[:, a, b], turn[:, b, a] = -angle.sin(), angle.sin()
    return turn


def _intensities(images: torch.Tensor, on: Mapping[str, float], generator: torch.Generator) -> torch.Tensor:
    shape = (len(images), images.shape[1], *(1 for _ in images.shape[2:]))
    if "gamma" in on:
        # Around the image's own range, so that the exponent has a meaning for normalised numbers.
        axes = tuple(range(1, images.ndim))
        low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
        power = torch.exp(_uniform(shape, -1, 1, generator) * on["gamma"])
        images = (((images - low) / (high - low + 1e-6)) ** power) * (high - low) + low
    if "contrast" in on:
        images = images * (1 + _uniform(shape, -1, 1, generator) * on["contrast"])
    if "brightness" in on:
        images = images + _uniform(shape, -1, 1, generator) * on["brightness"]
    if "noise" in on:
        level = _uniform(shape, 0, 1, generator) * on["noise"]
        images = images + torch.randn(images.shape, generator=generator, device=generator.device) * level
    if "cutout" in on:
        images = _cutout(images, on["cutout"], generator)
    if "slices" in on and images.ndim == 5:
        images = _lost_slices(images, on["slices"], generator)
    return images


def _cutout(images: torch.Tensor, side: float, generator: torch.Generator) -> torch.Tensor:
    """Set one box of every image to its mean (DeVries 2017, doi 10.48550/arXiv.1708.04552)."""
    inside = torch.ones(len(images), 1, *(1 for _ in images.shape[2:]), dtype=torch.bool, device=images.device)
    for axis, n in enumerate(images.shape[2:], start=2):
        centre = _uniform((len(images),), 0, n, generator)
        place = torch.arange(n, device=images.device)[None] + 0.5
        near = (place - centre[:, None]).abs() <= side * n / 2
        view = [len(images)] + [1] * (images.ndim - 1)
        view[axis] = n
        inside = inside & near.view(view)
    mean = images.mean(dim=tuple(range(2, images.ndim)), keepdim=True)
    return torch.where(inside, mean, images)


def _lost_slices(images: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Put in place of some slices what lies linearly between the nearest that are left, as reading fills a hole.

    Args:
        images: (B, C, K, J, I); the first and last slice stay.
        share: Chance of each other slice to be lost.
        generator: As for :func:`augment`.
    """
    n, depth = len(images), images.shape[2]
    left = _uniform((n, depth), 0, 1, generator) >= share
    left[:, 0] = left[:, -1] = True
    at = torch.arange(depth, device=images.device).expand(n, depth)
    before = torch.where(left, at, 0).cummax(dim=1).values
    after = torch.where(left, at, depth - 1).flip(1).cummin(dim=1).values.flip(1)
    part = ((at - before) / (after - before).clamp(min=1)).to(images.dtype)
    filled = torch.empty_like(images)
    for number in range(n):
        low, high = images[number, :, before[number]], images[number, :, after[number]]
        filled[number] = torch.lerp(low, high, part[number].view(1, -1, 1, 1))
    return filled


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low

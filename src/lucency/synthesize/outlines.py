"""Masks to make images for: those of the patients that were learned from, mirrored, moved, scaled and bent."""

import numpy as np
import torch
from torch.nn import functional

#: How far masks are moved, as a share of each side, and by how much they grow or shrink, at the most.
SHIFT, SCALE = 0.05, 0.1

#: Points along each axis that are moved freely; in between ways are interpolated, as Simard 2003 (doi
#: 10.1109/ICDAR.2003.1227801) smooths them.
POINTS = 5

#: Longest way of a point, as a share of a side. Neighbours are 1/4 of a side apart and may part by 2 × .04, so that
#: slopes along three axes sum up to 3 × .32 < 1: nothing is folded.
BENT = 0.04

#: Masks that are changed at once.
AT_ONCE = 64


def reshaped(masks: np.ndarray, n: int, flips: str, rng: np.random.Generator) -> np.ndarray:
    """Return masks like those of some patients; what was not annotated stays so.

    Each of the given ones is used as often, but for one time.

    Args:
        masks: (m, K, J, I) int16 label numbers, m >= 1; K is 1 for flat ones.
        n: How many are wanted, 1 or more.
        flips: Letters of the axes along which the task mirrors, as ``"ki"``.
        rng: Everything random comes from it.

    Returns:
        (n, K, J, I) int16.
    """
    turns = [rng.permutation(len(masks)) for _ in range(-(-n // len(masks)))]
    rows = np.concatenate(turns)[:n]
    found = [_changed(masks[rows[at : at + AT_ONCE]], flips, rng) for at in range(0, n, AT_ONCE)]
    return np.concatenate(found)


def _changed(masks: np.ndarray, flips: str, rng: np.random.Generator) -> np.ndarray:
    """Return a few masks changed, each in its own way; values are looked up once, so that thin things stay."""
    axes = [a for a in range(3) if a or masks.shape[1] > 1]
    size = [masks.shape[1 + a] for a in axes]
    n, dims, thin = len(masks), len(axes), [1] * len(axes)
    # The coordinates of the look-up run from -1 to 1 over a side, the last axis first.
    ways = torch.from_numpy(rng.uniform(-2 * BENT, 2 * BENT, (n, dims, *([POINTS] * dims))))
    field = functional.interpolate(ways, size, mode="trilinear" if dims == 3 else "bilinear", align_corners=True)
    grow = torch.from_numpy(np.exp(rng.uniform(-SCALE, SCALE, (n, *thin, 1))))
    move = torch.from_numpy(rng.uniform(-2 * SHIFT, 2 * SHIFT, (n, *thin, dims)))
    mirrored = np.where(rng.random((n, *thin, dims)) < 0.5, -1.0, 1.0)
    allowed = np.array(["kji"[a] in flips for a in reversed(axes)])
    sign = torch.from_numpy(np.where(allowed, mirrored, 1.0))
    still = torch.eye(dims, dims + 1, dtype=ways.dtype).expand(n, -1, -1)
    here = functional.affine_grid(still, [n, 1, *size], align_corners=False)
    from_where = (here * grow + move + field.movedim(1, -1)) * sign
    seen = torch.from_numpy(masks.reshape(n, 1, *size).astype(np.float64))
    moved = functional.grid_sample(seen, from_where, mode="nearest", padding_mode="border", align_corners=False)
    changed: np.ndarray = moved.numpy().reshape(masks.shape).astype(np.int16)
    return changed

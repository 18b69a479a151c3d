"""Several answers about one image become one: tiles, mirrored copies and members, by weighted box clustering."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch

from lucency.boxes import overlaps
from lucency.detector import LEAST, MOST, NOTHING, SAME

#: Boxes nearer than this to a border of a tile that is no border of the image are cut there: another tile has them
#: whole. In pixels.
RIM = 2.0


def clustered(answers: Sequence[np.ndarray], seen: "Callable[[np.ndarray], np.ndarray] | None" = None) -> np.ndarray:
    """Return found rows of one image as all answers together give them.

    The surest box gathers the boxes of its class that overlap it, the best of each answer. Corners are means weighted
    by score and overlap. The score is the weighted mean over all answers that could have seen the box: one that did
    not see it counts as 0.

    Args:
        answers: (n, 2 + 2 d) found rows each.
        seen: For middles of boxes, (n, d), how many answers looked there; by default all.

    Returns:
        (MOST, 2 + 2 d), the best first, filled up with nothing.

    Source:
        Jaeger 2020, weighted box clustering, section 3 (proceedings.mlr.press/v116/jaeger20a.html).
    """
    width = answers[0].shape[1]
    rows = np.concatenate([a[a[:, 0] > LEAST] for a in answers]) if answers else np.zeros((0, width))
    who = np.concatenate([np.full(int((a[:, 0] > LEAST).sum()), n) for n, a in enumerate(answers)])
    out = np.zeros((MOST, width), dtype=np.float32)
    out[:, 1] = NOTHING
    if not len(rows):
        return out
    order = np.argsort(-rows[:, 0], kind="stable")
    rows, who = rows[order], who[order]
    d = (width - 2) // 2
    middle = (rows[:, 2 : 2 + d] + rows[:, 2 + d :]) / 2
    count = np.full(len(rows), float(len(answers))) if seen is None else seen(middle)
    shared = overlaps(rows[:, 2:], rows[:, 2:]) * (rows[:, None, 1] == rows[None, :, 1])
    free = np.ones(len(rows), dtype=bool)
    made: list[np.ndarray] = []
    for n in range(len(rows)):
        if not free[n]:
            continue
        near = np.flatnonzero(free & (shared[n] > SAME))
        near = near[np.unique(who[near], return_index=True)[1]] if len(near) else np.array([n])
        free[near] = free[n] = False
        weight = shared[n, near]
        lacking = max(0.0, count[n] - len(near))
        score = (rows[near, 0] * weight).sum() / (weight.sum() + lacking * weight.mean())
        pull = weight * rows[near, 0]
        made.append(np.array([score, rows[n, 1], *((rows[near, 2:] * pull[:, None]).sum(axis=0) / pull.sum())]))
    best = sorted(made, key=lambda r: -r[0])[:MOST]
    out[: len(best)] = np.stack(best)
    return out


def in_views(
    run: Callable[[torch.Tensor], torch.Tensor],
    batch: torch.Tensor,
    tiles: Sequence[tuple[int, ...]],
    tile: Sequence[int],
    mirrors: Sequence[Sequence[int]],
) -> torch.Tensor:
    """Return found rows of a batch, looked at in tiles and mirrored copies.

    Args:
        run: Answers (B, C, K, J, I) with (B, MOST, 8).
        batch: (B, C, K, J, I).
        tiles: Where tiles begin, (k, j, i).
        tile: (k, j, i) their size.
        mirrors: Axes that are mirrored in each copy, 0 for k to 2 for i; () is the image as it is.

    Returns:
        (B, MOST, 8).
    """
    size = np.array(batch.shape[2:], dtype=np.float32)
    answers: list[list[np.ndarray]] = [[] for _ in batch]
    for start, axes in itertools.product(tiles, mirrors):
        window = tuple(slice(a, a + n) for a, n in zip(start, tile, strict=True))
        view = batch[(slice(None), slice(None), *window)]
        found = run(view.flip([a + 2 for a in axes]) if axes else view).float().cpu().numpy()
        for image, rows in enumerate(found):
            turned = mirrored(rows, axes, tile)
            answers[image].append(_whole(turned, np.array(start, dtype=np.float32), np.array(tile), size))
    if len(tiles) * len(mirrors) == 1:
        return torch.from_numpy(np.stack([a[0] for a in answers]))
    begins, span = np.array(tiles, dtype=np.float32), np.array(tile, dtype=np.float32)

    def seen(middle: np.ndarray) -> np.ndarray:
        inside = (middle[:, None] >= begins[None]) & (middle[:, None] < (begins + span)[None])
        return np.asarray(inside.all(axis=2).sum(axis=1) * len(mirrors), dtype=float)

    return torch.from_numpy(np.stack([clustered(a, seen) for a in answers]))


def mirrored(rows: np.ndarray, axes: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Return found rows, (n, 8), as they lie in the mirror image along ``axes`` of something of ``size``."""
    out = rows.copy()
    for axis in axes:
        out[:, 2 + axis] = size[axis] - rows[:, 5 + axis]
        out[:, 5 + axis] = size[axis] - rows[:, 2 + axis]
    return out


def _whole(rows: np.ndarray, start: np.ndarray, tile: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the rows of a tile in the image, without boxes that the tile's border cuts."""
    out = rows.copy()
    out[:, 2:5] += start
    out[:, 5:8] += start
    cut = ((rows[:, 2:5] < RIM) & (start > 0)) | ((rows[:, 5:8] > tile - RIM) & (start + tile < size))
    out[cut.any(axis=1), 0] = 0.0
    return out

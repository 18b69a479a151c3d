"""Several answers about one image become one: tiles, mirrored copies and members, by weighted box clustering."""

from collections.abc import Sequence

import numpy as np

from lucency.boxes import overlaps
from lucency.detector import LEAST, LOOKED, MOST, NOTHING, SAME

#: Boxes nearer than this to a border of a tile that is no border of the image are cut there: another tile has them
#: whole. In pixels.
RIM = 2.0


def joined(output: np.ndarray, n_classes: int) -> np.ndarray:
    """Return one answer for an image from the rows of all its views, tiles and members, one after the other.

    Args:
        output: (n, 2 + 2 d) found rows. A row of score :data:`~lucency.detector.LOOKED` ends the rows of one look and
            has the corners of the part of the image that was looked at; without any, all rows are one look at all.
        n_classes: Rows of other classes only fill up.

    Returns:
        (m, 2 + 2 d), the best first, m <= MOST.
    """
    ends = np.flatnonzero(output[:, 0] == LOOKED)
    parts = np.split(output, ends + 1)
    looks = [part[:-1] for part in parts[:-1]] if len(ends) else parts
    answers = [a[(a[:, 1] > -0.5) & (a[:, 1] < n_classes - 0.5)] for a in looks]
    tiles = list(output[ends, 2:])
    if len({tuple(t) for t in tiles}) <= 1:
        return clustered(answers)
    return clustered([without_cut(a, t, tiles) for a, t in zip(answers, tiles, strict=True)], tiles)


def surest(rows: np.ndarray, single: Sequence[int]) -> np.ndarray:
    """Return found rows with only the best of each class of which an image holds no more than one.

    Args:
        rows: (n, 2 + 2 d), the best first.
        single: Those classes.
    """
    first = np.zeros(len(rows), dtype=bool)
    first[np.unique(rows[:, 1], return_index=True)[1]] = True
    return np.asarray(rows[first | ~np.isin(rows[:, 1].round(), single)])


def clustered(answers: Sequence[np.ndarray], tiles: "Sequence[np.ndarray] | None" = None) -> np.ndarray:
    """Return found rows of one image as all answers together give them.

    The surest box gathers the boxes of its class that overlap it, the best of each answer. Corners are means weighted
    by score and overlap. The score is the weighted mean over all answers that could have seen the box: one that did
    not see it counts as 0.

    Args:
        answers: (n, 2 + 2 d) found rows each.
        tiles: (2 d,) the part of the image that each answer looked at; by default all of it.

    Returns:
        (m, 2 + 2 d), the best first, m <= MOST.

    Source:
        Jaeger 2020, weighted box clustering, section 3 (proceedings.mlr.press/v116/jaeger20a.html).
    """
    kept = [a[(a[:, 0] > LEAST) & (a[:, 1] > NOTHING)] for a in answers]
    if len(kept) == 1:
        return kept[0][np.argsort(-kept[0][:, 0], kind="stable")][:MOST]
    rows = np.concatenate(kept)
    who = np.concatenate([np.full(len(a), n) for n, a in enumerate(kept)])
    order = np.argsort(-rows[:, 0], kind="stable")
    rows, who = rows[order], who[order]
    count = _could_see(rows, len(kept), tiles)
    shared = overlaps(rows[:, 2:], rows[:, 2:]) * (rows[:, None, 1] == rows[None, :, 1])
    free = np.ones(len(rows), dtype=bool)
    made: list[np.ndarray] = []
    for n in range(len(rows)):
        if not free[n]:
            continue
        near = np.flatnonzero(free & (shared[n] > SAME))
        # The best box of each answer: rows are sorted, so the first.
        near = near[np.unique(who[near], return_index=True)[1]] if len(near) else np.array([n])
        free[near] = free[n] = False
        weight = np.maximum(shared[n, near], 1e-6)
        lacking = max(0.0, count[n] - len(near))
        score = (rows[near, 0] * weight).sum() / (weight.sum() + lacking * weight.mean())
        pull = weight * rows[near, 0]
        corners = (rows[near, 2:] * pull[:, None]).sum(axis=0) / pull.sum()
        made.append(np.concatenate([[score, rows[n, 1]], corners]))
    best = sorted(made, key=lambda r: -float(r[0]))[:MOST]
    return np.stack(best) if best else np.zeros((0, answers[0].shape[1]))


def _could_see(rows: np.ndarray, n: int, tiles: "Sequence[np.ndarray] | None") -> np.ndarray:
    """Return how many answers looked at all of each box."""
    if tiles is None:
        return np.full(len(rows), float(n))
    return np.asarray(np.sum([_whole(rows, t, tiles) for t in tiles], axis=0), dtype=float)


def _whole(rows: np.ndarray, tile: np.ndarray, tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Tell of each box whether it lies in a tile and off the borders at which a tile cuts the image."""
    d = (rows.shape[1] - 2) // 2
    size = np.max(tiles, axis=0)[d:]
    low = (rows[:, 2 : 2 + d] >= tile[:d] + RIM) | (tile[:d] <= 0)
    high = (rows[:, 2 + d :] <= tile[d:] - RIM) | (tile[d:] >= size)
    return np.asarray((low & high).all(axis=1))


def without_cut(rows: np.ndarray, tile: np.ndarray, tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Return found rows without the boxes that a border of their tile cuts and another tile holds whole.

    Args:
        rows: (n, 2 + 2 d), in pixels of the image.
        tile: (2 d,) low and high corner of the tile they were found in.
        tiles: All tiles of the image.
    """
    elsewhere = np.any([_whole(rows, t, tiles) for t in tiles], axis=0)
    return np.asarray(rows[_whole(rows, tile, tiles) | ~elsewhere])

"""Is an image laid out as the others of its set are? Small pictures against the set's own mean and variations."""

from collections.abc import Sequence
from functools import cache

import numpy as np

#: Shares of a side that a cropped image may still show; those cut away belong to one end of one axis.
KEPT = (0.85, 0.75, 0.65)
#: Most variations (principal components) that count as usual, and images needed for each.
COMPONENTS, IMAGES_EACH = 10, 5
#: Share of the images that the usual variations are taken from, the most ordinary ones, in this many rounds.
ORDINARY, ROUNDS = 0.75, 3
#: Groups of which each is judged by the others.
GROUPS = 4

#: Usual correlation with the set's median picture below which the images have no layout in common to depart from.
ALIKE = 0.3


def layout(pictures: Sequence[np.ndarray]) -> list[dict[str, float]]:
    """Return how every small picture agrees with the set's.

    ``fit`` is its correlation with the set's median picture, negative when dark and bright are exchanged. ``part`` is
    by how much it correlates better with a part of that picture, which happens where the field of view was cut.
    ``residual`` is the decimal logarithm of what the set's usual variations leave unexplained.

    Args:
        pictures: (1 or 8, 32, 32) each, standardised, all of one shape: as ``thumbnail.glance`` makes them.

    Returns:
        One mapping per picture; all are empty where the set has no usual layout.
    """
    small = _unit(np.stack([_reduced(p.astype(np.float32)) for p in pictures]))
    usual = _unit(np.median(small, axis=0)[None])[0]
    fit = small.reshape(len(small), -1) @ usual.ravel()
    if np.median(fit) < ALIKE:
        return [{} for _ in pictures]
    parts = _unit(_parts(usual))
    best = (small.reshape(len(small), -1) @ parts.reshape(len(parts), -1).T).max(axis=1)
    residual = np.log10(_residual(small.reshape(len(small), -1)) + 1e-4)
    return [
        {"fit": round(float(f), 4), "part": round(float(b - f), 4), "residual": round(float(r), 4)}
        for f, b, r in zip(fit, best, residual, strict=True)
    ]


def _reduced(picture: np.ndarray) -> np.ndarray:
    """Return 256 numbers: (1, 16, 16), or (4, 8, 8) of a volume."""
    k, j, i = (1, 16, 16) if len(picture) == 1 else (4, 8, 8)
    depth, rows, columns = picture.shape
    blocks = picture.reshape(k, depth // k, j, rows // j, i, columns // i)
    return np.asarray(blocks.mean(axis=(1, 3, 5)))


def _unit(pictures: np.ndarray) -> np.ndarray:
    """Return pictures of mean 0 and length 1."""
    axes = tuple(range(1, pictures.ndim))
    centred = pictures - pictures.mean(axis=axes, keepdims=True)
    return np.asarray(centred / np.maximum(np.sqrt((centred**2).sum(axis=axes, keepdims=True)), 1e-9))


def _parts(usual: np.ndarray) -> np.ndarray:
    """Return the set's picture cut at each end of each axis and drawn out to full size again."""
    made = []
    for axis, n in enumerate(usual.shape):
        for share in KEPT if n > 1 else ():
            for end in (False, True):
                made.append(np.moveaxis(np.tensordot(_window(n, share, end), usual, (1, axis)), 0, axis))
    return np.stack(made)


@cache
def _window(n: int, share: float, end: bool) -> np.ndarray:
    """Return (n, n) float32: row r averages what the r-th pixel of the cut picture covers."""
    edges = np.linspace(0, share * n, n + 1) + (n - share * n if end else 0.0)
    pixels = np.arange(n)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.clip(overlap, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _residual(rows: np.ndarray) -> np.ndarray:
    """Return the share of each row that the usual variations of the other ordinary rows do not explain.

    A row that had taught its own variation would always look more usual than one that had not; so every row is judged
    by what the groups that it is not in have taught.
    """
    n = len(rows)
    components = min(COMPONENTS, n // IMAGES_EACH)
    left: np.ndarray = ((rows - np.median(rows, axis=0)) ** 2).sum(axis=1)
    for _ in range(ROUNDS):
        rank = np.argsort(np.argsort(left, kind="stable"), kind="stable")
        judged = np.empty(n)
        for group in range(GROUPS):
            own = rank % GROUPS == group
            teachers = rows[(rank < ORDINARY * n) & ~own]
            middle = teachers.mean(axis=0)
            basis = np.linalg.eigh(np.cov((teachers - middle).T))[1][:, -components:]
            centred = rows[own] - middle
            judged[own] = ((centred - (centred @ basis) @ basis.T) ** 2).sum(axis=1)
        left = judged
    return left

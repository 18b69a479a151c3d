"""Exact search: every embedding is compared, block by block, so that an index larger than memory can be searched."""

from collections.abc import Sequence

import numpy as np

#: Numbers in a block of similarities, 64 MB in single precision; with one query a block is 16 million rows, so that
#: an index of ordinary size is one product of a matrix and a vector.
BLOCK = 1 << 24

#: Below this share of allowed rows in a block only these are gathered and compared; above, all are, and the others
#: struck out: copying rows costs about as much as comparing three times as many.
FEW = 0.3


def nearest(
    vectors: np.ndarray,
    queries: np.ndarray,
    n: int,
    *,
    allowed: np.ndarray | None = None,
    excluded: Sequence[np.ndarray] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``n`` rows with the largest inner product for every query, the nearest first.

    Equal similarities are ordered by row, so the answer is the same every time.

    Args:
        vectors: (rows, d) float32, an array or a memory map.
        queries: (q, d) float32.
        n: How many are wanted, 1 or more.
        allowed: (rows,) bool, or None for all.
        excluded: For each query the rows that must not be found (its own patient's); empty excludes none.

    Returns:
        (q, n) int64 rows, -1 where there are fewer, and (q, n) float32 similarities, -inf there.

    Example:
        >>> v = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
        >>> nearest(v, v[:1], 2, excluded=[np.array([0])])[0].tolist()
        [[2, 1]]
    """
    n_queries = len(queries)
    best = np.full((n_queries, n), -1, dtype=np.int64)
    values = np.full((n_queries, n), -np.inf, dtype=np.float32)
    step = max(1, BLOCK // max(1, n_queries))
    for start in range(0, len(vectors), step):
        rows, block = _block(vectors, start, start + step, allowed)
        if not rows.size:
            continue
        similar = queries @ block.T
        _strike_out(similar, rows, allowed, excluded)
        best, values = _merged(best, values, similar, rows)
    best[values == -np.inf] = -1
    return best, values


def _block(vectors: np.ndarray, start: int, stop: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows to compare and their vectors."""
    stop = min(stop, len(vectors))
    if allowed is not None:
        inside = np.flatnonzero(allowed[start:stop])
        if inside.size < FEW * (stop - start):
            return inside + start, np.asarray(vectors[start + inside])
    return np.arange(start, stop), np.asarray(vectors[start:stop])


def _strike_out(
    similar: np.ndarray, rows: np.ndarray, allowed: np.ndarray | None, excluded: Sequence[np.ndarray]
) -> None:
    """Set what must not be found to minus infinity."""
    if allowed is not None:
        similar[:, ~allowed[rows]] = -np.inf
    for query, own in enumerate(excluded):
        if own.size:
            at = np.searchsorted(rows, own)
            inside = at < rows.size
            inside[inside] = rows[at[inside]] == own[inside]
            similar[query, at[inside]] = -np.inf


def _merged(
    best: np.ndarray, values: np.ndarray, similar: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best of what was known and of a block."""
    n = best.shape[1]
    if similar.shape[1] > n:
        chosen = np.argpartition(similar, similar.shape[1] - n, axis=1)[:, -n:]
        similar = np.take_along_axis(similar, chosen, axis=1)
        numbers = rows[chosen]
    else:
        numbers = np.broadcast_to(rows, similar.shape)
    numbers = np.concatenate([best, numbers], axis=1)
    similar = np.concatenate([values, similar], axis=1)
    order = np.lexsort((numbers, -similar), axis=1)[:, :n]
    return np.take_along_axis(numbers, order, axis=1), np.take_along_axis(similar, order, axis=1)


def ranks_of_same(
    vectors: np.ndarray,
    queries: np.ndarray,
    same: np.ndarray,
    excluded: Sequence[np.ndarray] = (),
) -> list[np.ndarray]:
    """Return for every query the whole ranking of the index as right or wrong: what mean average precision needs.

    Args:
        vectors: (rows, d) float32.
        queries: (q, d) float32.
        same: (q, rows) bool, whether a row is of the query's kind.
        excluded: As for :func:`nearest`; these rows are not ranked.

    Returns:
        For every query (rows ranked,) bool, the nearest first.
    """
    found = []
    for number, query in enumerate(queries):
        similar = np.asarray(vectors @ query)
        keep = np.ones(len(vectors), dtype=bool)
        if len(excluded):
            keep[excluded[number]] = False
        order = np.argsort(-similar[keep], kind="stable")
        found.append(same[number][keep][order])
    return found

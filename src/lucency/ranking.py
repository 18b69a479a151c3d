"""How good a ranking is: precision among the first, average precision, discounted gain."""

from collections.abc import Sequence

import numpy as np


def precision_at(ranked: Sequence[np.ndarray], n: int) -> np.ndarray:
    """Return the share of right ones among the first ``n``, for each query; a missing place counts as wrong.

    Args:
        ranked: For each query (rows,) bool, right or wrong, the nearest first.
        n: Places looked at, 1 or more.

    Returns:
        (queries,) float, 0 to 1.

    Example:
        >>> precision_at([np.array([True, False, True, True])], 3).round(3).tolist()
        [0.667]
    """
    return np.array([float(np.sum(r[:n])) / n for r in ranked])


def average_precision(ranked: Sequence[np.ndarray]) -> np.ndarray:
    """Return for each query the mean of the precisions at the places of the right ones; NaN where there is none.

    The mean over queries is mAP; over the whole ranking, not over its head.

    Source:
        Manning 2008, Introduction to Information Retrieval, section 8.4 (doi 10.1017/CBO9780511809071).

    Example:
        >>> average_precision([np.array([True, False, True])]).round(4).tolist()  # (1/1 + 2/3) / 2
        [0.8333]
    """
    found = []
    for right in ranked:
        places = np.flatnonzero(right)
        hits = np.arange(1, places.size + 1)
        found.append(float(np.mean(hits / (places + 1))) if places.size else float("nan"))
    return np.array(found)


def discounted_gain(ranked: Sequence[np.ndarray], n: int) -> np.ndarray:
    """Return nDCG at ``n`` for each query, with gain 1 for a right one; NaN where the index holds none.

    The discount of place p, counted from 1, is 1 / log2(p + 1); the best possible sum, with all right ones in front,
    is 1.

    Source:
        Järvelin 2002 (doi 10.1145/582415.582418).

    Example:
        >>> discounted_gain([np.array([False, True, False])], 3).round(4).tolist()  # 1 / log2(3)
        [0.6309]
    """
    found = []
    for right in ranked:
        discount = 1 / np.log2(np.arange(2, n + 2))
        ideal = discount[: min(n, int(right.sum()))].sum()
        head = right[:n].astype(float)
        found.append(float((head * discount[: head.size]).sum() / ideal) if ideal else float("nan"))
    return np.array(found)

"""As many images of each class on every side: measures of sets depend on size and mix, and must not be told by them."""

from collections.abc import Sequence

import numpy as np

from lucency.errors import DataError
from lucency.synthesize.drawn import Drawn


def matched(parts: Sequence[Drawn], rng: np.random.Generator, most: int | None = None) -> list[Drawn]:
    """Return as many images of each class from every part, drawn by chance; classes that one of them lacks stay out.

    Args:
        parts: Two or more.
        rng: Draws.
        most: Images of each at the most, the mix of classes kept; None for as many as there are.

    Raises:
        DataError: No class is in all of them.
    """
    shared = sorted(set.intersection(*(set(p.labels.tolist()) for p in parts)))
    counts = {k: min(int((p.labels == k).sum()) for p in parts) for k in shared}
    total = sum(counts.values())
    if not total:
        raise DataError(
            "No class is in all sets that are compared", expected="images of the same classes, generated and real"
        )
    if most is not None and total > most:
        counts = {k: max(1, n * most // total) for k, n in counts.items()}
    return [
        p.take(np.concatenate([np.sort(rng.permutation(np.flatnonzero(p.labels == k))[:n]) for k, n in counts.items()]))
        for p in parts
    ]

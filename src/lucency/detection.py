"""How good boxes are: average precision and free-response curves, over weighted images, so that they can be resampled.

Every function takes *hits*: what is left of the found boxes of one class once they were matched to the drawn ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lucency.boxes import Box, edges_of, overlaps

#: Overlaps of COCO's mean (Lin 2014, doi 10.1007/978-3-319-10602-1_48).
COCO = tuple(round(0.5 + 0.05 * n, 2) for n in range(10))

#: False positives an image at which the free-response curve is read (van Ginneken 2010,
#: doi 10.1016/j.media.2010.05.005).
RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)

#: Points of recall at which precision is taken (COCO's 101).
RECALLS = np.linspace(0, 1, 101)

#: Numbers held at once while weightings are judged.
BLOCK = 4_000_000


@dataclass(frozen=True)
class Hits:
    """The found boxes of one class on many images, best first, and how many were to be found.

    Args:
        image: (n,) int, which image each box is on.
        score: (n,) float, falling.
        right: (n,) bool, whether it found a drawn box that no better one had found.
        wanted: (images,) int, drawn boxes of the class on each image.
    """

    image: np.ndarray
    score: np.ndarray
    right: np.ndarray
    wanted: np.ndarray


def matched(found: Sequence[Box], drawn: Sequence[Box], overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """Match the boxes of one image and one class: the best score chooses first, the drawn box it overlaps most.

    Args:
        found: With scores.
        drawn: The truth.
        overlap: Least intersection over union, in the pixels of the image.

    Returns:
        (n,) scores, falling, and (n,) bool: right or not. Of two boxes on one drawn box the worse is wrong.

    Source:
        Everingham 2010, section 4.2 (doi 10.1007/s11263-009-0275-4); a box whose best match is taken may take the
        next one, as in COCO (doi 10.1007/978-3-319-10602-1_48).
    """
    ordered = sorted(found, key=lambda b: -b.score)
    scores = np.array([b.score for b in ordered], dtype=float)
    right = np.zeros(len(ordered), dtype=bool)
    if not ordered or not drawn:
        return scores, right
    shared = overlaps(edges_of(ordered), edges_of(drawn))
    free = np.ones(len(drawn), dtype=bool)
    for n in range(len(ordered)):
        best = int(np.where(free, shared[n], -1.0).argmax())
        if free[best] and shared[n, best] >= overlap:
            free[best], right[n] = False, True
    return scores, right


def hits_of(found: Sequence[Sequence[Box]], drawn: Sequence[Sequence[Box]], label: str, overlap: float) -> Hits:
    """Return the hits of one class over all images at one overlap."""
    images, scores, rights, wanted = [], [], [], []
    for number, (boxes, truth) in enumerate(zip(found, drawn, strict=True)):
        own = [b for b in truth if b.label == label]
        score, right = matched([b for b in boxes if b.label == label], own, overlap)
        images.append(np.full(len(score), number))
        scores.append(score)
        rights.append(right)
        wanted.append(len(own))
    flat = np.concatenate(scores) if scores else np.zeros(0)
    order = np.argsort(-flat, kind="stable")
    image = np.concatenate(images).astype(int)[order] if images else np.zeros(0, dtype=int)
    right = np.concatenate(rights)[order] if rights else np.zeros(0, dtype=bool)
    return Hits(image, flat[order], right, np.array(wanted, dtype=int))


def average_precision(hits: Hits, weights: np.ndarray) -> np.ndarray:
    """Return COCO's average precision: mean over 101 recalls of the best precision at that recall or above.

    Args:
        hits: Of one class.
        weights: (r, images) float, how often each image counts.

    Returns:
        (r,) float, 0 to 1; NaN where no box was to be found.
    """
    return _in_blocks(hits, weights, _precision)


def sensitivities(hits: Hits, weights: np.ndarray, rates: Sequence[float] = RATES) -> np.ndarray:
    """Return the share of drawn boxes found at so many false positives an image.

    Args:
        hits: Of one class.
        weights: (r, images) float.
        rates: False positives an image.

    Returns:
        (r, rates) float, 0 to 1; NaN where no box was to be found.
    """

    def at_rates(true: np.ndarray, false: np.ndarray, wanted: np.ndarray, images: np.ndarray) -> np.ndarray:
        padded = np.concatenate([np.zeros((len(true), 1)), true], axis=1)
        each = []
        for rate in rates:
            passed = (false <= rate * images[:, None] + 1e-9).sum(axis=1)
            each.append(padded[np.arange(len(true)), passed])
        return np.asarray(np.stack(each, axis=1) / wanted[:, None])

    return _in_blocks(hits, weights, at_rates)


def froc_points(hits: Hits) -> tuple[np.ndarray, np.ndarray]:
    """Return the free-response curve: false positives an image, and the share of drawn boxes found."""
    n, wanted = len(hits.wanted), int(hits.wanted.sum())
    if not wanted or not hits.score.size:
        return np.zeros(1), np.zeros(1)
    return np.cumsum(~hits.right) / max(1, n), np.cumsum(hits.right) / wanted


#: True and false boxes ahead of each right box, boxes to be found, and images: (r, right), (r, right), (r,), (r,).
_Judge = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _in_blocks(hits: Hits, weights: np.ndarray, judge: _Judge) -> np.ndarray:
    """Judge every weighting, so many at once as memory holds; NaN where no box was to be found."""
    true, false = _ahead(hits)
    at_once = max(1, BLOCK // max(1, true.shape[1]))
    found = []
    for start in range(0, len(weights), at_once):
        block = weights[start : start + at_once].astype(float)
        wanted = block @ hits.wanted
        with np.errstate(divide="ignore", invalid="ignore"):
            judged = judge(block @ true, block @ false, wanted, block.sum(axis=1))
        judged[wanted == 0] = np.nan
        found.append(np.asarray(judged))
    return np.asarray(np.concatenate(found))


def _ahead(hits: Hits) -> tuple[np.ndarray, np.ndarray]:
    """Return how many right (itself counted) and wrong boxes of each image stand no lower than each right one.

    Precision is highest and sensitivity rises at right boxes only, so nothing else is kept.

    Returns:
        Two (images, right) float.
    """
    n, total = len(hits.wanted), int(hits.right.sum())
    place = np.cumsum(hits.right)
    counts = []
    for chosen, shift in ((hits.right, 1), (~hits.right, 0)):
        table = np.zeros((n, total + 1))
        np.add.at(table, (hits.image[chosen], place[chosen] - shift), 1.0)
        counts.append(np.cumsum(table, axis=1)[:, :total])
    return counts[0], counts[1]


def _precision(true: np.ndarray, false: np.ndarray, wanted: np.ndarray, images: np.ndarray) -> np.ndarray:
    recall, precision = true / wanted[:, None], np.nan_to_num(true / (true + false))
    # The best precision at this recall or a higher one; beyond the last right box there is none.
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
    at = np.stack([np.searchsorted(row, RECALLS - 1e-12) for row in recall])
    return np.asarray(np.take_along_axis(best, at, axis=1).mean(axis=1))

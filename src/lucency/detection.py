"""How good boxes are: average precision and free-response curves, over weighted images, so that they can be resampled.

Every function takes *hits*: what is left of the found boxes of one class once they were matched to the drawn ones.
"""

from collections.abc import Sequence
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
    true, false, wanted = _counted(hits, weights)
    if not hits.score.size:
        return np.where(wanted > 0, 0.0, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = true / wanted[:, None]
        precision = np.nan_to_num(true / (true + false))
    # The best precision at this recall or a higher one.
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    out = np.full(len(weights), np.nan)
    for row in np.flatnonzero(wanted > 0):
        at = np.searchsorted(recall[row], RECALLS - 1e-12)
        inside = at < recall.shape[1]
        out[row] = np.where(inside, envelope[row][np.minimum(at, recall.shape[1] - 1)], 0.0).mean()
    return out


def sensitivities(hits: Hits, weights: np.ndarray, rates: Sequence[float] = RATES) -> np.ndarray:
    """Return the share of drawn boxes found at so many false positives an image.

    Args:
        hits: Of one class.
        weights: (r, images) float.
        rates: False positives an image.

    Returns:
        (r, rates) float, 0 to 1; NaN where no box was to be found.
    """
    true, false, wanted = _counted(hits, weights)
    images = weights.sum(axis=1)
    out = np.full((len(weights), len(rates)), np.nan)
    for row in np.flatnonzero(wanted > 0):
        for column, rate in enumerate(rates):
            allowed = np.searchsorted(false[row], rate * images[row] + 1e-9, side="right")
            out[row, column] = true[row, allowed - 1] / wanted[row] if allowed else 0.0
    return out


def froc_points(hits: Hits) -> tuple[np.ndarray, np.ndarray]:
    """Return the free-response curve: false positives an image, and the share of drawn boxes found."""
    true, false, wanted = _counted(hits, np.ones((1, len(hits.wanted))))
    if not wanted[0] or not hits.score.size:
        return np.zeros(1), np.zeros(1)
    return false[0] / max(1, len(hits.wanted)), true[0] / wanted[0]


def _counted(hits: Hits, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cumulated right and wrong boxes, (r, n), and boxes to be found, (r,)."""
    each = weights[:, hits.image]
    true = np.cumsum(each * hits.right, axis=1)
    false = np.cumsum(each * ~hits.right, axis=1)
    return true, false, weights @ hits.wanted

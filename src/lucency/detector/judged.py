"""How found boxes are judged: matched once, summed up over weighted images, and what their scores are worth."""

from collections.abc import Sequence

import numpy as np

from lucency import detection, metrics, statistics
from lucency.boxes import Box

#: A found box counts as right from this overlap on, where one number is asked for (PASCAL VOC).
OVERLAP = 0.5

#: Right and wrong boxes of a class from which on its scores are calibrated; right ones from which on it has a
#: threshold of its own.
CALIBRATED_FROM = 20

#: Right ones that are enough for a class of which every image has one: nearly all its boxes are right.
SINGLE_FROM = 5

#: Score from which on a box is told where its class has no threshold of its own: likelier right than wrong.
LIKELY = 0.5

#: Thresholds are kept inside: a score beyond says nothing that one at the end does not.
ENDS = (0.05, 0.95)


class Table:
    """Found and drawn boxes of a part, matched once for each class and overlap."""

    def __init__(self, found: Sequence[Sequence[Box]], drawn: Sequence[Sequence[Box]], classes: Sequence[str]) -> None:
        self.found, self.drawn, self.classes = found, drawn, classes
        self._hits: dict[tuple[str, float], detection.Hits] = {}

    def hits(self, name: str, overlap: float) -> detection.Hits:
        """Return the hits of a class at an overlap."""
        key = (name, overlap)
        if key not in self._hits:
            self._hits[key] = detection.hits_of(self.found, self.drawn, name, overlap)
        return self._hits[key]

    def precision(self, name: str, overlap: float) -> statistics.Statistic:
        """Return the average precision of a class as a statistic of weighted images."""
        return lambda weights: detection.average_precision(self.hits(name, overlap), weights)

    def sensitivity(self, name: str, column: int) -> statistics.Statistic:
        """Return the sensitivity of a class at one of the rates."""
        return lambda weights: detection.sensitivities(self.hits(name, OVERLAP), weights)[:, column]

    def mean_precision(self, overlaps: Sequence[float]) -> statistics.Statistic:
        """Return the mean over classes and overlaps; classes that nothing was drawn of are left out."""

        def statistic(weights: np.ndarray) -> np.ndarray:
            each = [detection.average_precision(self.hits(c, o), weights) for c in self.classes for o in overlaps]
            return _mean_known(np.stack(each))

        return statistic

    def mean_sensitivity(self, column: int | None) -> statistics.Statistic:
        """Return the mean over classes at one of the rates, or over all rates (None)."""

        def statistic(weights: np.ndarray) -> np.ndarray:
            each = np.stack([detection.sensitivities(self.hits(c, OVERLAP), weights) for c in self.classes])
            each = each.mean(axis=2) if column is None else each[:, :, column]
            return _mean_known(each)

        return statistic

    def score_error(self, weights: np.ndarray) -> np.ndarray:
        """Return the expected calibration error of scores: what they say against how often boxes are right."""
        said, came, image = self._all()
        if not len(said):
            return np.full(len(weights), np.nan)
        bins = np.minimum((said * 10).astype(int), 9)
        own = weights[:, image]
        gap = np.zeros(len(weights))
        for number in range(10):
            here = bins == number
            gap += np.abs((own[:, here] * (said[here] - came[here])).sum(axis=1))
        return np.asarray(gap / np.maximum(own.sum(axis=1), 1e-12))

    def _all(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        hits = [self.hits(c, OVERLAP) for c in self.classes]
        # Boxes that nobody would look at would make any calibration look good.
        kept = [h.score >= 0.05 for h in hits]
        parts = [(h.score[k], h.right[k].astype(float), h.image[k]) for h, k in zip(hits, kept, strict=True)]
        said, came, image = (np.concatenate(p) for p in zip(*parts, strict=True))
        return said, came, image

    def curves(self) -> dict[str, tuple[Sequence[float], Sequence[float], Sequence[int]]]:
        """Return the free-response curve of each class, and the reliability of the scores."""
        curves: dict[str, tuple[Sequence[float], Sequence[float], Sequence[int]]] = {}
        for name in self.classes:
            x, y = detection.froc_points(self.hits(name, OVERLAP))
            inside = x <= max(detection.RATES)
            if inside.any() and self.hits(name, OVERLAP).wanted.any():
                step = max(1, int(inside.sum()) // 200)
                curves[f"froc/{name}"] = (x[inside][::step].tolist(), y[inside][::step].tolist(), ())
        said, came, _ = self._all()
        if len(said):
            binned = metrics.reliability(came.astype(int), np.stack([1 - said, said], axis=1))
            curves["reliability"] = (binned[0].tolist(), binned[1].tolist(), binned[2].tolist())
        return curves


def _mean_known(values: np.ndarray) -> np.ndarray:
    """Return the mean along the first axis without NaN; NaN where there is nothing else."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(
        np.divide(total, known.sum(axis=0), out=np.full(values.shape[1], np.nan), where=known.any(axis=0))
    )


def score_line(said: np.ndarray, came: np.ndarray) -> tuple[float, float]:
    """Return slope and offset from logit to logit; the identity where there is too little to learn from."""
    if min(int(came.sum()), int((~came.astype(bool)).sum())) < CALIBRATED_FROM:
        return 1.0, 0.0
    p = np.clip(said, 1e-6, 1 - 1e-6)
    slope, offset = metrics.calibration_line(came.astype(int), np.stack([1 - p, p], axis=1))
    # A line that falls would turn the order of the boxes round.
    return (float(slope), float(offset)) if np.isfinite([slope, offset]).all() and slope > 0.1 else (1.0, 0.0)


def told_from(said: np.ndarray, came: np.ndarray, wanted: int, least: int = CALIBRATED_FROM) -> float:
    """Return the score from which on boxes of a class are told: where F1 is highest on held-out images.

    Args:
        said: (n,) float, calibrated scores.
        came: (n,) bool, right or wrong.
        wanted: Boxes that were drawn.
        least: Right boxes that are enough to learn from.

    Returns:
        Half way between the last score that is told and the next; :data:`LIKELY` where too few boxes were right to
        learn from.
    """
    came = came.astype(bool)
    if int(came.sum()) < least:
        return LIKELY
    order = np.argsort(-said, kind="stable")
    said, right = said[order], np.cumsum(came[order])
    f1 = 2 * right / (np.arange(1, len(said) + 1) + wanted)
    # Boxes of one score are told together.
    ends = np.append(said[1:] < said[:-1], True)
    best = int(np.where(ends, f1, -1.0).argmax())
    following = said[best + 1] if best + 1 < len(said) else 0.0
    return float(np.clip((said[best] + following) / 2, *ENDS))

"""Is an image of another kind than its set: another body part, another modality? A description against the set's own.

Nothing here knows what a hand or an ultrasound is. An image is described by the shape of its histogram, how its small
picture's structure is spread over scales and directions, and where its edges and its bright parts lie. Two distances
say how far that is from the set: from its middle, in units of what varies in it, and from the nearest of its images.
Blur and noise change neither much, so that they are not taken for another body part.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from lucency.inspect.quality import spread_of
from lucency.inspect.quality_layout import GROUPS, ORDINARY, ROUNDS

#: Measures between the 1st and the 99th percentile that give the shape of the histogram.
LEVELS = ("p10", "p25", "p50", "p75", "p90")
#: Cycles per picture between which the structure of a scale is counted.
SCALES = ((0.5, 2.0), (2.0, 4.0), (4.0, 8.0), (8.0, 16.0))
#: Cells along each side, and directions, of the edges that are compared; the share that the bright parts weigh in.
CELLS, DIRECTIONS, BRIGHT = 4, 6, 0.7
#: Least spread of a number of the description: less is no difference that a reader would see.
LEAST = 0.02
#: Numbers further than this many spreads out count as this far, so that one alone does not decide.
FARTHEST = 15.0
#: Share of the covariance that is taken from its diagonal at least, and per number and image beyond that.
SHRINK, SHRINK_EACH, SHRINK_MOST = 0.1, 0.25, 0.9
#: Least variance on that diagonal, in squared spreads.
VARIANCE = 0.05
#: The distance to the set's images is that to this nearest one; at most so many, evenly spread, are looked at.
NEIGHBOUR, LOOKED_AT = 5, 1000
#: Least spread of the logarithm of the two distances; images nearer than this many spreads under the middle are alike.
DISTANCE, NEIGHBOURHOOD, NEARER = 0.05, 0.03, -3.0


def unlike(pictures: Sequence[np.ndarray], measures: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Return how far every image is from its set, as ``strange``; images without a histogram have none.

    ``strange`` is the sum of the logarithms of two distances, each in robust standard deviations of the set.

    Args:
        pictures: (1 or 8, 32, 32) each, standardised, all of one shape: as ``thumbnail.glance`` makes them.
        measures: Of the same images, as :func:`lucency.inspect.quality_measures.measure` gives them.

    Returns:
        One mapping per picture.
    """
    wanted = (*LEVELS, "p1", "span", "darkest")
    known = [n for n, one in enumerate(measures) if all(w in one for w in wanted)]
    found: list[dict[str, float]] = [{} for _ in pictures]
    if len(known) < GROUPS * NEIGHBOUR:
        return found
    shown = [np.asarray(pictures[n], dtype=np.float64) for n in known]
    numbers = np.stack([_numbers(p, measures[n]) for n, p in zip(known, shown, strict=True)])
    edges = np.stack([_edges(p) for p in shown])
    parts = (_deviations(_from_middle(numbers), DISTANCE), _deviations(_from_nearest(edges), NEIGHBOURHOOD))
    strange = sum(np.maximum(part, NEARER) for part in parts)
    for n, value in zip(known, np.asarray(strange).tolist(), strict=True):
        found[n] = {"strange": round(value, 4)}
    return found


def _numbers(picture: np.ndarray, measures: Mapping[str, float]) -> np.ndarray:
    """Return (19,) float: histogram, scales, direction, layout of the bright parts, background."""
    levels = [(measures[name] - measures["p1"]) / measures["span"] for name in LEVELS]
    energy = (np.abs(np.fft.rfft2(picture, axes=(1, 2))) ** 2).mean(axis=0)
    rows, columns = picture.shape[1:]
    along = np.abs(np.fft.fftfreq(rows))[:, None] * rows
    across = np.fft.rfftfreq(columns)[None] * columns
    radius = np.hypot(along, across)
    scales = [np.log10(energy[(radius >= low) & (radius < high)] + 1e-3).mean() for low, high in SCALES]
    coarse = (radius >= 1) & (radius < SCALES[2][1])
    direction = np.log10(energy[coarse & (along > across)].sum() + 1e-3) - np.log10(
        energy[coarse & (along < across)].sum() + 1e-3
    )
    flat = picture.mean(axis=0)
    j, i = np.mgrid[:rows, :columns] - (rows - 1) / 2
    ring = np.maximum(np.abs(j), np.abs(i)) / (rows / 2)
    rings = [flat[(ring >= a) & (ring < b)].mean() for a, b in ((0, 0.3), (0.3, 0.55), (0.55, 0.8))]
    sides = [flat[: rows // 2].mean(), flat[:, : columns // 2].mean(), np.abs(flat - flat[:, ::-1]).mean()]
    ends = flat[[0, 1, -1, -2]].std() + flat[:, [0, 1, -1, -2]].std()
    bottom = np.log10(np.abs(flat[-3:]).mean() + 0.01)
    return np.array([*levels, *scales, direction, *rings, *sides, bottom, ends, measures["darkest"]])


def _edges(picture: np.ndarray) -> np.ndarray:
    """Return (160,) float: histograms of the edges' directions in cells, and the coarse picture, each of one length.

    Source:
        Dalal and Triggs 2005, histograms of oriented gradients, doi:10.1109/CVPR.2005.177.
    """
    flat = picture.mean(axis=0)
    along, across = np.gradient(flat)
    strength = np.hypot(along, across)
    angle = np.mod(np.arctan2(along, across), np.pi) / np.pi * DIRECTIONS
    side = flat.shape[0] // CELLS
    cells = []
    for direction in range(DIRECTIONS):
        apart = np.abs(angle - direction)
        weight = np.maximum(0.0, 1.0 - np.minimum(apart, DIRECTIONS - apart)) * strength
        cells.append(weight.reshape(CELLS, side, CELLS, side).mean(axis=(1, 3)))
    edges = np.sqrt(np.stack(cells)).ravel()
    coarse = flat.reshape(2 * CELLS, side // 2, 2 * CELLS, side // 2).mean(axis=(1, 3)).ravel()
    return np.concatenate([_of_length(edges, 1.0), _of_length(coarse, BRIGHT)])


def _of_length(numbers: np.ndarray, length: float) -> np.ndarray:
    return np.asarray(numbers * length / np.sqrt((numbers**2).sum() + 1e-9))


def _from_middle(numbers: np.ndarray) -> np.ndarray:
    """Return (n,) log10 of the squared Mahalanobis distance, each row judged by ordinary rows of other groups."""
    low, inner, middle, outer, high = np.quantile(numbers, (0.05, 0.15, 0.5, 0.85, 0.95), axis=0)
    # The normal distribution's quantiles lie 2.07 (.15 to .85) and 3.29 (.05 to .95) standard deviations apart.
    spread = np.maximum(np.maximum((outer - inner) / 2.07, (high - low) / 3.29), LEAST)
    rows = np.clip((numbers - middle) / spread, -FARTHEST, FARTHEST)
    left: np.ndarray = (rows**2).sum(axis=1)
    n, width = rows.shape
    for _ in range(ROUNDS):
        rank = np.argsort(np.argsort(left, kind="stable"), kind="stable")
        judged = np.empty(n)
        for group in range(GROUPS):
            own = rank % GROUPS == group
            teachers = rows[(rank < ORDINARY * n) & ~own]
            covariance = np.cov(teachers.T)
            share = min(SHRINK_MOST, SHRINK + SHRINK_EACH * width / len(teachers))
            diagonal = np.diag(np.maximum(np.diag(covariance), VARIANCE))
            away = rows[own] - teachers.mean(axis=0)
            solved = np.linalg.solve((1 - share) * covariance + share * diagonal, away.T).T
            judged[own] = (away * solved).sum(axis=1)
        left = judged
    return np.asarray(np.log10(left + 1e-6))


def _from_nearest(edges: np.ndarray) -> np.ndarray:
    """Return (n,) log10 of the distance to the :data:`NEIGHBOUR`-th nearest other image."""
    n = len(edges)
    chosen = np.unique(np.linspace(0, n - 1, min(n, LOOKED_AT)).astype(int))
    others = edges[chosen]
    nearest = np.empty(n)
    for start in range(0, n, LOOKED_AT):
        part = edges[start : start + LOOKED_AT]
        squares = (part**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * part @ others.T
        squares[np.arange(start, start + len(part))[:, None] == chosen] = np.inf  # An image is not its own neighbour.
        nearest[start : start + len(part)] = np.partition(squares, NEIGHBOUR - 1, axis=1)[:, NEIGHBOUR - 1]
    return np.asarray(np.log10(np.sqrt(np.maximum(nearest, 0.0)) + 1e-3))


def _deviations(values: np.ndarray, least: float) -> np.ndarray:
    """Return how far each value lies above the median, in robust standard deviations of the upper side."""
    limit = spread_of(values, least)
    return np.asarray((values - limit.middle) / limit.above)

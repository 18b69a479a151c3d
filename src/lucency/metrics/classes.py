"""How good labels and probabilities of classes are.

Class metrics take a confusion matrix with any leading shape, so that one call scores all bootstrap resamples.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import special

#: Probabilities are kept this far from 0 and 1 before a logarithm; what scikit-learn's log loss does for float64.
EPSILON = float(np.finfo(np.float64).eps)

#: Bins of the calibration error, and the fewest cases worth a bin; fewer cases get fewer bins.
N_BINS, BIN_CASES = 15, 10

#: Points kept of a curve: a step of 1/200 of its length is thinner than the line drawn.
CURVE_POINTS = 200

#: A calibration slope beyond this stands for probabilities that separate the classes, where no slope exists.
STEEPEST = 50.0


def confusion(truth: np.ndarray, label: np.ndarray, n_classes: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the confusion matrix, rows true and columns predicted.

    Args:
        truth: (n,) class index.
        label: (n,) class index.
        n_classes: Classes, 2 or more.
        weights: (b, n) float, how often each case counts in each resample; None for once.

    Returns:
        (n_classes, n_classes) float, or (b, n_classes, n_classes) with weights.
    """
    cell = np.asarray(truth) * n_classes + np.asarray(label)
    hot = np.zeros((cell.size, n_classes * n_classes))
    hot[np.arange(cell.size), cell] = 1.0
    counts = hot.sum(axis=0) if weights is None else weights @ hot
    return counts.reshape(*counts.shape[:-1], n_classes, n_classes)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Return the share of cases labelled rightly.

    Args:
        counts: (..., classes, classes) from :func:`confusion`.
    """
    return np.asarray(_ratio(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1))))


def recall(counts: np.ndarray) -> np.ndarray:
    """Return (..., classes) share of each true class that is found: specificity [0] and sensitivity [1] if binary.

    Args:
        counts: (..., classes, classes) from :func:`confusion`.

    Returns:
        NaN for a class that does not occur.
    """
    return _ratio(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1))


def sensitivity(counts: np.ndarray) -> np.ndarray:
    """Return the share of class 1 that is found, of a binary (..., 2, 2) confusion matrix."""
    return recall(counts)[..., 1]


def specificity(counts: np.ndarray) -> np.ndarray:
    """Return the share of class 0 that is left alone, of a binary (..., 2, 2) confusion matrix."""
    return recall(counts)[..., 0]


def balanced_accuracy(counts: np.ndarray) -> np.ndarray:
    """Return the mean recall over the classes that occur.

    Args:
        counts: (..., classes, classes) from :func:`confusion`.

    Source:
        Brodersen 2010, doi:10.1109/ICPR.2010.764.
    """
    return _mean_defined(recall(counts))


def f1(counts: np.ndarray) -> np.ndarray:
    """Return F1 of class 1 if binary, else the mean F1 over the classes that occur or are predicted (macro).

    Args:
        counts: (..., classes, classes) from :func:`confusion`.
    """
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    each = _ratio(2 * right, counts.sum(axis=-1) + counts.sum(axis=-2))
    return each[..., 1] if counts.shape[-1] == 2 else _mean_defined(each)


def auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve; ties count one half.

    Args:
        truth: (n,) class index.
        scores: (n,) score of class 1, or (n, classes) probabilities; above two classes the mean of one class
            against the rest, over the classes that occur.

    Returns:
        0 to 1; NaN when only one class occurs.

    Source:
        Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    return _one_against_rest(_binary_auc, truth, scores)


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the precision–recall curve as steps, without interpolation.

    Args:
        truth: (n,) class index.
        scores: As in :func:`auc`; macro above two classes.

    Source:
        Davis & Goadrich 2006, doi:10.1145/1143844.1143874 (why not to interpolate).
    """
    return _one_against_rest(_binary_average_precision, truth, scores)


def weighted_average_precision(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the binary average precision of each resample.

    Args:
        truth: (n,) 0 or 1.
        score: (n,) float.
        weights: (b, n) how often each case counts.

    Returns:
        (b,) float; NaN where no case of class 1 was drawn.
    """
    order = np.argsort(-np.asarray(score, dtype=np.float64), kind="stable")
    ordered, positive = np.asarray(score)[order], np.asarray(truth).astype(bool)[order]
    last = np.flatnonzero(np.concatenate([np.diff(ordered) < 0, [True]]))
    drawn = weights[:, order]
    hits = np.cumsum(np.where(positive, drawn, 0.0), axis=1)[:, last]
    called = np.cumsum(drawn, axis=1)[:, last]
    found = np.diff(hits, axis=1, prepend=0.0)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    return _ratio((found * precision).sum(axis=1), hits[:, -1])


def brier_terms(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return (n,) Brier score of each case; its mean is the Brier score, best 0.

    Two classes: (p1 - y) ** 2, 0 to 1. More: the sum over classes of (p_c - y_c) ** 2, 0 to 2.

    Args:
        truth: (n,) class index.
        probabilities: (n, classes), rows sum to 1.

    Source:
        Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    squares = ((probabilities - np.eye(probabilities.shape[1])[np.asarray(truth)]) ** 2).sum(axis=1)
    return np.asarray(squares / 2 if probabilities.shape[1] == 2 else squares)


def log_loss_terms(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return (n,) natural-log loss of each case; its mean is the log loss, best 0.

    Args:
        truth: (n,) class index.
        probabilities: (n, classes), rows sum to 1.
    """
    given = probabilities[np.arange(len(probabilities)), np.asarray(truth)]
    return np.asarray(-np.log(np.clip(given, EPSILON, 1.0)))


def calibration_error(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the expected calibration error: the mean gap between what was said and what came.

    15 bins of equal mass (fewer under 150 cases: one for every 10), equal values in one bin. Two classes: the
    probability of class 1 against its frequency. More: the highest probability against the share it was right.

    Args:
        truth: (n,) class index.
        probabilities: (n, classes), rows sum to 1.
        weights: (b, n) how often each case counts; the bins stay those of the unweighted cases.

    Returns:
        0-d, or (b,) with weights; 0 to 1, best 0.

    Source:
        Naeini 2015, doi:10.1609/aaai.v29i1.9602; equal mass: Roelofs 2022, arXiv:2012.08668.
    """
    said, came = _said_and_came(truth, probabilities)
    where = _bins(said)
    gap = np.zeros((said.size, int(where.max()) + 1))
    gap[np.arange(said.size), where] = said - came
    rows = np.ones((1, said.size)) if weights is None else weights
    errors = np.abs(rows @ gap).sum(axis=1) / rows.sum(axis=1)
    return np.asarray(errors[0] if weights is None else errors)


def reliability(truth: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the reliability curve over the bins of :func:`calibration_error`.

    Args:
        truth: (n,) class index.
        probabilities: (n, classes), rows sum to 1.

    Returns:
        Three arrays, one entry per bin that is not empty: mean probability said, frequency that came, cases.
    """
    said, came = _said_and_came(truth, probabilities)
    where = _bins(said)
    count = np.bincount(where)
    used = count > 0
    count = count[used]
    return np.bincount(where, said)[used] / count, np.bincount(where, came)[used] / count, count


def calibration_line(truth: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept of the logistic recalibration line; 1 and 0 are perfect.

    A slope under 1 means too extreme, over 1 too timid. Fitted together, on the logit of the probability of
    class 1, or of the highest probability (against being right) above two classes.

    Args:
        truth: (n,) class index.
        probabilities: (n, classes), rows sum to 1.

    Returns:
        (slope, intercept); NaN where the probabilities separate the classes or do not differ: no line exists.

    Source:
        Cox 1958, doi:10.1093/biomet/45.3-4.562; Van Calster 2019, doi:10.1186/s12916-019-1466-7.
    """
    said, came = _said_and_came(truth, probabilities)
    x = special.logit(np.clip(said, 1e-9, 1 - 1e-9))
    if np.ptp(x) < 1e-9 or np.ptp(came) == 0:
        return math.nan, math.nan
    design = np.stack([x, np.ones_like(x)], axis=1)
    line = np.array([1.0, 0.0])
    loss = _line_loss(design, came, line)
    for _ in range(50):
        fitted = special.expit(design @ line)
        hessian = (design * (fitted * (1 - fitted))[:, None]).T @ design
        if np.linalg.cond(hessian) > 1e12:
            return math.nan, math.nan
        step = np.linalg.solve(hessian, design.T @ (came - fitted))
        # Newton may overshoot from afar; halve until the likelihood does not get worse.
        while _line_loss(design, came, line + step) > loss + 1e-12 and np.abs(step).max() > 1e-9:
            step /= 2
        line, loss = line + step, _line_loss(design, came, line + step)
        if abs(line[0]) > STEEPEST:
            return math.nan, math.nan
        if np.abs(step).max() < 1e-9:
            return float(line[0]), float(line[1])
    return math.nan, math.nan


def roc_points(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ROC curve from (0, 0) to (1, 1), thinned to at most 200 points.

    Args:
        truth: (n,) 0 or 1, both present.
        score: (n,) float.

    Returns:
        False positive rate and true positive rate.
    """
    hits, false = _ranked_counts(truth, score)
    x = np.concatenate([[0.0], false / false[-1]])
    y = np.concatenate([[0.0], hits / hits[-1]])
    return _thin(x, y)


def pr_points(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the precision–recall curve from recall 0, thinned to at most 200 points.

    Args:
        truth: (n,) 0 or 1, class 1 present.
        score: (n,) float.

    Returns:
        Recall and precision; the first point repeats the first precision at recall 0.
    """
    hits, false = _ranked_counts(truth, score)
    x, y = hits / hits[-1], hits / (hits + false)
    return _thin(np.concatenate([[0.0], x]), np.concatenate([y[:1], y]))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide; NaN where ``whole`` is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0))


def _mean_defined(each: np.ndarray) -> np.ndarray:
    """Average the last axis over what is not NaN."""
    defined = ~np.isnan(each)
    return _ratio(np.where(defined, each, 0.0).sum(axis=-1), defined.sum(axis=-1))


def _one_against_rest(
    binary: Callable[[np.ndarray, np.ndarray], float], truth: np.ndarray, scores: np.ndarray
) -> float:
    truth, scores = np.asarray(truth), np.asarray(scores, dtype=np.float64)
    if scores.ndim == 2 and scores.shape[1] == 2:
        scores = scores[:, 1]
    if np.unique(truth).size < 2:
        return math.nan
    if scores.ndim == 1:
        return binary(truth == 1, scores)
    present = [c for c in range(scores.shape[1]) if (truth == c).any()]
    return float(np.mean([binary(truth == c, scores[:, c]) for c in present]))


def _binary_auc(positive: np.ndarray, score: np.ndarray) -> float:
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    ranks = _mid_ranks(score)[positive].sum()
    return float((ranks - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def _binary_average_precision(positive: np.ndarray, score: np.ndarray) -> float:
    return float(weighted_average_precision(positive, score, np.ones((1, positive.size)))[0])


def _said_and_came(truth: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) probability and (n,) 0 or 1 of the event it was given to; see :func:`calibration_error`."""
    truth = np.asarray(truth)
    if probabilities.shape[1] == 2:
        return np.asarray(probabilities[:, 1], dtype=np.float64), (truth == 1).astype(np.float64)
    top = probabilities.argmax(axis=1)
    return np.asarray(probabilities.max(axis=1), dtype=np.float64), (truth == top).astype(np.float64)


def _bins(said: np.ndarray) -> np.ndarray:
    """Return (n,) bin of equal mass; mid-ranks keep equal values together whatever the order of the cases."""
    n_bins = max(1, min(N_BINS, said.size // BIN_CASES))
    return np.asarray(((_mid_ranks(said) - 0.5) / said.size * n_bins).astype(int))


def _mid_ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata  # noqa: PLC0415 (half a second, for two of the metrics)

    return np.asarray(rankdata(values))


def _line_loss(design: np.ndarray, came: np.ndarray, line: np.ndarray) -> float:
    """Return the mean logistic loss of a recalibration line."""
    z = design @ line
    return float(np.mean(np.logaddexp(0.0, z) - came * z))


def _ranked_counts(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return true and false positives at each distinct threshold, from the strictest on."""
    order = np.argsort(-np.asarray(score, dtype=np.float64), kind="stable")
    ordered, positive = np.asarray(score)[order], np.asarray(truth).astype(bool)[order]
    last = np.flatnonzero(np.concatenate([np.diff(ordered) < 0, [True]]))
    return np.cumsum(positive)[last], np.cumsum(~positive)[last]


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep at most 200 points, both ends among them, evenly spaced along the curve."""
    if x.size <= CURVE_POINTS:
        return x, y
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    wanted = np.linspace(0.0, along[-1], CURVE_POINTS)
    keep = np.unique(np.concatenate([[0], np.searchsorted(along, wanted[1:-1]), [x.size - 1]]))
    return x[keep], y[keep]

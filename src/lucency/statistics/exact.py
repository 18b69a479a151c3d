"""Proportions and areas under the curve in closed form."""

import math

import numpy as np
from scipy import special

from lucency.errors import UsageError
from lucency.statistics.measure import ALPHA, NORMAL, Patients, groups


def wilson(hits: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a proportion.

    Args:
        hits: Successes, 0 to ``n``.
        n: Trials, > 0.

    Source:
        Wilson 1927, doi:10.1080/01621459.1927.10502953.

    Example:
        >>> [round(end, 4) for end in wilson(81, 263)]
        [0.2553, 0.3662]
    """
    z = NORMAL
    share, width = hits / n, z * math.sqrt(hits * (n - hits) / n + z * z / 4) / n
    middle = share + z * z / (2 * n)
    scale = 1 + z * z / n
    return max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale)


def clopper_pearson(hits: int, n: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a proportion.

    Args:
        hits: Successes, 0 to ``n``.
        n: Trials, > 0.

    Source:
        Clopper & Pearson 1934, doi:10.1093/biomet/26.4.404.
    """
    lower = 0.0 if hits == 0 else float(special.betaincinv(hits, n - hits + 1, ALPHA / 2))
    upper = 1.0 if hits == n else float(special.betaincinv(hits + 1, n - hits, 1 - ALPHA / 2))
    return lower, upper


def delong(truth: np.ndarray, scores: np.ndarray, patients: Patients | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return AUCs of one or more scores on the same cases, and their covariance.

    With one case per patient this is DeLong's covariance by mid-ranks; with several it is Obuchowski's, which
    sums the same components within a patient first and so equals DeLong's where every patient has one case.

    Args:
        truth: (n,) 0 or 1, both present.
        scores: (m, n) or (n,) float; higher means class 1.
        patients: (n,) patient of each case; None when each is its own.

    Returns:
        (m,) AUCs and (m, m) covariance; NaN covariance where a class has a single patient.

    Source:
        DeLong 1988, doi:10.2307/2531595; Sun & Xu 2014, doi:10.1109/LSP.2014.2337313;
        Obuchowski 1997, doi:10.2307/2533958.
    """
    from scipy.stats import rankdata  # noqa: PLC0415 (half a second that importing Metric should not cost)

    scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    positive = np.asarray(truth).astype(bool)
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if not n_pos or not n_neg:
        raise UsageError("One class only", expected="cases of both classes for an AUC")
    ranks = rankdata(scores, axis=1)
    # A component is the share of the other class that a case is ranked rightly against, ties counting one half.
    components = np.empty_like(scores)
    components[:, positive] = (ranks[:, positive] - rankdata(scores[:, positive], axis=1)) / n_neg
    components[:, ~positive] = 1 - (ranks[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / n_pos
    aucs = components[:, positive].mean(axis=1)
    group, count = groups(patients, positive.size)
    residual = components - aucs[:, None]
    by_pos = np.stack([np.bincount(group[positive], r[positive], count) for r in residual])
    by_neg = np.stack([np.bincount(group[~positive], r[~positive], count) for r in residual])
    with_pos, with_neg = np.unique(group[positive]).size, np.unique(group[~positive]).size
    if min(with_pos, with_neg) < 2:
        return aucs, np.full((aucs.size, aucs.size), np.nan)
    covariance = with_pos / (with_pos - 1) * (by_pos @ by_pos.T) / n_pos**2
    covariance += with_neg / (with_neg - 1) * (by_neg @ by_neg.T) / n_neg**2
    cross = by_pos @ by_neg.T
    covariance += count / (count - 1) * (cross + cross.T) / (n_pos * n_neg)
    return aucs, covariance

"""Grey level co-occurrence: how often which levels stand side by side."""

from collections.abc import Callable

import numpy as np

from lucency.radiomics.feature import Feature, Undefined, mean_of, settled
from lucency.radiomics.firstorder import entropy
from lucency.radiomics.neighbours import TOO_FAR, Step, directions, paired, weights
from lucency.radiomics.region import Region


def features(region: Region) -> dict[str, Feature]:
    """Return the 24 co-occurrence features.

    Args:
        region: Its grey levels, ``distances``, ``weighting`` and ``symmetric``.

    Source:
        IBSI reference manual, grey level co-occurrence based features (LFYI), doi:10.1148/radiol.2020191145;
        Haralick 1973, doi:10.1109/TSMC.1973.4309314, whose f14 is MCC.
    """
    levels = np.unique(region.levels[region.inside])
    ranks = np.searchsorted(levels, region.levels) * region.inside
    settings = region.settings
    steps = directions(settings, settings.distances, region.inside.shape)
    each = [matrix(ranks, region.inside, step, len(levels)) for step in steps]
    if settings.symmetric:
        each = [one + one.T for one in each]
    lonely = not any(one.any() for one in each)
    if settings.weighting != "separate" and each:
        each = [np.tensordot(weights(steps, region.spacing, settings), np.stack(each), 1)]
    each = [one / one.sum() for one in each if one.sum() > 0]
    if not each:
        nothing = Undefined("No two voxels of the region are neighbours" if lonely else TOO_FAR)
        return dict.fromkeys(described(np.ones((1, 1)), np.ones(1), 1), nothing)
    found = [described(one, levels.astype(np.float64), int(levels[-1])) for one in each]
    return mean_of(settled(found) if settings.flat == "conventional" else found)


def matrix(ranks: np.ndarray, inside: np.ndarray, step: Step, n: int) -> np.ndarray:
    """Return how often rank a has rank b at ``step``, both inside.

    Args:
        ranks: (K, J, I) int, 0 to n - 1.
        inside: (K, J, I) bool.
        step: (k, j, i) from a voxel to its neighbour.
        n: Number of ranks.

    Returns:
        (n, n) float.
    """
    (a, b), (in_a, in_b) = paired(ranks, step), paired(inside, step)
    both = in_a & in_b
    counts = np.bincount(a[both] * n + b[both], minlength=n * n)
    return counts.reshape(n, n).astype(np.float64)


def described(p: np.ndarray, g: np.ndarray, n_levels: int) -> dict[str, Feature]:
    """Return the features of one matrix.

    Args:
        p: (m, m) float, adds up to 1.
        g: (m,) float: the grey level of each row and column, rising; levels that do not occur may be missing.
        n_levels: Highest level, by which differences are normalised.
    """
    rows, columns = p.sum(1), p.sum(0)
    mean_a, mean_b = float(rows @ g), float(columns @ g)
    away_a, away_b = g - mean_a, g - mean_b
    whole = g.astype(np.int64)
    added = np.bincount(np.add.outer(whole, whole).ravel(), p.ravel())
    k_added = np.arange(len(added), dtype=np.float64)
    apart = np.bincount(np.abs(np.subtract.outer(whole, whole)).ravel(), p.ravel())
    k = np.arange(len(apart), dtype=np.float64)
    difference = float(apart @ k)
    centred = k_added - mean_a - mean_b
    return {
        "Autocorrelation": float(g @ p @ g),
        "ClusterProminence": float(added @ centred**4),
        "ClusterShade": float(added @ centred**3),
        "ClusterTendency": float(added @ centred**2),
        "Contrast": float(apart @ k**2),
        "Correlation": _correlation(float(away_a @ p @ away_b), float(rows @ away_a**2), float(columns @ away_b**2)),
        "DifferenceAverage": difference,
        "DifferenceEntropy": entropy(apart),
        "DifferenceVariance": float(apart @ (k - difference) ** 2),
        "Id": float(apart @ (1 / (1 + k))),
        "Idm": float(apart @ (1 / (1 + k**2))),
        "Idmn": float(apart @ (1 / (1 + k**2 / n_levels**2))),
        "Idn": float(apart @ (1 / (1 + k / n_levels))),
        **_information(p, rows, columns),
        "InverseVariance": float(apart[1:] @ (1 / k[1:] ** 2)),
        "JointAverage": mean_a,
        "JointEnergy": float((p**2).sum()),
        "JointEntropy": entropy(p),
        "MCC": _coefficient(p, rows, columns),
        "MaximumProbability": float(p.max()),
        "SumAverage": float(added @ k_added),
        "SumEntropy": entropy(added),
        "SumSquares": float(rows @ away_a**2),
    }


def _correlation(together: float, spread_a: float, spread_b: float) -> Feature:
    if spread_a <= 0 or spread_b <= 0:
        return Undefined("All pairs have the same level: no spread to correlate", 1.0)
    return together / float(np.sqrt(spread_a * spread_b))


def _information(p: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> dict[str, Feature]:
    """Return the two information measures of correlation: mutual information against its largest value."""
    joint, most = entropy(p), max(entropy(rows), entropy(columns))
    product = np.outer(rows, columns)
    some = product > 0
    log: Callable[[np.ndarray], np.ndarray] = np.log2
    bits = -log(product[some])
    one, two = float(p[some] @ bits), float(product[some] @ bits)
    if most <= 0:
        nothing = Undefined("All pairs have the same level: no information to share", 0.0)
        return {"Imc1": nothing, "Imc2": nothing}
    return {"Imc1": (joint - one) / most, "Imc2": float(np.sqrt(-np.expm1(-2 * max(0.0, two - joint))))}


def _coefficient(p: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Feature:
    """Return the maximal correlation coefficient.

    It is the root of the second largest eigenvalue of Q(a, b) = Σ p(a, c) p(b, c) / (rows(a) columns(c)), which is
    the second largest singular value of p with rows and columns divided by the roots of their sums: no eigenvalue
    turns complex by rounding.
    """
    some_a, some_b = rows > 0, columns > 0
    if min(some_a.sum(), some_b.sum()) < 2:
        return Undefined("All pairs have the same level: nothing to correlate", 1.0)
    scaled = p[np.ix_(some_a, some_b)] / np.sqrt(np.outer(rows[some_a], columns[some_b]))
    return float(min(1.0, np.linalg.svd(scaled, compute_uv=False)[1]))

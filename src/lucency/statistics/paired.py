"""Two methods on the same patients, and many such comparisons together."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from lucency.statistics.exact import clopper_pearson, delong
from lucency.statistics.intervals import mean_metric
from lucency.statistics.measure import (
    ALPHA,
    NORMAL,
    TOO_FEW,
    Metric,
    Paired,
    Patients,
    Statistic,
    bootstrap_name,
    disjoint_pairs,
    groups,
    patients_by_class,
    percentiles,
    too_few,
)
from lucency.statistics.resampling import mean_of, resampled


def compare_auc(truth: np.ndarray, first: np.ndarray, second: np.ndarray, patients: Patients) -> Paired:
    """Compare two scores of a binary class on the same cases: paired DeLong, by patient.

    Args:
        truth: (n,) 0 or 1.
        first: (n,) float.
        second: (n,) float.
        patients: (n,) patient of each case.

    Returns:
        The difference of the AUCs; without interval and p under 20 patients, or 5 in a class.

    Source:
        DeLong 1988, doi:10.2307/2531595; clustered: Obuchowski 1997, doi:10.2307/2533958.
    """
    truth = np.asarray(truth)
    n_patients = groups(patients, truth.size)[1]
    test = "paired DeLong" if n_patients == truth.size else "paired DeLong clustered by patient"
    if np.unique(truth).size < 2:
        return Paired(Metric(math.nan, n=n_patients, method="undefined: one class only", best=2.0), None, test)
    aucs, covariance = delong(truth, np.stack([first, second]), patients)
    difference = float(aucs[0] - aucs[1])
    if too_few(truth, patients):
        return Paired(Metric(difference, n=n_patients, method=TOO_FEW), None, TOO_FEW)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # Rounding leaves about 1e-17; a real variance of n cases is far above 1 / n ** 4.
    if variance <= 1e-15:
        return _compare_without_spread(truth, aucs, (first, second), patients, test)
    half = NORMAL * math.sqrt(variance)
    p = 2 * float(special.ndtr(-abs(difference) / math.sqrt(variance)))
    return Paired(
        Metric(difference, max(-1.0, difference - half), min(1.0, difference + half), n_patients, test), p, test
    )


def compare_hits(first: np.ndarray, second: np.ndarray, patients: Patients, rng: np.random.Generator) -> Paired:
    """Compare the accuracy of two labellings of the same cases.

    One case per patient: McNemar's exact test. Several: paired patient bootstrap.

    Args:
        first: (n,) bool: labelled rightly.
        second: (n,) bool.
        patients: (n,) patient of each case.
        rng: Of the bootstrap.
    """
    first, second = np.asarray(first).astype(bool), np.asarray(second).astype(bool)
    if groups(patients, first.size)[1] < first.size:
        return compare_resampled(mean_of(first), mean_of(second), patients, rng)
    difference = mean_metric(first.astype(float) - second, patients, rng, bounds=(-1.0, 1.0))
    return Paired(difference, mcnemar(int((first & ~second).sum()), int((second & ~first).sum())), "McNemar, exact")


def compare_values(
    first: np.ndarray, second: np.ndarray, patients: Patients, rng: np.random.Generator, *, best: float = 1.0
) -> Paired:
    """Compare a score per case (Dice, distance) of two methods: Wilcoxon's signed ranks of the patients' means.

    Args:
        first: (n,) float; a case where either is NaN is left out.
        second: (n,) float.
        patients: (n,) patient of each case.
        rng: Of the bootstrap that gives the difference its interval.
        best: Best value of the score itself.

    Source:
        Wilcoxon 1945, doi:10.2307/3001968; zeros by Pratt 1959, doi:10.1080/01621459.1959.10501526.
    """
    from scipy.stats import wilcoxon  # noqa: PLC0415 (as in delong)

    change = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    difference = mean_metric(change, patients, rng, best=best)
    keep = ~np.isnan(change)
    group, count = groups(np.asarray(patients)[keep], int(keep.sum()))
    means = np.bincount(group, change[keep], count) / np.bincount(group, minlength=count)
    test = "Wilcoxon signed-rank on patients' means"
    if not means.any():
        return Paired(difference, 1.0 if means.size else None, test)
    return Paired(difference, float(wilcoxon(means, zero_method="pratt").pvalue), test)


def compare_resampled(
    first: Statistic,
    second: Statistic,
    patients: Patients,
    rng: np.random.Generator,
    *,
    truth: np.ndarray | None = None,
) -> Paired:
    """Compare any statistic of two methods on the same cases by the paired patient bootstrap.

    Args:
        first: See :func:`resampled`.
        second: The same statistic of the other method.
        patients: (n,) patient of each case.
        rng: Of the bootstrap.
        truth: (n,) class index; then every class that occurs needs 5 patients.
    """
    n_patients, ones = groups(patients, len(patients))[1], np.ones((1, len(patients)))
    value = float((first(ones) - second(ones))[0])
    if too_few(truth, patients):
        return Paired(Metric(value, n=n_patients, method=TOO_FEW), None, TOO_FEW)
    values = resampled(lambda weights: first(weights) - second(weights), patients, rng)
    values = values[~np.isnan(values)]
    if np.ptp(values) == 0 and value == 0:
        return Paired(Metric(0.0, n=n_patients, method="no spread between patients"), 1.0, "paired patient bootstrap")
    tail = 1 + min(int((values <= 0).sum()), int((values >= 0).sum()))
    name = f"paired {bootstrap_name()}"
    metric = Metric(value, *percentiles(values, n_patients), n_patients, name)
    return Paired(metric, min(1.0, 2 * tail / (values.size + 1)), name)


def nadeau_bengio(differences: np.ndarray, n_train: float, n_test: float) -> Paired:
    """Compare two methods over folds whose training sets overlap: the corrected resampled t-test.

    Args:
        differences: (folds,) float, first minus second, one per fold; at least two.
        n_train: Cases each fold was trained on.
        n_test: Cases it was judged on.

    Source:
        Nadeau & Bengio 2003, doi:10.1023/A:1024068626366.
    """
    differences = np.asarray(differences, dtype=np.float64)
    test, folds = "Nadeau–Bengio corrected t", differences.size
    mean = float(differences.mean())
    if folds < 2:
        return Paired(Metric(mean, n=folds, method=TOO_FEW), None, test)
    error = corrected_error(differences, n_train, n_test)
    if error == 0:
        return Paired(Metric(mean, mean, mean, folds, f"{test}, folds"), 1.0 if mean == 0 else 0.0, test)
    half = float(special.stdtrit(folds - 1, 1 - ALPHA / 2)) * error
    p = 2 * float(special.stdtr(folds - 1, -abs(mean) / error))
    return Paired(Metric(mean, mean - half, mean + half, folds, f"{test}, folds"), p, test)


def corrected_error(differences: np.ndarray, n_train: float, n_test: float) -> float:
    """Return the standard error of a mean over folds whose training sets overlap; NaN of fewer than two.

    Args:
        differences: (folds,) float.
        n_train: Cases each fold was trained on.
        n_test: Cases it was judged on.

    Source:
        Nadeau & Bengio 2003, doi:10.1023/A:1024068626366.
    """
    if differences.size < 2:
        return math.nan
    return math.sqrt((1 / differences.size + n_test / n_train) * float(differences.var(ddof=1)))


def one_sided(paired: Paired) -> float | None:
    """Return the p of "the first is better" that belongs to the two-sided p of a symmetric test; None without one.

    Example:
        >>> one_sided(Paired(Metric(0.02), 0.04, "t")), one_sided(Paired(Metric(-0.02), 0.04, "t"))
        (0.02, 0.98)
    """
    if paired.p is None:
        return None
    return paired.p / 2 if paired.difference.value > 0 else 1 - paired.p / 2


def mcnemar(only_first: int, only_second: int) -> float:
    """Return McNemar's exact two-sided p from the cases that only one of two methods labelled rightly.

    Source:
        McNemar 1947, doi:10.1007/BF02295996.
    """
    discordant = only_first + only_second
    return min(1.0, 2 * float(special.bdtr(min(only_first, only_second), discordant, 0.5)))


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return Holm's adjusted p-values in the given order; None stays None and does not count.

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6, 65–70.

    Example:
        >>> holm([0.01, 0.04, None, 0.03])
        (0.03, 0.06, None, 0.06)
    """
    given = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(given):
        largest = max(largest, min(1.0, (len(given) - rank) * p))
        adjusted[i] = largest
    return tuple(adjusted)


def _compare_without_spread(
    truth: np.ndarray, aucs: np.ndarray, scores: tuple[np.ndarray, np.ndarray], patients: Patients, test: str
) -> Paired:
    """Compare AUCs whose difference has no variance: equal, or perfect against constant."""
    n_patients, difference = groups(patients, truth.size)[1], float(aucs[0] - aucs[1])
    if difference == 0:
        return Paired(Metric(0.0, n=n_patients, method="no spread between patients"), 1.0, test)
    pairs = disjoint_pairs(truth, patients)
    # What the exact bound leaves open, for each score that is not constant; a constant one is 0.5 for certain.
    slack = sum(1 - clopper_pearson(pairs, pairs)[0] for s in scores if np.ptp(s) > 0)
    ends = sorted((difference, difference - math.copysign(slack, difference)))
    by_class = patients_by_class(truth, patients)
    # Of all ways to deal the labels to the patients, one separates perfectly and one wholly wrongly.
    p = min(1.0, 2 / math.comb(sum(by_class), by_class[0]))
    return Paired(Metric(difference, ends[0], ends[1], n_patients, "exact, smallest class"), p, "exact permutation")

"""Intervals and tests that hold for medical data: patients are the unit, few cases are said to be few.

Numbers on cases go in, a :class:`Metric` or a :class:`Paired` comparison comes out. The rules of the architecture
(section 2, "Intervals") are in the functions that end in ``_metric`` or begin with ``compare_``; the statistics they
are made of stand above them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from lucency.errors import UsageError


@dataclass(frozen=True)
class Metric:
    """A number with its interval.

    Args:
        value: The estimate.
        lower: Lower end of the 95 % interval, or None where there are too few patients for one.
        upper: Upper end, or None.
        n: Number of patients (or of what ``method`` names) behind it.
        method: How the interval was made, in words, for example ``"DeLong"`` or ``"patient bootstrap, 2000"``;
            ``"too few for an interval"`` when ``lower`` is None.
        best: Best value the metric can take: 1 for AUC, 0 for Brier.
    """

    value: float
    lower: float | None = None
    upper: float | None = None
    n: int = 0
    method: str = ""
    best: float = 1.0


@dataclass(frozen=True)
class Paired:
    """Two methods on the same patients.

    Args:
        difference: First minus second, with its interval.
        p: Two-sided, or None where no test applies.
        test: Name of the test.
    """

    difference: Metric
    p: float | None
    test: str


#: (b, n) float weights, one row per resample -> (b,) float: a statistic of weighted cases.
Statistic = Callable[[np.ndarray], np.ndarray]
Patients = Sequence[str] | np.ndarray

TOO_FEW = "too few for an interval"
#: Fewer patients than this, in all or in a class, give no interval (architecture, section 2).
MIN_PATIENTS, MIN_CLASS = 20, 5
N_RESAMPLES = 2000
#: Two-sided error of every interval.
ALPHA = 0.05
#: Standard errors on either side of a normal estimate.
NORMAL = float(special.ndtri(1 - ALPHA / 2))
#: Weights held at once while resampling; 4 million float64 are 32 MB.
CHUNK = 4_000_000


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
    group, count = _groups(patients, positive.size)
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


def resampled(statistic: Statistic, patients: Patients, rng: np.random.Generator, n: int = N_RESAMPLES) -> np.ndarray:
    """Return (n,) values of a statistic when whole patients are drawn with replacement.

    A patient's cases stay together. The statistic sees how often each case was drawn as a weight, so that a metric
    of counts is one matrix product for all resamples; :func:`by_cases` wraps one that cannot take weights.

    Args:
        statistic: (b, cases) weights -> (b,) values; NaN where a resample does not define it.
        patients: (cases,) patient of each case.
        rng: The only source of chance.
        n: Resamples.
    """
    group, count = _groups(patients, len(patients))
    step = max(1, min(n, CHUNK // max(group.size, count)))
    values = []
    for start in range(0, n, step):
        rows = min(step, n - start)
        draw = rng.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(draw.ravel(), minlength=rows * count).reshape(rows, count)
        weights = times.astype(np.float64)
        values.append(np.asarray(statistic(weights[:, group])))
    return np.concatenate(values)


def by_cases(function: Callable[[np.ndarray], float]) -> Statistic:
    """Wrap ``function`` of the drawn cases' indices (repeats included) so that :func:`resampled` can use it."""

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.array([function(np.repeat(np.arange(row.size), row.astype(int))) for row in weights])

    return statistic


def mean_of(values: np.ndarray) -> Statistic:
    """Return the weighted mean of (n,) finite ``values`` as a statistic."""
    column = np.asarray(values, dtype=np.float64)
    return lambda weights: (weights @ column) / weights.sum(axis=1)


def auc_of(truth: np.ndarray, score: np.ndarray) -> Statistic:
    """Return the AUC of a binary score as a statistic; ties count one half.

    Args:
        truth: (n,) 0 or 1.
        score: (n,) float; higher means class 1.
    """
    order = np.argsort(score, kind="stable")
    ordered, positive = np.asarray(score)[order], np.asarray(truth).astype(bool)[order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(ordered) > 0]))

    def statistic(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, order]
        pos = np.add.reduceat(np.where(positive, drawn, 0.0), starts, axis=1)
        neg = np.add.reduceat(np.where(positive, 0.0, drawn), starts, axis=1)
        below = np.cumsum(neg, axis=1) - neg / 2
        pairs = pos.sum(axis=1) * neg.sum(axis=1)
        ranked = (pos * below).sum(axis=1)
        return np.asarray(np.divide(ranked, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))

    return statistic


def macro_auc_of(truth: np.ndarray, probabilities: np.ndarray) -> Statistic:
    """Return the mean one-vs-rest AUC, over the classes that occur, as a statistic.

    Args:
        truth: (n,) class index.
        probabilities: (n, classes).
    """
    present = [c for c in range(probabilities.shape[1]) if 0 < (truth == c).sum() < len(truth)]
    each = [auc_of(truth == c, probabilities[:, c]) for c in present]
    return lambda weights: np.asarray(np.mean([one(weights) for one in each], axis=0))


def auc_metric(truth: np.ndarray, scores: np.ndarray, patients: Patients, rng: np.random.Generator) -> Metric:
    """Return the AUC with the interval that suits the data.

    Binary: DeLong, or Obuchowski where patients have several cases, on the logit scale, which keeps the interval
    inside 0 to 1 and its coverage near 1. At 0 or 1 the variance is blind and the exact bound is used: ``k``
    patient-disjoint pairs all ranked rightly have a probability of at most AUC ** k, so Clopper–Pearson with ``k``
    trials holds for every distribution. Several classes: mean one-vs-rest AUC, patient bootstrap.

    Args:
        truth: (n,) class index.
        scores: (n,) score of class 1, or (n, classes) probabilities.
        patients: (n,) patient of each case.
        rng: Used by the bootstrap only.

    Returns:
        ``value`` is NaN when only one class occurs.

    Source:
        Logit scale: Qin & Hotilovac 2008, doi:10.1177/0962280207087173.
    """
    truth, scores = np.asarray(truth), np.asarray(scores, dtype=np.float64)
    n_patients = _groups(patients, truth.size)[1]
    if np.unique(truth).size < 2:
        return Metric(math.nan, n=n_patients, method="undefined: one class only")
    if scores.ndim == 2 and scores.shape[1] > 2:
        return bootstrap_metric(macro_auc_of(truth, scores), patients, rng, truth=truth)
    score = scores[:, 1] if scores.ndim == 2 else scores
    aucs, covariance = delong(truth, score, patients)
    value, variance = float(aucs[0]), float(covariance[0, 0])
    if _too_few(truth, patients):
        return Metric(value, n=n_patients, method=TOO_FEW)
    if value in (0.0, 1.0):
        pairs = _disjoint_pairs(truth, patients)
        return Metric(value, *clopper_pearson(round(value * pairs), pairs), n_patients, "exact, smallest class")
    method = "DeLong, logit" if n_patients == truth.size else "DeLong clustered by patient, logit"
    half = NORMAL * math.sqrt(max(variance, 0.0)) / (value * (1 - value))
    middle = float(special.logit(value))
    return Metric(value, float(special.expit(middle - half)), float(special.expit(middle + half)), n_patients, method)


def proportion_metric(
    hits: np.ndarray, patients: Patients, rng: np.random.Generator, *, among: np.ndarray | None = None
) -> Metric:
    """Return a proportion (accuracy, sensitivity, specificity) with its interval.

    One case per patient: Wilson. Several: patient bootstrap. At 0 or 1: exact, with patients as trials.

    Args:
        hits: (n,) bool.
        patients: (n,) patient of each case.
        rng: Used by the bootstrap only.
        among: (n,) bool: the cases that count, for example the diseased for a sensitivity; then 5 patients among
            them are enough where there are 20 in all.
    """
    hits, ids = np.asarray(hits).astype(bool), np.asarray(patients)
    few = np.unique(ids).size < MIN_PATIENTS
    if among is not None:
        hits, ids = hits[among], ids[among]
        few = few or np.unique(ids).size < MIN_CLASS
    n_patients = np.unique(ids).size
    if not hits.size:
        return Metric(math.nan, n=0, method="undefined: no cases")
    value = float(hits.mean())
    if few:
        return Metric(value, n=n_patients, method=TOO_FEW)
    if value in (0.0, 1.0):
        return Metric(value, *clopper_pearson(round(value * n_patients), n_patients), n_patients, "Clopper–Pearson")
    if n_patients == hits.size:
        return Metric(value, *wilson(int(hits.sum()), hits.size), n_patients, "Wilson")
    return Metric(value, *_percentiles(resampled(mean_of(hits), ids, rng), n_patients), n_patients, _bootstrap_name())


def mean_metric(
    values: np.ndarray,
    patients: Patients,
    rng: np.random.Generator,
    *,
    best: float = 1.0,
    bounds: tuple[float, float] | None = None,
) -> Metric:
    """Return the mean over cases with a patient-bootstrap interval.

    Args:
        values: (n,) float; NaN is "undefined for this case" and is left out, which ``method`` then says.
        patients: (n,) patient of each case.
        rng: Of the bootstrap.
        best: Best value of the metric.
        bounds: Smallest and largest possible value, for example (0, 1) for Dice. When all values lie on one of
            them, an exact bound replaces the bootstrap, which would claim certainty.
    """
    values, ids = np.asarray(values, dtype=np.float64), np.asarray(patients)
    defined = ~np.isnan(values)
    left_out = int((~defined).sum())
    note = f"; {left_out} undefined left out" if left_out else ""
    if not defined.any():
        return Metric(math.nan, n=0, method="undefined: no cases", best=best)
    found = bootstrap_metric(mean_of(values[defined]), ids[defined], rng, best=best, bounds=bounds)
    return Metric(found.value, found.lower, found.upper, found.n, found.method + note, best)


def bootstrap_metric(
    statistic: Statistic,
    patients: Patients,
    rng: np.random.Generator,
    *,
    truth: np.ndarray | None = None,
    best: float = 1.0,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> Metric:
    """Return any statistic of weighted cases with its patient-bootstrap interval.

    Args:
        statistic: See :func:`resampled`; its value is the one with all weights 1.
        patients: (n,) patient of each case.
        rng: Of the bootstrap.
        truth: (n,) class index; then every class that occurs needs 5 patients.
        best: Best value of the metric.
        bounds: Smallest and largest possible value, or None. A value on a bound gets Clopper–Pearson's interval
            with the patients of the smallest class as trials, scaled to the bounds: exact for a mean (a mean within
            bounds is never nearer to the bound than the share of cases on it), conservative for F1 and the like.
    """
    n_cases, n_patients = len(patients), _groups(patients, len(patients))[1]
    value = float(np.asarray(statistic(np.ones((1, n_cases))))[0])
    if math.isnan(value):
        return Metric(value, n=n_patients, method="undefined", best=best)
    if _too_few(truth, patients):
        return Metric(value, n=n_patients, method=TOO_FEW, best=best)
    if bounds is not None and value in bounds:
        low, high = bounds
        trials = n_patients if truth is None else min(_patients_by_class(truth, patients))
        ends = clopper_pearson(trials if value == high else 0, trials)
        lower, upper = (low + end * (high - low) for end in ends)
        name = "exact" if truth is None else "exact, smallest class"
        return Metric(value, lower, upper, n_patients, name, best)
    values = resampled(statistic, patients, rng)
    if np.ptp(values[~np.isnan(values)]) == 0:
        return Metric(value, n=n_patients, method="no spread between patients", best=best)
    return Metric(value, *_percentiles(values, n_patients), n_patients, _bootstrap_name(), best)


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
    n_patients = _groups(patients, truth.size)[1]
    test = "paired DeLong" if n_patients == truth.size else "paired DeLong clustered by patient"
    if np.unique(truth).size < 2:
        return Paired(Metric(math.nan, n=n_patients, method="undefined: one class only", best=2.0), None, test)
    aucs, covariance = delong(truth, np.stack([first, second]), patients)
    difference = float(aucs[0] - aucs[1])
    if _too_few(truth, patients):
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
    if _groups(patients, first.size)[1] < first.size:
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
    group, count = _groups(np.asarray(patients)[keep], int(keep.sum()))
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
    n_patients, ones = _groups(patients, len(patients))[1], np.ones((1, len(patients)))
    value = float((first(ones) - second(ones))[0])
    if _too_few(truth, patients):
        return Paired(Metric(value, n=n_patients, method=TOO_FEW), None, TOO_FEW)
    values = resampled(lambda weights: first(weights) - second(weights), patients, rng)
    values = values[~np.isnan(values)]
    if np.ptp(values) == 0 and value == 0:
        return Paired(Metric(0.0, n=n_patients, method="no spread between patients"), 1.0, "paired patient bootstrap")
    tail = 1 + min(int((values <= 0).sum()), int((values >= 0).sum()))
    name = f"paired {_bootstrap_name()}"
    metric = Metric(value, *_percentiles(values, n_patients), n_patients, name)
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
    error = math.sqrt((1 / folds + n_test / n_train) * float(differences.var(ddof=1)))
    if error == 0:
        return Paired(Metric(mean, mean, mean, folds, f"{test}, folds"), 1.0 if mean == 0 else 0.0, test)
    half = float(special.stdtrit(folds - 1, 1 - ALPHA / 2)) * error
    p = 2 * float(special.stdtr(folds - 1, -abs(mean) / error))
    return Paired(Metric(mean, mean - half, mean + half, folds, f"{test}, folds"), p, test)


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


def _groups(patients: Patients | None, n: int) -> tuple[np.ndarray, int]:
    """Return (n,) index of each case's patient, and the number of patients."""
    if patients is None:
        return np.arange(n), n
    if len(patients) != n:
        raise UsageError(f"{len(patients)} patients for {n} cases", expected="one patient per case")
    # Numbered as they come, not by name: pseudonyms differ from run to run, and the bootstrap must not.
    number: dict[object, int] = {}
    group = np.array([number.setdefault(p, len(number)) for p in np.asarray(patients).tolist()], dtype=np.intp)
    return group, len(number)


def _patients_by_class(truth: np.ndarray, patients: Patients) -> list[int]:
    """Return how many patients have a case of each class that occurs."""
    ids, truth = np.asarray(patients), np.asarray(truth)
    return [np.unique(ids[truth == c]).size for c in np.unique(truth)]


def _too_few(truth: np.ndarray | None, patients: Patients) -> bool:
    if np.unique(np.asarray(patients)).size < MIN_PATIENTS:
        return True
    return truth is not None and min(_patients_by_class(truth, patients)) < MIN_CLASS


def _disjoint_pairs(truth: np.ndarray, patients: Patients) -> int:
    """Return how many (class 1, class 0) pairs of cases can be formed without using a patient twice."""
    n_patients = np.unique(np.asarray(patients)).size
    return min(*_patients_by_class(truth, patients), n_patients // 2)


def _percentiles(values: np.ndarray, n_patients: int) -> tuple[float, float]:
    """Return the expanded percentile interval, which undoes the bootstrap's narrowness for few patients.

    Source: Hesterberg 2015, doi:10.1080/00031305.2015.1089789, section 4.3.
    """
    t = float(special.stdtrit(n_patients - 1, ALPHA / 2)) * math.sqrt(n_patients / (n_patients - 1))
    tail = float(special.ndtr(t))
    lower, upper = np.nanquantile(values, [tail, 1 - tail])
    return float(lower), float(upper)


def _bootstrap_name() -> str:
    return f"patient bootstrap, {N_RESAMPLES}"


def _compare_without_spread(
    truth: np.ndarray, aucs: np.ndarray, scores: tuple[np.ndarray, np.ndarray], patients: Patients, test: str
) -> Paired:
    """Compare AUCs whose difference has no variance: equal, or perfect against constant."""
    n_patients, difference = _groups(patients, truth.size)[1], float(aucs[0] - aucs[1])
    if difference == 0:
        return Paired(Metric(0.0, n=n_patients, method="no spread between patients"), 1.0, test)
    pairs = _disjoint_pairs(truth, patients)
    # What the exact bound leaves open, for each score that is not constant; a constant one is 0.5 for certain.
    slack = sum(1 - clopper_pearson(pairs, pairs)[0] for s in scores if np.ptp(s) > 0)
    ends = sorted((difference, difference - math.copysign(slack, difference)))
    by_class = _patients_by_class(truth, patients)
    # Of all ways to deal the labels to the patients, one separates perfectly and one wholly wrongly.
    p = min(1.0, 2 / math.comb(sum(by_class), by_class[0]))
    return Paired(Metric(difference, ends[0], ends[1], n_patients, "exact, smallest class"), p, "exact permutation")

"""Metrics with the interval that suits the data."""

import math

import numpy as np
from scipy import special

from lucency.statistics.exact import clopper_pearson, delong, wilson
from lucency.statistics.measure import (
    MIN_CLASS,
    MIN_PATIENTS,
    NORMAL,
    TOO_FEW,
    Metric,
    Patients,
    Statistic,
    bootstrap_name,
    disjoint_pairs,
    groups,
    patients_by_class,
    percentiles,
    too_few,
)
from lucency.statistics.resampling import macro_auc_of, mean_of, resampled


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
    n_patients = groups(patients, truth.size)[1]
    if np.unique(truth).size < 2:
        return Metric(math.nan, n=n_patients, method="undefined: one class only")
    if scores.ndim == 2 and scores.shape[1] > 2:
        return bootstrap_metric(macro_auc_of(truth, scores), patients, rng, truth=truth)
    score = scores[:, 1] if scores.ndim == 2 else scores
    aucs, covariance = delong(truth, score, patients)
    value, variance = float(aucs[0]), float(covariance[0, 0])
    if too_few(truth, patients):
        return Metric(value, n=n_patients, method=TOO_FEW)
    if value in (0.0, 1.0):
        pairs = disjoint_pairs(truth, patients)
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
    return Metric(value, *percentiles(resampled(mean_of(hits), ids, rng), n_patients), n_patients, bootstrap_name())


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
    n_cases, n_patients = len(patients), groups(patients, len(patients))[1]
    value = float(np.asarray(statistic(np.ones((1, n_cases))))[0])
    if math.isnan(value):
        return Metric(value, n=n_patients, method="undefined", best=best)
    if too_few(truth, patients):
        return Metric(value, n=n_patients, method=TOO_FEW, best=best)
    if bounds is not None and value in bounds:
        low, high = bounds
        trials = n_patients if truth is None else min(patients_by_class(truth, patients))
        ends = clopper_pearson(trials if value == high else 0, trials)
        lower, upper = (low + end * (high - low) for end in ends)
        name = "exact" if truth is None else "exact, smallest class"
        return Metric(value, lower, upper, n_patients, name, best)
    values = resampled(statistic, patients, rng)
    if np.ptp(values[~np.isnan(values)]) == 0:
        return Metric(value, n=n_patients, method="no spread between patients", best=best)
    return Metric(value, *percentiles(values, n_patients), n_patients, bootstrap_name(), best)

"""A number with its interval, two methods compared, and the rules of both."""

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


def groups(patients: Patients | None, n: int) -> tuple[np.ndarray, int]:
    """Return (n,) index of each case's patient, and the number of patients."""
    if patients is None:
        return np.arange(n), n
    if len(patients) != n:
        raise UsageError(f"{len(patients)} patients for {n} cases", expected="one patient per case")
    # Numbered as they come, not by name: pseudonyms differ from run to run, and the bootstrap must not.
    number: dict[object, int] = {}
    group = np.array([number.setdefault(p, len(number)) for p in np.asarray(patients).tolist()], dtype=np.intp)
    return group, len(number)


def patients_by_class(truth: np.ndarray, patients: Patients) -> list[int]:
    """Return how many patients have a case of each class that occurs."""
    ids, truth = np.asarray(patients), np.asarray(truth)
    return [np.unique(ids[truth == c]).size for c in np.unique(truth)]


def too_few(truth: np.ndarray | None, patients: Patients) -> bool:
    """Tell whether there are under 20 patients, or under 5 in a class of (n,) ``truth``."""
    if np.unique(np.asarray(patients)).size < MIN_PATIENTS:
        return True
    return truth is not None and min(patients_by_class(truth, patients)) < MIN_CLASS


def disjoint_pairs(truth: np.ndarray, patients: Patients) -> int:
    """Return how many (class 1, class 0) pairs of cases can be formed without using a patient twice."""
    n_patients = np.unique(np.asarray(patients)).size
    return min(*patients_by_class(truth, patients), n_patients // 2)


def percentiles(values: np.ndarray, n_patients: int) -> tuple[float, float]:
    """Return the expanded percentile interval, which undoes the bootstrap's narrowness for few patients.

    Source: Hesterberg 2015, doi:10.1080/00031305.2015.1089789, section 4.3.
    """
    t = float(special.stdtrit(n_patients - 1, ALPHA / 2)) * math.sqrt(n_patients / (n_patients - 1))
    tail = float(special.ndtr(t))
    lower, upper = np.nanquantile(values, [tail, 1 - tail])
    return float(lower), float(upper)


def bootstrap_name() -> str:
    """Name the bootstrap, as ``Metric.method`` says it."""
    return f"patient bootstrap, {N_RESAMPLES}"

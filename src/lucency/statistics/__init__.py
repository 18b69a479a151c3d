"""Intervals and tests that hold for medical data: patients are the unit, few cases are said to be few.

Numbers on cases go in, a :class:`Metric` or a :class:`Paired` comparison comes out. The rules of the architecture
(section 2, "Intervals") are in the functions that end in ``_metric`` or begin with ``compare_``; the statistics they
are made of stand above them.
"""

from lucency.statistics.exact import clopper_pearson, delong, wilson
from lucency.statistics.intervals import auc_metric, bootstrap_metric, mean_metric, proportion_metric
from lucency.statistics.measure import TOO_FEW, Metric, Paired, Statistic
from lucency.statistics.paired import (
    compare_auc,
    compare_hits,
    compare_resampled,
    compare_values,
    corrected_error,
    holm,
    mcnemar,
    nadeau_bengio,
    one_sided,
)
from lucency.statistics.resampling import auc_of, by_cases, macro_auc_of, mean_of, resampled

__all__ = [
    "TOO_FEW",
    "Metric",
    "Paired",
    "Statistic",
    "auc_metric",
    "auc_of",
    "bootstrap_metric",
    "by_cases",
    "clopper_pearson",
    "compare_auc",
    "compare_hits",
    "compare_resampled",
    "compare_values",
    "corrected_error",
    "delong",
    "holm",
    "macro_auc_of",
    "mcnemar",
    "mean_metric",
    "mean_of",
    "nadeau_bengio",
    "one_sided",
    "proportion_metric",
    "resampled",
    "wilson",
]

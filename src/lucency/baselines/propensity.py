"""Who was likely to be given what: the chance of each value of a treatment column, told from the other columns."""

import numpy as np

from lucency.columns import standard

#: Inverse strength of the penalty on standardised columns: weak, for a check and not a prediction.
STRENGTH = 1.0


def propensity(table: np.ndarray, given: np.ndarray, fold: np.ndarray, n_values: int) -> np.ndarray:
    """Return the chance of each value for each patient, from patients of the other folds.

    Args:
        table: (n, p) float of the other columns, NaN where not known; p may be 0.
        given: (n,) int, the value that each patient had.
        fold: (n,) int; a patient's rows share one.
        n_values: How many values there are.

    Returns:
        (n, values); rows sum to 1. Without a column, or where a fold leaves one value only, the shares of the others.

    Source:
        Rosenbaum & Rubin 1983, doi:10.1093/biomet/70.1.41; cross-fitted: Chernozhukov 2018, doi:10.1111/ectj.12097.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow to import

    found = np.zeros((len(given), n_values))
    for number in np.unique(fold):
        inside, outside = fold != number, fold == number
        if not inside.any():
            inside = outside
        shares = np.bincount(given[inside], minlength=n_values) / inside.sum()
        if not table.shape[1] or (shares > 0).sum() < 2:
            found[outside] = shares
            continue
        known = standard(table[inside])
        model = LogisticRegression(C=STRENGTH, max_iter=1000)
        model.fit(known.apply(table[inside]), given[inside])
        found[np.ix_(outside, model.classes_)] = model.predict_proba(known.apply(table[outside]))
    return found

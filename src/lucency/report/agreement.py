"""Numbers against numbers: predicted against true, and their difference against their mean."""

import numpy as np

from lucency.evaluate import Part
from lucency.report.figures import DASHES, PAINT, SERIES, Sheet, styled
from lucency.report.numbers import number
from lucency.text import t

#: Cases drawn one by one; of more, as many evenly taken.
MOST_DOTS = 1500


@styled
def scatter(part: Part, lang: str) -> str:
    """Predicted against true numbers, with the line on which both are equal; empty for parts without numbers."""
    curve = part.curves.get("agreement")
    if curve is None or not curve.x:
        return ""
    truth, value = _thinned(curve.x), _thinned(curve.y)
    sheet = Sheet(3.7, 3.6)
    axes = sheet.axes(0.75, 0.55, 2.8, 2.95)
    ends = [min(truth.min(), value.min()), max(truth.max(), value.max())]
    axes.plot(ends, ends, color=PAINT["hair"], lw=1, zorder=0)
    axes.plot(truth, value, "o", color=SERIES[0], ms=3.6, mew=0, alpha=0.6)
    axes.set_xlabel(t("figure.true_value", lang))
    axes.set_ylabel(t("figure.predicted_value", lang))
    axes.locator_params(nbins=6)
    return sheet.svg("agreement", t("alt.agreement", lang, n=part.n_cases))


@styled
def difference(part: Part, lang: str) -> str:
    """Predicted minus true against the mean of both, with the bias and the limits of agreement (Bland and Altman)."""
    curve = part.curves.get("difference")
    if curve is None or not curve.x:
        return ""
    sheet = Sheet(3.7, 3.6)
    axes = sheet.axes(0.75, 0.55, 2.8, 2.95)
    axes.axhline(0, color=PAINT["hair"], lw=1, zorder=0)
    axes.plot(_thinned(curve.x), _thinned(curve.y), "o", color=SERIES[0], ms=3.6, mew=0, alpha=0.6)
    for key, dash in (("bias", "-"), ("limit_lower", DASHES[1]), ("limit_upper", DASHES[1])):
        found = part.metrics.get(key)
        if found is not None and np.isfinite(found.value):
            axes.axhline(found.value, color=SERIES[1], ls=dash, lw=1.2)
            axes.annotate(
                number(found.value, 1, sign=True),
                (1, found.value),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 2),
                textcoords="offset points",
                ha="right",
                color=SERIES[1],
            )
    axes.set_xlabel(t("figure.mean_of_both", lang))
    axes.set_ylabel(t("figure.difference", lang))
    axes.locator_params(nbins=6)
    return sheet.svg("difference", t("alt.difference", lang, n=part.n_cases))


def _thinned(values: "tuple[float, ...] | list[float]") -> np.ndarray:
    step = max(1, len(values) // MOST_DOTS)
    return np.asarray(values, dtype=float)[::step]

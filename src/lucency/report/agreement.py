"""Numbers against numbers: predicted against true, and their difference against their mean."""

import numpy as np

from lucency.evaluate import Part
from lucency.report.figures import DASHES, PAINT, SERIES, Sheet, styled
from lucency.report.numbers import number
from lucency.text import t

#: Cases drawn one by one; of more, as many evenly taken.
MOST_DOTS = 1500


def of_what(part: Part) -> tuple[str, ...]:
    """Return what there are numbers of: columns of a table that state a measure, ``""`` for the target itself."""
    return tuple(key.partition("/")[2] for key in part.curves if key.partition("/")[0] == "agreement")


def _key(family: str, what: str) -> str:
    return f"{family}/{what}" if what else family


@styled
def scatter(part: Part, lang: str, what: str = "") -> str:
    """Predicted against true numbers, with the line on which both are equal; empty for parts without numbers.

    Args:
        part: Its curves and metrics.
        lang: ``"en"`` or ``"zh"``.
        what: One of :func:`of_what`.
    """
    curve = part.curves.get(_key("agreement", what))
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
    return sheet.svg(_ident("agreement", part, what), t("alt.agreement", lang, n=part.n_cases))


@styled
def difference(part: Part, lang: str, what: str = "") -> str:
    """Predicted minus true against the mean of both, with the bias and the limits of agreement (Bland and Altman).

    Args:
        part: Its curves and metrics.
        lang: ``"en"`` or ``"zh"``.
        what: One of :func:`of_what`.
    """
    curve = part.curves.get(_key("difference", what))
    if curve is None or not curve.x:
        return ""
    sheet = Sheet(3.7, 3.6)
    axes = sheet.axes(0.75, 0.55, 2.8, 2.95)
    axes.axhline(0, color=PAINT["hair"], lw=1, zorder=0)
    axes.plot(_thinned(curve.x), _thinned(curve.y), "o", color=SERIES[0], ms=3.6, mew=0, alpha=0.6)
    for key, dash in (("bias", "-"), ("limit_lower", DASHES[1]), ("limit_upper", DASHES[1])):
        found = part.metrics.get(_key(key, what))
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
    return sheet.svg(_ident("difference", part, what), t("alt.difference", lang, n=part.n_cases))


def _ident(family: str, part: Part, what: str) -> str:
    """Return the anchor of a drawing, which may hold no sign of a column's name."""
    return f"{family}{of_what(part).index(what) if what else ''}"


def _thinned(values: "tuple[float, ...] | list[float]") -> np.ndarray:
    step = max(1, len(values) // MOST_DOTS)
    return np.asarray(values, dtype=float)[::step]

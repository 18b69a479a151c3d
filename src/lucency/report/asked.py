"""Figures that a task asks for: curves of a part, drawn as the task says, with the numbers behind them."""

from typing import TYPE_CHECKING

import numpy as np

from lucency.evaluate import Curve, Part
from lucency.report.figures import DASHES, MARKERS, PAINT, SERIES, Sheet, in_legend, legend, square, styled
from lucency.report.numbers import number
from lucency.report.tables import Table
from lucency.tasks import Figure
from lucency.text import known, t

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Places along the axis at which the numbers behind the curves are told; more would not fit under the figure.
PLACES = 6


def _marked(axes: "Axes", ticks: tuple[float, ...]) -> None:
    """Mark the abscissa with these numbers alone, those under 1 as fractions; plain words, for a page has no TeX."""
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_xticks(ticks, [f"{v:g}" if v >= 1 else f"1/{1 / v:g}" for v in ticks])
    axes.set_xticks([], minor=True)


def curves_of(part: Part, figure: Figure) -> dict[str, Curve]:
    """Return the curves of a figure by what follows its family's name; without the ends of its band."""
    named = {k.partition("/")[2]: c for k, c in part.curves.items() if k.partition("/")[0] == figure.family and c.x}
    return {k: c for k, c in named.items() if k not in figure.band}


@styled
def drawn(part: Part, figure: Figure, lang: str) -> str:
    """Draw one figure of a part; nothing where the part has none of its curves."""
    shown = curves_of(part, figure)
    if not shown:
        return ""
    sheet = Sheet(3.7, 3.6) if figure.unit else Sheet(5.2, 3.4)
    axes = sheet.axes(0.65, 0.55, sheet.width - 0.8, sheet.height - 0.7)
    _references(axes, part, figure, shown)
    for at, (label, curve) in enumerate(shown.items()):
        style = at % len(SERIES)
        called = in_legend(line_name(figure.family, label, lang))
        axes.plot(
            curve.x,
            curve.y,
            color=SERIES[style],
            ls=DASHES[style],
            drawstyle="steps-post" if figure.kind == "steps" else "default",
            marker=MARKERS[style] if figure.kind == "marked" else "",
            ms=4,
            label=called,
        )
    if figure.unit:
        square(axes)
    if figure.logarithmic:
        axes.set_xscale("log")
    if figure.ticks:
        _marked(axes, figure.ticks)
    if figure.share:
        axes.set_ylim(0, 1.02)
    axes.set_xlabel(t(f"figure.{figure.family}_x", lang))
    axes.set_ylabel(t(f"figure.{figure.family}_y", lang))
    if len(shown) > 1:
        legend(axes, loc="best")
    names = t("report.comma", lang).join(line_name(figure.family, k, lang) for k in shown if k)
    alt = t("alt.curves", lang, caption=t(f"figure.{figure.family}", lang, n=part.n_patients), names=names)
    return sheet.svg(f"asked-{figure.family}", alt)


def _references(axes: "Axes", part: Part, figure: Figure, shown: dict[str, Curve]) -> None:
    """Draw what the curves are read against: the line of agreement, the ends of intervals."""
    if figure.diagonal:
        values = [v for c in shown.values() for v in (*c.x, *c.y)]
        ends = (0.0, 1.0) if figure.unit else (min(values), max(values))
        axes.plot(ends, ends, color=PAINT["hair"], lw=1, zorder=0)
    ends_of = [part.curves[key] for key in (f"{figure.family}/{name}" for name in figure.band) if key in part.curves]
    if len(ends_of) == 2:
        low, high = ends_of
        if figure.kind == "marked":
            axes.vlines(low.x, low.y, high.y, color=PAINT["muted"], lw=1, zorder=0)
        else:
            axes.fill_between(low.x, low.y, high.y, color=PAINT["hair"], lw=0, zorder=0)


def behind(part: Part, figure: Figure, lang: str) -> Table | None:
    """Return how many stand behind each curve along its axis; None where the figure does not say."""
    shown = {k: c for k, c in curves_of(part, figure).items() if c.n}
    if not figure.counted or not shown:
        return None
    places = _places(max(max(c.x) for c in shown.values()))
    rows = []
    for label, curve in shown.items():
        at = np.searchsorted(curve.x, places, side="left")
        counts = [str(curve.n[p]) if p < len(curve.n) else "0" for p in at]
        rows.append((line_name(figure.family, label, lang), *counts))
    heads = (t(f"figure.{figure.family}_x", lang), *(number(p, 0) for p in places))
    return Table(t(f"table.{figure.family}_caption", lang), heads, tuple(rows), frozenset(range(1, len(heads))))


def _places(last: float) -> list[float]:
    """Return 0 and round places up to ``last``."""
    step = max(last, 1e-9) / (PLACES - 1)
    tens = 10.0 ** np.floor(np.log10(step))
    step = float(next(m * tens for m in (1, 2, 2.5, 5, 10) if m * tens >= step - 1e-12))
    return [n * step for n in range(PLACES) if n * step <= last]


def line_name(family: str, label: str, lang: str) -> str:
    """Return what a curve is called: from the catalogue, or the word of the data itself."""
    key = f"curve.{family}_{label}" if label else f"curve.{family}"
    return t(key, lang) if known(key) else label

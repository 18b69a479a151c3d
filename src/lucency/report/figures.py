"""Charts as inline SVG: text stays text, colours are CSS variables, so one figure serves light, dark and paper."""

import functools
import html
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from lucency.evaluate import Curve, Part
from lucency.report.numbers import bracketed, estimate, headline, metric_name, number
from lucency.statistics import Metric
from lucency.text import name, t

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours that exist only between matplotlib and the page, where each becomes the CSS variable of its name.
PAINT = {"ink": "#010101", "muted": "#020202", "hair": "#030303", "paper": "#040404"} | {
    f"s{n}": f"#05050{n}" for n in range(6)
}
SERIES = tuple(PAINT[f"s{n}"] for n in range(6))
#: Lines and markers differ as well as colours, so that a reader who sees no colour can tell them apart.
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")
#: Points of one group that are drawn one by one; a larger group is drawn as a box and its lowest points.
MOST_DOTS = 250
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "axes.edgecolor": PAINT["muted"],
    "axes.labelcolor": PAINT["ink"],
    "xtick.color": PAINT["muted"],
    "ytick.color": PAINT["muted"],
    "xtick.labelcolor": PAINT["ink"],
    "ytick.labelcolor": PAINT["ink"],
    "text.color": PAINT["ink"],
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.5,
    "axes.unicode_minus": True,
}


P = ParamSpec("P")


def styled(chart: Callable[P, str]) -> Callable[P, str]:
    """Draw a chart in the report's style, leaving matplotlib's own settings as they were."""

    @functools.wraps(chart)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        import matplotlib as mpl  # noqa: PLC0415  costs start-up time

        with mpl.rc_context(_STYLE):
            return chart(*args, **kwargs)

    return drawn


class Sheet:
    """One figure with axes at fixed places in inches, because text is laid out by the browser's fonts, not ours.

    Args:
        width: Inches; 96 px each on the screen.
        height: Inches.
    """

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.figure import Figure  # noqa: PLC0415  costs start-up time

        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))

    def axes(self, left: float, bottom: float, width: float, height: float) -> "Axes":
        """Add axes; all in inches from the lower left corner."""
        box = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def svg(self, ident: str, alt: str) -> str:
        """Return the finished figure; ``ident`` keeps its ids apart from those of other figures in the page."""
        import matplotlib as mpl  # noqa: PLC0415  costs start-up time

        text = io.StringIO()
        with warnings.catch_warnings(), mpl.rc_context({"svg.hashsalt": ident}):
            # matplotlib measures with its own font, which lacks Chinese; the browser's font draws the text.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            self.figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        return _inline(text.getvalue(), ident, alt, self.width)


def _inline(svg: str, ident: str, alt: str, width: float) -> str:
    """Make a stand-alone SVG fit for a page: own ids, CSS colours, the page's fonts, and words for a screen reader."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{ident}-', svg)
    svg = re.sub(r'href="#', f'href="#{ident}-', svg)
    svg = re.sub(r"url\(#", f"url(#{ident}-", svg)
    for paint, colour in PAINT.items():
        svg = svg.replace(colour, f"var(--{paint})")
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"font: (\d[\d.]*px)[^;\"]*", r"font-size: \1", svg)  # as matplotlib wrote it before 3.11
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"\n\s*", "\n", svg)
    opening = f'<svg class="chart" style="max-width:{width * 96:.0f}px" role="img" aria-label="{html.escape(alt)}"'
    return svg.replace("<svg", opening, 1).strip()


def legend(axes: "Axes", **where: Any) -> None:
    """Add a legend of the labelled lines, if there are any."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, labels, **where)


def in_legend(text: str) -> str:
    """Keep matplotlib from dropping a class whose name begins with an underscore."""
    return f"\u200b{text}" if text.startswith("_") else text


@styled
def comparison(part: Part, wanted: str, lang: str) -> str:
    """Model and baselines on one scale: estimate, interval, and the numbers themselves at the right."""
    found = headline(part, wanted)
    if found is None:
        return ""
    key, model = found
    rows = [(t("report.model", lang), model)]
    rows += [(name("baseline", b, lang), c.metrics[key]) for b, c in part.baselines.items() if key in c.metrics]
    alt = t(
        "alt.comparison",
        lang,
        metric=metric_name(key, lang),
        rows=t("report.semicolon", lang).join(f"{n} {number(m.value)}" for n, m in rows),
    )
    return _forest(rows, key, "comparison", alt, lang)


@styled
def subgroups(part: Part, wanted: str, lang: str) -> str:
    """The headline metric in each subgroup with its n, and the whole part above them."""
    found = headline(part, wanted)
    if found is None or not part.subgroups:
        return ""
    key, whole = found
    rows = [(bracketed(t("report.all", lang), f"n = {part.n_patients}", lang), whole)]
    for group, metrics in part.subgroups.items():
        if key in metrics:
            rows.append((bracketed(subgroup_name(group, lang), f"n = {metrics[key].n}", lang), metrics[key]))
    alt = t(
        "alt.subgroups",
        lang,
        metric=metric_name(key, lang),
        rows=t("report.semicolon", lang).join(f"{n} {number(m.value)}" for n, m in rows),
    )
    return _forest(rows, key, "subgroups", alt, lang)


def subgroup_name(group: str, lang: str) -> str:
    """Return ``"sex = F"`` with the fact's name in the reader's language."""
    fact, equals, value = group.partition(" = ")
    return f"{name('fact', fact, lang)}{equals}{name('fact', value, lang) if value else ''}"


def _forest(rows: Sequence[tuple[str, Metric]], key: str, ident: str, alt: str, lang: str) -> str:
    """Draw estimates with intervals, one to a row; the first row is the reference line."""
    step, top = 0.27, 0.12
    sheet = Sheet(7.0, top + step * len(rows) + 0.5)
    axes = sheet.axes(2.15, 0.45, 3.2, step * len(rows))
    for at, (_, metric) in enumerate(rows):
        colour = SERIES[0] if at == 0 else PAINT["ink"]
        if metric.lower is not None and metric.upper is not None:
            axes.plot([metric.lower, metric.upper], [at, at], color=colour, lw=1.6 if at == 0 else 1.1)
        axes.plot([metric.value], [at], "D" if at == 0 else "o", color=colour, ms=6 if at == 0 else 4.5)
        axes.text(1.05, at, estimate(key, metric, lang), transform=axes.get_yaxis_transform(), va="center")
    if np.isfinite(rows[0][1].value):
        axes.axvline(rows[0][1].value, color=SERIES[0], lw=0.7, ls=DASHES[2], zorder=0)
    axes.set_yticks(range(len(rows)), [in_legend(n) for n, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(metric_name(key, lang))
    axes.locator_params(axis="x", nbins=6)
    return sheet.svg(ident, alt)


@styled
def curves(part: Part, family: str, lang: str, prevalence: Mapping[str, float]) -> str:
    """ROC (``"roc"``) or precision–recall (``"pr"``) curves of every class.

    Args:
        part: Its curves named ``family/CLASS`` are drawn.
        family: ``"roc"`` or ``"pr"``.
        lang: Language of the labels.
        prevalence: Class to its share, the level that guessing reaches in a precision–recall plot.
    """
    drawn = {k.partition("/")[2]: c for k, c in part.curves.items() if k.partition("/")[0] == family}
    if not drawn:
        return ""
    sheet = Sheet(3.7, 3.6)
    axes = sheet.axes(0.6, 0.55, 2.95, 2.95)
    if family == "roc":
        axes.plot([0, 1], [0, 1], color=PAINT["hair"], lw=1, zorder=0)
    for at, (label, curve) in enumerate(drawn.items()):
        style = at % len(SERIES)
        axes.plot(curve.x, curve.y, color=SERIES[style], ls=DASHES[style], label=in_legend(label), clip_on=False)
        if family == "pr" and label in prevalence:
            axes.axhline(prevalence[label], color=SERIES[style], ls=DASHES[style], lw=0.6, zorder=0)
    point = _operating_point(part) if family == "roc" and len(drawn) == 1 else None
    if point:
        axes.plot(*point, "o", ms=7, mfc=PAINT["paper"], mec=SERIES[0], mew=1.6, label=t("figure.threshold", lang))
    square(axes)
    axes.set_xlabel(t(f"figure.{family}_x", lang))
    axes.set_ylabel(t(f"figure.{family}_y", lang))
    if family == "roc" or not any(k.startswith("roc/") for k in part.curves):
        legend(axes, loc="lower right" if family == "roc" else "lower left")
    return sheet.svg(family, t(f"alt.{family}", lang, classes=", ".join(drawn), n=part.n_cases))


def _operating_point(part: Part) -> tuple[list[float], list[float]] | None:
    """Return where the chosen threshold lies on the ROC curve, when sensitivity and specificity are known."""
    have = {k: m.value for k, m in part.metrics.items() if k in ("sensitivity", "specificity")}
    return ([1 - have["specificity"]], [have["sensitivity"]]) if len(have) == 2 else None


def square(axes: "Axes") -> None:
    """Let both axes run from 0 to 1."""
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])


@styled
def reliability(part: Part, lang: str) -> str:
    """Predicted against observed, before and after calibration, with the cases behind each point below."""
    after, before = part.curves.get("reliability"), part.curves.get("reliability before")
    if after is None:
        return ""
    sheet = Sheet(3.7, 4.3)
    axes = sheet.axes(0.6, 1.25, 2.95, 2.95)
    axes.plot([0, 1], [0, 1], color=PAINT["hair"], lw=1, zorder=0)
    pairs: list[tuple[str, Curve, int]] = [("after", after, 0)]
    if before is not None:
        pairs.insert(0, ("before", before, 1))
    for when, curve, style in pairs:
        axes.plot(
            curve.x,
            curve.y,
            color=SERIES[style],
            ls=DASHES[style],
            marker=MARKERS[style],
            ms=4.5,
            mfc=PAINT["paper"] if when == "before" else SERIES[style],
            label=t(f"figure.calibration_{when}", lang),
            clip_on=False,
        )
    square(axes)
    axes.tick_params(axis="x", labelbottom=False)  # the scale stands under the counts
    axes.set_ylabel(t("figure.observed", lang))
    legend(axes, loc="upper left")
    counts = sheet.axes(0.6, 0.5, 2.95, 0.55)
    if after.n:
        counts.vlines(after.x, 0, after.n, color=SERIES[0], lw=3)
        counts.set_ylim(0, max(after.n) * 1.25)
    counts.set_xlim(0, 1)
    counts.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    counts.locator_params(axis="y", nbins=2)
    counts.set_ylabel("n")
    counts.set_xlabel(t("figure.predicted", lang))
    return sheet.svg("reliability", t("alt.reliability", lang, points=len(after.x), n=part.n_cases))


@styled
def distribution(groups: Mapping[str, Sequence[float]], axis: str, lang: str) -> str:
    """Every case as a dot, a box behind them; groups of more than 250 as a box and their 25 lowest.

    Args:
        groups: Label or class to one number for each case, NaN for "not defined".
        axis: What the numbers are, for the axis.
        lang: Language of the words.
    """
    clean = {g: np.sort(np.asarray(v, float)[np.isfinite(v)]) for g, v in groups.items() if len(v)}
    clean = {g: v for g, v in clean.items() if v.size}
    if not clean:
        return ""
    step = 0.55
    sheet = Sheet(7.0, 0.15 + step * len(clean) + 0.5)
    axes = sheet.axes(2.15, 0.5, 4.65, step * len(clean))
    for at, (_, values) in enumerate(clean.items()):
        colour = SERIES[at % len(SERIES)]
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        axes.fill_between([low, high], at - 0.3, at + 0.3, color=colour, alpha=0.16, lw=0)
        axes.plot([middle, middle], [at - 0.3, at + 0.3], color=colour, lw=2)
        dots = values if values.size <= MOST_DOTS else values[:25]
        marker = MARKERS[at % len(MARKERS)]
        axes.plot(dots, at + _spread(len(dots)), marker, color=colour, ms=3.6, mew=0, alpha=0.75, clip_on=False)
    axes.set_yticks(range(len(clean)), [in_legend(bracketed(g, f"n = {v.size}", lang)) for g, v in clean.items()])
    axes.set_ylim(len(clean) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(axis)
    rows = t("report.semicolon", lang).join(f"{g} {number(float(np.median(v)))}" for g, v in clean.items())
    return sheet.svg("distribution", t("alt.distribution", lang, what=axis, rows=rows))


def _spread(n: int) -> np.ndarray:
    """Return n heights in ±0.25 that fill the strip evenly without chance (the golden-ratio sequence)."""
    return (np.arange(n) * 0.6180339887498949 % 1.0 - 0.5) * 0.5


@styled
def losses(history: Sequence[Mapping[str, float]], lang: str, ident: str = "losses") -> str:
    """Training and validation loss for each epoch and member; ``ident`` names the figure."""
    if not history:
        return ""
    members = sorted({int(row.get("member", 0)) for row in history})
    sheet = Sheet(7.0, 2.9)
    axes = sheet.axes(0.75, 0.5, 4.4, 2.3)
    for at, member in enumerate(members):
        rows = [r for r in history if int(r.get("member", 0)) == member]
        colour = SERIES[at % len(SERIES)]
        suffix = f", {t('report.member', lang, number=member)}" if len(members) > 1 else ""
        for kind, dash in (("loss", "-"), ("val_loss", DASHES[1])):
            xy = [(r["epoch"], r[kind]) for r in rows if np.isfinite(r.get(kind, np.nan))]
            if xy:
                x, y = zip(*xy, strict=True)
                marker = MARKERS[at % len(MARKERS)] if len(xy) < 4 else ""
                axes.plot(x, y, color=colour, ls=dash, marker=marker, ms=4, label=t(f"figure.{kind}", lang) + suffix)
    axes.set_xlabel(t("figure.epoch", lang))
    axes.set_ylabel(t("figure.loss_axis", lang))
    axes.locator_params(axis="x", integer=True)
    legend(axes, loc="upper left", bbox_to_anchor=(1.01, 1.02))
    return sheet.svg(ident, t("alt.losses", lang, epochs=len({r["epoch"] for r in history})))

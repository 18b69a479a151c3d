"""How numbers are written: three decimals, two for millimetres, an interval always beside its estimate."""

import math

from lucency.evaluate import Part
from lucency.statistics import Metric
from lucency.text import known, name, t

MINUS, DASH = "\u2212", "\u2014"


def split(metric: str) -> tuple[str, str]:
    """Return a metric's base name and its label: ``"dice/anterior"`` -> ``("dice", "anterior")``."""
    base, _, label = metric.partition("/")
    return base.strip().lower().replace(" ", "_").replace("-", "_"), label


def metric_name(metric: str, lang: str) -> str:
    """Return the display name of a metric, its label included."""
    base, label = split(metric)
    return name("metric", base, lang) + (f", {label}" if label else "")


def target_name(word: str, lang: str) -> str:
    """Return what is learned: a column's own name, or the word for boxes and masks."""
    return t(f"target.{word}", lang) if known(f"target.{word}") else word


def digits(metric: str) -> int:
    """Return how many decimals a metric is worth: lengths two, everything else three."""
    return 2 if split(metric)[0].endswith(("_mm", "slope", "intercept")) else 3


def number(value: float | None, places: int = 3, *, sign: bool = False) -> str:
    """Return a number with a true minus sign; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{value:+.{places}f}" if sign else f"{value:.{places}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def interval(metric: Metric, lang: str, places: int = 3, *, sign: bool = False) -> str:
    """Return ``"0.917–0.964"``, with a word between the ends where one is negative; empty without an interval."""
    if metric.lower is None or metric.upper is None:
        return ""
    low, high = number(metric.lower, places, sign=sign), number(metric.upper, places, sign=sign)
    return t("report.range", lang, low=low, high=high) if sign or metric.lower < 0 else f"{low}–{high}"


def valued(key: str, metric: Metric, *, sign: bool = False) -> str:
    """Return the value of a metric with the decimals that it is worth; of a p value as journals print it."""
    return p_value(metric.value) if split(key)[0].endswith("_p") else number(metric.value, digits(key), sign=sign)


def estimate(key: str, metric: Metric, lang: str, *, sign: bool = False) -> str:
    """Return ``"0.944 (0.917–0.964)"``, or the value alone where there is no interval."""
    value, span = valued(key, metric, sign=sign), interval(metric, lang, digits(key), sign=sign)
    return f"{value} ({span})" if span else value


def bracketed(text: str, inside: str, lang: str) -> str:
    """Return ``"text (inside)"`` with the brackets of the language; the text alone where nothing stands inside."""
    return t("report.bracketed", lang, text=text, inside=inside) if inside else text


def paired(head: str, text: str, lang: str) -> str:
    """Return ``"head: text"`` with the colon of the language."""
    return t("report.pair", lang, head=head, text=text)


def p_value(p: float | None) -> str:
    """Return a p value as journals print it."""
    if p is None or not math.isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def percent(count: int, total: int) -> str:
    """Return a share in whole per cent; a dash out of nothing."""
    return f"{100 * count / total:.0f} %" if total else DASH


def duration(seconds: float | None) -> str:
    """Return seconds as ``"43 s"`` or ``"9 min 12 s"``."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60:02d} s"


def headline(part: Part, wanted: str) -> tuple[str, Metric] | None:
    """Return the metric that the first line quotes, or the first there is; None when nothing could be scored."""
    if wanted in part.metrics:
        return wanted, part.metrics[wanted]
    return next(iter(part.metrics.items()), None)


def part_name(part: str, lang: str) -> str:
    """Return the display name of a held-out part."""
    fold = part.removeprefix("fold ")
    return t("report.fold", lang, number=fold) if fold.isdigit() else name("part", part, lang)

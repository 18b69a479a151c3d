"""What the report says of images that were made: what is real beside them, and what a model makes of either."""

import numpy as np

from lucency.evaluate import Downstream, Shown
from lucency.image import Image, reorient
from lucency.report.facts import Facts, Picture
from lucency.report.numbers import DASH, estimate, metric_name, p_value
from lucency.report.tables import Table
from lucency.statistics import Metric
from lucency.text import name, t

#: Percentiles that become black and white, as for other pictures.
WINDOW = (1.0, 99.0)

#: Pixels of white between two pictures.
GAP = 2

#: The arms in the order of the table.
ARMS = ("real", "made", "given", "nothing")


def picture(shown: Shown) -> Picture:
    """Return what was given, what was made of it and, where there is one, the real image, side by side.

    The last two share one window, so that a difference in brightness is seen.

    Args:
        shown: A case with its made image; all on the source's grid.
    """
    made = shown.prediction.image
    if made is None:
        return Picture(np.zeros((1, 1)))
    middle = _slice(shown.image, None)[1]
    given, _ = _slice(shown.image, middle)
    ours, _ = _slice(made, middle)
    real = None if shown.truth is None else _slice(shown.truth, middle)[0]
    span = _window(real if real is not None else ours)
    panels = [_grey(given, _window(given)), _grey(ours, span), *([] if real is None else [_grey(real, span)])]
    wall = np.ones((given.shape[0], GAP))
    row = np.concatenate([p for panel in panels for p in (panel, wall)][:-1], axis=1)
    image = reorient(made) if made.size[0] > 1 else made
    _, row_mm, column_mm = image.spacing
    n = image.size[0]
    caption: dict[str, str | float] = {"slice": f"{middle + 1} of {n}"} if n > 1 else {}
    return Picture(row, aspect=row_mm / column_mm, caption=caption)


def _slice(image: Image, number: int | None) -> tuple[np.ndarray, int]:
    """Return one slice of the first channel, the middle one by default, as volumes are turned for pictures."""
    turned = reorient(image) if image.size[0] > 1 else image
    at = turned.size[0] // 2 if number is None else number
    return turned.array[0, at].astype(np.float64), at


def _window(plane: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(plane, WINDOW)
    return float(low), float(high)


def _grey(plane: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    low, high = ends
    return np.clip((plane - low) / max(high - low, 1e-9), 0.0, 1.0)


def sentences(facts: Facts, lang: str) -> tuple[str, ...]:
    """Return what must be known of made images; nothing where none were made."""
    if not facts.plan.made:
        return ()
    made, given = facts.plan.made[0], t("report.comma", lang).join(facts.plan.inputs)
    said = [t("translated.caution", lang, made=made, given=given), t("translated.ssim", lang)]
    scale = facts.plan.normalisation
    at = sum(facts.plan.stems[: facts.plan.modalities.index(made)])
    said.append(t("translated.fixed" if scale.is_fixed(at) else "translated.own", lang, made=made))
    if facts.evaluation.downstream is None:
        said.append(t("translated.no_labels", lang))
    return tuple(said)


def table(found: Downstream | None, lang: str) -> Table | None:
    """Return what a model makes of each kind of image; None where there is no such model."""
    if found is None:
        return None
    rows = []
    for arm in ARMS:
        metric = found.arms.get(arm)
        if metric is None:
            continue
        minus = found.made_minus.get(arm)
        cells = (_said(found.headline, metric, lang), _said(found.headline, minus, lang, sign=True))
        shown = str(metric.n) if metric.n else str(found.n_patients)
        rows.append((t(f"translated.{arm}", lang), shown, *cells, p_value(found.p_holm.get(arm))))
    caption = t(
        "translated.table",
        lang,
        task=name("task", found.task, lang),
        names=t("report.comma", lang).join(found.names),
        steps=found.steps,
    )
    heads = (
        t("translated.shown", lang),
        t("table.patients", lang),
        metric_name(found.headline, lang),
        t("translated.made_minus", lang),
        t("table.p_holm", lang),
    )
    bold = frozenset(n for n, row in enumerate(rows) if row[0] == t("translated.made", lang))
    return Table(caption, heads, tuple(rows), frozenset(range(1, len(heads))), bold)


def _said(key: str, metric: Metric | None, lang: str, *, sign: bool = False) -> str:
    return DASH if metric is None else estimate(key, metric, lang, sign=sign)

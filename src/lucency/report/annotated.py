"""The page of a work list: what to look at first with its pre-annotation, and how far returned work agrees with it."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from lucency import record
from lucency.annotate import Agreement, Look, Place, Round
from lucency.annotate.session import PRE
from lucency.boxes import edges_of
from lucency.model import Model
from lucency.predict import Answered
from lucency.prepare.boxes import to_grid
from lucency.report.overlay import overlay
from lucency.report.templates import filled
from lucency.text import name, sentence, t

#: Cases that the page shows; the table holds all.
SHOWN = 60

#: Longest side of a picture in px: enough to see what it is about, and ten thousand of them fit into memory.
SIDE = 144


def painter(model: Model, lang: str) -> Callable[[Answered], Mapping[str, str]]:
    """Return what makes the picture of a case for the page.

    Args:
        model: Whose pre-annotations are shown.
        lang: ``"en"`` or ``"zh"``.
    """
    return lambda answered: {"picture": picture(answered)}


def picture(answered: Answered) -> str:
    """Return a case with its pre-annotation in colour, as a PNG in a data address: the slice with most of it."""
    array, found = answered.prepared.array, answered.prediction
    if found.mask is not None:
        return overlay(array, np.clip(1 - answered.output[0], 0, 1), side=SIDE)
    told = [b for b in found.boxes or () if b.told]
    if not told:
        return overlay(array, side=SIDE)
    return overlay(array, _frames(to_grid(edges_of(told), answered.prepared.place), array.shape[1:]), side=SIDE)


def _frames(edges: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return (K, J, I) float with 1 on the borders of the boxes; each runs through its slices as a frame."""
    drawn = np.zeros(size, dtype=np.float32)
    # As wide as a pixel of the picture, else it fades when the image is made small.
    wide = max(1, -(-max(size[1:]) // SIDE))
    for row in edges:
        low = np.clip(np.floor(row[:3]), 0, np.array(size) - 1).astype(int)
        high = np.maximum(np.clip(np.ceil(row[3:]), 1, size).astype(int), low + 1)
        (k, j, i), (k_end, j_end, i_end) = low, high
        box = drawn[k:k_end, j:j_end, i:i_end]
        box[:, :wide] = box[:, -wide:] = 1
        box[:, :, :wide] = box[:, :, -wide:] = 1
    return drawn


def write_page(path: Path, found: Round, strategy: str, lang: str) -> None:
    """Write the page; it needs nothing else and holds pictures of patients, which its first line says.

    Args:
        path: Where to.
        found: The round, its cases painted by :func:`painter`.
        strategy: By which the list is ordered.
        lang: ``"en"`` or ``"zh"``.

    Raises:
        OutputError: The disk cannot be written.
    """
    html = filled(
        "lucency.report",
        "annotated.html.jinja",
        lang,
        strategy=name("strategy", strategy, lang),
        reason=t(f"annotate.{strategy.replace('-', '_')}", lang),
        n=len(found.listed),
        done=found.n_done,
        entries=[_entry(rank, *one, lang) for rank, one in enumerate(found.listed[:SHOWN], start=1)],
        returned=bool(found.agreement or found.left_out or found.dataset),
        agreement=[_agreed(a, lang) for a in found.agreement],
        dataset=found.dataset,
        left_out=[(s.path, sentence(s.reason, lang)) for s in found.left_out],
    )
    record.write_text(path, html)


def _agreed(one: Agreement, lang: str) -> tuple[str, str, str, str]:
    """Return a row of the table: who with whom, what, how much, and how sure."""
    second = t("annotate.pre", lang) if one.second == PRE else one.second
    measure = name("metric", one.measure, lang) + (f" ({one.label})" if one.label else "")
    found = one.found
    value = "–" if math.isnan(found.value) else f"{found.value:.3f}"
    if found.lower is None or found.upper is None or math.isnan(found.lower):
        interval = t("annotate.no_interval", lang, why=sentence(found.method, lang), n=one.n_cases)
    else:
        interval = t(
            "annotate.interval_of", lang, lower=f"{found.lower:.3f}", upper=f"{found.upper:.3f}", n=one.n_cases
        )
    return f"{one.first} – {second}", measure, value, interval


def _entry(rank: int, look: Look, place: Place, lang: str) -> dict[str, object]:
    return {
        "rank": rank,
        "case": look.case.id,
        "picture": look.shown.get("picture", ""),
        "finding": look.shown.get(f"finding_{lang}", ""),
        "why": name("strategy", place.why, lang),
        "uncertainty": f"{look.uncertainty:.2f}",
        "quality": f"{look.quality:.2f}",
    }

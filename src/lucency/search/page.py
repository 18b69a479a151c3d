"""The page of a search: each query beside its neighbours, and for the nearest what made them similar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lucency import record
from lucency.report.overlay import overlay
from lucency.report.templates import filled
from lucency.text import name


@dataclass(frozen=True, eq=False)
class Side:
    """A neighbour as it is shown.

    Args:
        case: Its id.
        similarity: Cosine.
        facts: What the index holds of it.
        array: (C, K, J, I) on the network's grid, or None where the image is not at hand.
        maps: What each place of the query and of the neighbour adds, from :func:`lucency.features.shares`, or None.
    """

    case: str
    similarity: float
    facts: Mapping[str, str | float]
    array: np.ndarray | None = None
    maps: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True, eq=False)
class Entry:
    """A query with its neighbours.

    Args:
        case: Its id.
        array: (C, K, J, I) on the network's grid.
        sides: The nearest first.
        note: What to know before trusting it.
    """

    case: str
    array: np.ndarray
    sides: tuple[Side, ...]
    note: str = ""


def write_page(path: Path, entries: Sequence[Entry], lang: str) -> None:
    """Write the page; it needs nothing else and holds pictures of patients, which its first line says.

    Args:
        path: Where to.
        entries: What to show.
        lang: ``"en"`` or ``"zh"``.

    Raises:
        OutputError: The disk cannot be written.
    """
    html = filled("lucency.search", "page.html.jinja", lang, entries=[_shown(e, lang) for e in entries])
    record.write_text(path, html)


def _shown(entry: Entry, lang: str) -> dict[str, Any]:
    sides = []
    for side in entry.sides:
        facts = [f"{name('fact', key, lang)}: {value}" for key, value in side.facts.items() if key != "label"]
        maps = None
        if side.maps is not None and side.array is not None:
            top = max(float(m.max()) for m in side.maps)
            maps = [overlay(a, m, top) for a, m in zip((entry.array, side.array), side.maps, strict=True)]
        sides.append(
            {
                "case": side.case,
                "label": side.facts.get("label", ""),
                "similarity": f"{side.similarity:.3f}",
                "facts": facts,
                "picture": None if side.array is None else overlay(side.array),
                "maps": maps,
            }
        )
    return {"case": entry.case, "note": entry.note, "picture": overlay(entry.array), "sides": sides}

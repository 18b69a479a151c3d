"""The page of a search: each query beside its neighbours, and for the nearest what made them similar."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lucency import record, report
from lucency.prepare import resize
from lucency.report.pictures import encode_png, shrink
from lucency.report.shown import WINDOW
from lucency.text import name, t

#: Longest side of a picture in px; it is shown half as wide.
SIDE = 256

#: Colour that marks what adds to the similarity: it stays visible on black and on white and in print.
MARK = np.array([1.0, 0.55, 0.0], dtype=np.float32)

#: Strongest share of the colour; the grey beneath must stay readable.
STRONGEST = 0.65


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
    from jinja2 import DictLoader, Environment, StrictUndefined  # noqa: PLC0415  costs start-up time

    template = resources.files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8")
    style = resources.files(report.__name__).joinpath("page.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=DictLoader({"page": template}), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )

    def said(key: str, **values: object) -> str:
        return t(key, lang, **values)

    html = environment.get_template("page").render(
        lang=lang, t=said, style=style, entries=[_shown(e, lang) for e in entries]
    )
    record.write_text(path, html)


def _shown(entry: Entry, lang: str) -> dict[str, Any]:
    sides = []
    for side in entry.sides:
        facts = [f"{name('fact', key, lang)}: {value}" for key, value in side.facts.items() if key != "label"]
        maps = None
        if side.maps is not None and side.array is not None:
            top = max(float(m.max()) for m in side.maps)
            maps = [_picture(a, m, top) for a, m in zip((entry.array, side.array), side.maps, strict=True)]
        sides.append(
            {
                "case": side.case,
                "label": side.facts.get("label", ""),
                "similarity": f"{side.similarity:.3f}",
                "facts": facts,
                "picture": None if side.array is None else _picture(side.array),
                "maps": maps,
            }
        )
    return {"case": entry.case, "note": entry.note, "picture": _picture(entry.array), "sides": sides}


def _picture(array: np.ndarray, places: np.ndarray | None = None, top: float = 1.0) -> str:
    """Return a PNG as a data address: the slice that adds most to the similarity, or the middle one.

    Args:
        array: (C, K, J, I) on the network's grid.
        places: (k, j, i) what each place adds; marked in colour where it adds something.
        top: What is marked strongest.
    """
    size = (array.shape[1], array.shape[2], array.shape[3])
    fine = None
    if places is not None:
        fine = resize(torch.from_numpy(np.ascontiguousarray(places[None], dtype=np.float32)), size).numpy()[0]
    k = size[0] // 2 if fine is None else int(np.clip(fine, 0, None).sum(axis=(1, 2)).argmax())
    plane = array[:, k].astype(np.float32)
    low, high = np.percentile(plane, WINDOW)
    grey = np.clip((plane - low) / max(float(high - low), 1e-9), 0, 1)
    colour = np.moveaxis(grey, 0, -1) if len(grey) == 3 else np.repeat(grey[0][..., None], 3, axis=-1)
    if fine is not None:
        strength = (np.clip(fine[k] / max(top, 1e-9), 0, 1) * STRONGEST)[..., None]
        colour = colour * (1 - strength) + MARK * strength
    pixels = (shrink(colour, SIDE) * 255 + 0.5).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode("ascii")

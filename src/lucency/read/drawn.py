"""Boxes as label files state them, and what becomes of those that cannot be."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lucency.boxes import Box
from lucency.case import Skipped
from lucency.read import files

#: A box may reach over the edge with this share of its area; it is cut there. With more it belongs to another image.
OVER = 0.5


@dataclass(frozen=True)
class Drawn:
    """One box as it stands in its file.

    Args:
        label: Class name.
        edges: xmin, ymin, xmax, ymax, and zmin, zmax in a volume; NaN where the file holds no number.
        where: File and place in it, for ``skipped.csv``.
        shares: Whether the edges are shares of the image and not pixels.
    """

    label: str
    edges: tuple[float, ...]
    where: str
    shares: bool = False


@dataclass(frozen=True)
class Labels:
    """What one kind of label file says of all images.

    Args:
        kind: Name of the format, for the evidence.
        paths: The files.
        images: What a file calls an image, to its boxes; an empty tuple is an image with nothing on it.
        classes: Names in the file's own order, where it gives one.
        parts: Image to ``"train"``, ``"val"`` or ``"test"``, where the files say so.
        notes: For the report.
        skipped: Files or boxes that cannot be understood.
    """

    kind: str
    paths: tuple[str, ...]
    images: Mapping[str, tuple[Drawn, ...]]
    classes: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def part_by_name(path: str) -> str:
    """Return the part that the name of a label file holds: ``instances_train2017.json`` is ``"train"``."""
    words = files.tokens(path.rpartition("/")[2])
    return next((p for w in words if (p := files.part_of(w.rstrip("0123456789")))), "")


def from_corner(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    """Return the edges of a box given by its corner and sides."""
    return x, y, x + width, y + height


def around(points: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Return the edges of the box around (x, y) points; NaN without any."""
    if not points:
        return (math.nan,) * 4
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs), max(ys)


def checked(drawn: Sequence[Drawn], size: tuple[int, int, int]) -> tuple[tuple[Box, ...], list[Skipped], int]:
    """Return the boxes that can be, the others with their reasons, and how many were cut at the image's edge.

    Args:
        drawn: Of one image.
        size: (K, J, I) of the image.
    """
    boxes: list[Box] = []
    skipped: list[Skipped] = []
    cut = 0
    for one in drawn:
        found = _box(one, size)
        if isinstance(found, str):
            skipped.append(Skipped(one.where, found))
            continue
        box, over = found
        if any(b.low == box.low and b.high == box.high and b.label == box.label for b in boxes):
            skipped.append(Skipped(one.where, "The box is drawn twice."))
            continue
        boxes.append(box)
        cut += over
    return tuple(boxes), skipped, cut


def _box(one: Drawn, size: tuple[int, int, int]) -> tuple[Box, bool] | str:
    """Return the box and whether it was cut, or why it cannot be."""
    k, j, i = (float(n) for n in size)
    limits = (i, j, i, j, k, k)
    edges = one.edges if len(one.edges) == 6 else (*one.edges, 0.0, k)
    if not one.label:
        return "The box has no class."
    if not all(math.isfinite(e) for e in edges):
        return "An edge of the box is no finite number."
    if one.shares:
        edges = tuple(e * n for e, n in zip(edges[:4], limits, strict=False)) + edges[4:]
    xmin, ymin, xmax, ymax, zmin, zmax = edges
    low, high = (zmin, ymin, xmin), (zmax, ymax, xmax)
    sides = [b - a for a, b in zip(low, high, strict=True)]
    if min(sides) < 0:
        return "The box is inverted: its end lies before its beginning."
    if min(sides) == 0:
        return "The box has no extent."
    inner_low = tuple(max(a, 0.0) for a in low)
    inner_high = tuple(min(b, n) for b, n in zip(high, (k, j, i), strict=True))
    inner = [b - a for a, b in zip(inner_low, inner_high, strict=True)]
    if min(inner) <= 0:
        return "The box lies outside its image."
    if math.prod(inner) < OVER * math.prod(sides):
        return f"More than {1 - OVER:.0%} of the box lies outside its image."
    over = inner_low != low or inner_high != high
    return Box(one.label, _triple(inner_low), _triple(inner_high)), over


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    k, j, i = values
    return float(k), float(j), float(i)

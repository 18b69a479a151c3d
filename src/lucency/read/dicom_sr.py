"""Structured reports after TID 1500: measurements and findings by name; regions as a mask on their image's grid."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lucency.case import Source
from lucency.errors import ReadError
from lucency.image import Image
from lucency.read import archive
from lucency.read.head import Head, silent
from lucency.read.labelgrid import (
    Grid,
    Structure,
    composed,
    digest,
    entries_of,
    grid_of,
    header,
    instances_of,
    n_label_files,
)
from lucency.read.polygons import drawn, filled

__all__ = ["digest", "groups_of", "header", "pixels"]

#: Codes of TID 1500, 1410, 1411, 1501 and 4019, as (value, scheme).
GROUP = {("125007", "DCM")}
TRACKING = {("112039", "DCM")}
FINDING = {("121071", "DCM")}
SEGMENT = {("121191", "DCM"), ("121214", "DCM")}
DERIVATION = {("121401", "DCM")}
#: What says something of the report, the images or the measuring, not of the patient: language, procedure, image
#: library, observer, method.
ASIDE = {
    ("121049", "DCM"),
    ("121058", "DCM"),
    ("111028", "DCM"),
    ("121005", "DCM"),
    ("111001", "DCM"),
    ("370129005", "SCT"),
    ("G-C036", "SRT"),
}

#: Shapes that enclose something (PS3.3, C.18.6.1.2 and C.18.9.1.2).
CLOSED = {"POLYLINE", "POLYGON", "CIRCLE", "ELLIPSE"}

#: Points that a circle or ellipse is drawn with.
N_POINTS = 360

#: Content items may lie this deep; the templates need 8.
DEPTH = 32


@dataclass
class _Group:
    """One measurement group, or what stands outside of all groups."""

    number: int
    name: str = ""
    finding: str = ""
    numbers: list[tuple[str, float, str]] = field(default_factory=list)
    words: list[tuple[str, str]] = field(default_factory=list)
    instances: dict[str, None] = field(default_factory=dict)
    segments: list[tuple[str, int]] = field(default_factory=list)
    regions: list[Any] = field(default_factory=list)


def groups_of(dataset: Any) -> list[Head]:
    """Return the measurement groups of a report, for its head.

    Args:
        dataset: A structured report.

    Returns:
        For each group: ``Number`` from 1 (0: outside all groups), ``Name`` (tracking identifier), ``Finding``,
        ``Numbers`` (name, value, unit), ``Words`` (name, value), ``InstanceUIDs``, ``SegmentUIDs`` with ``Segments``,
        ``Regions`` (count of closed shapes).

    Source:
        DICOM PS3.16, TID 1500 Measurement Report; PS3.3, C.17.3 SR Document Content Module.
    """
    return [
        {
            "Number": g.number,
            "Name": g.name,
            "Finding": g.finding,
            "Numbers": [list(n) for n in g.numbers],
            "Words": [list(w) for w in g.words],
            "InstanceUIDs": list(g.instances),
            "SegmentUIDs": [uid for uid, _ in g.segments],
            "Segments": [number for _, number in g.segments],
            "Regions": len(g.regions),
        }
        for g in _groups(dataset)
    ]


def pixels(source: Source) -> Image:
    """Return the regions that the source's header names, as labels on the image's grid.

    Args:
        source: Its first paths are reports, the others the image's files.

    Raises:
        ReadError: A region that is drawn on another image or is not flat, or regions that overlap.

    Source:
        DICOM PS3.3, C.18.6 Spatial Coordinates, C.18.9 3D Spatial Coordinates.
    """
    import pydicom  # noqa: PLC0415 - slow to import

    grid, places = grid_of(source), instances_of(source)
    structures: list[Structure] = []
    for n in range(n_label_files(source)):
        with archive.opened(source.files[n]) as file, silent():
            groups = {g.number: g for g in _groups(pydicom.dcmread(file, stop_before_pixels=True, force=True))}
            # Values are decoded where they are first asked for, so all of it stays silent.
            structures += [
                _structure(groups[number], value, grid, places, source.paths[n])
                for number, value in entries_of(source, n).items()
            ]
    return composed(structures, source)


def _structure(group: _Group, value: int, grid: Grid, places: dict[tuple[str, int], int], where: str) -> Structure:
    flat: dict[int, list[np.ndarray]] = {}
    solid: list[np.ndarray] = []
    for region in group.regions:
        points = _outline(region, where)
        if points.shape[1] == 3:
            solid.append(points)
            continue
        k = next((places[r] for r in _images(region) if r in places), None)
        if k is not None:
            # The corner of the first pixel is 0\0, its centre 0.5\0.5 (PS3.3, C.18.6.1.1); columns come first.
            flat.setdefault(k, []).append(points[:, ::-1] - 0.5)
    drawing, bent = drawn(solid, grid)
    if bent:
        raise ReadError(
            f"{bent} regions of group {group.number} do not lie in a plane", expected="planar regions", where=where
        )
    for k, contours in flat.items():
        drawing.add(k, filled(contours, grid.size[1:]))
    return drawing.done(value, group.number)


def _groups(dataset: Any) -> list[_Group]:
    outside = _Group(0)
    found: list[_Group] = []
    _walk(dataset, outside, found, 0)
    return [g for g in (outside, *found) if g.numbers or g.words or g.regions or g.segments or g.finding]


def _walk(item: Any, group: _Group, found: list[_Group], depth: int) -> None:
    """Sort the content below an item into its group."""
    if depth > DEPTH:
        return
    for child in item.get("ContentSequence") or ():
        mine = group
        code, name = _code(child.get("ConceptNameCodeSequence"))
        if code in ASIDE:
            continue
        if child.get("ValueType") == "CONTAINER" and code in GROUP:
            mine = _Group(len(found) + 1)
            found.append(mine)
        elif group.number or depth or child.get("ValueType") != "CODE":
            # Codes right below the root say who reported what, not what was found.
            _take(child, code, name, mine)
        _walk(child, mine, found, depth + 1)


def _take(item: Any, code: tuple[str, str], name: str, group: _Group) -> None:
    """Add what one content item says to its group."""
    kind = str(item.get("ValueType", ""))
    if kind == "NUM":
        _take_number(item, name, group)
    elif kind == "CODE" and code not in DERIVATION:
        _, meaning = _code(item.get("ConceptCodeSequence"))
        if code in FINDING:
            group.finding = group.finding or meaning
        group.words.append((name, meaning))
    elif kind == "TEXT" and code in TRACKING:
        group.name = str(item.get("TextValue") or "").strip()
    elif kind == "IMAGE":
        for instance, numbers in _references(item, "ReferencedSegmentNumber"):
            group.instances[instance] = None
            if code in SEGMENT or numbers:
                group.segments += [(instance, n) for n in numbers or [0]]
    elif kind in ("SCOORD", "SCOORD3D") and str(item.get("GraphicType", "")) in CLOSED and _encloses(item):
        group.regions.append(item)


def _take_number(item: Any, name: str, group: _Group) -> None:
    """Add a measurement; of several ways to derive it from the pixels (mean, maximum …) the name says which."""
    values = item.get("MeasuredValueSequence") or ()
    if not values or values[0].get("NumericValue") in (None, ""):
        return
    for child in item.get("ContentSequence") or ():
        if _code(child.get("ConceptNameCodeSequence"))[0] in DERIVATION:
            name = f"{name} ({_code(child.get('ConceptCodeSequence'))[1]})"
            break
    value = values[0].get("FloatingPointValue")
    number = float(values[0].NumericValue if value is None else value)
    (unit, _), _ = _code(values[0].get("MeasurementUnitsCodeSequence"))
    if np.isfinite(number):
        group.numbers.append((name, number, unit))


def _code(sequence: Any) -> tuple[tuple[str, str], str]:
    """Return ((value, scheme), meaning)."""
    if not sequence:
        return ("", ""), ""
    item = sequence[0]
    value = item.get("CodeValue") or item.get("LongCodeValue") or ""
    return (str(value), str(item.get("CodingSchemeDesignator", ""))), str(item.get("CodeMeaning", "")).strip()


def _references(item: Any, numbers: str) -> Iterator[tuple[str, list[int]]]:
    """Yield (instance, frame or segment numbers) of what an item refers to."""
    for reference in item.get("ReferencedSOPSequence") or ():
        said = reference.get(numbers)
        several = [] if said in (None, "") else [int(said)] if isinstance(said, int) else [int(n) for n in said]
        yield str(reference.get("ReferencedSOPInstanceUID", "")), several


def _images(region: Any) -> Iterator[tuple[str, int]]:
    """Yield (instance, frame or 0) of the images that a region was drawn on."""
    for child in region.get("ContentSequence") or ():
        for instance, numbers in _references(child, "ReferencedFrameNumber"):
            for number in numbers or [0]:
                yield instance, number


def _values(region: Any) -> np.ndarray:
    return np.array([float(v) for v in region.get("GraphicData") or ()])


def _encloses(region: Any) -> bool:
    """Tell whether a line ends where it began; other shapes always do."""
    values = _values(region)
    width = 3 if str(region.get("ValueType")) == "SCOORD3D" else 2
    if str(region.get("GraphicType")) != "POLYLINE":
        return values.size >= 2 * width
    return values.size >= 4 * width and np.allclose(values[:width], values[-width:], atol=1e-3)


def _outline(region: Any, where: str) -> np.ndarray:
    """Return the outline of a closed shape: (n, 2) columns and rows, or (n, 3) mm."""
    width = 3 if str(region.get("ValueType")) == "SCOORD3D" else 2
    values, kind = _values(region), str(region.get("GraphicType"))
    need = {"CIRCLE": 2, "ELLIPSE": 4}.get(kind)
    if values.size % width or not np.isfinite(values).all() or (need is not None and values.size != need * width):
        raise ReadError(f"A region of {values.size} numbers", expected="whole points", where=where)
    points = values.reshape(-1, width)
    if need is None:
        return points
    angle = np.linspace(0, 2 * np.pi, N_POINTS, endpoint=False)[:, None]
    if kind == "CIRCLE":
        radius = np.linalg.norm(points[1] - points[0])
        along, across = np.array([radius, 0.0]), np.array([0.0, radius])
        middle = points[0]
    else:
        # The ends of the long axis, then of the short one.
        middle, along, across = points[:2].mean(axis=0), (points[1] - points[0]) / 2, (points[3] - points[2]) / 2
    outline: np.ndarray = middle + np.cos(angle) * along + np.sin(angle) * across
    return outline

"""Box labels in JSON and XML: COCO, Label Studio, Pascal VOC, CVAT."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

from lucency.case import Skipped
from lucency.read.drawn import Drawn, Labels, around, from_corner, part_by_name
from lucency.read.layout import Tree

#: Label files larger than this are not opened in search of labels: a million boxes in COCO take some 200 MB.
MAX_BYTES = 1 << 30

#: Label Studio puts eight hexadecimal digits before the name of an uploaded file.
UPLOADED = re.compile(r"^[0-9a-f]{8}-")


def every_kind(tree: Tree) -> list[Labels]:
    """Return what the JSON and XML files of a tree say, a :class:`Labels` for each format found."""
    jsons = [(p, v) for p in tree.paths if p.lower().endswith(".json") and (v := _json(tree, p)) is not None]
    xmls = [(p, v) for p in tree.paths if p.lower().endswith(".xml") and (v := _xml(tree, p)) is not None]
    found = [
        _coco([(p, v) for p, v in jsons if is_coco(v)]),
        _voc(tree, [(p, v) for p, v in xmls if v.tag == "annotation"]),
        _cvat([(p, v) for p, v in xmls if v.tag == "annotations"]),
        _label_studio([(p, v) for p, v in jsons if is_label_studio(v)]),
    ]
    return [f for f in found if f is not None]


def _json(tree: Tree, path: str) -> Any:
    """Return the content, or None where there is none."""
    content = _content(tree, path)
    try:
        return None if content is None else json.loads(content)
    except (ValueError, RecursionError):
        return None


def _xml(tree: Tree, path: str) -> ElementTree.Element | None:
    """Return the root; None where the file is no XML or declares entities, which can be made to grow without end."""
    content = _content(tree, path)
    if content is None or b"<!ENTITY" in content or b"<!DOCTYPE" in content:
        return None
    try:
        return ElementTree.fromstring(content)  # noqa: S314 - entities were refused above
    except ElementTree.ParseError:
        return None


def _content(tree: Tree, path: str) -> bytes | None:
    place = tree.root / path
    try:
        return place.read_bytes() if place.stat().st_size <= MAX_BYTES else None
    except OSError:
        return None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


# --- COCO -----------------------------------------------------------------------------------------------------------


def is_coco(value: Any) -> bool:
    """Tell whether the content of a JSON file is COCO."""
    return isinstance(value, dict) and all(isinstance(value.get(k), list) for k in ("images", "annotations"))


def _coco(found: list[tuple[str, Any]]) -> Labels | None:
    """Read COCO; ``iscrowd`` regions are no single boxes, and segments without a box give the box around them."""
    if not found:
        return None
    images: dict[str, list[Drawn]] = {}
    classes: dict[str, None] = {}
    parts: dict[str, str] = {}
    skipped: list[Skipped] = []
    crowds = 0
    for path, content in found:
        names = {number_in(c, "id"): str(c.get("name", "")) for c in objects_in(content.get("categories"))}
        called = {number_in(i, "id"): str(i.get("file_name", "")) for i in objects_in(content["images"])}
        for name in called.values():
            images.setdefault(name, [])
            if part_by_name(path):
                parts[name] = part_by_name(path)
        for number, one in enumerate(objects_in(content["annotations"]), start=1):
            where = f"{path}, box {number}"
            if one.get("iscrowd"):
                crowds += 1
                continue
            name = called.get(number_in(one, "image_id"), "")
            if not name:
                skipped.append(Skipped(where, "The box belongs to an image that the file does not list."))
                continue
            label = names.get(number_in(one, "category_id"), "")
            classes.setdefault(label)
            images[name].append(Drawn(label, coco_edges(one), where))
    notes = (f"{crowds} regions marked as crowds are no single boxes and were left out.",) if crowds else ()
    return Labels(
        "COCO",
        tuple(p for p, _ in found),
        _frozen(images),
        tuple(c for c in classes if c),
        parts,
        notes,
        tuple(skipped),
    )


def coco_edges(one: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the edges of one of COCO's annotations: its box, or the box around its polygons."""
    box = one.get("bbox")
    if isinstance(box, list) and len(box) == 4:
        return from_corner(*(_number(v) for v in box))
    segments = one.get("segmentation")
    if isinstance(segments, list):
        flat = [[_number(v) for v in s] for s in segments if isinstance(s, list)]
        return around([(x, y) for s in flat for x, y in zip(s[0::2], s[1::2], strict=False)])
    return (math.nan,) * 4


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list; none where it is no list."""
    return (v for v in value if isinstance(v, dict)) if isinstance(value, list) else iter(())


def number_in(one: Mapping[str, Any], key: str) -> str | float:
    """Return the number or word that stands for an entry of COCO; damaged files hold lists and objects there."""
    value = one.get(key)
    return value if isinstance(value, str | int | float) else repr(value)


def _frozen(images: Mapping[str, list[Drawn]]) -> dict[str, tuple[Drawn, ...]]:
    return {name: tuple(boxes) for name, boxes in images.items()}


# --- Label Studio ---------------------------------------------------------------------------------------------------


def is_label_studio(value: Any) -> bool:
    """Tell whether the content of a JSON file is an export of Label Studio."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(v, dict) and isinstance(v.get("data"), dict) for v in value[:5])
        and any("annotations" in v or "completions" in v for v in value[:5])
    )


def _label_studio(found: list[tuple[str, Any]]) -> Labels | None:
    """Read the JSON export: one task an image, rectangles in percent; the first annotation that was not withdrawn."""
    if not found:
        return None
    images: dict[str, list[Drawn]] = {}
    several = 0
    for path, tasks in found:
        for number, task in enumerate(tasks, start=1):
            data = task.get("data", {})
            name = task_image(data)
            drawn = [
                a for a in objects_in(task.get("annotations") or task.get("completions")) if not a.get("was_cancelled")
            ]
            if not name or not drawn:
                continue
            several += len(drawn) > 1
            boxes = images.setdefault(name, [])
            for n, result in enumerate(objects_in(drawn[0].get("result")), start=1):
                value = result.get("value")
                words = value.get("rectanglelabels") if isinstance(value, dict) else None
                if isinstance(value, dict) and isinstance(words, list) and words:
                    boxes.append(Drawn(str(words[0]), rectangle(value), f"{path}, task {number}, box {n}", shares=True))
    notes = (f"{several} images were annotated more than once; the first annotation was taken.",) if several else ()
    return Labels("Label Studio", tuple(p for p, _ in found), _frozen(images), notes=notes)


def task_image(data: Mapping[str, Any]) -> str:
    """Return the file name of a task's image, without the digits that Label Studio puts before it; empty without one.

    Example:
        >>> task_image({"image": "/data/upload/3/0a1b2c3d-chest.png?x=1"})
        'chest.png'
    """
    image = next((str(v) for k, v in data.items() if isinstance(v, str) and (k == "image" or "/" in v)), "")
    return UPLOADED.sub("", image.replace("\\", "/").rpartition("/")[2].partition("?")[0]) or image


def rectangle(value: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the edges as shares; a turned rectangle gives the box around it."""
    x, y, width, height = (_number(value.get(k)) / 100 for k in ("x", "y", "width", "height"))
    turn = math.radians(_number(value.get("rotation", 0)))
    if not turn:
        return from_corner(x, y, width, height)
    sides = ((0.0, 0.0), (width, 0.0), (0.0, height), (width, height))
    return around(
        [(x + a * math.cos(turn) - b * math.sin(turn), y + a * math.sin(turn) + b * math.cos(turn)) for a, b in sides]
    )


# --- Pascal VOC -----------------------------------------------------------------------------------------------------


def _voc(tree: Tree, found: list[tuple[str, ElementTree.Element]]) -> Labels | None:
    """Read one XML file an image. The image is known by the file's own name, which people rename together with it."""
    if not found:
        return None
    images: dict[str, tuple[Drawn, ...]] = {}
    for path, root in found:
        boxes = []
        for number, one in enumerate(root.iter("object"), start=1):
            frame = one.find("bndbox")
            keys = ("xmin", "ymin", "xmax", "ymax")
            edges = tuple(_number(frame.findtext(k)) if frame is not None else math.nan for k in keys)
            boxes.append(Drawn((one.findtext("name") or "").strip(), edges, f"{path}, box {number}"))
        images[path.rpartition("/")[2][: -len(".xml")]] = tuple(boxes)
    return Labels("Pascal VOC", tuple(p for p, _ in found), images, parts=_voc_parts(tree))


def _voc_parts(tree: Tree) -> dict[str, str]:
    """Return image to part as ``ImageSets/Main/train.txt`` … list them; ``trainval`` says nothing."""
    parts: dict[str, str] = {}
    for part in ("train", "val", "test"):
        for path in tree.paths:
            if not path.endswith(f"ImageSets/Main/{part}.txt"):
                continue
            content = _content(tree, path) or b""
            names = [line.split()[0] for line in content.decode("utf-8", "replace").splitlines() if line.split()]
            parts |= dict.fromkeys(names, part)
    return parts


# --- CVAT -----------------------------------------------------------------------------------------------------------


def _cvat(found: list[tuple[str, ElementTree.Element]]) -> Labels | None:
    """Read "CVAT for images": boxes, and the boxes around polygons."""
    images: dict[str, list[Drawn]] = {}
    classes: dict[str, None] = {}
    paths = []
    for path, root in found:
        if root.find("image") is None:
            continue
        paths.append(path)
        classes |= dict.fromkeys(n.text.strip() for n in root.iterfind(".//labels/label/name") if n.text)
        for image in root.iterfind("image"):
            boxes = images.setdefault(image.get("name", ""), [])
            shapes = [s for s in image if s.tag in ("box", "polygon", "polyline")]
            for number, shape in enumerate(shapes, start=1):
                where = f"{path}, image {image.get('id', '')}, box {number}"
                boxes.append(Drawn(shape.get("label", "").strip(), _cvat_edges(shape), where))
    return Labels("CVAT", tuple(paths), _frozen(images), tuple(classes)) if paths else None


def _cvat_edges(shape: ElementTree.Element) -> tuple[float, ...]:
    if shape.tag == "box":
        return tuple(_number(shape.get(k)) for k in ("xtl", "ytl", "xbr", "ybr"))
    pairs = [p.split(",") for p in shape.get("points", "").split(";")]
    return around([(_number(p[0]), _number(p[1])) for p in pairs if len(p) == 2])

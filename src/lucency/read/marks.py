"""What annotators drew, in the files of their tools: COCO and Label Studio's JSON, with regions, boxes and words."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lucency.case import Skipped
from lucency.errors import ReadError
from lucency.read.boxfiles import (
    MAX_BYTES,
    coco_edges,
    is_coco,
    is_label_studio,
    number_in,
    objects_in,
    rectangle,
    task_image,
)
from lucency.read.drawn import Drawn
from lucency.read.polygons import filled
from lucency.read.runlengths import brushed, counted

#: Corners of the polygon that stands for an ellipse: a circle of 200 pixels is right to a fortieth of a pixel.
CORNERS = 128

#: What Label Studio's brushes, polygons, ellipses and rectangles hold, and its points and words do not.
SHAPES = {"rle", "points", "radiusX", "height"}


@dataclass(frozen=True)
class Region:
    """One region of one image.

    Args:
        label: Its name.
        drawn: Gives its pixels, (J, I) bool, for (J, I) of the image; raises ReadError.
    """

    label: str
    drawn: Callable[[tuple[int, int]], np.ndarray]


@dataclass(frozen=True)
class Marked:
    """What one person drew on one flat image.

    Args:
        name: What the file calls the image.
        where: Place in the file.
        case: Case id and slice from 0, where this program wrote them; else empty and -1.
        k: See ``case``.
        size: (J, I) that the tool saw; (0, 0) unknown.
        regions: In the file's order.
        boxes: As they stand.
        tracks: Which box of a volume each of ``boxes`` is a slice of; empty unknown.
        classes: Words for the whole image.
        by: Who.
        lost: What was drawn on it and cannot be used, with the place in the file.
    """

    name: str
    where: str
    case: str = ""
    k: int = -1
    size: tuple[int, int] = (0, 0)
    regions: tuple[Region, ...] = ()
    boxes: tuple[Drawn, ...] = ()
    tracks: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    by: str = ""
    lost: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Marks:
    """What a file says.

    Args:
        kind: Name of the format.
        images: In the file's order; images that nobody annotated are not among them.
        labels: Names in the file's order.
        asked: Which of ``"regions"``, ``"boxes"``, ``"classes"`` the file holds anywhere; an image without them has
            none of them.
        notes: For people.
        skipped: What cannot be understood.
    """

    kind: str
    images: tuple[Marked, ...]
    labels: tuple[str, ...]
    asked: frozenset[str]
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = field(default=())


def read_marks(path: Path) -> Marks:
    """Return what annotators drew.

    Args:
        path: JSON, of COCO (instances) or Label Studio (the JSON export, not JSON-MIN).

    Raises:
        ReadError: Not JSON, neither format, or nothing drawn in it at all.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ReadError("More than a gigabyte of JSON", where=path.name, remedy="export it in parts")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ReadError(f"Cannot be opened ({error.strerror})", where=path.name, remedy="restore it") from None
    except (ValueError, RecursionError):
        raise ReadError(
            "Not readable as JSON", expected="a whole export", where=path.name, remedy="export it again"
        ) from None
    if is_coco(content):
        found = _coco(content, path.name)
    elif is_label_studio(content):
        found = _label_studio(content, path.name)
    else:
        raise ReadError(
            "Neither COCO nor Label Studio",
            expected="an object with images and annotations, or a list of tasks with annotations",
            where=path.name,
            remedy="export as COCO instances, or from Label Studio as JSON (not JSON-MIN)",
        )
    if not found.asked:
        raise ReadError(
            "Nothing is drawn in the file",
            expected="at least one region, box or word",
            where=path.name,
            remedy="submit the annotations first, then export them",
        )
    return found


def _words(image: Mapping[str, Any]) -> tuple[str, int]:
    """Return the case and slice (from 0) that this program wrote beside an image."""
    case, k = image.get("case"), image.get("slice")
    return (case, k - 1) if isinstance(case, str) and type(k) is int and k > 0 else ("", -1)


def _size(one: Mapping[str, Any], height: str, width: str) -> tuple[int, int]:
    j, i = one.get(height), one.get(width)
    return (j, i) if type(j) is int and type(i) is int and min(j, i) > 0 else (0, 0)


# --- COCO -----------------------------------------------------------------------------------------------------------


def _coco(content: Mapping[str, Any], where: str) -> Marks:
    names = {number_in(c, "id"): str(c.get("name", "")) for c in objects_in(content.get("categories"))}
    images = {number_in(i, "id"): i for i in objects_in(content["images"])}
    by_image: dict[str | float, list[tuple[int, dict[str, Any]]]] = {n: [] for n in images}
    skipped: list[Skipped] = []
    lost: dict[str | float, list[Skipped]] = {}
    crowds = 0
    asked = set()
    for number, one in enumerate(objects_in(content["annotations"]), start=1):
        place = f"{where}, annotation {number}"
        if number_in(one, "image_id") not in by_image:
            skipped.append(Skipped(place, "It belongs to an image that the file does not list."))
        elif not names.get(number_in(one, "category_id")):
            lost.setdefault(number_in(one, "image_id"), []).append(Skipped(place, "It has no class."))
        elif one.get("iscrowd") and not _is_region(one):
            crowds += 1
        else:
            by_image[number_in(one, "image_id")].append((number, one))
            asked.add("regions" if _is_region(one) else "boxes")
    marked = []
    for n, image in images.items():
        own = [(names[number_in(o, "category_id")], o, f"{where}, annotation {number}") for number, o in by_image[n]]
        boxes = [(label, o, place) for label, o, place in own if not _is_region(o)]
        case, k = _words(image)
        marked.append(
            Marked(
                str(image.get("file_name", "")),
                f"{where}, image {n}",
                case,
                k,
                _size(image, "height", "width"),
                tuple(Region(label, _segmentation(o["segmentation"], p)) for label, o, p in own if _is_region(o)),
                tuple(Drawn(label, coco_edges(o), place) for label, o, place in boxes),
                tuple(str(o.get("track_id", "")) for _, o, _ in boxes),
                lost=tuple(lost.get(n, ())),
            )
        )
    notes = (f"{crowds} regions marked as crowds are no single boxes and were left out.",) if crowds else ()
    labels = tuple(dict.fromkeys(n for n in names.values() if n))
    skipped += [one for own in lost.values() for one in own]
    return Marks("COCO", tuple(marked), labels, frozenset(asked), notes, tuple(skipped))


def _is_region(one: Mapping[str, Any]) -> bool:
    return bool(one.get("segmentation"))


def _segmentation(said: Any, where: str) -> Callable[[tuple[int, int]], np.ndarray]:
    """Return what draws a region: several polygons are one region together, also where they overlap."""

    def draw(size: tuple[int, int]) -> np.ndarray:
        if isinstance(said, dict):
            return counted(said, size, where)
        whole = np.zeros(size, dtype=bool)
        for flat in said if isinstance(said, list) else [None]:
            whole |= (
                _polygon(flat[0::2], flat[1::2], size, where)
                if isinstance(flat, list)
                else _polygon((), (), size, where)
            )
        return whole

    return draw


def _polygon(xs: Sequence[Any], ys: Sequence[Any], size: tuple[int, int], where: str) -> np.ndarray:
    """Return the pixels whose centres lie inside a polygon of (x, y) in pixels from the image's corner."""
    try:
        points = np.array([xs, ys], dtype=np.float64).T if len(xs) == len(ys) >= 3 else np.full((1, 2), np.nan)
    except (TypeError, ValueError):
        points = np.full((1, 2), np.nan)
    if not np.isfinite(points).all():
        raise ReadError(
            "A polygon that encloses nothing",
            expected="x and y of three corners or more",
            where=where,
            remedy="draw the region anew and export it again",
        )
    # Pixel 0 reaches from 0 to 1 there; here its centre is 0.
    return filled([points[:, ::-1] - 0.5], size)


# --- Label Studio ---------------------------------------------------------------------------------------------------


def _label_studio(tasks: list[Any], where: str) -> Marks:
    images: list[Marked] = []
    labels: dict[str, None] = {}
    asked: set[str] = set()
    skipped: list[Skipped] = []
    untouched = 0
    for number, task in enumerate(objects_in(tasks), start=1):
        data = task.get("data") if isinstance(task.get("data"), dict) else {}
        done = [a for a in objects_in(task.get("annotations") or task.get("completions")) if not a.get("was_cancelled")]
        # What the model proposed says which answers were asked for, also where nobody drew any.
        for proposed in objects_in(task.get("predictions")):
            asked |= {kind for kind, _, _ in _results(proposed)}
        untouched += not done
        for annotation in done:
            place = f"{where}, task {number}"
            one, unknown = _task(annotation, data, place)
            images.append(one)
            skipped += unknown
            labels |= dict.fromkeys([r.label for r in one.regions] + [b.label for b in one.boxes])
            asked |= {k for k in ("regions", "boxes", "classes") if getattr(one, k)}
    notes = (f"{untouched} images were not annotated yet.",) if untouched else ()
    return Marks("Label Studio", tuple(images), tuple(labels), frozenset(asked), notes, tuple(skipped))


def _task(annotation: Mapping[str, Any], data: Any, place: str) -> tuple[Marked, list[Skipped]]:
    """Return what one person drew on one image."""
    regions: list[Region] = []
    boxes: list[Drawn] = []
    classes: list[str] = []
    skipped: list[Skipped] = []
    lost: list[Skipped] = []
    size = (0, 0)
    for number, (kind, word, result) in enumerate(_results(annotation), start=1):
        at, value = f"{place}, result {number}", result["value"]
        seen = _size(result, "original_height", "original_width")
        size = seen if any(seen) else size
        if result.get("image_rotation"):
            lost.append(Skipped(at, "It was drawn on a turned view of the image. Turn the view back and draw again."))
        elif kind == "classes":
            classes += [str(v) for v in value["choices"]]
        elif kind == "boxes":
            boxes.append(Drawn(word, rectangle(value), at, shares=True))
        elif kind == "regions":
            regions.append(Region(word, _shape(value, at)))
        elif SHAPES & set(value):
            lost.append(Skipped(at, "It has no class."))
        else:
            skipped.append(Skipped(at, "It is neither region nor rectangle nor choice."))
    case, k = _words(data)
    marked = Marked(
        task_image(data),
        place,
        case,
        k,
        size,
        tuple(regions),
        tuple(boxes),
        (),
        tuple(classes),
        _who(annotation),
        lost=tuple(lost),
    )
    return marked, [*skipped, *lost]


def _results(annotation: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (kind, label, result); a brush and the label that was chosen for it stand in two results of one id."""
    joined: dict[str | float, dict[str, Any]] = {}
    for number, result in enumerate(objects_in(annotation.get("result"))):
        own = joined.setdefault(number_in(result, "id") if "id" in result else f"#{number}", {})
        value = {**own.get("value", {}), **(result["value"] if isinstance(result.get("value"), dict) else {})}
        own |= {**result, "value": value}
    for result in joined.values():
        value = result["value"]
        words = next((v for k, v in value.items() if k.endswith("labels") and isinstance(v, list) and v), [])
        word = str(words[0]) if words else ""
        if isinstance(value.get("choices"), list):
            yield "classes", "", result
        elif word and ("rle" in value or "points" in value or "radiusX" in value):
            yield "regions", word, result
        elif word and "width" in value and "height" in value:
            yield "boxes", word, result
        else:
            yield "", word, result


def _shape(value: Mapping[str, Any], where: str) -> Callable[[tuple[int, int]], np.ndarray]:
    """Return what draws a brush, a polygon or an ellipse; the latter two are in percent of the image."""

    def draw(size: tuple[int, int]) -> np.ndarray:
        if "rle" in value:
            return brushed(value["rle"], size, where)
        points = value["points"] if "points" in value else _ellipse(value, size)
        pairs = [p for p in points if isinstance(p, list | tuple) and len(p) == 2] if isinstance(points, list) else []
        try:
            xs, ys = ([float(p[n]) * side / 100 for p in pairs] for n, side in ((0, size[1]), (1, size[0])))
        except (TypeError, ValueError):
            xs = ys = []
        return _polygon(xs, ys, size, where)

    return draw


def _ellipse(value: Mapping[str, Any], size: tuple[int, int]) -> list[tuple[float, float]]:
    """Return the corners of an ellipse in percent; it is turned in pixels, where both axes have one unit."""
    try:
        keys = ("x", "y", "radiusX", "radiusY", "rotation")
        x, y, across, down, turned = (float(value.get(k, 0)) for k in keys)
    except (TypeError, ValueError):
        return []
    turn, share = math.radians(turned), size[0] / size[1]
    corners = []
    for angle in np.linspace(0, 2 * math.pi, CORNERS, endpoint=False).tolist():
        a, b = across * math.cos(angle), down * math.sin(angle) * share
        right, below = a * math.cos(turn) - b * math.sin(turn), a * math.sin(turn) + b * math.cos(turn)
        corners.append((x + right, y + below / share))
    return corners


def _who(annotation: Mapping[str, Any]) -> str:
    """Return the number of the user; names and addresses stay in the file."""
    user = annotation.get("completed_by")
    number = user.get("id") if isinstance(user, dict) else user
    return f"annotator {number}" if isinstance(number, int) else ""

"""Annotations beside pictures: COCO lists and YOLO lines keep their numbers, and the pictures' new names."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from lucency.deidentify.cleaning import Cleaned, cannot

#: A line of YOLO: class, then centre and size or a polygon, as shares of the picture.
YOLO = re.compile(r"\d{1,3}( (0|1|0?\.\d{1,12}|1\.0{1,12})){4,}")
#: Fields of COCO (cocodataset.org, data format) that hold numbers: of pictures, of annotations, of classes.
PICTURE, ANNOTATION = ("width", "height"), ("bbox", "area", "iscrowd")
LISTS = ("images", "annotations", "categories")
#: Up to here an id counts; a longer one may be a patient's number.
LARGEST_COUNT = 999
COUNTED_ANEW = "The ids of the list were counted anew: long ones may be patients' numbers."


def is_coco(data: Mapping[str, Any]) -> bool:
    """Tell whether a JSON object is a COCO list of annotations."""
    return all(isinstance(data.get(k), list) for k in LISTS)


def coco(data: Mapping[str, Any], new_name: Callable[[str], str], new_class: Callable[[str], str]) -> Cleaned:
    """Return a COCO list of numbers, outlines, new file names and classes.

    Args:
        data: What the file holds.
        new_name: From a picture's path in the source to that in the output.
        new_class: From a class to itself or to a code.

    Raises:
        DataError: An entry is not of COCO's form.
    """
    try:
        pictures, drawn, kinds = (data[k] for k in LISTS)
        new = {
            "image_id": _counted([*(p["id"] for p in pictures), *(a["image_id"] for a in drawn if "image_id" in a)]),
            "category_id": _counted(
                [*(c["id"] for c in kinds), *(a["category_id"] for a in drawn if "category_id" in a)]
            ),
            "id": _counted([a["id"] for a in drawn if "id" in a]),
        }
        out = {
            "images": [
                {"id": new["image_id"][p["id"]], **_numbers(p, PICTURE), "file_name": new_name(str(p["file_name"]))}
                for p in pictures
            ],
            "annotations": [
                {k: ids[a[k]] for k, ids in new.items() if k in a} | _numbers(a, ANNOTATION) | _outline(a)
                for a in drawn
            ],
            "categories": [{"id": new["category_id"][c["id"]], "name": new_class(str(c["name"]))} for c in kinds],
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise cannot("Not a COCO list of annotations", "export the annotations again") from error
    anew = any(old != number for ids in new.values() for old, number in ids.items())
    content = json.dumps(out, ensure_ascii=False).encode("utf-8") + b"\n"
    return Cleaned(content, ("other keys",), (COUNTED_ANEW,) if anew else ())


def yolo(content: bytes) -> Cleaned:
    """Return a file of YOLO lines as it is, if it holds nothing else.

    Args:
        content: A whole .txt file.

    Raises:
        DataError: Any line is not of YOLO's form.
    """
    try:
        lines = [" ".join(line.split()) for line in content.decode("ascii").splitlines() if line.strip()]
    except UnicodeDecodeError:
        lines = ["-"]
    if not all(YOLO.fullmatch(line) for line in lines):
        raise cannot("A text file that holds more than boxes", "nothing: free text is never copied")
    return Cleaned("".join(line + "\n" for line in lines).encode("ascii"))


def _counted(ids: list[Any]) -> dict[Any, int]:
    """Return each id to itself if all are as small as a count, otherwise to its place in the list, from 1."""
    distinct = list(dict.fromkeys(ids))
    largest = max(LARGEST_COUNT, len(distinct))
    small = all(isinstance(i, int) and 0 <= i <= largest for i in distinct)
    return {old: old if small else place for place, old in enumerate(distinct, 1)}


def _numbers(entry: Mapping[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    return {k: entry[k] for k in fields if _plain(entry.get(k))}


def _outline(entry: Mapping[str, Any]) -> dict[str, Any]:
    outline = entry.get("segmentation")
    if isinstance(outline, Mapping):
        counts, size = outline.get("counts"), outline.get("size")
        # Packed run lengths are printable text by an alphabet of 64 letters; only lists of numbers are told apart.
        return {"segmentation": {"counts": counts, "size": size}} if _plain(counts) and _plain(size) else {}
    return {"segmentation": outline} if _plain(outline) else {}


def _plain(value: Any) -> bool:
    """Tell whether a value is a number below 10 million, or a list of such."""
    if isinstance(value, list):
        return all(_plain(v) for v in value)
    return isinstance(value, int | float) and abs(value) < 1e7

"""Regions and boxes as COCO instances, which most annotation tools for flat images read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lucency.annotation import Annotation
from lucency.boxes import Box
from lucency.errors import OutputError, UsageError
from lucency.record import write_text
from lucency.write.outlines import outlines
from lucency.write.pictures import PICTURES, picture_names
from lucency.write.runlengths import counts

#: How regions are written: run lengths hold every region, polygons are what some tools can edit.
FORMS = ("rle", "polygons")


@dataclass
class Coco:
    """A COCO file while cases are added to it.

    Args:
        labels: Names in the order of their numbers, from 1.
        form: One of :data:`FORMS`.

    Raises:
        UsageError: Another form.
    """

    labels: Sequence[str]
    form: str = FORMS[0]
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise UsageError(f"No form {self.form!r}", expected=" or ".join(FORMS), where="--set coco")

    def add(self, annotation: Annotation, size: tuple[int, int, int]) -> None:
        """Add a case: an image for each slice, an annotation for each connected part of a label on a slice.

        Args:
            annotation: Regions or boxes; a box of a volume has an annotation on each of its slices, with one
                ``track_id``.
            size: (K, J, I) of the image.

        Raises:
            OutputError: Words alone, or a label that is not in the list.
        """
        if not annotation.layers and annotation.boxes is None:
            raise OutputError(
                "Words for a whole image have no place in COCO",
                expected="regions or boxes",
                where=annotation.case,
                remedy="choose the format label-studio, or the table predictions.csv",
            )
        names = picture_names(annotation.case, size[0])
        first = len(self.images) + 1
        for k, name in enumerate(names):
            place = {"id": first + k, "file_name": f"{PICTURES}/{name}", "width": size[2], "height": size[1]}
            self.images.append({**place, "case": annotation.case, "slice": k + 1})
        for _, name, k, region in parts_of(annotation):
            self._put(name, first + k, {"segmentation": self._drawn(region), **_measured(region), "iscrowd": 0})
        for number, box in enumerate(annotation.boxes or (), start=1):
            for k in slices_of(box, size[0]):
                (_, top, left), (_, bottom, right) = box.low, box.high
                sides = {"bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}
                track = {"track_id": number} if size[0] > 1 else {}
                said = {"segmentation": [], **sides, "iscrowd": 0, "score": box.score, **track}
                self._put(box.label, first + k, said)

    def _put(self, label: str, image: int, said: Mapping[str, Any]) -> None:
        if label not in self.labels:
            raise OutputError(f"Label {label!r}", expected=", ".join(self.labels) or "a list of labels")
        number = list(self.labels).index(label) + 1
        self.annotations.append({"id": len(self.annotations) + 1, "image_id": image, "category_id": number, **said})

    def _drawn(self, region: np.ndarray) -> Any:
        """Return the region's polygon where that is asked for and can say it: a polygon has no hole."""
        drawn = outlines(region) if self.form == "polygons" else ()
        if len(drawn) == 1:
            return [drawn[0].ravel().tolist()]
        return {"size": list(region.shape), "counts": counts(region)}

    def write(self, path: Path) -> None:
        """Write the file.

        Raises:
            OutputError: A disk that cannot be written.

        Source:
            Lin 2014, doi:10.1007/978-3-319-10602-1_48; cocodataset.org, "Data format".
        """
        content = {
            "info": {"description": "Made by Lucency. Research use only, not a medical device."},
            "licenses": [],
            "images": self.images,
            "categories": [{"id": n, "name": name, "supercategory": ""} for n, name in enumerate(self.labels, start=1)],
            "annotations": self.annotations,
        }
        write_text(path, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")


def _measured(region: np.ndarray) -> dict[str, Any]:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return {
        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "area": int(np.count_nonzero(region)),
    }


def slices_of(box: Box, n_slices: int) -> range:
    """Return the slices whose middle lies in a box; the nearest one where none does."""
    first = max(0, int(np.ceil(box.low[0] - 0.5)))
    last = min(n_slices, int(np.ceil(box.high[0] - 0.5)))
    middle = min(n_slices - 1, max(0, int((box.low[0] + box.high[0]) / 2)))
    return range(first, last) if first < last else range(middle, middle + 1)


def parts_of(annotation: Annotation) -> Iterator[tuple[int, str, int, np.ndarray]]:
    """Yield (value, name, slice, (J, I) bool) of every connected part of every label on every slice."""
    from scipy import ndimage  # noqa: PLC0415 - slow to import

    for value, name, layer in annotation.regions:
        for k, plane in enumerate(layer.array[0]):
            region = plane == value
            if region.any():
                labelled, n = ndimage.label(region)
                for part in range(1, n + 1):
                    yield value, name, k, labelled == part

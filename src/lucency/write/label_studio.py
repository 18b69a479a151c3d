"""Pre-annotations as tasks of Label Studio: brushes, rectangles and choices that people correct."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from lucency.annotation import Annotation
from lucency.record import write_text
from lucency.write.coco import slices_of
from lucency.write.pictures import PICTURES, picture_names
from lucency.write.runlengths import brush
from lucency.write.vocabulary import COLOURS

#: How Label Studio addresses files of a local storage; what follows is relative to its document root.
LOCAL = "/data/local-files/?d="

#: Names of the controls, as ``config.xml`` and the tasks call them.
BRUSH, BOX, WORD, IMAGE = "region", "box", "class", "image"


@dataclass
class Tasks:
    """The tasks while cases are added.

    Args:
        labels: Names of regions and boxes.
        classes: Words for whole images.
        model: What made the pre-annotations, in a word or two.
        prefix: What stands before the pictures' own paths.
    """

    labels: Sequence[str] = ()
    classes: Sequence[str] = ()
    model: str = ""
    prefix: str = LOCAL
    tasks: list[dict[str, Any]] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    def add(self, annotation: Annotation, size: tuple[int, int, int], finding: str = "") -> None:
        """Add a case: one task for each slice, with a prediction that people correct.

        Args:
            annotation: Regions, boxes or words.
            size: (K, J, I) of the image.
            finding: A sentence that is shown beside the image.
        """
        self.asked |= {BRUSH} if annotation.layers else set()
        self.asked |= {BOX} if annotation.boxes is not None else set()
        self.asked |= {WORD} if annotation.classes is not None else set()
        for k, name in enumerate(picture_names(annotation.case, size[0])):
            place = self.prefix + quote(f"{PICTURES}/{name}")
            data = {"image": place, "case": annotation.case, "slice": k + 1, "finding": finding}
            results = [*_regions(annotation, k), *_boxes(annotation, k, size), *_words(annotation)]
            frame = {"to_name": IMAGE, "original_width": size[2], "original_height": size[1], "image_rotation": 0}
            ids = [f"{annotation.case}/{k}/{n}" for n in range(len(results))]
            whole = [
                {"id": hashlib.sha256(i.encode()).hexdigest()[:10], **frame, **r}
                for i, r in zip(ids, results, strict=True)
            ]
            said: dict[str, Any] = {"model_version": self.model, "result": whole}
            if annotation.doubt is not None:
                # Label Studio shows the lowest score first, and the most doubtful case should come first.
                said["score"] = 1 - annotation.doubt
            self.tasks.append({"data": data, "predictions": [said]})

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write ``tasks.json`` and ``config.xml``, the labelling interface that knows the labels.

        Raises:
            OutputError: A disk that cannot be written.

        Source:
            Label Studio, "Import pre-annotated data", "BrushLabels", "RectangleLabels" and "Choices".
        """
        tasks, config = folder / "tasks.json", folder / "config.xml"
        write_text(tasks, json.dumps(self.tasks, ensure_ascii=False, allow_nan=False) + "\n")
        write_text(config, self.config())
        return tasks, config

    def config(self) -> str:
        """Return the labelling interface."""
        lines = ["<View>", '  <Header value="$finding"/>', f'  <Image name="{IMAGE}" value="$image" zoom="true"/>']
        for control, tag in ((BRUSH, "BrushLabels"), (BOX, "RectangleLabels")):
            if control in self.asked:
                lines.append(f'  <{tag} name="{control}" toName="{IMAGE}">')
                for number, name in enumerate(self.labels):
                    colour = "#{:02x}{:02x}{:02x}".format(*COLOURS[number % len(COLOURS)])
                    lines.append(f'    <Label value={quoteattr(name)} background="{colour}"/>')
                lines.append(f"  </{tag}>")
        if WORD in self.asked:
            lines.append(f'  <Choices name="{WORD}" toName="{IMAGE}" choice="multiple">')
            lines += [f"    <Choice value={quoteattr(name)}/>" for name in self.classes]
            lines.append("  </Choices>")
        return "\n".join([*lines, "</View>"]) + "\n"


def _regions(annotation: Annotation, k: int) -> list[dict[str, Any]]:
    found = []
    for value, name, layer in annotation.regions:
        region = layer.array[0, k] == value
        if region.any():
            drawn = {"format": "rle", "rle": brush(region), "brushlabels": [name]}
            found.append({"type": "brushlabels", "from_name": BRUSH, "value": drawn})
    return found


def _boxes(annotation: Annotation, k: int, size: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Return the rectangles on a slice, in percent of the image."""
    found = []
    for box in annotation.boxes or ():
        if k in slices_of(box, size[0]):
            (_, top, left), (_, bottom, right) = box.low, box.high
            place = {"x": left, "y": top, "width": right - left, "height": bottom - top}
            share = {key: 100 * v / size[2 if key in ("x", "width") else 1] for key, v in place.items()}
            drawn = {**share, "rotation": 0, "rectanglelabels": [box.label]}
            found.append({"type": "rectanglelabels", "from_name": BOX, "score": box.score, "value": drawn})
    return found


def _words(annotation: Annotation) -> list[dict[str, Any]]:
    if not annotation.classes:
        return []
    return [{"type": "choices", "from_name": WORD, "value": {"choices": list(annotation.classes)}}]

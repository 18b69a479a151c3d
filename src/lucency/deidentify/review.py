"""The list for the person who decides on objects that the program would not: a table, and pages with pictures."""

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lucency.burned_in import Box
from lucency.deidentify.pixels import PixelVerdict
from lucency.errors import OutputError

#: Folder of pictures; its name is the warning.
PICTURES = "contains-patient-images"
#: Longer side of a picture in the list, px: names on a screen can still be read.
SIDE = 640
COLUMNS = ("file", "action", "reason", "frame", "top", "left", "bottom", "right", "score", "decision")
NOTICE = "These pictures may show names. Keep this folder where the originals are kept, and delete it after the review."


@dataclass(frozen=True)
class ReviewItem:
    """One object to look at.

    Args:
        name: Its new file name; never the source's.
        verdict: What was found.
        picture: (J, I) or (J, I, 3) stored numbers of the frame to show, or None.
    """

    name: str
    verdict: PixelVerdict
    picture: np.ndarray | None = None


def write_review(items: Sequence[ReviewItem], folder: Path) -> Path:
    """Write ``review.csv`` and, where there are pictures, a page in a folder marked "contains patient images".

    Args:
        items: Objects that were blanked or held back.
        folder: Not within the cleaned output.

    Returns:
        The table. Its last column is empty, for the person's decision.

    Raises:
        OutputError: The folder cannot be written.
    """
    table = folder / "review.csv"
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item in items:
        writer.writerows(_rows(item))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        table.write_text(stream.getvalue(), encoding="utf-8")
        if any(item.picture is not None for item in items):
            _page(items, folder / PICTURES)
    except OSError as error:
        raise OutputError(
            f"Cannot write the review list ({error.strerror})", remedy="free some space, or choose a writable folder"
        ) from error
    return table


def _rows(item: ReviewItem) -> list[list[str]]:
    start = [item.name, item.verdict.action, item.verdict.reason]
    found = [
        [
            *start,
            "all" if frame < 0 else str(frame),
            *map(str, (b.top, b.left, b.bottom, b.right)),
            f"{b.score:.2f}",
            "",
        ]
        for frame, boxes in sorted(item.verdict.regions.items())
        for b in boxes
    ]
    return found or [[*start, *[""] * 7]]


def _numbers(box: Box) -> list[str]:
    return [*map(str, (box.top, box.left, box.bottom, box.right)), f"{box.score:.2f}"]


def _page(items: Sequence[ReviewItem], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, item in enumerate(items):
        picture = ""
        if item.picture is not None:
            name = f"{number:05}.png"
            _drawn(item, folder / name)
            picture = f'<img src="{name}" alt="">'
        cells = (item.name, item.verdict.action, item.verdict.reason)
        rows.append("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + f"<td>{picture}</td></tr>")
    style = "body{font:16px sans-serif}td{padding:.5em;border-top:1px solid #999;vertical-align:top}img{max-width:40em}"
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Review (contains patient images)</title>
<style>{style}</style><h1>Review: contains patient images</h1><p>{NOTICE}</p>
<table><tr><th>File<th>Action<th>Reason<th>Picture</tr>
{chr(10).join(rows)}
</table></html>
"""
    (folder / "review.html").write_text(page, encoding="utf-8")


def _drawn(item: ReviewItem, target: Path) -> None:
    """Write a picture with the boxes drawn around what was found."""
    from PIL import Image, ImageDraw  # noqa: PLC0415 - slow to import

    assert item.picture is not None
    values = item.picture.astype(np.float32)
    low, high = np.percentile(values, (0.5, 99.5))
    high = high if high > low else max(float(values.max()), float(low) + 1)
    picture = Image.fromarray((np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for box in item.verdict.boxes:
        draw.rectangle((box.left, box.top, box.right - 1, box.bottom - 1), outline=(255, 200, 0))
    picture.thumbnail((SIDE, SIDE))
    picture.save(target)

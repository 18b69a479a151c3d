"""The list for the person who decides on objects that the program would not: a table, and pages with pictures."""

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from lucency.deidentify.doubts import Doubt
from lucency.deidentify.pixels import PixelVerdict
from lucency.errors import OutputError

#: What is to be done about patients that the program cannot tell apart.
ASK = "ask"
#: What is said of a file that somebody else put into the output.
STRAY = "It lies in the output folder and was not written here: take it out before the folder is passed on."
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


def write_review(
    items: Sequence[ReviewItem], folder: Path, doubts: Sequence[Doubt] = (), strays: Sequence[str] = ()
) -> Path:
    """Write ``review.csv`` and, where there are pictures, a page in a folder marked "contains patient images".

    What an earlier session of the same output put into the list stays, with the person's decisions.

    Args:
        items: Objects that were blanked or held back.
        folder: Not within the cleaned output.
        doubts: Patients to look at; in the place of the file stand their pseudonyms.
        strays: Files in the output folder that were not written here, relative to it. Only here do their names stand.

    Returns:
        The table. Its last column is empty, for the person's decision. There is none as long as nobody has to look.

    Raises:
        OutputError: The folder cannot be written.
    """
    table = folder / "review.csv"
    rows = [row for item in items for row in _rows(item)]
    rows += [[" ".join(d.pseudonyms), ASK, d.reason, *[""] * 7] for d in doubts]
    rows += [[path, ASK, STRAY, *[""] * 7] for path in strays]
    try:
        rows = _with_earlier(rows, table)
        if not rows:
            return table
        folder.mkdir(parents=True, exist_ok=True)
        stream = io.StringIO(newline="")
        csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *rows])
        table.write_text(stream.getvalue(), encoding="utf-8")
        if any(item.picture is not None for item in items):
            _page(items, rows, folder / PICTURES)
    except OSError as error:
        raise OutputError(
            f"Cannot write the review list ({error.strerror})",
            where=table.name,
            remedy="free some space, or choose a writable folder with --records",
        ) from error
    return table


def _with_earlier(rows: list[list[str]], table: Path) -> list[list[str]]:
    """Return new rows with the decisions on them, and the rows of earlier sessions on other files."""
    if not table.exists():
        return rows
    with table.open(encoding="utf-8", newline="") as file:
        earlier = [row for row in csv.reader(file) if len(row) == len(COLUMNS)][1:]
    decided = {tuple(row[:-1]): row[-1] for row in earlier}
    new = {row[0] for row in rows}
    kept = [row for row in earlier if row[0] not in new and row[1] != ASK]
    return kept + [[*row[:-1], decided.get(tuple(row[:-1]), "")] for row in rows]


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


def _picture_of(name: str) -> str:
    """Return the name of an object's picture: that of its file, which is a digest."""
    return PurePosixPath(name).stem + ".png"


def _page(items: Sequence[ReviewItem], table: Sequence[Sequence[str]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for item in items:
        if item.picture is not None:
            _drawn(item, folder / _picture_of(item.name))
    rows = []
    for name, action, reason in dict.fromkeys(tuple(row[:3]) for row in table):
        there = (folder / _picture_of(name)).is_file()
        picture = f'<img src="{_picture_of(name)}" alt="">' if there else ""
        cells = "".join(f"<td>{html.escape(c)}</td>" for c in (name, action, reason))
        rows.append(f"<tr>{cells}<td>{picture}</td></tr>")
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

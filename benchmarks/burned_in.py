"""Text detector: lines found and clean images flagged, by font, background, height and look, with Wilson intervals.

A line counts as found when boxes cover at least 80 % of its tight box. Backgrounds are real images of patients that
were used neither for training nor for choosing thresholds; the fonts are counted by whether the training saw them. What
is burned into the backgrounds themselves was marked by eye (``burned_in_marks.csv``): an image with marks counts as
flagged wrongly only by a box that touches none of them.
"""

import csv
import json
import math
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lettering import DATA, Background, Face, Line, backgrounds, drawn, faces, worn, written
from PIL import Image, ImageDraw
from recorded import begin, parser, write

from lucency import burned_in
from lucency.burned_in import Box, find_text
from lucency.deidentify.blanking import covered

NAME = "burned_in"
FOUND_FROM = 0.8
HEIGHTS = (8, 40)
MARKS = Path(__file__).with_name("burned_in_marks.csv")
#: Marked by eye: the two lines of the one pseudo-PHI image whose pixels are there and which shows text.
#: (row and column of the first px, row and column after the last)
PSEUDO_LINES = {"2_ORIGINAL.dcm": [(0, 0, 13, 230), (15, 4, 28, 115)]}


def wilson(hits: int, n: int) -> dict[str, Any]:
    """Return a proportion with its 95 % interval (Wilson 1927)."""
    if not n:
        return {"n": 0}
    z, p = 1.959964, hits / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    lower, upper = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return {"value": round(p, 4), "lower": round(max(0, lower), 4), "upper": round(min(1, upper), 4), "n": n}


def is_found(line: Line, boxes: Iterable[Box]) -> bool:
    return covered((line.top, line.left, line.bottom, line.right), boxes) >= FOUND_FROM


def plane(b: Background) -> np.ndarray:
    """Return a background as (J, I) float32 in [0, 1], enlarged where a line of text would not fit."""
    image = b.image.astype(np.float32)
    image = image.mean(2) if image.ndim == 3 else image
    low, high = np.percentile(image, (0.5, 99.5))
    image = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    if min(image.shape) < 256:
        factor = 320 / min(image.shape)
        size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    return image


def generated(part: str, faces_: Sequence[Face], n_images: int, seed: int) -> list[dict[str, Any]]:
    """Return every line drawn, with what is known of it and whether it was found; one font to an image."""
    rows = []
    items = backgrounds(part)
    sources = sorted({b.source for b in items})
    for number, face in enumerate(faces_):
        for n in range(n_images):
            rng = np.random.default_rng([seed, number, n])
            own = [b for b in items if b.source == sources[n % len(sources)]]
            b = own[rng.integers(len(own))]
            image, lines = written(np.clip(plane(b), 0, 1), rng, [face], HEIGHTS, 4)
            image = worn(image, rng)
            deep = rng.random() < 0.5
            image = (image * 3000 - 1000).astype(np.int16) if deep else np.clip(image * 255, 0, 255).astype(np.uint8)
            boxes = find_text(image)
            for line in lines:
                height = min(line.bottom - line.top, line.right - line.left)
                rows.append(
                    {
                        "font": face.name,
                        "seen": face.seen,
                        "source": b.source,
                        "height": height,
                        "turned": line.bottom - line.top > line.right - line.left,
                        "deep": deep,
                        "style": line.style,
                        "found": is_found(line, boxes),
                        "key": [number, n],
                    }
                )
    return rows


def by(rows: Sequence[dict[str, Any]], key: str) -> dict[str, Any]:
    """Return the recall of every value of one property."""
    values = sorted({str(r[key]) for r in rows})
    return {
        v: wilson(sum(r["found"] for r in rows if str(r[key]) == v), sum(str(r[key]) == v for r in rows))
        for v in values
    }


def marks() -> dict[str, list[Box]]:
    """Return what was marked by eye in the backgrounds; a box of zeros marks an image without saying where."""
    found: dict[str, list[Box]] = {}
    if MARKS.exists():
        with MARKS.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                box = Box(*(int(row[k]) for k in ("top", "left", "bottom", "right")), 1.0)
                found.setdefault(f"{row['source']}/{row['name']}", []).append(box)
    return found


def touches(a: Box, b: Box) -> bool:
    return a.top < b.bottom and b.top < a.bottom and a.left < b.right and b.left < a.right


def clean(part: str, per_source: int, show: Path | None) -> dict[str, Any]:
    """Return how many images are flagged where nothing is written."""
    by_eye = marks()
    counts: dict[str, list[int]] = {}
    for b in backgrounds(part, per_source=per_source):
        known = by_eye.get(f"{b.source}/{b.name}", [])
        boxes = find_text(b.image)
        false = [x for x in boxes if not any(touches(x, k) for k in known)]
        count = counts.setdefault(b.source, [0, 0, 0, 0])
        count[0] += 1
        count[1] += bool(known)
        count[2] += bool(false)
        count[3] += bool(false) and not known
        if boxes and show:
            _show(b, boxes, show / f"{'false' if false else 'true'}-{b.source}-{b.name}.png".replace(" ", "_"))
    total = [sum(c[n] for c in counts.values()) for n in range(4)]
    return {
        "all": wilson(total[2], total[0]),
        "images_without_marks": wilson(total[3], total[0] - total[1]),
        "by_source": {s: wilson(c[2], c[0]) | {"marked_by_eye": c[1]} for s, c in sorted(counts.items())},
    }


def spared(part: str, per_source: int) -> dict[str, Any]:
    """Return of clean images how many the first look passes whole, and which share of blocks it leaves to look at."""
    counts: dict[str, list[float]] = {}
    for b in backgrounds(part, per_source=per_source):
        if b.image.ndim != 2:
            continue
        values = burned_in._finite(b.image)
        low, spread = burned_in._range(values)
        if min(values.shape) < burned_in.LEAST_SIDE or spread <= 0:
            continue
        looked = burned_in.first_look(values, low, spread)
        count = counts.setdefault(b.source, [0, 0, 0.0])
        count[0] += 1
        count[1] += not any(level.any() for level in looked)
        count[2] += float(looked[0].mean())
    return {
        s: {"images": int(n), "passed_whole": int(whole), "blocks_left": round(left / n, 3)}
        for s, (n, whole, left) in sorted(counts.items())
    }


def _show(b: Background, boxes: Sequence[Box], target: Path) -> None:
    image = b.image.astype(np.float32)
    low, high = np.percentile(image, (0.5, 99.5))
    picture = Image.fromarray((np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8))
    picture = picture.convert("RGB")
    draw = ImageDraw.Draw(picture)
    for box in boxes:
        draw.rectangle((box.left, box.top, box.right, box.bottom), outline=(255, 60, 0))
    picture.save(target)


def pseudo() -> dict[str, Any]:
    """Return what is found on the pseudo-PHI images, and on the answer boxes' words drawn at their places.

    The answer boxes belong to an image that is distributed without its pixels, so their words are drawn, in the boxes'
    places and height, on chest radiographs enlarged to that image's size.
    """
    import pydicom

    folder = DATA / "dicom" / "presidio_pseudo_phi"
    out: dict[str, Any] = {}
    for name, lines in PSEUDO_LINES.items():
        boxes = find_text(pydicom.dcmread(folder / name).pixel_array)
        out[name] = wilson(sum(covered(line, boxes) >= FOUND_FROM for line in lines), len(lines))
    out["RGB_ORIGINAL.dcm"] = {
        "boxes_where_nothing_is_written": len(find_text(pydicom.dcmread(folder / "RGB_ORIGINAL.dcm").pixel_array))
    }
    answers = json.loads((folder / "dicom_pii_verify_integration.json").read_text("utf-8"))["ground_truth"]
    hits = n = 0
    font = next(f for f in faces() if f.name == "DejaVuSansMono")
    for b in [b for b in backgrounds("report") if b.source == "CXR mass boxes"][:8]:
        large = np.asarray(Image.fromarray(plane(b)).resize((2190, 1810), Image.Resampling.BICUBIC)).copy()
        for answer in answers:
            ink = drawn(str(answer["label"]), font, int(answer["height"]), turned=0)
            j, i = min(ink.shape[0], 1810 - answer["top"]), min(ink.shape[1], 2190 - answer["left"])
            area = large[answer["top"] : answer["top"] + j, answer["left"] : answer["left"] + i]
            area[...] = area * (1 - ink[:j, :i]) + ink[:j, :i]
            answer["ink"] = (answer["top"], answer["left"], answer["top"] + j, answer["left"] + i)
        boxes = find_text((large * 4095).astype(np.uint16))
        hits += sum(covered(a["ink"], boxes) >= FOUND_FROM for a in answers)
        n += len(answers)
    out["answer_boxes_redrawn_on_radiographs"] = wilson(hits, n)
    return out


def speed(rounds: int) -> dict[str, float]:
    """Return seconds for one image, lowest and median of some rounds."""
    rng = np.random.default_rng(0)
    taken = {}
    for side in (256, 512, 1024):
        image = (rng.random((side, side)) * 1000).astype(np.int16)
        find_text(image)
        times, before = [], time.process_time()
        for _ in range(rounds):
            start = time.perf_counter()
            find_text(image)
            times.append(time.perf_counter() - start)
        taken[f"{side}_processor_s"] = round((time.process_time() - before) / rounds, 4)
        taken[f"{side}_median_s"], taken[f"{side}_lowest_s"] = round(statistics.median(times), 4), round(min(times), 4)
    return taken


def main() -> int:
    """Measure and record."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--part", default="report", choices=["report", "tune", "train"], help="backgrounds [report]")
    made.add_argument("--images", type=int, default=48, help="images with text for each font [48]")
    made.add_argument("--per-source", type=int, default=100, help="clean images of each source at most [100]")
    made.add_argument("--fonts", type=Path, nargs="*", default=[], help="folders of further fonts")
    made.add_argument("--show", type=Path, help="folder for pictures of flagged images (they are patients' images)")
    options = made.parse_args()
    head = begin()
    n_images, per_source = (3, 3) if options.quick else (options.images, options.per_source)
    chosen = faces(options.fonts)
    rows = generated(options.part, chosen[:3] if options.quick else chosen, n_images, options.seed)
    for row in rows:
        row["band"] = "8-11" if row["height"] < 12 else "12-19" if row["height"] < 20 else "20-40"
    unseen = [r for r in rows if not r["seen"]]
    result = {
        "part": options.part,
        "found_from": FOUND_FROM,
        "lines": wilson(sum(r["found"] for r in rows), len(rows)),
        "lines_in_unseen_fonts": wilson(sum(r["found"] for r in unseen), len(unseen)),
        "by_font": by(rows, "font"),
        "by_background": by(rows, "source"),
        "by_height_px": by(rows, "band"),
        "by_style": by(rows, "style"),
        "turned_by_90": by(rows, "turned"),
        "16_bit": by(rows, "deep"),
        "clean": clean(options.part, per_source, options.show),
        "first_look": spared(options.part, per_source),
        "pseudo_phi": pseudo() if (DATA / "dicom" / "presidio_pseudo_phi").exists() else {},
        "seconds": speed(3 if options.quick else 15),
    }
    _tell(result)
    said = (
        f"lines found {result['lines']['value']:.3f}; "
        f"in unseen fonts {result['lines_in_unseen_fonts'].get('value', 0)}; "
        f"clean images flagged {result['clean']['images_without_marks'].get('value', 0)}; "
        f"{result['seconds']['512_median_s']:.3f} s for 512²"
    )
    write(NAME, said, head | result, options)
    return 0


def _tell(result: dict[str, Any]) -> None:
    for key, value in result.items():
        if isinstance(value, dict) and all(isinstance(v, dict) for v in value.values()) and value:
            print(key)
            for name, numbers in value.items():
                print(f"  {name:40} {numbers}")
        else:
            print(f"{key:42} {value}")


if __name__ == "__main__":
    sys.exit(main())

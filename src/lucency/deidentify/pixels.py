"""Decide what to do with the pixels of one DICOM object: keep, blank regions, or hold back for a person.

Rules come first, because whole kinds of object carry names in their pixels as a habit; then the text detector; then
tesseract, where it is installed, on the kinds that a rule let pass. None of them is sure. What is kept was not shown to
be free of text; it is of a kind that rarely holds any, and nothing was found in it.
"""

import itertools
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np

from lucency.burned_in import Box, find_text
from lucency.deidentify.blanking import blanked, hidden_numbers

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Box", "PixelVerdict", "blanked", "examine", "outside", "read_text", "sampled"]

#: Start of the class UIDs of storage (PS3.4, B.5).
STORAGE = "1.2.840.10008.5.1.4.1.1."
#: Documents and objects that are not pictures in themselves: PDF, CDA, STL, OBJ, MTL (PS3.3, A.45, A.85, A.104).
DOCUMENTS = STORAGE + "104."
#: Video and photographs of persons: faces, name plates and screens cannot be looked through frame by frame.
FILMS = tuple(STORAGE + c for c in ("77.1.1.1", "77.1.2.1", "77.1.4", "77.1.4.1"))
#: MPEG2, MPEG-4 and HEVC transfer syntaxes (PS3.5, A.4.5 ff.) lie between these two last numbers.
VIDEO_SYNTAX = "1.2.840.10008.1.2.4."
#: Secondary Capture, single- and multi-frame (PS3.3, A.8), and endoscopy, whose screens show the patient's name.
CAPTURES = (STORAGE + "7", STORAGE + "7.1", STORAGE + "7.2", STORAGE + "7.3", STORAGE + "7.4", STORAGE + "77.1.1")
#: Ultrasound image classes, retired ones too (PS3.3, A.6 and A.7).
ULTRASOUND = tuple(STORAGE + c for c in ("3", "3.1", "6", "6.1", "6.2"))
#: Masks, dose grids, displacement fields and maps of numbers: the program that made them draws no text.
NUMBERS = tuple(STORAGE + c for c in ("30", "66", "66.1", "66.2", "66.3", "66.4", "66.5", "66.7", "481.2", "67"))
#: Conversion Type (0008,0064): digitised video, film, documents, drawings, workstations (PS3.3, C.8.6.1).
CONVERTED = frozenset(["DV", "DI", "DF", "WSD", "SD", "SI", "DRW", "SYN"])
#: Words in Image Type or in a description by which vendors mark saved screens and reports.
SCREENS: tuple[str, ...] = (
    "SCREEN SAVE",
    "SCREENSAVE",
    "SCREENSHOT",
    "SCREEN CAPTURE",
    "DOSE_INFO",
    "DOSE REPORT",
    "DOSE INFO",
)
SCREENS += ("PATIENT PROTOCOL", "SCANNED", "SCAN DOCUMENT", "DOCUMENT", "SUMMARY", "PATIENT INFO")
#: Modalities of documents and screens.
PAPER = frozenset(["DOC", "SC", "HC"])
#: Frames looked at one by one; a longer film is looked at in these, and in its brightest and darkest projection.
FRAMES = 8
#: Seconds and confidence (of 100) for tesseract; below it, it reads words into noise.
TESSERACT_S, TESSERACT_LEVEL = 30, 70


@dataclass(frozen=True)
class PixelVerdict:
    """What is to be done with the pixels of one object.

    Args:
        action: "keep"; "blank" the boxes in every frame; "quarantine": hold back until a person has looked.
        boxes: Where text was found or may be, px; to be blanked in every frame.
        reason: A sentence that holds no value of the object.
        regions: Frame, counted from 0, to the boxes found in it; -1 stands for what comes from a rule or a
            projection of all frames.
        clear_unused_bits: Whether numbers stand in bits that no viewer shows.
    """

    action: Literal["keep", "blank", "quarantine"]
    boxes: tuple[Box, ...] = ()
    reason: str = ""
    regions: Mapping[int, tuple[Box, ...]] = field(default_factory=dict)
    clear_unused_bits: bool = False


def examine(dataset: "Dataset", stored: Callable[[], np.ndarray], *, ocr: bool = True) -> PixelVerdict:
    """Return what is to be done with the pixels of an object.

    Args:
        dataset: The object before its attributes were cleaned, with or without pixel data.
        stored: Gives (n, rows, columns, samples) stored numbers; called only where a rule asks for them. What it
            raises is not caught.
        ocr: Let tesseract look where a risky kind says of itself that it has no text, if it is installed.

    Returns:
        The verdict. Quarantined objects that could be looked at carry the boxes that were found.

    Source:
        DICOM PS3.15, E.3.1 Clean Pixel Data Option; PS3.3, C.7.6.1.1.2 Image Type, C.8.6.1 SC Equipment, C.8.5.5
        US Region Calibration.
    """
    if reason := _never(dataset):
        return PixelVerdict("quarantine", reason=reason)
    kind = _word(dataset, "SOPClassUID")
    if not dataset.get("Rows") or not dataset.get("Columns"):
        return PixelVerdict("keep", reason="It has no pixels.")
    if kind in NUMBERS or _word(dataset, "Modality") == "SEG":
        return PixelVerdict("keep", reason="A mask, a map or a dose grid: programs draw no text in them.")
    risk = _risk(dataset)
    frames = stored()
    hidden = hidden_numbers(dataset)
    shape = (int(dataset.Rows), int(dataset.Columns))
    sound = kind in ULTRASOUND or _word(dataset, "Modality") in ("US", "IVUS")
    around = outside(scanned, shape) if sound and (scanned := _ultrasound(dataset, shape)) else ()
    # What lies around the scan goes whatever it is, and need not be looked at.
    regions = _found(_without(frames, around))
    if around:
        regions[-1] = (*regions.get(-1, ()), *around)
    if sound and not scanned:
        why = "Ultrasound that does not say which regions hold the scan: names stand around them."
        return PixelVerdict("quarantine", _union(regions), why, regions, hidden)
    says_none = _word(dataset, "BurnedInAnnotation") == "NO"
    if risk and not says_none:
        return PixelVerdict("quarantine", _union(regions), risk, regions, hidden)
    if risk and ocr and not regions:
        words = read_text(_shown(frames[len(frames) // 2]))
        regions = {len(frames) // 2: words} if words else {}
    if risk and regions:
        why = f"{risk} It says that no text was burned in, and text was found."
        return PixelVerdict("quarantine", _union(regions), why, regions, hidden)
    if regions:
        n = len(_union(regions))
        return PixelVerdict("blank", _union(regions), f"{n} region(s) with text or around the scan.", regions, hidden)
    if hidden:
        why = "Numbers stand in bits that no viewer shows (an overlay of the old kind)."
        return PixelVerdict("blank", (), why, {}, hidden)
    return PixelVerdict("keep", reason="No rule applies and no text was found.")


def sampled(n_frames: int) -> list[int]:
    """Return the frames to look at: all of a few, else the first, the last and some between.

    Example:
        >>> sampled(3), sampled(100)[-1]
        ([0, 1, 2], 99)
    """
    if n_frames <= FRAMES:
        return list(range(n_frames))
    return sorted({int(n) for n in np.linspace(0, n_frames - 1, FRAMES).round()})


def outside(scanned: Sequence[Box], shape: tuple[int, int]) -> tuple[Box, ...]:
    """Return rectangles that cover all that lies outside some regions, and nothing inside.

    Args:
        scanned: Regions to keep, px.
        shape: Rows and columns of the image.
    """
    kept = np.zeros(shape, bool)
    for box in scanned:
        kept[max(0, box.top) : max(0, box.bottom), max(0, box.left) : max(0, box.right)] = True
    edges = {0, shape[0], *(int(n) + 1 for n in np.flatnonzero((kept[1:] != kept[:-1]).any(1)))}
    rows = sorted(edges)
    out = []
    for top, bottom in itertools.pairwise(rows):
        line = np.concatenate([[True], kept[top], [True]])
        starts = np.flatnonzero(line[:-1] & ~line[1:])
        stops = np.flatnonzero(~line[:-1] & line[1:])
        out += [Box(top, int(a), bottom, int(b), 1.0) for a, b in zip(starts, stops, strict=True)]
    return tuple(out)


def read_text(image: np.ndarray) -> tuple[Box, ...]:
    """Return where tesseract reads words; empty where it is not installed or fails. The words are not kept.

    Args:
        image: (J, I) or (J, I, 3) uint8.
    """
    program = shutil.which("tesseract")
    if program is None:
        return ()
    from PIL import Image  # noqa: PLC0415 - only where tesseract is

    stream = BytesIO()
    # It was trained on letters some 30 px high; scanners write them 10 to 15 px high.
    picture = Image.fromarray(image)
    picture.resize((picture.width * 2, picture.height * 2)).save(stream, "PNG")
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command; the image goes in by the pipe
            [program, "stdin", "stdout", "--psm", "11", "tsv"],
            input=stream.getvalue(),
            capture_output=True,
            timeout=TESSERACT_S,
            check=True,
        ).stdout.decode("utf-8", "replace")
    except (subprocess.SubprocessError, OSError):
        return ()
    found = []
    for line in answer.splitlines()[1:]:
        cells = line.split("\t")
        if len(cells) < 12 or not cells[10].replace(".", "", 1).isdigit() or float(cells[10]) < TESSERACT_LEVEL:
            continue
        if sum(c.isalnum() for c in cells[11]) >= 3:
            left, top, width, height = (int(c) // 2 for c in cells[6:10])
            found.append(Box(top, left, top + height + 1, left + width + 1, float(cells[10]) / 100))
    return tuple(found)


def _never(dataset: "Dataset") -> str:
    """Return why an object can never be judged by a program, or ``""``."""
    kind = _word(dataset, "SOPClassUID")
    if kind.startswith(DOCUMENTS) or "EncapsulatedDocument" in dataset:
        return "An encapsulated document (PDF, CDA or a model): its pages are not looked into."
    syntax = str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", ""))
    last = syntax.removeprefix(VIDEO_SYNTAX).split(".")[0]
    if syntax.startswith(VIDEO_SYNTAX) and last.isdigit() and 100 <= int(last) <= 199:
        return "A video stream: its frames are not looked into."
    if kind in FILMS or _word(dataset, "Modality") == "XC":
        return "Video or a photograph: it may show a face, a name plate or a screen."
    if _word(dataset, "Modality") in PAPER and kind not in CAPTURES:
        return "Its modality is that of a document or a screen."
    return ""


def _risk(dataset: "Dataset") -> str:
    """Return why an object is of a kind that often holds names in its pixels, or ``""``."""
    kind = _word(dataset, "SOPClassUID")
    types = _words(dataset, "ImageType")
    if _word(dataset, "BurnedInAnnotation") == "YES":
        return "It says of itself that text was burned into its pixels."
    if kind in CAPTURES:
        return "A secondary capture: screens, paper and reports are stored so."
    if set(_words(dataset, "ConversionType")) & CONVERTED:
        return "It was converted from a film, a video, paper or a screen."
    told = " ".join([*types, *(_word(dataset, k) for k in ("SeriesDescription", "ImageComments", "ProtocolName"))])
    if any(word in told for word in SCREENS):
        return "Its type or description is that of a saved screen, a report or a scanned document."
    if _word(dataset, "Modality") == "OT":
        return "Its modality is 'other': it does not say how it came about."
    return ""


def _ultrasound(dataset: "Dataset", shape: tuple[int, int]) -> list[Box]:
    """Return the regions that hold the scan (PS3.3, C.8.5.5.1.1 ff.; corners are included), px."""
    found = []
    for item in dataset.get("SequenceOfUltrasoundRegions") or ():
        try:
            corners = [int(item[k].value) for k in ("RegionLocationMinY0", "RegionLocationMinX0")]
            corners += [int(item[k].value) + 1 for k in ("RegionLocationMaxY1", "RegionLocationMaxX1")]
        except (KeyError, TypeError, ValueError):
            continue
        top, left, bottom, right = corners
        if 0 <= top < bottom <= shape[0] + 1 and 0 <= left < right <= shape[1] + 1:
            found.append(Box(top, left, min(bottom, shape[0]), min(right, shape[1]), 1.0))
    return found


def _found(frames: np.ndarray) -> dict[int, tuple[Box, ...]]:
    """Return the text found in the frames that are looked at, and in the projections of a longer film."""
    looked = {n: find_text(_plane(frames[n])) for n in sampled(len(frames))}
    if len(frames) > FRAMES:
        if any(looked.values()):
            # Where some frames have text, none of the others is taken on trust.
            looked |= {n: find_text(_plane(frames[n])) for n in range(len(frames)) if n not in looked}
        else:
            looked[-1] = (*find_text(_plane(frames.max(0))), *find_text(_plane(frames.min(0))))
    return {n: boxes for n, boxes in looked.items() if boxes}


def _without(frames: np.ndarray, around: Sequence[Box]) -> np.ndarray:
    """Return the frames with regions set to their least number; the same array where there are none."""
    if not around:
        return frames
    frames = frames.copy()
    least = frames.min()
    for box in around:
        frames[:, box.top : box.bottom, box.left : box.right] = least
    return frames


def _plane(frame: np.ndarray) -> np.ndarray:
    """Return (J, I) or (J, I, 3) of (J, I, samples)."""
    return frame if frame.shape[-1] == 3 else frame[..., 0]


def _shown(frame: np.ndarray) -> np.ndarray:
    """Return the frame as (J, I) or (J, I, 3) uint8, its middle 99 % stretched."""
    values = _plane(frame).astype(np.float32)
    low, high = np.percentile(values, (0.5, 99.5))
    high = high if high > low else max(float(values.max()), float(low) + 1)
    return np.asarray(np.clip((values - low) / (high - low), 0, 1) * 255, np.uint8)


def _union(regions: Mapping[int, Iterable[Box]]) -> tuple[Box, ...]:
    """Return every box once; one that lies within another is left out."""
    boxes = sorted({b for found in regions.values() for b in found}, key=lambda b: (-_size(b), b.top, b.left))
    kept: list[Box] = []
    for box in boxes:
        if not any(
            o.top <= box.top and o.left <= box.left and o.bottom >= box.bottom and o.right >= box.right for o in kept
        ):
            kept.append(box)
    return tuple(sorted(kept, key=lambda b: (b.top, b.left)))


def _size(box: Box) -> int:
    return (box.bottom - box.top) * (box.right - box.left)


def _word(dataset: "Dataset", keyword: str) -> str:
    return " ".join(_words(dataset, keyword))


def _words(dataset: "Dataset", keyword: str) -> list[str]:
    """Return the values of an attribute in capitals; what cannot be read counts as absent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = dataset.get(keyword)
        except Exception:  # a broken value may raise anything, and must not hide the object from the rules
            return []
    if value is None or value == "":
        return []
    values = [value] if isinstance(value, str | int | float) else list(value) if hasattr(value, "__iter__") else [value]
    return [str(v).strip(" \0").upper() for v in values]

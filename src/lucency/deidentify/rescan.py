"""The output looked through again, by rules of its own: whatever the engine decided, nothing of a patient may be there.

It shares the standard's table and the list of known strings with the engine, and none of its decisions: it reads every
value of every element at every depth, the bytes between them, the preamble, the file meta information and the names of
files and folders.
"""

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import dictionary_has_tag, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from lucency.deidentify import table
from lucency.deidentify.keys import STANDARD_ROOT, Identities
from lucency.deidentify.makers import MANUFACTURER, is_maker
from lucency.deidentify.private import is_safe
from lucency.deidentify.table import Options
from lucency.read.head import silent

#: Elements of the file meta information that a cleaned file may have (PS3.10, 7.1).
META = frozenset({0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013})
UID = re.compile(rb"(?<![0-9.])[0-2](?:\.[0-9]{1,40}){3,20}(?![0-9.])")
TEXT = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
#: Values that stand for nothing, as a person would judge them: fillers, zeros, the first day of 1900, pseudonyms.
EMPTY = re.compile(
    r"|REMOVED|ANONYMOUS|COERCE|urn:removed|0{1,14}|000Y|\+0000|190001010*|P[0-9A-F]{15}|ID[0-9A-F]{12}|Removed"
    r"|2\.25\.\d+|(0|0\.0|b'(\\x00)*')",
    re.IGNORECASE,
)
#: Bytes of text in a file that is not DICOM in which names are searched as text; longer ones as bytes only.
LONGEST_TEXT = 8 << 20
#: Bytes of the longest value whose judgement is kept for the next file, and how many judgements are.
LONGEST_KEPT, MOST_KEPT = 4096, 50_000
#: More strings than this are not sought one by one in pixels.
FEW = 12
#: Words of two bytes that any five letters of UTF-16 fill with a letter and a zero each, wherever they begin.
WIDE_WORDS = 4
#: Letters of the shortest string that :meth:`Identities.needles` gives, if it is ASCII.
SHORTEST = 5
#: The sentence that this program writes itself: Deidentification Method.
OURS = frozenset({0x00120063})
#: Representations of binary numbers.
BINARY = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT", "OF", "OD", "OL"})
_LETTERS = np.zeros(256, bool)
_LETTERS[list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.,/'^ ")] = True
_MARKS = bytes(120 if letter else 0 for letter in _LETTERS)
_RUN = b"x" * SHORTEST
ENCODINGS = ("utf-8", "latin-1", "gb18030", "utf-16-le", "utf-16-be")


@dataclass(frozen=True)
class Known:
    """What must not be found.

    Args:
        people: Pseudonym to the strings by which that patient is known.
        uids: UIDs of the source.
        everybody: Strings of all patients: for files that belong to none, and for patients in each other's files.
        judged: What was found in values that many files share, by patient; filled on the way.
    """

    people: Mapping[str, Identities]
    uids: frozenset[str]
    everybody: Identities = field(default_factory=Identities)
    judged: dict[Any, tuple[tuple[str, str], ...]] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Finding:
    """Something that was left.

    Args:
        output: File, relative to the output folder.
        kind: What it is: ``"name or number"``, ``"old UID"``, ``"listed attribute"`` …
        where: Keyword or tag, or the part of the file. Never the value.
    """

    output: str
    kind: str
    where: str


@dataclass(frozen=True)
class Look:
    """One look at one file.

    Args:
        state: What :func:`state_of` said of it before.
        findings: What was left.
    """

    state: tuple[int, ...]
    findings: tuple[Finding, ...]


def state_of(file: Path) -> tuple[int, ...]:
    """Return size, time of change in ns and number of a file: another state means that it must be looked at again."""
    try:
        facts = file.stat()
    except OSError:
        return ()
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


def left_in(dst: Path, output: str, known: Known, options: Options, sha256: str = "") -> list[Finding]:
    """Return what is left in one file of the output.

    Args:
        dst: Output folder.
        output: File relative to it.
        known: What must not be found.
        options: What was asked for.
        sha256: Of the bytes that were written there, hex; others are a finding.
    """
    try:
        content = (dst / output).read_bytes()
    except OSError:
        return [Finding(output, "file that cannot be read", "file")]
    identities = known.people.get(output.split("/", maxsplit=1)[0], known.everybody)
    found = [("name or number", "file name")] if identities.found_in(output.replace("/", " ")) else []
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        found.append(("bytes other than those that were written", "file"))
    if content[128:132] == b"DICM":
        try:
            found += _in_dicom(content, identities, known, options)
        except (Exception, RecursionError):
            found.append(("file that cannot be read", "file"))
            found += _in_bytes(content, identities, known)
    else:
        found += _in_bytes(content, identities, known)
        if len(content) < LONGEST_TEXT and known.everybody.found_in(content.decode("utf-8", "replace")):
            found.append(("name or number", "file"))
    return [Finding(output, *f) for f in dict.fromkeys(found)]


def _in_dicom(content: bytes, identities: Identities, known: Known, options: Options) -> list[tuple[str, str]]:
    found = [("preamble", "first 128 bytes")] if any(content[:128]) else []
    with silent():
        dataset = pydicom.dcmread(io.BytesIO(content), force=False)
        found += [("file meta information", str(e.tag)) for e in dataset.file_meta if e.tag not in META]
        for element in dataset.file_meta:
            if element.VR == "UI":
                found += _of_uid(str(element.value), element.keyword, known, options)
        if dataset.get("PatientIdentityRemoved") != "YES":
            found.append(("not marked as de-identified", "PatientIdentityRemoved"))
        content = _without_maker(dataset, content)
        found += _in_dataset(dataset, identities, known, options)
        pixels = dataset.get_item("PixelData") if "PixelData" in dataset else None
    n_pixels = len(pixels.value or b"") if pixels is not None else 0
    return found + _in_bytes(content, identities, known, tail=n_pixels)


def _without_maker(dataset: Dataset, content: bytes) -> bytes:
    """Return the bytes of a file without the name of a common maker as its Manufacturer, which goes from the dataset.

    A patient may be called like one.
    """
    element = dataset._dict.get(BaseTag(MANUFACTURER))
    if not isinstance(element, RawDataElement) or not element.value:
        return content
    start, stop = element.value_tell, element.value_tell + len(element.value)
    if content[start:stop] != element.value or not is_maker(element.value.decode("ascii", "replace")):
        return content
    del dataset._dict[element.tag]
    return content[:start] + bytes(stop - start) + content[stop:]


def _in_bytes(content: bytes, identities: Identities, known: Known, *, tail: int = 0) -> list[tuple[str, str]]:
    """Search bytes for the longer strings in several encodings, and for UIDs of the source before the pixels."""
    found = []
    front, pixels = content[: len(content) - tail].lower(), content[len(content) - tail :]
    needles = _sought(identities)
    runs = _text_in(pixels, 1) + _text_in(pixels, 2) if _may_hold(pixels, needles) else b""
    for needle, forms in needles.items():
        hidden = needle.encode("ascii", "ignore") in runs if needle.isascii() else any(f in pixels for f in forms)
        if hidden or any(_stands_alone(f, front) for f in forms):
            found.append(("name or number", "pixel data" if hidden else "bytes of the file"))
    if known.uids and any(u.decode() in known.uids for u in UID.findall(front)):
        found.append(("old UID", "bytes of the file"))
    return found


@lru_cache(maxsize=64)
def _sought(identities: Identities) -> Mapping[str, frozenset[bytes]]:
    """Return the longer strings in lower case, and their bytes in several encodings."""
    needles = sorted({n.lower() for n in identities.needles()})
    return {n: frozenset(n.encode(e, "ignore") for e in ENCODINGS) - {b""} for n in needles}


def _stands_alone(sought: bytes, content: bytes) -> bool:
    """Tell whether bytes occur that are not part of a longer word."""
    place = content.find(sought)
    while place >= 0:
        around = content[max(place - 1, 0) : place] + content[place + len(sought) : place + len(sought) + 1]
        if not any(97 <= c <= 122 for c in around) or not sought.isascii():
            return True
        place = content.find(sought, place + 1)
    return False


def _may_hold(content: bytes, needles: Iterable[str]) -> bool:
    """Tell whether pixels hold the first four letters of a string, one byte or two to a letter; in doubt, yes.

    Most pixels are numbers of two bytes that cannot be letters, which is told by an exact argument in a tenth of the
    time of a search. Take the words of two bytes that lie at even places, and a string of five letters or more at any
    place, each letter a byte from 0x20 to 0x7A:

    * One byte to a letter: the five bytes hold two such words in a row, and both bytes of a word are letters. As a
      number, in either byte order, it lies from 0x2020 to 0x7A7A.
    * Two bytes to a letter (UTF-16): the first or the last four letters fill such words, each with its zero. As
      numbers of little-endian order the first four lie from 0x20 to 0x7A, or the last four from 0x2000 to 0x7A00.

    Where neither holds nothing needs to be searched. Where only small numbers stand in a row, as the soft tissue of CT
    does at 32 to 122 HU, the four letters are compared at these places alone.
    """
    beginnings = {n[:4].encode() for n in needles if n.isascii()}
    if not beginnings:
        return False
    words = np.frombuffer(content, "<u2", len(content) // 2)
    if _in_a_row(words, 0x2000, 0x7A7A, 2).size:
        return len(beginnings) > FEW or _holds(content, beginnings)
    places = _in_a_row(words, 0x20, 0x7A, WIDE_WORDS)
    if not places.size or len(beginnings) > FEW:
        return bool(places.size)
    return any(_begins(words, places, word) for word in beginnings)


def _in_a_row(words: np.ndarray, least: int, most: int, n: int) -> np.ndarray:
    """Return where so many neighbouring words begin that all lie between two numbers."""
    fits = (words - np.uint16(least)) <= np.uint16(most - least)
    row = fits
    for shift in range(1, n):
        row = row[:-1] & fits[shift:]
    return np.flatnonzero(row)


def _begins(words: np.ndarray, places: np.ndarray, sought: bytes) -> bool:
    """Tell whether one of some runs of letters begins so, whatever its case."""
    for number, letter in enumerate(sought):
        places = places[words[places + number] | 32 == letter | 32]
    return bool(places.size)


def _holds(content: bytes, beginnings: Iterable[bytes]) -> bool:
    """Tell whether bytes hold one of some words of four letters, one byte or two to a letter."""
    values = np.frombuffer(content, np.uint8)
    low, gap = values | 32, values == 0
    where = {letter: low == letter | 32 for letter in set(b"".join(w[:2] for w in beginnings))}
    hits = np.empty(len(values), bool)
    for word in beginnings:
        for stride in (1, 2):
            n = max(0, len(values) - (len(word) - 1) * stride)
            np.logical_and(where[word[0]][:n], where[word[1]][stride:][:n], out=hits[:n])
            if stride == 2:
                np.logical_and(hits[:n], gap[1:][:n], out=hits[:n])
            places = np.flatnonzero(hits[:n])
            for number in range(2, len(word)):
                places = places[low[places + number * stride] == word[number] | 32]
            if places.size:
                return True
    return False


def _text_in(content: bytes, width: int) -> bytes:
    """Return the runs of letters in pixels that are as long as the shortest string sought, in lower case.

    Args:
        content: Pixel data.
        width: Bytes of a letter, 1 or 2 (UTF-16, either byte order).
    """
    out = []
    for order, offset in product("<>"[:width], range(width)):
        # Most pixels hold no such run, which is told at a tenth of the cost of finding where.
        lowest = offset + (width - 1 if order == ">" else 0)
        if _RUN not in content[lowest::width].translate(_MARKS):
            continue
        part = content[offset:]
        values = np.frombuffer(part, f"{order}u{width}", len(part) // width)
        low_bytes = values.astype(np.uint8)
        letters = _LETTERS[low_bytes] & (values < 128)
        run = letters
        for n in range(1, SHORTEST):
            run = run[:-1] & letters[n:]
        starts = np.flatnonzero(run)
        if len(starts):
            inside = np.zeros(len(values) + 1, bool)
            for n in range(SHORTEST):
                inside[starts + n] = True
            low = np.where(inside[:-1], low_bytes, 0)
            # One zero stays between two runs.
            out.append(low[inside[:-1] | inside[1:]].tobytes().lower())
    return b"\0".join([*out, b""])


def _in_dataset(dataset: Dataset, identities: Identities, known: Known, options: Options) -> Iterator[tuple[str, str]]:
    written_as = _charset(dataset)
    # Compared as plain numbers: pydicom's tags compare themselves step by step.
    for tag in sorted(dataset._dict, key=int):
        raw = dataset._dict[tag]
        short = isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and len(raw.value) <= LONGEST_KEPT
        if tag >> 16 & 1 or not short:
            yield from _in_element(dataset, tag, identities, known, options)
            continue
        # The same bytes under the same tag mean the same in every file of the patient: they are judged once.
        key = (id(identities), options, int(tag), raw.VR, raw.is_little_endian, raw.value, written_as)
        found = known.judged.get(key)
        if found is None:
            if len(known.judged) >= MOST_KEPT:
                known.judged.clear()
            found = known.judged[key] = tuple(_in_element(dataset, tag, identities, known, options))
        yield from found


def _charset(dataset: Dataset) -> str:
    """Return how text is written in a dataset."""
    return str(getattr(dataset, "_character_set", ""))


def _in_element(
    dataset: Dataset, tag: Any, identities: Identities, known: Known, options: Options
) -> Iterator[tuple[str, str]]:
    name, row, wrong = _known_of(tag)
    if tag.group & 1:
        yield from _of_private(dataset, tag, identities, options)
        return
    if wrong:
        yield wrong, str(tag)
    elif row is None and dataset.get_item(tag).VR in BINARY:
        return  # a number of a kind that holds no text
    raw = dataset.get_item(tag)
    try:
        element = dataset[tag]
    except (Exception, RecursionError):
        yield "value that cannot be read", name
        held = raw.value if isinstance(raw.value, bytes) else b""
        if identities.found_in(held.decode("latin-1")):
            yield "name or number", name
        return
    if row is not None:
        yield from _of_listed(element, row, options, name)
    if element.VR == "SQ":
        for item in element.value:
            yield from _in_dataset(item, identities, known, options)
    else:
        yield from _of_value(element, identities, known, options, name)


@cache
def _known_of(tag: Any) -> tuple[str, table.Row | None, str]:
    """Return name and row of a tag, and what is wrong with its being there at all."""
    name, row = keyword_for_tag(tag) or str(tag), table.row_of(tag)
    if tag.group >> 8 in {0x50, 0x60} or tag.element == 0:
        return name, row, "curve, overlay or group length"
    return name, row, "" if tag.group & 1 or dictionary_has_tag(tag) else "unknown attribute"


def _of_value(
    element: Any, identities: Identities, known: Known, options: Options, name: str
) -> Iterator[tuple[str, str]]:
    """Judge a value by its representation."""
    value = element.value
    if element.VR == "UI":
        _, row, _ = _known_of(element.tag)
        if row is not None and _allowed(options) & set(row.options):
            return
        for uid in value if isinstance(value, list | pydicom.multival.MultiValue) else [value]:
            yield from _of_uid(str(uid or ""), name, known, options)
    elif element.VR in TEXT:
        text = _as_text(value) if value else ""
        if text and identities.found_in(text):
            yield "name or number", name
        elif text and not _told_on_purpose(element.tag, options) and known.everybody.plain.found_in(text):
            yield "name or number of another patient", name
    elif element.VR in {"IS", "DS"}:
        if _is_number_of(value, identities):
            yield "name or number", name
    elif isinstance(value, bytes) and element.tag != 0x7FE00010 and identities.found_in(value.decode("latin-1")):
        yield "name or number", name


def _told_on_purpose(tag: Any, options: Options) -> bool:
    """Tell whether a text is this program's, or of an institution that was to be kept: Martin is a hospital, too."""
    _, row, _ = _known_of(tag)
    return tag in OURS or (
        "institution" in options.keep and row is not None and table.KEEP["institution"][0] in row.options
    )


def _of_private(dataset: Dataset, tag: Any, identities: Identities, options: Options) -> Iterator[tuple[str, str]]:
    if "safe-private" not in options.keep:
        yield "private attribute", str(tag)
        return
    element = dataset[tag]
    if 0x10 <= tag.element <= 0xFF:
        return
    creator = str(dataset.get((tag.group, tag.element >> 8)).value) if (tag.group, tag.element >> 8) in dataset else ""
    value = element.value if isinstance(element.value, bytes) else str(element.value).encode()
    if not is_safe(creator, tag, element.VR, value) or identities.found_in(value.decode("latin-1")):
        yield "private attribute", str(tag)


def _of_listed(element: Any, row: table.Row, options: Options, name: str) -> Iterator[tuple[str, str]]:
    """Judge an attribute of the table by its row: what should be gone may only be there with nothing in it."""
    if _allowed(options) & set(row.options) or "U" in row.basic or element.VR == "SQ":
        return
    values = element.value if isinstance(element.value, list | pydicom.multival.MultiValue) else [element.value]
    for value in values:
        if value is not None and not EMPTY.fullmatch(_as_text(value).strip(" \0")):
            yield "listed attribute", name
            return


@cache
def _allowed(options: Options) -> set[str]:
    """Return the columns of the table under which an attribute may have a value."""
    columns = {table.KEEP[k][0] for k in options.keep} | {table.CLEAN[c][0] for c in options.clean}
    by_dates = {"shift": "retain_longitudinal_modified_dates", "keep": "retain_longitudinal_full_dates"}
    return columns | {by_dates[options.dates]} if options.dates in by_dates else columns


def _of_uid(value: str, name: str, known: Known, options: Options) -> Iterator[tuple[str, str]]:
    if value in known.uids:
        yield "old UID", name
    elif (
        "uids" not in options.keep
        and value
        and not value.startswith(("2.25.", STANDARD_ROOT))
        and not re.search(r"(ClassUID|SyntaxUID|CodingSchemeUID|MappingResourceUID|ContextUID)(InFile)?$", name)
    ):
        yield "foreign UID", name


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return "" if not any(value) else value.decode("latin-1")
    return "\\".join(map(str, value)) if isinstance(value, list | pydicom.multival.MultiValue) else str(value)


def _is_number_of(value: Any, identities: Identities) -> bool:
    """Tell whether a number is, as a whole, one by which the patient is known."""
    values = value if isinstance(value, list | pydicom.multival.MultiValue) else [value]
    told = (str(getattr(v, "original_string", v)).strip().lstrip("0") for v in values if v is not None)
    return any(v in identities.whole_numbers for v in told)

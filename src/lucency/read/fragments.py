"""Where the frames of compressed pixels lie: items, offset tables, fragments (DICOM PS3.5, A.4)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from lucency.errors import ReadError
from lucency.read.pixelform import APART, unreadable

#: (FFFE,E000) Item and (FFFE,E0DD) Sequence Delimitation, little-endian, as all compressed syntaxes are.
ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"

#: How a JPEG, JPEG-LS or JPEG 2000 stream begins and ends.
BEGINNINGS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
END = b"\xff\xd9"

#: An ending may be followed by bytes that fill the fragment.
FILLING = 10


@dataclass(frozen=True)
class Fragments:
    """The items after the offset table.

    Args:
        places: Of each item's tag, bytes from the first one's.
        spans: Of each item's value, (bytes from the beginning of the file, length).
        offsets: Basic Offset Table; empty where there is none.
    """

    places: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    offsets: tuple[int, ...]


def walk(file: BinaryIO, start: int, end: int, where: str) -> Fragments:
    """Return where the items lie, without their contents.

    Args:
        file: Any seekable file.
        start: Of the pixel data's value, bytes.
        end: Of the file.
        where: What an error names.

    Raises:
        ReadError: Something else than items, or the file ends within one.
    """
    file.seek(start)
    spans: list[tuple[int, int]] = []
    place = start
    while place + 8 <= end:
        head = file.read(8)
        tag, length = head[:4], int.from_bytes(head[4:], "little")
        if tag == DELIMITER:
            break
        if tag != ITEM:
            raise _damaged("something stands between the fragments", where)
        if place + 8 + length > end:
            raise _damaged(f"{end - place - 8} of {length} bytes of a fragment are there", where)
        spans.append((place + 8, length))
        place += 8 + length
        file.seek(place)
    if not spans:
        raise _damaged("there is no offset table", where)
    table, *values = spans
    file.seek(table[0])
    words = file.read(table[1])
    offsets = struct.unpack(f"<{len(words) // 4}I", words[: len(words) // 4 * 4])
    first = sum(table)
    return Fragments(tuple(s - 8 - first for s, _ in values), tuple(values), offsets)


def grouped(
    file: BinaryIO, found: Fragments, n_frames: int, extended: Sequence[int], where: str
) -> list[tuple[tuple[int, int], ...]]:
    """Return the spans of every frame.

    Args:
        file: Of which :func:`walk` found the items.
        found: Its answer.
        n_frames: As the header says.
        extended: Extended Offset Table; empty without one.
        where: What an error names.

    Raises:
        ReadError: Other than ``n_frames`` frames are there.

    Source:
        DICOM PS3.5, A.4; PS3.3, C.7.6.3.1.8.
    """
    spans = found.spans
    starts = [tuple(table) for table in (extended, found.offsets) if len(table) == n_frames and n_frames]
    if not extended and found.offsets and len(found.offsets) != n_frames:
        raise _count(len(found.offsets), n_frames, where)
    if len(spans) == n_frames:
        return [(s,) for s in spans]
    if len(spans) < n_frames:
        raise _count(len(spans), n_frames, where)
    if starts:
        index = {place: n for n, place in enumerate(found.places)}
        cuts = [index.get(place, -1) for place in starts[0]]
        if cuts[0] != 0 or any(a >= b for a, b in pairwise(cuts)):
            raise _damaged("the offset table does not fit the fragments", where)
    else:
        cuts = _beginnings(file, spans)
        if len(cuts) != n_frames:
            raise _count(len(cuts), n_frames, where)
    return [spans[a:b] for a, b in zip(cuts, [*cuts[1:], len(spans)], strict=True)]


def _beginnings(file: BinaryIO, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return the fragments that begin a stream: the first, and those that look so right after one that ends so."""
    cuts = [0]
    for n in range(1, len(spans)):
        (before, length), (start, _) = spans[n - 1], spans[n]
        tail = min(FILLING, length)
        file.seek(before + length - tail)
        ended = END in file.read(tail)
        file.seek(start)
        if ended and file.read(4).startswith(BEGINNINGS):
            cuts.append(n)
    return cuts


def _damaged(found: str, where: str) -> ReadError:
    return unreadable(found, where, expected="whole fragments up to the end of the pixel data")


def _count(found: int, promised: int, where: str) -> ReadError:
    return unreadable(
        f"{found} compressed frames, the header says {promised}",
        where,
        expected="one compressed frame for each frame of the image",
        remedy=APART,
    )

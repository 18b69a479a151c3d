"""Why a file that should be DICOM is not: cut off, other bytes in it, or another format under its name.

Looked at only after reading failed; then the file is walked again, element by element, by nothing but its own lengths.
"""

from pathlib import Path
from typing import Literal

from lucency.read import archive

#: How other formats begin, and what they are called.
SIGNATURES = (
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\3\4", "a zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"Rar!", "an archive"),
    (b"7z\xbc\xaf", "an archive"),
    (b"NRRD", "an NRRD image"),
    (b"<?xml", "a text"),
)

#: Of a file so many bytes are walked; headers end long before.
WALKED = 16 << 20
#: Value representations (PS3.5, 6.2), as bytes in an explicit header.
VRS = set(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
#: Those whose length takes four bytes (PS3.5, 7.1.2).
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
#: Pixels, in any of their forms, end the header.
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
#: Nested deeper than this nothing is told.
DEEPEST = 40
IMPLICIT, BIG, DEFLATED = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"


#: Byte orders (PS3.5, 7.3).
Order = Literal["little", "big"]


class _CutError(Exception):
    """The bytes end within an element."""


class _OtherError(Exception):
    """Something else than an element stands at the place given."""


def not_dicom(start: bytes) -> str:
    """Return what a file that holds no DICOM at all seems to be, as a sentence, or ``""`` where its bytes say nothing.

    Args:
        start: Its first 1024 bytes, or all there are.

    Example:
        >>> not_dicom(b"%PDF-1.7")
        'Not DICOM but a PDF document'
    """
    if start[128:132] == b"DICM":
        return ""
    if not start:
        return "The file is empty (0 bytes)"
    if not start.strip(b"\0"):
        return "The file holds zeros only"
    named = next((name for begin, name in SIGNATURES if start.startswith(begin)), "")
    if not named and start[344:348] in (b"n+1\0", b"ni1\0"):
        named = "a NIfTI image"
    if not named and all(b >= 32 or b in b"\t\r\n\f" for b in start):
        named = "a text"
    return f"Not DICOM but {named}" if named else "No DICOM: the bytes are of no format that is known"


def told(file: Path) -> str:
    """Return what is wrong with the header of a damaged file, as a sentence, or ``""`` where it is whole.

    Args:
        file: Real or virtual path.

    Source:
        DICOM PS3.5, 7.1 and 7.5; PS3.10, 7.1.
    """
    with archive.opened(file) as raw:
        data = raw.read(WALKED)
        whole = not raw.read(1)
    return told_of(data, whole=whole)


def told_of(data: bytes, *, whole: bool = True) -> str:
    """Return the same of bytes; ``whole`` where they are all of the file."""
    begins = 132 if data[128:132] == b"DICM" else 0
    try:
        place, syntax = _file_meta(data, begins)
        if syntax == DEFLATED:
            return ""
        # What bears no syntax tells by the letters after its first tag.
        explicit = syntax != IMPLICIT if syntax else data[place + 4 : place + 6] in VRS
        big = syntax == BIG or (not syntax and data[place : place + 2] == b"\0\x08")
        _elements(data, place, "big" if big else "little", explicit)
    except _CutError:
        return f"The file is cut off: it ends within its header, after {len(data)} bytes" if whole else ""
    except _OtherError as found:
        return f"Bytes that are no DICOM stand in the header, {found} bytes from the beginning"
    return ""


def _file_meta(data: bytes, place: int) -> tuple[int, bytes]:
    """Return where the data set begins, and its transfer syntax; the file meta group is explicit, little-endian."""
    syntax, ends = b"", 0
    while data[place : place + 2] == b"\2\0":
        tag, start, length = _head(data, place, "little", True)
        if start + length > len(data):
            raise _CutError
        if tag == 0x00020000:  # the group says how long it is (PS3.10, 7.1)
            ends = start + length + int.from_bytes(data[start : start + length], "little")
        if tag == 0x00020010:
            syntax = data[start : start + length].strip(b"\0 ")
        place = start + length
    if place == len(data) < ends:
        raise _CutError
    return place, syntax


def _head(data: bytes, place: int, order: Order, explicit: bool) -> tuple[int, int, int]:
    """Return an element's tag, where its value begins, and its length."""
    if place + 8 > len(data):
        raise _CutError
    group, element = (int.from_bytes(data[place + n : place + n + 2], order) for n in (0, 2))
    tag = group << 16 | element
    if not explicit or group == 0xFFFE:
        return tag, place + 8, int.from_bytes(data[place + 4 : place + 8], order)
    vr = data[place + 4 : place + 6]
    if vr not in VRS:
        raise _OtherError(place)
    if vr not in LONG:
        return tag, place + 8, int.from_bytes(data[place + 6 : place + 8], order)
    if place + 12 > len(data):
        raise _CutError
    return tag, place + 12, int.from_bytes(data[place + 8 : place + 12], order)


def _elements(data: bytes, place: int, order: Order, explicit: bool, depth: int = 0) -> int:
    """Walk the elements of a data set up to the pixels, of an item up to its end; return the place behind."""
    last = -1
    while place < len(data):
        tag, start, length = _head(data, place, order, explicit)
        if depth and tag == ITEM_END:
            return start
        if tag in PIXELS and not depth:
            return place
        if tag <= last or tag >> 16 == 0xFFFE:
            raise _OtherError(place)
        last = tag
        if length == UNDEFINED:
            # What has the representation UN is implicit inside (PS3.5, 6.2.2, note 2).
            inside = explicit and data[place + 4 : place + 6] != b"UN"
            place = _items(data, start, order, inside, depth + 1)
        elif start + length > len(data):
            # A file that was cut off lacks the rest of a value; a length beyond all reason is a number by chance.
            if length > WALKED:
                raise _OtherError(place)
            raise _CutError
        else:
            place = start + length
    if depth:
        raise _CutError
    return place


def _items(data: bytes, place: int, order: Order, explicit: bool, depth: int) -> int:
    """Walk the items of a sequence of undefined length; return the place behind it."""
    while True:
        tag, start, length = _head(data, place, order, explicit=False)
        if tag == SEQUENCE_END:
            return start
        if tag != ITEM or depth > DEEPEST:
            raise _OtherError(place)
        if length == UNDEFINED:
            place = _elements(data, start, order, explicit, depth)
        elif start + length > len(data):
            raise _CutError
        else:
            place = start + length

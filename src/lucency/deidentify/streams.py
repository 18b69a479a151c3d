"""Pixel data without what is not the picture: comments, makers' segments, bytes behind the last one of a frame.

Compressed frames are small files of their own, with room for words that no viewer shows. The coded picture itself is
not touched: frames decode to the same numbers before and after.

Source:
    DICOM PS3.5, 8.2, A.4 and annex G; ITU-T T.81, annex B; T.87, annex C; T.800, annexes A and I.
"""

import io
import struct
from itertools import pairwise
from typing import TYPE_CHECKING

from lucency.errors import DataError, LucencyError
from lucency.read import fragments

if TYPE_CHECKING:
    from pydicom import Dataset

#: (7FE0,0010), (7FE0,0008) and (7FE0,0009): the three kinds of pixels.
PIXEL_DATA, NATIVE = 0x7FE00010, (0x7FE00010, 0x7FE00008, 0x7FE00009)
#: Extended Offset Table, its lengths, and the total length: none fits frames of another length; all are optional.
TABLES = (0x7FE00001, 0x7FE00002, 0x7FE00003)
#: Syntaxes of JPEG, JPEG-LS, JPEG 2000 and HTJ2K begin so; which it is, the first bytes of a frame tell.
JPEG_FAMILY, RLE = "1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5"
UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
#: JPEG markers (T.81, B.1.1.3; T.87, C.1.1): tables and frames to keep, application segments to choose from.
SOS, EOI, COM = 0xDA, 0xD9, 0xFE
CODED = frozenset([*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xF7, 0xF8]) - {0xC8}
APPLICATION, JPEG_LS = range(0xE0, 0xF0), 0xF7
#: JPEG 2000 markers (T.800, A.2; T.801, A.2; T.814, A.3): segments of headers that the picture may need.
SOT, SOD, EOC, J2K_COM, TLM = 0xFF90, 0xFF93, 0xFFD9, 0xFF64, 0xFF55
HEADERS = frozenset([*range(0xFF50, 0xFF54), 0xFF55, *range(0xFF56, 0xFF5A), *range(0xFF5C, 0xFF62), 0xFF63])
HEADERS |= frozenset(range(0xFF70, 0xFF7A))
#: Boxes of a JP2 file (T.800, I.4) that say what its numbers are; all others go.
SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
BOXES = frozenset([b"jP  ", b"ftyp", b"jp2h", b"jp2c"])
OF_HEADER = frozenset([b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef"])
#: What tells how long a picture is (PS3.3, C.7.6.3), as the standard writes it, and its keyword.
NEEDED = {
    "Rows": "Rows",
    "Columns": "Columns",
    "Samples per Pixel": "SamplesPerPixel",
    "Bits Allocated": "BitsAllocated",
}
#: A Basic Offset Table counts to this number of bytes.
LONGEST = 2**32


def trimmed(dataset: "Dataset") -> str:
    """Cut from an object's pixel data what is not its picture; offset tables are made anew.

    Args:
        dataset: With its file meta information; changed in place.

    Returns:
        Why it could not be done, without a value of the object; empty if it was. Then nothing was changed.
    """
    try:
        syntax = dataset.file_meta.get("TransferSyntaxUID", None)
        if syntax and syntax.is_compressed:
            _compressed(dataset)
        else:
            _native(dataset)
    except LucencyError as error:
        return f"What stands beside the picture in its pixel data cannot be removed ({error.found})."
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        return f"What stands beside the picture in its pixel data cannot be removed ({_why(dataset, error)})."
    return ""


def _why(dataset: "Dataset", error: Exception) -> str:
    """Return what in the header or the stream does not tell where the picture ends."""
    absent = [name for name, keyword in NEEDED.items() if dataset.get(keyword) is None or dataset.get(keyword) == ""]
    if absent:
        return f"the header lacks {', '.join(absent)}"
    wrong = [name for name, keyword in NEEDED.items() if not isinstance(dataset.get(keyword), int)]
    if wrong:
        return f"the header has no single number as {', '.join(wrong)}"
    if isinstance(error, IndexError | struct.error):
        return "the stream ends too early"
    return "header and stream do not fit together"


def _native(dataset: "Dataset") -> None:
    """Cut bytes beyond the pixels that the header promises."""
    from pydicom.pixels.utils import get_expected_length  # noqa: PLC0415 - slow to import

    for tag in NATIVE:
        if tag not in dataset or not dataset[tag].value:
            continue
        element = dataset[tag]
        n_bytes = get_expected_length(dataset)
        whole = n_bytes // 2 * 3
        if dataset.get("PhotometricInterpretation") == "YBR_FULL_422" and len(element.value) in (whole, whole + 1):
            n_bytes = whole  # some writers name the halved form and store the full one
        # In words of big-endian the last pixel may stand behind the byte of padding.
        n_bytes += n_bytes % 2
        if len(element.value) > n_bytes:
            element.value = element.value[:n_bytes]


def _compressed(dataset: "Dataset") -> None:
    if PIXEL_DATA not in dataset or not dataset[PIXEL_DATA].value:
        return
    from pydicom.dataelem import DataElement  # noqa: PLC0415 - slow to import
    from pydicom.encaps import encapsulate  # noqa: PLC0415 - slow to import

    value = dataset[PIXEL_DATA].value
    table = dataset[TABLES[0]].value if TABLES[0] in dataset else b""
    extended = struct.unpack(f"<{len(table) // 8}Q", table[: len(table) // 8 * 8])
    file = io.BytesIO(value)
    found = fragments.walk(file, 0, len(value), "")
    spans = fragments.grouped(file, found, int(dataset.get("NumberOfFrames") or 1), extended, "")
    frames = [_frame(dataset, b"".join(value[start : start + n] for start, n in parts)) for parts in spans]
    fits = sum(len(f) + 8 for f in frames) < LONGEST
    element = DataElement(PIXEL_DATA, "OB", encapsulate(frames, has_bot=fits))
    element.is_undefined_length = True
    dataset[PIXEL_DATA] = element
    for tag in TABLES:
        if tag in dataset:
            del dataset[tag]


def _frame(dataset: "Dataset", data: bytes) -> bytes:
    """Return one frame of even length without what is not its picture."""
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax == RLE:
        n_pixels = int(dataset.Rows) * int(dataset.Columns)
        packed = -(-n_pixels // 8) if _bits(dataset) == 1 else n_pixels
        return rle(data, packed, _n_samples(dataset) * -(-_bits(dataset) // 8))
    if syntax == UNCOMPRESSED:
        n_bits = int(dataset.Rows) * int(dataset.Columns) * _n_samples(dataset) * _bits(dataset)
        return _even(data[: -(-n_bits // 8)])
    if syntax.startswith(JPEG_FAMILY):
        if data.startswith(b"\xff\xd8"):
            return _even(jpeg(data))
        if data.startswith((b"\xff\x4f\xff\x51", SIGNATURE)):
            return _even(jpeg_2000(data))
    raise _not_understood("a stream of another kind than JPEG, JPEG-LS, JPEG 2000 and RLE")


def _n_samples(dataset: "Dataset") -> int:
    return int(dataset.get("SamplesPerPixel") or 1)


def _bits(dataset: "Dataset") -> int:
    return int(dataset.BitsAllocated)


def jpeg(data: bytes) -> bytes:
    """Return a JPEG or JPEG-LS stream without comments, application data and what follows its end.

    JFIF without its thumbnail, Adobe's and HP's notes on colour stay: decoders need them.

    Raises:
        DataError: Not a whole stream.
    """
    out, place, is_ls = [data[:2]], 2, False
    while True:
        while data[place : place + 2] == b"\xff\xff":
            place += 1
        if place + 2 > len(data) or data[place] != 0xFF:
            raise _not_understood("a JPEG stream that is damaged or has no end")
        marker = data[place + 1]
        if marker == EOI:
            return b"".join([*out, b"\xff\xd9"])
        stop = place + 2 + _length(data, place + 2)
        is_ls |= marker == JPEG_LS
        if marker in APPLICATION:
            kept = _application(marker, data[place + 4 : stop])
            out += [b"\xff" + bytes([marker]) + struct.pack(">H", len(kept) + 2) + kept] if kept else []
        elif marker in CODED:
            stop = _scan_end(data, stop, is_ls=is_ls) if marker == SOS else stop
            out.append(data[place:stop])
        elif marker != COM:
            raise _not_understood("a JPEG stream with a marker that no picture needs")
        place = stop


def _application(marker: int, body: bytes) -> bytes:
    """Return what a decoder needs of an application segment."""
    if marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14:
        return body[:12] + b"\0\0"
    if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
        return body[:12]
    if marker == 0xE8 and body.startswith(b"mrfx") and len(body) >= 5:
        return body[:5]
    return b""


def _scan_end(data: bytes, place: int, *, is_ls: bool) -> int:
    """Return where packed pixels end: at a marker that is neither a stuffed byte (or bit) nor a restart."""
    while (place := data.find(b"\xff", place)) >= 0 and place + 1 < len(data):
        follower = data[place + 1]
        stuffed = follower < 0x80 if is_ls else follower == 0
        if not stuffed and follower not in range(0xD0, 0xD8) and follower != 0xFF:
            return place
        place += 1 if follower == 0xFF else 2
    raise _not_understood("a JPEG stream that is damaged or has no end")


def jpeg_2000(data: bytes) -> bytes:
    """Return a JPEG 2000 or HTJ2K stream, bare or in JP2 boxes, without comments and what follows its end.

    Raises:
        DataError: Not a whole stream.
    """
    if not data.startswith(SIGNATURE):
        return _codestream(data)
    return _boxes(data, BOXES)


def _boxes(data: bytes, wanted: frozenset[bytes]) -> bytes:
    """Return the boxes that are wanted; what follows the codestream goes."""
    out, place = [], 0
    while place + 8 <= len(data):
        (n,), kind = struct.unpack_from(">I", data, place), data[place + 4 : place + 8]
        stop = place + n if n else len(data)
        if n in range(1, 8) or stop > len(data):
            raise _not_understood("JP2 boxes that are damaged or of an uncommon kind")
        body = data[place + 8 : stop]
        if kind in wanted:
            if kind == b"jp2h":
                body = _boxes(body, OF_HEADER)
            elif kind == b"jp2c":
                body = _codestream(body)
            elif kind == b"colr" and (body[:1] != b"\x01" or len(body) != 7):
                raise _not_understood("a JP2 file with a colour profile, which has room for words")
            out.append(struct.pack(">I", len(body) + 8) + kind + body)
        place = stop
        if kind == b"jp2c":
            return b"".join(out)
    if b"jp2c" in wanted or place != len(data):
        raise _not_understood("JP2 boxes without a picture")
    return b"".join(out)


def _codestream(data: bytes) -> bytes:
    if data[:4] != b"\xff\x4f\xff\x51":
        raise _not_understood("a JPEG 2000 stream that is damaged")
    header, place = _segments(data, 2, SOT)
    parts, shortened = [], False
    while data[place : place + 2] == b"\xff\x90":
        (psot,) = struct.unpack_from(">I", data, place + 6)
        stop = place + psot if psot else data.find(b"\xff\xd9", place)
        if _length(data, place + 2) != 10 or stop > len(data) or stop < place + 14:
            raise _not_understood("a JPEG 2000 stream that is damaged or has no end")
        kept, begin = _segments(data, place + 12, SOD)
        if begin > stop:
            raise _not_understood("a JPEG 2000 stream that is damaged")
        body = b"".join(part for _, part in kept) + data[begin:stop]
        shortened |= 12 + len(body) != stop - place
        size = struct.pack(">I", 12 + len(body)) if psot else bytes(4)
        parts.append(data[place : place + 6] + size + data[place + 10 : place + 12] + body)
        place = stop
    # Some encoders leave the end marker out; then nothing but one byte of padding may follow.
    if not parts or (data[place : place + 2] != b"\xff\xd9" and data[place:] not in (b"", b"\0")):
        raise _not_understood("a JPEG 2000 stream that is damaged or has no end")
    # Lengths of tile-parts in the main header are a help for seeking, wrong once a tile-part is shorter.
    main = [part for marker, part in header if not (shortened and marker == TLM)]
    return b"".join([data[:2], *main, *parts, data[place : place + 2].rstrip(b"\0")])


def _segments(data: bytes, place: int, last: int) -> tuple[list[tuple[int, bytes]], int]:
    """Return the segments before a marker, without comments, and where it stands."""
    kept: list[tuple[int, bytes]] = []
    while True:
        (marker,) = struct.unpack_from(">H", data, place)
        if marker == last:
            return kept, place
        stop = place + 2 + _length(data, place + 2)
        if marker in HEADERS:
            kept.append((marker, data[place:stop]))
        elif marker != J2K_COM:
            raise _not_understood("a JPEG 2000 stream with a marker that no picture needs")
        place = stop


def _length(data: bytes, place: int) -> int:
    n = int.from_bytes(data[place : place + 2], "big")
    if n < 2 or place + n > len(data):
        raise _not_understood("a segment that is longer than its stream")
    return n


def rle(data: bytes, n_pixels: int, n_segments: int) -> bytes:
    """Return an RLE frame of its segments only, each up to its last pixel.

    Args:
        data: One frame.
        n_pixels: Bytes that a segment unpacks to.
        n_segments: Bytes of a pixel.

    Raises:
        DataError: Fewer or other segments than the header promises.
    """
    n, *offsets = struct.unpack_from("<16I", data)
    starts = [*offsets[:n], len(data)]
    if n != n_segments or starts[0] < 64 or any(a >= b for a, b in pairwise(starts)):
        raise _not_understood("an RLE frame whose header does not fit the image")
    parts = [_even(_packed(data[a:b], n_pixels)) for a, b in pairwise(starts)]
    places = [64]
    for part in parts[:-1]:
        places.append(places[-1] + len(part))
    return b"".join([struct.pack("<16I", n, *places, *[0] * (15 - n)), *parts])


def _packed(segment: bytes, n_pixels: int) -> bytes:
    """Return a segment up to where it has given all its pixels (PS3.5, G.3.2)."""
    place = done = 0
    while done < n_pixels and place < len(segment):
        control = segment[place]
        if control < 128:
            place, done = place + control + 2, done + control + 1
        elif control > 128:
            place, done = place + 2, done + 257 - control
        else:
            place += 1
    if done < n_pixels or place > len(segment):
        raise _not_understood("an RLE segment with fewer pixels than the image")
    return segment[:place]


def _even(data: bytes) -> bytes:
    return data + b"\0" if len(data) % 2 else data


def _not_understood(found: str) -> DataError:
    return DataError(found, expected="a whole stream of a known kind", remedy="look at the object, or fetch it again")

"""A DICOM file up to its pixels: parsed within bounds, whatever its lengths and its compression promise."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from lucency.errors import ReadError
from lucency.read.head import silent

#: Bytes read at once; the header of a plain image has some thousand.
HEAD_BYTES = 1 << 15

#: Longest header: ten thousand frames with their functional groups take some 30 MB.
MAX_HEADER = 256 << 20

#: Largest data set that a deflated file may become, and how many times as large: images shrink 2 to 4 times, a nearly
#: empty mask of a few megabytes some 500 times.
MAX_INFLATED, SMALL_INFLATED, MAX_RATIO = 2 << 30, 64 << 20, 100

BLOCK = 1 << 20

DEFLATED = "1.2.840.10008.1.2.1.99"

#: Keyword and element number of group 7FE0 of what holds pixels (PS3.3, C.7.6.3, C.7.6.24, C.7.6.25).
PIXELS = {0x0010: "PixelData", 0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData"}

#: Value representations of pixels; all of them have a length of 32 bits (PS3.5, 7.1.2).
PIXEL_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")


@dataclass(frozen=True)
class Opened:
    """A file that stands before its pixels.

    Args:
        dataset: Everything before them.
        file: Where they are; another one than was opened if that is deflated.
        syntax: Transfer syntax UID; empty if the file says none.
        little: Byte order.
        keyword: What the pixels are called.
        vr: Value representation; ``OW`` where the syntax leaves it out.
        start: Of the pixels, bytes from the beginning.
        length: Of the pixels as the file says, None where they lie in items.
        end: Of the file.
    """

    dataset: Any
    file: BinaryIO
    syntax: str
    little: bool
    keyword: str
    vr: str
    start: int
    length: int | None
    end: int

    def tail(self, start: int, end: int) -> bytes:
        """Return the bytes between two places of the pixels."""
        self.file.seek(self.start + start)
        return self.file.read(end - start)


def parsed(file: BinaryIO, where: str) -> Opened:
    """Parse a file up to its pixels.

    Args:
        file: Open for reading and seeking; stays open.
        where: What an error names.

    Raises:
        ReadError: Not DICOM, no pixels, a header too long or too deep, or deflated beyond reason.

    Source:
        DICOM PS3.10, 7; PS3.5, 7.1 and A.5.
    """
    head = file.read(HEAD_BYTES)
    if not head:
        raise ReadError("The file is empty (0 bytes)", where=where, remedy="fetch or export it again")
    deflated = DEFLATED.encode() in head[:4096]
    if deflated:
        file = inflated(file, where)
        head = file.read(HEAD_BYTES)
    end = file.seek(0, io.SEEK_END)
    stream = io.BytesIO(head)
    dataset = _header(stream, where, quiet=len(head) < end)
    if dataset is None or (not _at_pixels(head, stream.tell()) and len(head) < end):
        bounded = _Bounded(file, end, where)
        dataset = _header(cast(BinaryIO, bounded), where, quiet=False)
        start = bounded.tell()
        file.seek(start)
        head = file.read(12)
        place = 0
    else:
        start = place = stream.tell()
    _, little = dataset.original_encoding
    syntax = DEFLATED if deflated else str(getattr(dataset.file_meta, "TransferSyntaxUID", "") or "")
    keyword, vr, size, length = _pixel_element(head[place : place + 12], bool(little), where)
    dataset.buffer = None  # the pixels are read from the file, and a dataset may live long
    if deflated:
        dataset.file_meta.TransferSyntaxUID = DEFLATED
    return Opened(dataset, file, syntax, bool(little), keyword, vr, start + size, length, end)


def _header(stream: BinaryIO, where: str, *, quiet: bool) -> Any:
    """Return the dataset before the pixels; None where it cannot be parsed and ``quiet``."""
    import pydicom  # noqa: PLC0415 - slow to import

    try:
        with silent():
            return pydicom.dcmread(stream, stop_before_pixels=True, force=True)
    except ReadError:
        raise
    except RecursionError:
        found = "Its sequences are nested too deep"
    except MemoryError:
        found = "Its header needs more memory than there is"
    except Exception as error:
        found = f"Not readable as DICOM ({type(error).__name__})"
    if quiet:
        return None
    raise ReadError(found, where=where, remedy="fetch or export it again")


def _at_pixels(data: bytes, place: int) -> bool:
    """Tell whether an element with pixels stands here, in either byte order, with its whole head."""
    tag = data[place : place + 4]
    known = any(tag in (struct.pack("<HH", 0x7FE0, n), struct.pack(">HH", 0x7FE0, n)) for n in PIXELS)
    return known and place + 12 <= len(data)


def _pixel_element(head: bytes, little: bool, where: str) -> tuple[str, str, int, int | None]:
    """Return keyword, VR, bytes of the element's head, and its length or None (PS3.5, 7.1)."""
    order = "<" if little else ">"
    tag = struct.unpack(f"{order}HH", head[:4]) if len(head) == 12 else (0, 0)
    if tag[0] != 0x7FE0 or tag[1] not in PIXELS:
        raise ReadError(
            "The file holds no pixels",
            expected="an image",
            where=where,
            remedy="fetch the file again, or take it off the list",
        )
    # Some data sets keep to another form than their syntax says. The two cannot be mistaken for each other: read as a
    # length, the letters of a VR are odd, and lengths are even.
    explicit = head[4:6] in PIXEL_VRS and head[6:8] == b"\0\0"
    size, vr = (12, head[4:6]) if explicit else (8, b"OW")
    (length,) = struct.unpack(f"{order}I", head[size - 4 : size])
    return PIXELS[tag[1]], vr.decode(), size, None if length == 0xFFFFFFFF else length


class _Bounded:
    """A file that a parser may not read past its end or for ever, whatever lengths it believes."""

    def __init__(self, file: BinaryIO, end: int, where: str) -> None:
        self._file, self._end, self._where, self._read = file, end, where, 0
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes.

        Raises:
            ReadError: More than :data:`MAX_HEADER` in all.
        """
        left = max(0, self._end - self._file.tell())
        size = left if size < 0 else min(size, left)
        self._read += size
        if self._read > MAX_HEADER:
            raise ReadError(
                f"Its header has more than {MAX_HEADER >> 20} MB before any pixels",
                where=self._where,
                remedy="export the file again; it is damaged, or no image",
            )
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()


def inflated(file: BinaryIO, where: str) -> BinaryIO:
    """Return a deflated file with its data set inflated, under the uncompressed transfer syntax of the same encoding.

    Args:
        file: Open, at any place.
        where: What an error names.

    Raises:
        ReadError: Damaged, or it grows beyond reason.

    Source:
        DICOM PS3.5, A.5; PS3.10, 7.1.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    start, uid = _file_meta(head, where)
    if head[uid : uid + len(DEFLATED)] != DEFLATED.encode():
        file.seek(0)
        return file
    packed = file.seek(0, io.SEEK_END) - start
    file.seek(start)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = b"1.2.840.10008.1.2.1".ljust(len(DEFLATED), b"\0")
    whole = io.BytesIO()
    whole.write(head[:uid] + plain + head[uid + len(DEFLATED) : start])
    most = min(MAX_INFLATED, max(SMALL_INFLATED, MAX_RATIO * packed))
    n_bytes, rest = 0, b""
    try:
        while not inflate.eof:
            rest = rest or file.read(BLOCK)
            if not rest:
                raise _undeflatable("it ends before its data do", where)
            piece = inflate.decompress(rest, BLOCK)
            rest = inflate.unconsumed_tail
            n_bytes += len(piece)
            if n_bytes > most:
                raise _undeflatable(f"it grows to more than {most >> 20} MB", where)
            whole.write(piece)
    except zlib.error:
        raise _undeflatable("it is damaged", where) from None
    whole.seek(0)
    return whole


def _undeflatable(found: str, where: str) -> ReadError:
    return ReadError(
        f"The file is deflated and {found}", where=where, remedy="fetch it again, or export it uncompressed"
    )


def _file_meta(head: bytes, where: str) -> tuple[int, int]:
    """Return where the data set begins and where the value of Transfer Syntax UID does; explicit, little-endian."""
    place, uid = (132 if head[128:132] == b"DICM" else 0), -1
    while place + 8 <= len(head) and head[place : place + 2] == b"\x02\x00":
        long = head[place + 4 : place + 6] in (b"OB", b"OW", b"UN", b"UT", b"SQ")
        size = 12 if long else 8
        length = int.from_bytes(head[place + (8 if long else 6) : place + size], "little")
        if head[place + 2 : place + 4] == b"\x10\x00":
            uid = place + size
        place += size + length
    if uid < 0 or place > len(head):
        raise _undeflatable("its file header is damaged", where)
    return place, uid

"""The worker that unpacks compressed frames: a program of its own, run by :mod:`lucency.read.workers`.

Image codecs are large C programs that read bytes from strangers. Here they run in a process that holds one frame and
nothing else: no name, no file, no other image. It may fail in any way; whoever started it notices and starts another.
It imports numpy and the codecs, nothing of this package, so that it starts in a tenth of a second.

Over its standard input and output go messages: four bytes of length (little-endian), a JSON object of that length,
then as many bytes as the object's ``bytes`` says.
"""

import io
import json
import os
import struct
import sys
import zlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

#: Transfer syntaxes of PS3.6, Table A-1, by codec.
JPEG_8 = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
RLE = ("1.2.840.10008.1.2.5",)
DEFLATED_FRAMES = ("1.2.840.10008.1.2.8.1",)

#: Longest message head; a real one has a few hundred bytes.
MAX_HEAD = 4096

#: Frames of JPEG that carry sizes: SOF0 to SOF15 without DHT, JPG and DAC (ITU-T T.81, B.1.1.3), and SOF55 (T.87).
SIZE_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


#: glibc, malloc.h; and the largest buffer that is kept (glibc's own limit), which most frames stay below.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, KEPT_BYTES = -1, -3, 32 << 20


class Refused(Exception):  # noqa: N818 - what happened to a frame, not a fault of the program
    """A frame that is not decoded; the one argument is a key of the parent's list of sentences."""


@dataclass(frozen=True)
class Frame:
    """What the DICOM header says of one compressed frame.

    Args:
        syntax: Transfer syntax UID.
        rows: Above 0.
        columns: Above 0.
        samples: Of a pixel, 1 or 3.
        allocated: Bits of a sample in memory: 1, 8, 16 or 32.
        stored: Bits of a sample that mean something.
        signed: Whether they are a two's complement.
        photometric: Photometric Interpretation.
        memory: Bytes that the decoder may take beyond what it has when it starts.
        seconds: Processor time that it may take.
    """

    syntax: str
    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    photometric: str
    memory: int = 1 << 30
    seconds: int = 60

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the decoded samples, native byte order."""
        return np.dtype(f"{'i' if self.signed and self.allocated > 1 else 'u'}{max(1, self.allocated // 8)}")

    @property
    def n_bytes(self) -> int:
        """Size of the decoded frame."""
        return self.rows * self.columns * self.samples * self.dtype.itemsize


@dataclass(frozen=True)
class Stream:
    """What the compressed bytes say of themselves.

    Args:
        rows: Height.
        columns: Width.
        components: Samples of a pixel.
        precision: Bits of a sample.
        signed: Two's complement; JPEG and JPEG-LS cannot say so.
        ids: Component names; ``b"RGB"`` tells the colours.
        adobe: Transform of the APP14 marker (0 none, 1 YCbCr), or -1 without one.
        jfif: Whether an APP0 marker says JFIF, which is always YCbCr.
    """

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool = False
    ids: bytes = b""
    adobe: int = -1
    jfif: bool = False


def decoded(frame: Frame, data: bytes) -> np.ndarray:
    """Return the samples of one frame.

    Args:
        frame: What the header says.
        data: The compressed bytes of that frame, of all its fragments.

    Returns:
        (rows, columns, samples), ``frame.dtype``; colours as RGB, except a palette's indices.

    Raises:
        Refused: The bytes contradict the header.
        Exception: Whatever a codec raises on damaged bytes.
    """
    if frame.syntax in RLE:
        array = _rle(frame, data)
    elif frame.syntax in DEFLATED_FRAMES:
        array = _inflated(frame, data)
    elif frame.syntax in JPEG_2000 + HTJ2K:
        array = _jpeg_2000(frame, data)
    elif frame.syntax in JPEG_LS:
        array = _jpeg_ls(frame, data)
    else:
        return _jpeg(frame, data)
    return rgb_from_ybr(array, frame.stored) if frame.photometric in ("YBR_FULL", "YBR_FULL_422") else array


def rgb_from_ybr(array: np.ndarray, bits: int) -> np.ndarray:
    """Return RGB of full-range YCbCr, rounded to the nearest.

    Args:
        array: (..., 3) unsigned integers.
        bits: Of a sample, 1 to 16.

    Source:
        DICOM PS3.3, C.7.6.3.1.2 (YBR_FULL); the inverse of its matrix, from luma weights .299, .587, .114.
    """
    half, top = 1 << (bits - 1), (1 << bits) - 1
    y, cb, cr = (array[..., n].astype(np.float32) for n in range(3))
    cb -= half
    cr -= half
    turned = np.empty_like(array)
    mixed = (y + 1.402 * cr, y - (0.114 * 1.772 / 0.587) * cb - (0.299 * 1.402 / 0.587) * cr, y + 1.772 * cb)
    for n, colour in enumerate(mixed):
        turned[..., n] = np.clip(np.floor(colour + 0.5), 0, top)
    return turned


def _jpeg(frame: Frame, data: bytes) -> np.ndarray:
    """Decode JPEG: 8 bits by pillow (libjpeg-turbo), anything else by GDCM."""
    stream = jpeg_stream(data)
    _same_size(frame, stream)
    if frame.syntax in JPEG_8 and stream.precision == 8 and frame.allocated in (8, 16):
        return _fitted(frame, _pillow(frame, stream, data), stream)
    array = _gdcm(frame, stream, data)
    return rgb_from_ybr(array, frame.stored) if frame.photometric in ("YBR_FULL", "YBR_FULL_422") else array


def _pillow(frame: Frame, stream: Stream, data: bytes) -> np.ndarray:
    """Decode 8-bit JPEG; the stream's own word on its colours goes before the header's."""
    import PIL.Image  # noqa: PLC0415 - only some files need it

    # The size was checked against the header, and the header against the limits.
    PIL.Image.MAX_IMAGE_PIXELS = None
    picture = PIL.Image.open(io.BytesIO(data), formats=("JPEG",))
    if stream.components == 1:
        return np.asarray(picture, np.uint8)[..., None]
    told = stream.adobe >= 0 or stream.jfif or stream.ids.upper() == b"RGB"
    if not told and frame.photometric == "RGB":
        # Without a marker libjpeg takes three components for YCbCr; asking for YCbCr leaves them as they are.
        picture.draft("YCbCr", picture.size)
    array = np.asarray(picture, np.uint8)
    if array.ndim != 3 or array.shape[2] != 3:
        raise Refused("colours")
    # APP14 says "no transform", so libjpeg did nothing, yet the header says that what is stored is YCbCr.
    if stream.adobe == 0 and frame.photometric.startswith("YBR") and stream.ids.upper() != b"RGB":
        array = rgb_from_ybr(array, 8)
    return array


def _gdcm(frame: Frame, stream: Stream, data: bytes) -> np.ndarray:
    """Decode lossless or 12-bit JPEG. GDCM ends the process on some damaged input, so it comes last and only here."""
    import gdcm  # noqa: PLC0415 - only some files need it

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Bitmap()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((frame.columns, frame.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(frame.photometric)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if frame.samples > 1:
        image.SetPlanarConfiguration(0)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(frame.syntax)))
    bits = max(frame.stored, stream.precision)
    if bits > frame.allocated:
        raise Refused("precision")
    image.SetPixelFormat(gdcm.PixelFormat(frame.samples, frame.allocated, bits, bits - 1, int(frame.signed)))
    # SWIG hands char* over as text; this is how its bytes come back whole.
    found = image.GetBuffer().encode("utf-8", "surrogateescape")
    if len(found) != frame.n_bytes:
        raise Refused("size")
    array = np.frombuffer(found, frame.dtype).reshape(frame.rows, frame.columns, frame.samples)
    return _fitted(frame, array, Stream(frame.rows, frame.columns, frame.samples, bits, frame.signed))


def _jpeg_ls(frame: Frame, data: bytes) -> np.ndarray:
    """Decode JPEG-LS by CharLS; it knows no sign, so the header's is applied."""
    # The extension module itself: the package around it spends a third of a worker's start on its own version number.
    charls = import_module("_CharLS")
    stream = jpeg_stream(data)
    _same_size(frame, stream)
    info = charls.read_header(data)
    array = np.frombuffer(charls.decode_from_buffer(data), "u1" if stream.precision <= 8 else "u2")
    if stream.components > 1 and info["interleave_mode"] == 0:
        array = array.reshape(stream.components, stream.rows, stream.columns).transpose(1, 2, 0)
    return _fitted(frame, array, stream)


def _jpeg_2000(frame: Frame, data: bytes) -> np.ndarray:
    """Decode JPEG 2000 and HTJ2K by OpenJPEG, which undoes their colour transform."""
    import openjpeg  # noqa: PLC0415 - only some files need it

    stream = jpeg_2000_stream(data)
    _same_size(frame, stream)
    # It also takes a codestream inside the JP2 file format, which DICOM forbids and files have.
    found = openjpeg.decode(data, reshape=False)
    wide = 1 if stream.precision <= 8 else 2 if stream.precision <= 16 else 4
    return _fitted(frame, found.view(f"{'i' if stream.signed else 'u'}{wide}"), stream)


def _rle(frame: Frame, data: bytes) -> np.ndarray:
    """Decode PackBits segments, which come plane by plane (PS3.5, Annex G)."""
    import rle  # noqa: PLC0415 - only some files need it

    pixels = frame.rows * frame.columns
    # A run of 128 equal bytes takes 2: nothing can grow more than 64 times.
    if pixels * frame.samples * frame.allocated // 8 > 64 * len(data):
        raise Refused("size")
    if frame.allocated == 1:
        # One segment of packed bits, though the codec would want them unpacked.
        first, second = struct.unpack("<II", data[4:12])
        bits = np.frombuffer(rle.utils.decode_segment(data[first : second or None]), np.uint8)
        if len(bits) - -(-pixels // 8) not in (0, 1):
            raise Refused("size")
        unpacked = np.unpackbits(bits, bitorder="little")[:pixels]
        return unpacked.reshape(frame.rows, frame.columns, 1)
    found = rle.utils.decode_frame(data, pixels, frame.allocated, "<")
    if len(found) != frame.n_bytes:
        raise Refused("size")
    planes = np.frombuffer(found, frame.dtype.newbyteorder("<")).reshape(frame.samples, frame.rows, frame.columns)
    array = planes.transpose(1, 2, 0)
    return stored_bits(np.array(array, frame.dtype, order="C"), frame.allocated, frame.stored)


def _inflated(frame: Frame, data: bytes) -> np.ndarray:
    """Inflate one frame (PS3.5, A.4.13), never beyond its own size; colours come pixel by pixel."""
    packed = frame.allocated == 1
    size = -(-frame.rows * frame.columns // 8) if packed else frame.n_bytes
    found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
    if len(found) not in (size, size + 1):
        raise Refused("size")
    if packed:
        array = np.unpackbits(np.frombuffer(found, np.uint8), bitorder="little")[: frame.n_bytes]
    else:
        array = np.frombuffer(found[:size], frame.dtype.newbyteorder("<")).astype(frame.dtype)
    array = array.reshape(frame.rows, frame.columns, frame.samples)
    return stored_bits(array, frame.allocated, frame.stored)


def stored_bits(array: np.ndarray, allocated: int, stored: int, high: int | None = None) -> np.ndarray:
    """Keep only the bits that mean something, with their sign, in place; return the same array.

    Args:
        array: Writable integers of ``allocated`` bits, native byte order.
        allocated: Bits of a sample.
        stored: Bits that mean something; ``allocated`` leaves all as it is.
        high: Number of the highest of them, counted from 0; the ``stored`` lowest without it.

    Source:
        DICOM PS3.5, 8.1.1: what the other bits hold is not specified.
    """
    high = stored - 1 if high is None else high
    if array.dtype.kind not in "iu" or allocated == 1 or (stored == allocated and high == allocated - 1):
        return array
    if array.dtype.kind == "u" and high == stored - 1:
        np.bitwise_and(array, array.dtype.type((1 << stored) - 1), out=array)
        return array
    np.left_shift(array, allocated - 1 - high, out=array)
    np.right_shift(array, allocated - stored, out=array)
    return array


def _fitted(frame: Frame, array: np.ndarray, stream: Stream) -> np.ndarray:
    """Return decoded samples in the header's type, with its sign where the stream has another."""
    if stream.precision > max(8, frame.allocated):
        raise Refused("precision")
    array = array.reshape(frame.rows, frame.columns, frame.samples)
    wide = frame.dtype
    if stream.signed == frame.signed or frame.allocated == 1:
        return array.astype(wide, copy=False)
    # The stream's bits are the header's, read with the wrong sign.
    array = array.astype(f"{array.dtype.kind}{wide.itemsize}", copy=False).view(wide)
    if stream.precision == 8 * wide.itemsize:
        return array
    return stored_bits(array if array.flags.writeable else array.copy(), 8 * wide.itemsize, stream.precision)


def _same_size(frame: Frame, stream: Stream) -> None:
    if (stream.rows, stream.columns, stream.components) != (frame.rows, frame.columns, frame.samples):
        raise Refused("size")


def jpeg_stream(data: bytes) -> Stream:
    """Return what the markers of a JPEG or JPEG-LS stream say.

    Raises:
        Refused: No such stream, or none of its markers gives a size.

    Source:
        ITU-T T.81, B.2; T.87, C.2.2. APP14: Adobe Technical Note 5116.
    """
    if not data.startswith(b"\xff\xd8"):
        raise Refused("other")
    place, adobe, jfif = 2, -1, False
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            raise Refused("damaged")
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte (T.81, B.1.1.2)
            place += 1
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        body = data[place + 4 : place + 2 + length]
        if marker == 0xE0 and body.startswith(b"JFIF\0"):
            jfif = True
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        elif marker in SIZE_MARKERS and len(body) >= 6:
            precision, rows, columns, components = struct.unpack(">BHHB", body[:6])
            return Stream(rows, columns, components, precision, False, body[6::3][:components], adobe, jfif)
        place += 2 + max(2, length)
    raise Refused("damaged")


def jpeg_2000_stream(data: bytes) -> Stream:
    """Return what the SIZ marker of a JPEG 2000 codestream says.

    Raises:
        Refused: No codestream, or components that differ in depth or sign.

    Source:
        ITU-T T.800, A.5.1.
    """
    # In a JP2 file the boxes before the codestream take some hundred bytes; SOC is directly followed by SIZ.
    start = 0 if data.startswith(b"\xff\x4f\xff\x51") else data.find(b"\xff\x4f\xff\x51", 0, 1 << 16)
    if start < 0:
        raise Refused("other")
    body = data[start + 6 : start + 42 + 3 * 16384]
    if len(body) < 39:
        raise Refused("damaged")
    _, right, bottom, left, top = struct.unpack(">HIIII", body[:18])
    (components,) = struct.unpack(">H", body[34:36])
    depths = set(body[36 : 36 + 3 * components : 3])
    if len(depths) != 1 or components > 4:
        raise Refused("colours")
    depth = depths.pop()
    return Stream(bottom - top, right - left, components, (depth & 0x7F) + 1, bool(depth & 0x80))


def head_of(frame: Frame, n_bytes: int, number: int) -> bytes:
    """Return the message that goes before the compressed bytes of a frame; the answer bears the same number."""
    return message({**vars(frame), "bytes": n_bytes, "number": number})


def message(words: dict[str, Any]) -> bytes:
    """Return a message's length and JSON object."""
    text = json.dumps(words).encode()
    return struct.pack("<I", len(text)) + text


def received(source: BinaryIO) -> dict[str, Any]:
    """Read a message's JSON object.

    Raises:
        EOFError: The other side is gone.
        ValueError: Not a message.
    """
    length = int.from_bytes(exactly(source, 4), "little")
    if length > MAX_HEAD:
        raise ValueError("a message too long")
    words = json.loads(exactly(source, length))
    if not isinstance(words, dict):
        raise TypeError("not a message")
    return words


def exactly(source: BinaryIO, n_bytes: int) -> bytearray:
    """Read so many bytes; EOFError where there are fewer."""
    buffer = bytearray(n_bytes)
    fill(source, memoryview(buffer))
    return buffer


def fill(source: BinaryIO, buffer: memoryview) -> None:
    """Fill a buffer from a stream; EOFError where it ends before."""
    while buffer:
        got = source.readinto(buffer)  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        buffer = buffer[got:]


def _limit(frame: Frame) -> None:
    """Take from this process what one frame does not need, as far as the system can."""
    if sys.platform == "win32":
        return  # the parent watches
    import resource  # noqa: PLC0415 - not there on Windows

    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + frame.seconds + 1
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds if most < 0 else min(seconds, most), most))
    if sys.platform == "linux":
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        bound = now + frame.memory
        resource.setrlimit(resource.RLIMIT_AS, (bound if most < 0 else min(bound, most), most))


def _keep_memory() -> None:
    """Let glibc keep freed buffers: new ones are zeroed page by page, which costs a twentieth of the decoding."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - numpy has loaded it

        try:
            set_option = ctypes.CDLL(None).mallopt
        except (OSError, AttributeError):
            return  # another C library
        set_option(M_MMAP_THRESHOLD, KEPT_BYTES)
        set_option(M_TRIM_THRESHOLD, 2 * KEPT_BYTES)


def _renounce() -> None:
    """Give up files and core dumps for good."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - not there on Windows

        for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
            resource.setrlimit(limit, (0, 0))


def _answer(words: dict[str, Any], data: bytes) -> tuple[dict[str, Any], np.ndarray | None]:
    try:
        frame = Frame(**words)
        _limit(frame)
        array = np.ascontiguousarray(decoded(frame, data))
    except MemoryError:
        return {"error": "memory", "bytes": 0}, None
    except Refused as refusal:
        return {"error": str(refusal), "bytes": 0}, None
    except BaseException:  # the RLE codec panics past Exception
        return {"error": "damaged", "bytes": 0}, None
    if array.dtype != frame.dtype or array.nbytes != frame.n_bytes:
        return {"error": "size", "bytes": 0}, None
    return {"error": "", "bytes": array.nbytes}, array


def main() -> None:
    """Answer frames until the standard input ends."""
    # Codecs may write to the standard output; the messages get a channel of their own.
    source, target = os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb", 0)
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - only there on Windows

        for stream in (source, target):
            msvcrt.setmode(stream.fileno(), os.O_BINARY)
    os.dup2(2, 1)
    _renounce()
    _keep_memory()
    send(target, message({"ready": True, "bytes": 0}))
    while True:
        try:
            words = received(source)
        except EOFError:
            return
        data, number = bytes(exactly(source, words.pop("bytes"))), words.pop("number")
        said, array = _answer(words, data)
        send(target, message(said | {"number": number}))
        if array is not None:
            send(target, array.reshape(-1).view(np.uint8).data)
            del array


def send(target: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of it; an unbuffered stream may take less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[target.write(rest) :]


if __name__ == "__main__":
    main()

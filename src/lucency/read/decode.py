"""Pixels of DICOM files: stored numbers out, whatever the transfer syntax, and nothing believed before it is checked.

Uncompressed pixels are read here, straight into their array. Compressed ones are decoded by worker processes, several
files ahead, so that a file that breaks a decoder costs that file and nothing else.
"""

import io
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lucency.errors import ReadError
from lucency.read import colour, decoder, fragments, pixelform, workers
from lucency.read.archive import opened
from lucency.read.opening import Opened, parsed
from lucency.read.pixelform import Form

if TYPE_CHECKING:
    import pydicom

#: Files that are decoded ahead of the one that is asked for, for each core.
AHEAD = 4

#: Bytes of decoded pixels that wait to be asked for; one file may have more.
AHEAD_BYTES = 256 << 20

#: Compressed pixels of up to this size are read at once.
AT_HAND_BYTES = 8 << 20

#: What a worker may take: codecs hold a sample in up to 16 bytes while they work (OpenJPEG int32 twice, output, input).
WORKER_BYTES, WORKER_BYTES_PER_SAMPLE = 256 << 20, 16

#: Seconds that one file may take: JPEG 2000, the slowest, makes some ten million samples a second.
FILE_S, SECONDS_PER_MILLION = 30.0, 2.0

#: Compressed syntaxes that are read, by the names of PS3.6, Table A-1.
SYNTAXES = {
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near Lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K Lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K Lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame",
}

#: Those that are not, but have a name that tells the user what to do.
UNREAD = {
    "1.2.840.10008.1.2.4.92": "JPEG 2000 Multi-component",
    "1.2.840.10008.1.2.4.93": "JPEG 2000 Multi-component",
    "1.2.840.10008.1.2.4.94": "JPIP (the pixels are on a server)",
    "1.2.840.10008.1.2.4.95": "JPIP (the pixels are on a server)",
    "1.2.840.10008.1.2.4.100": "MPEG-2 video",
    "1.2.840.10008.1.2.4.101": "MPEG-2 video",
    "1.2.840.10008.1.2.4.102": "MPEG-4 video",
    "1.2.840.10008.1.2.4.103": "MPEG-4 video",
    "1.2.840.10008.1.2.4.104": "MPEG-4 video",
    "1.2.840.10008.1.2.4.105": "MPEG-4 video",
    "1.2.840.10008.1.2.4.106": "MPEG-4 video",
    "1.2.840.10008.1.2.4.107": "HEVC video",
    "1.2.840.10008.1.2.4.108": "HEVC video",
    "1.2.840.10008.1.2.4.110": "JPEG XL",
    "1.2.840.10008.1.2.4.111": "JPEG XL",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"

#: What became of a frame, by the worker's code.
REASONS = {
    "size": "the compressed image has another size than the header says",
    "precision": "the compressed image has more bits than the header makes room for",
    "colours": "the compressed image has colours in a form that is not read",
    "other": "the pixels are not compressed the way the header says",
    "memory": "decoding them needs more memory than an image of this size may take",
    "time": "decoding them took too long and was stopped",
    "start": "no decoder could be started; the machine may be short of memory or of processes",
    "died": "they are damaged in a way that ended the decoder",
}


@dataclass
class _Pending:
    """One file under way, in its turn."""

    where: str
    dataset: Any = None
    array: np.ndarray | None = None
    error: Exception | None = None
    form: Form | None = None
    little: bool = True
    tasks: "list[Future[str]]" = field(default_factory=list)

    @property
    def n_bytes(self) -> int:
        return 0 if self.array is None else self.array.nbytes

    def finished(self) -> tuple["pydicom.Dataset", np.ndarray]:
        """Wait for the workers and return what was read.

        Raises:
            ReadError: What went wrong with this file.
        """
        if self.error is not None:
            raise self.error
        assert self.array is not None
        assert self.form is not None
        for task in self.tasks:
            code = task.result()
            if code:
                self.drop()
                raise pixelform.unreadable(REASONS.get(code, "they are damaged"), self.where)
        return self.dataset, _colours(self.array, self)

    def drop(self) -> None:
        """Take back what no worker has begun."""
        for task in self.tasks:
            task.cancel()


def frames(
    files: Sequence[Path], where: Sequence[str], *, selected: Sequence[tuple[int, int]] | None = None
) -> Iterator[tuple["pydicom.Dataset", np.ndarray]]:
    """Yield every file's dataset without its pixels, and its stored numbers.

    Nothing is rescaled, windowed or inverted. YBR becomes RGB, palette indices become their colours, except in a
    Segmentation, whose numbers are labels. Compressed files are decoded ahead on all cores.

    Args:
        files: Real paths, or virtual ones inside zip archives.
        where: What errors call each file.
        selected: (file, frame) counted from 0: only these frames of each file, in this order; a file that is not
            named gives none. All frames without it.

    Yields:
        For each file in turn: the dataset; (n, rows, columns, samples) in the stored type, native byte order.

    Raises:
        ReadError: At the turn of a file that cannot be read; the message names it.
        FileNotFoundError: Likewise, where it is not there.

    Source:
        DICOM PS3.5, 8 and Annex A; PS3.3, C.7.6.3.
    """
    wanted: dict[int, list[int]] = {}
    for file_number, frame in selected or ():
        wanted.setdefault(file_number, []).append(frame)
    waiting: deque[_Pending] = deque()
    upcoming = iter(range(len(files)))
    most = AHEAD * workers.cores()
    try:
        while True:
            while len(waiting) <= most and sum(p.n_bytes for p in waiting) <= AHEAD_BYTES:
                # What is read in this process gains nothing by being read early.
                if waiting and not waiting[-1].tasks:
                    break
                number = next(upcoming, None)
                if number is None:
                    break
                chosen = None if selected is None else wanted.get(number, [])
                waiting.append(_begun(files[number], where[number], chosen))
            if not waiting:
                return
            done = waiting.popleft()
            yield done.finished()
            del done
    finally:
        for pending in waiting:
            pending.drop()


def _begun(file: Path, where: str, chosen: Sequence[int] | None) -> _Pending:
    """Read a file, or give its frames to the workers; what goes wrong waits for its turn."""
    pending = _Pending(where)
    try:
        with opened(file) as stream:
            found = parsed(stream, where)
            pending.dataset, pending.little = found.dataset, found.little
            pending.form = form = pixelform.form_of(found.dataset, found.keyword, where)
            chosen = range(form.frames) if chosen is None else chosen
            if any(not 0 <= n < form.frames for n in chosen):
                raise pixelform.unreadable(f"a frame was asked for that is not among its {form.frames}", where)
            if found.length is None:
                found = _at_hand(found)
            if found.length is not None:
                _refuse_mismatch(found, where)
                pending.array = _native(found, form, chosen, where)
            elif found.syntax == ENCAPSULATED_UNCOMPRESSED:
                pending.array = _encapsulated(found, form, chosen, where)
            else:
                _compressed(found, form, chosen, pending)
    except (ReadError, FileNotFoundError) as error:
        pending.drop()
        pending.error = error
    except OSError as error:
        pending.error = pixelform.unreadable(f"the disk or archive gave an error ({type(error).__name__})", where)
    return pending


def _refuse_mismatch(found: Opened, where: str) -> None:
    """Refuse pixels of a known length that the header calls compressed, or inside items."""
    if found.syntax in SYNTAXES or found.syntax in UNREAD or found.syntax == ENCAPSULATED_UNCOMPRESSED:
        raise pixelform.unreadable("the header says that they are compressed, and they are not", where)


def _native(found: Opened, form: Form, chosen: Sequence[int], where: str) -> np.ndarray:
    """Read uncompressed pixels straight into their array."""
    assert found.length is not None
    form.refuse_other_length(found.length, found.end - found.start, where, found.tail)
    if form.allocated == 1:
        return _bits(found, form, chosen, where)
    if form.halved:
        return _halved(found, form, chosen)
    shape = (form.samples, form.rows, form.columns) if form.planar else (form.rows, form.columns, form.samples)
    if form.allocated == 8 and not found.little and found.vr == "OW":
        array = _turned_words(found, form, where).reshape(form.frames, *shape)[list(chosen)]
        return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if form.planar else array
    array = np.empty((len(chosen), *shape), form.dtype)
    if list(chosen) == list(range(form.frames)):
        found.file.seek(found.start)
        _fill(found.file, array, where)
    else:
        for place, n in zip(array, chosen, strict=True):
            found.file.seek(found.start + n * form.frame_bytes)
            _fill(found.file, place, where)
    if form.allocated > 8 and found.little != pixelform.LITTLE_MACHINE:
        array.byteswap(inplace=True)
    _meaningful(array, form, where)
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if form.planar else array


def _meaningful(array: np.ndarray, form: Form, where: str) -> np.ndarray:
    """Keep the stored bits, in place.

    The standard has them at the bottom, and High Bit one below Bits Stored (PS3.5, 8.1.1). A header that says otherwise
    may mean it, as files of the first years did, or be wrong. The pixels tell, unless they fit both.
    """
    spare = form.high + 1 - form.stored
    if not spare or form.floating:
        return decoder.stored_bits(array, form.allocated, form.stored)
    raised = not np.bitwise_and(array, array.dtype.type((1 << spare) - 1)).any()
    low = -(1 << (form.stored - 1)) if form.signed else 0
    lowered = bool(array.min() >= low and int(array.max()) < low + (1 << form.stored))
    if array.any() and raised == lowered:
        raise pixelform.unreadable("the header's high bit does not fit their bits", where)
    return decoder.stored_bits(array, form.allocated, form.stored, form.high if raised else form.stored - 1)


def _turned_words(found: Opened, form: Form, where: str) -> np.ndarray:
    """Read bytes that lie in big-endian words of 16 bits, which are turned round whatever they hold (PS3.5, 7.3)."""
    size = form.frame_bytes * form.frames
    words = np.empty(size + size % 2, np.uint8)
    found.file.seek(found.start)
    _fill(found.file, words, where)
    words.view(np.uint16).byteswap(inplace=True)
    return _meaningful(words[:size].view(form.dtype), form, where)


def _fill(file: BinaryIO, array: np.ndarray, where: str) -> None:
    try:
        decoder.fill(file, array.reshape(-1).view(np.uint8).data)
    except EOFError:
        raise pixelform.unreadable("the file ends before them", where) from None


def _bits(found: Opened, form: Form, chosen: Sequence[int], where: str) -> np.ndarray:
    """Read single bits; frames follow each other without a gap (PS3.5, 8.1.1)."""
    size = form.rows * form.columns * form.samples
    array = np.empty((len(chosen), size), np.uint8)
    for place, n in zip(array, chosen, strict=True):
        first, last = n * size // 8, -(-(n + 1) * size // 8)
        packed = np.empty(last - first, np.uint8)
        found.file.seek(found.start + first)
        _fill(found.file, packed, where)
        if not found.little and found.vr == "OW":
            raise pixelform.unreadable("single bits lie in big-endian words", where)
        skip = n * size - 8 * first
        place[:] = np.unpackbits(packed, bitorder="little")[skip : skip + size]
    return array.reshape(len(chosen), form.rows, form.columns, form.samples)


def _halved(found: Opened, form: Form, chosen: Sequence[int]) -> np.ndarray:
    """Read YCbCr with one colour for two pixels."""
    array = np.empty((len(chosen), form.rows, form.columns, 3), np.uint8)
    for place, n in zip(array, chosen, strict=True):
        found.file.seek(found.start + n * form.frame_bytes)
        packed = np.frombuffer(decoder.exactly(found.file, form.frame_bytes), np.uint8)
        place[:] = colour.whole_ybr(packed, form.rows, form.columns)
    return array


def _at_hand(found: Opened) -> Opened:
    """Return a file whose compressed pixels are in memory, if they are not large; fragments are then cheap to walk."""
    if found.end - found.start > AT_HAND_BYTES:
        return found
    found.file.seek(found.start)
    data = found.file.read(found.end - found.start)
    return replace(found, file=io.BytesIO(data), start=0, end=len(data))


def _spans(found: Opened, form: Form, where: str) -> list[tuple[tuple[int, int], ...]]:
    walked = fragments.walk(found.file, found.start, found.end, where)
    table = found.dataset.get("ExtendedOffsetTable")
    extended = np.frombuffer(bytes(table), "<u8").tolist() if isinstance(table, bytes) and not len(table) % 8 else []
    return fragments.grouped(found.file, walked, form.frames, extended, where)


def _joined(file: BinaryIO, spans: Sequence[tuple[int, int]], where: str) -> bytes:
    pieces = []
    for start, length in spans:
        file.seek(start)
        piece = file.read(length)
        if len(piece) != length:
            raise pixelform.unreadable("the file ends before them", where)
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _encapsulated(found: Opened, form: Form, chosen: Sequence[int], where: str) -> np.ndarray:
    """Read uncompressed frames that lie in fragments (PS3.5, A.4.11)."""
    spans = _spans(found, form, where)
    shape = (form.samples, form.rows, form.columns) if form.planar else (form.rows, form.columns, form.samples)
    if form.allocated == 1 or form.halved:
        raise pixelform.unreadable("bits or halved colours inside items are not read", where)
    array = np.empty((len(chosen), *shape), form.dtype)
    for place, n in zip(array, chosen, strict=True):
        data = _joined(found.file, spans[n], where)
        if len(data) - form.frame_bytes not in (0, 1):
            raise pixelform.unreadable(REASONS["size"], where)
        place[:] = np.frombuffer(data[: form.frame_bytes], form.dtype.newbyteorder("<")).reshape(shape)
    _meaningful(array, form, where)
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if form.planar else array


def _compressed(found: Opened, form: Form, chosen: Sequence[int], pending: _Pending) -> None:
    """Give the frames to the workers; they write into the array that is made here."""
    where, syntax = pending.where, found.syntax
    if syntax not in SYNTAXES:
        name = UNREAD.get(syntax, "a form that is not known")
        raise ReadError(
            f"The pixels are compressed as {name}, which no installed decoder reads",
            where=where,
            remedy="export the series uncompressed or as JPEG 2000",
        )
    if form.allocated not in (1, 8, 16, 32) or form.dtype.kind == "f":
        raise pixelform.unreadable(f"{form.allocated} bits cannot be compressed as {SYNTAXES[syntax]}", where)
    if form.high != form.stored - 1 and syntax in decoder.RLE + decoder.DEFLATED_FRAMES:
        raise pixelform.unreadable("the header's high bit does not fit its bits stored", where)
    spans = _spans(found, form, where)
    n_samples = form.rows * form.columns * form.samples
    seconds = FILE_S + SECONDS_PER_MILLION * n_samples * len(chosen) / 1e6
    frame = decoder.Frame(
        syntax,
        form.rows,
        form.columns,
        form.samples,
        form.allocated,
        form.stored,
        form.signed,
        form.photometric,
        WORKER_BYTES + WORKER_BYTES_PER_SAMPLE * n_samples,
        math.ceil(seconds),
    )
    array = np.empty((len(chosen), form.rows, form.columns, form.samples), frame.dtype)
    pending.array = array
    allowance = workers.Allowance(seconds)
    pool = workers.pool()
    for place, n in zip(array, chosen, strict=True):
        data = _joined(found.file, spans[n], where)
        task = workers.Task(frame, data, place.reshape(-1).view(np.uint8).data, allowance)
        pending.tasks.append(task.result)
        pool.submit(task)


def _colours(array: np.ndarray, pending: _Pending) -> np.ndarray:
    """Turn palette indices, and YCbCr that was not compressed, into RGB."""
    form = pending.form
    assert form is not None
    if form.photometric == "PALETTE COLOR" and not form.labels:
        return colour.coloured(array, pending.dataset, pending.where, little=pending.little)
    if form.photometric in ("YBR_FULL", "YBR_FULL_422") and not pending.tasks:
        for frame in array:
            frame[:] = decoder.rgb_from_ybr(frame, form.stored)
    return array

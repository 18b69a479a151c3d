"""Colours of DICOM images: subsampled YCbCr and palettes become red, green and blue."""

from typing import Any, Literal

import numpy as np

from lucency.errors import ReadError

#: A palette has at most as many entries as an index of 16 bits can name (PS3.3, C.7.6.3.1.5).
MAX_ENTRIES = 1 << 16

COLOURS = ("Red", "Green", "Blue")

#: Segment types of a segmented palette (PS3.3, C.7.9.2).
DISCRETE, LINEAR, INDIRECT = 0, 1, 2


def whole_ybr(packed: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return (rows, columns, 3) of YCbCr whose colours were stored once for two pixels of a row.

    Args:
        packed: (rows * columns * 2,) uint8: Y, Y, Cb, Cr of every pair of pixels.
        rows: Height.
        columns: Width, even.

    Source:
        DICOM PS3.3, C.7.6.3.1.2, YBR_FULL_422.
    """
    pairs = packed.reshape(rows, columns // 2, 4)
    array = np.empty((rows, columns, 3), packed.dtype)
    array[..., 0] = pairs[..., :2].reshape(rows, columns)
    for n in (1, 2):
        array[..., n] = np.repeat(pairs[..., n + 1], 2, axis=1)
    return array


def coloured(indices: np.ndarray, dataset: Any, where: str, *, little: bool) -> np.ndarray:
    """Return the colours that a palette gives to the stored numbers.

    Args:
        indices: (..., 1) integers.
        dataset: Its palette attributes are read.
        where: What an error names.
        little: Byte order of the file.

    Returns:
        (..., 3) uint8, or uint16 where the palette has more than 8 bits.

    Raises:
        ReadError: No palette, or one that does not hold together.

    Source:
        DICOM PS3.3, C.7.6.3.1.5, C.7.6.3.1.6 and C.7.9.2.
    """
    try:
        entries, first, bits = (int(v) for v in dataset["RedPaletteColorLookupTableDescriptor"].value)
        entries = entries or MAX_ENTRIES
        # The second value has the sign of the pixels; its type in the file does not always say so.
        if indices.dtype.kind == "i" and first >= 1 << 15:
            first -= 1 << 16
        if bits not in (8, 16) or entries > MAX_ENTRIES:
            raise ValueError
        table = np.stack([_channel(dataset, colour, entries, bits, little=little) for colour in COLOURS], axis=-1)
    except (AttributeError, KeyError, ValueError, TypeError, IndexError, NotImplementedError):
        raise ReadError(
            "The colour palette is missing or damaged",
            expected="three lookup tables of one length, 8 or 16 bits",
            where=where,
            remedy="export the image again, in RGB if possible",
        ) from None
    places = np.subtract(indices[..., 0], first, dtype=np.int64)
    return np.asarray(table[np.clip(places, 0, entries - 1)])


def _channel(dataset: Any, colour: str, entries: int, bits: int, *, little: bool) -> np.ndarray:
    """Return (entries,) of one colour, uint8 or uint16."""
    words = f"{'<' if little else '>'}u2"
    whole = dataset.get(f"{colour}PaletteColorLookupTableData")
    if whole is not None:
        data = bytes(whole)
        table = np.frombuffer(data[: 2 * entries], words) if len(data) >= 2 * entries else np.frombuffer(data, "u1")
        table = table[:entries]
    else:
        data = bytes(dataset[f"Segmented{colour}PaletteColorLookupTableData"].value)
        stored = np.frombuffer(data[: len(data) // (bits // 8) * (bits // 8)], words if bits == 16 else "u1")
        table = np.array(_expanded([int(v) for v in stored], 8 if bits == 8 else 16, entries, little=little))
    if len(table) != entries:
        raise ValueError
    if bits == 8:
        # Eight bits in words of sixteen: in the low byte, and with some makers in the high one.
        return (table >> 8 if int(table.max()) > 255 else table).astype(np.uint8)
    return table.astype(np.uint16)


def _expanded(words: list[int], bits: int, entries: int, *, little: bool) -> list[int]:
    """Return the entries that segments stand for; more than promised are refused before they are made."""
    found: list[int] = []
    _segments(words, 0, -1, found, (bits, entries, little))
    return found


def _segments(words: list[int], place: int, count: int, found: list[int], form: tuple[int, int, bool]) -> None:
    """Add ``count`` segments from ``place`` on to what was found; -1 for all there are."""
    bits, entries, little = form
    while place + 1 < len(words) and count != 0 and len(found) < entries:
        kind, length = words[place], words[place + 1]
        place += 2
        count -= 1
        # Every segment adds something and none adds too much, so that the work is bounded by the entries.
        if not length or (kind != INDIRECT and len(found) + length > entries):
            raise ValueError
        if kind == DISCRETE:
            found.extend(words[place : place + length])
            place += length
        elif kind == LINEAR:
            last, end = found[-1], words[place]
            steps = np.linspace(last, end, length + 1)[1:]
            found.extend(int(v) for v in np.around(steps))
            place += 1
        elif kind == INDIRECT and count < 0:
            size = 4 if bits == 8 else 2
            offset = _offset(words[place : place + size], bits, little=little)
            place += size
            # The offset counts bytes; what it points at may not point on.
            _segments(words, offset // (bits // 8), length, found, form)
        else:
            raise ValueError


def _offset(words: list[int], bits: int, *, little: bool) -> int:
    if bits == 16:
        return words[1] << 16 | words[0]
    low, high = (words[:2], words[2:])
    # Two words of 16 bits, the lower one first, each in the byte order of the file.
    order: Literal["little", "big"] = "little" if little else "big"
    return int.from_bytes(bytes(high), order) << 16 | int.from_bytes(bytes(low), order)

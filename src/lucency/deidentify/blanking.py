"""Fill regions of the stored pixels with the image's own background, in every frame, and say so in the header."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lucency.burned_in import Box
from lucency.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

#: Transfer syntaxes that always lose detail, and those that may, with the method's name (PS3.3, C.7.6.1.1.5.1).
LOSSY = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
}
MAYBE_LOSSY = {
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
    "1.2.840.10008.1.2.4.93": "ISO_15444_2",
    "1.2.840.10008.1.2.4.203": "ISO_15444_15",
}
IMPLICIT_LITTLE, EXPLICIT_LITTLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
#: Colour look-up tables that a picture in red, green and blue no longer needs (PS3.3, C.7.9).
PALETTE = ("Red", "Green", "Blue")
#: Overlays, curves and icons may repeat what was blanked (PS3.3, C.9.2; C.7.6.1.1.6).
OVERLAYS, CURVES = 0x6000, 0x5000
#: A Short Text holds at most so many characters (PS3.5, 6.2).
SHORT_TEXT = 1024


def hidden_numbers(dataset: "Dataset") -> bool:
    """Tell whether uncompressed pixels hold something in bits that no viewer shows, as old overlays did.

    Args:
        dataset: With Pixel Data; decoders clear such bits, so decoded numbers cannot tell.

    Source:
        DICOM PS3.5, 8.1.1 Pixel Data Encoding of Related Data Elements; PS3.3-2004, C.9.2 Overlay Bit Position.
    """
    if _syntax(dataset) not in (IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED) or not _narrow(dataset):
        return False
    layout = _layout(dataset)
    if layout is None:
        return False
    dtype = layout[0].str.replace("i", "u")
    words = np.frombuffer(dataset.PixelData, dtype, len(dataset.PixelData) // layout[0].itemsize)
    stored, high = int(dataset.BitsStored), int(dataset.get("HighBit", int(dataset.BitsStored) - 1))
    above = words.dtype.type(~_meaning(stored, high) & ((1 << 8 * words.itemsize) - 1))
    beside = words & above
    if layout[0].kind == "i" and high == stored - 1:
        # Bits above a negative number repeat its sign.
        negative = ((words >> words.dtype.type(high)) & words.dtype.type(1)) == 1
        return bool(((beside != 0) & ~(negative & (beside == above))).any())
    return bool(beside.any())


def _narrow(dataset: "Dataset") -> bool:
    """Tell whether the words are wider than the numbers in them."""
    try:
        return 1 < int(dataset.BitsStored) < int(dataset.BitsAllocated) <= 32
    except (AttributeError, TypeError, ValueError):
        return False


def _meaning(stored: int, high: int) -> int:
    """Return the mask of the bits that hold the number."""
    return ((1 << stored) - 1) << max(0, high - stored + 1)


def blanked(dataset: "Dataset", boxes: Sequence[Box], *, stored: Callable[[], np.ndarray] | None = None) -> "Dataset":
    """Fill boxes with background in every frame of an object, and record it there; ``dataset`` itself is changed.

    Outside the boxes nothing changes but unused bits, which are cleared. Compressed pixels are decompressed. Overlays,
    curves, icons and the colour tables of decoded palettes go; Burned In Annotation becomes NO.

    Args:
        dataset: With Pixel Data and, where it was read from a file, its file meta information.
        boxes: Regions, px; what lies outside the image is ignored.
        stored: Gives (n, rows, columns, samples) stored numbers, colour as red, green and blue. Needed where the
            pixels are compressed; else they are taken as they lie, without a conversion of colour.

    Returns:
        ``dataset``.

    Raises:
        DataError: No pixels, or of a form that is not understood; nothing was changed.

    Source:
        DICOM PS3.15, E.3.1; PS3.3, C.7.6.1.1.5 Lossy Image Compression, C.7.6.3 Image Pixel.
    """
    frames = numbers_of(dataset, stored)
    fill = background(dataset, frames)
    done = []
    for box in boxes:
        top, left = max(0, box.top), max(0, box.left)
        if box.bottom > top and box.right > left and top < frames.shape[1] and left < frames.shape[2]:
            frames[:, top : box.bottom, left : box.right] = fill
            done.append(box)
    replaced(dataset, frames, *(("113101", "Clean Pixel Data Option") if done else ("", "")))
    if done:
        _recorded(dataset, done)
    return dataset


def numbers_of(dataset: "Dataset", stored: Callable[[], np.ndarray] | None) -> np.ndarray:
    """Return (n, rows, columns, samples) numbers to be changed and handed to :func:`replaced`.

    Args:
        dataset: See :func:`blanked`.
        stored: Likewise.

    Raises:
        DataError: No pixels, or compressed ones without ``stored``.
    """
    syntax = _syntax(dataset)
    if syntax in (IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED) and _layout(dataset) is not None:
        return _native(dataset)
    if stored is None:
        raise DataError(
            "No pixels, or compressed or packed ones that were not decoded",
            expected="the stored numbers",
            remedy="pass what lucency.read.decode.frames gives",
        )
    frames = np.array(stored())
    if frames.dtype.kind not in "iu" or "PixelData" not in dataset:
        raise DataError(
            "Pixels that are not whole numbers were to be changed",
            expected="integers in Pixel Data",
            remedy="leave it out",
        )
    frames = frames.reshape(-1, int(dataset.Rows), int(dataset.Columns), frames.shape[-1])
    if str(dataset.get("PhotometricInterpretation", "")).strip() == "PALETTE COLOR" and frames.dtype.itemsize == 2:
        # Tables of 16 bits hold colours for screens of 8; RGB of 16 bits is allowed in hardly any object.
        return np.asarray(frames >> 8 if int(frames.max()) > 255 else frames, np.uint8)
    return frames


def replaced(dataset: "Dataset", frames: np.ndarray, code: str = "", meaning: str = "") -> None:
    """Put numbers in the place of the pixels, uncompressed, and remove whatever repeats the old ones.

    Args:
        dataset: Changed: pixels, their description, transfer syntax, overlays, curves, icons, extremes.
        frames: From :func:`numbers_of`.
        code: Of the de-identification method to be added (PS3.16, CID 7050), or empty.
        meaning: Its meaning.
    """
    syntax = _syntax(dataset)
    if syntax not in (IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED) or _layout(dataset) is None:
        n_packed = len(dataset.PixelData) if "PixelData" in dataset else 0
        _unpacked_header(dataset, frames, syntax, n_packed)
    _cleared(dataset, frames)
    _put(dataset, frames)
    _without_copies(dataset)
    if code:
        _coded(dataset, code, meaning)


def _syntax(dataset: "Dataset") -> str:
    return str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", EXPLICIT_LITTLE))


def _layout(dataset: "Dataset") -> tuple[np.dtype[Any], int, bool] | None:
    """Return dtype, samples and whether colours lie plane by plane; None for packed or subsampled pixels."""
    samples, bits = int(dataset.get("SamplesPerPixel") or 1), int(dataset.get("BitsAllocated") or 0)
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    if bits not in (8, 16, 32) or photometric.endswith(("_422", "_420")) or "PixelData" not in dataset:
        return None
    sign = "i" if int(dataset.get("PixelRepresentation") or 0) else "u"
    return np.dtype(f"<{sign}{bits // 8}"), samples, samples > 1 and int(dataset.get("PlanarConfiguration") or 0) == 1


def _native(dataset: "Dataset") -> np.ndarray:
    """Return (n, rows, columns, samples) numbers as they lie in the file, without any conversion."""
    layout = _layout(dataset)
    assert layout is not None
    dtype, samples, planar = layout
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    n = int(dataset.get("NumberOfFrames") or 1)
    needed = n * rows * columns * samples
    held = len(dataset.PixelData) // dtype.itemsize
    if held < needed:
        raise DataError(
            f"{held} numbers in the pixels",
            expected=f"{needed}, as the header says",
            remedy="fetch the file again; it is truncated or damaged",
        )
    flat = np.frombuffer(dataset.PixelData, dtype, needed).copy()
    if planar:
        return np.moveaxis(flat.reshape(n, samples, rows, columns), 1, -1).copy()
    return flat.reshape(n, rows, columns, samples)


def _put(dataset: "Dataset", frames: np.ndarray) -> None:
    if int(dataset.get("SamplesPerPixel") or 1) > 1 and int(dataset.get("PlanarConfiguration") or 0) == 1:
        frames = np.moveaxis(frames, -1, 1)
    content = np.ascontiguousarray(frames, frames.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB" if frames.dtype.itemsize == 1 else "OW"
    dataset["PixelData"].is_undefined_length = False


def _unpacked_header(dataset: "Dataset", frames: np.ndarray, syntax: str, n_packed: int) -> None:
    """Make the header that of decoded pixels: transfer syntax, colour, bits, and what compression had lost."""
    samples, bits = frames.shape[-1], frames.dtype.itemsize * 8
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    dataset.SamplesPerPixel = samples
    if samples == 3:
        if photometric == "PALETTE COLOR":
            dataset.BitsStored = bits
        dataset.PhotometricInterpretation = "RGB"
        dataset.PlanarConfiguration = 0
        for colour in PALETTE:
            for part in ("Descriptor", "Data"):
                _drop(dataset, f"{colour}PaletteColorLookupTable{part}")
            _drop(dataset, f"Segmented{colour}PaletteColorLookupTableData")
    if int(dataset.get("BitsAllocated") or 0) != bits:
        dataset.BitsAllocated = bits
        dataset.BitsStored = min(int(dataset.get("BitsStored") or bits), bits)
    dataset.HighBit = int(dataset.BitsStored) - 1
    dataset.PixelRepresentation = int(frames.dtype.kind == "i")
    stated = str(dataset.get("LossyImageCompression", "")).strip()
    if syntax in LOSSY or (syntax in MAYBE_LOSSY and stated != "00" and not _reversible(dataset)):
        dataset.LossyImageCompression = "01"
        if not dataset.get("LossyImageCompressionMethod"):
            dataset.LossyImageCompressionMethod = LOSSY.get(syntax) or MAYBE_LOSSY[syntax]
        if not dataset.get("LossyImageCompressionRatio") and n_packed:
            unpacked = frames.size * int(dataset.BitsStored) / 8
            dataset.LossyImageCompressionRatio = f"{unpacked / n_packed:.4g}"
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        _drop(dataset, keyword)
    if getattr(dataset, "file_meta", None) is not None:
        from pydicom.uid import ExplicitVRLittleEndian  # noqa: PLC0415 - slow to import

        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _reversible(dataset: "Dataset") -> bool:
    """Tell whether the colour transform was the reversible one, which lossless JPEG 2000 uses (PS3.3, C.7.6.3.1.2)."""
    return str(dataset.get("PhotometricInterpretation", "")).strip() == "YBR_RCT"


def _cleared(dataset: "Dataset", frames: np.ndarray) -> None:
    """Clear the bits beside the stored ones; above a signed number they repeat the sign (PS3.5, 8.1.1)."""
    if not _narrow(dataset) or frames.dtype.kind not in "iu" or frames.dtype.itemsize * 8 != int(dataset.BitsAllocated):
        return
    stored, high = int(dataset.BitsStored), int(dataset.get("HighBit", int(dataset.BitsStored) - 1))
    if frames.dtype.kind == "i" and high == stored - 1:
        shift = int(dataset.BitsAllocated) - stored
        frames[...] = (frames << shift) >> shift
        return
    words = frames.view(frames.dtype.str.replace("i", "u"))
    words &= words.dtype.type(_meaning(stored, high) & ((1 << 8 * words.itemsize) - 1))


def background(dataset: "Dataset", frames: np.ndarray) -> np.ndarray:
    """Return (samples,) what to fill with: the darkest that the image shows.

    Args:
        dataset: For its photometric interpretation and palette.
        frames: (n, rows, columns, samples) stored numbers.
    """
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    if photometric == "MONOCHROME1":
        return np.array([frames.max()], frames.dtype)
    if photometric.startswith("YBR"):
        # Brightness 0 and no colour; the colour's zero lies in the middle of the range (PS3.3, C.7.6.3.1.2).
        middle = 1 << (int(dataset.BitsStored) - 1)
        return np.array([0, middle, middle], frames.dtype)
    if photometric == "PALETTE COLOR":
        return np.array([_darkest(dataset)], frames.dtype)
    if frames.shape[-1] == 3:
        return np.zeros(3, frames.dtype)
    return np.array([frames.min()] * frames.shape[-1], frames.dtype)


def _darkest(dataset: "Dataset") -> int:
    """Return the index of the darkest colour of a palette, or its first where the table cannot be read."""
    try:
        n, first, _bits = (int(v) for v in dataset.RedPaletteColorLookupTableDescriptor)
        tables = [dataset[f"{c}PaletteColorLookupTableData"].value for c in PALETTE]
        width = np.dtype("<u2") if len(tables[0]) >= 2 * (n or 1 << 16) else np.dtype("u1")
        total = np.sum([np.frombuffer(t, width)[: n or 1 << 16].astype(np.int64) for t in tables], axis=0)
    except (AttributeError, KeyError, TypeError, ValueError):
        return 0
    return first + int(np.argmin(total))


def _without_copies(dataset: "Dataset") -> None:
    """Remove what may repeat the pixels: overlays, curves, icons at any depth, extremes of the old pixels."""
    for element in [t for t in tuple(dataset.keys()) if _repeating(t.group)]:
        del dataset[element]
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries"):
        _drop(dataset, keyword)
    _drop(dataset, "LargestPixelValueInSeries")
    for inner in [dataset, *_items(dataset)]:
        _drop(inner, "IconImageSequence")


def _repeating(group: int) -> bool:
    return group % 2 == 0 and (OVERLAYS <= group <= OVERLAYS + 0xFF or CURVES <= group <= CURVES + 0xFF)


def _items(dataset: "Dataset") -> Iterable["Dataset"]:
    for tag in list(dataset.keys()):
        element = dataset[tag]
        if element.VR == "SQ":
            for item in element.value or ():
                yield item
                yield from _items(item)


def _recorded(dataset: "Dataset", boxes: Sequence[Box]) -> None:
    """Write what was blanked where the standard provides for it."""
    dataset.BurnedInAnnotation = "NO"
    types = list(dataset.get("ImageType") or ["DERIVED", "PRIMARY"])
    dataset.ImageType = ["DERIVED", *types[1:]]
    told = f"Regions blanked in every frame: {len(boxes)}; rows/columns from-to: " + " ".join(
        f"{b.top}-{b.bottom}/{b.left}-{b.right}" for b in boxes
    )
    dataset.DerivationDescription = told[: SHORT_TEXT - 4] + (" ..." if len(told) > SHORT_TEXT - 4 else "")


def _coded(dataset: "Dataset", value: str, meaning: str) -> None:
    """Add a code to the De-identification Method Code Sequence, once (PS3.3, C.12.1.1.11)."""
    from pydicom.dataset import Dataset  # noqa: PLC0415 - slow to import

    done = list(dataset.get("DeidentificationMethodCodeSequence") or [])
    if not any(str(item.get("CodeValue", "")) == value for item in done):
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        dataset.DeidentificationMethodCodeSequence = [*done, code]


def _drop(dataset: "Dataset", keyword: str) -> None:
    if keyword in dataset:
        del dataset[keyword]


def covered(box: tuple[int, int, int, int], boxes: Iterable[Box]) -> float:
    """Return the share of a rectangle (top, left, bottom, right; px) that boxes cover together.

    Example:
        >>> covered((0, 0, 10, 10), [Box(0, 0, 10, 5, 1.0), Box(0, 3, 5, 10, 1.0)])
        0.75
    """
    top, left, bottom, right = box
    hit = np.zeros((bottom - top, right - left), bool)
    for b in boxes:
        hit[max(0, b.top - top) : max(0, b.bottom - top), max(0, b.left - left) : max(0, b.right - left)] = True
    return float(hit.mean()) if math.prod(hit.shape) else 0.0

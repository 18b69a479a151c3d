"""What a DICOM header says about the form of its pixels, checked before anything is made from it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lucency.errors import ReadError
from lucency.read.head import silent

LITTLE_MACHINE = sys.byteorder == "little"

#: Largest decoded file: an enhanced CT of 2000 slices has 1 GB.
MAX_BYTES = 4 << 30

#: Largest frame: 2^28 pixels is four times the finest mammogram.
MAX_PIXELS = 1 << 28

#: Photometric Interpretation by samples of a pixel (PS3.3, C.7.6.3.1.2); others are refused by name.
PHOTOMETRIC = {
    1: ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"),
    3: ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
}

#: Segmentation and Label Map Segmentation: their numbers are labels, whatever palette goes with them.
LABELS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")

FLOATS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


@dataclass(frozen=True)
class Form:
    """The Image Pixel module of one file.

    Args:
        rows: 1 to 65535.
        columns: 1 to 65535.
        samples: Of a pixel, 1 or 3.
        frames: At least 1.
        allocated: Bits of a sample in the file: 1, 8, 16, 32 or 64.
        stored: Bits that mean something.
        high: Number of the highest of them.
        signed: Two's complement.
        photometric: One of :data:`PHOTOMETRIC`.
        planar: Whether an uncompressed frame lies colour by colour.
        floating: Whether the numbers are IEEE 754.
        labels: Whether they are labels.
    """

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planar: bool
    floating: bool
    labels: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples, native byte order; single bits become bytes."""
        kind = "f" if self.floating else "i" if self.signed and self.allocated > 1 else "u"
        return np.dtype(f"{kind}{max(1, self.allocated // 8)}")

    @property
    def halved(self) -> bool:
        """Whether uncompressed pixels share their colours in pairs."""
        return self.photometric == "YBR_FULL_422"

    @property
    def frame_bytes(self) -> int:
        """Size of an uncompressed frame of at least 8 bits a sample."""
        n_pixels = self.rows * self.columns
        return n_pixels * 2 if self.halved else n_pixels * self.samples * (self.allocated // 8)

    def refuse_other_length(
        self, length: int, there: int, where: str, tail: Callable[[int, int], bytes] | None = None
    ) -> None:
        """Refuse uncompressed pixels of another length than the header promises.

        One byte may make the length even, and up to a row of equal bytes may fill a block.

        Args:
            length: As the element says, bytes.
            there: From the pixels to the end of the file.
            where: What an error names.
            tail: Returns the bytes between two places of the pixels.

        Raises:
            ReadError: Fewer bytes, or more.

        Source:
            DICOM PS3.5, 8.1.1 and 8.2.
        """
        n_bits = self.rows * self.columns * self.samples * self.frames
        need = -(-n_bits // 8) if self.allocated == 1 else self.frame_bytes * self.frames
        if min(length, there) < need:
            raise unreadable(f"{min(length, there)} of {need} bytes are there", where)
        spare = length - need
        if spare <= 1:
            return
        row = max(1, self.columns * self.samples * self.allocated // 8)
        filled = spare <= row and tail is not None and len(set(tail(need, min(length, there)))) <= 1
        if not filled:
            raise unreadable(f"{length} bytes are there, the header promises {need}", where, remedy=APART)


#: What to do where nothing is missing.
APART = "fetch the file again; its header and its pixels do not belong together"


def unreadable(
    found: str,
    where: str,
    *,
    expected: str = "as many pixels as the header promises, in the form that it says",
    remedy: str = "fetch the file again; it is truncated or damaged",
) -> ReadError:
    """Return the refusal of a file's pixels."""
    return ReadError(f"The pixels cannot be read: {found}", expected=expected, where=where, remedy=remedy)


def form_of(dataset: Any, keyword: str, where: str) -> Form:
    """Return the form of a file's pixels.

    Args:
        dataset: A pydicom dataset.
        keyword: What its pixels are called.
        where: What an error names.

    Raises:
        ReadError: Something is missing, contradicts itself, or is larger than any image.

    Source:
        DICOM PS3.3, C.7.6.3; PS3.5, 8.1.1.
    """
    with silent():
        floating = keyword in FLOATS
        allocated = FLOATS.get(keyword) or _whole(dataset, "BitsAllocated", where)
        stored = allocated if floating else _whole(dataset, "BitsStored", where, allocated)
        samples = _whole(dataset, "SamplesPerPixel", where, 1)
        photometric = _word(dataset, "PhotometricInterpretation", where)
        form = Form(
            rows=_whole(dataset, "Rows", where),
            columns=_whole(dataset, "Columns", where),
            samples=samples,
            frames=_whole(dataset, "NumberOfFrames", where, 1) or 1,
            allocated=allocated,
            stored=stored,
            high=stored - 1 if floating else _whole(dataset, "HighBit", where, stored - 1),
            signed=not floating and bool(_whole(dataset, "PixelRepresentation", where, 0)),
            photometric=photometric or ("MONOCHROME2" if floating else ""),
            planar=samples > 1 and bool(_whole(dataset, "PlanarConfiguration", where, 0)),
            floating=floating,
            labels=_word(dataset, "SOPClassUID", where) in LABELS,
        )
    _check(form, where)
    return form


def _check(form: Form, where: str) -> None:
    bits = form.allocated in (1, 8, 16, 32, 64)
    if not (bits and 1 <= form.stored <= form.allocated and form.stored - 1 <= form.high < form.allocated):
        raise unreadable("the header's bits allocated, bits stored and high bit contradict each other", where)
    if form.photometric not in PHOTOMETRIC.get(form.samples, ()):
        raise unreadable("their colours are in a form that is not read, or the header contradicts itself", where)
    if min(form.rows, form.columns, form.frames) < 1:
        raise unreadable("the header promises none", where)
    if form.halved and (form.columns % 2 or form.allocated != 8 or form.planar):
        raise unreadable("the header's colours contradict its bits or columns", where)
    if form.samples > 1 and (
        form.allocated not in ((8, 16, 32) if form.photometric == "RGB" else (8, 16)) or form.signed
    ):
        raise unreadable("the header's colours contradict its bits", where)
    n_bytes = form.rows * form.columns * form.samples * form.frames * form.dtype.itemsize
    if n_bytes > MAX_BYTES or form.rows * form.columns > MAX_PIXELS:
        raise ReadError(
            f"The header promises {form.frames} frames of {form.rows} × {form.columns} pixels",
            expected=f"at most {MAX_PIXELS // 1_000_000} million pixels in a frame and {MAX_BYTES >> 30} GiB in a file",
            where=where,
            remedy="split the file, or fetch it again; its header may be damaged",
        )


def _whole(dataset: Any, keyword: str, where: str, default: int | None = None) -> int:
    """Return a whole number of the header, or the default where the attribute is absent or empty."""
    try:
        raw = dataset.get_item(keyword) if keyword in dataset else None
        if raw is not None and raw.VR == "US" and isinstance(raw.value, bytes) and len(raw.value) == 2:
            # As nearly always; pydicom's own way takes ten times as long.
            return int.from_bytes(raw.value, "little" if raw.is_little_endian else "big")
        value = dataset.get(keyword)
        if value is None or value == "":
            if default is None:
                raise unreadable(f"the header has no {keyword}", where)
            return default
        return int(value)
    except ReadError:
        raise
    except Exception:
        raise unreadable(f"the header's {keyword} is damaged", where) from None


def _word(dataset: Any, keyword: str, where: str) -> str:
    try:
        return str(dataset.get(keyword) or "").strip()
    except Exception:
        raise unreadable(f"the header's {keyword} is damaged", where) from None

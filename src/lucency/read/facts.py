"""What is written down of a DICOM image without its pixels: header facts of the Source, facts of the Case."""

from collections.abc import Sequence

import numpy as np

from lucency.read.formats import Header
from lucency.read.frames import frame_times, tiles_of
from lucency.read.geometry import dtype_of
from lucency.read.head import Head
from lucency.read.split import Part
from lucency.read.stack import Slice

#: SUV factors of one series are one number, up to rounding.
SAME_FACTOR = 1e-6


def header_of(part: Part, modality: str) -> Header:
    """Return the header facts of one stack.

    Args:
        part: Clean stack; its slices may be frames of one file.
        modality: Of the series.
    """
    stack = part.stack
    first = stack.slices[0]
    facts = _plane_facts(stack.slices, modality)
    facts |= {
        "size": stack.size,
        "spacing": tuple(float(s) for s in np.linalg.norm(stack.affine[:3, :3], axis=0)),
        "spacing_known": first.spacing is not None,
        "affine": tuple(float(v) for v in stack.affine.ravel()),
    }
    if first.frame:
        facts["frames"] = tuple(s.frame for s in stack.slices)
    if "MosaicImages" in first.head:
        facts["mosaic"] = tiles_of(first.head)
    if stack.missing:
        facts["interpolated"] = stack.missing
    if stack.tilt:
        facts["tilt"] = round(stack.tilt, 3)
    if part.name:
        facts |= {"part": part.name, "told_by": part.told_by}
    return facts


def clip_of(slices: Sequence[Slice], modality: str) -> Header:
    """Return the header facts of frames over time, which lie at one place or at none that is known."""
    first = slices[0]
    row_mm, column_mm = first.spacing or (1.0, 1.0)
    affine = np.diag([1.0, row_mm, column_mm, 1.0])[[2, 1, 0, 3]]
    facts = _plane_facts(slices, modality) | {
        "size": (len(slices), *first.size),
        "spacing": (1.0, row_mm, column_mm),
        "spacing_known": first.spacing is not None,
        "affine": tuple(float(v) for v in affine.ravel()),
        "frames": tuple(s.frame for s in slices),
        "k_axis": "time",
    }
    times = frame_times(first.head, len(slices))
    return facts | ({"frame_times": times} if times else {})


def _plane_facts(slices: Sequence[Slice], modality: str) -> Header:
    """Return what is said of the pixels, whatever their place."""
    middle = slices[len(slices) // 2]
    head = middle.head
    scales = {scale_of(s) for s in slices}
    slope, intercept = scales.pop() if len(scales) == 1 else (0.5, 0.5)
    kind = "int" if int(head.get("PixelRepresentation") or 0) else "uint"
    bits = int(head.get("BitsAllocated") or 16)
    table = head.get("RedPaletteColorLookupTableDescriptor")
    if isinstance(table, list) and len(table) == 3 and head.get("PhotometricInterpretation") == "PALETTE COLOR":
        # Entries of a palette are unsigned, as wide as its third value says (PS3.3, C.7.6.3.1.5).
        kind, bits = "uint", int(table[2])
    stored = f"{kind}{_whole_bytes(bits)}"
    channels = channels_of(head)
    facts: Header = {"channels": channels, "modality": modality, "unit": "1"}
    if head.get("ModalityLUTSequence"):
        stored, facts["modality_lut"] = "uint16", True
    if modality == "CT" or str(middle.get("RescaleType") or "") == "HU":
        facts["unit"] = "HU"
    factor = suv_factor(slices) if modality == "PT" else None
    if factor is not None:
        facts |= {"unit": "SUV", "suv_factor": factor}
    facts["dtype"] = dtype_of(stored, slope, intercept) if factor is None else "float32"
    if str(head.get("PhotometricInterpretation", "")) == "MONOCHROME1" or head.get("PresentationLUTShape") == "INVERSE":
        facts["inverted"] = True
    if head.get("Overlays"):
        facts["overlays"] = int(head["Overlays"])
    return facts | window_of(middle)


def _whole_bytes(bits: int) -> int:
    return next(n for n in (8, 16, 32, 64) if bits <= n or n == 64)


def channels_of(head: Head) -> int:
    """Return 3 for colour, palettes included, and 1 for grey."""
    photometric = str(head.get("PhotometricInterpretation", "MONOCHROME2"))
    return 1 if photometric.startswith("MONO") and int(head.get("SamplesPerPixel") or 1) == 1 else 3


def scale_of(one: Slice) -> tuple[float, float]:
    """Return slope and intercept of one frame."""
    slope, intercept = one.get("RescaleSlope"), one.get("RescaleIntercept")
    return (
        float(slope) if isinstance(slope, int | float) else 1.0,
        float(intercept) if isinstance(intercept, int | float) else 0.0,
    )


def suv_factor(slices: Sequence[Slice]) -> float | None:
    """Return the one factor from activity to standardised uptake of a series, or None."""
    factors = [s.head.get("SUV", {}).get("factor") for s in slices]
    if not factors[0] or any(f is None or abs(f - factors[0]) > SAME_FACTOR * factors[0] for f in factors):
        return None
    return float(factors[0])


def window_of(one: Slice) -> Header:
    """Return the window that the header offers for display, and whether it can be meant for these pixels.

    A window is implausible that is not above 0 wide or shows none of the numbers that the stored bits can hold.

    Source:
        DICOM PS3.3, C.11.2.1.2 Window Center and Window Width: they apply after rescaling.
    """
    center, width = (_first(one.get(k)) for k in ("WindowCenter", "WindowWidth"))
    if center is None or width is None:
        return {}
    # No sample has more than 64 bits; what says more is damaged, and refused when its pixels are read.
    bits = max(1, min(64, int(one.head.get("BitsStored") or one.head.get("BitsAllocated") or 16)))
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if one.head.get("PixelRepresentation") else (0, 2**bits)
    slope, intercept = scale_of(one)
    ends = sorted((lowest * slope + intercept, highest * slope + intercept))
    shown = width > 0 and center + width / 2 > ends[0] and center - width / 2 < ends[1]
    facts: Header = {"window_center": center, "window_width": width}
    # A table before the window changes the numbers in a way that the bits do not tell.
    if not shown and not one.head.get("ModalityLUTSequence"):
        facts["window_implausible"] = True
    return facts


def _first(value: object) -> float | None:
    if isinstance(value, list) and value:
        value = value[0]
    return float(value) if isinstance(value, int | float) else None


def facts_of(head: Head, modality: str) -> dict[str, str | float]:
    """Return what a Case may know of the patient and the scanner."""
    facts: dict[str, str | float] = {}
    age = str(head.get("PatientAge", ""))
    # Age String (PS3.5, 6.2): three digits and D, W, M or Y.
    if age[:-1].isdigit() and age[-1:] in "DWMY":
        facts["age"] = round(int(age[:-1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[age[-1]], 2)
    if head.get("PatientSex") in ("M", "F", "O"):
        facts["sex"] = head["PatientSex"]
    maker = (head.get("Manufacturer"), head.get("ManufacturerModelName"))
    words = {
        "scanner": " ".join(w for w in maker if isinstance(w, str) and w),
        "modality": modality,
        "body_part": str(head.get("BodyPartExamined", "")),
    }
    return facts | {k: v for k, v in words.items() if v}

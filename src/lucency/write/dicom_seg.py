"""A mask as a DICOM Segmentation, every frame at the place of the source's frame that it was found in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lucency import __version__
from lucency.errors import OutputError, UsageError
from lucency.image import Image
from lucency.write import dicom_frames as groups
from lucency.write.dicom_object import (
    Origin,
    begin,
    code,
    describe,
    digest_of,
    fill,
    item,
    refer_to,
    same_names,
    save,
    uid_of,
)
from lucency.write.dicom_source import Measured
from lucency.write.vocabulary import lab_of, property_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

#: Segmentation types that can be written. BINARY is what every viewer knows.
TYPES = ("binary", "labelmap")
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"

#: Values of Segment Label (VR LO) are at most this long.
LONGEST = 64


@dataclass(frozen=True)
class Segment:
    """One segment of a written object, as others refer to it.

    Args:
        value: In the mask.
        number: Segment number, from 1.
        name: Of the label.
        tracking_id: In words.
        tracking_uid: UID.
        frames: How many frames of the object belong to it.
    """

    value: int
    number: int
    name: str
    tracking_id: str
    tracking_uid: str
    frames: int


@dataclass(frozen=True)
class Segmentation:
    """A written Segmentation, as others refer to it.

    Args:
        sop_class: SOP Class UID.
        uid: SOP Instance UID.
        series: Series Instance UID.
        segments: In order of their numbers.
    """

    sop_class: str
    uid: str
    series: str
    segments: tuple[Segment, ...]


def write_seg(
    path: Path, mask: Image, names: Mapping[int, str], source: Measured, origin: Origin, *, form: str = "binary"
) -> Segmentation:
    """Write ``mask`` as a DICOM Segmentation.

    Only slices that hold something are written. Every frame has the position and the direction of its source frame as
    that frame's own header has them, so a tilted stack comes out right. Segment numbers follow the order of the mask
    values and are the same for every patient, also where a label was not found. The same mask of the same source by
    the same model gives the same UIDs.

    Args:
        path: Where to; ends in ``.dcm``.
        mask: Labels, (1, K, J, I), on the grid of the source.
        names: Mask value to name, without background 0.
        source: From :func:`lucency.write.dicom_source.measured`.
        origin: What made it.
        form: ``"binary"``: one bit a pixel, one frame for each segment and slice. ``"labelmap"``: one number a pixel,
            JPEG-LS lossless; smaller, and known to few viewers yet.

    Returns:
        What a report needs to refer to the segments.

    Raises:
        UsageError: An unknown form.
        OutputError: An empty mask, a value without a name, or a disk that cannot be written.

    Source:
        DICOM PS3.3, A.51 Segmentation IOD, C.8.20.
    """
    if form not in TYPES:
        raise UsageError(f"No kind of segmentation {form!r}", expected=" or ".join(TYPES), where="--set seg")
    labels = same_names(names)
    array = _numbered(mask, labels, path)
    held = [int(k) for k in np.flatnonzero(array.any(axis=(1, 2)))]
    if not held:
        raise OutputError(
            "The mask is empty",
            expected="a voxel that belongs to a label",
            where=path.name,
            remedy="write a report, which can say that nothing was found",
        )
    sop_class = SEGMENTATION if form == "binary" else LABEL_MAP
    file = begin(source, "seg", sop_class, f"{digest_of(array)}/{sorted(names.items())}", origin)
    describe(file, source.head, "SEGMENTATION", "Segmentation by AI")
    fill(file, Modality="SEG", ImageType=["DERIVED", "PRIMARY"], SegmentsOverlap="NO")
    groups.frame_of_reference(file, source)
    refer_to(file, source)
    made = _binary(file, array, labels, held, source) if form == "binary" else _label_map(file, array, held, source)
    segments = tuple(_segment(file, value, n, name, made.get(n, 0)) for value, n, name in labels)
    described = [_description(s, origin) for s in segments]
    file.SegmentSequence = described if form == "binary" else [_background(), *described]
    save(path, file)
    return Segmentation(sop_class, str(file.SOPInstanceUID), str(file.SeriesInstanceUID), segments)


def _numbered(mask: Image, labels: list[tuple[int, int, str]], path: Path) -> np.ndarray:
    """Return (K, J, I) of segment numbers."""
    if mask.kind != "labels" or mask.channels != 1:
        raise OutputError(
            f"{mask.kind} with {mask.channels} channels", expected="one channel of labels", where=path.name
        )
    array = mask.array[0]
    values = {value for value, _, _ in labels}
    if [value for value, _, _ in labels] == list(range(1, len(labels) + 1)):
        unknown = [] if not array.size or 0 <= array.min() <= array.max() <= len(labels) else ["other"]
    else:
        unknown = [str(v) for v in np.unique(array).tolist() if v not in values and v != 0]
    if unknown or not labels or len(labels) > np.iinfo(np.uint16).max or 0 in values:
        raise OutputError(
            f"Labels {sorted(values)} for a mask of other values", expected="a name for each", where=path.name
        )
    kind = np.uint8 if len(labels) <= np.iinfo(np.uint8).max else np.uint16
    if [value for value, _, _ in labels] == list(range(1, len(labels) + 1)):
        return np.ascontiguousarray(array, dtype=kind)
    numbered = np.zeros(array.shape, dtype=kind)
    for value, number, _ in labels:
        numbered[array == value] = number
    return numbered


def _binary(
    file: "FileDataset", array: np.ndarray, labels: list[tuple[int, int, str]], held: list[int], source: Measured
) -> dict[int, int]:
    """Fill in one frame for each segment and slice; return how many each segment has."""
    rank, derivation = groups.ranks(source, held), code("113076", "DCM", "Segmentation")
    frames: list[Dataset] = []
    planes: list[np.ndarray] = []
    counts: dict[int, int] = {}
    for _, number, _ in labels:
        for k in held:
            here = array[k] == number  # a slice at a time: no copy of the volume
            if here.any():
                frames.append(groups.own(source, k, rank[k], derivation, number))
                planes.append(_packed(here))
                counts[number] = counts.get(number, 0) + 1
    groups.dimensions(file, source, segments=True)
    groups.add_groups(file, groups.shared(source), frames)
    file.SegmentationType = "BINARY"
    _pixels(file, array, bits=1)
    file.PixelData = _even(_joined(planes, array[0].size))
    file["PixelData"].VR = "OB"
    return counts


def _packed(plane: np.ndarray) -> np.ndarray:
    """Return a plane with eight pixels a byte where that comes out even, else one; see :func:`_joined`."""
    return np.packbits(plane.reshape(-1), bitorder="little") if plane.size % 8 == 0 else plane.reshape(-1)


def _joined(planes: list[np.ndarray], size: int) -> bytes:
    """Return the frames' bits one after the other: a frame begins where the last ended, in the middle of a byte too.

    Source:
        DICOM PS3.5, 8.1.1 and D.2.
    """
    whole = np.concatenate(planes)
    return (whole if size % 8 == 0 else np.packbits(whole, bitorder="little")).tobytes()


def _label_map(file: "FileDataset", array: np.ndarray, held: list[int], source: Measured) -> dict[int, int]:
    """Fill in one frame for each slice; return how many frames each segment is in."""
    from pydicom.uid import JPEGLSLossless  # noqa: PLC0415  # costs start-up time

    rank, derivation = groups.ranks(source, held), code("113076", "DCM", "Segmentation")
    groups.dimensions(file, source, segments=False)
    groups.add_groups(file, groups.shared(source), [groups.own(source, k, rank[k], derivation) for k in held])
    file.SegmentationType = "LABELMAP"
    file.PixelPaddingValue = 0
    _pixels(file, array, bits=8 * array.itemsize)
    planes = array[held]
    file.PixelData = _even(planes.astype(planes.dtype.newbyteorder("<"), copy=False).tobytes())
    file["PixelData"].VR = "OB" if array.itemsize == 1 else "OW"
    # Compressing gives every object a new UID unless told not to; ours says what the object holds.
    file.compress(JPEGLSLossless, generate_instance_uid=False)
    found: dict[int, int] = {}
    for plane in planes:
        for number in np.unique(plane).tolist():
            found[int(number)] = found.get(int(number), 0) + 1
    return found


def _pixels(file: "Dataset", array: np.ndarray, *, bits: int) -> None:
    fill(
        file,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=int(array.shape[1]),
        Columns=int(array.shape[2]),
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=0,
    )


def _even(content: bytes) -> bytes:
    """Values of DICOM have an even number of bytes (PS3.5, 7.1.1)."""
    return content + b"\0" * (len(content) % 2)


def _segment(file: "Dataset", value: int, number: int, name: str, frames: int) -> Segment:
    uid = str(file.SOPInstanceUID)
    tracking = uid_of("tracking", uid, str(number))
    # The last digits keep two results apart for a reader of the words alone.
    return Segment(value, number, name, f"{name[:40]} {tracking[-12:]}", tracking, frames)


def _description(segment: Segment, origin: Origin) -> "Dataset":
    """Describe one segment.

    Source:
        DICOM PS3.3, Table C.8.20-4 Segment Description Macro.
    """
    found = property_of(segment.name)
    kind = code(found.kind.value, found.kind.scheme, found.kind.meaning)
    if found.side is not None:
        # The modifier stands inside the item of the type that it modifies.
        kind.SegmentedPropertyTypeModifierCodeSequence = [code(found.side.value, found.side.scheme, found.side.meaning)]
    return item(
        SegmentNumber=segment.number,
        SegmentLabel=segment.name[:LONGEST],
        SegmentDescription=segment.name[:LONGEST],
        SegmentAlgorithmType="AUTOMATIC",
        SegmentAlgorithmName=origin.algorithm,
        SegmentationAlgorithmIdentificationSequence=[algorithm(origin)],
        SegmentedPropertyCategoryCodeSequence=[
            code(found.category.value, found.category.scheme, found.category.meaning)
        ],
        SegmentedPropertyTypeCodeSequence=[kind],
        RecommendedDisplayCIELabValue=list(lab_of(segment.number)),
        TrackingID=segment.tracking_id,
        TrackingUID=segment.tracking_uid,
    )


def algorithm(origin: Origin) -> "Dataset":
    """Return the identification of the algorithm.

    Source:
        DICOM PS3.3, Table 10-19 Algorithm Identification Macro.
    """
    return item(
        AlgorithmFamilyCodeSequence=[code("123110", "DCM", "Artificial Intelligence")],
        AlgorithmName=origin.algorithm,
        AlgorithmVersion=__version__,
        AlgorithmParameters=origin.parameters,
    )


def _background() -> "Dataset":
    """Describe the number 0, which a label map must (PS3.3, C.8.20.2)."""
    background = code("125040", "DCM", "Background")
    return item(
        SegmentNumber=0,
        SegmentLabel="Background",
        SegmentAlgorithmType="AUTOMATIC",
        SegmentAlgorithmName="Lucency",
        SegmentedPropertyCategoryCodeSequence=[background],
        SegmentedPropertyTypeCodeSequence=[code("125040", "DCM", "Background")],
        RecommendedDisplayCIELabValue=[0, 32896, 32896],
    )

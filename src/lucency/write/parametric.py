"""A heat map in numbers: a DICOM Parametric Map of float32, every frame at the place of its source frame."""

from pathlib import Path
from typing import Any

import numpy as np

from lucency.errors import OutputError
from lucency.image import Image
from lucency.write import dicom_frames as groups
from lucency.write.dicom_object import (
    MAX_VALUE,
    Origin,
    Stream,
    begin,
    code,
    decimals,
    describe,
    digest_of,
    fill,
    item,
    refer_to,
    save,
    side,
)
from lucency.write.dicom_source import Measured
from lucency.write.vocabulary import Concept

PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"

#: What the numbers of a map can be (PS3.16, CID 7180).
PROBABILITY = Concept("110854", "DCM", "Fractional Probabilistic Segmentation")
SALIENCY = Concept("130404", "DCM", "Saliency")
ACTIVATION = Concept("130402", "DCM", "Class activation")

#: How a frame comes from its source (no code of CID 7203 fits a network), and what a quantity is named by.
DERIVED = ("112187", "DCM", "Unspecified method of calculation")
QUANTITY = ("246205007", "SCT", "Quantity")
#: (7FE0,0008) Float Pixel Data, OF, as it begins in the file.
FLOAT_PIXELS = b"\xe0\x7f\x08\x00OF\x00\x00"
IMAGE_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]


def write_parametric(
    path: Path, heat: Image, source: Measured, origin: Origin, *, quantity: Concept = PROBABILITY, name: str = ""
) -> str:
    """Write a map of numbers, such as the probability of each voxel.

    Args:
        path: Where to; ends in ``.dcm``.
        heat: Intensities, (1, K, J, I), on the grid of the source.
        source: From :func:`lucency.write.dicom_source.measured`.
        origin: What made it.
        quantity: What the numbers are: :data:`PROBABILITY`, :data:`SALIENCY`, :data:`ACTIVATION` …
        name: Of the label or class that the map is about; at most 40 characters are kept.

    Returns:
        The SOP Instance UID.

    Raises:
        OutputError: Labels, several channels, a source that has no place in the patient (a map must have one), or a
            disk that cannot be written.

    Source:
        DICOM PS3.3, A.75 Parametric Map IOD, C.8.23, C.7.6.24 Floating Point Image Pixel.
    """
    if heat.kind != "intensity" or heat.channels != 1:
        raise OutputError(
            f"{heat.kind} with {heat.channels} channels", expected="one channel of numbers", where=path.name
        )
    if not source.placed:
        raise OutputError(
            "The source does not say where it lies in the patient",
            expected="a frame of reference, which a parametric map must have",
            where=path.name,
            remedy="write a secondary capture",
        )
    array = heat.array[0]
    if array.size * 4 > MAX_VALUE:
        raise OutputError(
            f"A map of {array.size * 4 >> 20} MiB",
            expected=f"at most {MAX_VALUE >> 20} MiB in one DICOM object",
            where=path.name,
            remedy="use --format nifti",
        )
    # As stored: what is written is what is hashed and measured.
    span = float(np.float32(array.min())), float(np.float32(array.max()))
    said = f"{digest_of(array, '<f4')}/{quantity.value}/{name}"
    file = begin(source, "map", PARAMETRIC_MAP, said, origin)
    title = f"Map by AI {name}".strip()[:40]
    describe(file, source.head, "MAP", title)
    side(file, source.head)
    fill(
        file,
        Modality="OT",
        ImageType=IMAGE_TYPE,
        BurnedInAnnotation="NO",
        RecognizableVisualFeatures="NO",  # type 1 here; these are the network's numbers, not the image's
        PresentationLUTShape="IDENTITY",
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=int(array.shape[1]),
        Columns=int(array.shape[2]),
        BitsAllocated=32,
    )
    file.AcquisitionContextSequence = []
    groups.frame_of_reference(file, source)
    refer_to(file, source)
    groups.dimensions(file, source, segments=False)
    held = range(len(source.frames))
    rank, derived = groups.ranks(source, held), code(*DERIVED)
    common = groups.shared(source)
    common.FrameVOILUTSequence = [_window(*span)]
    common.PixelValueTransformationSequence = [item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")]
    common.ParametricMapFrameTypeSequence = [item(FrameType=IMAGE_TYPE)]
    common.RealWorldValueMappingSequence = [_mapping(span, quantity, title)]
    groups.add_groups(file, common, [groups.own(source, k, rank[k], derived) for k in held])
    planes = (np.ascontiguousarray(plane, "<f4").data.cast("B") for plane in array)
    save(path, file, Stream(FLOAT_PIXELS, array.size * 4, planes))
    return str(file.SOPInstanceUID)


def _window(low: float, high: float) -> Any:
    """Return the window that shows the whole range."""
    low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    width = max(high - low, 1e-6)
    centre, wide = decimals([low + width / 2, width])
    # Exact, because LINEAR takes half a unit off (PS3.3, C.11.2.1.3.2), which is much of a probability.
    return item(WindowCenter=centre, WindowWidth=wide, VOILUTFunction="LINEAR_EXACT")


def _mapping(span: tuple[float, float], quantity: Concept, title: str) -> Any:
    """Return what the numbers mean: themselves.

    Source:
        DICOM PS3.3, C.7.6.16.2.11 Real World Value Mapping.
    """
    named = item(
        ValueType="CODE",
        ConceptNameCodeSequence=[code(*QUANTITY)],
        ConceptCodeSequence=[code(quantity.value, quantity.scheme, quantity.meaning)],
    )
    return item(
        LUTLabel="MAP",
        LUTExplanation=title,
        RealWorldValueSlope=1.0,
        RealWorldValueIntercept=0.0,
        DoubleFloatRealWorldValueFirstValueMapped=min(span[0], 0.0),
        DoubleFloatRealWorldValueLastValueMapped=max(span[1], 1.0),
        MeasurementUnitsCodeSequence=[code("1", "UCUM", "no units")],
        QuantityDefinitionSequence=[named],
    )

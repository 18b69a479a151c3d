"""Slices as frames of one DICOM object, each at the place of the slice that it was made from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lucency.write.dicom_object import code, decimals, item, uid_of
from lucency.write.dicom_source import Measured, SourceFrame

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: What a frame is indexed by: the attribute and the functional group that it stands in.
SEGMENT = ("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Segment")
POSITION = ("ImagePositionPatient", "PlanePositionSequence", "Position")
IN_STACK = ("InStackPositionNumber", "FrameContentSequence", "Number of the slice")


def dimensions(file: "Dataset", source: Measured, *, segments: bool) -> None:
    """Say what the frames are counted by.

    Args:
        file: The object; its SOP Instance UID is set.
        source: Tells whether the slices know their places.
        segments: Whether frames belong to segments.

    Source:
        DICOM PS3.3, C.7.6.17 Multi-frame Dimension.
    """
    from pydicom.datadict import tag_for_keyword  # noqa: PLC0415

    organization = uid_of("dimensions", str(file.SOPInstanceUID))
    file.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    file.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=tag_for_keyword(pointer),
            FunctionalGroupPointer=tag_for_keyword(group),
            DimensionDescriptionLabel=label,
        )
        for pointer, group, label in ([SEGMENT] if segments else []) + [POSITION if source.placed else IN_STACK]
    ]


def frame_of_reference(file: "Dataset", source: Measured) -> None:
    """Take over the source's frame of reference, if it has one and its slices know their places."""
    if source.placed:
        file.FrameOfReferenceUID = str(source.head.FrameOfReferenceUID)
        file.PositionReferenceIndicator = str(source.head.get("PositionReferenceIndicator") or "")
    else:
        # PS3.3, C.7.6.1: type 2C where no plane orientation says it.
        file.PatientOrientation = source.head.get("PatientOrientation") or ""


def shared(source: Measured) -> "Dataset":
    """Return the functional groups that hold for all frames: the spacing, and the direction if there is but one.

    Source:
        DICOM PS3.3, C.7.6.16.2.1 Pixel Measures and C.7.6.16.2.4 Plane Orientation.
    """
    made = item()
    if source.pixel_spacing is not None:
        gap = None if source.gap is None else decimals([source.gap])[0]
        made.PixelMeasuresSequence = [
            item(
                PixelSpacing=decimals(source.pixel_spacing),
                SliceThickness=gap or "1",  # type 1C; a projection has no thickness, and readers need a number
                SpacingBetweenSlices=gap if len(source.frames) > 1 else None,
            )
        ]
    if source.placed and source.one_direction:
        made.PlaneOrientationSequence = [_orientation(source.frames[0])]
    return made


def _orientation(frame: SourceFrame) -> "Dataset":
    return item(ImageOrientationPatient=decimals(frame.orientation or ()))


def own(source: Measured, k: int, rank: int, derivation: "Dataset", segment: int | None = None) -> "Dataset":
    """Return the functional groups of one frame.

    Args:
        source: What it was made from.
        k: Slice.
        rank: Of the slice among those that the object holds, from 1.
        derivation: Code that says how the frame came from its source.
        segment: Segment number; None where frames belong to none.

    Source:
        DICOM PS3.3, C.7.6.16.2.2 Frame Content, C.7.6.16.2.3 Plane Position, C.7.6.16.2.6 Derivation Image and
        C.8.20.3.1 Segmentation.
    """
    frame = source.frames[k]
    index = ([segment] if segment is not None else []) + [rank]
    content = item(DimensionIndexValues=index)
    if not source.placed:
        content.StackID, content.InStackPositionNumber = "1", k + 1
    made = item(FrameContentSequence=[content], DerivationImageSequence=_derivation(frame, derivation))
    if source.placed:
        made.PlanePositionSequence = [item(ImagePositionPatient=decimals(frame.position or ()))]
        if not source.one_direction:
            made.PlaneOrientationSequence = [_orientation(frame)]
    if segment is not None:
        made.SegmentIdentificationSequence = [item(ReferencedSegmentNumber=segment)]
    return made


def _derivation(frame: SourceFrame, derivation: "Dataset") -> list["Dataset"]:
    """Return the reference to the source's frame; none for a slice that was filled in between two others."""
    if not frame.uid:
        return []
    return [item(SourceImageSequence=[reference(frame)], DerivationCodeSequence=[derivation])]


def reference(frame: SourceFrame) -> "Dataset":
    """Return the reference to one source frame."""
    purpose = code("121322", "DCM", "Source image for image processing operation")
    return item(
        ReferencedSOPClassUID=frame.sop_class,
        ReferencedSOPInstanceUID=frame.uid,
        ReferencedFrameNumber=frame.number or None,
        PurposeOfReferenceCodeSequence=[purpose],
        SpatialLocationsPreserved="YES" if frame.alike else "NO",
    )


def ranks(source: Measured, held: Sequence[int]) -> dict[int, int]:
    """Return slice to its rank, from 1, along the patient among the slices that an object holds."""
    return {k: n for n, k in enumerate(sorted(set(held)), start=1)}


def add_groups(file: "Dataset", common: "Dataset", frames: Sequence[Any]) -> None:
    """Put the functional groups and the number of frames into the object."""
    file.NumberOfFrames = len(frames)
    file.SharedFunctionalGroupsSequence = [common]
    file.PerFrameFunctionalGroupsSequence = list(frames)

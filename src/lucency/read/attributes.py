"""The attributes and macros of a DICOM header that are read: what :mod:`lucency.read.head` looks for in it."""

from lucency.read import csa, suv

#: Words, taken as they are.
WORDS = (
    "BodyPartExamined",
    "BurnedInAnnotation",
    "ContentLabel",
    "ConversionType",
    "ConvolutionKernel",
    "DecayCorrection",
    "DiffusionDirectionality",
    "ImageLaterality",
    "ImageType",
    "Laterality",
    "LossyImageCompression",
    "Manufacturer",
    "ManufacturerModelName",
    "Modality",
    "ModalityLUTType",
    "PatientAge",
    "PatientSex",
    "PhotometricInterpretation",
    "PixelPresentation",
    "PresentationLUTShape",
    "RescaleType",
    "SegmentationFractionalType",
    "SegmentationType",
    "SegmentsOverlap",
    "Units",
    "ViewPosition",
    "VOILUTFunction",
    "VolumetricProperties",
)

#: Numbers, single or in a list.
NUMBERS = (
    "AcquisitionNumber",
    "BitsAllocated",
    "BitsStored",
    "CineRate",
    "Columns",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "EchoNumbers",
    "EchoTime",
    "FlipAngle",
    "FrameTime",
    "FrameTimeVector",
    "GantryDetectorTilt",
    "HighBit",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImagerPixelSpacing",
    "InstanceNumber",
    "InversionTime",
    "MaximumFractionalValue",
    "NominalPercentageOfCardiacPhase",
    "NominalScannedPixelSpacing",
    "NumberOfFrames",
    "NumberOfTemporalPositions",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
    "PlanarConfiguration",
    "RecommendedDisplayFrameRate",
    "RedPaletteColorLookupTableDescriptor",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SamplesPerPixel",
    "SliceThickness",
    "SpacingBetweenSlices",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "TriggerTime",
    "WindowCenter",
    "WindowWidth",
)

#: Of these, those that hold a list; in all others several values are damage.
LISTS = frozenset(
    (
        "DiffusionGradientOrientation",
        "EchoNumbers",
        "FrameTimeVector",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "ImagerPixelSpacing",
        "NominalScannedPixelSpacing",
        "PixelSpacing",
        "RedPaletteColorLookupTableDescriptor",
        "WindowCenter",
        "WindowWidth",
    )
)

#: Times of day, given in seconds since midnight; no date is kept of an image.
TIMES = ("AcquisitionTime", "ContentTime", "AcquisitionDateTime")

#: Identifiers; whoever stores a head replaces the values under these keys (a word or a list of words) by pseudonyms.
IDENTIFYING = (
    "ConcatenationUID",
    "FrameOfReferenceUID",
    "PatientID",
    "ReferencedInstanceUIDs",
    "ReferencedSeriesUIDs",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
)

#: Identifiers read as they are; the two lists above are collected from sequences.
UIDS = tuple(k for k in IDENTIFYING if not k.startswith("Referenced") and k != "PatientID")

#: Functional group macro to what is taken from it (PS3.3, C.7.6.16.2 and the macros of each modality).
MACROS = {
    "CardiacSynchronizationSequence": ("NominalPercentageOfCardiacPhase", "NominalCardiacTriggerDelayTime"),
    "FrameContentSequence": (
        "StackID",
        "InStackPositionNumber",
        "TemporalPositionIndex",
        "DimensionIndexValues",
        "FrameAcquisitionNumber",
    ),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
    "MRDiffusionSequence": ("DiffusionBValue", "DiffusionDirectionality"),
    "MREchoSequence": ("EffectiveEchoTime",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "RespiratorySynchronizationSequence": ("NominalPercentageOfRespiratoryPhase",),
    "SegmentIdentificationSequence": ("ReferencedSegmentNumber",),
    "TemporalPositionSequence": ("TemporalPositionTimeOffset",),
    "CTImageFrameTypeSequence": ("FrameType",),
    "MRImageFrameTypeSequence": ("FrameType",),
    "PETFrameTypeSequence": ("FrameType",),
}

#: Sequences looked into, and those of which only the presence counts.
SEQUENCES = (
    "DimensionIndexSequence",
    "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence",
    "SegmentSequence",
    "SequenceOfUltrasoundRegions",
    "StructureSetROISequence",
    "RadiopharmaceuticalInformationSequence",
    "ReferencedFrameOfReferenceSequence",
    "ReferencedSeriesSequence",
    "CurrentRequestedProcedureEvidenceSequence",
)
PRESENT = ("ModalityLUTSequence", "VOILUTSequence")

#: b-values of three makers: private creator, element that names it, element of the value.
B_VALUES = (
    ("SIEMENS MR HEADER", 0x00190010, 0x0019100C),
    ("GEMS_PARM_01", 0x00430010, 0x00431039),
    ("Philips Imaging DD 001", 0x20010010, 0x20011003),
)

#: Rows of each of the 16 overlay planes (PS3.3, C.9.2).
OVERLAYS = tuple(0x60000010 + (n << 17) for n in range(16))

#: What ``pydicom.dcmread(specific_tags=…)`` must be given, so that :func:`lucency.read.head.head_of` finds everything.
TAGS: list[str | int] = [
    "SpecificCharacterSet",
    "SOPClassUID",
    "PatientID",
    "ContentDate",
    *UIDS,
    *WORDS,
    *NUMBERS,
    *TIMES,
    *SEQUENCES,
    *PRESENT,
    *suv.TAGS,
    *csa.TAGS,
    *(tag for _, creator, value in B_VALUES for tag in (creator, value)),
    *OVERLAYS,
]

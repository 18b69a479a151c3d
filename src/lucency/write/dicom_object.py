"""What every DICOM result has in common: whose it is, which study, who made it from what, and its UIDs."""

import contextlib
import hashlib
import os
import re
import secrets
import struct
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lucency import __version__
from lucency.errors import OutputError, UsageError
from lucency.write.dicom_source import Measured

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

#: Name space of the results' UIDs, itself the name-based UUID of a word.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "lucency.result")
#: Said in every object's series description, content description and, where there are pixels to see, in the pixels.
BANNER = "Research use only, not for clinical use"
MANUFACTURER = "Lucency"
#: A person's name by its value representation; there is none.
CREATOR = "Lucency^AI"

#: Series numbers of results: far from those of scanners, which count from 1, and the same for the same kind.
SERIES_NUMBERS = {"seg": 9001, "sr": 9002, "map": 9003, "capture": 9004, "synthetic": 9005}

#: Patient and study attributes that a result repeats (DICOM PS3.3, C.7.1.1, C.7.2.1, C.7.2.2); type 2 first.
IDENTITY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
STUDY = ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")
FURTHER = (
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "QualityControlSubject",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
    "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence",
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    "BreedRegistrationSequence",
    "ResponsiblePerson",
    "ResponsiblePersonRole",
    "ResponsibleOrganization",
    "StudyDescription",
    "IssuerOfAccessionNumberSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
)

#: Parts of the body that have no side (DICOM PS3.16, Annex L), as far as scanners name them.
UNPAIRED = frozenset(
    (
        *("ABDOMEN", "ABDOMENPELVIS", "BLADDER", "BRAIN", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "COCCYX"),
        *("CSPINE", "HEAD", "HEADNECK", "HEART", "LIVER", "LSPINE", "MEDIASTINUM", "NECK"),
        *("NECKCHEST", "PANCREAS", "PELVIS", "PROSTATE", "SKULL", "SPINE", "SPLEEN", "SSPINE"),
        *("STERNUM", "STOMACH", "THYROID", "TLSPINE", "TSPINE", "UTERUS", "WHOLEBODY"),
    )
)

#: Attributes of the equipment that made the source (DICOM PS3.3, C.12.1.1.5).
EQUIPMENT = (
    "Manufacturer",
    "InstitutionName",
    "StationName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
)


@dataclass(frozen=True)
class Origin:
    """What made a result, and when.

    Args:
        model: SHA-256 of the model, 64 hex digits.
        made: When; the only thing in a result that differs when it is made again.
        algorithm: What the program and its network are called; at most 64 characters.

    Raises:
        UsageError: A name that DICOM cannot hold.
    """

    model: str
    made: datetime
    algorithm: str = MANUFACTURER

    def __post_init__(self) -> None:
        if not self.algorithm or len(self.algorithm) > 64:  # VR LO, PS3.5, 6.2
            raise UsageError(f"An algorithm name of {len(self.algorithm)} characters", expected="1 to 64")

    @property
    def parameters(self) -> str:
        """The model, as an algorithm's parameter."""
        return f"model sha256 {self.model}"


def uid_of(*words: str) -> str:
    """Return the UID that belongs to ``words``: the same words give the same UID, anywhere and at any time.

    Source:
        DICOM PS3.5, B.2: a UUID as a decimal number below the root 2.25.

    Example:
        >>> uid_of("a", "b") == uid_of("a", "b") != uid_of("ab")
        True
    """
    return f"2.25.{uuid.uuid5(NAMESPACE, chr(0).join(words)).int}"


def digest_of(array: np.ndarray, kind: str = "") -> str:
    """Return the SHA-256 of an array's shape, type and numbers, as numbers of type ``kind`` where one is given.

    One plane is converted at a time, so that a map of hundreds of megabytes is not held twice.
    """
    dtype = np.dtype(kind or array.dtype)
    state = hashlib.sha256(f"{array.shape}{dtype.str}".encode())
    for plane in array if array.ndim > 1 else (array,):
        state.update(np.ascontiguousarray(plane, dtype).data)
    return state.hexdigest()


def begin(source: Measured, kind: str, sop_class: str, content: str, origin: Origin) -> "FileDataset":
    """Return a new object in the study of its source, complete but for what its own kind adds.

    Args:
        source: What it is about.
        kind: A key of :data:`SERIES_NUMBERS`.
        sop_class: SOP Class UID.
        content: Digest of what it says. With the source, the model and the version it makes the UIDs, so a result
            that is made again has the same ones and an archive keeps one of the two.
        origin: Who made it.

    Source:
        DICOM PS3.3, C.7.1.1, C.7.2.1, C.7.2.2, C.7.3.1, C.7.5.1, C.7.5.2 and C.12.1.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset  # noqa: PLC0415  # costs start-up time
    from pydicom.uid import ExplicitVRLittleEndian  # noqa: PLC0415

    words = (kind, source.key, origin.model, __version__, sop_class, content)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = uid_of("instance", *words)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    fill(
        file,
        SpecificCharacterSet="ISO_IR 192",
        SOPClassUID=sop_class,
        SOPInstanceUID=meta.MediaStorageSOPInstanceUID,
        SeriesInstanceUID=uid_of("series", *words),
        SeriesNumber=SERIES_NUMBERS[kind],
        InstanceNumber=1,
    )
    _say_whose(file, source.head)
    _say_who(file, source.head, origin)
    _say_when(file, origin.made)
    return file


def _say_whose(file: "Dataset", head: "Dataset") -> None:
    """Patient and study, as the source has them; what it lacks of type 2 is empty."""
    file.StudyInstanceUID = str(head.StudyInstanceUID)
    for keyword in (*IDENTITY, *STUDY):
        value = head.get(keyword)
        setattr(file, keyword, "" if value is None else _dated(keyword, _plain(value)))
    # "Removed" without a word of how is no statement that the standard allows (type 1C).
    told = "DeidentificationMethod" in head or "DeidentificationMethodCodeSequence" in head
    for keyword in FURTHER:
        if keyword in head and (told or keyword != "PatientIdentityRemoved"):
            setattr(file, keyword, _plain(head[keyword].value))


def _dated(keyword: str, value: Any) -> Any:
    """Return dates and times without the dots and colons of ACR-NEMA; what is none of either is left out.

    Source:
        DICOM PS3.5, 6.2, VR DA and TM, notes on backward compatibility.
    """
    pattern = {"Date": r"\d{8}", "Time": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"}.get(keyword[-4:])
    if pattern is None:
        return value
    text = str(value).strip()
    text = text.replace(".", "") if keyword.endswith("Date") else text.replace(":", "")
    return text if re.fullmatch(pattern, text) else ""


def _plain(value: Any) -> Any:
    """Return text that has forgotten the character set of its file."""
    from pydicom.valuerep import PersonName  # noqa: PLC0415

    if isinstance(value, PersonName):
        return str(value)
    return value


def _say_who(file: "Dataset", head: "Dataset", origin: Origin) -> None:
    """The equipment: ours as that of the object, the scanner's as one that contributed."""
    fill(
        file,
        Manufacturer=MANUFACTURER,
        ManufacturerModelName=MANUFACTURER,
        DeviceSerialNumber=origin.model[:16] or "0",
        SoftwareVersions=__version__,
        ContentQualification="RESEARCH",
    )
    scanner = item(**{k: _plain(head[k].value) for k in EQUIPMENT if head.get(k)})
    scanner.PurposeOfReferenceCodeSequence = [code("109101", "DCM", "Acquisition Equipment")]
    if "Manufacturer" not in scanner:
        scanner.Manufacturer = "unknown"  # type 1 here, type 2 in the source
    ours = item(
        PurposeOfReferenceCodeSequence=[code("109102", "DCM", "Processing Equipment")],
        Manufacturer=MANUFACTURER,
        ManufacturerModelName=origin.algorithm,
        SoftwareVersions=__version__,
        ContributionDescription=f"{BANNER}; {origin.parameters}",
    )
    file.ContributingEquipmentSequence = [scanner, ours]


def _say_when(file: "Dataset", made: datetime) -> None:
    date, time = made.strftime("%Y%m%d"), made.strftime("%H%M%S")
    fill(
        file,
        InstanceCreationDate=date,
        InstanceCreationTime=time,
        SeriesDate=date,
        SeriesTime=time,
        ContentDate=date,
        ContentTime=time,
    )


def describe(file: "Dataset", head: "Dataset", label: str, description: str) -> None:
    """Fill in what an image says of its content: label, descriptions with the banner, part of the body, losses.

    Source:
        DICOM PS3.3, Table 10-12 Content Identification Macro, C.7.3.1 and C.7.6.1.1.5.
    """
    if head.get("BodyPartExamined"):
        file.BodyPartExamined = str(head.BodyPartExamined)
    # Once lost, always lost: the result of a compressed image says so too.
    file.LossyImageCompression = str(head.get("LossyImageCompression") or "00")
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if file.LossyImageCompression == "01" and keyword in head:
            setattr(file, keyword, head[keyword].value)
    fill(
        file,
        SeriesDescription=f"{description} - {BANNER}"[:64],
        ContentLabel=label,
        ContentDescription=f"{description} - {BANNER}"[:64],
        ContentCreatorName=CREATOR,
    )


def refer_to(file: "Dataset", source: Measured) -> None:
    """List the source's files.

    Source:
        DICOM PS3.3, C.12.2 Common Instance Reference.
    """
    files = [item(ReferencedSOPClassUID=c, ReferencedSOPInstanceUID=u) for c, u in source.series]
    series = item(SeriesInstanceUID=str(source.head.SeriesInstanceUID), ReferencedInstanceSequence=files)
    file.ReferencedSeriesSequence = [series]


def side(file: "Dataset", head: "Dataset") -> None:
    """Say which side of the body a map or a picture shows: the source's, or that nobody knows.

    A segmentation says so of each segment instead.

    Source:
        DICOM PS3.3, C.7.3.1: Laterality, type 2C, of a part that is one of a pair.
    """
    if head.get("Laterality"):
        file.Laterality = str(head.Laterality)
    elif str(head.get("BodyPartExamined") or "") not in UNPAIRED:
        file.Laterality = ""


def code(value: str, scheme: str, meaning: str) -> "Dataset":
    """Return a coded concept.

    Source:
        DICOM PS3.3, Table 8.8-1 Code Sequence Macro.
    """
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def item(**attributes: Any) -> "Dataset":
    """Return a dataset of attributes by their DICOM keywords; None leaves one out."""
    from pydicom.dataset import Dataset  # noqa: PLC0415

    made = Dataset()
    fill(made, **attributes)
    return made


def fill(dataset: "Dataset", **attributes: Any) -> None:
    """Set attributes by their DICOM keywords; None leaves one out."""
    for keyword, value in attributes.items():
        if value is not None:
            setattr(dataset, keyword, value)


def decimals(values: Sequence[float]) -> list[str]:
    """Return decimal strings of at most 16 bytes (PS3.5, 6.2, VR DS), with the sign of zero taken off."""
    from pydicom.valuerep import format_number_as_ds  # noqa: PLC0415

    return [format_number_as_ds(float(v) + 0.0) for v in values]


@dataclass(frozen=True)
class Stream:
    """Pixels that are written frame by frame behind everything else, so that they need not be in memory at once.

    Args:
        head: Tag, value representation and two zeros, as they stand in an explicit little-endian file.
        n_bytes: Of all frames; even.
        frames: Their bytes, one after another.

    Source:
        DICOM PS3.5, 7.1.2 Data Element Structure with Explicit VR.
    """

    head: bytes
    n_bytes: int
    frames: Iterable[bytes | memoryview]


#: The length of a value has 32 bits, and the largest number of them means "undefined" (PS3.5, 7.1.1).
MAX_VALUE = 0xFFFFFFFE


def save(path: Path, file: "FileDataset", pixels: Stream | None = None) -> None:
    """Write an object as a DICOM file, whole or not at all.

    Args:
        path: Where to.
        file: The object.
        pixels: What follows it; its tag is higher than all others.

    Raises:
        OutputError: A value that DICOM cannot hold, or a disk that cannot be written.
    """
    temporary = path.with_name(f".writing-{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Straight to the disk: a map of a whole CT has hundreds of megabytes.
        with temporary.open("xb") as handle:
            file.save_as(handle, enforce_file_format=True)
            if pixels is not None:
                handle.write(pixels.head + struct.pack("<I", pixels.n_bytes))
                for frame in pixels.frames:
                    handle.write(frame)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(
            f"Cannot write ({error.strerror})", where=path.name, remedy="free space or choose a writable folder"
        ) from None
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise OutputError(
            f"A value of the source does not fit into a DICOM result ({type(error).__name__})",
            where=path.name,
            remedy="use --format nifti, and report this as a bug",
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def same_names(names: Mapping[int, str]) -> list[tuple[int, int, str]]:
    """Return (mask value, number from 1, name) of every label: numbers stay the same from patient to patient."""
    return [(value, n, names[value]) for n, value in enumerate(sorted(names), start=1)]

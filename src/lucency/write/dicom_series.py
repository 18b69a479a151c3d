"""A volume out as a series of CT Image Storage files, under an identity that is plainly invented."""

import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lucency.errors import GeometryError, OutputError, UsageError
from lucency.image import Image

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

#: Stored value 0 stands for this many HU, as scanners have it; then no stored value is negative.
INTERCEPT = -1024
#: Name space of the series' UIDs, itself the name-based UUID of a word.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "lucency.phantom")
#: Largest sine between axes, or relative change of spacing, that a series may have: DICOM cannot say a shear.
SQUARE = 1e-4


@dataclass(frozen=True)
class Identity:
    """Whom an invented series belongs to.

    Args:
        number: Patient number, >= 0; gives the name ``PHANTOM^07`` and the ID ``PHANTOM-07``.
        seed: Which generated set; the UIDs follow from seed and number.
        age: Years, 0 to 999, or None.
        sex: ``"F"``, ``"M"``, ``"O"`` or empty.

    Raises:
        UsageError: A number, age or sex out of range.
    """

    number: int
    seed: int
    age: int | None = None
    sex: str = ""

    def __post_init__(self) -> None:
        if self.number < 0 or self.seed < 0 or not 0 <= (self.age or 0) <= 999 or self.sex not in ("F", "M", "O", ""):
            raise UsageError(
                "An identity out of range", expected="number and seed >= 0, age 0 to 999, sex F, M, O or empty"
            )

    def uid(self, role: str) -> str:
        """Return the UID of this patient's ``role`` (``"study"``, ``"series"``, ``"slice 3"`` …).

        Source:
            DICOM PS3.5, B.2: a UUID as a decimal number below the root 2.25.
        """
        return f"2.25.{uuid.uuid5(NAMESPACE, f'{self.seed}/{self.number}/{role}').int}"


def write_series(folder: Path, image: Image, identity: Identity) -> None:
    """Write ``image`` as one CT series, one file per slice; the folder appears whole or not at all.

    The same image and identity give the same bytes. Dates and times are left empty, for nothing was scanned.

    Args:
        folder: Does not exist yet; its parent is made if need be.
        image: Intensity in HU, one channel, -1024 to 64511 HU, whole numbers; axes at right angles.
        identity: Whose series it pretends to be.

    Raises:
        GeometryError: Sheared, several channels, labels or frames in time.
        OutputError: Numbers that do not fit, a folder that exists, or a disk that cannot be written.

    Source:
        DICOM PS3.3, A.3 CT Image IOD, C.7.6.2 Image Plane, C.8.2.1 CT Image Module.
    """
    stored = _stored(image, folder)
    _check_geometry(image, folder)
    if folder.exists():
        raise OutputError("The folder exists", where=folder.name, remedy="choose another or remove it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".writing-"))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        for k in range(image.size[0]):
            # The enforced format writes the preamble, the group length and the transfer syntax.
            _slice(image, stored, k, identity).save_as(temporary / f"slice-{k + 1:04d}.dcm", enforce_file_format=True)
        temporary.chmod(0o755)  # a temporary folder is its maker's alone
        os.replace(temporary, folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"Cannot write ({error.strerror})", where=folder.name, remedy="free space or choose a writable folder"
    )


def _stored(image: Image, folder: Path) -> np.ndarray:
    """Return (K, J, I) uint16: what the files hold before the rescale."""
    if image.kind != "intensity" or image.channels != 1 or image.k_axis != "space":
        raise GeometryError(
            f"{image.kind} with {image.channels} channels along {image.k_axis}",
            expected="one channel of intensities in space",
            where=folder.name,
        )
    values = image.array[0]
    whole = values.dtype.kind in "iu" or bool((values == np.rint(values)).all())
    low, high = float(values.min()), float(values.max())
    if not whole or low < INTERCEPT or high > np.iinfo(np.uint16).max + INTERCEPT:
        raise OutputError(
            f"Numbers from {low:g} to {high:g}{'' if whole else ', not whole'}",
            expected=f"whole HU from {INTERCEPT} to {np.iinfo(np.uint16).max + INTERCEPT}",
            where=folder.name,
            remedy="round or clip on purpose",
        )
    return np.asarray(values.astype(np.int64) - INTERCEPT, dtype="<u2")


def _check_geometry(image: Image, folder: Path) -> None:
    columns = image.affine[:3, :3] / image.spacing
    if np.abs(columns.T @ columns - np.eye(3)).max() > SQUARE:
        raise GeometryError(
            "Axes are not at right angles",
            expected="a grid without shear",
            where=folder.name,
            remedy="resample the image first",
        )


def _slice(image: Image, stored: np.ndarray, k: int, identity: Identity) -> "FileDataset":
    """Return one file: all attributes of types 1 and 2 of the CT Image IOD, and 1C and 2C where they apply."""
    from pydicom.dataset import FileDataset, FileMetaDataset  # noqa: PLC0415  # costs start-up time
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian  # noqa: PLC0415

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = identity.uid(f"slice {k}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID = CTImageStorage
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    _say_who(file, identity)
    _say_how(file, k)
    _say_where(file, image, k)
    _put_pixels(file, stored[k], 12 if int(stored.max()) < 1 << 12 else 16)
    return file


def _say_who(file: "Dataset", identity: Identity) -> None:
    """Patient, study, series, frame of reference."""
    _fill(
        file,
        PatientName=f"PHANTOM^{identity.number:02d}",
        PatientID=f"PHANTOM-{identity.number:02d}",
        PatientBirthDate="",
        PatientSex=identity.sex,
        QualityControlSubject="YES",  # PS3.3 C.7.1.1: the subject is a phantom
        PatientAge=None if identity.age is None else f"{identity.age:03d}Y",
        StudyInstanceUID=identity.uid("study"),
        StudyDate="",
        StudyTime="",
        ReferringPhysicianName="",
        StudyID="1",
        AccessionNumber="",
        StudyDescription="Generated chest phantom",
        Modality="CT",
        SeriesInstanceUID=identity.uid("series"),
        SeriesNumber=1,
        SeriesDescription="Generated chest phantom",
        BodyPartExamined="CHEST",
        PatientPosition="HFS",
        FrameOfReferenceUID=identity.uid("frame of reference"),
        PositionReferenceIndicator="",
    )


def _say_how(file: "Dataset", k: int) -> None:
    """Equipment, acquisition, image."""
    _fill(
        file,
        Manufacturer="Lucency",
        ManufacturerModelName="Phantom",
        KVP="",
        AcquisitionNumber=1,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        InstanceNumber=k + 1,
        ImageComments="Generated by a program; no such patient lives",
        BurnedInAnnotation="NO",
        LossyImageCompression="00",
    )


def _say_where(file: "Dataset", image: Image, k: int) -> None:
    """Image plane: the row direction is that of growing i, the column direction that of growing j."""
    columns = image.affine[:3, :3] / image.spacing
    corner = image.affine @ (k, 0, 0, 1)
    _fill(
        file,
        PixelSpacing=_numbers(image.spacing[1:]),
        ImageOrientationPatient=_numbers([*columns[:, 2], *columns[:, 1]]),
        ImagePositionPatient=_numbers(corner[:3]),
        SliceThickness=_numbers(image.spacing[:1])[0],
    )


def _put_pixels(file: "Dataset", stored: np.ndarray, bits: int) -> None:
    """Image pixels and their rescale to HU."""
    _fill(
        file,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=stored.shape[0],
        Columns=stored.shape[1],
        BitsAllocated=16,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=0,
        RescaleIntercept=str(INTERCEPT),
        RescaleSlope="1",
        RescaleType="HU",
        WindowCenter="-600",  # the lung window of most readers
        WindowWidth="1500",
    )
    file.PixelData = np.ascontiguousarray(stored, dtype="<u2").tobytes()


def _numbers(values: Any) -> list[str]:
    """Return decimal strings of at most 16 bytes (PS3.5, 6.2, VR DS), with the sign of zero taken off."""
    from pydicom.valuerep import format_number_as_ds  # noqa: PLC0415  # costs start-up time

    return [format_number_as_ds(float(v) + 0.0) for v in values]


def _fill(file: "Dataset", **attributes: Any) -> None:
    """Set attributes by their DICOM keywords; None leaves one out."""
    for keyword, value in attributes.items():
        if value is not None:
            setattr(file, keyword, value)

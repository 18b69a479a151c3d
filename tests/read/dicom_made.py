"""Small DICOM series with a known truth: every slice holds numbers that tell where it lies."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

#: Rows, columns; spacing between rows and columns, mm.
SIZE, SPACING = (6, 8), (0.5, 0.75)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
    "eCT": EnhancedCTImageStorage,
    "eMR": EnhancedMRImageStorage,
    "US": UltrasoundMultiFrameImageStorage,
    "SC": SecondaryCaptureImageStorage,
}


def plane(number: int, size=SIZE) -> np.ndarray:
    """(rows, columns) uint16 that no other number gives."""
    j, i = np.mgrid[: size[0], : size[1]]
    return (1000 + 100 * number + 10 * j + i).astype(np.uint16)


def empty(kind: str = "CT", series: str = "1.2.3.4") -> Dataset:
    """A header without geometry and pixels."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CLASSES[kind]
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = series, "1.2.3", "1.2.5"
    data.PatientID, data.Modality, data.Manufacturer = "SECRET-ID", kind[-2:], "Acme"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    return data


def with_pixels(data: Dataset, array: np.ndarray) -> Dataset:
    """Put (rows, columns), (frames, rows, columns) or (…, 3) pixels into a header."""
    colour = array.ndim > 2 and array.shape[-1] == 3
    data.Rows, data.Columns = array.shape[-3:-1] if colour else array.shape[-2:]
    if colour:
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    if array.ndim - colour == 3:
        data.NumberOfFrames = len(array)
    bits = 8 * array.dtype.itemsize
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(array.dtype.kind == "i")
    data.PixelData = array.tobytes()
    data["PixelData"].VR = "OW" if bits > 8 else "OB"
    return data


def one_slice(number: int, position, kind: str = "CT", **changes) -> Dataset:
    """Slice ``number`` at a position (mm, LPS); its pixels are ``plane(number)`` unless ``array`` is given."""
    data = empty(kind)
    data.ImagePositionPatient = [f"{p:.6f}"[:16] for p in position]
    data.ImageOrientationPatient, data.PixelSpacing = list(AXIAL), list(SPACING)
    data.SliceThickness, data.InstanceNumber = 2, number + 1
    with_pixels(data, changes.pop("array", plane(number)))
    for keyword, value in changes.items():
        if value is None:
            del data[keyword]
        else:
            setattr(data, keyword, value)
    return data


def stack(depths, **changes) -> list[Dataset]:
    """An axial stack; a tuple among the changes has one value for each slice."""
    return [
        one_slice(n, (-10, -20, z), **{k: v[n] if isinstance(v, tuple) else v for k, v in changes.items()})
        for n, z in enumerate(depths)
    ]


def write(folder: Path, slices, order=None) -> list[Path]:
    """Write slices under names that sort against their order in space, or in ``order``."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{900 - n:03d}.dcm" for n in range(len(slices))] if order is None else order
    files = [folder / name for name in names]
    for data, file in zip(slices, files, strict=True):
        data.save_as(file, enforce_file_format=True)
    return files


def item(**values) -> Dataset:
    """A sequence item."""
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, Sequence([value]) if isinstance(value, Dataset) else value)
    return data


def enhanced(positions, kind: str = "eCT", frames=None, shared=None, array=None) -> Dataset:
    """An enhanced object: one frame for each position, further functional groups for each in ``frames``."""
    data = empty(kind)
    count = len(positions)
    with_pixels(data, np.stack([plane(n) for n in range(count)]) if array is None else array)
    data.SharedFunctionalGroupsSequence = Sequence(
        [
            item(
                PixelMeasuresSequence=item(PixelSpacing=list(SPACING), SliceThickness=2),
                PlaneOrientationSequence=item(ImageOrientationPatient=list(AXIAL)),
                **(shared or {}),
            )
        ]
    )
    data.PerFrameFunctionalGroupsSequence = Sequence(
        [
            item(
                PlanePositionSequence=item(ImagePositionPatient=[float(x) for x in positions[n]]),
                **({} if frames is None else frames[n]),
            )
            for n in range(count)
        ]
    )
    return data


def saved(data: Dataset, file: Path) -> Path:
    """Write one file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(file, enforce_file_format=True)
    return file


def mosaic(count: int, tile=(6, 8), *, spacing=(2.0, 2.0), between=3.0, normal=(0, 0, 1.0)) -> Dataset:
    """A Siemens mosaic of ``count`` images whose pixels are ``plane(n, tile)``, with a CSA header."""
    side = int(np.ceil(np.sqrt(count)))
    array = np.zeros((side * tile[0], side * tile[1]), np.uint16)
    for n in range(count):
        j, i = (n // side) * tile[0], (n % side) * tile[1]
        array[j : j + tile[0], i : i + tile[1]] = plane(n, tile)
    data = one_slice(0, (-50, -60, -70), "MR", array=array, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    data.PixelSpacing, data.SpacingBetweenSlices, data.SliceThickness = list(spacing), between, 2.5
    block = data.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(
        0x10, "OB", csa({"NumberOfImagesInMosaic": [str(count)], "SliceNormalVector": list(map(str, normal))})
    )
    return data


def csa(tags: dict[str, list[str]]) -> bytes:
    """A CSA header of the second kind (SV10), as nibabel's documentation describes it."""
    content = b"SV10\4\3\2\1" + len(tags).to_bytes(4, "little") + (77).to_bytes(4, "little")
    for name, words in tags.items():
        content += name.encode().ljust(64, b"\0") + (len(words)).to_bytes(4, "little") + b"DS\0\0"
        content += (3).to_bytes(4, "little") + (6).to_bytes(4, "little") + (77).to_bytes(4, "little")
        for word in [*words, *[""] * (6 - len(words))]:
            text = word.encode() + b"\0" if word else b""
            content += b"".join(n.to_bytes(4, "little") for n in (len(text), len(text), 77, len(text)))
            content += text.ljust(-(-len(text) // 4) * 4, b"\0")
    return content + bytes(4)

"""DICOM: plain single-frame series. Files are grouped, ordered along the slice normal and checked before any pixel."""

import threading
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lucency.case import Skipped, Source
from lucency.errors import GeometryError, LucencyError, ReadError
from lucency.image import Image
from lucency.read.formats import Header, digest_of_files, reason, unchecked
from lucency.read.geometry import TOLERANCE_MM, dtype_of, refuse_shear, rescaled, slice_spacing

digest = digest_of_files

#: Storage classes of plain images (DICOM PS3.4, B.5); everything else in a tree is counted and left out.
PLAIN_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.2": "MG",
    "1.2.840.10008.5.1.4.1.1.1.2.1": "MG",
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.6.1": "US",
    "1.2.840.10008.5.1.4.1.1.7": "SC",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
}

#: Only one thread at a time may change Python's filter of warnings, which is one for the whole process.
SILENCE = threading.Lock()

#: Largest difference between two direction cosines of one series.
SAME_DIRECTION = 1e-4

TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "PatientAge",
    "PatientSex",
    "Manufacturer",
    "ManufacturerModelName",
    "Modality",
    "BodyPartExamined",
    "ImageType",
    "InstanceNumber",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "PixelRepresentation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SpacingBetweenSlices",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
)


@dataclass(frozen=True)
class Series:
    """One image out of a DICOM tree.

    Args:
        paths: Files relative to the data folder, in slice order.
        uid: What tells this image from others; only ever shown through a salted digest.
        patient: Patient ID, likewise.
        header: Facts for the Source.
        facts: Facts for the Case.
    """

    paths: tuple[str, ...]
    uid: str
    patient: str
    header: Header
    facts: Mapping[str, str | float] = field(default_factory=dict)


def grouped(root: Path, paths: Iterable[str]) -> tuple[list[Series], list[Skipped], dict[str, int]]:
    """Sort the DICOM files of a tree into images.

    Args:
        root: Data folder.
        paths: Files relative to it.

    Returns:
        The images; the files and series that cannot be read or do not form an image; how many other objects
        were left out, by reason.
    """
    together: dict[str, list[tuple[str, Any]]] = {}
    broken: dict[str, str] = {}
    left_out: dict[str, int] = {}
    for path in paths:
        try:
            data = _dataset(root / path, path)
        except LucencyError as error:
            broken[path] = reason(error)
            continue
        other = _not_plain(data)
        if other:
            left_out[other] = left_out.get(other, 0) + 1
        else:
            together.setdefault(str(data.get("SeriesInstanceUID", path)), []).append((path, data))
    images: list[Series] = []
    skipped: list[Skipped] = []
    torn = _torn(together, broken)
    for uid, members in sorted(together.items()):
        if uid in torn:
            # Without one slice a stack shows another length of the patient, or has a hole: it is lost as a whole.
            first, *_ = reasons = [broken.pop(path) for path in torn[uid]]
            n_files = len(members) + len(reasons)
            skipped.append(Skipped(torn[uid][0], f"{first} The series of {n_files} files is left out with it."))
            continue
        try:
            images.extend(_images(uid, members))
        except GeometryError as error:
            skipped.append(Skipped(members[0][0], f"{reason(error)} The series of {len(members)} files is left out."))
    return images, [*skipped, *(Skipped(p, why) for p, why in broken.items())], left_out


def _torn(together: Mapping[str, list[tuple[str, Any]]], broken: Iterable[str]) -> dict[str, list[str]]:
    """Return series to the unreadable files of theirs: what lies in a folder with one stack only belongs to it."""
    in_folder: dict[str, set[str]] = {}
    for uid, members in together.items():
        for path, _ in members:
            in_folder.setdefault(path.rpartition("/")[0], set()).add(uid)
    found: dict[str, list[str]] = {}
    for path in broken:
        uids = in_folder.get(path.rpartition("/")[0], set())
        if len(uids) == 1 and len(together[min(uids)]) > 1:
            found.setdefault(min(uids), []).append(path)
    return found


def header(source: Source) -> Header:
    """Return the header facts; the tree was read already, a single file is read here."""
    if "size" in source.header:
        return {}
    (image,) = _images("", [(p, _dataset(f, p)) for p, f in zip(source.paths, source.files, strict=True)])
    return image.header


def pixels(source: Source) -> Image:
    """Return the image; see :func:`lucency.read.load`.

    Integers stay as stored when slope is 1 and intercept 0 throughout; with slope 1 and a whole intercept they
    become int16 where they fit; else float32.
    """
    slices = [_dataset(file, path, with_pixels=True) for path, file in zip(source.paths, source.files, strict=True)]
    for data, path in zip(slices, source.paths, strict=True):
        other = _not_plain(data)
        if other:
            raise ReadError(f"Not a plain image ({other})", where=path, remedy="take it off the list")
    affine = _geometry(list(zip(source.paths, slices, strict=True)))[1]
    stored = [_stored(data, path) for data, path in zip(slices, source.paths, strict=True)]
    scales = [(_number(d, "RescaleSlope", 1.0), _number(d, "RescaleIntercept", 0.0)) for d in slices]
    # One scale for all slices keeps integers; where it changes, every slice becomes float32.
    if len(set(scales)) == 1:
        array = rescaled(np.stack(stored), *scales[0])
    else:
        array = np.stack(
            [np.asarray(a.astype(np.float64) * s + i, np.float32) for a, (s, i) in zip(stored, scales, strict=True)]
        )
    unit = "HU" if slices[0].get("Modality") == "CT" else "1"
    return unchecked(array[None], affine, unit=unit)


def _stored(data: Any, path: str) -> np.ndarray:
    """Return the stored numbers of one file, MONOCHROME1 not turned round."""
    try:
        with SILENCE, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = np.asarray(data.pixel_array)
    except RuntimeError:
        name = data.file_meta.TransferSyntaxUID.name if "file_meta" in data.__dict__ else "unknown"
        raise ReadError(
            f"The pixels are compressed as {name}, which no installed decoder reads, or are damaged",
            where=path,
            remedy="export the series uncompressed, or install a decoder for it (pylibjpeg with its plug-ins)",
        ) from None
    except (AttributeError, ValueError, KeyError, NotImplementedError, OSError) as error:
        raise ReadError(
            f"The pixels cannot be read ({type(error).__name__})",
            expected="as many pixels as the header promises",
            where=path,
            remedy="fetch the file again; it is truncated or damaged",
        ) from None
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _dataset(file: Path, path: str, *, with_pixels: bool = False) -> Any:
    """Read one file; what pydicom remarks on odd values may hold them, and is not repeated."""
    import pydicom  # noqa: PLC0415 - slow to import

    if file.stat().st_size == 0:
        raise ReadError("The file is empty (0 bytes)", where=path, remedy="fetch or export it again")
    try:
        with SILENCE, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if with_pixels:
                return pydicom.dcmread(file, force=True)
            data = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
            # Reading a value is what decodes it; a broken one shows now and not in another room.
            for tag in TAGS:
                data.get(tag)
    except Exception as error:
        raise ReadError(
            f"Not readable as DICOM ({type(error).__name__})", where=path, remedy="fetch or export it again"
        ) from None
    # A DICOMDIR and some private objects name their class in the file header only (PS3.10, 7.1).
    if "SOPClassUID" not in data and "MediaStorageSOPClassUID" in getattr(data, "file_meta", {}):
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID
    if "SOPClassUID" not in data:
        raise ReadError("Not readable as DICOM (no SOP Class)", where=path, remedy="fetch or export it again")
    return data


def _not_plain(data: Any) -> str:
    """Return why an object is no plain single-frame image, or ``""``."""
    if str(data.SOPClassUID) not in PLAIN_CLASSES or "Rows" not in data or "Columns" not in data:
        return "not a plain image"
    if int(data.get("NumberOfFrames") or 1) > 1:
        return "several frames in one file"
    if int(data.get("SamplesPerPixel") or 1) != 1 or not _word(data, "PhotometricInterpretation").startswith("MONO"):
        return "colour"
    if "LOCALIZER" in [str(v).upper() for v in _values(data, "ImageType")]:
        return "localizer"
    return ""


def _images(uid: str, members: list[tuple[str, Any]]) -> list[Series]:
    """Return the images of one series: a stack, or every file by itself where nothing says where it lies."""
    placed = [m for m in members if _has_place(m[1])]
    if placed and len(placed) != len(members):
        raise GeometryError(
            f"{len(members) - len(placed)} of {len(members)} files do not say where they lie",
            expected="Image Position and Image Orientation in all of them",
            where=members[0][0],
            remedy="export the series again",
        )
    if placed:
        return [_image(uid, members)]
    ordered = sorted(members, key=lambda m: (int(_number(m[1], "InstanceNumber", 0.0)), m[0]))
    single = len(ordered) == 1
    return [_image(uid if single else f"{uid}/{d.get('SOPInstanceUID', p)}", [(p, d)]) for p, d in ordered]


def _image(uid: str, members: list[tuple[str, Any]]) -> Series:
    order, affine = _geometry(members)
    first = members[order[0]][1]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    kind = "int" if int(first.get("PixelRepresentation") or 0) else "uint"
    header_facts: Header = {
        "size": (len(members), int(first.Rows), int(first.Columns)),
        "spacing": tuple(float(s) for s in spacing),
        "channels": 1,
        "dtype": dtype_of(
            f"{kind}{int(first.get('BitsAllocated') or 16)}",
            _number(first, "RescaleSlope", 1.0),
            _number(first, "RescaleIntercept", 0.0),
        ),
        "spacing_known": bool(_pixel_spacing(first)),
        "modality": _word(first, "Modality"),
    }
    return Series(
        tuple(members[n][0] for n in order), uid, _word(first, "PatientID"), header_facts, _facts(first, header_facts)
    )


def _facts(data: Any, header_facts: Header) -> dict[str, str | float]:
    facts: dict[str, str | float] = {}
    age = _word(data, "PatientAge")
    # Age String (PS3.5, 6.2): three digits and D, W, M or Y.
    if age[:-1].isdigit() and age[-1:] in "DWMY":
        facts["age"] = round(int(age[:-1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[age[-1]], 2)
    if _word(data, "PatientSex") in ("M", "F", "O"):
        facts["sex"] = _word(data, "PatientSex")
    scanner = " ".join(w for w in (_word(data, "Manufacturer"), _word(data, "ManufacturerModelName")) if w)
    words = {
        "scanner": scanner,
        "modality": str(header_facts["modality"]),
        "body_part": _word(data, "BodyPartExamined"),
    }
    return facts | {k: v for k, v in words.items() if v}


def _geometry(members: list[tuple[str, Any]]) -> tuple[list[int], np.ndarray]:
    """Return the order along the slice normal and the (k, j, i) LPS affine of files that form one stack.

    Source:
        DICOM PS3.3, C.7.6.2.1.1; Equation C.7.6.2.1-1.
    """
    where = members[0][0]
    slices = [d for _, d in members]
    sizes = {(int(d.Rows), int(d.Columns)) for d in slices}
    if len(sizes) > 1:
        raise GeometryError(
            f"Slices of {len(sizes)} sizes in one series", expected="one", where=where, remedy="export them apart"
        )
    spacings = [_pixel_spacing(d) or (1.0, 1.0) for d in slices]
    if np.ptp(np.array(spacings), axis=0).max() > TOLERANCE_MM:
        raise GeometryError("Pixel spacings that differ in one series", expected="one", where=where)
    row_mm, column_mm = spacings[0]
    if min(row_mm, column_mm) <= 0:
        raise GeometryError("A pixel spacing that is not above 0", expected="mm", where=where)
    if not _has_place(slices[0]):
        affine = np.diag([1.0, row_mm, column_mm, 1.0])[[2, 1, 0, 3]]
        return list(range(len(slices))), affine
    turns = np.array([_floats(d, "ImageOrientationPatient") for d in slices])
    if np.ptp(turns, axis=0).max() > SAME_DIRECTION:
        raise GeometryError(
            "Slices in more than one direction",
            expected="one direction in a series",
            where=where,
            remedy="export them apart",
        )
    along_row, along_column = turns[0, :3], turns[0, 3:]
    normal = np.cross(along_row, along_column)
    positions = np.array([_floats(d, "ImagePositionPatient") for d in slices])
    order = [int(n) for n in np.argsort(positions @ normal, kind="stable")]
    affine = np.eye(4)
    affine[:3, 1] = along_column * row_mm
    affine[:3, 2] = along_row * column_mm
    affine[:3, 3] = positions[order[0]]
    affine[:3, 0] = normal * _gap(slices, positions, normal, where)
    refuse_shear(affine, where)
    return order, affine


def _gap(slices: list[Any], positions: np.ndarray, normal: np.ndarray, where: str) -> float:
    """Return the distance between slices in mm, refusing a stack that shifts sideways (gantry tilt)."""
    if len(slices) == 1:
        return _number(slices[0], "SpacingBetweenSlices", 0.0) or _number(slices[0], "SliceThickness", 0.0) or 1.0
    try:
        gap = slice_spacing(positions, normal)
    except GeometryError as error:
        raise GeometryError(error.found, expected=error.expected, where=where, remedy=error.remedy) from None
    unit = normal / np.linalg.norm(normal)
    beside = positions - np.outer(positions @ unit, unit)
    # A tenth of a millimetre over the stack is rounding of the header; a tilt shifts by centimetres.
    if np.ptp(beside, axis=0).max() > 0.1:
        raise GeometryError(
            f"The slices shift sideways by {np.ptp(beside, axis=0).max():.1f} mm over the stack (gantry tilt)",
            expected="slices straight above each other",
            where=where,
            remedy="resample the series to a rectangular grid on purpose",
        )
    return gap


def _has_place(data: Any) -> bool:
    return len(_floats(data, "ImagePositionPatient")) == 3 and len(_floats(data, "ImageOrientationPatient")) == 6


def _pixel_spacing(data: Any) -> tuple[float, float] | None:
    """Return (row, column) spacing in mm (PS3.3, 10.7.1.3: between rows first), or None."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        values = _floats(data, name)
        if len(values) == 2:
            return values[0], values[1]
    return None


def _values(data: Any, name: str) -> list[Any]:
    value = data.get(name)
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) else list(value)


def _floats(data: Any, name: str) -> list[float]:
    try:
        return [float(v) for v in _values(data, name)]
    except (TypeError, ValueError):
        return []


def _number(data: Any, name: str, default: float) -> float:
    values = _floats(data, name)
    return values[0] if values else default


def _word(data: Any, name: str) -> str:
    value = data.get(name)
    return "" if value is None else str(value).strip()

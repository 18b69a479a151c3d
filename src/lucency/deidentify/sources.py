"""What lies in the source folder: which files are DICOM, whose they are, and by which strings a patient is known."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from lucency.deidentify import faces, parsing
from lucency.deidentify.dates import DATE
from lucency.deidentify.keys import STANDARD_ROOT, Identities
from lucency.errors import LucencyError, ReadError
from lucency.read import archive, damage, directory
from lucency.read.directory import DIRECTORY
from lucency.read.head import silent
from lucency.read.headers import may_be_dicom
from lucency.read.opening import inflated

DEFLATED, EXPLICIT = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.1"
#: Bytes in which nearly every header ends.
HEADER = 1 << 16
#: (7FE0,0010) Pixel Data.
PIXEL_DATA = 0x7FE00010
#: Sequences of many items that hold geometry only (functional groups); the search for names skips them.
GEOMETRY = frozenset({0x52009229, 0x52009230, 0x00081140, 0x00082112, 0x30060039, 0x00201115})
#: Numbers by which a hospital knows a patient or an examination.
NUMBERS = (
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "AdmissionID",
    "MedicalRecordLocator",
    "PatientTelephoneNumbers",
    "RequestedProcedureID",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "ServiceEpisodeID",
    "InsurancePlanIdentification",
)
INSTITUTION = ("InstitutionName", "InstitutionAddress")
PHRASES = (*INSTITUTION, "PatientAddress")
#: A Study ID shorter than this is a running number.
STUDY_ID = 6


@dataclass(frozen=True)
class Source:
    """One file of the source folder.

    Args:
        path: Relative to the source folder, with ``/``; entries of a zip archive lie below it.
        kind: ``"dicom"``, ``"directory"`` (DICOMDIR), ``"other"`` or ``"broken"``.
        size: Bytes.
        changed: Modification time in ns, or the CRC of an archive's entry.
        reason: Why it is broken.
        sop_class: SOP Class UID.
        uid: SOP Instance UID.
        series: Series Instance UID.
        study: Study Instance UID.
        patient: Issuer and ID of the patient.
        name: Patient's Name, to tell two people of one ID.
        birth: Patient's Birth Date, ``YYYYMMDD``, likewise.
        identities: Strings by which the patient is known.
        institution: Those of them that name the institution, which may be kept.
        uids: UIDs of the file that must not come out again.
        frame: Frame of Reference UID.
        mask: Where a file lies that is a brain mask by its name; empty for all others.
    """

    path: str
    kind: str
    size: int = 0
    changed: int = 0
    reason: str = ""
    sop_class: str = ""
    uid: str = ""
    series: str = ""
    study: str = ""
    patient: tuple[str, str] = ("", "")
    name: str = ""
    birth: str = ""
    identities: Identities = field(default_factory=Identities)
    institution: frozenset[str] = frozenset()
    uids: frozenset[str] = frozenset()
    frame: str = ""
    mask: str = ""


def listed(root: Path) -> Iterator[str]:
    """Yield every file below a folder, sorted, entries of zip archives in place of the archive.

    Links are not followed: they may lead out of the folder or round in a circle.
    """
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            file = Path(folder) / name
            path = file.relative_to(root).as_posix()
            if not name.lower().endswith(archive.SUFFIX):
                yield path
                continue
            try:
                inside = archive.contents(file)
            except (ReadError, OSError):
                yield path
                continue
            yield from (f"{path}/{n}" for n in sorted({*inside.entries, *inside.refused}))


def files_of(src: Path) -> tuple[Path, list[str]]:
    """Return what a source is relative to, and its files, sorted.

    Args:
        src: A folder; a zip archive, whose entries are its files; a DICOMDIR, which names them; or one file.

    Returns:
        The folder or archive, and paths relative to it with ``/``. A file that a DICOMDIR names and that is not there,
        or lies outside its folder, has a path that leads nowhere, so that it is listed and not followed.

    Raises:
        ReadError: Not readable as a zip archive.
    """
    if src.is_dir():
        return src, list(listed(src))
    if src.name.lower().endswith(archive.SUFFIX):
        inside = archive.contents(src)
        return src, sorted({*inside.entries, *inside.refused})
    try:
        dataset = load(src, src.name, pixels=False)
        with silent():
            named = directory.files_named(dataset) if dataset is not None and _class(dataset) == DIRECTORY else []
    except (LucencyError, OSError, ValueError):
        named = []
    if not named:
        return src.parent, [src.name]
    # Discs are written in capitals; copied to a computer their names often are not.
    there = {path.lower(): path for path in listed(src.parent)}
    paths = {src.name}
    for n, components in enumerate(named, start=1):
        path = directory.inside(components)
        low = path.lower()
        paths.add(there.get(low) or there.get(f"{low}.dcm") or path or f"{src.name}/file {n}, outside its folder")
    return src.parent, sorted(paths)


def load(file: Path, where: str, *, pixels: bool) -> Dataset | None:
    """Return the dataset of a file, or None when it is not DICOM at all.

    Args:
        file: Real or virtual path.
        where: The same relative to the source folder.
        pixels: Whether to read the pixel data as well.

    Raises:
        ReadError: It should be DICOM and cannot be read, or is cut off.
    """
    with archive.opened(file) as raw:
        start = raw.read(4096)
        possible, sure = may_be_dicom(start, where)
        if not possible:
            return None
        deflated = start[128:132] == b"DICM" and DEFLATED.encode() in start
        if not deflated and (easy := _straightforward(raw, start, file, pixels=pixels)) is not None:
            return easy
        raw.seek(0)
        stream = inflated(raw, where) if deflated else raw
        try:
            with silent():
                dataset = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=True)
                sop_class = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
        except LucencyError:
            raise
        except (Exception, RecursionError) as error:
            if not sure:
                return None
            raise ReadError(f"Not readable as DICOM ({type(error).__name__})", remedy="fetch it again") from None
    if not sop_class:
        if not sure:
            return None
        found = damage.not_dicom(start[:1024]) or damage.told(file) or "Not readable as DICOM (no SOP Class)"
        raise ReadError(found, remedy="fetch it again")
    if deflated:
        dataset.file_meta.TransferSyntaxUID = EXPLICIT
    if pixels:
        _must_be_whole(dataset, file)
    dataset.buffer = None
    dataset.filename = str(file)
    return dataset


def _straightforward(raw: BinaryIO, start: bytes, file: Path, *, pixels: bool) -> Dataset | None:
    """Return the dataset of a file without peculiarities; None where it has to be read with more care."""
    content = start + (raw.read() if pixels else raw.read(HEADER - len(start)))
    with silent():
        dataset = parsing.parsed(content, pixels=pixels, whole=pixels or len(content) < HEADER)
        if dataset is None or not (dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")):
            return None
    if pixels:
        _must_be_whole(dataset, file)
    dataset.buffer = None
    dataset.filename = str(file)
    return dataset


def _must_be_whole(dataset: Dataset, file: Path) -> None:
    """Refuse a file that ends before its values do."""
    pixels = dataset._dict.get(PIXEL_DATA)
    for element in dataset._dict.values():
        raw = isinstance(element, RawDataElement) and element.value is not None and element.length != 0xFFFFFFFF
        if raw and len(element.value) != element.length:
            if pixels is not None and element.value_tell > pixels.value_tell:
                raise ReadError("Bytes that are no DICOM follow the pixels", remedy="fetch it again")
            found = damage.told(file) or "The file is cut off: it ends within its pixels"
            raise ReadError(found, remedy="fetch it again")


def surveyed(root: Path, path: str) -> Source:
    """Return what one file is and whose; nothing is raised."""
    file = root / path
    try:
        if file.is_symlink():
            return Source(path, "broken", reason="A link; only files in the folder itself are read")
        size, changed = archive.stat_of(file)
        dataset = load(file, path, pixels=False)
    except (LucencyError, OSError) as error:
        reason = error.found if isinstance(error, LucencyError) else f"Cannot be read ({error.strerror})"
        return Source(path, "broken", reason=reason)
    if dataset is None:
        return Source(path, "other", size, changed, mask=str(file) if faces.MASK.search(file.name) else "")
    try:
        with silent():
            return _described(path, size, changed, dataset)
    except (Exception, RecursionError) as error:
        return Source(path, "broken", size, changed, f"Its header is damaged ({type(error).__name__})")


def _described(path: str, size: int, changed: int, dataset: Dataset) -> Source:
    sop_class = _class(dataset)
    if sop_class == DIRECTORY:
        return Source(path, "directory", size, changed)
    uid = _one(dataset, "SOPInstanceUID") or str(dataset.file_meta.get("MediaStorageSOPInstanceUID", ""))
    series, study = _one(dataset, "SeriesInstanceUID"), _one(dataset, "StudyInstanceUID")
    frame = _one(dataset, "FrameOfReferenceUID")
    uids = frozenset(u for u in (uid, series, study, frame) if u and not u.startswith(STANDARD_ROOT))
    identities = identities_of(dataset)
    patient = (_one(dataset, "IssuerOfPatientID"), _one(dataset, "PatientID"))
    if not patient[1]:
        # Without an ID the name and birth date tell patients apart; without these, each examination is its own.
        told = "|".join([*sorted(identities.names)[:1], *sorted(identities.births)])
        patient = ("", f"no id|{told or study or uid}")
    return Source(
        path,
        "dicom",
        size,
        changed,
        sop_class=sop_class,
        uid=uid,
        series=series,
        study=study,
        patient=patient,
        name=_one(dataset, "PatientName"),
        birth=_date(_one(dataset, "PatientBirthDate")),
        identities=identities,
        institution=_all(dataset, INSTITUTION),
        uids=uids,
        frame=frame,
    )


def identities_of(dataset: Dataset) -> Identities:
    """Return the strings by which a file's patient is known: names, numbers, dates, at any depth.

    Names of physicians count: they stand in texts, too, and lead to the patient.
    """
    names: set[str] = set()
    births: set[str] = set()
    dates: set[str] = set()
    for item in _datasets(dataset):
        for tag, element in list(item._dict.items()):
            vr = element.VR or pydicom.datadict.dictionary_VR(tag) if tag in _known(tag) else element.VR
            if vr == "PN":
                names.update(_several(item, tag))
            elif vr == "DA" and tag >> 16 != 0x0010:
                dates.update(d for d in map(_date, _several(item, tag)) if d)
            elif tag == 0x00100030:
                births.update(d for d in map(_date, _several(item, tag)) if d)
    numbers = _all(dataset, NUMBERS) | {v for v in _several(dataset, "StudyID") if len(v) >= STUDY_ID}
    phrases = _all(dataset, PHRASES)
    return Identities(*(frozenset(filter(None, g)) for g in (names, numbers, births, dates - births, phrases)))


def _all(dataset: Dataset, keywords: tuple[str, ...]) -> frozenset[str]:
    """Return the values of attributes at any depth."""
    tags = _tags(keywords)
    return frozenset(v for item in _datasets(dataset) for t in tags if t in item._dict for v in _several(item, t))


@cache
def _tags(keywords: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(tag for k in keywords if (tag := pydicom.datadict.tag_for_keyword(k)) is not None)


def _known(tag: int) -> tuple[int, ...]:
    return (tag,) if pydicom.datadict.dictionary_has_tag(tag) else ()


def _datasets(dataset: Dataset, depth: int = 0) -> Iterator[Dataset]:
    """Yield a dataset and those within it, functional groups left aside."""
    yield dataset
    for tag, element in list(dataset._dict.items()):
        private = tag >> 16 & 1
        vr = element.VR or ("SQ" if not private and _is_sequence(tag) else "")
        if (vr == "SQ" or (vr == "UN" and not private and _is_sequence(tag))) and tag not in GEOMETRY and depth < 16:
            value = dataset[tag].value
            for item in value if isinstance(value, Sequence) else ():
                yield from _datasets(item, depth + 1)


def _is_sequence(tag: int) -> bool:
    return bool(pydicom.datadict.dictionary_has_tag(tag)) and pydicom.datadict.dictionary_VR(tag) == "SQ"


def _several(dataset: Dataset, key: str | int) -> list[str]:
    try:
        value = dataset[key].value if key in dataset else None
    except (ValueError, KeyError, TypeError, UnicodeError):
        return []
    values = value if isinstance(value, MultiValue | list) else [] if value is None else [value]
    texts = (re.sub(r"[\t\n\f\r]+", " ", str(v).strip(" \0")) for v in values)
    # A value that runs on into the elements behind it names nobody, and would be found everywhere.
    return [t for t in texts if t and t.isprintable()]


def _class(dataset: Dataset) -> str:
    return _one(dataset, "SOPClassUID") or str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))


def _one(dataset: Dataset, keyword: str) -> str:
    return next(iter(_several(dataset, keyword)), "")


def _date(value: str) -> str:
    found = DATE.fullmatch(value)
    return "".join(found.groups()) if found else ""

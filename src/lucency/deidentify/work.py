"""One file of the source from its bytes to its place in the output, or to the list of those that are left out."""

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from lucency.deidentify import actions, faces, sources
from lucency.deidentify.blanking import blanked, hidden_numbers
from lucency.deidentify.encoding import written
from lucency.deidentify.engine import Engine, Person
from lucency.deidentify.keys import Identities, Keys
from lucency.deidentify.others import clean_other, mover
from lucency.deidentify.pixels import PixelVerdict, examine
from lucency.deidentify.streams import trimmed
from lucency.deidentify.table import CLEAN, Options
from lucency.errors import LucencyError, OutputError, ReadError
from lucency.read.decode import frames
from lucency.read.head import silent
from lucency.record import write_bytes

#: Folder below the records for objects whose pixels a person must look at first.
QUARANTINE = "quarantine"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
UID = re.compile(r"[0-9][0-9.]{0,63}")
#: A voice is as good as a name (PS3.3, A.34.9).
VOICES = frozenset({"1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2"})
#: Encapsulated Document, Rows, and the three kinds of pixels.
DOCUMENT, ROWS, PIXELS = 0x00420011, 0x00280010, (0x7FE00010, 0x7FE00008, 0x7FE00009)
#: Side of a picture in the review list, px.
PICTURE = 640


@dataclass(frozen=True)
class Task:
    """One file to be done.

    Args:
        path: Relative to the source folder.
        target: Relative to the output folder; for a file that is not DICOM, the folder.
        person: Whose it is; None for a file that is not DICOM.
        identities: Strings to look for in a file that is not DICOM.
        twin: The file has the UID of an earlier one.
        moved: For a table: path in the source to path in the output of every DICOM file.
    """

    path: str
    target: str
    person: Person | None = None
    identities: Identities = field(default_factory=Identities)
    twin: str = ""
    moved: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """What became of one file.

    Args:
        path: Relative to the source folder; confidential.
        action: ``"written"``, ``"duplicate"``, ``"quarantined"`` or ``"left out"``.
        reason: A sentence without identities.
        output: Relative to the output folder; empty if nothing was written there.
        uid: New SOP Instance UID.
        patient: Pseudonym.
        counts: Rule to how many elements met it.
        sha256: Of the file that was written.
        n_bytes: Its size.
        regions: Frame to boxes that were found in the pixels, (top, left, bottom, right, score).
        remarks: What was not removed.
        picture: A frame for the review list; not kept in the journal.
    """

    path: str
    action: str
    reason: str = ""
    output: str = ""
    uid: str = ""
    patient: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    sha256: str = ""
    n_bytes: int = 0
    regions: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    verdict: PixelVerdict | None = None
    picture: Any = None


@dataclass
class Place:
    """Where a process works and with what.

    Args:
        src: Source folder.
        dst: Output folder.
        records: Folder for the quarantine.
        keys: Of the session.
        options: Likewise.
    """

    src: Path
    dst: Path
    records: Path
    keys: Keys
    options: Options

    def __post_init__(self) -> None:
        self.engine = Engine(self.keys, self.options)
        #: How a file is written: whole or not at all.
        self.write: Callable[[Path, bytes], None] = write_bytes


def done(task: Task, place: Place) -> Done:
    """Do one file; whatever is wrong with it costs this file and no other.

    Raises:
        OutputError: The output cannot be written: that ends the session.
    """
    try:
        with_person = _dicom if task.person is not None else _other
        return with_person(task, place)
    except OutputError:
        raise
    except LucencyError as error:
        return Done(task.path, "left out", error.found)
    except MemoryError:
        return Done(task.path, "left out", "It needs more memory than there is")
    except (Exception, RecursionError) as error:
        return Done(task.path, "left out", f"It cannot be processed ({type(error).__name__})")


def _dicom(task: Task, place: Place) -> Done:
    person = task.person
    assert person is not None
    file = place.src / task.path
    dataset = sources.load(file, task.path, pixels=True)
    if dataset is None:
        raise ReadError("No longer DICOM: it was changed while the session ran")
    as_read = dict(dataset._dict)
    with silent():
        face = faces.face_of(dataset)
    looked = "pixels" in place.options.clean
    verdict = (
        _verdict(dataset, file, task.path) if looked else PixelVerdict("keep", reason="Pixels were not looked at.")
    )
    picture = _picture(file, task.path, dataset) if verdict.action != "keep" else None
    # What was parsed to be looked at is written as it was read.
    dataset._dict.update(as_read)
    verdict = _trimmed(dataset, verdict)
    with silent():
        _complete(dataset)
        syntax = _syntax(dataset)
        counts = place.engine.clean(dataset, person)
        dataset.file_meta = place.engine.meta(dataset, syntax)
    _pixels(dataset, verdict, file, task.path, looked=looked)
    with silent():
        content = written(dataset)
    held = verdict.action == "quarantine"
    facts: dict[str, Any] = {
        "uid": str(dataset.SOPInstanceUID),
        "patient": person.pseudonym,
        "counts": dict(counts),
        "sha256": hashlib.sha256(content).hexdigest(),
        "n_bytes": len(content),
        "remarks": (face.statement,) if face.statement else (),
        "verdict": verdict if verdict.action != "keep" else None,
        "picture": picture,
    }
    if held:
        place.write(place.records / QUARANTINE / Path(task.target).name, content)
        return Done(task.path, "quarantined", verdict.reason, "", **facts)
    if task.twin and _same(content, place.dst / task.twin):
        return Done(task.path, "duplicate", "The same object as another file", task.twin, **facts)
    place.write(place.dst / task.target, content)
    return Done(task.path, "written", verdict.reason if verdict.action == "blank" else "", task.target, **facts)


def _verdict(dataset: Dataset, file: Path, where: str) -> PixelVerdict:
    """Return what is to be done with the pixels; those that cannot be decoded wait for a person."""
    if str(dataset.get("SOPClassUID", "")) in VOICES:
        return PixelVerdict("quarantine", reason="A recorded voice: whoever knows it knows the patient.")
    # A document in an object that is an image goes anyway; only objects that are documents have to wait.
    held = {tag: dataset._dict.pop(tag) for tag in (DOCUMENT,) if tag in dataset._dict}
    if not any(tag in dataset._dict for tag in PIXELS):
        held |= {tag: dataset._dict.pop(tag) for tag in (ROWS,) if tag in dataset._dict}
    try:
        return examine(dataset, lambda: _grey(dataset) if _is_plain_grey(dataset) else _stored(file, where))
    except (LucencyError, ValueError, AttributeError, TypeError, KeyError) as error:
        said = error.found if isinstance(error, LucencyError) else "its header does not say how they lie"
        return PixelVerdict("quarantine", reason=f"Its pixels cannot be looked at ({said}).")
    finally:
        dataset._dict.update({BaseTag(tag): element for tag, element in held.items()})


def _trimmed(dataset: Dataset, verdict: PixelVerdict) -> PixelVerdict:
    """Cut what is not the picture from the pixel data; where that fails, the object waits for a person."""
    known = dataset.file_meta.get("TransferSyntaxUID", None)
    if known and not known.is_transfer_syntax:  # written uncompressed, from what the decoder gives
        return verdict
    with silent():
        why = trimmed(dataset)
    return PixelVerdict("quarantine", reason=why) if why and verdict.action == "keep" else verdict


def _is_plain_grey(dataset: Dataset) -> bool:
    """Tell whether the bytes of the pixels are the stored numbers: uncompressed, grey, nothing in spare bits."""
    told = [
        dataset.get(k) for k in ("SamplesPerPixel", "PixelRepresentation", "BitsAllocated", "BitsStored", "HighBit")
    ]
    raw, known = dataset._dict.get(BaseTag(PIXELS[0])), all(isinstance(t, int) for t in told)
    if not known or raw is None or str(dataset.file_meta.get("TransferSyntaxUID", "")) not in {IMPLICIT, EXPLICIT}:
        return False
    samples, signed, allocated, stored, high = told
    shape = [dataset.get("NumberOfFrames", 1), dataset.get("Rows"), dataset.get("Columns")]
    if samples != 1 or signed not in {0, 1} or allocated not in {8, 16} or high != stored - 1:
        return False
    if dataset.get("PhotometricInterpretation") not in {"MONOCHROME1", "MONOCHROME2"}:
        return False
    filled = stored == allocated or (0 < stored < allocated and not signed and not hidden_numbers(dataset))
    if not filled or not all(isinstance(n, int) and n > 0 for n in shape) or not isinstance(raw.value, bytes):
        return False
    n_bytes = math.prod(shape) * allocated // 8
    return bool(len(raw.value) == n_bytes + n_bytes % 2)


def _grey(dataset: Dataset) -> np.ndarray:
    """Return (n, rows, columns, 1) stored numbers of plain grey pixels."""
    shape = (int(dataset.get("NumberOfFrames", 1)), int(dataset.Rows), int(dataset.Columns), 1)
    kind = f"<{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}"
    return np.frombuffer(dataset._dict[BaseTag(PIXELS[0])].value, kind, math.prod(shape)).reshape(shape)


def _stored(file: Path, where: str) -> np.ndarray:
    _, array = next(iter(frames([file], [where])))
    return array


def _picture(file: Path, where: str, dataset: Dataset) -> np.ndarray | None:
    """Return a frame for the review list, at most 640 px wide; None where there is none."""
    if not dataset.get("Rows"):
        return None
    try:
        array = _stored(file, where)
    except (LucencyError, ValueError):
        return None
    frame = array[len(array) // 2]
    step = max(1, max(frame.shape[:2]) // PICTURE)
    frame = frame[::step, ::step]
    return np.ascontiguousarray(frame if frame.shape[-1] == 3 else frame[..., 0])


def _pixels(dataset: Dataset, verdict: PixelVerdict, file: Path, where: str, *, looked: bool) -> None:
    """Do what the verdict on the pixels asks, and say it."""
    # pydicom writes no syntax that it does not know: such pixels are stored uncompressed.
    known = dataset.file_meta.TransferSyntaxUID.is_transfer_syntax
    if verdict.action == "blank" or not known:
        blanked(dataset, verdict.boxes, stored=lambda: _stored(file, where))
    if not looked or "PixelData" not in dataset or verdict.action == "quarantine":
        return
    dataset.BurnedInAnnotation = "NO"
    codes = list(dataset.DeidentificationMethodCodeSequence)
    if not any(item.CodeValue == "113101" for item in codes):
        codes.append(actions.code(CLEAN["pixels"][1], "DCM", CLEAN["pixels"][2]))
    dataset.DeidentificationMethodCodeSequence = Sequence(sorted(codes, key=lambda item: str(item.CodeValue)))


def _complete(dataset: Dataset) -> None:
    """Take class and instance from the file meta information where the dataset lacks them."""
    meta = dataset.file_meta
    for keyword, other in (
        ("SOPClassUID", "MediaStorageSOPClassUID"),
        ("SOPInstanceUID", "MediaStorageSOPInstanceUID"),
    ):
        if not dataset.get(keyword):
            value = meta.get(other)
            if not value:
                raise ReadError("It has no SOP Instance UID", remedy="fetch it again")
            setattr(dataset, keyword, value)
        if not UID.fullmatch(str(dataset[keyword].value)):
            raise ReadError("Its SOP Class or Instance UID is no UID", remedy="fetch it again; it is damaged")


def _syntax(dataset: Dataset) -> str:
    """Return the transfer syntax, that of the encoding where the file says none."""
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", "") or "")
    if syntax.startswith(IMPLICIT) and UID.fullmatch(syntax):
        return syntax
    implicit, little = dataset.original_encoding
    return IMPLICIT if implicit else EXPLICIT if little is not False else "1.2.840.10008.1.2.2"


def _same(content: bytes, other: Path) -> bool:
    try:
        return other.stat().st_size == len(content) and other.read_bytes() == content
    except OSError:
        return False


def _other(task: Task, place: Place) -> Done:
    file = place.src / task.path
    if not file.is_file():
        return Done(task.path, "left out", "In an archive, and not DICOM; it was not copied.")
    folder = task.path.rpartition("/")[0]
    moved = mover(task.moved, folder, task.target)
    found = clean_other(file, place.dst / task.target, place.keys, task.identities, moved)
    action = {"written": "written", "quarantine": "quarantined"}.get(found.action, "left out")
    if found.target is None:
        return Done(task.path, action, found.reason, remarks=found.remarks)
    content = found.target.read_bytes()
    output = found.target.relative_to(place.dst).as_posix()
    facts: dict[str, Any] = {"sha256": hashlib.sha256(content).hexdigest(), "n_bytes": len(content)}
    return Done(task.path, action, found.reason, output, remarks=found.remarks, **facts)

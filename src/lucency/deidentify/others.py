"""Files that are not DICOM: what in them can name a person goes, the image itself stays bit for bit.

Only kinds that are understood to the last byte are written; every other file is left out and listed. A file is never
copied through.
"""

import gzip
import posixpath
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

from lucency.burned_in import Box
from lucency.deidentify import arrays, boxes, headered, manifest, nifti, pictures, tiff
from lucency.deidentify.cleaning import Cleaned, cannot
from lucency.deidentify.keys import Identities, Keys
from lucency.deidentify.vocabulary import described
from lucency.errors import DataError
from lucency.record import write_bytes

#: Larger files are left out: they are held in memory, packed and unpacked.
MAX_BYTES = 8 << 30
#: Names that data sets share the world over; they say nothing of whom the data are.
_KNOWN_NAMES = (
    "dataset.json dataset_description.json participants.tsv participants.json index.csv labels.csv images.csv "
    "train.csv test.csv val.csv valid.csv metadata.csv manifest.csv clinical.csv boxes.csv annotations.csv "
    "data.csv"
)
KNOWN_NAMES = frozenset(_KNOWN_NAMES.split())
#: Folders of data sets, likewise.
KNOWN_FOLDERS = frozenset(
    ["train", "training", "val", "valid", "validation", "test", "testing", "raw", "data", "anat", "func", "dwi", "fmap"]
)
#: Ends of a name that say which part of a case a file is: mask, modality, BIDS suffix.
PART = re.compile(
    r"((?:[_-](?:image|img|mask|masks|seg|segmentation|label|labels|roi|annotation|pred|ct|mr|mri|pt|pet|us|cxr|"
    r"t1|t2|t1w|t2w|t1c|t1ce|t1gd|flair|adc|dwi|bold|pd|pdw|suv))+)$",
    re.IGNORECASE,
)
#: nnU-Net's number of a channel, in its own folders only: elsewhere four digits may be those of a patient.
CHANNEL, CHANNEL_FOLDERS = re.compile(r"_\d{4}$"), re.compile(r"images(Tr|Ts|Val)")
#: An entity of BIDS whose value is a plain number; that of a subject or session is an identifier.
COUNTED = re.compile(r"(?:run|echo|inv|flip|chunk|part|split)-\d{1,3}$")
#: Suffixes that belong together.
DOUBLE = (".nii.gz", ".csv.gz", ".tsv.gz")


@dataclass(frozen=True)
class OtherOutcome:
    """What became of one file.

    Args:
        action: "written"; "left out": of a kind that is not understood, or damaged; "quarantine": a person must look.
        kind: "NIfTI", "PNG" … or "unknown".
        target: The file that was written, or None.
        reason: A sentence without any value of the file.
        removed: Names of the fields that went or were replaced; only names that the format defines.
        remarks: What the user should know: what was not removed.
        boxes: Text found in a picture, px.
    """

    action: str
    kind: str
    target: Path | None = None
    reason: str = ""
    removed: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()


Cleaner = Callable[[bytes], Cleaned]


def clean_other(
    file: Path,
    target_folder: Path,
    keys: Keys,
    identities: Identities,
    moved: Callable[[str], str | None] = lambda _: None,
) -> OtherOutcome:
    """Write a file without what identifies, under a name that does not come from the source.

    Args:
        file: Of any kind but DICOM.
        target_folder: Where to write; one folder of the output for each of the source, or names could meet.
        keys: For names, pseudonyms, UIDs and shifts.
        identities: Known strings of the patients, searched for in what stays.
        moved: From a path in a table to the new place of a DICOM file, if it is one; see :func:`mover`.

    Returns:
        What became of it. The same file, key and identities give the same bytes and the same name.

    Raises:
        OutputError: The folder cannot be written.
    """
    kind, _ = _kind(file.name)
    cleaner = _cleaners(keys, identities, moved).get(kind)
    if cleaner is None:
        return OtherOutcome("left out", "unknown", reason="This kind of file is not known; it was not copied.")
    try:
        if file.stat().st_size > MAX_BYTES:
            raise cannot("more than 8 GiB", "clean it by itself, in parts")
        cleaned = cleaner(file.read_bytes())
    except DataError as error:
        return OtherOutcome("left out", kind, reason=f"{error.found}; it was not copied.")
    except Exception:  # a damaged file may raise anything, and costs itself only
        return OtherOutcome("left out", kind, reason="It is damaged and cannot be read; it was not copied.")
    if cleaned.text:
        reason = f"{len(cleaned.text)} region(s) of its pixels look like text; it was not copied."
        return OtherOutcome("quarantine", kind, reason=reason, removed=cleaned.removed, boxes=cleaned.text)
    target = target_folder / new_name(file.name, keys, folder=file.parent.name)
    write_bytes(target, cleaned.content)
    return OtherOutcome("written", kind, target, "", cleaned.removed, cleaned.remarks)


def new_name(name: str, keys: Keys, *, folder: str = "") -> str:
    """Return the name of a file in the output: the same stem gives the same name, parts of a case stay together.

    The stem is replaced as a Patient ID would be, so that a table's column of cases or patients still names its files.

    Args:
        name: Of the source, without folders.
        keys: For the pseudonyms.
        folder: The one it lies in; nnU-Net's folders have numbers of channels in their names.

    Example:
        >>> keys = Keys(bytes(32))
        >>> new_name("smith_mask.nii.gz", keys) == keys.patient("", "smith") + "_mask.nii.gz"
        True
    """
    if name.lower() in KNOWN_NAMES:
        return name.lower()
    suffix = _kind(name)[1]
    return new_stem(name[: len(name) - len(suffix)], keys, folder=folder) + suffix.lower()


def new_stem(stem: str, keys: Keys, *, folder: str = "") -> str:
    """Return what stands for a name without its suffix; see :func:`new_name`.

    Args:
        stem: Name of a file without its suffix, or the number of a case or an examination.
        keys: For the pseudonyms.
        folder: See :func:`new_name`.
    """
    if re.match(r"sub-[^_]+(_|$)", stem):
        return "_".join(_entity(part, keys) for part in stem.split("_"))
    part = (CHANNEL.search(stem) if CHANNEL_FOLDERS.fullmatch(folder) else None) or PART.search(stem)
    core, end = (stem[: part.start()], part[0].lower()) if part and part.start() else (stem, "")
    return keys.patient("", core) + end


def new_folder(name: str, keys: Keys, identities: Identities) -> str:
    """Return the name of a folder in the output: itself where every word is known to be harmless, else a pseudonym.

    Args:
        name: One folder of the source's path.
        keys: For the pseudonym.
        identities: Known strings of the patients.
    """
    plain = re.sub(r"[_\-]+", " ", name)
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain)
    if re.fullmatch(r"(images|labels|masks)(Tr|Ts|Val)?", name) or name.lower() in KNOWN_FOLDERS:
        return name
    if re.fullmatch(r"(sub|ses)-\w+", name):
        return _entity(name, keys)
    words = plain.split()
    if words and described(plain).split() == words and not identities.found_in(plain) and not re.search(r"\d{3}", name):
        return name
    return "D" + keys.token("folder\0" + name, 10)


def new_path(path: str, keys: Keys, identities: Identities) -> str:
    """Return where a file named in a table or list lies in the output.

    Args:
        path: With / or \\ between folders; an absolute one is cut to the last folder and the name.
        keys: For the pseudonyms.
        identities: Known strings of the patients.
    """
    windows = "\\" in path or re.match(r"[A-Za-z]:", path)
    pure = PureWindowsPath(path) if windows else PurePosixPath(path)
    parts = [p for p in pure.parts if p not in (pure.anchor, ".", "..", "/", "\\")]
    if pure.is_absolute() or (windows and pure.drive):
        parts = parts[-2:]
    last = [new_name(p, keys, folder=parts[-2] if len(parts) > 1 else "") for p in parts[-1:]]
    return "/".join([*(new_folder(p, keys, identities) for p in parts[:-1]), *last])


def _entity(part: str, keys: Keys) -> str:
    """Return one part of a BIDS name: numbers of runs and the suffix stay, everything else is replaced."""
    key, dash, _value = part.partition("-")
    if not dash:
        return part if PART.fullmatch("_" + part) else "x" + keys.token("bids\0" + part, 6)
    if key == "sub":
        return "sub-" + keys.patient("", part)
    if COUNTED.match(part):
        return part
    return f"{key if described(key) or key in ('ses', 'task', 'acq', 'dir', 'space') else 'x'}-{keys.token(part, 6)}"


def _kind(name: str) -> tuple[str, str]:
    """Return the kind of a file by its name, and its suffix as it stands there."""
    low = name.lower()
    for suffix in DOUBLE:
        if low.endswith(suffix):
            return _KINDS.get(suffix, "unknown"), name[-len(suffix) :]
    end = re.search(r"\.[A-Za-z0-9]{1,8}$", name)
    return (_KINDS.get(end[0].lower(), "unknown"), end[0]) if end else ("unknown", "")


_KINDS: Mapping[str, str] = {
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI, packed",
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".nrrd": "NRRD",
    ".mha": "MetaImage",
    ".npy": "array",
    ".npz": "arrays",
    ".csv": "table",
    ".tsv": "table",
    ".csv.gz": "table, packed",
    ".tsv.gz": "table, packed",
    ".json": "JSON",
    ".txt": "boxes",
}


def mover(moved: Mapping[str, str], folder: str, new: str) -> Callable[[str], str | None]:
    """Return what finds the new place of a DICOM file that a table names.

    Args:
        moved: Path in the source to path in the output of every DICOM file.
        folder: Of the table, relative to the source.
        new: Of the table, relative to the output.

    Returns:
        From a path, as it stands in the table, to the one that leads from the table's new folder to the file; None for
        what is no DICOM file. Paths may begin at the table, at the source or anywhere above; then the end decides, if
        one file alone has it.

    Example:
        >>> mover({"a/1.dcm": "P1/x.dcm"}, "a", "D2")("1.dcm")
        '../P1/x.dcm'
    """
    ends: dict[str, set[str]] = {}
    for old in moved:
        ends.setdefault(old.rsplit("/", 1)[-1], set()).add(old)

    def found(path: str) -> str | None:
        plain = posixpath.normpath(path.strip().replace("\\", "/"))
        beside = posixpath.normpath(posixpath.join(folder, plain))
        same = ends.get(plain.rsplit("/", 1)[-1], set())
        like = [o for o in same if o.endswith("/" + plain) or plain.endswith("/" + o)]
        exact = [p for p in (beside, plain) if p in moved]
        if exact or len(like) == 1:
            return posixpath.relpath(moved[(exact or like)[0]], new or ".")
        return None

    return found


def _cleaners(keys: Keys, identities: Identities, moved: Callable[[str], str | None]) -> Mapping[str, Cleaner]:
    """Return what cleans each kind."""

    def place(path: str) -> str:
        return moved(path) or new_path(path, keys, identities)

    rules = manifest.Rules(keys, identities, place, partial(new_stem, keys=keys))
    table = partial(manifest.table, rules=rules)
    return {
        "NIfTI": nifti.cleaned,
        "NIfTI, packed": _packed(nifti.cleaned),
        "PNG": partial(pictures.png, identities=identities),
        "JPEG": partial(pictures.jpeg, identities=identities),
        "TIFF": partial(tiff.cleaned, identities=identities),
        "NRRD": headered.nrrd,
        "MetaImage": headered.metaimage,
        "array": arrays.npy,
        "arrays": partial(arrays.npz, keys=keys, identities=identities),
        "table": table,
        "table, packed": _packed(table),
        "boxes": boxes.yolo,
        "JSON": partial(manifest.sidecar, rules=rules),
    }


def _packed(inner: Cleaner) -> Cleaner:
    """Return a cleaner of gzip files: the name and time in their header go too (RFC 1952, 2.3)."""

    def cleaner(content: bytes) -> Cleaned:
        unpacker = zlib.decompressobj(31)
        plain = unpacker.decompress(content, MAX_BYTES)
        if unpacker.unconsumed_tail:
            raise cannot("more than 8 GiB when unpacked", "unpack it and clean it in parts")
        while unpacker.eof and unpacker.unused_data.startswith(b"\x1f\x8b"):
            # A gzip file may be several, one after the other; nibabel and pigz write such files.
            rest, unpacker = unpacker.unused_data, zlib.decompressobj(31)
            plain += unpacker.decompress(rest, MAX_BYTES - len(plain))
            if unpacker.unconsumed_tail:
                raise cannot("more than 8 GiB when unpacked", "unpack it and clean it in parts")
        if not unpacker.eof:
            raise cannot("A truncated gzip file", "fetch it again")
        done = inner(plain)
        # Level 1: half the time of the usual level for a few per cent more bytes in images.
        return Cleaned(gzip.compress(done.content, 1, mtime=0), (*done.removed, "gzip header"), done.remarks, done.text)

    return cleaner

"""The header pass over a DICOM tree: every file once, without pixels, in parallel, kept in SQLite between runs.

What leaves this module names nobody: the Patient ID and every UID of an instance, series, study or frame of reference
are salted digests, in memory and in the cache. UIDs of classes and transfer syntaxes stay, for they are the standard's.
"""

import io
import json
import os
import queue
import re
import subprocess
import sys
import threading
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache as kept
from pathlib import Path
from typing import IO, Any, BinaryIO

from lucency.case import pseudonym
from lucency.errors import LucencyError, ReadError
from lucency.read import archive, codes, damage, dicom_sr, directory, files, rtstruct
from lucency.read.attributes import TAGS
from lucency.read.cache import Cache, Key, Row
from lucency.read.formats import reason
from lucency.read.head import Head, head_of, silent
from lucency.read.workers import cores

#: Fewer files are read here: a further process takes about half a second to start, as long as 400 headers.
ALONE = 800

#: Paths handed to a process at a time.
CHUNK = 100

#: Seconds that one header may take, and a handful of them; a thousandth is usual. What takes longer is a drive that
#: does not answer, or a file made to do harm.
FILE_S, CHUNK_S = 30.0, 60.0
#: Seconds that a process has to end once nobody asks it any more.
LAST_S = 10.0
TOO_LONG = "Reading its header took too long and was stopped. What to do: check the drive, or fetch the file again."

#: Rows written to the cache at a time.
KEPT_AT_ONCE = 5000

#: Largest single value in front of the pixels; a functional group of ten thousand frames has some 20 MB.
MAX_VALUE = 256 << 20

#: A deflated object is unpacked this far: its header must end there (a bomb of 1 MB becomes 1 GB).
MAX_INFLATED = 256 << 20

#: Deflated Explicit VR Little Endian, and the syntax of what is inside (PS3.5, A.5).
DEFLATED, INFLATED = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"

#: The root of all UIDs that the standard itself defines (PS3.6, annex A); they name nobody.
STANDARD = "1.2.840.10008."
#: A UID (PS3.5, 9.1) of at least four components; version numbers of software have fewer.
UID = re.compile(r"[0-2](\.(0|[1-9]\d*)){3,}")
#: Kept as they are, whoever defined them.
CLASSES = ("ClassUID", "SyntaxUID")

#: What this module takes from a file beyond what :func:`lucency.read.head.head_of` does.
ADDED = (
    "DirectoryRecordSequence",
    "ContentSequence",
    "ROIContourSequence",
    *(f"{what}{when}" for what in ("Content", "StructureSet", "Series") for when in ("Date", "Time")),
)

#: Names of files that should be DICOM.
SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True)
class Heads:
    """What the header pass found.

    Args:
        found: Path to head, for every DICOM file.
        broken: Path to a sentence, for every file that should be DICOM and cannot be read.
        others: Files without a DICOM suffix that are not DICOM.
        notes: What happened to the cache, for the report.
        n_read: Files whose headers were read now and not taken from the cache.
    """

    found: dict[str, Head]
    broken: dict[str, str]
    others: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    n_read: int = 0


def heads(root: Path, paths: Sequence[str], *, salt: bytes = b"", cache: Path | None = None) -> Heads:
    """Return the heads of all DICOM files among ``paths``, from the cache where size and time are unchanged.

    Args:
        root: Data folder.
        paths: Files relative to it, virtual paths into zip archives included. A file without a DICOM suffix counts
            only if its bytes look like DICOM.
        salt: Secret of the run, for the pseudonyms.
        cache: SQLite file to keep the heads in; None keeps none. It is made anew where it is damaged or was made with
            another salt or by another version.

    Returns:
        The heads, and what cannot be read.
    """
    store = Cache(cache, root, salt)
    known = store.rows()
    keys, gone = _keys(root, paths)
    wanted = [p for p, k in keys.items() if p not in known or known[p].key != k]
    fresh: dict[str, Row] = {}
    waiting: dict[str, Row] = {}
    for path, kind, text in _read_all(root, wanted, salt):
        fresh[path] = Row(keys[path], kind, text)
        if kind != "failed":
            waiting[path] = fresh[path]
        if len(waiting) >= KEPT_AT_ONCE:
            # A pass over a large archive that is interrupted goes on where it was.
            store.keep(waiting)
            waiting = {}
    store.keep(waiting)
    store.close()
    rows = {p: fresh.get(p) or known[p] for p in keys}
    found = dict(zip((p for p, r in rows.items() if r.kind == "head"), _parsed(rows.values()), strict=True))
    broken = {p: r.text for p, r in rows.items() if r.kind in ("broken", "failed")} | gone
    others = frozenset(p for p, r in rows.items() if r.kind == "other")
    return Heads(found, broken, others, tuple(store.notes), len(wanted))


def digests(root: Path, paths: Sequence[str], *, salt: bytes = b"", cache: Path | None = None) -> dict[str, str]:
    """Return path to SHA-256 of the file's bytes, from the cache where size and time are unchanged.

    Args:
        root: Data folder.
        paths: Files relative to it that :func:`heads` has been through; unreadable ones are absent from the result.
        salt: As in :func:`heads`.
        cache: As in :func:`heads`; None gives an empty result, since nothing is gained.
    """
    if cache is None:
        return {}
    store = Cache(cache, root, salt)
    known = store.digests()
    keys, _ = _keys(root, paths)
    wanted = [p for p, k in keys.items() if p not in known or known[p][0] != k]

    def attempt(path: str) -> str:
        try:
            return files.digest_of([root / path])
        except (OSError, LucencyError):
            return ""

    with ThreadPoolExecutor(4) as pool:
        fresh = {p: (keys[p], d) for p, d in zip(wanted, pool.map(attempt, wanted), strict=True) if d}
    store.keep_digests(fresh)
    store.close()
    return {p: (fresh.get(p) or known[p])[1] for p in keys if p in fresh or (p in known and p not in wanted)}


def read_head(file: Path, where: str, salt: bytes) -> Head | None:
    """Return the head of one file with its identifiers replaced, or None when it is not DICOM at all.

    Args:
        file: Real or virtual path.
        where: The same, relative to the data folder, for errors.
        salt: For the pseudonyms.

    Raises:
        ReadError: A file that should be DICOM and cannot be read.
    """
    size, _ = archive.stat_of(file)
    if size == 0:
        if where.lower().endswith(SUFFIXES):
            raise ReadError("The file is empty (0 bytes)", where=where, remedy="fetch or export it again")
        return None
    with archive.opened(file) as raw:
        start = raw.read(1024)
        possible, sure = may_be_dicom(start, where)
        if not possible:
            return None
        raw.seek(0)
        try:
            with silent():
                dataset = dataset_of(raw, start)
                head = head_of(dataset)
                head |= _added(dataset, head["SOPClassUID"])
        except LucencyError as error:
            raise ReadError(error.found, expected=error.expected, where=where, remedy=error.remedy) from None
        except Exception as error:
            if not sure:
                return None
            raise _not_readable(file, where, start, type(error).__name__) from None
    if not head.get("SOPClassUID"):
        if not sure:
            return None
        raise _not_readable(file, where, start, "no SOP Class")
    disguised: Head = _disguised(head, salt)
    return disguised


def _not_readable(file: Path, where: str, start: bytes, why: str) -> ReadError:
    """Return the refusal of a file that should be DICOM: by what is wrong with it, where that can be told."""
    found = damage.not_dicom(start) or damage.told(file) or f"Not readable as DICOM ({why})"
    # A text under a DICOM name is mostly what a server answered instead of the image.
    other = found.startswith("Not DICOM but") and not found.endswith("a text")
    remedy = "give it the name of its format, or take it out of the folder" if other else "fetch or export it again"
    return ReadError(found, where=where, remedy=remedy)


def dataset_of(raw: BinaryIO, start: bytes) -> Any:
    """Return the dataset of an open file without its pixels.

    Args:
        raw: At its beginning.
        start: Its first 1024 bytes.

    Raises:
        ReadError: A value too large to be believed, or a deflated object that grows too much.
        Exception: Whatever pydicom raises on damaged files.
    """
    import pydicom  # noqa: PLC0415 - slow to import

    deflated = start[128:132] == b"DICM" and DEFLATED in start
    source: IO[bytes] = io.BytesIO(_inflated(raw.read())) if deflated else raw
    data = pydicom.dcmread(_Measured(source), stop_before_pixels=True, force=True, specific_tags=_tags())
    if deflated:
        data.file_meta.TransferSyntaxUID = DEFLATED.decode()
    return data


@kept
def _tags() -> list[Any]:
    """Return what is taken from a file, as tags: pydicom turns keywords into them anew for every file."""
    from pydicom.tag import Tag  # noqa: PLC0415 - slow to import

    return [Tag(t) for t in (*TAGS, *ADDED)]


def _added(dataset: Any, sop_class: str) -> Head:
    """Return what the heads of discs' directories and of objects drawn on images hold beyond other heads.

    ``Files`` of a DICOMDIR; of label objects ``LabelTime`` (sorts by date), ``PlaceUIDs`` (frames of reference), and
    ``Regions`` of a structure set or ``Groups`` of a report.
    """
    if sop_class == directory.DIRECTORY:
        return {"Files": directory.files_named(dataset)}
    reader = codes.READERS.get(sop_class)
    if reader is None:
        return {}
    places = [dataset.get("FrameOfReferenceUID")]
    places += [f.get("FrameOfReferenceUID") for f in dataset.get("ReferencedFrameOfReferenceSequence") or ()]
    added: Head = {"PlaceUIDs": sorted({str(p) for p in places if p})}
    for what in ("StructureSet", "Content", "Series"):
        if dataset.get(f"{what}Date"):
            added["LabelTime"] = f"{dataset.get(f'{what}Date')}{dataset.get(f'{what}Time') or ''}"
            break
    if reader == "rtstruct":
        added["Regions"] = rtstruct.regions_of(dataset)
    elif reader == "dicom_sr":
        added["Groups"] = dicom_sr.groups_of(dataset)
    return added


def may_be_dicom(start: bytes, where: str) -> tuple[bool, bool]:
    """Tell by its beginning and its name whether a file can be DICOM, and whether it should be.

    Args:
        start: At least the first 132 bytes, or all there are.
        where: Its path.
    """
    sure = where.lower().endswith(SUFFIXES) or start[128:132] == b"DICM"
    return sure or looks_headerless(start), sure


def looks_headerless(start: bytes) -> bool:
    """Tell whether bytes begin like a dataset without preamble: a low tag of group 2 or 8 with a credible length.

    Args:
        start: The first bytes of a file.

    Source:
        DICOM PS3.5, 7.1.2 and 7.1.3: explicit elements have two letters after the tag, implicit ones 4 bytes of length.
    """
    if len(start) < 16 or start[:2] not in (b"\2\0", b"\x08\0", b"\0\x08") or len(set(start[:16])) < 3:
        return False
    if start[4:6] in damage.VRS:
        return True
    # Implicit VR is always little endian.
    length = int.from_bytes(start[4:8], "little")
    return start[:2] == b"\x08\0" and start[3] == 0 and length < 1024 and length % 2 == 0


class _Measured(io.BufferedReader):
    """A file that refuses to hand out one value of unbelievable size."""

    #: pydicom asks for it.
    name = ""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)  # type: ignore[arg-type]

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_VALUE:
            raise ReadError(
                f"One value of {size >> 20} MiB in front of the pixels",
                expected=f"at most {MAX_VALUE >> 20} MiB",
                remedy="fetch or export it again",
            )
        return super().read(size)


def _inflated(content: bytes) -> bytes:
    """Return a deflated file unpacked, as far as a header may go.

    Source:
        DICOM PS3.5, A.5; PS3.10, 7.1: the file meta group is not deflated, and (0002,0000) gives its length.
    """
    end = 144 + int.from_bytes(content[140:144], "little")
    packed = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = packed.decompress(content[end:], MAX_INFLATED)
    if packed.unconsumed_tail:
        raise ReadError(
            f"The deflated object grows over {MAX_INFLATED >> 20} MiB",
            expected="an image",
            remedy="store it uncompressed if you trust it",
        )
    return content[:end].replace(DEFLATED, INFLATED, 1) + plain


def _disguised(value: Any, salt: bytes, key: str = "") -> Any:
    """Return a head's value with every identifier in it replaced by its pseudonym."""
    if isinstance(value, dict):
        return {k: _disguised(v, salt, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_disguised(v, salt, key) for v in value]
    if not isinstance(value, str) or not value:
        return value
    if key == "PatientID":
        return pseudonym(salt, value.strip()) if value.strip() else ""
    if value.startswith(STANDARD) or key.endswith(CLASSES):
        return value
    return pseudonym(salt, value) if "UID" in key or UID.fullmatch(value) else value


def _keys(root: Path, paths: Iterable[str]) -> tuple[dict[str, Key], dict[str, str]]:
    """Return (size, mark of change) of every file that is there, and those that cannot be reached with the reason."""
    keys: dict[str, Key] = {}
    gone: dict[str, str] = {}
    for path in paths:
        try:
            if archive.SUFFIX in path.lower():
                keys[path] = archive.stat_of(root / path)
            else:
                # Of a hundred thousand paths, making the objects takes longer than asking the disk.
                facts = os.stat(f"{root}/{path}")
                keys[path] = facts.st_size, facts.st_mtime_ns
        except FileNotFoundError:
            gone[path] = "The file is not there. What to do: restore it, or read the data anew."
        except OSError as error:
            gone[path] = f"The file cannot be opened ({type(error).__name__})."
        except LucencyError as error:
            gone[path] = reason(error)
    return keys, gone


def _read_all(root: Path, paths: Sequence[str], salt: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield (path, kind, text) of every file, read in further processes where that pays."""
    n_processes = min(cores(), len(paths) // ALONE)
    if n_processes < 2 or not sys.executable:
        yield from _read_here(root, paths, salt)
        return
    chunks = [paths[n : n + CHUNK] for n in range(0, len(paths), CHUNK)]
    with ThreadPoolExecutor(n_processes) as pool:
        workers = _Workers(root, salt)
        try:
            for answers in pool.map(workers.read, chunks):
                yield from answers
        finally:
            workers.close()


def _read_here(root: Path, paths: Sequence[str], salt: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield the same, read in a thread: one that hangs is left behind, and costs the file that it hangs at."""
    waiting = deque(paths)
    while waiting:
        answers: queue.SimpleQueue[tuple[str, str, str] | BaseException] = queue.SimpleQueue()
        left_behind = threading.Event()
        work = (root, list(waiting), salt, answers, left_behind)
        threading.Thread(target=_answer, args=work, name="lucency-headers", daemon=True).start()
        try:
            while waiting:
                answer = answers.get(timeout=FILE_S)
                if isinstance(answer, BaseException):
                    raise answer
                waiting.popleft()
                yield answer
        except queue.Empty:
            yield waiting.popleft(), "failed", TOO_LONG
        finally:
            left_behind.set()


def _answer(
    root: Path,
    paths: Sequence[str],
    salt: bytes,
    answers: "queue.SimpleQueue[tuple[str, str, str] | BaseException]",
    left_behind: threading.Event,
) -> None:
    """Read headers one after the other until nobody listens any more."""
    try:
        for path in paths:
            if left_behind.is_set():
                return
            answers.put(_attempt(root, path, salt))
    except BaseException as error:  # it is raised where the answers are read
        answers.put(error)


def _attempt(root: Path, path: str, salt: bytes) -> tuple[str, str, str]:
    """Return (path, kind, JSON of the head or the reason); "failed" is tried again the next time."""
    try:
        head = read_head(root / path, path, salt)
    except LucencyError as error:
        return path, "broken", reason(error)
    except (OSError, MemoryError) as error:
        return path, "failed", f"The file cannot be read ({type(error).__name__})."
    return (path, "other", "") if head is None else (path, "head", json.dumps(head, separators=(",", ":")))


class _Workers:
    """Further Python processes that read headers, one for each thread that asks.

    They are programs of their own and not forks or spawned copies of the main module, so that a user's script needs no
    guard and no state is shared.
    """

    PROGRAM = "import json,sys; sys.path[:]=json.loads(sys.argv[1]); from lucency.read.headers import serve; serve()"

    def __init__(self, root: Path, salt: bytes) -> None:
        self._root, self._salt = root, salt
        self._mine = threading.local()
        self._all: list[subprocess.Popen[bytes]] = []

    def read(self, paths: Sequence[str]) -> list[tuple[str, str, str]]:
        """Return what one process says of the files; where it dies, each is read alone, and what kills is named."""
        answers = self._ask(paths)
        if isinstance(answers, list):
            return answers
        if len(paths) == 1:
            return [(paths[0], "failed", answers)]
        return [answer for p in paths for answer in self.read([p])]

    def _ask(self, paths: Sequence[str]) -> list[tuple[str, str, str]] | str:
        """Return the answers of this thread's process, or why there are none; then the next one gets a new process."""
        process = getattr(self._mine, "process", None)
        if process is None or process.poll() is not None:
            process = subprocess.Popen(  # noqa: S603 - this Python, a program of ours
                [sys.executable, "-c", self.PROGRAM, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._mine.process = process
            self._all.append(process)
        question = {"root": str(self._root), "salt": self._salt.hex(), "paths": list(paths)}
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        # What waits for a drive that does not answer cannot always be ended: it is left behind.
        exchange = threading.Thread(target=_exchanged, args=(process, question, lines), daemon=True)
        exchange.start()
        try:
            line = lines.get(timeout=FILE_S if len(paths) == 1 else CHUNK_S)
            return [(a, b, c) for a, b, c in json.loads(line)]
        except queue.Empty:
            why = TOO_LONG
        except (OSError, ValueError):
            why = "Reading its header ended the process. What to do: fetch the file again."
        process.kill()
        self._mine.process = None
        return why

    def close(self) -> None:
        """Let every process end."""
        for process in self._all:
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()
            try:
                process.wait(LAST_S)
            except subprocess.TimeoutExpired:
                continue  # it hangs in the system, which ends it when the drive answers
            if process.stdout is not None:
                process.stdout.close()


def _exchanged(
    process: "subprocess.Popen[bytes]", question: Mapping[str, Any], lines: "queue.SimpleQueue[bytes]"
) -> None:
    """Hand a question to a process and its answer to whoever waits; nothing where the process has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(question).encode() + b"\n")
        process.stdin.flush()
        lines.put(process.stdout.readline())
    except (OSError, ValueError):
        lines.put(b"")


def serve() -> None:
    """Answer questions on standard input with headers on standard output, one JSON line each, until it closes."""
    import pydicom.config  # noqa: PLC0415 - slow to import

    # This process does nothing else: values are checked where they are used, not by pydicom.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        salt = bytes.fromhex(asked["salt"])
        answers = [_attempt(Path(asked["root"]), path, salt) for path in asked["paths"]]
        sys.stdout.buffer.write(json.dumps(answers).encode() + b"\n")
        sys.stdout.buffer.flush()


def _parsed(rows: Iterable[Row]) -> Iterator[Head]:
    """Yield the heads of rows; many at once, for then Python keeps one copy of the keywords for all of them."""
    texts = [r.text for r in rows if r.kind == "head"]
    for n in range(0, len(texts), 2000):
        many: list[Head] = json.loads(f"[{','.join(texts[n : n + 2000])}]")
        yield from many

"""The session: survey the source, clean file by file, write the records, look through the output once more."""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from lucency import __version__, record
from lucency.deidentify import audit, pseudonyms, rescan, sources, work
from lucency.deidentify.dates import Shift
from lucency.deidentify.engine import Person
from lucency.deidentify.keys import Identities, Keys
from lucency.deidentify.others import new_folder
from lucency.deidentify.report import Report
from lucency.deidentify.review import ReviewItem, write_review
from lucency.deidentify.sources import Source
from lucency.deidentify.table import EDITION, Options
from lucency.deidentify.work import Done, Place, Task
from lucency.errors import OutputError, UsageError
from lucency.events import Events

JOURNAL, SESSION, AUDIT, LEFT_OUT, REPORT = (
    "journal.jsonl",
    "session.json",
    "audit.jsonl",
    "left-out.csv",
    "report.json",
)
#: Files handed to a process at a time.
CHUNK = 20
#: Fewer files are done here: a further process takes about a second to start.
ALONE = 150


@dataclass(frozen=True)
class Places:
    """Every path of a session.

    Args:
        src: Source folder or file.
        dst: Output folder: holds clean files and nothing else.
        key: Key file.
        records: Journal, audit log, report, quarantine; stays where the originals are kept.
        map: Encrypted map of pseudonyms.
        head: Signed end of the audit log, beside the key.
    """

    src: Path
    dst: Path
    key: Path
    records: Path
    map: Path
    head: Path


@dataclass
class _Survey:
    """What is known before the first file is cleaned."""

    found: list[Source]
    people: dict[tuple[str, str], Person] = field(default_factory=dict)
    twins: dict[str, str] = field(default_factory=dict)
    uids: set[str] = field(default_factory=set)


def places(src: Path, dst: Path, key: Path, records: Path | None = None, map_: Path | None = None) -> Places:
    """Settle where a session reads and writes.

    Raises:
        UsageError: Source and output are the same or one lies in the other, or a secret would lie in the output.
    """
    src, dst, key = (p.expanduser().resolve() for p in (src, dst, key))
    records = (records or dst.with_name(dst.name + "-records")).expanduser().resolve()
    map_ = (map_ or key.with_name(key.name + ".map")).expanduser().resolve()
    if not src.exists():
        raise UsageError("No such file or folder", where=src.name, remedy="check the path")
    if src == dst or src in dst.parents or dst in src.parents:
        raise UsageError(
            "Source and output are the same, or one lies in the other",
            expected="two folders apart",
            where=dst.name,
            remedy="choose an output folder outside the source",
        )
    for path, what in ((key, "The key"), (map_, "The map"), (records, "The folder of records")):
        if dst == path or dst in path.parents:
            raise UsageError(
                f"{what} would lie in the output",
                expected="a place apart: whoever has it can turn pseudonyms back",
                where=path.name,
                remedy="choose another place",
            )
        if src.is_dir() and (src == path or src in path.parents):
            raise UsageError(f"{what} lies in the source", where=path.name, remedy="choose another place")
    head = key.with_name(f"{key.name}.{hashlib.sha256(str(records).encode()).hexdigest()[:8]}.audit")
    return Places(src, dst, key, records, map_, head)


def keys_for(where: Places) -> tuple[Keys, bool]:
    """Return the keys of a session and whether they were made now.

    A key is made only for an output that does not exist yet: another key in the place of a lost one would break
    every link to what was written before.

    Raises:
        UsageError: The key is missing and there is output already, or it is not the one of this output.
    """
    known = where.records / SESSION
    before = record.read_object(known) if known.exists() else {}
    used = where.dst.is_dir() and any(where.dst.iterdir())
    if where.key.exists():
        keys = Keys.load(where.key)
        if before and before.get("key") != keys.name:
            raise UsageError(
                "This output was made with another key", where=where.key.name, remedy="use that key, or a new folder"
            )
        if used and not before:
            raise UsageError(
                "The output folder holds files that are not from this program's session",
                where=where.dst.name,
                remedy="choose a new folder",
            )
        return keys, False
    if before or used:
        raise UsageError(
            "The key file is missing, and the output was made with one",
            where=where.key.name,
            remedy="restore the key from its backup; a new key would give the same patients other pseudonyms",
        )
    return Keys.create(where.key), True


def run(where: Places, options: Options, events: Events, n_workers: int = 1) -> Report:
    """Walk through a session from survey to verdict.

    Args:
        where: Its paths.
        options: What is kept and cleaned.
        events: Progress.
        n_workers: Processes to clean with.

    Returns:
        What was done, and whether anything was left.

    Raises:
        UsageError: Paths, key or options do not fit what was written before.
        OutputError: The output cannot be written.
    """
    keys, made = keys_for(where)
    _begin(where, keys, options)
    root = where.src if where.src.is_dir() else where.src.parent
    place = Place(root, where.dst, where.records, keys, options)
    with _Workers(place, n_workers) as workers:
        survey = _surveyed(where, keys, options, workers, events)
        done = _cleaned(where, survey, place, workers, events)
        _written_down(where, survey, done, keys)
        events.emit("deidentify", "rescan", n=len(done))
        known = rescan.Known(
            {p.pseudonym: p.identities for p in survey.people.values()},
            frozenset() if "uids" in options.keep else frozenset(survey.uids),
            Identities.union(p.identities for p in survey.people.values()),
        )
        findings = workers.rescanned(sorted({d.output for d in done if d.output}), known)
    findings += _altered(done, where.dst)
    findings += rescan.strangers(where.dst, {d.output for d in done})
    report = Report.of(done, findings, options, key=keys.name, made=made, places=where)
    counted = Counter(d.action for d in done)
    audit.append(
        where.records / AUDIT,
        where.head,
        keys,
        [
            *({"event": "object", "action": d.action, "uid": d.uid, "sha256": d.sha256, **d.counts} for d in done),
            {"event": "session", "lucency": __version__, "table": EDITION, "counts": counted, "left": len(findings)},
        ],
    )
    record.write(where.records / REPORT, report)
    events.emit("deidentify", "end", **counted)
    return report


def _begin(where: Places, keys: Keys, options: Options) -> None:
    """Make the folders, and refuse to go on with other options than those that the output was made with."""
    told = {"key": keys.name, "options": record.to_json(options), "table": EDITION, "lucency": __version__}
    known = where.records / SESSION
    if known.exists():
        before = record.read_object(known)
        if before.get("options") != told["options"]:
            raise UsageError(
                "This output was made with other options", where=where.dst.name, remedy="choose a new folder"
            )
    try:
        where.dst.mkdir(parents=True, exist_ok=True)
        where.records.mkdir(parents=True, exist_ok=True)
        os.chmod(where.records, 0o700)
    except OSError as error:
        raise OutputError(f"Cannot write ({error.strerror})", where=where.dst.name, remedy="choose another") from error
    record.write(known, told)
    for torn in (*where.dst.rglob(".writing-*"), *where.records.rglob(".writing-*")):
        torn.unlink(missing_ok=True)


def _surveyed(where: Places, keys: Keys, options: Options, workers: "_Workers", events: Events) -> _Survey:
    paths = list(sources.listed(where.src)) if where.src.is_dir() else [where.src.name]
    if not paths:
        raise UsageError("No files", where=where.src.name, remedy="check the path")
    events.emit("deidentify", "survey", n=len(paths))
    survey = _Survey(list(workers.surveyed(paths)))
    known: dict[tuple[str, str], Identities] = defaultdict(Identities)
    for source in survey.found:
        if source.kind == "dicom":
            known[_patient(source, options)] |= source.identities
            survey.uids |= source.uids
    for patient, identities in known.items():
        pseudonym = keys.patient(*patient)
        shift = Shift(keys.shift_days(pseudonym), keys.shift_minutes(pseudonym))
        survey.people[patient] = Person(pseudonym, shift, identities, patient[1])
    first: dict[str, str] = {}
    for source in survey.found:
        if source.kind == "dicom" and source.uid:
            if source.uid in first:
                survey.twins[source.path] = first[source.uid]
            first.setdefault(source.uid, source.path)
    return survey


def _patient(source: Source, options: Options) -> tuple[str, str]:
    return source.patient if options.issuer else ("", source.patient[1])


def _tasks(survey: _Survey, keys: Keys, options: Options) -> Iterator[Task]:
    """Yield what is to be done, in the order of the paths; a file with the UID of another comes after it."""
    everybody = Identities.union(p.identities for p in survey.people.values())
    targets: dict[str, str] = {}
    for source in survey.found:
        if source.kind == "dicom":
            person = survey.people[_patient(source, options)]
            target = _target(source, person, keys, options)
            if source.path in survey.twins:
                name = target.removesuffix(".dcm")
                target = f"{name}-{keys.token(source.path, 6)}.dcm"
            targets[source.path] = target
            twin = targets.get(survey.twins.get(source.path, ""), "")
            yield Task(source.path, target, person, twin=twin)
        elif source.kind == "other":
            folders = Path(source.path).parent.parts
            folder = "/".join(new_folder(f, keys, everybody) for f in folders)
            # Filled to the end before the first task is done; only tables name files.
            table = source.path.lower().endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz"))
            yield Task(source.path, folder, None, everybody, moved=targets if table else {})


def _target(source: Source, person: Person, keys: Keys, options: Options) -> str:
    """Return where an object goes: folders and name are digests of the new UIDs, never of a tag's text."""

    def short(uid: str, n: int) -> str:
        return hashlib.sha256(keys.uid(uid).encode()).hexdigest()[:n] if uid else "0" * n

    return f"{person.pseudonym}/{short(source.study, 12)}/{short(source.series, 12)}/{short(source.uid, 20)}.dcm"


def _cleaned(where: Places, survey: _Survey, place: Place, workers: "_Workers", events: Events) -> list[Done]:
    """Clean what the journal of an earlier, interrupted session does not hold."""
    journal = where.records / JOURNAL
    before = _journal(journal)
    facts = {s.path: s for s in survey.found}
    stamps = {p: _stamp(s, place.keys) for p, s in facts.items()}
    done = [Done(s.path, "left out", _why(s)) for s in survey.found if s.kind in {"broken", "directory"}]
    waiting = []
    for task in _tasks(survey, place.keys, place.options):
        known = before.get(stamps[task.path])
        if known is not None and _still_there(known, where):
            done.append(Done(path=task.path, **{**known, "remarks": tuple(known.get("remarks", ()))}))
        else:
            waiting.append(task)
    events.emit("deidentify", "clean", n=len(waiting), n_done=len(done))
    items: list[ReviewItem] = []
    try:
        with journal.open("a", encoding="utf-8") as file:
            for n, one in enumerate(workers.done(waiting), start=1):
                file.write(json.dumps({"file": stamps[one.path], **_facts(one)}, sort_keys=True) + "\n")
                if n % CHUNK == 0:
                    file.flush()
                    events.emit("deidentify", "progress", n=n, of=len(waiting))
                if one.verdict is not None:
                    items.append(
                        ReviewItem(one.output or f"quarantine/{Path(_name(one)).name}", one.verdict, one.picture)
                    )
                done.append(one)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(
            f"Cannot write the journal ({error.strerror})", where=JOURNAL, remedy="free some space, then run again"
        ) from error
    if items:
        write_review(items, where.records)
    return sorted(done, key=lambda d: d.path)


def _name(one: Done) -> str:
    return hashlib.sha256(one.uid.encode()).hexdigest()[:20] + ".dcm" if one.uid else "unknown"


def _why(source: Source) -> str:
    return source.reason if source.kind == "broken" else "A DICOMDIR: it lists the originals and is made anew if needed"


def _facts(one: Done) -> dict[str, Any]:
    names = ("action", "reason", "output", "uid", "patient", "counts", "sha256", "n_bytes", "remarks")
    return {n: record.to_json(getattr(one, n)) for n in names}


def _stamp(source: Source, keys: Keys) -> str:
    """Return a name for a file in its present state that tells nothing of its path."""
    return keys.token(f"{source.path}\0{source.size}\0{source.changed}", 32)


def _journal(path: Path) -> dict[str, dict[str, Any]]:
    """Return what an earlier session did; a last line that was cut off is left aside."""
    found = {}
    if path.exists():
        content = path.read_text(encoding="utf-8")
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                found[entry.pop("file")] = entry
            except (json.JSONDecodeError, KeyError, AttributeError):
                continue
        if content and not content.endswith("\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")
    return found


def _still_there(entry: Mapping[str, Any], where: Places) -> bool:
    if entry["action"] == "quarantined":
        return True
    if entry["action"] not in {"written", "duplicate"}:
        return False  # what could not be read is tried again
    return _digest(where.dst / entry["output"]) == str(entry["sha256"])


def _digest(file: Path) -> str:
    if not file.is_file():
        return ""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _altered(done: Iterable[Done], dst: Path) -> list[rescan.Finding]:
    """Return the output files that do not hold the bytes that were written."""
    written = {d.output: d.sha256 for d in done if d.output and d.action in {"written", "duplicate"}}
    return [
        rescan.Finding(output, "bytes other than those that were written", "file")
        for output, sha256 in sorted(written.items())
        if sha256 and _digest(dst / output) != sha256
    ]


def _written_down(where: Places, survey: _Survey, done: Iterable[Done], keys: Keys) -> None:
    """Write the map of pseudonyms and the list of what was left out; both name patients."""
    import csv  # noqa: PLC0415 - only here

    patients = {p.pseudonym: "\\".join(k) for k, p in survey.people.items()}
    names = {p.pseudonym: "; ".join(sorted(p.identities.names)) for p in survey.people.values()}
    pseudonyms.add(
        where.map, keys, {"patients": patients, "names": names, "uids": {keys.uid(u): u for u in survey.uids}}
    )
    with (where.records / LEFT_OUT).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file (confidential)", "action", "reason"))
        writer.writerows((d.path, d.action, d.reason) for d in done if d.action in {"left out", "quarantined"})


class _Workers:
    """Does the work here, or in further processes where there are enough files."""

    def __init__(self, place: Place, n: int) -> None:
        self.place, self.n = place, n
        self.known: rescan.Known | None = None
        self._pool: Any = None

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _map(self, function: Callable[[list[Any]], Any], items: list[Any]) -> Iterator[Any]:
        if self.n <= 1 or len(items) < ALONE:
            _adopt(self.place, self.known)
            for one in items:
                yield from function([one])
            return
        if self._pool is None:
            import multiprocessing  # noqa: PLC0415 - only where further processes pay
            from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415

            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.n, context, _adopt, (self.place, self.known))
        chunks = _batched(items, CHUNK)
        waiting: list[Any] = [self._pool.submit(function, c) for c in islice(chunks, 2 * self.n)]
        while waiting:
            result = waiting.pop(0).result()
            waiting += [self._pool.submit(function, c) for c in islice(chunks, 1)]
            yield from result

    def surveyed(self, paths: list[str]) -> Iterator[Source]:
        """Yield what each file is."""
        yield from self._map(_survey_some, paths)

    def done(self, tasks: list[Task]) -> Iterator[Done]:
        """Yield what became of each file; files that share a UID come after all others."""
        alone = [t for t in tasks if t.twin]
        yield from self._map(_do_some, [t for t in tasks if not t.twin])
        _adopt(self.place, self.known)
        yield from _do_some(alone)

    def rescanned(self, outputs: list[str], known: rescan.Known) -> list[rescan.Finding]:
        """Return what is left in the output."""
        self.__exit__()
        self.known = known
        return list(self._map(_rescan_some, outputs))


def _batched(items: list[Any], n: int) -> Iterator[list[Any]]:
    yield from (items[i : i + n] for i in range(0, len(items), n))


#: What a process holds: set when it starts.
_HERE: list[tuple[Place, rescan.Known | None]] = []


def _adopt(place: Place, known: rescan.Known | None) -> None:
    _HERE[:] = [(place, known)]


def _survey_some(paths: list[str]) -> list[Source]:
    return [sources.surveyed(_HERE[0][0].src, p) for p in paths]


def _do_some(tasks: list[Task]) -> list[Done]:
    return [work.done(t, _HERE[0][0]) for t in tasks]


def _rescan_some(outputs: list[str]) -> list[rescan.Finding]:
    place, known = _HERE[0]
    assert known is not None
    return [f for o in outputs for f in rescan.left_in(place.dst, o, known, place.options)]

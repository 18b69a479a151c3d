"""The session: survey the source, clean file by file, write the records, look through the output once more."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lucency import __version__, record
from lucency.deidentify import audit, journal, places, pseudonyms, rescan, sources, whole
from lucency.deidentify.keys import Identities, Keys
from lucency.deidentify.places import AUDIT, JOURNAL, LEFT_OUT, REPORT, Places
from lucency.deidentify.report import Report
from lucency.deidentify.review import ReviewItem, write_review
from lucency.deidentify.sources import Source
from lucency.deidentify.strays import Stray, strays
from lucency.deidentify.survey import Survey, tasks
from lucency.deidentify.table import EDITION, Options
from lucency.deidentify.work import Done, Place
from lucency.deidentify.workers import CHUNK, Workers
from lucency.errors import OutputError, UsageError
from lucency.events import Events

AGAIN = "free some space, then start the same command again: what is written stays, and it goes on from there"


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
        ReadError: The source is an archive that cannot be read.
        OutputError: The output cannot be written.
        ModelError: The audit log of this output was altered.
    """
    with _own_remedies(where):
        return _walked(where, options, events, n_workers)


@contextmanager
def _own_remedies(where: Places) -> Iterator[None]:
    """Say what helps here where the disk is full; other commands have an option ``--out``."""
    try:
        yield
    except OutputError as error:
        if "--out" not in error.remedy:
            raise
        raise OutputError(error.found, where=error.where, remedy=AGAIN) from error
    except OSError as error:
        raise OutputError(f"Cannot write ({error.strerror})", where=where.records.name, remedy=AGAIN) from error


def _walked(where: Places, options: Options, events: Events, n_workers: int) -> Report:
    """Do what :func:`run` promises."""
    root, paths = sources.files_of(where.src)
    if not paths:
        raise UsageError("No files", where=where.src.name, remedy="check the path")
    keys, made = places.keys_for(where)
    places.begin(where, keys, options)
    place = Place(root, where.dst, where.records, keys, options)
    with Workers(place, n_workers) as workers:
        events.emit("deidentify", "survey", n=len(paths))
        survey = Survey.of(whole.checked(root, workers.surveyed(paths)), keys, options)
        everybody = survey.everybody
        known = rescan.Known(
            {p.pseudonym: p.identities for p in survey.people.values()},
            frozenset() if "uids" in options.keep else frozenset(survey.uids),
            everybody,
        )
        workers.meet(known)
        done = _cleaned(where, survey, everybody, workers, events)
        _written_down(where, survey, done, keys)
        events.emit("deidentify", "rescan", n=len(done))
        findings = workers.rescanned({d.output: d.sha256 for d in done if d.output})
    found = _strays(where, done)
    findings += [s.finding for s in found]
    if found:
        write_review((), where.records, survey.doubts, [s.path for s in found])
    report = Report.of(done, findings, survey.doubts, options, key=keys.name, made=made, places=where)
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


def _cleaned(where: Places, survey: Survey, everybody: Identities, workers: Workers, events: Events) -> list[Done]:
    """Clean what the journal of an earlier, interrupted session does not hold."""
    keys, options = workers.place.keys, workers.place.options
    before = journal.load(where.records / JOURNAL)
    stamps = {s.path: journal.stamp(s, keys) for s in survey.found}
    done = [Done(s.path, "left out", _why(s)) for s in survey.found if s.kind in {"broken", "directory"}]
    waiting = []
    for task in tasks(survey, everybody, keys, options):
        earlier = journal.still_done(task.path, before.get(stamps[task.path]), where.dst)
        if earlier is not None:
            done.append(earlier)
        else:
            waiting.append(task)
    events.emit("deidentify", "clean", n=len(waiting), n_done=len(done))
    items: list[ReviewItem] = []
    try:
        with (where.records / JOURNAL).open("a", encoding="utf-8") as file:
            for n, one in enumerate(workers.done(waiting), start=1):
                file.write(journal.line(stamps[one.path], one))
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
    except OutputError as error:
        # Its name may be that of a file in the source.
        raise OutputError(error.found, where=where.dst.name, remedy=AGAIN) from error
    except OSError as error:
        raise OutputError(f"Cannot write the journal ({error.strerror})", where=JOURNAL, remedy=AGAIN) from error
    write_review(items, where.records, survey.doubts, [s.path for s in _strays(where, done)])
    return sorted(done, key=lambda d: d.path)


def _strays(where: Places, done: Iterable[Done]) -> tuple[Stray, ...]:
    return strays(where.dst, {d.output for d in done})


def _name(one: Done) -> str:
    return hashlib.sha256(one.uid.encode()).hexdigest()[:20] + ".dcm" if one.uid else "unknown"


def _why(source: Source) -> str:
    return source.reason if source.kind == "broken" else "A DICOMDIR: it lists the originals and is made anew if needed"


def _written_down(where: Places, survey: Survey, done: Iterable[Done], keys: Keys) -> None:
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

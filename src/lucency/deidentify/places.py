"""Where a session reads and writes, and what has to fit before it begins."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lucency import __version__, record
from lucency.deidentify import audit, pseudonyms
from lucency.deidentify.keys import Keys
from lucency.deidentify.table import EDITION, Options
from lucency.errors import OutputError, UsageError

JOURNAL, SESSION, AUDIT, LEFT_OUT, REPORT = (
    "journal.jsonl",
    "session.json",
    "audit.jsonl",
    "left-out.csv",
    "report.json",
)


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
    _must_lie_apart(src, dst)
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


def _must_lie_apart(src: Path, dst: Path) -> None:
    apart = "two folders apart: the source is never written to"
    if src == dst:
        raise UsageError("SRC and DST are the same", expected=apart, where=dst.name, remedy="name a new folder for DST")
    if src in dst.parents:
        raise UsageError(
            "DST lies inside SRC: a later run would take the cleaned files for originals",
            expected=apart,
            where=dst.name,
            remedy="name a folder for DST that is not in SRC",
        )
    if dst in src.parents and src.is_dir():
        raise UsageError(
            "SRC lies inside DST: the folder to be passed on would hold the originals",
            expected=apart,
            where=src.name,
            remedy="name a folder for DST that SRC is not in",
        )
    if dst in src.parents:
        raise UsageError(
            "SRC is a file in DST: the folder to be passed on would hold the original",
            expected="a folder apart",
            where=src.name,
            remedy="name another folder for DST",
        )
    if dst.exists() and not dst.is_dir():
        raise UsageError("DST is a file", expected="a folder", where=dst.name, remedy="name a folder for DST")


def keys_for(where: Places) -> tuple[Keys, bool]:
    """Return the keys of a session and whether they were made now.

    A key is made only for an output that does not exist yet: another key in the place of a lost one would break
    every link to what was written before.

    Raises:
        UsageError: The key is missing and there is output, a log or a map of it already, or it is not theirs.
        ModelError: The audit log is not as it was written.
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
        audit.check(where.records / AUDIT, where.head, keys)
        pseudonyms.load(where.map, keys)
        return keys, False
    if before or used:
        raise UsageError(
            "The key file is missing, and the output was made with one",
            where=where.key.name,
            remedy="restore the key from its backup; a new key would give the same patients other pseudonyms",
        )
    for left, what in ((where.head, "the signed end of an audit log"), (where.map, "a map of pseudonyms")):
        if left.exists():
            raise UsageError(
                f"The key file is missing, and {what} of an earlier key of this name is there",
                where=left.name,
                remedy="restore that key from its backup; or, for a new one, give --key another name or move this "
                "file away",
            )
    return Keys.create(where.key), True


def begin(where: Places, keys: Keys, options: Options) -> None:
    """Make the folders, and refuse to go on with other options than those that the output was made with.

    Raises:
        UsageError: Other options.
        OutputError: A folder that cannot be written.
    """
    told = {"key": keys.name, "options": record.to_json(options), "table": EDITION, "lucency": __version__}
    known = where.records / SESSION
    if known.exists():
        before = record.read_object(known)
        # An option that came later had its default then.
        if {**record.to_json(Options()), **before.get("options", {})} != told["options"]:
            raise UsageError(
                "This output was made with other options", where=where.dst.name, remedy="choose a new folder"
            )
    _writable(where.dst, "DST", "name another folder for DST, or ask for the right to write there")
    _writable(where.records, "The folder of records", "name another with --records")
    os.chmod(where.records, 0o700)
    record.write(known, told)
    audit.open_(where.records / AUDIT, where.head, keys)
    for torn in (*where.dst.rglob(".writing-*"), *where.records.rglob(".writing-*")):
        torn.unlink(missing_ok=True)


def _writable(folder: Path, what: str, remedy: str) -> None:
    """Make a folder, and find out now rather than after the first hour whether files can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except OSError as error:
        raise OutputError(f"{what} cannot be written ({error.strerror})", where=folder.name, remedy=remedy) from error

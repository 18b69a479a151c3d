"""Headers kept between runs: one SQLite file in the run folder, thrown away whenever it is in doubt."""

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lucency.read.head import HEAD_VERSION

#: What tells an unchanged file: (size in bytes, modification time in ns or the CRC-32 of an archive's entry).
Key = tuple[int, int]

T = TypeVar("T")

#: Raised when what the header pass adds to a head changes.
ADDED_VERSION = 2

SCHEMA = """
CREATE TABLE IF NOT EXISTS made (what TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS head (
    root TEXT, path TEXT, size INTEGER, changed INTEGER, kind TEXT, text TEXT, PRIMARY KEY (root, path));
CREATE TABLE IF NOT EXISTS digest (
    root TEXT, path TEXT, size INTEGER, changed INTEGER, sha256 TEXT, PRIMARY KEY (root, path)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Row:
    """What is known of one file.

    Args:
        key: Size and mark of change when it was read.
        kind: ``"head"``, ``"broken"`` or ``"other"`` (not DICOM).
        text: The head as JSON, or the reason.
    """

    key: Key
    kind: str
    text: str


class Cache:
    """The rows of one data folder. A cache that cannot be used is no error: the headers are read again.

    Args:
        place: The SQLite file; None keeps nothing.
        root: Data folder; only its salted digest is stored.
        salt: Of the run.
    """

    def __init__(self, place: Path | None, root: Path, salt: bytes) -> None:
        self.notes: list[str] = []
        self._place = place
        self._root = hashlib.sha256(salt + str(root).encode()).hexdigest()[:16]
        self._made = {"version": f"{HEAD_VERSION}.{ADDED_VERSION}", "salt": hashlib.sha256(b"salt" + salt).hexdigest()}
        self._base: sqlite3.Connection | None = None
        if place is not None:
            self._open(place)

    def rows(self) -> dict[str, Row]:
        """Return path to row."""
        found = self._try(
            lambda base: base.execute(
                "SELECT path, size, changed, kind, text FROM head WHERE root = ?", (self._root,)
            ).fetchall()
        )
        return {p: Row((size, changed), kind, text) for p, size, changed, kind, text in found or ()}

    def keep(self, rows: Mapping[str, Row]) -> None:
        """Write rows down; those of earlier versions of the files are replaced."""
        values = [(self._root, p, r.key[0], r.key[1], r.kind, r.text) for p, r in rows.items()]
        if values:
            self._write("INSERT OR REPLACE INTO head VALUES (?, ?, ?, ?, ?, ?)", values)

    def digests(self) -> dict[str, tuple[Key, str]]:
        """Return path to (size and mark of change, SHA-256)."""
        found = self._try(
            lambda base: base.execute(
                "SELECT path, size, changed, sha256 FROM digest WHERE root = ?", (self._root,)
            ).fetchall()
        )
        return {p: ((size, changed), sha) for p, size, changed, sha in found or ()}

    def keep_digests(self, found: Mapping[str, tuple[Key, str]]) -> None:
        """Write digests down."""
        values = [(self._root, p, k[0], k[1], sha) for p, (k, sha) in found.items()]
        if values:
            self._write("INSERT OR REPLACE INTO digest VALUES (?, ?, ?, ?, ?)", values)

    def close(self) -> None:
        """Let go of the file."""
        if self._base is not None:
            with suppress(sqlite3.Error):
                self._base.close()
            self._base = None

    def _open(self, place: Path) -> None:
        for _ in range(2):
            try:
                self._base = sqlite3.connect(place, timeout=10.0)
                self._prepare(self._base)
                return
            except sqlite3.OperationalError as error:
                # Locked, read-only or a full disk: the file itself may be whole.
                self.close()
                self.notes.append(f"The cache of headers is not used ({type(error).__name__}); they are read anew.")
                return
            except sqlite3.DatabaseError:
                self.close()
                self._discard(place, "was damaged")
        self.notes.append("The cache of headers cannot be made.")

    def _prepare(self, base: sqlite3.Connection) -> None:
        # Where the file system has no shared memory (network drives) SQLite keeps its other journal by itself.
        base.execute("PRAGMA journal_mode=WAL")
        # A cache may lose its last rows with the power; it must only stay whole.
        base.execute("PRAGMA synchronous=NORMAL")
        (verdict,) = base.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        with base:
            base.executescript(SCHEMA)
            made = dict(base.execute("SELECT what, value FROM made").fetchall())
            if made != self._made:
                base.execute("DELETE FROM head")
                base.execute("DELETE FROM digest")
                base.execute("DELETE FROM made")
                base.executemany("INSERT INTO made VALUES (?, ?)", list(self._made.items()))

    def _discard(self, place: Path, why: str) -> None:
        note = f"The cache of headers {why}; it was thrown away and the headers were read anew."
        if note not in self.notes:
            self.notes.append(note)
        for file in (place, *(place.with_name(place.name + end) for end in ("-wal", "-shm", "-journal"))):
            with suppress(OSError):
                file.unlink(missing_ok=True)

    def _write(self, statement: str, values: Sequence[tuple[str | int, ...]]) -> None:
        def write(base: sqlite3.Connection) -> None:
            with base:
                base.executemany(statement, values)

        self._try(write)

    def _try(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do something with the database; on failure close it, say so, and go on without."""
        if self._base is None or self._place is None:
            return None
        try:
            return work(self._base)
        except sqlite3.OperationalError as error:
            self.close()
            self.notes.append(f"The cache of headers is not used ({type(error).__name__}); they are read anew.")
        except sqlite3.DatabaseError:
            self.close()
            self._discard(self._place, "was damaged")
        return None

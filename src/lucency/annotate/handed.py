"""What a round gave out, so that a later one does not write over work that was done on the very files."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lucency import record
from lucency.errors import UsageError

HANDED = "handed.json"


@dataclass(frozen=True)
class Handed:
    """The files of a round as they went out.

    Args:
        files: Path below the round's folder, with ``/``, to the SHA-256 of what was written.
    """

    files: Mapping[str, str]


def keep(out: Path, folders: Iterable[str]) -> None:
    """Note what went out.

    Args:
        out: Folder of the round.
        folders: Below it, those that were given out.

    Raises:
        OutputError: The disk cannot be written.
    """
    files = sorted(p for name in folders for p in (out / name).rglob("*") if p.is_file())
    record.write(out / HANDED, Handed({p.relative_to(out).as_posix(): _digest(p) for p in files}))


def open_again(out: Path) -> None:
    """Make way for a new round, unless somebody has worked on what the last one gave out.

    A round that did not end left no note, and neither does this until :func:`keep`.

    Args:
        out: Folder of the round.

    Raises:
        UsageError: A file is not as it went out.
    """
    note = out / HANDED
    if not note.exists():
        return
    given = record.read(Handed, note).files
    changed = [name for name, digest in given.items() if (out / name).is_file() and _digest(out / name) != digest]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UsageError(
            "Files that went out were changed where they lie, and a new round would write over them",
            expected="corrected copies in a folder of the annotator's own",
            where=f"{changed[0]}{more}",
            remedy="move the changed files to a folder of their own for --returned, or choose another --out",
        )
    note.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

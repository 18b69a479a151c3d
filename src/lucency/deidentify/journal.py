"""What an interrupted session has done already, under names of files that tell nothing of their paths."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lucency import record
from lucency.deidentify.keys import Keys
from lucency.deidentify.sources import Source
from lucency.deidentify.work import Done

#: Fields of what was done that are kept: neither the old path nor the pixels.
KEPT = ("action", "reason", "output", "uid", "patient", "counts", "sha256", "n_bytes", "remarks")


def stamp(source: Source, keys: Keys) -> str:
    """Return a name for a file in its present state that tells nothing of its path."""
    return keys.token(f"{source.path}\0{source.size}\0{source.changed}", 32)


def line(name: str, one: Done) -> str:
    """Return the line for one file that was done.

    Args:
        name: Its :func:`stamp`.
        one: What became of it.
    """
    return json.dumps({"file": name, **{n: record.to_json(getattr(one, n)) for n in KEPT}}, sort_keys=True) + "\n"


def load(path: Path) -> dict[str, dict[str, Any]]:
    """Return stamp to what an earlier session did; a last line that was cut off is left aside and ended."""
    found = {}
    if path.exists():
        content = path.read_text(encoding="utf-8")
        for text in content.splitlines():
            try:
                entry = json.loads(text)
                found[entry.pop("file")] = entry
            except (json.JSONDecodeError, KeyError, AttributeError):
                continue
        if content and not content.endswith("\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")
    return found


def still_done(path: str, entry: Mapping[str, Any] | None, dst: Path) -> Done | None:
    """Return what an earlier session did to a file, or None where it has to be done again.

    Args:
        path: Of the source.
        entry: From the journal.
        dst: Output folder; what was written must still be there as it was.
    """
    if entry is None or entry["action"] not in {"written", "duplicate", "quarantined"}:
        return None  # what could not be read is tried again
    if entry["action"] != "quarantined" and digest(dst / entry["output"]) != str(entry["sha256"]):
        return None
    return Done(path=path, **{**entry, "remarks": tuple(entry.get("remarks", ()))})


def digest(file: Path) -> str:
    """Return the SHA-256 of a file, hex; empty if there is none."""
    if not file.is_file():
        return ""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()

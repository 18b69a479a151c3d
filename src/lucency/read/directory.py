"""DICOMDIR: the table of contents of a disc. It is never needed to find files, but it tells which ones are missing."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from lucency.read.head import Head

#: Media Storage Directory Storage (PS3.4, annex I).
DIRECTORY = "1.2.840.10008.1.3.10"


def files_named(dataset: Any) -> list[list[str]]:
    """Return the components of every file name that a DICOMDIR holds, as written.

    Args:
        dataset: A DICOMDIR.

    Source:
        DICOM PS3.3, F.3.2.2: Referenced File ID (0004,1500), relative to the folder of the DICOMDIR.
    """
    named: list[list[str]] = []
    for entry in dataset.get("DirectoryRecordSequence") or ():
        value = entry.get("ReferencedFileID")
        if value:
            named.append([value] if isinstance(value, str) else [str(v) for v in value])
    return named


def inside(components: list[str]) -> str:
    """Return a file name as a relative path, or ``""`` where it would lead out of the folder of its DICOMDIR.

    Example:
        >>> inside(["IMAGES", "IM1"]), inside(["..", "IM1"]), inside(["/etc", "passwd"])
        ('IMAGES/IM1', '', '')
    """
    for part in components:
        if part in ("", ".", "..") or any(c in part for c in "/\\:\0"):
            return ""
    return "/".join(components)


def directories(found: Mapping[str, Head]) -> list[str]:
    """Return the paths of the DICOMDIRs among the heads."""
    return [p for p, head in found.items() if head.get("SOPClassUID") == DIRECTORY]


def notes(found: Mapping[str, Head], present: "set[str] | frozenset[str]") -> list[str]:
    """Return one sentence for every DICOMDIR that names files which are not there or may not be followed.

    The files that are there were found without it, so it is followed nowhere.

    Args:
        found: The heads of the tree; those of DICOMDIRs have ``Files``.
        present: Every path of the tree, inside archives too.
    """
    said: list[str] = []
    low: set[str] = set()
    for path in directories(found):
        named = [inside(components) for components in found[path].get("Files", [])]
        folder = PurePosixPath(path).parent
        wanted = {(folder / name).as_posix() for name in named if name}
        # Discs are written in capitals; copied to a computer their names often are not.
        low = low or {p.lower() for p in present}
        absent = {w for w in wanted if w.lower() not in low and f"{w.lower()}.dcm" not in low}
        if absent:
            said.append(
                f"{path} names {len(absent)} of {len(wanted)} files that are not there: the copy is incomplete."
            )
        if "" in named:
            said.append(f"{path} names {named.count('')} files outside its own folder; they were not looked at.")
    return said

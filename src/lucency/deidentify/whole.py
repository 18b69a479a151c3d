"""Files that have the form of DICOM and are no whole object: they are left out, lest an empty one be invented.

Source:
    DICOM PS3.3, C.7.2.1, C.7.3.1 and C.12.1 (the UIDs that an object must have), A.1.4 (which modules it is made of).
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from lucency.deidentify import sources, table
from lucency.deidentify.sources import Source
from lucency.errors import LucencyError
from lucency.read import damage

#: Objects that belong to no patient and no examination (PS3.3, A.34 and others): they have no study and no series.
OF_NOBODY = frozenset(
    {"color-palette", "hanging-protocol", "inventory", "protocol-approval"}
    | {"generic-implant-template", "implant-assembly-template", "implant-template-group"}
    | {"ct-defined-procedure-protocol", "xa-defined-procedure-protocol"}
)
EMPTY = "It has file meta information and no dataset: the file is cut off"
NO_UIDS = "Its dataset has no {missing}: it is damaged or was never a whole object"


def checked(root: Path, found: Iterable[Source]) -> Iterator[Source]:
    """Yield sources as they are, those that are no whole object as broken ones with a reason.

    A SOP Class or Instance UID that only the file meta information has is enough; the study and the series stand
    nowhere else than in the dataset.

    Args:
        root: What their paths are relative to.
        found: What was surveyed.
    """
    for source in found:
        reason = "" if source.kind != "dicom" else _lacking(root, source)
        yield replace(source, kind="broken", reason=reason) if reason else source


def _lacking(root: Path, source: Source) -> str:
    """Return what a DICOM file lacks to be an object, as a sentence, or ``""``."""
    told = {"Study": source.study, "Series": source.series, "SOP": source.uid}
    missing = [f"{name} Instance UID" for name, uid in told.items() if not uid]
    if not missing:
        return ""
    file = root / source.path
    try:
        if said := damage.told(file):
            return said
        dataset = sources.load(file, source.path, pixels=False)
    except (LucencyError, OSError) as error:
        return error.found if isinstance(error, LucencyError) else f"Cannot be read ({error.strerror})"
    if not dataset:
        return EMPTY
    if source.uid and table.iod_of(source.sop_class) in OF_NOBODY:
        return ""
    return NO_UIDS.format(missing=" and no ".join(missing))

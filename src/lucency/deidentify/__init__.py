"""De-identification of medical images after DICOM PS3.15, Annex E: names out, links and geometry kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lucency.deidentify.table import Options
from lucency.events import Events, Listener

if TYPE_CHECKING:
    from lucency.deidentify.report import Report

__all__ = ["Options", "deidentify"]


def deidentify(  # noqa: PLR0913 - each is an option of the command
    src: Path,
    dst: Path,
    key: Path,
    options: Options | None = None,
    *,
    records: Path | None = None,
    map_: Path | None = None,
    n_workers: int = 1,
    listeners: Sequence[Listener] = (),
) -> "Report":
    """Write a copy of a folder of images from which nobody can be recognised by any written word.

    Faces in head images, voices and rare diseases remain what they are; the report says what was not removed.

    Args:
        src: Folder or file; left as it is.
        dst: Output folder: new, or one that an earlier session with the same key and options wrote.
        key: Key file; made if there is none and the output is new.
        options: What is kept and cleaned beyond the basic profile; the default suits research.
        records: Folder for journal, audit log, report and quarantine; beside the output if not given.
        map_: Encrypted map of pseudonyms; beside the key if not given.
        n_workers: Processes. More than one asks for a script that may be imported (``if __name__ == "__main__"``).
        listeners: Called with each event of progress.

    Returns:
        What was done and whether the second look found anything; ``exit_status`` is 0 only if it did not.

    Raises:
        UsageError: Paths, key or options do not fit together or what was written before.
        OutputError: The output cannot be written.

    Source:
        DICOM PS3.15, Annex E Attribute Confidentiality Profiles.
    """
    from lucency.deidentify import places, session  # noqa: PLC0415 - pydicom takes its time to import

    where = places.places(src, dst, key, records, map_)
    return session.run(where, options or Options(), Events(None, *listeners), n_workers)

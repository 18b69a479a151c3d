"""What every cleaner of a kind of file gives back, and how it refuses."""

from dataclasses import dataclass

from lucency.burned_in import Box
from lucency.errors import DataError

UNSEARCHED = "Its voxels or pixels were not searched for text."
HEAD = "If it shows a head, recognisable features remain: nothing was done to the voxels."


@dataclass(frozen=True)
class Cleaned:
    """A file without what identifies.

    Args:
        content: Bytes to write.
        removed: Names of the fields that went, as the format calls them; never a name that the file made up.
        remarks: What the user should know.
        text: Regions of the pixels that look like text; such a file is not written.
    """

    content: bytes
    removed: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    text: tuple[Box, ...] = ()


def cannot(found: str, remedy: str) -> DataError:
    """Return the error with which a cleaner refuses a file.

    Args:
        found: What stands in the way, without any value of the file.
        remedy: What the user can do.
    """
    return DataError(found, remedy=remedy)

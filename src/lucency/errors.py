"""One family of exceptions: what was found, what was expected, where, and what to do next.

A message may show a path relative to the data folder. It never shows a DICOM value.
"""


class LucencyError(Exception):
    """Any refusal by this program.

    Args:
        found: What was found, as a sentence.
        expected: What was expected instead.
        where: File (relative to the data folder), field or option at fault.
        remedy: What the user can do next.
    """

    #: Exit status of the command line (architecture, section 7).
    exit_status = 1

    def __init__(self, found: str, *, expected: str = "", where: str = "", remedy: str = "") -> None:
        self.found, self.expected, self.where, self.remedy = found, expected, where, remedy
        parts = [f"{where}: {found}" if where else found]
        if expected:
            parts.append(f"Expected: {expected}")
        if remedy:
            parts.append(f"What to do: {remedy}")
        super().__init__(" ".join(p if p.endswith((".", "?", "!")) else p + "." for p in parts))

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild in another process; keyword arguments need the state, not the args."""
        return (_rebuild, (type(self), self.found, self.expected, self.where, self.remedy))


def _rebuild(cls: type[LucencyError], found: str, expected: str, where: str, remedy: str) -> LucencyError:
    return cls(found, expected=expected, where=where, remedy=remedy)


class UsageError(LucencyError):
    """The command or call is wrong: unknown option, ambiguous layout, no such path."""

    exit_status = 2


class DataError(LucencyError):
    """The data cannot support what was asked; the reason is in the message."""

    exit_status = 3


class GeometryError(DataError):
    """Positions, spacings or affines that do not describe one image in space."""


class LeakageError(DataError):
    """Training and evaluation would share a patient or an image."""


class ReadError(DataError):
    """One file cannot be read. Readers raise it; rooms collect it in ``skipped.csv``."""


class ModelError(LucencyError):
    """A model folder that is incomplete, altered or unfit for this input."""


class OutputError(LucencyError):
    """Results cannot be written: disk full, read-only folder."""


class MemoryShortError(LucencyError):
    """The machine ran out of memory and a smaller plan did not help."""


class DivergedError(LucencyError):
    """Training whose loss is no longer a finite number."""

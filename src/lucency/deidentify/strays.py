"""Files in the output folder that no session wrote: counted without their names, which may be those of patients."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lucency.deidentify.rescan import Finding

#: Kinds of file that may be called by their ending; any other ending may be part of a name.
ENDINGS = re.compile(
    r"csv|dcm|docx?|gif|gz|html|ini|jpe?g|json|log|mh[ad]|nii|nrrd|np[yz]|pdf|png|pptx?|rtf|tiff?|tmp|tsv|txt|xlsx?|xml|zip"
)
KIND = "file that was not written here"


@dataclass(frozen=True)
class Stray:
    """One such file.

    Args:
        path: Relative to the output folder; confidential.
    """

    path: str

    @property
    def finding(self) -> Finding:
        """What the report says of it: its kind and how deep it lies, 1 for the output folder itself."""
        pure = PurePosixPath(self.path)
        ending = pure.suffix.lower().removeprefix(".")
        kind = f"a .{ending} file" if ENDINGS.fullmatch(ending) else "a file of another kind"
        return Finding(kind, KIND, f"folder level {len(pure.parts)}")


def strays(dst: Path, written: set[str]) -> tuple[Stray, ...]:
    """Return the files in the output folder that no session wrote, sorted.

    Args:
        dst: Output folder.
        written: What the sessions wrote, relative to it.
    """
    there = (p.relative_to(dst).as_posix() for p in dst.rglob("*") if p.is_file() or p.is_symlink())
    return tuple(Stray(t) for t in sorted(there) if t not in written)

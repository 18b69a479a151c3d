"""Label files of ITK-SNAP: which value of a mask is called what."""

import re
from pathlib import Path

from lucency.errors import ReadError

#: What the file is called where this program writes it.
NAME = "labels.txt"

#: Value, three colours, opacity, two marks for "shown", name.
_LINE = re.compile(r'\s*(\d+)\s+\d+\s+\d+\s+\d+\s+[\d.]+\s+[01]\s+[01]\s+"(.*)"\s*')


def read_label_file(path: Path) -> dict[int, str]:
    """Return value to name, without background 0.

    Args:
        path: As ITK-SNAP exports it.

    Raises:
        ReadError: A line that is neither a label nor a comment, or one value twice.

    Source:
        ITK-SNAP 4, header of its own label description files.
    """
    found: dict[int, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        said = _LINE.fullmatch(line)
        if said is None or int(said[1]) in found:
            raise ReadError(
                "No line of a label file" if said is None else f"Value {said[1]} a second time",
                expected='value, red, green, blue, opacity, 1, 1 and "name"',
                where=f"{path.name}, line {number}",
                remedy="export the label descriptions from ITK-SNAP again",
            )
        if int(said[1]):
            found[int(said[1])] = said[2]
    return found

"""Names and colours of mask values in the label file of ITK-SNAP, which lies beside NIfTI masks."""

from collections.abc import Mapping
from pathlib import Path

from lucency.record import write_text
from lucency.write.vocabulary import COLOURS


def write_label_file(path: Path, labels: Mapping[int, str]) -> None:
    """Write value, colour, visibility and name of every label, as ITK-SNAP's "import label descriptions" takes them.

    Args:
        path: Where to.
        labels: Value to name; quotes in names become apostrophes, for the format has no way to write them.

    Raises:
        OutputError: A disk that cannot be written.

    Source:
        ITK-SNAP 4, header of its own label description files: ``IDX -R- -G- -B- -A-- VIS MSH LABEL``.
    """
    lines = ["# ITK-SnAP Label Description File", "# IDX -R- -G- -B- -A-- VIS MSH LABEL"]
    lines.append('    0     0    0    0        0  0  0    "Clear Label"')
    for number, (value, name) in enumerate(sorted(labels.items())):
        red, green, blue = COLOURS[number % len(COLOURS)]
        said = " ".join(name.replace('"', "'").split())
        lines.append(f'{value:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{said}"')
    write_text(path, "\n".join(lines) + "\n")

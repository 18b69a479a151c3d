"""Several labels of one image: columns of 0 and 1, or one column that lists what was found."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lucency.case import Findings
from lucency.errors import DataError
from lucency.read.matching import Match
from lucency.read.table import is_missing, number
from lucency.read.targets import MAX_CLASSES

#: What parts the labels of a list.
SEPARATORS = ("|", ";", "；", "、", "+")

#: Words of a list that say that nothing was found.
NOTHING = {"none", "no finding", "no findings", "normal", "negative", "healthy", "无", "正常", "未见异常", "阴性"}

#: Words for a label that is there and for one that is not.
YES = {"1", "1.0", "true", "yes", "y", "positive", "pos", "是", "有", "阳性"}
NO = {"0", "0.0", "false", "no", "n", "negative", "neg", "否", "无", "阴性"}

#: A list is one if at least this share of its rows names more than one label …
LISTED_SHARE = 0.02
#: … and its labels come in at least this many rows on average.
ROWS_A_LABEL = 3


@dataclass(frozen=True)
class Columns:
    """Where the labels stand.

    Args:
        match: The table.
        columns: Columns of 0 and 1, or the one that lists labels.
        separator: Of the list; empty for columns.
        name: As the user named them, or the column.
    """

    match: Match
    columns: tuple[str, ...]
    separator: str
    name: str


def columns_in(found: Sequence[Match], asked: str | None, default: str = "") -> Columns | None:
    """Return the columns that hold several labels for each image, or None.

    Args:
        found: Tables that speak of the images.
        asked: ``--target``: two or more columns with commas, all of yes and no, or one that lists labels.
        default: The column that is learned where the user asks for none.
    """
    words = [w.strip() for w in re.split("[,，]", asked or default) if w.strip()]
    for match in found:
        named = [match.table.named(w) for w in words]
        if not words or not all(named):
            continue
        if len(named) > 1:
            if all(_is_yes_or_no(match.table.column(c)) for c in named):
                return Columns(match, tuple(named), "", asked or default)
            continue
        separator = _separator(match.table.column(named[0]))
        if separator:
            return Columns(match, (named[0],), separator, asked or named[0])
    return None


def _is_yes_or_no(values: Sequence[str]) -> bool:
    known = {v.strip().lower() for v in values if not _is_unknown(v)}
    return bool(known) and known <= YES | NO


def _is_unknown(value: str) -> bool:
    """Tell whether a cell says nothing: missing, or -1, by which radiology tables write "uncertain"."""
    return is_missing(value) or number(value) == -1


def _separator(values: Sequence[str]) -> str:
    known = [v for v in values if not is_missing(v)]
    for separator in SEPARATORS:
        parts = [_parts(v, separator) for v in known]
        counts = Counter(p for row in parts for p in row)
        several = sum(len(row) > 1 for row in parts)
        few = 2 <= len(counts) <= 5 * MAX_CLASSES and sum(counts.values()) >= ROWS_A_LABEL * len(counts)
        if several >= max(2, LISTED_SHARE * len(known)) and few:
            return separator
    return ""


def _parts(value: str, separator: str) -> list[str]:
    found = [w.strip() for w in value.split(separator)]
    return [w for w in dict.fromkeys(found) if w and w.lower() not in NOTHING]


def findings_of(columns: Columns) -> tuple[dict[int, Findings], tuple[str, ...], list[str]]:
    """Return row number to labels, the names of all labels, and what there is to say.

    Raises:
        DataError: No row says anything.
    """
    table = columns.match.table
    rows = sorted(columns.match.rows)
    found: dict[int, Findings] = {}
    if columns.separator:
        listed = table.column(columns.columns[0])
        parts = {r: _parts(listed[r], columns.separator) for r in rows if not is_missing(listed[r])}
        labels = tuple(sorted({p for row in parts.values() for p in row}))
        found = {r: Findings({name: name in row for name in labels}) for r, row in parts.items()}
    else:
        labels = columns.columns
        cells = {name: table.column(name) for name in labels}
        for row in rows:
            known = {n: c[row].strip().lower() in YES for n, c in cells.items() if not _is_unknown(c[row])}
            if known:
                found[row] = Findings(known)
    if not found:
        raise DataError(
            "No row says which labels an image has",
            expected="columns of 0 and 1, or a column that lists labels",
            where=table.path,
            remedy="choose other columns with --target",
        )
    unknown = sum(name not in f.known for f in found.values() for name in labels)
    notes = [f"Several labels for each image: {', '.join(labels)}."]
    if unknown:
        notes.append(f"{unknown} of {len(found) * len(labels)} labels are not known: they are left out of learning.")
    return found, labels, notes

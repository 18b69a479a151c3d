"""Who is whose: patients from a column, DICOM, a folder, a name prefix, or a rule of the user's."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from lucency.errors import UsageError
from lucency.read import files
from lucency.read.layout import Item, ReadOptions, Tree
from lucency.read.matching import Match

#: A guess from names needs this many groups, none with more than this share of the images (architecture, section 7).
MIN_GROUPS = 10
MAX_SHARE = 0.2


def with_patients(
    items: Sequence[Item], tree: Tree, options: ReadOptions, found: Sequence[Match]
) -> tuple[list[Item], str]:
    """Return the items with the patient's key in clear, and how patients were told apart in words.

    Raises:
        UsageError: ``--patient`` is neither a column nor a regular expression that fits the names.
    """
    if options.patient is not None:
        return _asked(list(items), options.patient, found)
    if any(i.patient for i in items):
        column = next((m.table.roles["patient"] for m in found if "patient" in m.table.roles), "")
        return list(items), f"column {column!r}"
    if all(i.unit.patient for i in items):
        return [replace(i, patient=i.unit.patient) for i in items], "DICOM Patient ID"
    folders = _by_folder(items)
    if folders is not None:
        return folders, "folder"
    prefixed = _by_prefix(items)
    if prefixed is not None:
        return prefixed[0], prefixed[1]
    return list(items), ""


def _asked(items: list[Item], wanted: str, found: Sequence[Match]) -> tuple[list[Item], str]:
    for match in found:
        column = match.table.named(wanted)
        if column:
            keyed = [replace(i, patient=match.by_unit.get(i.unit, {}).get(column, "")) for i in items]
            return keyed, f"column {column!r}"
    try:
        pattern = re.compile(wanted)
    except re.error:
        # Not an expression at all: refused below like one without a group.
        pattern = re.compile("")
    if pattern.groups != 1:
        columns = ", ".join(dict.fromkeys(c for m in found for c in m.table.columns if c)) or "none"
        raise UsageError(
            f"{wanted!r} is no column and no regular expression with one group",
            expected="a column or, for example, '(P[0-9]+)_'",
            where="--patient",
            remedy=f"the columns are {columns}",
        )
    keyed = [replace(i, patient=m[1] or "" if (m := pattern.search(i.unit.path)) else "") for i in items]
    lost = [i for i in keyed if not i.patient]
    if lost:
        raise UsageError(
            f"{wanted!r} finds no patient in {len(lost)} of {len(items)} names, first {lost[0].unit.path}",
            expected="a match in every name",
            where="--patient",
            remedy="widen the expression",
        )
    return keyed, f"pattern {wanted!r}"


def _by_folder(items: Sequence[Item]) -> list[Item] | None:
    """Return patients by the nearest folder above the image that groups them as a patient's folder would."""
    depth = min((len(i.unit.folders) for i in items), default=0)
    for up in range(1, depth + 1):
        if any(files.part_of(i.unit.folders[-up]) for i in items):
            continue
        # The same patient's folder may stand under train and under test, so the part is no piece of the key.
        above = [i.unit.folders[: len(i.unit.folders) - up + 1] for i in items]
        keys = ["/".join(f for f in a if not files.part_of(f)) for a in above]
        if _enough(keys):
            return [replace(i, patient=k) for i, k in zip(items, keys, strict=True)]
    return None


def _by_prefix(items: Sequence[Item]) -> tuple[list[Item], str] | None:
    """Return patients by the name up to its first number (or second, third) that groups them plausibly."""
    if any(i.unit.uid or i.unit.source.item.count("/") for i in items):
        return None
    for nth in (1, 2, 3):
        keys = [prefix(i.unit.stem, nth) for i in items]
        # Where the number ends the name there is no prefix: 000001.png in two folders is no patient.
        longer = sum(len(files.tokens(i.unit.stem)) > len(k.split(" ")) for i, k in zip(items, keys, strict=True))
        if 2 * longer >= len(items) and _plausible(keys, items):
            counts = Counter(keys)
            example = min(counts, key=lambda k: (-counts[k], k))
            return (
                [replace(i, patient=k) for i, k in zip(items, keys, strict=True)],
                f"name prefix up to its {('first', 'second', 'third')[nth - 1]} number, such as {example!r}",
            )
    return None


def prefix(stem: str, nth: int) -> str:
    """Return the name up to its nth word with a digit.

    Example:
        >>> prefix("SC-HF-I-01-IM-0001-0048.dcm", 1)
        'SC HF I 01'
    """
    words = files.tokens(stem)
    numbered = [n for n, w in enumerate(words) if any(c.isdigit() for c in w)]
    return " ".join(words[: numbered[nth - 1] + 1]) if len(numbered) >= nth else stem


def _enough(keys: Sequence[str]) -> bool:
    """Tell whether there are enough groups, none too large, and some with several images."""
    counts = Counter(keys)
    largest = max(counts.values(), default=0)
    return len(counts) >= MIN_GROUPS and 1 < largest <= MAX_SHARE * len(keys)


def _plausible(keys: Sequence[str], items: Sequence[Item]) -> bool:
    """Tell whether groups by name can be patients: sizes as :func:`_enough` wants them, and classes that mix."""
    if not _enough(keys):
        return False
    classes: dict[str, set[str]] = {}
    for key, item in zip(keys, items, strict=True):
        if isinstance(item.target, str):
            classes.setdefault(key, set()).add(item.target)
    every = set[str]().union(*classes.values())
    # A prefix of which every group has one class may name the class, not the patient.
    return len(every) < 2 or any(len(c) > 1 for c in classes.values())

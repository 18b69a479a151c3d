"""From the words of a table or folder to class names or numbers."""

from collections import Counter
from collections.abc import Sequence

from lucency.errors import DataError
from lucency.read.table import is_missing, number

#: A column of numbers with more distinct values than this is measured, not counted in classes.
MAX_CLASSES = 20


def parsed(words: Sequence[str | None], name: str) -> tuple[list[str | float | None], tuple[str, ...], list[str]]:
    """Return targets, class names in order (none for numbers), and notes.

    Whole numbers of up to 20 distinct values are classes (``"1.0"`` is ``"1"``); other numbers are measurements;
    everything else is text, spaces trimmed, and ``TRUE`` and ``true`` are one class.

    Args:
        words: As found; None or a word such as ``NA`` is "not labelled".
        name: The column, for messages.

    Raises:
        DataError: No value at all, or text that differs for nearly every case.
    """
    trimmed = [None if w is None or is_missing(w) else w.strip() for w in words]
    known = [w for w in trimmed if w is not None]
    notes: list[str] = []
    if len(known) < len(words):
        notes.append(f"{len(words) - len(known)} of {len(words)} cases have no value for {name!r}: kept as unlabelled.")
    if not known:
        raise DataError("No case has a value", expected="labels", where=name, remedy="choose another with --target")
    numbers = [number(w) for w in known]
    if all(n is not None for n in numbers):
        values = [n for n in numbers if n is not None]
        distinct = sorted(set(values))
        if len(distinct) <= MAX_CLASSES and all(v.is_integer() for v in distinct):
            targets: list[str | float | None] = [None if w is None else str(int(float(w))) for w in trimmed]
            return targets, tuple(str(int(v)) for v in distinct), notes
        return [None if w is None else float(w) for w in trimmed], (), notes
    if {w.lower() for w in known} <= {"true", "false"}:
        trimmed = [None if w is None else w.capitalize() for w in trimmed]
        known = [w for w in trimmed if w is not None]
    counts = Counter(known)
    if len(counts) > MAX_CLASSES and len(counts) > len(known) / 3:
        raise DataError(
            f"{len(counts)} different texts for {len(known)} cases",
            expected="a few classes, each with several cases, or numbers",
            where=name,
            remedy="choose another column with --target",
        )
    return list(trimmed), tuple(sorted(counts)), notes

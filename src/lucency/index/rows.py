"""What is known about the rows of an index, and which of them a search may find."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lucency.errors import DataError, UsageError

#: What a search may be narrowed to: the target, the modality, the part of the split and the closed list of facts.
KEYS = ("label", "modality", "part", "age", "sex", "site", "scanner", "body_part")


@dataclass(frozen=True)
class Rows:
    """One entry for each embedding; no name, no path and no picture.

    Args:
        cases: Salted digest of the case id; the run that holds the salt can tell which case it is.
        patients: Salted digest of the patient.
        images: Salted digest of the image's bytes: the same image is recognised under any name.
        facts: Key of :data:`KEYS` to one value a row; None where it is not known.

    Raises:
        DataError: Columns of different lengths, or a key that is not in the list.
    """

    cases: tuple[str, ...]
    patients: tuple[str, ...]
    images: tuple[str, ...]
    facts: Mapping[str, tuple[str | float | None, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(self.cases), len(self.patients), len(self.images), *(len(v) for v in self.facts.values())}
        if len(lengths) != 1:
            raise DataError("Columns of different lengths", where="rows.json", remedy="build the index again")
        unknown = sorted(set(self.facts) - set(KEYS))
        if unknown:
            raise DataError(f"Facts {unknown}", expected=f"only {', '.join(KEYS)}", where="rows.json")

    def __len__(self) -> int:
        return len(self.cases)

    def of_patients(self, patients: Sequence[str]) -> np.ndarray:
        """Return the numbers of all rows of these patients, ascending."""
        wanted = set(patients)
        return np.array([n for n, p in enumerate(self.patients) if p in wanted], dtype=np.int64)

    def patients_of(self, *, case: str = "", image: str = "") -> frozenset[str]:
        """Return the patients of the rows that are this case or this image; empty where there is none."""
        pairs = zip(self.cases, self.images, self.patients, strict=True)
        return frozenset(p for c, i, p in pairs if (case and c == case) or (image and i == image))


@dataclass(frozen=True)
class Wanted:
    """A filter: all of its conditions must hold.

    Args:
        equal: Key to the value that a row must have.
        between: Key to the smallest and largest number allowed, both included.
    """

    equal: Mapping[str, str] = field(default_factory=dict)
    between: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def rows(self, rows: Rows) -> np.ndarray | None:
        """Return (rows,) bool, or None where everything is wanted.

        Raises:
            DataError: No row fulfils the conditions; the message names those that leave none and what there is.
        """
        keep: np.ndarray | None = None
        tests: dict[str, str | tuple[float, float]] = {**self.equal, **self.between}
        for key, test in tests.items():
            column = rows.facts.get(key, (None,) * len(rows))
            inside = np.array([_fits(value, test) for value in column])
            keep = inside if keep is None else keep & inside
            if not keep.any():
                raise DataError(
                    f"No case in the index has {key} = {_said(test)}",
                    expected=_present(column) if not inside.any() else "conditions that some case fulfils together",
                    where="--where",
                )
        return keep


def wanted(pairs: Mapping[str, str]) -> Wanted:
    """Read conditions as a person writes them: ``label=CXR``, ``age=40-60``, ``age=65``.

    Raises:
        UsageError: A key that cannot be asked for, or a range whose ends are turned around.

    Example:
        >>> wanted({"modality": "CT", "age": "40-60"}).between
        {'age': (40.0, 60.0)}
    """
    equal: dict[str, str] = {}
    between: dict[str, tuple[float, float]] = {}
    for key, text in pairs.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            raise UsageError(
                f"No condition {key!r}",
                expected=", ".join(KEYS),
                where="--where",
                remedy=f"did you mean {near[0]!r}?" if near else "",
            )
        if key == "age":
            between[key] = _range(text)
        else:
            equal[key] = text
    return Wanted(equal, between)


def _range(text: str) -> tuple[float, float]:
    low, dash, high = text.partition("-")
    try:
        ends = float(low), float(high if dash else low)
    except ValueError:
        raise UsageError(f"age = {text!r}", expected="a number or a range such as 40-60", where="--where") from None
    if ends[0] > ends[1]:
        raise UsageError(f"age = {text!r}", expected="the smaller number first", where="--where")
    return ends


def _fits(value: str | float | None, test: str | tuple[float, float]) -> bool:
    if isinstance(test, tuple):
        return isinstance(value, int | float) and test[0] <= value <= test[1]
    return value is not None and str(value) == test


def _said(test: str | tuple[float, float]) -> str:
    return test if isinstance(test, str) else f"{test[0]:g} to {test[1]:g}"


def _present(column: Sequence[str | float | None]) -> str:
    """Return what a column holds, for a message."""
    numbers = [v for v in column if isinstance(v, int | float)]
    if numbers:
        return f"a value within {min(numbers):g} to {max(numbers):g}"
    words = sorted({str(v) for v in column if v is not None})
    return ", ".join(words[:10]) if words else "a key that is known of these cases; of this one nothing is"

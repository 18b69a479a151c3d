"""Which row of which table speaks of which image."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from lucency.case import pseudonym
from lucency.errors import UsageError
from lucency.read.edges import box_columns
from lucency.read.files import part_of, stem_of, suffix_of
from lucency.read.layout import Spaced, Tree, Unit
from lucency.read.nnunet import by_case
from lucency.read.table import Table, is_missing, number

#: A table whose id column finds fewer rows than this share speaks of something else.
MIN_FOUND = 0.5

#: Above this share of repeated ids a table lists something finer than images (boxes, findings).
MAX_REPEATS = 0.1

#: A column of more different words holds names or remarks.
MOST_WORDS = 20

#: What ``--set pixel_size`` says behind a column that is of the image before it was made smaller, and for no column.
FULL, NO_COLUMN = "full", "none"

SEXES = {"m": "M", "male": "M", "男": "M", "f": "F", "female": "F", "女": "F", "o": "O", "other": "O"}


@dataclass(frozen=True)
class Match:
    """A table matched to the images.

    Args:
        table: The table.
        column: The column that names the images.
        rows: Row number to the images it speaks of; several where it names a folder.
        absent: Values of the column that name nothing here.
        repeated: Values that name an image already named.
        paths: Whether the column names files, so that an absent one is an error.
        pixel_size: As in :class:`lucency.read.ReadOptions`.
    """

    table: Table
    column: str
    rows: dict[int, tuple[Unit, ...]]
    absent: tuple[str, ...]
    repeated: tuple[str, ...]
    paths: bool
    pixel_size: str = ""

    @cached_property
    def measuring(self) -> tuple[str, ...]:
        """The columns that measure something or sort patients into few groups; boxes are no measurement."""
        roles = self.table.roles
        naming = {self.column, *(roles[r] for r in ("image", "mask", "part", "patient") if r in roles)}
        naming |= box_columns(self.table)
        return tuple(c for c in self.table.columns if c and c not in naming and self._measures(c))

    def _measures(self, column: str) -> bool:
        known = [v for v in self.table.column(column) if not is_missing(v)]
        words = {v for v in known if number(v) is None}
        return bool(known) and len(words) <= MOST_WORDS

    @cached_property
    def by_unit(self) -> dict[Unit, dict[str, str]]:
        """Image to its row, as column name to value."""
        return {
            unit: dict(zip(self.table.columns, self.table.rows[row], strict=True))
            for row, units in self.rows.items()
            for unit in units
        }


class Index:
    """Finds images by what a table calls them: path, name, stem, folder, DICOM key, or as a number.

    Args:
        units: The images.
        salt: Of the run: DICOM keys are known by their pseudonyms only.
    """

    def __init__(self, units: Iterable[Unit], salt: bytes = b"") -> None:
        self._salt = salt
        self._exact: dict[str, list[Unit]] = {}
        self._folder: dict[str, list[Unit]] = {}
        self._number: dict[int, list[Unit]] = {}
        self._keyed = False
        self._units = units = tuple(units)
        # Channels of one case are one thing to a table that names the case.
        cases = by_case(units, numbered=True)
        self._channels = cases if len(cases) < len(units) == sum(len(c) for c in cases.values()) else {}
        for unit in units:
            self._keyed |= bool(unit.uid)
            for name in unit.names:
                self._exact.setdefault(name, []).append(unit)
            # A series lies in its own folder, often some levels below the one that a table names.
            for folder in dict.fromkeys(unit.folders if unit.uid else unit.folders[-1:]):
                self._folder.setdefault(folder, []).append(unit)
            digits = re.findall(r"\d+", unit.stem)
            if digits:
                self._number.setdefault(int(digits[-1]), []).append(unit)

    def find(self, value: str, base: str = "") -> tuple[Unit, ...]:
        """Return the images that a cell names; ``base`` is the folder of the table."""
        value = value.strip().replace("\\", "/").removeprefix("./")
        # From the whole path down to the bare name, with and without suffix: an absolute path of another machine ends
        # in the same folders.
        pieces = value.split("/")
        for tail in ([f"{base}/{value}"] if base else []) + ["/".join(pieces[n:]) for n in range(len(pieces))]:
            for name in (tail, stem_of(tail)):
                found = self._exact.get(name, [])
                if len(found) == 1 or (found and all(u.uid for u in found)):
                    return tuple(found)
                if name in self._channels:
                    known = {u.path for u in self._channels[name].values()}
                    return tuple(u for u in self._units if u.path in known)
        disguised = self._exact.get(pseudonym(self._salt, value), []) if self._keyed else []
        if disguised:
            return tuple(disguised)
        if value in self._folder:
            return tuple(self._folder[value])
        whole = re.fullmatch(r"0*(\d+)(?:\.0+)?", value)
        found = self._number.get(int(whole[1]), []) if whole else []
        return tuple(found) if len(found) == 1 else ()


def matches(tree: Tree, units: Iterable[Unit]) -> list[Match]:
    """Return every table of the tree that speaks of the images, one row for each, best first."""
    index = Index(units, tree.salt)
    found = [replace(m, pixel_size=tree.pixel_size) for t in tree.tables if (m := match(t, index)) is not None]
    return sorted(found, key=lambda m: -len(m.by_unit))


def match(table: Table, index: Index) -> Match | None:
    """Return how a table names the images, by the column that names most; None when none does."""
    best = _best_trial(table, index)
    if best is None:
        return None
    asked = len(best.rows) + len(best.absent) + len(best.repeated)
    if len(best.rows) + len(best.repeated) < MIN_FOUND * asked and not best.paths:
        return None
    if len(best.repeated) > MAX_REPEATS * asked:
        return None
    return best


def _best_trial(table: Table, index: Index) -> Match | None:
    trials = [_trial(table, c, index) for c in table.columns if c or table.columns.count(c) == 1]
    trials = [t for t in trials if t.rows]
    named = table.roles.get("image")
    return max(
        trials,
        key=lambda t: (len(t.by_unit), len(t.rows), t.column == named, -table.columns.index(t.column)),
        default=None,
    )


def unused(tree: Tree, units: Iterable[Unit]) -> list[str]:
    """Return for every table that speaks of no image, or not of one a row, why it was not used."""
    index, notes = Index(units, tree.salt), []
    for table in tree.tables:
        if match(table, index) is not None:
            continue
        best = _best_trial(table, index)
        why = "no column of it names the images"
        if best is not None and len(best.repeated) > len(best.absent):
            why = f"{len(best.repeated)} rows of column {best.column!r} name an image that an earlier row names"
        elif best is not None:
            why = f"{len(best.absent)} of {len(table.rows)} values of column {best.column!r} name no image here"
        notes.append(f"The table {table.path} was not used: {why}.")
    return notes


def _trial(table: Table, column: str, index: Index) -> Match:
    base = table.path.rpartition("/")[0]
    rows: dict[int, tuple[Unit, ...]] = {}
    seen: set[Unit] = set()
    absent: list[str] = []
    repeated: list[str] = []
    values = table.column(column)
    for row, value in enumerate(values):
        if is_missing(value):
            continue
        units = index.find(value, base)
        if not units:
            absent.append(value)
        elif seen & set(units):
            repeated.append(value)
        else:
            rows[row] = units
            seen |= set(units)
    named_files = sum(bool(suffix_of(v)) for v in values) > len(values) / 2
    return Match(table, column, rows, tuple(absent), tuple(repeated), named_files)


def facts_of(match_: Match, row: dict[str, str]) -> dict[str, str | float]:
    """Return the facts in a row; sexes as M, F, O, ages and times as numbers."""
    facts: dict[str, str | float] = {}
    for role in ("age", "time", "event"):
        value = number(row.get(match_.table.roles.get(role, ""), ""))
        if value is not None:
            facts[role] = value
    for role in ("site", "scanner", "modality", "body_part"):
        value_text = row.get(match_.table.roles.get(role, ""), "")
        if not is_missing(value_text):
            facts[role] = value_text
    sex = SEXES.get(row.get(match_.table.roles.get("sex", ""), "").lower())
    return facts | ({"sex": sex} if sex else {})


def clinical_of(match_: Match, row: dict[str, str]) -> dict[str, str | float]:
    """Return the cells of a row that measure something, to number or word; empty ones are left out.

    Columns that name images, patients, files or parts are left out, and texts of which there are many: they are names
    or remarks.
    """
    found: dict[str, str | float] = {}
    for column in match_.measuring:
        cell = row.get(column, "")
        if not is_missing(cell):
            value = number(cell)
            found[column] = cell if value is None else value
    return found


def spacing_of(match_: Match, row: dict[str, str]) -> Spaced | None:
    """Return the size of pixels that a row states; a number no scanner has is not taken."""
    column, full = size_column(match_)
    if not column:
        return None
    # Two numbers are those of rows and of columns, in the order of DICOM's Pixel Spacing (PS3.3, 10.7.1.3).
    cell = [number(word) for word in re.findall(r"[\d.eE+-]+", row.get(column, ""))]
    # Microscopes begin below 1 µm; no pixel of a patient's image is wider than 20 mm.
    sizes = [v for v in cell if v is not None and 1e-4 < v < 20.0]
    if not sizes or len(sizes) != len(cell) or len(sizes) > 2:
        return None
    spacing = (1.0, sizes[0], sizes[-1])
    if not full:
        return Spaced(spacing, column)
    height, width = (number(row.get(match_.table.roles.get(f"full_{side}", ""), "")) for side in ("height", "width"))
    if not height and not width:
        return None
    return Spaced(spacing, column, (height or 0.0, width or 0.0))


def size_column(match_: Match) -> tuple[str, bool]:
    """Return the column that states the size of pixels, and whether of the image before it was made smaller."""
    roles, asked = match_.table.roles, match_.pixel_size
    if asked:
        # Here "none" is no column.
        name, _, of = asked.partition(":")
        return match_.table.named(name), of.strip() == FULL
    own = roles.get("spacing", "")
    return own or roles.get("full_spacing", ""), not own


def told_of_sizes(found: Iterable[Match]) -> list[str]:
    """Return where the size of pixels is taken from, for images whose files do not state it."""
    said = []
    for match_ in found:
        column, full = size_column(match_)
        if not column or not any(spacing_of(match_, row) for row in match_.by_unit.values()):
            continue
        width = match_.table.roles.get("full_width") or match_.table.roles.get("full_height") or ""
        whose = f"of the images before they were made smaller ({width})" if full else "of the images as they are stored"
        said.append(f"The size of pixels in mm is taken from column {column} of {match_.table.path}, {whose}.")
        if width and not full:
            said.append(
                f"The table also has the size of the images before they were made smaller ({width}); where {column} is "
                f"of those, say --set pixel_size={column}:{FULL}."
            )
    return said


def refuse_unknown_size(tree: Tree) -> None:
    """Refuse a column of pixel sizes that no table has.

    Raises:
        UsageError: It is in no table, or what stands behind the colon is not known.
    """
    name, colon, of = tree.pixel_size.partition(":")
    if not name or name == NO_COLUMN:
        return
    if colon and of.strip() != FULL:
        raise UsageError(
            f"pixel_size = {tree.pixel_size!r}", expected=f"COLUMN or COLUMN:{FULL}", where="--set pixel_size"
        )
    if not any(t.named(name) for t in tree.tables):
        columns = ", ".join(dict.fromkeys(c for t in tree.tables for c in t.columns if c)) or "none"
        raise UsageError(f"No column {name!r}", where="--set pixel_size", remedy=f"use one of the columns: {columns}")


def part_in(match_: Match, row: dict[str, str]) -> str:
    """Return the part that a row names, or ``""``."""
    return part_of(row.get(match_.table.roles.get("part", ""), ""))

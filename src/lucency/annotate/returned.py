"""What annotators give back: masks, boxes and words, matched to the cases they were drawn on, and what cannot be used.

Nothing is loaded before it is asked for: a folder of corrected volumes need not fit into memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from lucency.annotate.collecting import Item, collected
from lucency.annotate.exchange import mask_of
from lucency.annotation import Annotation, values_in
from lucency.boxes import Box
from lucency.case import Case, Skipped
from lucency.errors import DataError, LucencyError, ReadError
from lucency.model import Model
from lucency.plan import Plan
from lucency.read.drawn import Drawn, checked
from lucency.read.edges import edge_columns
from lucency.read.files import stem_of
from lucency.read.findings import NOTHING
from lucency.read.formats import reason
from lucency.read.layout import Unit, tree_of
from lucency.read.matching import Index
from lucency.read.table import Table, is_missing, number
from lucency.tasks import task_named

#: What the baselines of a task are called that gives an image several labels, or none of them.
SEVERAL = "labels"


@dataclass(frozen=True)
class Work:
    """What one folder holds.

    Args:
        by: Name of the folder.
        annotations: Case id to what loads its annotation.
        left_out: Files and entries that cannot be used, with the reason.
    """

    by: str
    annotations: Mapping[str, Callable[[], Annotation]]
    left_out: tuple[Skipped, ...] = ()


def read_work(folder: Path, cases: Sequence[Case], model: Model) -> list[Work]:
    """Return what a folder holds for these cases; each fault is named and none is fatal to the rest.

    Masks, boxes and words are read as :func:`lucency.annotate.collecting.collected` finds them; boxes also from a table
    with a column ``case``, words and numbers from one with ``case`` and ``label`` or ``value``. The files of ``pre/``,
    corrected in place, are all of that kind.

    Args:
        folder: Of one annotator, or an export in which several are told apart.
        cases: Images that were given out.
        model: What it answers and what it calls things.

    Returns:
        One for each annotator; at least one.
    """
    task, plan = task_named(model.plan.task), model.plan
    labels, name = plan.labels or dict(enumerate(plan.classes, start=1)), folder.resolve().name
    if plan.ignore is not None:
        # Its number is taken: what an annotator adds must not come to be called so.
        labels = {**labels, plan.ignore: "ignore"}
    try:
        tree = tree_of(folder)
    except DataError as error:
        return [Work(name, {}, (Skipped(".", reason(error)),))]
    every = collected(folder, cases, labels)
    groups: dict[str, list[Item]] = {}
    for item in every.items:
        groups.setdefault(item.by, []).append(item)
    # Tables do not say who filled them in.
    groups.setdefault("", [])
    work = []
    for by, items in sorted(groups.items()):
        reader = _Reader(items, () if by else tree.tables, cases, plan)
        if task.dense or task.boxes:
            found = reader.masks() if task.dense else reader.boxes()
        else:
            found = reader.words(several=task.baselines == SEVERAL)
        left_out = (*reader.left_out, *(() if by else every.left_out))
        work.append(Work(f"{name} {by}".strip(), dict(sorted(found.items())), left_out))
    kept = [one for one in work if one.annotations or one.left_out] or work[:1]
    return [replace(kept[0], by=name)] if len(kept) == 1 else kept


class _Reader:
    """Reads the work of one annotator."""

    def __init__(self, items: Sequence[Item], tables: Sequence[Table], cases: Sequence[Case], plan: Plan) -> None:
        self.items, self.tables, self.plan = items, tables, plan
        self.cases = {c.id: c for c in cases}
        self.left_out: list[Skipped] = []

    @cached_property
    def index(self) -> Index:
        """Finds a case by what a file calls its image."""
        return Index([_unit(case) for case in self.cases.values()])

    def masks(self) -> dict[str, Callable[[], Annotation]]:
        """Return the masks that fit their images; each is looked at once and loaded again when it is needed."""
        found: dict[str, Callable[[], Annotation]] = {}
        for item in self.items:
            load_it = _Mask(item.load, self.plan)
            try:
                if item.case in found:
                    raise ReadError("The case has another mask already")
                load_it()
            except LucencyError as error:
                self._refuse(item.where, reason(error))
            else:
                found[item.case] = load_it
        return found

    def boxes(self) -> dict[str, Callable[[], Annotation]]:
        """Return the boxes of each case; a case that a file names without boxes has nothing on it."""
        drawn: dict[str, list[Drawn]] = {}
        spoilt: set[str] = set()
        for item in self.items:
            try:
                found = item.load()
            except LucencyError as error:
                self._refuse(item.where, reason(error))
                continue
            for note in found.notes:
                spoilt.add(item.case)
                self._refuse(item.where, note)
            if found.boxes is None and item.where.lower().endswith(".json"):
                self._refuse(item.where, _other_kind("regions or words", "boxes"))
            if found.boxes is not None and any(layer.array.any() for layer in found.layers):
                spoilt.add(item.case)
                self._refuse(item.where, _other_kind("regions", "boxes"))
            if found.boxes is not None:
                drawn.setdefault(item.case, []).extend(_as_drawn(b, item.where) for b in found.boxes)
        for table in self.tables:
            self._rows(table, drawn)
        checked_boxes = {case: self._checked(case, boxes) for case, boxes in drawn.items()}
        return {case: load for case, load in checked_boxes.items() if load is not None and case not in spoilt}

    def _rows(self, table: Table, drawn: dict[str, list[Drawn]]) -> None:
        columns, sides = edge_columns(table)
        case_column, label = table.named("case") or table.roles.get("image", ""), table.named("label")
        if not columns or sides or not case_column or not label:
            return
        told = table.named("told")
        for n, row in enumerate(table.rows, start=table.header + 1):
            cells = dict(zip(table.columns, row, strict=True))
            where, case = f"{table.path}, line {n}", self._found(cells[case_column])
            if case is None:
                self._refuse(where, "No case of this name was given out.")
                continue
            boxes = drawn.setdefault(case.id, [])
            # What the model did not tell was never shown to the person.
            hidden = bool(told) and number(cells[told]) == 0
            if hidden or all(is_missing(cells[c]) for c in columns):
                continue
            edges = tuple(e if (e := number(cells[c])) is not None else float("nan") for c in columns)
            boxes.append(Drawn(cells[label], edges, where))

    def _checked(self, case: str, drawn: Sequence[Drawn]) -> Callable[[], Annotation] | None:
        """Return the boxes of a case; None where one of them cannot be used, for a lack would be taught as well."""
        foreign = [d for d in drawn if d.label not in self.plan.classes]
        for one in foreign:
            self._refuse(one.where, f"Label {one.label!r} is not one of {', '.join(self.plan.classes)}.")
        boxes, bad, _ = checked([d for d in drawn if d not in foreign], _size(self.cases[case]))
        self.left_out += bad
        return None if foreign or bad else _Given(Annotation(case, boxes=boxes))

    # --- words

    def words(self, *, several: bool) -> dict[str, Callable[[], Annotation]]:
        """Return the words or the number of each case; an empty cell is no answer, or none of ``several`` labels."""
        found: dict[str, Callable[[], Annotation]] = {}
        for item in self.items:
            try:
                said = item.load().classes
                if said is not None:
                    self._add(found, item.case, self._known(said, several=several))
            except LucencyError as error:
                self._refuse(item.where, reason(error))
        for table in self.tables:
            case_column = table.named("case") or table.roles.get("image", "")
            answer = table.named("label" if self.plan.classes else "value")
            if not case_column or not answer:
                continue
            pairs = zip(table.column(case_column), table.column(answer), strict=True)
            for n, (name, word) in enumerate(pairs, start=table.header + 1):
                case = self._found(name)
                if is_missing(word) and not several:
                    continue
                try:
                    if case is None:
                        raise ReadError("No case of this name was given out")
                    self._add(found, case.id, self._understood(word, several=several))
                except LucencyError as error:
                    self._refuse(f"{table.path}, line {n}", reason(error))
        return found

    def _add(self, found: dict[str, Callable[[], Annotation]], case: str, words: tuple[str, ...]) -> None:
        """Keep an answer; one that says otherwise than the first one is refused."""
        if case in found and set(found[case]().classes or ()) != set(words):
            raise ReadError("The case has another answer already")
        found[case] = _Given(Annotation(case, classes=words))

    def _understood(self, cell: str, *, several: bool) -> tuple[str, ...]:
        """Return the words of a cell, checked against what the model knows."""
        if not self.plan.classes:
            if number(cell) is None:
                raise ReadError(f"Value {cell!r}", expected="a number")
            return (cell,)
        if several and (is_missing(cell) or cell.strip().lower() in NOTHING):
            return ()
        words = tuple(w.strip() for w in cell.split("|")) if several else (cell.strip(),)
        return self._known(words, several=several)

    def _known(self, words: tuple[str, ...], *, several: bool) -> tuple[str, ...]:
        """Return the words, if they are an answer that the model could give."""
        for word in words:
            if self.plan.classes and word not in self.plan.classes:
                raise ReadError(f"Label {word!r}", expected=", ".join(self.plan.classes))
        if not several and len(words) != 1:
            raise ReadError(f"{len(words)} labels", expected="one label")
        return words

    def _found(self, name: str) -> Case | None:
        if name in self.cases:
            return self.cases[name]
        units = self.index.find(name)
        return next((c for c in self.cases.values() if len(units) == 1 and _unit(c) == units[0]), None)

    def _refuse(self, where: str, why: str) -> None:
        self.left_out.append(Skipped(where, why))


@dataclass(frozen=True, eq=False)
class _Given:
    """An annotation that is small enough to be kept."""

    annotation: Annotation

    def __call__(self) -> Annotation:
        """Return it."""
        return self.annotation


@dataclass(frozen=True, eq=False)
class _Mask:
    """A mask that is loaded and checked whenever it is asked for."""

    load: Callable[[], Annotation]
    plan: Plan

    def __call__(self) -> Annotation:
        """Return the mask as one layer.

        Raises:
            ReadError: It cannot be read, had to be brought onto the image's grid, or holds a value without a name.
        """
        found = self.load()
        if not found.layers:
            raise ReadError("No regions", expected="a mask")
        if found.boxes:
            raise ReadError("Boxes beside the regions", expected="a mask", remedy="draw them as regions")
        if found.notes:
            raise ReadError(
                " ".join(found.notes).rstrip("."),
                expected="the voxels of the whole image, in their place",
                remedy="export the whole mask on the grid of the image it was drawn on",
            )
        labels = dict(self.plan.labels) | ({} if self.plan.ignore is None else {self.plan.ignore: "ignore"})
        mask = mask_of(found)
        foreign = sorted(values_in(mask.array) - {0} - set(labels))
        if foreign:
            known = ", ".join(f"{v} ({n})" for v, n in sorted(self.plan.labels.items()))
            raise ReadError(
                f"Label {str(found.labels.get(foreign[0], foreign[0]))!r}",
                expected=f"{known}, and 0 for nothing",
                remedy="draw with the labels of the pre-annotation",
            )
        return Annotation(found.case, (mask,), labels, by=found.by)


def _other_kind(found: str, expected: str) -> str:
    return reason(ReadError(f"Drawn are {found}", expected=expected, remedy=f"draw {expected} and export them again"))


def _as_drawn(box: Box, where: str) -> Drawn:
    (k, j, i), (k_end, j_end, i_end) = box.low, box.high
    return Drawn(box.label, (i, j, i_end, j_end, k, k_end), where)


def _unit(case: Case) -> Unit:
    source = case.sources[0]
    path = source.paths[0]
    names = {case.id, path, PurePosixPath(path).name, stem_of(path), stem_of(PurePosixPath(path).name)}
    return Unit(path if not source.item else f"{path}/{source.item}", source, frozenset(names))


def _size(case: Case) -> tuple[int, int, int]:
    size = case.sources[0].header.get("size", (1, 1, 1))
    if not isinstance(size, tuple):
        raise DataError("An image of unknown size", where=case.id, remedy="report this as a bug")
    k, j, i = (int(n) for n in size)
    return k, j, i

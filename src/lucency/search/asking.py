"""From images to the most similar cases of a run: never the same patient, and with what made them similar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lucency import model as models
from lucency.case import Case, Skipped
from lucency.errors import DataError, UsageError
from lucency.events import Events, Listener
from lucency.features import Seen, encoder, seen, shares
from lucency.index import Index
from lucency.index.rows import wanted
from lucency.model import Model
from lucency.prepare import Store, digest_of
from lucency.read.formats import reason
from lucency.search.building import Known, image_digest, index_of, known, modality_of, prepared_array
from lucency.search.page import Entry, Side, write_page
from lucency.walk import inputs_as_trained
from lucency.write.rows import Cell
from lucency.write.table import write_table

#: Queries and neighbours that the page shows; the table holds all.
SHOWN_QUERIES, SHOWN_NEIGHBOURS = 20, 10

#: Of each query so many neighbours are explained: maps of the tenth tell nothing that those of the third did not.
EXPLAINED = 3


@dataclass(frozen=True)
class Ask:
    """What is asked of an index.

    Args:
        top: How many neighbours each query gets, 1 or more.
        where: Conditions as a person writes them, see :func:`lucency.index.rows.wanted`.
        nan: Value for NaN voxels of the queries; None refuses them.
        lang: Of the page.
    """

    top: int = 10
    where: Mapping[str, str] = field(default_factory=dict)
    nan: float | None = None
    lang: str = "en"

    def __post_init__(self) -> None:
        if self.top < 1:
            raise UsageError(f"top = {self.top}", expected="1 or more", where="--top")


@dataclass(frozen=True)
class Neighbour:
    """A case that was found.

    Args:
        case: Its id, or the digest in the index where the run that knows the id is not at hand.
        similarity: Cosine of the embeddings, -1 to 1.
        facts: Label, modality and what else the index holds of it.
    """

    case: str
    similarity: float
    facts: Mapping[str, str | float]


@dataclass(frozen=True)
class Answer:
    """One query with what lies nearest to it.

    Args:
        case: Id of the query.
        neighbours: The nearest first; never of the query's own patient, as far as one can tell.
        note: What to know before trusting it, for example another modality; empty where there is nothing.
    """

    case: str
    neighbours: tuple[Neighbour, ...]
    note: str = ""


def search(
    run: str | Path,
    src: str | Path,
    out: str | Path | None = None,
    *,
    ask: Ask | None = None,
    listeners: Sequence[Listener] = (),
) -> list[Answer]:
    """Find the cases of a run that are most similar to each image in ``src``.

    With ``out`` a table (``neighbours.csv``) and a page with pictures (``index.html``) are written, and what could
    not be read stands in ``skipped.csv``.

    Args:
        run: Run folder, or a model folder with its index.
        src: Image, folder, DICOM tree or npz container.
        out: Folder for table and page; None writes nothing.
        ask: What is asked.
        listeners: Called with progress events.

    Raises:
        ModelError: The model or its index was altered, or there is neither index nor run.
        UsageError: A condition that cannot be asked for.
        DataError: No image can be used, or no case fulfils the conditions.
    """
    ask = ask or Ask()
    where = wanted(ask.where) if ask.where else None
    place, events = Path(run).expanduser().absolute(), Events(None, *listeners)
    model, owner = models.load(place), known(place)
    index = index_of(model, owner, events)
    inputs = inputs_as_trained(place, model.plan, src)
    queries, lost = _prepared(inputs, model, ask)
    if not queries:
        raise DataError(
            f"None of {len(lost)} images can be compared; the first: {lost[0].reason.rstrip('.')}",
            expected="images that can be decoded and have the dimensions and channels of the model",
            where=lost[0].path,
        )
    views = list(seen(encoder(model), (array for _, array in queries), model.plan))
    cases = [case for case, _ in queries]
    own = [_own_rows(case, index, owner) for case in cases]
    unit = index.placed(np.stack([v.whole for v in views]))
    found = index.search(unit, ask.top, where=where, excluded=own)
    ids = {} if owner is None else {digest: case.id for digest, case in owner.by_digest().items()}
    answers = [
        Answer(
            case.id,
            tuple(_neighbour(index, row, s, ids) for row, s in zip(one.rows, one.similarities, strict=True)),
            _note(case, index),
        )
        for case, one in zip(cases, found, strict=True)
    ]
    if out is not None:
        folder = Path(out).expanduser()
        _write_tables(folder, answers, index, (*inputs.skipped, *lost))
        chosen = [f.rows[:SHOWN_NEIGHBOURS] for f in found[:SHOWN_QUERIES]]
        shown = zip(answers, queries, views, chosen, strict=False)
        painter = _Painter(model, index, owner)
        write_page(folder / "index.html", [painter.entry(a, q[1], v, rows) for a, q, v, rows in shown], ask.lang)
    return answers


def _prepared(inputs: Sequence[Case], model: Model, ask: Ask) -> tuple[list[tuple[Case, np.ndarray]], list[Skipped]]:
    """Return what can be compared, on the network's grid, and what cannot, with the reason."""
    queries: list[tuple[Case, np.ndarray]] = []
    lost: list[Skipped] = []
    for case in inputs:
        try:
            queries.append((case, prepared_array(case, model.plan, nan=ask.nan)))
        except DataError as error:
            lost.append(Skipped(error.where or case.sources[0].where, reason(error)))
    return queries, lost


def _own_rows(case: Case, index: Index, run: Known | None) -> np.ndarray:
    """Return the rows of the query's own patient: by the header, by the case's id, or by the image itself."""
    patients = {case.patient}
    if run is not None:
        patients |= index.rows.patients_of(case=run.digest("row", case.id), image=image_digest(case, run.salt))
    return index.rows.of_patients(sorted(patients))


def _note(case: Case, index: Index) -> str:
    """Say where the query is of a modality that the index does not hold."""
    held = sorted({str(m) for m in index.rows.facts.get("modality", ()) if m})
    given = modality_of(case)
    if given and held and given not in held:
        return (
            f"the query is {given}, the cases in the index are {', '.join(held)}: similarity across them means little"
        )
    return ""


def _neighbour(index: Index, row: int, similarity: float, ids: Mapping[str, str]) -> Neighbour:
    digest = index.rows.cases[row]
    facts = {key: column[row] for key, column in index.rows.facts.items()}
    return Neighbour(ids.get(digest, digest), similarity, {k: v for k, v in facts.items() if v is not None})


def _write_tables(folder: Path, answers: Sequence[Answer], index: Index, skipped: Sequence[Skipped]) -> None:
    keys = tuple(index.rows.facts)
    rows: list[tuple[Cell, ...]] = [
        (a.case, rank, n.case, round(n.similarity, 4), *(n.facts.get(k) for k in keys), a.note)
        for a in answers
        for rank, n in enumerate(a.neighbours, start=1)
    ]
    write_table(folder / "neighbours.csv", ("query", "rank", "case", "similarity", *keys, "note"), rows)
    (folder / "skipped.csv").unlink(missing_ok=True)
    if skipped:
        write_table(folder / "skipped.csv", ("path", "reason"), [(s.path, s.reason) for s in skipped])


class _Painter:
    """Draws queries and neighbours with what each place of them adds to the similarity."""

    def __init__(self, model: Model, index: Index, run: Known | None) -> None:
        self.model, self.index = model, index
        self.cases = {} if run is None else run.by_digest()
        self.store = None if run is None else Store(run.folder / "prepared" / digest_of(run.cohort, model.plan))
        self.body = encoder(model)
        self._drawn: dict[int, tuple[np.ndarray, Seen] | None] = {}

    def entry(self, answer: Answer, array: np.ndarray, view: Seen, rows: Sequence[int]) -> Entry:
        """Return one query of the page."""
        sides = []
        for place, (row, neighbour) in enumerate(zip(rows, answer.neighbours, strict=False)):
            drawn = self._neighbour(row)
            theirs = None if drawn is None else drawn[0]
            maps = None
            if drawn is not None and place < EXPLAINED:
                maps = shares(view, drawn[1], self.index.space)
            sides.append(Side(neighbour.case, neighbour.similarity, neighbour.facts, theirs, maps))
        return Entry(answer.case, array, tuple(sides), answer.note)

    def _neighbour(self, row: int) -> tuple[np.ndarray, Seen] | None:
        """Return a case of the index as it was prepared and seen; None where its image is not at hand."""
        if row not in self._drawn:
            case = self.cases.get(self.index.rows.cases[row])
            self._drawn[row] = None
            if case is not None:
                try:
                    array = prepared_array(case, self.model.plan, self.store)
                    self._drawn[row] = (array, next(seen(self.body, [array], self.model.plan)))
                except DataError:
                    pass
        return self._drawn[row]

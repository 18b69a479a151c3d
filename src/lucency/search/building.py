"""The index of a run: every case it can read, as its model sees it."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lucency import record
from lucency.case import Case, Cohort, pseudonym
from lucency.errors import DataError, ModelError
from lucency.events import Events
from lucency.features import encoder, seen
from lucency.index import Index, Rows, remember
from lucency.index.rows import KEYS
from lucency.inspect import Inspection, settle
from lucency.model import Model
from lucency.plan import Plan
from lucency.prepare import Store, digest_of, images_of, prepare_visits
from lucency.walk import Passport, locked

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """What a run folder knows and a model alone does not: who is behind the rows of the index.

    Args:
        folder: The run folder.
        cohort: Its cases.
        salt: Of its pseudonyms.
    """

    folder: Path
    cohort: Cohort
    salt: bytes

    def digest(self, kind: str, text: str) -> str:
        """Return the salted digest under which a case or an image stands in the index."""
        return pseudonym(self.salt, f"{kind}:{text}")

    def by_digest(self) -> Mapping[str, Case]:
        """Return the cases by the digest that stands for each in the index."""
        return {self.digest("row", c.id): c for c in self.cohort.cases}


def known(run: Path) -> Known | None:
    """Return what the run knows; None where the folder is a model without its run."""
    if not (run / "run.json").exists() or not (run / "cohort.json").exists():
        return None
    cohort = record.read(Cohort, run / "cohort.json")
    if (run / "inspection.json").exists():
        cohort = settle(cohort, record.read(Inspection, run / "inspection.json"))
    return Known(run, cohort, bytes.fromhex(record.read(Passport, run / "run.json").salt))


def index_of(model: Model, run: Known | None, events: Events | None = None) -> Index:
    """Return the index that lies with a model; built, or built anew, where the run has another model by now.

    Args:
        model: Loaded and thereby verified.
        run: The run that holds the data; None opens only what is there.
        events: Progress.

    Raises:
        ModelError: No index and no run to build it from, or a file of the index was changed.
        DataError: Not one case can be read.
    """
    folder = model.folder / "index"
    if (folder / "index.json").exists():
        index = Index(folder)
        if index.model == model.digest:
            return index
        if run is None:
            raise ModelError("The index was made with another model", where=folder.name, remedy="search in the run")
    if run is None:
        raise ModelError(
            "No index beside this model",
            expected="a run folder with its data, or a model folder with index/",
            where=model.folder.name,
            remedy="run 'lucency search' once with the run folder",
        )
    with locked(run.folder):
        return _built(folder, model, run, events or Events())


def _built(folder: Path, model: Model, run: Known, events: Events) -> Index:
    cases = [c for c in run.cohort.cases if c.id not in run.cohort.left_out]
    store = Store(run.folder / "prepared" / digest_of(run.cohort, model.plan))
    kept: list[Case] = []
    every = max(1, len(cases) // 20)

    def arrays() -> Iterator[np.ndarray]:
        for number, case in enumerate(cases, start=1):
            try:
                array = prepared_array(case, model.plan, store)
            except DataError as error:
                log.warning("A case is not in the index: %s", error.found)
                continue
            kept.append(case)
            yield array
            if number % every == 0 or number == len(cases):
                events.emit("search", "progress", done=number, of=len(cases))

    features = [s.whole for s in seen(encoder(model), arrays(), model.plan)]
    if not features:
        raise DataError(f"None of {len(cases)} cases can be read", where="index", remedy="bring back the data")
    return remember(folder, np.stack(features), _rows(kept, run), model.digest)


def prepared_array(case: Case, plan: Plan, store: Store | None = None, *, nan: float | None = None) -> np.ndarray:
    """Return a case on the network's grid, (C, K, J, I) float32; from the store where it lies there.

    Args:
        case: Of the run, or a query.
        plan: Its grid and normalisation.
        store: Prepared cases of the run.
        nan: Value for NaN voxels; None is the plan's own, or refuses them.

    Raises:
        DataError: It cannot be decoded or does not fit the plan.
    """
    if store is not None and case.id in store.entries:
        return store.image(case.id).astype(np.float32)
    fill = plan.nan if nan is None else nan
    return prepare_visits([images_of(visit, plan, fill) for visit in case.visits], plan).array


def image_digest(case: Case, salt: bytes) -> str:
    """Return what stands for the bytes of a case's images; the same image has it under any name."""
    return pseudonym(salt, "image:" + "/".join(s.checksum for s in case.sources))


def modality_of(case: Case) -> str:
    """Return the modality that the header or a table says, or an empty word."""
    return str(case.sources[0].header.get("modality", "") or case.facts.get("modality", ""))


def _rows(cases: Sequence[Case], run: Known) -> Rows:
    columns: dict[str, tuple[str | float | None, ...]] = {}
    for key in KEYS:
        column = tuple(_fact(c, key, run.cohort) for c in cases)
        if any(v is not None for v in column):
            columns[key] = column
    return Rows(
        tuple(run.digest("row", c.id) for c in cases),
        tuple(c.patient for c in cases),
        tuple(image_digest(c, run.salt) for c in cases),
        columns,
    )


def _fact(case: Case, key: str, cohort: Cohort) -> str | float | None:
    if key == "label":
        return case.target if isinstance(case.target, str | int | float) else None
    if key == "modality":
        return modality_of(case) or None
    if key == "part":
        fold = cohort.folds.get(case.id)
        return "locked" if case.id in cohort.locked else None if fold is None else f"fold {fold}"
    return case.facts.get(key)

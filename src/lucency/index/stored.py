"""An index as a folder: embeddings as a memory map, rows and checksums as JSON, and where it pays a FAISS index."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lucency import record
from lucency.errors import ModelError, OutputError
from lucency.index import approximate
from lucency.index.exact import nearest
from lucency.index.rows import Rows, Wanted
from lucency.index.space import MOST_AVERAGED, Space, averaged, averaged_all, space_of

VECTORS, ROWS, FACTS, GRAPH = "vectors.npy", "rows.json", "index.json", "approximate.faiss"


@dataclass(frozen=True)
class Found:
    """What lies nearest to one query.

    Args:
        rows: Numbers in the index, the nearest first; fewer than asked for where the filter leaves fewer.
        similarities: Cosine of each, -1 to 1.
    """

    rows: tuple[int, ...]
    similarities: tuple[float, ...]


@dataclass(frozen=True)
class Facts:
    """What an index says of itself: ``index.json``.

    Args:
        model: Digest of the model whose embeddings these are.
        space: How features become embeddings.
        averaged: Whether every embedding was averaged with its neighbours, and queries are.
        files: File name to SHA-256.
    """

    model: str
    space: Space
    averaged: bool
    files: dict[str, str]


class Index:
    """Embeddings of cases, open for search. Loading runs no code, and every file is checked against its SHA-256.

    Args:
        folder: ``RUN/model/index``.

    Raises:
        ModelError: A file is missing or was changed.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / FACTS).exists():
            raise ModelError("No index here", where=folder.name, remedy="search once in the run that has the data")
        facts = record.read(Facts, folder / FACTS)
        for name in (VECTORS, ROWS):
            if name not in facts.files:
                raise ModelError("File of the index is not in its list", where=name, remedy="build the index again")
        for name, digest in facts.files.items():
            path = folder / name
            if Path(name).name != name or not path.is_file() or _sha256(path) != digest:
                raise ModelError("File of the index is missing or was changed", where=name, remedy="build it again")
        self.folder, self.model = folder, facts.model
        self.space, self.averaged = facts.space, facts.averaged
        self.vectors: np.ndarray = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        self.rows = record.read(Rows, folder / ROWS)
        if self.vectors.shape != (len(self.rows), self.space.matrix.shape[1]):
            raise ModelError("Embeddings and rows do not fit together", where=VECTORS, remedy="build the index again")
        self._graph = folder / GRAPH if GRAPH in facts.files else None

    def placed(self, features: np.ndarray) -> np.ndarray:
        """Return raw features, (q, d), as unit vectors of this index, (q, d) float32."""
        return self.space.unit(features)

    def search(
        self, queries: np.ndarray, n: int, *, where: Wanted | None = None, excluded: Sequence[np.ndarray] = ()
    ) -> list[Found]:
        """Return the ``n`` nearest cases of each query.

        The search is exact, unless the index is so large that a FAISS index was stored with it and nothing is
        filtered; its candidates are then compared exactly, so the similarities are right in either case.

        Args:
            queries: (q, d) float32 unit vectors, from :meth:`placed`.
            n: How many are wanted.
            where: Filter; None searches all.
            excluded: For each query the rows of its own patient.

        Raises:
            DataError: The filter leaves no case.
        """
        allowed = where.rows(self.rows) if where is not None else None
        if self.averaged:
            queries = averaged(self.vectors, queries, allowed=allowed, excluded=excluded)
        if self._graph is not None and allowed is None:
            return self._approximate(queries, n, excluded)
        rows, values = nearest(self.vectors, queries, n, allowed=allowed, excluded=excluded)
        return [_found(r, v) for r, v in zip(rows, values, strict=True)]

    def _approximate(self, queries: np.ndarray, n: int, excluded: Sequence[np.ndarray]) -> list[Found]:
        more = max((len(e) for e in excluded), default=0)
        candidates = approximate.candidates(self.folder / GRAPH, queries, n + more)
        answers = []
        for number, (query, rows) in enumerate(zip(queries, candidates, strict=True)):
            own = excluded[number] if len(excluded) else np.zeros(0, dtype=np.int64)
            kept = np.setdiff1d(rows[rows >= 0], own)
            inner, values = nearest(np.asarray(self.vectors[kept]), query[None], n)
            answers.append(_found(np.where(inner[0] >= 0, kept[inner[0]], -1), values[0]))
        return answers


def _found(rows: np.ndarray, values: np.ndarray) -> Found:
    there = rows >= 0
    return Found(tuple(int(r) for r in rows[there]), tuple(float(min(v, 1.0)) for v in values[there]))


def remember(folder: Path, features: np.ndarray, rows: Rows, model: str) -> Index:
    """Write an index and open it.

    Args:
        folder: ``RUN/model/index``; what an earlier index left there goes.
        features: (n, d) float, raw.
        rows: Who they belong to.
        model: Digest of the model that gave the features.

    Raises:
        OutputError: The folder cannot be written.
    """
    space = space_of(features)
    vectors = space.unit(features)
    few = len(vectors) <= MOST_AVERAGED
    if few:
        vectors = averaged_all(vectors)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in (FACTS, VECTORS, ROWS, GRAPH):
            (folder / stale).unlink(missing_ok=True)
        with (folder / VECTORS).open("wb") as file:
            np.save(file, vectors, allow_pickle=False)
    except OSError as error:
        raise OutputError(
            f"Cannot write the index ({error.strerror})", where=folder.name, remedy="free space, then search again"
        ) from error
    record.write(folder / ROWS, rows)
    names = [VECTORS, ROWS]
    if len(vectors) > approximate.FROM_ROWS and approximate.available():
        approximate.build(vectors, folder / GRAPH)
        names.append(GRAPH)
    files = {name: _sha256(folder / name) for name in names}
    record.write(folder / FACTS, Facts(model, space, few, files))
    return Index(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

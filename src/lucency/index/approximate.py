"""Search among more than a million embeddings with FAISS, an optional extra (doi 10.48550/arXiv.2401.08281).

What FAISS finds are candidates: whoever asks compares them exactly, so its coarse codes cost no precision of the
similarities, only now and then a neighbour.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from lucency.errors import ModelError

#: Rows beyond which the exact search of one query takes longer than a person notices (0.1 s).
FROM_ROWS = 1_000_000

#: ``kind`` to how it is made. IVF-PQ: as many lists as four times the root of the rows, codes of one byte for every
#: two dimensions. HNSW: 32 links, 128 candidates while building (Malkov 2020, doi 10.1109/TPAMI.2018.2889473).
KINDS = ("ivf-pq", "hnsw")

#: Candidates fetched for each neighbour that is wanted; lists visited; width of the walk through the graph.
CANDIDATES, PROBES, WIDTH = 20, 96, 256

#: Rows of each list that its centre is learned from.
LEARN = 40


def available() -> bool:
    """Tell whether FAISS is installed."""
    return importlib.util.find_spec("faiss") is not None


def build(vectors: np.ndarray, path: Path, *, kind: str = KINDS[0], seed: int = 0) -> None:
    """Write a FAISS index over unit vectors.

    Args:
        vectors: (n, d) float32.
        path: Where to.
        kind: One of :data:`KINDS`.
        seed: Of the sample that the lists are learned from.

    Raises:
        ModelError: FAISS is not installed.
    """
    faiss = _faiss()
    n, d = vectors.shape
    if kind == "hnsw":
        made = faiss.IndexHNSWFlat(d, 32, faiss.METRIC_INNER_PRODUCT)
        made.hnsw.efConstruction = 128
    else:
        lists = max(1, min(4 * round(n**0.5), n // LEARN))
        coarse = faiss.IndexFlatIP(d)
        made = faiss.IndexIVFPQ(coarse, d, lists, _codes(d), 8, faiss.METRIC_INNER_PRODUCT)
        made.cp.seed = seed
        rng = np.random.default_rng(seed)
        # 256 centres of the codes need examples too, however few lists there are.
        sample = np.sort(rng.choice(n, min(n, max(LEARN * lists, LEARN * 256)), replace=False))
        made.train(np.ascontiguousarray(vectors[sample]))
    for start in range(0, n, 100_000):
        made.add(np.ascontiguousarray(vectors[start : start + 100_000]))
    faiss.write_index(made, str(path))


def _codes(d: int) -> int:
    """Return bytes of a code: the largest divisor of the dimensions that leaves two or more for each byte."""
    return max(m for m in range(1, max(1, d // 2) + 1) if d % m == 0)


_opened: dict[tuple[str, int], Any] = {}


def candidates(path: Path, queries: np.ndarray, n: int) -> np.ndarray:
    """Return rows that may be among the nearest ``n`` of each query, (q, n × 20) int64, -1 where there are fewer."""
    faiss = _faiss()
    key = (str(path), path.stat().st_mtime_ns)
    if key not in _opened:
        # One index at a time is kept open: they are large.
        _opened.clear()
        _opened[key] = faiss.read_index(str(path))
    index = _opened[key]
    if hasattr(index, "hnsw"):
        index.hnsw.efSearch = max(WIDTH, n * CANDIDATES)
    else:
        index.nprobe = PROBES
    wanted = int(min(n * CANDIDATES, index.ntotal))
    rows: np.ndarray = index.search(np.ascontiguousarray(queries, dtype=np.float32), wanted)[1]
    return rows


def _faiss() -> Any:
    try:
        import faiss  # type: ignore[import-untyped, import-not-found, unused-ignore]  # noqa: PLC0415 - optional
    except ImportError:
        raise ModelError(
            "This index was made with FAISS, which is not installed", remedy="pip install 'lucency[faiss]'"
        ) from None
    return faiss

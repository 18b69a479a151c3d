"""Similar cases: how right the neighbours are, how fast exact search is, and what FAISS loses at a million.

Right: an encoder is trained on ``mednist`` without its labels; the locked part asks, and the cases of the folds are the
index. Beside it stand the pixels themselves and a random order. Fast: the median time of one query among 100 000
embeddings of 128 numbers. FAISS: recall at 10 against exact search among a million embeddings that are drawn around and
between those of real images.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from material import DATA
from recorded import begin, parser, write

from lucency import model as models
from lucency import ranking, record, statistics
from lucency.baselines import LIKENESSES
from lucency.features import encoder, seen
from lucency.fit import Passport, Settings, fit
from lucency.index import approximate, averaged, averaged_all, nearest, ranks_of_same, space_of
from lucency.prepare import Store, digest_of
from lucency.search.building import index_of, known

NAME = "retrieve"
#: What the project asks of itself.
PRECISION_NEEDED, MS_MOST, RECALL_NEEDED = 0.98, 20.0, 0.99
DIMENSIONS = 128


def judged(features: np.ndarray, labels: np.ndarray, patients: np.ndarray, asks: np.ndarray) -> dict[str, Any]:
    """Return P@10, mAP and nDCG@10 with intervals over patients: rows ``asks`` among all others.

    Nothing of the queries is in the index: neither its space nor its averages have seen them.
    """
    index = ~asks
    space = space_of(features[index])
    vectors = averaged_all(space.unit(features[index]))
    own = [np.flatnonzero(patients[index] == p) for p in patients[asks]]
    queries = averaged(vectors, space.unit(features[asks]), excluded=own)
    ranked = ranks_of_same(vectors, queries, labels[asks][:, None] == labels[index][None], own)
    values = {
        "precision_at_10": ranking.precision_at(ranked, 10),
        "map": ranking.average_precision(ranked),
        "ndcg_at_10": ranking.discounted_gain(ranked, 10),
    }
    found: dict[str, Any] = {}
    for name, each in values.items():
        m = statistics.mean_metric(each, patients[asks], np.random.default_rng(0), bounds=(0.0, 1.0))
        found[name] = {"value": round(m.value, 4), "lower": m.lower, "upper": m.upper, "n": m.n, "method": m.method}
    tens = values["precision_at_10"]
    found["precision_at_10_by_class"] = {c: round(float(tens[labels[asks] == c].mean()), 4) for c in np.unique(labels)}
    return found


def rightness(run: Path) -> dict[str, Any]:
    """Judge the run's encoder, the pixels and a random order by the same queries."""
    owner = known(run)
    assert owner is not None
    model = models.load(run)
    cohort = owner.cohort
    store = Store(run / "prepared" / digest_of(cohort, model.plan))
    cases = [*cohort.trainable, *cohort.locked_cases]
    images = [store.image(c.id).astype(np.float32) for c in cases]
    labels = np.array([str(c.target) for c in cases])
    patients = np.array([c.patient for c in cases])
    asks = np.array([c.id in cohort.locked for c in cases])
    whole = np.stack([s.whole for s in seen(encoder(model), images, model.plan)])
    found = {"encoder": judged(whole.astype(np.float64), labels, patients, asks)}
    rng = np.random.default_rng(0)
    for name, likeness in LIKENESSES.items():
        simple = np.stack([likeness(image, rng) for image in images]).astype(np.float64)
        found[name] = judged(simple, labels, patients, asks)
    return {"queries": int(asks.sum()), "index": int((~asks).sum()), **found}


def encoder_like(n: int, seeds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (n, 128) float32 unit vectors around and between real embeddings.

    Each lies on the line between an embedding and one of its twenty nearest, with noise that falls off over the
    principal directions as theirs does.
    """
    centred = seeds - seeds.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    low = centred @ axes[:DIMENSIONS].T
    low = np.pad(low, ((0, 0), (0, DIMENSIONS - low.shape[1])))
    unit = (low / np.linalg.norm(low, axis=1, keepdims=True)).astype(np.float32)
    near = nearest(unit, unit, 21)[0][:, 1:]
    deviation = np.pad(spread[:DIMENSIONS] / np.sqrt(len(seeds)), (0, max(0, DIMENSIONS - len(spread[:DIMENSIONS]))))
    made = np.empty((n, DIMENSIONS), dtype=np.float32)
    for start in range(0, n, 100_000):
        m = min(100_000, n - start)
        one = rng.integers(0, len(low), m)
        other = near[one, rng.integers(0, 20, m)]
        t = rng.random((m, 1))
        block = (1 - t) * low[one] + t * low[other] + 0.3 * rng.normal(size=(m, DIMENSIONS)) * deviation
        made[start : start + m] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return made


def speed(vectors: np.ndarray, queries: np.ndarray) -> dict[str, Any]:
    """Time single queries, exact."""
    times = []
    for query in queries:
        before = time.perf_counter()
        nearest(vectors, query[None], 10)
        times.append(1000 * (time.perf_counter() - before))
    times.sort()
    return {
        "rows": len(vectors),
        "dimensions": vectors.shape[1],
        "median_ms": round(float(np.median(times)), 2),
        "p90_ms": round(float(np.quantile(times, 0.9)), 2),
        "queries": len(times),
    }


def recall(vectors: np.ndarray, queries: np.ndarray, folder: Path, kinds: tuple[str, ...]) -> dict[str, Any]:
    """Compare FAISS with exact search."""
    exact = nearest(vectors, queries, 10)[0]
    found: dict[str, Any] = {"rows": len(vectors), "queries": len(queries)}
    for kind in kinds:
        path = folder / f"{kind}.faiss"
        before = time.perf_counter()
        approximate.build(vectors, path, kind=kind)
        built = time.perf_counter() - before
        approximate.candidates(path, queries[:1], 10)
        hits, times = 0, []
        for query, truth in zip(queries, exact, strict=True):
            before = time.perf_counter()
            rows = approximate.candidates(path, query[None], 10)[0]
            rows = np.unique(rows[rows >= 0])
            best = rows[nearest(vectors[rows], query[None], 10)[0][0]]
            times.append(1000 * (time.perf_counter() - before))
            hits += len(set(best.tolist()) & set(truth.tolist()))
        found[kind] = {
            "recall_at_10": round(hits / exact.size, 4),
            "build_s": round(built, 1),
            "median_ms": round(float(np.median(times)), 2),
            "file_mib": round(path.stat().st_size / 2**20, 1),
        }
        print(f"{kind}: {found[kind]}", file=sys.stderr, flush=True)
    return found


def run_of(options: argparse.Namespace, folder: Path) -> Path:
    """Return the run to measure: the one that is given, or a new one."""
    if options.run is not None:
        given: Path = options.run
        return given
    run = folder / "run"
    settings = Settings(task="retrieve", minutes=0.5 if options.quick else options.minutes, seed=options.seed)
    fit(DATA / "mednist" / "mednist_64.npz", run, settings=settings)
    return run


def searched(run: Path, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time exact search and measure what FAISS loses, on vectors like the run's own."""
    seeds = np.asarray(index_of(models.load(run), known(run)).vectors, dtype=np.float64)
    rng = np.random.default_rng(options.seed)
    n = 10_000 if options.quick else 100_000
    pool = encoder_like(n + 200, seeds, rng)
    result: dict[str, Any] = {"exact": speed(np.ascontiguousarray(pool[:n]), pool[n:])}
    if approximate.available():
        n = 20_000 if options.quick else 1_000_000
        pool = encoder_like(n + 500, seeds, rng)
        result["faiss"] = recall(np.ascontiguousarray(pool[:n]), pool[n:], folder, tuple(options.kinds.split(",")))
    return result


def said_right(result: Mapping[str, Any]) -> str:
    """Return the line of the table for the neighbours."""
    ten = {k: result[k]["precision_at_10"] for k in ("encoder", "pixel similarity", "random order")}
    mine = ten["encoder"]
    return (
        f"mednist, {result['queries']} queries outside the index, {result['minutes']:g} min: P@10 {mine['value']:.3f} "
        f"({mine['lower']:.3f}–{mine['upper']:.3f}; needed {PRECISION_NEEDED}), pixels "
        f"{ten['pixel similarity']['value']:.3f}, random {ten['random order']['value']:.3f}"
    )


def said_fast(result: Mapping[str, Any]) -> str:
    """Return the line of the table for the search."""
    exact = result["exact"]
    words = f"{exact['rows']} × {exact['dimensions']}: {exact['median_ms']} ms a query (at most {MS_MOST:g})"
    for kind, one in result.get("faiss", {}).items():
        if isinstance(one, dict):
            words += f"; {kind} recall@10 {one['recall_at_10']} at {result['faiss']['rows']} (needed {RECALL_NEEDED})"
    return words


def main() -> None:
    """Run the benchmark."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--minutes", type=float, default=10.0, help="budget of the encoder [10]")
    made.add_argument("--run", type=Path, help="a finished run on mednist instead of a new one")
    made.add_argument("--parts", default="right,fast", help="right: the neighbours; fast: the search")
    made.add_argument("--kinds", default=",".join(approximate.KINDS), help="FAISS indices to build")
    options = made.parse_args()
    head = begin()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run = run_of(options, folder)
        if "right" in options.parts:
            minutes = record.read(Passport, run / "run.json").settings.minutes
            right = {**head, "minutes": minutes, **rightness(run)}
            write(NAME, said_right(right), right, options)
        if "fast" in options.parts:
            fast = {**head, **searched(run, options, folder)}
            write(f"{NAME}_speed", said_fast(fast), fast, options)


if __name__ == "__main__":
    main()

"""A table of features without images: what simple models reach on it, by nested cross-validation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lucency import __version__, metrics, record, statistics
from lucency.baselines import OUTCOME_BASELINES, tabular
from lucency.columns import Cells, Column, columns_of, encoded
from lucency.errors import DataError, UsageError
from lucency.evaluate import Comparison, Curve, Evaluation, Part
from lucency.events import Events
from lucency.read.matching import MOST_WORDS, Match
from lucency.read.outcomes import Columns, columns_in, outcomes_of
from lucency.read.table import Table, is_missing, number, read_table
from lucency.report.features import Features, write_features
from lucency.statistics import Metric
from lucency.survival.intervals import edges_of
from lucency.survival.outcome import Outcomes
from lucency.survival.ranking import concordance

#: Outer folds.
FOLDS = 5
#: Patients of the rarer class, or events, below which nothing is judged: one in each outer fold and some to learn from.
LEAST = 10


def fit_table(place: Path, folder: Path, *, target: str | None, patient: str | None, seed: int, lang: str) -> None:
    """Judge simple models on a table, and write ``evaluation.json``, ``out_of_fold.csv`` and ``report/``.

    Args:
        place: The table.
        folder: Run folder.
        target: Column to learn, or two of them with a comma: time and event.
        patient: Column that tells patients apart; None takes one called so, else every row is its own patient.
        seed: Of folds and models.
        lang: Of the report.

    Raises:
        UsageError: No such column.
        DataError: Nothing to learn, more than two classes, or too few of one.
    """
    table = read_table(place, place.name)
    if table is None or not table.rows:
        raise DataError("Not a table with one header line", where=place.name, remedy="save it as CSV")
    patients = _patients(table, patient)
    every = Match(table, table.roles.get("patient", ""), dict.fromkeys(range(len(table.rows)), ()), (), (), paths=False)
    ends = columns_in([every], target)
    told = _outcomes(table, ends, patients, seed) if ends else _classes(table, target, patients, seed)
    record.write(folder / "evaluation.json", told.evaluation)
    write_features(told, folder / "report", lang)
    Events(folder / "events.jsonl").emit("report", "end", seconds=0.0)


def _patients(table: Table, asked: str | None) -> tuple[list[str], str]:
    """Return (patient of each row, the column), rows numbered where no column tells."""
    column = table.named(asked) if asked else table.roles.get("patient", "")
    if asked and not column:
        raise UsageError(
            f"No column {asked!r}", where="--patient", remedy=f"the columns are {', '.join(table.columns)}"
        )
    if not column:
        return [str(n) for n in range(len(table.rows))], ""
    return [v or f"row {n}" for n, v in enumerate(table.column(column))], column


def _features(table: Table, without: Sequence[str]) -> tuple[np.ndarray, tuple[Column, ...]]:
    """Return the columns to learn from as numbers."""
    kept = [c for c in table.columns if c and c not in without and _measures(table, c)]
    rows: list[Cells] = []
    for row in table.rows:
        cells = dict(zip(table.columns, row, strict=True))
        known = {c: cells[c] for c in kept if not is_missing(cells[c])}
        rows.append({c: v if (n := number(v)) is None else n for c, v in known.items()})
    columns = columns_of(rows)
    if not columns:
        raise DataError("No column to learn from", where=table.path, expected="numbers, or words of few kinds")
    return np.array([encoded(row, columns) for row in rows]), columns


def _measures(table: Table, column: str) -> bool:
    words = {v for v in table.column(column) if not is_missing(v) and number(v) is None}
    return len(words) <= MOST_WORDS


def _classes(table: Table, target: str | None, patients: tuple[list[str], str], seed: int) -> Features:
    column = table.named(target) if target else table.roles.get("label", "")
    if not column:
        raise UsageError(
            "The table does not say what to learn" if target is None else f"No column {target!r}",
            where=table.path if target is None else "--target",
            remedy=f"name one with --target; the columns are {', '.join(table.columns[:20])}",
        )
    words = table.column(column)
    names = sorted({w for w in words if not is_missing(w)}, key=lambda w: (number(w) is None, number(w) or 0.0, w))
    if len(names) != 2:
        raise DataError(
            f"{len(names)} classes in column {column!r}",
            expected="two",
            remedy="join classes, or choose another --target",
        )
    labelled = [n for n, w in enumerate(words) if not is_missing(w)]
    values, columns = _features(table, (column, patients[1]))
    x, y = values[labelled], np.array([names.index(words[n]) for n in labelled])
    ids = [patients[0][n] for n in labelled]
    _refuse_few({names[k]: len({i for i, v in zip(ids, y, strict=True) if v == k}) for k in (0, 1)}, column)
    fold = grouped_folds(y, ids, FOLDS, np.random.default_rng(seed))
    scores = tabular.nested(x, y, fold, seed)
    rng = np.random.default_rng(seed)
    rows = {name: statistics.auc_metric(y, s, ids, rng) for name, s in scores.items()}
    ours = scores[tabular.MEAN]
    paired = {k: statistics.compare_auc(y, ours, s, ids) for k, s in scores.items() if k != tabular.MEAN}
    line = metrics.roc_points(y, ours)
    curve = Curve(tuple(line[0].tolist()), tuple(line[1].tolist()))
    part = _part(len(y), ids, ("auc", rows, tabular.MEAN), paired, {f"roc/{names[1]}": curve})
    described = {m.name: m.description for m in tabular.TABLE_MODELS.values()}
    notes = (f"Column {column!r} is learned: {names[1]} against {names[0]}.", *_said(len(words) - len(labelled)))
    evaluation = Evaluation(task="classify", headline="auc", parts=(part,), classes=tuple(names), looks=0, notes=notes)
    return Features(evaluation, described, len(columns), FOLDS, notes, __version__, not patients[1])


def _outcomes(table: Table, ends: Columns, patients: tuple[list[str], str], seed: int) -> Features:
    came, said = outcomes_of(ends)
    known = sorted(came)
    values, columns = _features(table, (ends.time, ends.event, patients[1]))
    x, ids = values[known], [patients[0][n] for n in known]
    truth = Outcomes(np.array([came[n].time for n in known]), np.array([came[n].event for n in known]))
    ours = truth.of(1)
    _refuse_few({"the event": int(ours.event.sum())}, ends.event)
    fold = grouped_folds(ours.event, ids, FOLDS, np.random.default_rng(seed))
    edges = edges_of(truth.time[truth.event > 0])
    risks: dict[str, np.ndarray] = {}
    for baseline in OUTCOME_BASELINES.values():
        if baseline.table not in ("", "clinical", "radiomics"):
            continue
        risk = np.zeros(len(known))
        for number_ in range(FOLDS):
            inside, outside = fold != number_, fold == number_
            both = (x[inside], x[outside])
            found = baseline.fit_predict({"clinical": both, "radiomics": both}, truth.take(inside), edges, seed)
            # The area under the incidence: how much time is lost, which ranks over all of the follow-up.
            risk[outside] = 0.0 if found is None else found[:, 0].mean(axis=1)
        risks.setdefault(OUTCOME_NAMES.get(baseline.name, ""), risk)
    risks.pop("", None)
    rng = np.random.default_rng(seed)
    rows = {
        name: statistics.bootstrap_metric(concordance(ours, risk), ids, rng, truth=ours.event)
        for name, risk in risks.items()
    }
    best = "Cox on clinical columns"
    paired = {
        k: statistics.compare_resampled(
            concordance(ours, risks[best]), concordance(ours, r), ids, rng, truth=ours.event
        )
        for k, r in risks.items()
        if k != best
    }
    part = _part(len(known), ids, ("uno_c", rows, best), paired, {})
    described = {k: OUTCOME_BASELINES[k].description for k in risks if k in OUTCOME_BASELINES}
    evaluation = Evaluation(task="prognose", headline="uno_c", parts=(part,), looks=0, notes=tuple(said))
    return Features(evaluation, described, len(columns), FOLDS, said, __version__, not patients[1])


#: The models of outcomes that a table is judged by; those on radiomics see the same columns.
OUTCOME_NAMES = {
    "Kaplan-Meier": "Kaplan-Meier",
    "Cox on clinical columns": "Cox on clinical columns",
    "boosted trees on radiomics": "boosted trees on radiomics",
}


def _said(n_missing: int) -> tuple[str, ...]:
    return (f"{n_missing} rows have no label and are left out.",) if n_missing else ()


def _refuse_few(counts: Mapping[str, int], column: str) -> None:
    few = min(counts, key=lambda k: counts[k])
    if counts[few] < LEAST:
        raise DataError(
            f"{counts[few]} patients with {few!r} in column {column!r}",
            expected=f"{LEAST} or more",
            remedy=f"{LEAST - counts[few]} more are needed",
        )


def grouped_folds(y: np.ndarray, patients: Sequence[str], n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Return (n,) fold of each row; a patient's rows share one, and patients are spread by their highest class."""
    names = list(dict.fromkeys(patients))
    place = {p: n for n, p in enumerate(names)}
    highest = np.zeros(len(names), dtype=int)
    for patient, value in zip(patients, y, strict=True):
        highest[place[patient]] = max(highest[place[patient]], int(value))
    fold = tabular.folds_of(highest, n_folds, rng)
    return np.array([fold[place[p]] for p in patients])


def _part(
    n: int,
    patients: Sequence[str],
    rows: tuple[str, Mapping[str, Metric], str],
    paired: Mapping[str, statistics.Paired],
    curves: Mapping[str, Curve],
) -> Part:
    key, metrics_of, best = rows
    adjusted = dict(zip(paired, statistics.holm([p.p for p in paired.values()]), strict=True))
    beside = {
        name: Comparison(
            {key: metrics_of[name]}, p.difference, p.p, adjusted[name], p.test, _verdict(p.difference, adjusted[name])
        )
        for name, p in paired.items()
    }
    return Part("out-of-fold", n, len(set(patients)), {key: metrics_of[best]}, curves=curves, baselines=beside)


def _verdict(difference: Metric, p: float | None) -> str:
    if p is None or p > 0.05:
        return "no different"
    return "better" if difference.value > 0 else "worse"

"""Masks measured in physical units, and columns of a table that say what the measures should be.

A column corresponds to a measure where the true masks reproduce it: that is found in the training part, or said with
``--set measure=MEASURE:COLUMN``; with several labels ``LABEL/MEASURE:COLUMN``, and several of them with commas.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lucency import statistics
from lucency.case import Case, Cohort, Prediction
from lucency.errors import LucencyError, UsageError
from lucency.image import Image
from lucency.metrics import agreement
from lucency.plan import Option, Plan
from lucency.prepare import label_source
from lucency.radiomics import extent
from lucency.read import load
from lucency.statistics import Metric
from lucency.tasks import Judged
from lucency.write.rows import Rows

#: Table of measures that a prediction leaves.
TABLE = "measures"
#: Reason in that table.
NOT_FOUND = "not found in this image"
#: Says that no column is to be looked for.
NONE = "none"

#: Masks that are measured to see whether a column says the same, and voxels of them, after which so few are enough.
SAMPLE, SAMPLE_VOXELS = 40, 40_000_000
#: Fewer cases than this can agree by chance.
LEAST_CASES = 10
#: The true masks reproduce a column if half of them are within the first share of it, nine of ten within the second …
CLOSE, CLOSE_TENTH = 0.02, 0.1
#: … and the mean error is below this share of what the column's median alone would make: a column that hardly varies
#: agrees with anything of its size.
TELLING = 0.25
#: Units in which a column may state a measure: a unit of ours makes so many of them (cm, m; cm²; mm³, L).
FACTORS = {"_mm": (1.0, 0.1, 0.001), "_mm2": (1.0, 0.01), "_ml": (1.0, 1000.0, 0.001)}
#: A ratio that spreads by less than this over the cases is one ratio.
STEADY = 0.02


@dataclass(frozen=True)
class Stated:
    """A column that states a measure of a label.

    Args:
        label: Its name.
        measure: With its unit; in pixels or voxels where the images have no scale.
        column: Of a table beside the images.
        factor: The column's unit in ours: the measure times the factor is the column.
    """

    label: str
    measure: str
    column: str
    factor: float = 1.0

    def __str__(self) -> str:
        """Return what the plan says of it."""
        return f"{self.label}/{self.measure}:{self.column}"


def stated(options: Mapping[str, Option], labels: Sequence[str]) -> tuple[Stated, ...]:
    """Return the columns that the settings of a plan name.

    Args:
        options: ``measure`` as in the head of this file, ``measure_factors`` one for each.
        labels: Names of the labels.

    Raises:
        UsageError: Not of that form, no such label or measure; the message names the nearest.
    """
    text, factors = str(options.get("measure", "")).strip(), options.get("measure_factors", ())
    if text in ("", NONE):
        return ()
    found = []
    for number, entry in enumerate(text.split(",")):
        head, colon, column = entry.strip().partition(":")
        label, slash, measure = head.rpartition("/")
        if not colon or not column.strip() or (not slash and len(labels) > 1):
            raise UsageError(
                f"measure = {entry.strip()!r}",
                expected="MEASURE:COLUMN" if len(labels) == 1 else "LABEL/MEASURE:COLUMN",
                where="--set measure",
                remedy=f"the measures are {', '.join((*extent.FLAT, *extent.SOLID))}",
            )
        label = _one_of(label.strip() or labels[0], labels, "label")
        known = (*extent.FLAT, *extent.SOLID)
        units = {name.rpartition("_")[0]: name for name in known}
        measure = units.get(measure.strip(), measure.strip())
        if measure not in map(extent.counted, known):
            measure = _one_of(measure, known, "measure")
        factor = factors[number] if isinstance(factors, tuple) and number < len(factors) else 1.0
        found.append(Stated(label, measure, column.strip(), factor))
    return tuple(found)


def _one_of(word: str, known: Sequence[str], what: str) -> str:
    if word in known:
        return word
    near = difflib.get_close_matches(word, known, n=1)
    raise UsageError(
        f"No {what} {word!r}",
        expected=", ".join(known),
        where="--set measure",
        remedy=f"did you mean {near[0]!r}?" if near else "",
    )


def told(cohort: Cohort, options: Mapping[str, Option]) -> tuple[dict[str, Option], dict[str, str]]:
    """Return which columns state measures of the masks, and why; masks of the training part are measured for it.

    Args:
        cohort: Only its trainable cases are looked at.
        options: Of the plan; ``measure`` is "" where nobody says anything, "none" to look for nothing.

    Returns:
        Options ``measure`` and ``measure_factors``, and the reasons.

    Raises:
        UsageError: As in :func:`stated`; or a column that no training case has a number in.
    """
    labels = [cohort.labels[v] for v in sorted(cohort.labels)]
    asked = stated(options, labels)
    if options.get("measure") == NONE:
        return {}, {}
    columns = _columns(cohort)
    for one in asked:
        if one.column not in columns:
            raise UsageError(
                f"No column {one.column!r} with numbers of the training cases",
                where="--set measure",
                remedy=f"use one of {', '.join(columns) or 'none: no table beside the images has numbers'}",
            )
    if not columns:
        return {}, {}
    table = _measured(cohort, {one.column for one in asked} or set(columns))
    if asked:
        fitted = [_fitted(one, table) for one in asked]
        return _options([one for one, _ in fitted]), {"measured": "; ".join(why for _, why in fitted)}
    return _search(table, sorted(columns))


def _options(found: Sequence[Stated]) -> dict[str, Option]:
    return {"measure": ", ".join(map(str, found)), "measure_factors": tuple(one.factor for one in found)}


def _columns(cohort: Cohort) -> list[str]:
    """Return the columns in which enough training cases have a number."""
    cases = cohort.trainable
    names = sorted({name for c in cases for name, cell in c.clinical.items() if not isinstance(cell, str)})
    counts = {n: sum(isinstance(c.clinical.get(n), int | float) for c in cases) for n in names}
    return [n for n in names if counts[n] >= min(LEAST_CASES, len(cases)) and "," not in n and counts[n]]


@dataclass(frozen=True, eq=False)
class _Table:
    """Measures of true masks beside the columns.

    Args:
        measures: (label, measure) to (n,) float, NaN where a mask has none.
        columns: Column to (n,) float, NaN where not known.
    """

    measures: Mapping[tuple[str, str], np.ndarray]
    columns: Mapping[str, np.ndarray]


def _measured(cohort: Cohort, columns: set[str]) -> _Table:
    """Measure an even sample of the true masks of the training part."""
    cases = [c for c in cohort.trainable if columns & set(c.clinical)]
    rows: list[tuple[Case, Mapping[str, Mapping[str, float]]]] = []
    voxels = 0
    for case in cases[:: max(1, len(cases) // SAMPLE)][:SAMPLE]:
        try:
            mask = load(label_source(case))
        except LucencyError:
            # Preparing the case will say what is wrong with it.
            continue
        rows.append((case, of_mask(mask, cohort.labels, in_mm=scale_known(case))))
        voxels += mask.array.size
        if voxels > SAMPLE_VOXELS and len(rows) >= LEAST_CASES:
            break
    keys = dict.fromkeys((label, m) for _, found in rows for label, own in found.items() for m in own)
    nan = float("nan")
    return _Table(
        {key: np.array([found[key[0]].get(key[1], nan) for _, found in rows]) for key in keys},
        {name: np.array([_number(case.clinical.get(name)) for case, _ in rows]) for name in sorted(columns)},
    )


def _number(cell: object) -> float:
    return float(cell) if isinstance(cell, int | float) else float("nan")


def _errors(table: _Table, one: Stated) -> tuple[np.ndarray, np.ndarray]:
    """Return measure times factor, and column, of the cases that have both."""
    nothing = np.full(len(next(iter(table.columns.values()))), np.nan)
    # Of images without a scale the same measure is counted in pixels.
    counted = table.measures.get((one.label, extent.counted(one.measure)), nothing)
    ours = table.measures.get((one.label, one.measure), counted) * one.factor
    theirs = table.columns[one.column]
    both = np.isfinite(ours) & np.isfinite(theirs)
    return ours[both], theirs[both]


def _fitted(one: Stated, table: _Table) -> tuple[Stated, str]:
    """Return a column that was asked for with the factor of its unit, and how well the true masks reproduce it."""
    tried = [Stated(one.label, one.measure, one.column, f) for f in _factors(one.measure)]
    best = min(tried, key=lambda t: _relative(table, t))
    ours, theirs = _errors(table, best)
    if not ours.size:
        return one, f"no training mask has the measure of {one.column}"
    return best, _said(best, ours, theirs)


def _factors(measure: str) -> tuple[float, ...]:
    unit = next((u for u in FACTORS if measure.endswith(u)), "")
    return FACTORS.get(unit, (1.0,))


def _relative(table: _Table, one: Stated) -> float:
    """Return the median relative error of the true masks; infinite without any."""
    ours, theirs = _errors(table, one)
    return float(np.median(np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-9))) if ours.size else float("inf")


def _said(one: Stated, ours: np.ndarray, theirs: np.ndarray) -> str:
    """Return how well the true masks reproduce a column."""
    times = "" if one.factor == 1 else f" times {one.factor:g}"
    return (
        f"column {one.column} states {one.measure}{times} of label {one.label}: {len(ours)} true masks of the training "
        f"part reproduce it with a mean absolute difference of {np.abs(ours - theirs).mean():.3g}"
    )


def _search(table: _Table, columns: Sequence[str]) -> tuple[dict[str, Option], dict[str, str]]:
    """Return every column that the true masks reproduce, each by the measure that comes nearest."""
    found, reasons, hints = [], [], []
    for column in columns:
        tried = [
            Stated(label, measure, column, factor)
            for label, measure in table.measures
            # A name with a sign that parts entries could not be read from the plan again.
            if measure != extent.PARTS and not measure.endswith("_deg") and not set(label) & set(",:")
            for factor in _factors(measure)
        ]
        best = min(tried, key=lambda t: _relative(table, t), default=None)
        if best is None:
            continue
        ours, theirs = _errors(table, best)
        if _reproduces(ours, theirs):
            found.append(best)
            reasons.append(_said(best, ours, theirs))
        else:
            hints += _hint(table, column)
    if not found:
        return {}, {"measured": "; ".join(hints)} if hints else {}
    return _options(found), {"measured": "; ".join((*reasons, *hints))}


def _reproduces(ours: np.ndarray, theirs: np.ndarray) -> bool:
    if len(ours) < LEAST_CASES:
        return False
    error = np.abs(ours - theirs)
    relative = error / np.maximum(np.abs(theirs), 1e-9)
    by_chance = float(np.abs(theirs - np.median(theirs)).mean())
    close = float(np.median(relative)) <= CLOSE and float(np.percentile(relative, 90)) <= CLOSE_TENTH
    return close and float(error.mean()) < TELLING * by_chance


def _hint(table: _Table, column: str) -> list[str]:
    """Return what is said of a column that is always the same multiple of a length: a wrong pixel size looks so."""
    for (label, measure), ours in table.measures.items():
        if not measure.endswith("_mm"):
            continue
        theirs = table.columns[column]
        both = np.isfinite(ours) & np.isfinite(theirs) & (ours > 0)
        if both.sum() < LEAST_CASES:
            continue
        ratio = theirs[both] / ours[both]
        middle = float(np.median(ratio))
        if middle > 0 and _reproduces(ours[both] * middle, theirs[both]) and np.std(ratio) < STEADY * middle:
            return [
                f"column {column} is {middle:.3g} times {measure} of label {label} in every true mask: if the size of "
                "the pixels is of another image (full size, say), name it with --set pixel_size"
            ]
    return []


def scale_known(case: Case) -> bool:
    """Tell whether the source says how large its pixels are."""
    return bool(case.sources[0].header.get("spacing_known", True))


def of_mask(
    mask: Image, labels: Mapping[int, str], margins: Mapping[int, np.ndarray] | None = None, *, in_mm: bool = True
) -> dict[str, dict[str, float]]:
    """Return what is measured of every label of a mask; nothing for one that is not there.

    Args:
        mask: Labels.
        labels: Value to name.
        margins: Value to (K, J, I) float, see :func:`lucency.radiomics.extent.measures`.
        in_mm: Whether the grid's lengths are millimetres; else names and numbers are of pixels.
    """
    found = {}
    for value, name in sorted(labels.items()):
        margin = None if margins is None else margins[value]
        own = extent.measures(mask.array[0] == value, mask.affine, margin)
        found[name] = own if in_mm else extent.without_scale(own)
    return found


def of_prediction(prediction: Prediction, plan: Plan) -> Mapping[str, Mapping[str, float]]:
    """Return what is measured of a prediction: below the pixel where that was decoded, else of its mask."""
    if prediction.measures is not None:
        return prediction.measures
    return {} if prediction.mask is None else of_mask(prediction.mask, plan.labels, in_mm=prediction.in_mm)


def rows(prediction: Prediction, plan: Plan) -> Rows:
    """Return the table of measures of one prediction, a row for each label; one not found has no number."""
    names = extent.FLAT if plan.dims == 2 else extent.SOLID
    pixels = () if prediction.in_mm else tuple(extent.counted(n) for n in names)
    # Angles are angles with or without a scale; their column stands among the first.
    pixels = tuple(n for n in pixels if n not in names)
    found = of_prediction(prediction, plan)
    lines = []
    for value in sorted(plan.labels):
        own = found.get(plan.labels[value], {})
        head = (prediction.case, plan.labels[value], int(own.get(extent.PARTS, 0)), "" if own else NOT_FOUND)
        lines.append((*head, *(own.get(n) for n in (*names, *pixels))))
    return Rows(("case", "label", extent.PARTS, "reason", *names, *pixels), tuple(lines))


def scores(prediction: Prediction, truth: Image, case: Case, plan: Plan) -> Iterator[tuple[str, float]]:
    """Yield for every column what it states, what the prediction measures and what the true mask measures."""
    wanted = stated(plan.task_options, [plan.labels[v] for v in sorted(plan.labels)])
    if not wanted:
        return
    nan = float("nan")
    ours = of_prediction(prediction, plan)
    drawn = of_mask(truth, plan.labels, in_mm=scale_known(case))
    for one in wanted:
        measure = one.measure if scale_known(case) else extent.counted(one.measure)
        yield f"stated/{one.column}", _number(case.clinical.get(one.column))
        yield f"measured/{one.column}", ours.get(one.label, {}).get(measure, nan) * one.factor
        yield f"drawn/{one.column}", drawn.get(one.label, {}).get(measure, nan) * one.factor


#: Errors, agreement, and what is drawn, of every column.
Curves = dict[str, tuple[Sequence[float], Sequence[float], Sequence[int]]]


def summed(judged: Sequence[Judged], plan: Plan, rng: np.random.Generator) -> tuple[dict[str, Metric], Curves]:
    """Return for every column error, bias and limits of agreement with patient intervals, and the error of true masks.

    Source:
        Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8.
    """
    metrics: dict[str, Metric] = {}
    curves: Curves = {}
    patients = [j.patient for j in judged]
    for one in stated(plan.task_options, [plan.labels[v] for v in sorted(plan.labels)]):
        name = one.column
        said, found, drawn = (
            np.array([j.scores.get(f"{k}/{name}", np.nan) for j in judged], dtype=float)
            for k in ("stated", "measured", "drawn")
        )
        metrics[f"mae/{name}"] = statistics.mean_metric(np.abs(found - said), patients, rng, best=0.0)
        both = np.isfinite(found) & np.isfinite(said)
        if both.any():
            truth, value = said[both], found[both]
            whose = [p for p, there in zip(patients, both, strict=True) if there]
            for key, side in (("bias", 0), ("limit_lower", -1), ("limit_upper", 1)):
                metrics[f"{key}/{name}"] = _agreement(truth, value, side, whose, rng)
            curves[f"agreement/{name}"] = (truth.tolist(), value.tolist(), ())
            curves[f"difference/{name}"] = (((truth + value) / 2).tolist(), (value - truth).tolist(), ())
        metrics[f"mae_of_masks/{name}"] = statistics.mean_metric(np.abs(drawn - said), patients, rng, best=0.0)
    return metrics, curves


def _agreement(
    truth: np.ndarray, value: np.ndarray, side: int, patients: Sequence[str], rng: np.random.Generator
) -> Metric:
    def statistic(weights: np.ndarray) -> np.ndarray:
        if side == 0:
            return agreement.bias(truth, value, weights)
        return agreement.limit_of_agreement(truth, value, weights, side)

    return statistics.bootstrap_metric(statistic, patients, rng, best=0.0, bounds=None)

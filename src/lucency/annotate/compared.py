"""How far what came back agrees with what was given out, and annotators with each other."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lucency import metrics, statistics
from lucency.annotate.agreement import boxes_alike, kappa, kappa_of_many
from lucency.annotate.returned import Work
from lucency.annotate.views import box_f1
from lucency.annotation import Annotation
from lucency.plan import Plan
from lucency.read.table import number
from lucency.statistics import Metric
from lucency.tasks import task_named
from lucency.write.rows import Cell
from lucency.write.table import write_table

#: Measures that are shares of cases, and those without bounds, of which 0 is best.
SHARES, DISTANCES = ("same",), ("difference", "assd_mm")

#: What a task reports first where its classes are grades; then a mistake weighs as the square of its distance.
OF_GRADES = "kappa"


@dataclass(frozen=True)
class Agreement:
    """One measure of two sides over the cases that both annotated.

    Args:
        first: Name of an annotator.
        second: Name of another, or of the pre-annotation.
        measure: ``"dice"``, ``"assd_mm"``, ``"box_f1"``, ``"same"``, ``"cohen_kappa"`` (``"kappa"`` for grades),
            ``"fleiss_kappa"`` or ``"difference"``.
        label: What it is about; empty for all.
        found: The number with its interval over patients.
        n_cases: Cases that both annotated.
    """

    first: str
    second: str
    measure: str
    label: str
    found: Metric
    n_cases: int


def agreements(
    sides: Sequence[Work], patients: Mapping[str, str], plan: Plan, rng: np.random.Generator
) -> list[Agreement]:
    """Return how far each two sides agree, and more than two annotators together.

    Args:
        sides: Annotators, and the pre-annotation as the last.
        patients: Case id to patient.
        plan: Of the model: what labels are called.
        rng: Of the bootstrap.
    """
    found = []
    for first, second in itertools.combinations(sides, 2):
        cases = [c for c in first.annotations if c in second.annotations]
        scores: list[dict[str, float]] = []
        boxes: list[tuple[Annotation, Annotation]] = []
        words: list[tuple[str | None, str | None]] = []
        for case in cases:
            one, two = first.annotations[case](), second.annotations[case]()
            scores.append({**scores_of(one, two, plan), **_distances(one, two, plan)})
            words.append((_word(one, plan), _word(two, plan)))
            boxes += [(one, two)] if one.boxes is not None and two.boxes is not None else []
        ids = [patients[c] for c in cases]
        made: dict[str, Metric] = {}
        for key in dict.fromkeys(k for one in scores for k in one):
            values = np.array([one.get(key, np.nan) for one in scores], dtype=float)
            made[key] = _metric(key.partition("/")[0], values, ids, rng)
        if cases and len(boxes) == len(cases):
            # Over all cases together: a mean over cases counts every case without boxes as full agreement.
            made["box_f1"] = boxes_alike([a for a, _ in boxes], [b for _, b in boxes], ids, rng)
        made |= _beyond_chance(words, ids, plan, rng)
        for key, metric in made.items():
            measure, _, label = key.partition("/")
            found.append(Agreement(first.by, second.by, measure, label, metric, len(cases)))
    return found + _of_all(sides[:-1], patients, plan, rng)


def _word(annotation: Annotation, plan: Plan) -> str | None:
    """Return the one class of an annotation; None where it has none or several."""
    words = annotation.classes or ()
    return words[0] if len(words) == 1 and words[0] in plan.classes else None


def _beyond_chance(
    words: Sequence[tuple[str | None, str | None]], patients: Sequence[str], plan: Plan, rng: np.random.Generator
) -> dict[str, Metric]:
    """Return the kappa of two where every case has one class from both."""
    pairs = [(a, b) for a, b in words if a is not None and b is not None]
    if not pairs or len(pairs) < len(words):
        return {}
    grades = task_named(plan.task).headline == OF_GRADES
    weighting = "quadratic" if grades else "none"
    one, two = [a for a, _ in pairs], [b for _, b in pairs]
    return {"kappa" if grades else "cohen_kappa": kappa(one, two, plan.classes, patients, rng, weighting=weighting)}


def _of_all(
    annotators: Sequence[Work], patients: Mapping[str, str], plan: Plan, rng: np.random.Generator
) -> list[Agreement]:
    """Return Fleiss' kappa of more than two annotators over the cases that at least two of them gave one class."""
    annotators = [one for one in annotators if one.annotations]
    if len(annotators) < 3 or not plan.classes:
        return []
    by_case: dict[str, list[str | None]] = {}
    for n, one in enumerate(annotators):
        for case, annotation in one.annotations.items():
            by_case.setdefault(case, [None] * len(annotators))[n] = _word(annotation(), plan)
    cases = sorted(c for c, words in by_case.items() if sum(w is not None for w in words) > 1)
    if not cases:
        return []
    table = [[by_case[c][n] for c in cases] for n in range(len(annotators))]
    made = kappa_of_many(table, plan.classes, [patients[c] for c in cases], rng)
    rest = " – ".join(one.by for one in annotators[1:])
    return [Agreement(annotators[0].by, rest, "fleiss_kappa", "", made, len(cases))]


def _distances(first: Annotation, second: Annotation, plan: Plan) -> dict[str, float]:
    """Return the mean surface distance of each label that both drew, in mm."""
    if not first.layers or not second.layers:
        return {}
    spacing = first.layers[0].spacing
    # Surface Dice is not asked for here, so its tolerance does not matter.
    return {
        f"assd_mm/{name}": metrics.mask_scores(a[0], b[0], spacing, 1.0).assd_mm
        for name, a, b in _regions(first, second, plan)
        if a.any() and b.any()
    }


def _regions(first: Annotation, second: Annotation, plan: Plan) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield each label with what either side drew of it, (1, K, J, I) bool, without what either left open."""
    mine, other = first.layers[0].array, second.layers[0].array
    known = np.ones(mine.shape, dtype=bool)
    if plan.ignore is not None:
        known = (mine != plan.ignore) & (other != plan.ignore)
    for value, name in sorted(plan.labels.items()):
        yield name, (mine == value) & known, (other == value) & known


def _metric(measure: str, values: np.ndarray, patients: Sequence[str], rng: np.random.Generator) -> Metric:
    if measure in SHARES:
        return statistics.proportion_metric(values > 0, list(patients), rng)
    bounds = None if measure in DISTANCES else (0.0, 1.0)
    return statistics.mean_metric(values, list(patients), rng, best=0.0 if bounds is None else 1.0, bounds=bounds)


def scores_of(first: Annotation, second: Annotation, plan: Plan) -> dict[str, float]:
    """Return how far two annotations of one case agree, by measure; ``measure/label`` for single labels.

    Voxels that either side left open (the plan's ignore value) do not count; a label that neither has is NaN.

    Args:
        first: One side.
        second: The other, of the same kind and on the same grid.
        plan: Of the model.
    """
    if first.layers and second.layers:
        return _dice_of(first, second, plan)
    if first.boxes is not None and second.boxes is not None:
        return {"box_f1": box_f1(first.boxes, second.boxes)}
    if not plan.classes:
        one, other = (number(a.classes[0]) if a.classes else None for a in (first, second))
        return {"difference": abs(one - other)} if one is not None and other is not None else {}
    return {"same": float(set(first.classes or ()) == set(second.classes or ()))}


def _dice_of(first: Annotation, second: Annotation, plan: Plan) -> dict[str, float]:
    each: dict[str, float] = {}
    for name, a, b in _regions(first, second, plan):
        each[f"dice/{name}"] = metrics.dice(a, b) if a.any() or b.any() else float("nan")
    values = [v for v in each.values() if np.isfinite(v)]
    # Where neither side has any label they agree.
    mean = float(np.mean(values)) if values else 1.0
    return {"dice": mean} | (each if len(each) > 1 else {})


def write_agreement(path: Path, found: Sequence[Agreement]) -> None:
    """Write ``agreement.csv``.

    Args:
        path: Where to.
        found: From :func:`agreements`.

    Raises:
        OutputError: The disk cannot be written.
    """
    columns = ("first", "second", "measure", "label", "value", "lower", "upper", "n_cases", "n_patients", "method")
    rows: list[tuple[Cell, ...]] = [
        (
            a.first,
            a.second,
            a.measure,
            a.label,
            a.found.value,
            a.found.lower,
            a.found.upper,
            a.n_cases,
            a.found.n,
            a.found.method,
        )
        for a in found
    ]
    write_table(path, columns, rows)


def write_returned(path: Path, work: Sequence[Work], pre: Work, plan: Plan) -> None:
    """Write ``returned.csv``: what came back, how far it is as it was given out, and what could not be used.

    Args:
        path: Where to.
        work: One for each annotator.
        pre: The pre-annotation.
        plan: Of the model.

    Raises:
        OutputError: The disk cannot be written.
    """
    rows: list[tuple[Cell, ...]] = []
    for one in work:
        for case, load in one.annotations.items():
            given = pre.annotations.get(case)
            scores = {} if given is None else scores_of(load(), given(), plan)
            measure = next(iter(scores), "")
            rows.append((one.by, case, "used", measure, scores.get(measure), ""))
        rows += [(one.by, s.path, "not used", "", None, s.reason) for s in one.left_out]
    write_table(path, ("annotator", "case", "state", "measure", "agreement_with_pre", "reason"), rows)

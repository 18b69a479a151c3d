"""What a fitted model predicts for the same patients under each value of a treatment column, if they are comparable.

Standardisation (g-computation; Robins 1986, doi:10.1016/0270-0255(86)90088-6): the column is set to each value for
everybody, and the predictions are averaged. Without randomisation the difference is an association; it is printed with
that sentence, and not at all where patients who had one value are not comparable to those who had another.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from lucency import statistics
from lucency.baselines.outcomes import cox_incidence
from lucency.baselines.propensity import propensity
from lucency.case import Case, Outcome
from lucency.columns import Column, encoded
from lucency.evaluate.evaluation import Arm, Effect
from lucency.evaluate.judge import Grounds
from lucency.predict import networks, raw_outputs
from lucency.prepare import Seen
from lucency.statistics import Metric
from lucency.statistics.measure import MIN_PATIENTS, percentiles
from lucency.survival.cox import Cox, fit_cox
from lucency.survival.intervals import incidence_at
from lucency.survival.outcome import Outcomes

#: A patient counts as one who could have had any value where each had at least this chance (Crump 2009,
#: doi:10.1093/biomet/asn055).
LEAST_CHANCE = 0.1
#: Of all patients so many must be like that, and of those with each value so many, or nothing is printed.
LEAST_SHARE, LEAST_EACH = 0.5, 10
#: Values of a column of numbers, at most; more are a dose, not a choice.
MOST_VALUES = 4
#: Resamples in which the Cox model is fitted again, and its ridge penalty: weak, so that the effect is hardly shrunk.
REFITS, PENALTY = 200, 1.0


def effect_of(grounds: Grounds) -> Effect | None:
    """Return the predictions under each value of the plan's treatment column; None where the network is told none.

    Args:
        grounds: See :class:`Grounds`. Every patient is predicted by the member that did not see him.
    """
    plan = grounds.plan
    name = str(plan.task_options.get("treatment", ""))
    column = next((c for c in plan.facts if c.name == name), None)
    if column is None or plan.task_options.get("inputs") == "image":
        return None
    horizon = float(plan.task_options.get("horizon_days", 0.0))  # type: ignore[arg-type]
    held = [c for f in plan.folds for c in grounds.cohort.fold(f)]
    known = [c for c in held if c.clinical.get(name) is not None]
    values = _values(column, known)
    found = Effect(name, horizon, n_patients=len({c.patient for c in known}))
    if not 2 <= len(values) <= MOST_VALUES:
        return replace(found, refused=f"{len(values)} values in the treatment column among the patients judged")
    known = [c for c in known if _word(c.clinical[name]) in values]
    given = np.array([values.index(_word(c.clinical[name])) for c in known])
    others = [c for c in plan.facts if c.name != name]
    table = np.array([encoded(c.clinical, others) for c in known]).reshape(len(known), -1)
    fold = np.array([grounds.cohort.folds[c.id] for c in known])
    comparable = propensity(table, given, fold, len(values)).min(axis=1) >= LEAST_CHANCE
    counts = tuple(len(_patients(known, given == v)) for v in range(len(values)))
    found = replace(found, values=values, counts=counts, n_comparable=len(_patients(known, comparable)))
    refused = _refusal(known, given, comparable, len(values))
    if refused:
        return replace(found, refused=refused)
    chosen = [c for c, inside in zip(known, comparable, strict=True) if inside]
    ours = np.stack([_survival(grounds, chosen, column, value) for value in values], axis=1)
    return replace(
        found,
        arms=_arms(ours, [c.patient for c in chosen], np.random.default_rng(plan.seed + 3)),
        beside=_cox_arms(grounds, chosen, column, values),
        cases={c.id: tuple(float(v) for v in row) for c, row in zip(chosen, ours, strict=True)},
    )


def _word(cell: str | float) -> str:
    return cell if isinstance(cell, str) else f"{cell:g}"


def _values(column: Column, cases: Sequence[Case]) -> tuple[str, ...]:
    """Return the values that patients had: words, the most frequent first, or numbers, the lowest first."""
    seen = {_word(c.clinical[column.name]) for c in cases}
    if column.levels:
        return tuple(level for level in column.levels if level in seen)
    return tuple(sorted(seen, key=float))


def _patients(cases: Sequence[Case], chosen: np.ndarray) -> set[str]:
    return {c.patient for c, inside in zip(cases, chosen, strict=True) if inside}


def _refusal(cases: Sequence[Case], given: np.ndarray, comparable: np.ndarray, n_values: int) -> str:
    """Return why no effect is printed, or nothing."""
    n, inside = len({c.patient for c in cases}), len(_patients(cases, comparable))
    each = [len(_patients(cases, comparable & (given == v))) for v in range(n_values)]
    if inside >= max(LEAST_SHARE * n, MIN_PATIENTS) and min(each) >= LEAST_EACH:
        return ""
    return (
        f"{inside} of {n} patients had, by the other columns, a chance of {LEAST_CHANCE:.0%} or more of each value "
        f"({LEAST_SHARE:.0%} are needed, and {LEAST_EACH} with each value)"
    )


def _under(seen: Seen, column: Column, value: str, columns: Sequence[Column]) -> Seen:
    """Return what a network is told of a case, its treatment set to a value."""
    image, facts = seen if isinstance(seen, tuple) else (seen, np.zeros(0, dtype=np.float32))
    start = sum(c.width for c in columns[: columns.index(column)])
    told = np.array(facts)
    told[start : start + column.width] = encoded({column.name: value if column.levels else float(value)}, [column])
    return image, told


def _survival(grounds: Grounds, cases: Sequence[Case], column: Column, value: str) -> np.ndarray:
    """Return (n,) the predicted chance to be without the event at the horizon, everybody at one value."""
    plan, model, task = grounds.plan, grounds.model, grounds.task
    net_of = dict(zip(model.members, networks(model, task), strict=True))
    found = np.zeros(len(cases))
    for fold in plan.folds:
        rows = [n for n, c in enumerate(cases) if grounds.cohort.folds[c.id] == fold]
        shown = (_under(grounds.store.seen(cases[n].id), column, value, plan.facts) for n in rows)
        for n, raw in zip(rows, raw_outputs(net_of[f"fold{fold}"], shown, plan, dense=False), strict=True):
            output = task.activate(torch.from_numpy(raw)[None], model.calibration)[0].numpy()
            prepared = grounds.store.prepared(cases[n].id)
            course = task.decode(output, cases[n], prepared, plan, model.calibration).course
            found[n] = float("nan") if course is None else 1 - course.risk
    return found


def _arms(survival: np.ndarray, patients: Sequence[str], rng: np.random.Generator) -> tuple[Arm, ...]:
    """Return the mean under each value, and its difference from the first, over the patients."""

    def mean(values: np.ndarray, bounds: tuple[float, float] | None) -> Metric:
        return statistics.bootstrap_metric(statistics.mean_of(values), patients, rng, bounds=bounds)

    first = survival[:, 0]
    return tuple(
        Arm(mean(own, (0.0, 1.0)), mean(own - first, None) if number else None) for number, own in enumerate(survival.T)
    )


def _cox_arms(grounds: Grounds, cases: Sequence[Case], column: Column, values: Sequence[str]) -> tuple[Arm, ...]:
    """Return the same by a Cox model on the clinical columns, fitted anew to each resample of the patients."""
    plan = grounds.plan
    edges = np.asarray(plan.task_options["edges"], dtype=np.float64)
    horizon = np.array([float(plan.task_options["horizon_days"])])  # type: ignore[arg-type]
    told = [c.target for c in cases if isinstance(c.target, Outcome)]
    truth = Outcomes(np.array([o.time for o in told]), np.array([o.event for o in told]))
    table = np.array([encoded(c.clinical, plan.facts) for c in cases])
    start = sum(c.width for c in plan.facts[: plan.facts.index(column)])
    set_to = [np.array(encoded({column.name: v if column.levels else float(v)}, [column])) for v in values]

    def means(rows: np.ndarray) -> np.ndarray:
        """Return (values,) mean survival of drawn patients by the model that they gave."""
        out = []
        for value in set_to:
            changed = table[rows].copy()
            changed[:, start : start + column.width] = value
            found = cox_incidence(table[rows], truth.take(rows), changed, edges, _weak)
            out.append(1 - float(incidence_at(found[:, 0], edges, horizon).mean()))
        return np.array(out)

    rng = np.random.default_rng(plan.seed + 4)
    names = list(dict.fromkeys(c.patient for c in cases))
    rows_of = {p: np.array([n for n, c in enumerate(cases) if c.patient == p]) for p in names}
    whole = means(np.arange(len(cases)))
    drawn = np.array(
        [
            means(np.concatenate([rows_of[names[n]] for n in rng.integers(0, len(names), len(names))]))
            for _ in range(REFITS)
        ]
    )

    def metric(value: float, resampled: np.ndarray) -> Metric:
        lower, upper = percentiles(resampled, len(names))
        return Metric(value, lower, upper, len(names), f"patient bootstrap with a new fit each, {REFITS}")

    return tuple(
        Arm(
            metric(whole[n], drawn[:, n]),
            metric(whole[n] - whole[0], drawn[:, n] - drawn[:, 0]) if n else None,
        )
        for n in range(len(values))
    )


def _weak(rows: np.ndarray, outcomes: Outcomes, cause: int) -> Cox:
    return fit_cox(rows, outcomes.of(cause), PENALTY)

"""Parts of the patients in numbers: metrics, subgroups, baselines, and what to beware of."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lucency.calibration import Calibration
from lucency.case import Case
from lucency.errors import OutputError
from lucency.evaluate.beside import compared
from lucency.evaluate.evaluation import Curve, Evaluation, Part, Scored
from lucency.evaluate.judge import Grounds, judge_locked, judge_out_of_fold, judge_uncalibrated
from lucency.evaluate.missing import patterns
from lucency.evaluate.treatment import effect_of
from lucency.plan import Plan
from lucency.statistics import Metric
from lucency.tasks import Judged, Measures, Task

#: A subgroup is shown from this many patients on (architecture, section 2).
SUBGROUP_PATIENTS = 20

#: Facts by which subgroups are made, with how numbers are cut.
AGE_CUTS = (40.0, 60.0, 75.0)

#: Passes over the training images below which the report warns: no network of these families has converged by then.
FEW_PASSES = 8.0

#: What the notes say after ``--allow-leak``.
LEAKED = "Leakage between the parts was allowed by the user (--allow-leak): the numbers are too good"

#: Calibrated probability of its own label below which a case's label is suspected.
SUSPECT = 0.05


def evaluate(grounds: Grounds, ledger: Path) -> Evaluation:
    """Judge the delivered model on the locked part, and its members on the folds they did not see.

    Args:
        grounds: See :class:`Grounds`.
        ledger: File that counts how often the locked part of these data was looked at.

    Returns:
        The locked part first. Calibration is never judged on its own data: the locked part had no say in it, and
        out-of-fold outputs are calibrated across halves of the patients.
    """
    locked = _asked(grounds.cohort.locked_cases, grounds.plan)
    parts = []
    if locked:
        looks = enter(ledger, grounds.cohort.digest, grounds.model.digest)
        plain = replace(grounds, model=replace(grounds.model, calibration=Calibration()))
        before = judge_locked(plain, locked) if not grounds.task.dense else []
        parts.append(_part("locked", locked, judge_locked(grounds, locked), before, grounds))
    else:
        looks = 0
    held = _asked([c for fold in grounds.plan.folds for c in grounds.cohort.fold(fold)], grounds.plan)
    before = judge_uncalibrated(grounds, held) if not grounds.task.dense else []
    parts.append(_part("out-of-fold", held, judge_out_of_fold(grounds, held), before, grounds))
    plan = grounds.plan
    return Evaluation(
        task=grounds.task.name,
        headline=grounds.task.headline,
        parts=tuple(parts),
        classes=plan.classes or tuple(plan.labels[v] for v in sorted(plan.labels)),
        looks=looks,
        suspects=suspects(parts),
        notes=_notes(grounds, parts),
        effect=effect_of(grounds),
    )


def enter(ledger: Path, data: str, model: str) -> int:
    """Write a look at the locked part into the ledger; return how many there are for these data.

    Args:
        ledger: The run's.
        data: Digest of the cohort.
        model: Digest of what is judged; the same looked at again is one look.
    """
    line = json.dumps({"data": data, "model": model})
    before = ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else []
    if line not in before:
        try:
            with ledger.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise OutputError(f"Cannot write ({error.strerror})", where=ledger.name) from error
        before.append(line)
    return sum(json.loads(entry)["data"] == data for entry in before)


def _asked(cases: Sequence[Case], plan: Plan) -> list[Case]:
    """Return the cases that the model can be asked about: of a translation those that have something to translate."""
    return [c for c in cases if not plan.made or any(m in c.images for m in plan.inputs)]


def _part(
    name: str, cases: Sequence[Case], judged: Sequence[Judged], before: Sequence[Judged], grounds: Grounds
) -> Part:
    task, plan = grounds.task, grounds.plan
    rng = np.random.default_rng(plan.seed)
    measures = _with_before(task.measure(judged, plan, rng), task.measure(before, plan, rng) if before else None)
    return Part(
        name=name,
        n_cases=len(judged),
        n_patients=len({j.patient for j in judged}),
        metrics=measures.metrics,
        by_label=measures.by_label,
        subgroups=_subgroups(cases, judged, grounds, rng),
        curves={k: Curve(tuple(x), tuple(y), tuple(n)) for k, (x, y, n) in measures.curves.items()},
        confusion=measures.confusion,
        baselines=compared(name, cases, judged, grounds),
        cases=_worst_first([_scored(j, name, grounds) for j in judged], task),
        patterns=patterns(name, cases, judged, grounds),
    )


def _with_before(measures: Measures, before: Measures | None) -> Measures:
    """Add calibration error and reliability as they were before calibration."""
    if before is None or "ece" not in before.metrics:
        return measures
    found: dict[str, Metric] = {}
    for key, value in measures.metrics.items():
        if key == "ece":
            found["ece_before"] = before.metrics["ece"]
        found[key] = value
    curves = {**measures.curves, "reliability before": before.curves["reliability"]}
    return replace(measures, metrics=found, curves=curves)


def _scored(judged: Judged, part: str, grounds: Grounds) -> Scored:
    where = part if part == "locked" else f"fold {grounds.cohort.folds[judged.case]}"
    return Scored(
        case=judged.case,
        patient=judged.patient,
        part=where,
        scores=judged.scores,
        truth=judged.truth,
        label=judged.label,
        probabilities=judged.probabilities,
        doubt=judged.doubt,
    )


def _worst_first(cases: Sequence[Scored], task: Task) -> tuple[Scored, ...]:
    """Order cases by what their task makes of their scores; what cannot be judged comes last, equal ones by name."""

    def place(scored: Scored) -> tuple[bool, float, str]:
        worth = task.worth(scored.scores)
        return (False, worth, scored.case) if np.isfinite(worth) else (True, 0.0, scored.case)

    return tuple(sorted(cases, key=place))


def _subgroups(
    cases: Sequence[Case], judged: Sequence[Judged], grounds: Grounds, rng: np.random.Generator
) -> dict[str, dict[str, Metric]]:
    found: dict[str, dict[str, Metric]] = {}
    for name, members in subgroups(cases, judged).items():
        if len({m.patient for m in members}) < SUBGROUP_PATIENTS:
            continue
        metrics = grounds.task.measure(members, grounds.plan, rng).metrics
        found[name] = {grounds.task.headline: metrics[grounds.task.headline]}
    return found


def subgroups(cases: Sequence[Case], judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Return the cases by what is known of their patients and scanners: ``"sex = F"`` …; not a group of all.

    Args:
        cases: With their facts.
        judged: The same cases in the same order.
    """
    groups: dict[str, list[Judged]] = {}
    for case, one in zip(cases, judged, strict=True):
        for fact in ("sex", "age", "site", "scanner", "modality", "body_part"):
            word = _group_of(fact, case.facts.get(fact))
            if word:
                groups.setdefault(f"{fact} = {word}", []).append(one)
    return {name: groups[name] for name in sorted(groups) if len(groups[name]) < len(judged)}


def _group_of(fact: str, value: str | float | None) -> str:
    if value is None or value == "":
        return ""
    if fact == "age" and isinstance(value, int | float):
        below = [c for c in AGE_CUTS if value < c]
        return f"under {below[0]:.0f}" if below else f"{AGE_CUTS[-1]:.0f} and over"
    return str(value)


def _notes(grounds: Grounds, parts: Sequence[Part]) -> tuple[str, ...]:
    cohort = grounds.cohort
    notes: list[str] = []
    n = len({c.patient for c in cohort.trainable})
    if n < 30:
        notes.append(f"{n} patients in training: expect the result to change with other patients")
    for part in parts:
        if part.n_patients < 20:
            notes.append(f"{part.n_patients} patients in the {part.name} part: too few for intervals")
    if cohort.allow_leak:
        notes.append(LEAKED)
    poor = sum(reason.startswith("quality: ") for reason in cohort.left_out.values())
    copies = sum("copy" in reason.split() for reason in cohort.left_out.values())
    notes += [f"{copies} cases left out: duplicates of others"] if copies else []
    notes += [f"{poor} cases left out for their quality: the numbers hold for images that pass it"] if poor else []
    seen = _passes(grounds)
    if seen < FEW_PASSES:
        notes.append(f"Training saw each image about {seen:.1f} times: too few to converge; give more --minutes")
    disagreeing = suspects(parts)
    if disagreeing:
        notes.append(
            f"{len(disagreeing)} labels are contradicted by a confident out-of-fold prediction: look at them first"
        )
    notes += grounds.task.remarks(grounds.plan, grounds.model.calibration)
    # What concerns the numbers goes before what the reader saw.
    return (*notes, *cohort.notes)


def _passes(grounds: Grounds) -> float:
    """Return how often a member saw each of its training images, by the steps that were planned."""
    plan, fold = grounds.plan, grounds.plan.folds[0]
    return plan.schedule.steps * plan.batch / max(1, len(grounds.cohort.outside(fold)))


def suspects(parts: Sequence[Part]) -> tuple[Scored, ...]:
    """Return the out-of-fold cases to whose label the model gives less than 5 %, the surest disagreement first.

    Args:
        parts: The locked part is passed over: looking for its errors with the model would choose what it is judged on.

    Source:
        Northcutt 2021, doi:10.1613/jair.1.12125 (labels are doubted by out-of-sample probabilities only).
    """
    denied = [
        c
        for p in parts
        if p.name != "locked"
        for c in p.cases
        if c.probabilities and c.probabilities.get(c.truth, 1.0) < SUSPECT
    ]
    return tuple(sorted(denied, key=lambda c: (c.probabilities[c.truth], c.case)))

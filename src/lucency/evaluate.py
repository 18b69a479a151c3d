"""Numbers with intervals on patients the model has not seen, beside simple baselines on the same folds."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from lucency import baselines, statistics
from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Prediction
from lucency.errors import OutputError
from lucency.events import Events
from lucency.image import Image
from lucency.losses import IGNORE
from lucency.model import Model
from lucency.plan import Plan
from lucency.predict import ensemble, networks
from lucency.prepare import Store
from lucency.read import load
from lucency.statistics import Metric
from lucency.tasks import Judged, Measures, Task
from lucency.train import OutOfFold


@dataclass(frozen=True)
class Scored:
    """One held-out case: its scores and what is needed to draw and rank it.

    Args:
        case: Case id.
        patient: Salted digest.
        part: ``"locked"`` or ``"fold 0"`` …
        scores: Metric name to value; for masks ``"dice/LABEL"``, ``"hd95_mm/LABEL"`` …, and ``"dice"`` their mean.
        truth: Class name, or "" for masks.
        label: Predicted class name at the threshold, or "".
        probabilities: Class name to calibrated probability, or empty.
        doubt: 0 to 1.
    """

    case: str
    patient: str
    part: str
    scores: Mapping[str, float] = field(default_factory=dict)
    truth: str = ""
    label: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    doubt: float = 0.0


@dataclass(frozen=True)
class Curve:
    """A named line in the report: ROC, precision–recall, reliability.

    Args:
        x: Abscissae.
        y: Ordinates, same length.
        n: Cases behind each point, or empty.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    n: tuple[int, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """One baseline on the same held-out cases.

    Args:
        metrics: The same names as the model's.
        difference: Model minus baseline on the headline metric, with its interval.
        p: Two-sided, paired; ``p_holm`` after Holm over all baselines. None where no test applies.
        test: Name of the test.
        verdict: ``"better"``, ``"no different"`` or ``"worse"``: the model against this baseline.
    """

    metrics: Mapping[str, Metric]
    difference: Metric
    p: float | None
    p_holm: float | None
    test: str
    verdict: str


@dataclass(frozen=True)
class Part:
    """Everything measured on one held-out part.

    Args:
        name: ``"locked"`` or ``"out-of-fold"``.
        n_cases: Cases scored.
        n_patients: Patients behind them.
        metrics: Overall numbers; the headline first.
        by_label: Label or class name to its own metrics.
        subgroups: ``"sex = F"`` … to headline metrics, for facts with enough patients.
        curves: ``"roc/CLASS"``, ``"pr/CLASS"``, ``"reliability"``, ``"reliability before"``.
        confusion: Rows true, columns predicted, in class order; empty for masks.
        baselines: Name to comparison.
        cases: Every case, worst first.
    """

    name: str
    n_cases: int
    n_patients: int
    metrics: Mapping[str, Metric]
    by_label: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    subgroups: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] = ()
    baselines: Mapping[str, Comparison] = field(default_factory=dict)
    cases: tuple[Scored, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` found; stored as ``evaluation.json`` in the run.

    Args:
        task: Registry name of the task.
        headline: Name of the metric that the first line of the report quotes.
        parts: The locked part first.
        classes: Class names in order, or the label names for masks.
        looks: How often the locked part has been evaluated with these data, this time included.
        notes: Sentences for the reader: warnings, limits, what was too few.
        suspects: Out-of-fold cases whose label the model confidently denies, the surest first: their labels may be
            wrong.
    """

    task: str
    headline: str
    parts: tuple[Part, ...]
    classes: tuple[str, ...] = ()
    looks: int = 1
    notes: tuple[str, ...] = ()
    suspects: tuple[Scored, ...] = ()


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

#: A baseline is "as good" when the corrected p-value is above this.
LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class Grounds:
    """What evaluation stands on.

    Args:
        cohort: As training used it.
        plan: As training used it.
        task: The plan's task.
        store: Prepared cases.
        model: As delivered.
        outputs: Out-of-fold outputs.
        events: Progress.
        nan: Value for NaN voxels, or None.
    """

    cohort: Cohort
    plan: Plan
    task: Task
    store: Store
    model: Model
    outputs: OutOfFold
    events: Events
    nan: float | None = None


def evaluate(grounds: Grounds, ledger: Path) -> Evaluation:
    """Judge the delivered model on the locked part, and its members on the folds they did not see.

    Args:
        grounds: See :class:`Grounds`.
        ledger: File that counts how often the locked part of these data was looked at.

    Returns:
        The locked part first. Calibration is never judged on its own data: the locked part had no say in it, and
        out-of-fold outputs are calibrated across halves of the patients.
    """
    locked = list(grounds.cohort.locked_cases)
    parts = []
    if locked:
        looks = _enter(ledger, grounds)
        plain = replace(grounds, model=replace(grounds.model, calibration=Calibration()))
        before = _judge_locked(plain, locked) if not grounds.task.dense else []
        parts.append(_part("locked", locked, _judge_locked(grounds, locked), before, grounds))
    else:
        looks = 0
    held = [c for fold in grounds.plan.folds for c in grounds.cohort.fold(fold)]
    before = _judge_uncalibrated(grounds, held) if not grounds.task.dense else []
    parts.append(_part("out-of-fold", held, _judge_out_of_fold(grounds, held), before, grounds))
    plan = grounds.plan
    return Evaluation(
        task=grounds.task.name,
        headline=grounds.task.headline,
        parts=tuple(parts),
        classes=plan.classes or tuple(plan.labels[v] for v in sorted(plan.labels)),
        looks=looks,
        suspects=suspects(parts),
        notes=_notes(grounds, parts),
    )


def _enter(ledger: Path, grounds: Grounds) -> int:
    """Write this look at the locked part into the ledger; return how many there are for these data."""
    line = json.dumps({"data": grounds.cohort.digest, "model": grounds.model.digest})
    before = ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else []
    if line not in before:
        try:
            with ledger.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise OutputError(f"Cannot write ({error.strerror})", where=ledger.name) from error
        before.append(line)
    return sum(json.loads(entry)["data"] == grounds.cohort.digest for entry in before)


def _judge_locked(grounds: Grounds, cases: Sequence[Case]) -> list[Judged]:
    nets = networks(grounds.model, grounds.task)
    arrays = (grounds.store.image(c.id) for c in cases)
    judged = []
    for number, (case, output) in enumerate(
        zip(cases, ensemble(nets, arrays, grounds.model, grounds.task), strict=True), start=1
    ):
        judged.append(_judge(grounds, case, output, grounds.model.calibration))
        _progress(grounds, number, len(cases), "locked")
    return judged


def _judge_out_of_fold(grounds: Grounds, cases: Sequence[Case]) -> list[Judged]:
    """Score each case with the calibration that the other half of the patients gave."""
    rng = np.random.default_rng(grounds.plan.seed)
    # As they come, not by name: pseudonyms differ from run to run, and the halves must not.
    patients = list(dict.fromkeys(c.patient for c in cases))
    half = dict(zip(patients, rng.permutation(len(patients)) % 2, strict=True))
    calibrations = {}
    for side in (0, 1):
        others = [c.id for c in cases if half[c.patient] != side]
        calibrations[side] = (
            grounds.task.calibrate(
                grounds.outputs.some(others),
                [target_of(grounds.store, grounds.task, i) for i in others],
                grounds.plan,
                rng,
            )
            if others
            else Calibration()
        )
    judged = []
    for number, case in enumerate(cases, start=1):
        calibration = calibrations[int(half[case.patient])]
        raw = torch.from_numpy(np.array(grounds.outputs.output(case.id), dtype=np.float32))
        output = grounds.task.activate(raw[None], calibration)[0].numpy()
        judged.append(_judge(grounds, case, output, calibration))
        _progress(grounds, number, len(cases), "out-of-fold")
    return judged


def _judge_uncalibrated(grounds: Grounds, cases: Sequence[Case]) -> list[Judged]:
    """Score raw outputs as they are, to show what calibration changed."""
    raw = [torch.from_numpy(np.array(grounds.outputs.output(c.id), dtype=np.float32))[None] for c in cases]
    outputs = [grounds.task.activate(one, Calibration())[0].numpy() for one in raw]
    return [_judge(grounds, case, output, Calibration()) for case, output in zip(cases, outputs, strict=True)]


def _progress(grounds: Grounds, number: int, total: int, part: str) -> None:
    if number % max(1, total // 10) == 0 or number == total:
        grounds.events.emit("evaluate", "progress", done=number, of=total, part=part)


def target_of(store: Store, task: Task, case: str) -> "np.ndarray | float":
    """Return what the case was to learn, as the store holds it."""
    return store.mask(case) if task.dense else store.target(case)


def _judge(grounds: Grounds, case: Case, output: np.ndarray, calibration: Calibration) -> Judged:
    prediction = grounds.task.decode(output, case, grounds.store.prepared(case.id), grounds.plan, calibration)
    return Judged(
        case=case.id,
        patient=case.patient,
        truth=case.target if isinstance(case.target, str) else "",
        label=prediction.label,
        probabilities=prediction.probabilities or {},
        scores=grounds.task.score(prediction, case, grounds.plan),
        doubt=prediction.doubt,
    )


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
        baselines=_baselines(name, cases, judged, grounds),
        cases=tuple(sorted((_scored(j, name, grounds) for j in judged), key=_badness)),
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


def _badness(scored: Scored) -> tuple[float, str]:
    """Order cases worst first: lowest overlap, or least probability for the truth."""
    scores = scored.scores
    value = scores.get("dice", scores.get("p_true", 0.0))
    return (value if np.isfinite(value) else 2.0, scored.case)


# --- subgroups ------------------------------------------------------------------------------------------------------


def _subgroups(
    cases: Sequence[Case], judged: Sequence[Judged], grounds: Grounds, rng: np.random.Generator
) -> dict[str, dict[str, Metric]]:
    groups: dict[str, list[Judged]] = {}
    for case, one in zip(cases, judged, strict=True):
        for fact in ("sex", "age", "site", "scanner", "modality", "body_part"):
            word = _group_of(fact, case.facts.get(fact))
            if word:
                groups.setdefault(f"{fact} = {word}", []).append(one)
    found: dict[str, dict[str, Metric]] = {}
    for name in sorted(groups):
        members = groups[name]
        n = len({m.patient for m in members})
        if n < SUBGROUP_PATIENTS or len(members) == len(judged):
            continue
        metrics = grounds.task.measure(members, grounds.plan, rng).metrics
        found[name] = {grounds.task.headline: metrics[grounds.task.headline]}
    return found


def _group_of(fact: str, value: str | float | None) -> str:
    if value is None or value == "":
        return ""
    if fact == "age" and isinstance(value, int | float):
        below = [c for c in AGE_CUTS if value < c]
        return f"under {below[0]:.0f}" if below else f"{AGE_CUTS[-1]:.0f} and over"
    return str(value)


# --- baselines ------------------------------------------------------------------------------------------------------


def _baselines(name: str, cases: Sequence[Case], judged: Sequence[Judged], grounds: Grounds) -> dict[str, Comparison]:
    """Train every simple baseline on what the model was trained on, and compare on the same cases."""
    outputs = (_mask_baselines if grounds.task.dense else _image_baselines)(name, cases, grounds)
    rng = np.random.default_rng(grounds.plan.seed + 1)
    rows: dict[str, tuple[Mapping[str, Metric], Metric, float | None, str]] = {}
    for baseline, (found, calibration) in outputs.items():
        theirs = [_judge(grounds, case, output, calibration) for case, output in zip(cases, found, strict=True)]
        metrics = grounds.task.measure(theirs, grounds.plan, rng).metrics
        difference, p, test = grounds.task.compare(judged, theirs, grounds.plan, rng)
        rows[baseline] = (metrics, difference, p, test)
        grounds.events.emit("evaluate", "baseline", name=baseline, part=name)
    adjusted = statistics.holm([row[2] for row in rows.values()])
    return {
        baseline: Comparison(metrics, difference, p, holm, test, _verdict(difference, holm))
        for (baseline, (metrics, difference, p, test)), holm in zip(rows.items(), adjusted, strict=True)
    }


def _verdict(difference: Metric, p_holm: float | None) -> str:
    if p_holm is None or p_holm > LEVEL or not np.isfinite(difference.value):
        return "no different"
    return "better" if difference.value > 0 else "worse"


def _splits(name: str, cases: Sequence[Case], grounds: Grounds) -> list[tuple[list[str], list[int]]]:
    """Return (training ids, rows of ``cases`` to predict): the same folds as the model's."""
    if name == "locked":
        return [([c.id for c in grounds.cohort.trainable], list(range(len(cases))))]
    folds = grounds.cohort.folds
    return [
        ([c.id for c in grounds.cohort.outside(f)], [n for n, c in enumerate(cases) if folds[c.id] == f])
        for f in grounds.plan.folds
    ]


Outputs = dict[str, tuple[list[np.ndarray], Calibration]]


def _image_baselines(name: str, cases: Sequence[Case], grounds: Grounds) -> Outputs:
    store, n_classes = grounds.store, len(grounds.plan.classes)
    ids = {c.id for c in cases} | {c.id for c in grounds.cohort.trainable}
    table = {i: baselines.features(store.image(i).astype(np.float32), dims=grounds.plan.dims) for i in sorted(ids)}
    found: Outputs = {}
    for baseline in baselines.IMAGE_BASELINES.values():
        outputs: list[np.ndarray] = [np.zeros(n_classes)] * len(cases)
        for train_ids, rows in _splits(name, cases, grounds):
            probabilities = baseline.fit_predict(
                np.stack([table[i] for i in train_ids]),
                np.array([int(store.target(i)) for i in train_ids]),
                np.stack([table[cases[n].id] for n in rows]),
                n_classes,
                grounds.plan.seed,
            )
            for n, row in zip(rows, probabilities, strict=True):
                outputs[n] = row
        found[baseline.name] = (outputs, Calibration())
    return found


def _mask_baselines(name: str, cases: Sequence[Case], grounds: Grounds) -> Outputs:
    store, n_labels = grounds.store, len(grounds.plan.labels)
    found: Outputs = {}
    for baseline in baselines.MASK_BASELINES.values():
        outputs: list[np.ndarray] = [np.zeros(0)] * len(cases)
        for train_ids, rows in _splits(name, cases, grounds):
            step = max(1, len(train_ids) // baselines.MASK_IMAGES)
            chosen = train_ids[::step]
            fitted = baseline.fit(
                [store.image(i).astype(np.float32) for i in chosen],
                [np.asarray(store.mask(i)) for i in chosen],
                n_labels,
                ignore=IGNORE,
            )
            for n in rows:
                mask = fitted.predict(store.image(cases[n].id).astype(np.float32))
                outputs[n] = np.stack([(mask == v).astype(np.float32) for v in range(n_labels + 1)])
        found[baseline.name] = (outputs, Calibration())
    return found


# --- what the reader should know, and what he should see -------------------------------------------------------------


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


@dataclass(frozen=True, eq=False)
class Shown:
    """A held-out case as it can be drawn: the source, the truth and the prediction, all on the source's grid."""

    case: Case
    image: Image
    truth: Image | None
    prediction: Prediction


def show(grounds: Grounds, ids: Sequence[str], truth_of: Callable[[Case], Image | None]) -> list[Shown]:
    """Predict some locked or out-of-fold cases again, for pictures.

    Args:
        grounds: As for :func:`evaluate`.
        ids: Case ids.
        truth_of: The reference mask of a case, or None.
    """
    by_id = {c.id: c for c in grounds.cohort.cases}
    cases = [by_id[i] for i in ids]
    nets = networks(grounds.model, grounds.task)
    arrays = (grounds.store.image(c.id) for c in cases)
    found = []
    for case, output in zip(cases, ensemble(nets, arrays, grounds.model, grounds.task), strict=True):
        prepared = grounds.store.prepared(case.id)
        prediction = grounds.task.decode(output, case, prepared, grounds.plan, grounds.model.calibration)
        prediction = replace(prediction, model=grounds.model.digest)
        found.append(Shown(case, load(case.sources[0], nan=grounds.nan), truth_of(case), prediction))
    return found

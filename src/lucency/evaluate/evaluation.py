"""What evaluation found: cases, parts, comparisons."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lucency.statistics import Metric


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
class Pattern:
    """What is left when only some modalities are given.

    Args:
        given: Names of modalities.
        n_cases: Cases that have all of them.
        n_patients: Patients behind them.
        metric: The headline metric with these modalities alone.
        loss: The same minus that with everything the same cases have; None where these are all modalities.
        p_loss: Two-sided, paired by patient, after Holm over the choices; None where no test applies.
        zero_filling: The headline metric of the network that is given zeros instead; None where there is none.
        gain: ``metric`` minus ``zero_filling``.
        p_gain: As ``p_loss``.
        test: Name of the test.
    """

    given: tuple[str, ...]
    n_cases: int
    n_patients: int
    metric: Metric
    loss: Metric | None = None
    p_loss: float | None = None
    zero_filling: Metric | None = None
    gain: Metric | None = None
    p_gain: float | None = None
    test: str = ""


@dataclass(frozen=True)
class Arm:
    """Everybody at one value of a treatment column.

    Args:
        survival: Mean predicted chance to be without the event at the horizon.
        difference: That minus the mean at the first value; None at the first.
    """

    survival: Metric
    difference: Metric | None = None


@dataclass(frozen=True)
class Effect:
    """What is predicted for the same patients under each value of a treatment column: an association, unless by lot.

    Args:
        column: Its name.
        horizon: Days.
        n_patients: Held-out patients of whom the column is known.
        values: As in the table.
        counts: Patients who had each value.
        n_comparable: Patients who, by the other columns, could have had any value; the numbers are over these.
        arms: By the model, one for each value; empty where nothing is printed.
        beside: By a Cox model on the clinical columns.
        refused: Why nothing is printed.
        cases: Case id to the predicted survival under each value.
    """

    column: str
    horizon: float
    n_patients: int = 0
    values: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    n_comparable: int = 0
    arms: tuple[Arm, ...] = ()
    beside: tuple[Arm, ...] = ()
    refused: str = ""
    cases: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Downstream:
    """What a model that was trained on real images makes of held-out patients' real and made images.

    Args:
        task: Registry name of the model's task.
        headline: Its metric.
        names: Classes or labels.
        steps: Optimiser steps of its training.
        n_patients: Patients behind the made images.
        arms: What they were shown (``"real"``, ``"made"``, ``"given"``, ``"nothing"``) to the headline metric.
        made_minus: The made images minus another arm, on the same patients.
        p_holm: Two-sided, paired by patient, after Holm; None where no test applies.
        test: Name of the test.
    """

    task: str
    headline: str
    names: tuple[str, ...]
    steps: int
    n_patients: int
    arms: Mapping[str, Metric]
    made_minus: Mapping[str, Metric]
    p_holm: Mapping[str, float | None]
    test: str = ""


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
        patterns: What is left with only some modalities; empty where the model needs all of them.
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
    patterns: tuple[Pattern, ...] = ()


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
        effect: What is predicted under each value of a treatment column; None where there is none.
        downstream: What a model makes of images that were made; None where none were, or the data have no labels.
    """

    task: str
    headline: str
    parts: tuple[Part, ...]
    classes: tuple[str, ...] = ()
    looks: int = 1
    notes: tuple[str, ...] = ()
    suspects: tuple[Scored, ...] = ()
    effect: Effect | None = None
    downstream: Downstream | None = None

"""From images that nobody has labelled to pre-annotations, with what a person's answer to each would tell."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lucency import record
from lucency.annotate.finding import findings_of
from lucency.annotate.orders import Place, Pool, ordered
from lucency.annotate.views import agreement_of, views_of
from lucency.annotation import values_in
from lucency.case import Case, Cohort, Prediction
from lucency.errors import DataError, UsageError
from lucency.features import LOOKED, encoder, seen
from lucency.image import Image
from lucency.index import space_of
from lucency.inspect import Inspection, settle
from lucency.model import Model
from lucency.predict import Answered, answers, networks
from lucency.prepare import Store, digest_of
from lucency.tasks import task_named

#: What the model learned of which nothing can be seen or drawn on an image: its baselines by name.
UNSEEN = ("outcomes",)


@dataclass(frozen=True, eq=False)
class Look:
    """What is thought of a case and its pre-annotation.

    Args:
        case: The case.
        suggestion: What the pre-annotation says, as a word of a table.
        doubt: Of the prediction, 0 to 1.
        uncertainty: 0 to 1, how much a person's answer would tell.
        quality: 0 to 1, how good the pre-annotation is thought to be.
        feature: (d,) float, what the network sees in the images.
        found: Whether there is anything on it, as far as the model can tell.
        shown: What is said of it (``finding_en``, ``finding_zh``), and what a painter made of it.
    """

    case: Case
    suggestion: str
    doubt: float
    uncertainty: float
    quality: float
    feature: np.ndarray
    found: bool
    shown: Mapping[str, str] = field(default_factory=dict)


def look(
    model: Model,
    cases: Iterable[Case],
    *,
    nan: float | None = None,
    refused: Callable[[Case, DataError], None] | None = None,
    likeness: Callable[[np.ndarray], float] | None = None,
    paint: Callable[[Answered], Mapping[str, str]] | None = None,
) -> Iterator[tuple[Prediction, Look]]:
    """Yield the pre-annotation of each case, in order, and what is thought of it; the latter is small and may be kept.

    Args:
        model: Loaded and thereby verified.
        cases: Labelled or not.
        nan: As for :func:`lucency.predict.predict`.
        refused: As for :func:`lucency.predict.predict`.
        likeness: As for :func:`lucency.predict.predict`.
        paint: Makes pictures and words of a case while its arrays are at hand.

    Raises:
        UsageError: What the model learned cannot be seen on an image.
        DataError: An image that cannot be used; only where ``refused`` is None.
    """
    task = task_named(model.plan.task)
    if task.baselines in UNSEEN:
        raise UsageError(
            "What this model predicts comes after the image",
            expected="a model whose answer a person can see or draw on an image",
            remedy="collect outcomes in a table with time and event",
        )
    nets, body = networks(model, task), encoder(model)
    for one in answers(model, cases, nan=nan, refused=refused, likeness=likeness):
        views = views_of(nets, one, model, task)
        yield (
            one.prediction,
            Look(
                one.case,
                suggestion(one.prediction, model.plan.labels),
                one.prediction.doubt,
                task.informative(views, one.prediction, model.plan),
                agreement_of(views, one, model, task),
                next(seen(body, [one.prepared.array], model.plan)).whole,
                _found(one.prediction),
                {**_said(one, model.plan.labels), **(paint(one) if paint is not None else {})},
            ),
        )


def _said(one: Answered, labels: Mapping[int, str]) -> dict[str, str]:
    """Return the one sentence about a case in both languages."""
    nothing = np.broadcast_to(np.zeros((), np.uint8), (1, *one.prepared.place.source_size))
    time = one.case.sources[0].header.get("k_axis") == "time"
    grid = Image(nothing, one.prepared.affine, kind="labels", k_axis="time" if time else "space")
    return findings_of(one.prediction, one.case, grid, labels)


def _found(prediction: Prediction) -> bool:
    """Tell whether anything was found; true where the answer is no finding but a class or a number."""
    if prediction.mask is not None:
        return bool(prediction.mask.array.any())
    return prediction.boxes is None or any(b.told for b in prediction.boxes)


def suggestion(prediction: Prediction, labels: Mapping[int, str]) -> str:
    """Return what a pre-annotation says, as a word of a table: a class, a number, or what was found.

    Args:
        prediction: Of a case.
        labels: Mask value to name.

    Example:
        >>> suggestion(Prediction("a", "", value=54.25), {})
        '54.25'
    """
    if prediction.mask is not None:
        there = values_in(prediction.mask.array)
        return "|".join(name for value, name in sorted(labels.items()) if value in there)
    if prediction.value is not None:
        return f"{prediction.value:.6g}"
    if prediction.boxes is not None:
        return "|".join(sorted({b.label for b in prediction.boxes if b.told}))
    return prediction.label


def learned(run: Path, model: Model) -> list[np.ndarray]:
    """Return what the network sees in cases that it was trained on, (d,) each; none where they are not at hand.

    Args:
        run: Run folder with its prepared cases; a model folder alone has none.
        model: Of the run.
    """
    if not (run / "cohort.json").exists():
        return []
    cohort = record.read(Cohort, run / "cohort.json")
    if (run / "inspection.json").exists():
        cohort = settle(cohort, record.read(Inspection, run / "inspection.json"))
    folder = run / "prepared" / digest_of(cohort, model.plan)
    if not folder.exists():
        return []
    store = Store(folder)
    cases = [c.id for c in cohort.trainable if c.id in store.entries]
    take = np.unique(np.linspace(0, len(cases) - 1, min(len(cases), LOOKED[model.plan.dims])).astype(int))
    arrays = (store.image(cases[n]).astype(np.float32) for n in take)
    return [one.whole for one in seen(encoder(model), arrays, model.plan)]


def listed(
    looks: Sequence[Look],
    done: Collection[str],
    strategy: str,
    rng: np.random.Generator,
    trained: Sequence[np.ndarray] = (),
) -> list[tuple[Look, Place]]:
    """Return the cases that are still to be annotated, in the order in which to look at them.

    Args:
        looks: Every case.
        done: Ids of those that are annotated already; the order keeps away from what they are like.
        strategy: One of :data:`lucency.annotate.orders.STRATEGIES`.
        rng: Draws, and decides between equals.
        trained: Features of cases that the model has learned from; the order keeps away from them as well.

    Raises:
        UsageError: No such strategy.
    """
    still = sorted((one for one in looks if one.case.id not in done), key=lambda one: one.case.id)
    known = [one for one in looks if one.case.id in done]
    taken: dict[str, int] = {}
    for one in known:
        taken[one.case.patient] = taken.get(one.case.patient, 0) + 1
    features = _embedded([*(one.feature for one in (*still, *known)), *trained])
    pool = Pool(
        patients=tuple(one.case.patient for one in still),
        uncertainty=np.array([one.uncertainty for one in still]),
        quality=np.array([one.quality for one in still]),
        features=features[: len(still)],
        foreground=np.array([one.found for one in still], dtype=bool),
        known=features[len(still) :],
        taken=taken,
    )
    return [(still[place.index], place) for place in ordered(pool, strategy, rng)]


def _embedded(features: Sequence[np.ndarray]) -> np.ndarray:
    """Return features as unit vectors in the space in which these cases vary alike in all directions that matter."""
    if len(features) < 2:
        return np.zeros((len(features), 1))
    every = np.stack(features)
    return space_of(every).unit(every)

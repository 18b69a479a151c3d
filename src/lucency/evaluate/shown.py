"""Held-out cases as they can be drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lucency.case import Case, Prediction
from lucency.evaluate.judge import Grounds
from lucency.image import Image
from lucency.predict import ensemble, networks
from lucency.prepare import placed_on
from lucency.read import load


@dataclass(frozen=True, eq=False)
class Shown:
    """A held-out case as it can be drawn: the source, the truth and the prediction, all on the source's grid."""

    case: Case
    image: Image
    truth: Image | None
    prediction: Prediction
    classes: tuple[str, ...] = ()


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
    arrays = (grounds.store.seen(c.id) for c in cases)
    found = []
    for case, output in zip(cases, ensemble(nets, arrays, grounds.model, grounds.task), strict=True):
        prepared = grounds.store.prepared(case.id)
        prediction = grounds.task.decode(output, case, prepared, grounds.plan, grounds.model.calibration)
        prediction = replace(prediction, model=grounds.model.digest)
        source, truth = case.sources[0], truth_of(case)
        if grounds.plan.made:
            source = case.images[next(m for m in grounds.plan.inputs if m in case.images)][0]
        image = load(source, nan=grounds.nan)
        if grounds.plan.made:
            wanted = case.images.get(grounds.plan.made[0])
            truth = placed_on(load(wanted[0], nan=grounds.nan), image, case.id) if wanted else None
        found.append(Shown(case, image, truth, prediction, grounds.plan.classes))
    return found

"""From images to maps on their own grid, each with what its tests gave."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lucency.case import Case
from lucency.errors import DataError, UsageError
from lucency.explain.maps import METHODS, scored_of
from lucency.explain.trials import Trials, trials
from lucency.image import Image
from lucency.model import Model
from lucency.predict import networks, prepare_case
from lucency.prepare import restore
from lucency.tasks import task_named


@dataclass(frozen=True, eq=False)
class Mapped:
    """One map.

    Args:
        grid: (K, J, I) float32 on the network's grid.
        image: On the source's own grid, in the patient.
        trials: What its tests gave.
    """

    grid: np.ndarray
    image: Image
    trials: Trials


@dataclass(frozen=True, eq=False)
class Explained:
    """One image with its maps.

    Args:
        case: Id.
        answer: What is explained: a class, ``"value"`` or ``"labels"``.
        array: (C, K, J, I) on the network's grid.
        maps: Method to map.
    """

    case: str
    answer: str
    array: np.ndarray
    maps: Mapping[str, Mapped]


def explain(
    model: Model,
    cases: Iterable[Case],
    methods: Sequence[str] = tuple(METHODS),
    *,
    nan: float | None = None,
    refused: Callable[[Case, DataError], None] | None = None,
) -> Iterator[Explained]:
    """Yield the maps of each image, of the model's first member, with their tests.

    Args:
        model: Loaded and thereby verified.
        cases: Images.
        methods: Names in :data:`lucency.explain.METHODS`.
        nan: Value for NaN voxels; None refuses them.
        refused: Told of every image that cannot be used; None raises at the first.

    Raises:
        UsageError: No such method, or a model whose answer is not one number.
        DataError: An image that cannot be used; only where ``refused`` is None.
    """
    for name in methods:
        if name not in METHODS:
            raise UsageError(f"No method {name!r}", expected=", ".join(METHODS), where="--method")
    task, plan = task_named(model.plan.task), model.plan
    net = networks(model, task)[0].cpu().float()
    for case in cases:
        try:
            ready, _ = prepare_case(case, model, nan)
        except DataError as error:
            if refused is None:
                raise
            refused(case, error)
            continue
        scored, answer = scored_of(net, task, plan, ready.array)
        rng = np.random.default_rng(plan.seed)
        found = {}
        for name in methods:
            drawn = METHODS[name](scored, ready.array)
            back = restore(drawn[None], ready.place)
            image = Image(back.astype(np.float32), ready.affine)
            found[name] = Mapped(drawn, image, trials(METHODS[name], scored, ready.array, drawn, rng))
        yield Explained(case.id, answer, ready.array, found)

"""Tables of numbers for the simple models of outcomes: clinical columns, the region's volume, radiomics features."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lucency import radiomics
from lucency.baselines import OUTCOME_BASELINES
from lucency.case import Case
from lucency.columns import REGION_VOLUME, columns_of, encoded, is_radiomics
from lucency.errors import DataError
from lucency.evaluate.judge import Grounds
from lucency.plan import Plan
from lucency.prepare import region_ml, region_of
from lucency.read import load
from lucency.survival.outcome import Outcomes

#: What is measured of a region: values, shape and the first two textures; the other classes say much the same again.
MEASURED = radiomics.Settings(classes=("firstorder", "shape", "glcm", "glrlm"), min_dimensions=1)


def outputs_of(
    cases: Sequence[Case], splits: Sequence[tuple[list[str], list[int]]], grounds: Grounds
) -> dict[str, list[np.ndarray]]:
    """Fit every simple model of outcomes to what the model was trained on, and predict the same cases.

    Args:
        cases: To be judged.
        splits: (ids to train on, rows of ``cases`` to predict) for each.
        grounds: See :class:`Grounds`.

    Returns:
        Name to (causes · m,) incidence of each case; a model whose table nobody has is left out.
    """
    store, training = grounds.store, grounds.cohort.trainable
    everybody = list({c.id: c for c in (*training, *cases)}.values())
    place = {c.id: n for n, c in enumerate(everybody)}
    tables = tables_of(everybody, training, grounds.plan, grounds.nan)
    edges = np.asarray(grounds.plan.task_options["edges"], dtype=np.float64)
    whole = np.shape(grounds.task.perfect(store.target(cases[0].id), grounds.plan))
    shape = (whole[0] // (edges.size - 1), edges.size - 1)
    found: dict[str, list[np.ndarray]] = {}
    for baseline in OUTCOME_BASELINES.values():
        outputs: list[np.ndarray] = [np.zeros(whole)] * len(cases)
        for train_ids, rows in splits:
            inside, outside = [place[i] for i in train_ids], [place[cases[n].id] for n in rows]
            truth = np.array([store.target(i) for i in train_ids])
            incidence = baseline.fit_predict(
                {key: (table[inside], table[outside]) for key, table in tables.items()},
                Outcomes(truth[:, 0], truth[:, 1].round().astype(int)),
                edges,
                grounds.plan.seed,
            )
            if incidence is None:
                break
            for n, row in zip(rows, incidence, strict=True):
                # A kind of event that no training patient had is not predicted.
                full = np.zeros(shape)
                full[: len(row)] = row
                outputs[n] = full.ravel()
        else:
            found[baseline.name] = outputs
    return found


def tables_of(cases: Sequence[Case], training: Sequence[Case], plan: Plan, nan: float | None) -> dict[str, np.ndarray]:
    """Return name to a table with a row for each case, NaN where nothing is known.

    Args:
        cases: Whoever is to be trained on or judged.
        training: Of the cohort; which columns there are is decided from these.
        plan: Its clinical columns.
        nan: Value for NaN voxels, or None.
    """
    clinical = [c for c in plan.facts if c.name != REGION_VOLUME]
    found = {"clinical": np.array([encoded(c.clinical, clinical) for c in cases]).reshape(len(cases), -1)}
    volumes = [region_ml(c) for c in cases]
    if any(volumes):
        found["volume"] = np.array([[math.log(v) if v else math.nan] for v in volumes])
        found["radiomics"] = _joined([_measured(c, nan) for c in cases])
    else:
        named = [c for c in columns_of([c.clinical for c in training]) if is_radiomics(c.name)]
        found["radiomics"] = np.array([encoded(c.clinical, named) for c in cases]).reshape(len(cases), -1)
    return found


def _measured(case: Case, nan: float | None) -> Mapping[str, float]:
    """Return the features of a case's region; nothing where it cannot be measured."""
    region = region_of(case)
    if region is None:
        return {}
    try:
        # Of several visits the region is that of the last.
        return radiomics.measure(load(case.visits[-1].sources[0], nan=nan), region, MEASURED).values
    except DataError:
        # An empty region or one of a single voxel has no features; the models take them as not known.
        return {}


def _joined(rows: Sequence[Mapping[str, float]]) -> np.ndarray:
    names = sorted({name for row in rows for name in row})
    return np.array([[row.get(name, math.nan) for name in names] for row in rows]).reshape(len(rows), -1)

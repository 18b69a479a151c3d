"""Tables of numbers for the simple models of outcomes: clinical columns, the region's volume, radiomics features."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lucency import radiomics
from lucency.case import Case
from lucency.columns import REGION_VOLUME, columns_of, encoded, is_radiomics
from lucency.errors import DataError
from lucency.plan import Plan
from lucency.prepare import region_ml, region_of
from lucency.read import load

#: What is measured of a region: values, shape and the first two textures; the other classes say much the same again.
MEASURED = radiomics.Settings(classes=("firstorder", "shape", "glcm", "glrlm"), min_dimensions=1)


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
        return radiomics.measure(load(case.sources[0], nan=nan), region, MEASURED).values
    except DataError:
        # An empty region or one of a single voxel has no features; the models take them as not known.
        return {}


def _joined(rows: Sequence[Mapping[str, float]]) -> np.ndarray:
    names = sorted({name for row in rows for name in row})
    return np.array([[row.get(name, math.nan) for name in names] for row in rows]).reshape(len(rows), -1)

"""What a network is told of a patient beside the image: clinical columns, and the size of the region."""

import numpy as np

from lucency.case import Case
from lucency.columns import REGION_VOLUME, encoded
from lucency.errors import DataError
from lucency.image import Image
from lucency.plan import Plan
from lucency.read import load


def facts_of(case: Case, plan: Plan) -> np.ndarray:
    """Return (n,) float32: the plan's columns as numbers, NaN where not known."""
    if not plan.facts:
        return np.zeros(0, dtype=np.float32)
    cells = dict(case.clinical)
    if any(c.name == REGION_VOLUME for c in plan.facts):
        volume = region_ml(case)
        if volume:
            cells[REGION_VOLUME] = float(np.log(volume))
    return np.array(encoded(cells, plan.facts), dtype=np.float32)


def region_of(case: Case) -> Image | None:
    """Return the case's region; None where there is none or it cannot be read."""
    if case.region is None:
        return None
    try:
        return load(case.region)
    except DataError:
        # A region is told beside the image; the case is not lost with it.
        return None


def region_ml(case: Case) -> float | None:
    """Return the volume of the region in ml; None where there is none, 0 where it is empty."""
    region = region_of(case)
    if region is None:
        return None
    return float((region.array[0] > 0).sum()) * abs(float(np.linalg.det(region.affine[:3, :3]))) / 1000

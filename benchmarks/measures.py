"""How well the true masks of a set reproduce what its table states: the floor of every model that learns from them."""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from material import DATA
from recorded import begin, parser, write

from lucency import statistics
from lucency.case import Case
from lucency.image import Image, diagonal_affine
from lucency.metrics import agreement
from lucency.prepare import label_source
from lucency.radiomics import extent
from lucency.read import load, read
from lucency.tasks import measured
from lucency.write.raster import write_raster

#: Set, column, measure, and the mean absolute difference that the masks must stay below: a tenth of what is asked of a
#: model, so that the floor does not matter.
SET, COLUMN, MEASURE, WANTED_MM = "hc18", "head_circumference_mm", "ellipse_circumference_mm", 0.3


def main() -> int:
    """Read the set as a user's command would, measure every mask, compare."""
    options = parser(__doc__ or "", "measures").parse_args()
    facts = begin()
    with tempfile.TemporaryDirectory() as folder:
        place = generated(Path(folder)) if options.quick else DATA / SET
        if not place.exists():
            raise SystemExit(f"No set {SET!r}: set LUCENCY_TEST_DATA to the folder of the real data")
        cohort = read(place)
        cases = [c for c in cohort.cases if c.target is not None and COLUMN in c.clinical]
        found = np.array([of_mask(c, cohort.labels) for c in cases])
    stated = np.array([float(c.clinical[COLUMN]) for c in cases])
    result = facts | compared(stated, found, [c.patient for c in cases], options.seed)
    error = result["mae_mm"]
    said = f"{len(cases)} true masks, circumference of the fitted ellipse against the table: {error['value']:.4f} mm"
    write("measures", said, result, options)
    return 0


def of_mask(case: Case, labels: dict[int, str]) -> float:
    """Return the measure of a case's true mask."""
    (own,) = measured.of_mask(load(label_source(case)), labels, in_mm=measured.scale_known(case)).values()
    return own.get(MEASURE, float("nan"))


def compared(stated: np.ndarray, found: np.ndarray, patients: list[str], seed: int) -> dict[str, Any]:
    """Return error, bias and limits of agreement with their intervals."""
    rng = np.random.default_rng(seed)
    metrics = {"mae_mm": statistics.mean_metric(np.abs(found - stated), patients, rng, best=0.0)}
    for name, side in (("limit_lower_mm", -1), ("limit_upper_mm", 1)):

        def limit(weights: np.ndarray, side: int = side) -> np.ndarray:
            return agreement.limit_of_agreement(stated, found, weights, side)

        metrics[name] = statistics.bootstrap_metric(limit, patients, rng, best=0.0, bounds=None)
    metrics["bias_mm"] = statistics.mean_metric(found - stated, patients, rng, best=0.0)
    reached = metrics["mae_mm"].value <= WANTED_MM
    return {
        "n_masks": len(found),
        "largest_mm": float(np.abs(found - stated).max()),
        **{name: vars(metric) for name, metric in metrics.items()},
        "targets": {"mae_mm": {"wanted": WANTED_MM, "found": metrics["mae_mm"].value, "reached": reached}},
    }


def generated(folder: Path) -> Path:
    """Write ellipses beside noise, with a table that states their length and the size of their pixels."""
    rng = np.random.default_rng(0)
    rows = ["filename,pixel_size_mm," + COLUMN]
    j, i = np.mgrid[:120, :160]
    for number in range(24):
        (major, minor), pixel = rng.uniform(30, 50, 2), rng.uniform(0.1, 0.4)
        major, minor = max(major, minor), min(major, minor)
        inside = np.hypot((i - 80.2) / major, (j - 60.4) / minor) < 1
        for name, array in (("images", rng.integers(0, 255, inside.shape)), ("masks", 255 * inside)):
            image = Image(array.astype(np.uint8)[None, None], diagonal_affine((1, 1, 1)), kind="labels")
            (folder / name).mkdir(exist_ok=True)
            write_raster(folder / name / f"{number}.png", image)
        rows.append(f"{number}.png,{pixel},{pixel * extent.circumference(major, minor)}")
    (folder / "table.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


if __name__ == "__main__":
    sys.exit(main())

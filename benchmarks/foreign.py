"""Foreign images: how many of another kind are called, and how often an image of the model's own kind is.

A short classification of chest radiographs (``pneumoniamnist_trainval.npz``) meets its own locked part and six kinds of
images it has never seen (``mednist``), of which one, CXR, is again a chest radiograph.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from material import DATA
from recorded import begin, parser, write

from lucency import metrics
from lucency import model as models
from lucency.features import likeness
from lucency.fit import Settings, fit
from lucency.foreign import FALSE_ALARM
from lucency.image import Image, diagonal_affine
from lucency.prepare import Store, digest_of, prepare_image
from lucency.search.building import known
from lucency.statistics import wilson

NAME = "foreign"


def judged(chances: np.ndarray, own: np.ndarray) -> dict[str, Any]:
    """Return the share that is called foreign and how well likeness tells it from the model's own kind."""
    called = int((chances <= FALSE_ALARM).sum())
    lower, upper = wilson(called, len(chances))
    truth = np.r_[np.zeros(len(own)), np.ones(len(chances))].astype(int)
    return {
        "n": len(chances),
        "called": round(called / len(chances), 4),
        "lower": round(lower, 4),
        "upper": round(upper, 4),
        "auc": round(metrics.auc(truth, -np.r_[own, chances]), 4),
    }


def main() -> None:
    """Run the benchmark."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--minutes", type=float, default=3.0, help="budget of the model [3]")
    made.add_argument("--run", type=Path, help="a finished run on pneumoniamnist instead of a new one")
    options = made.parse_args()
    result = begin()
    with tempfile.TemporaryDirectory() as place:
        run = options.run or Path(place) / "run"
        if options.run is None:
            minutes = 0.4 if options.quick else options.minutes
            fit(DATA / "pneumoniamnist_trainval.npz", run, settings=Settings(minutes=minutes, seed=options.seed))
        owner, model = known(run), models.load(run)
        assert owner is not None
        of = likeness(model)
        assert of is not None
        store = Store(run / "prepared" / digest_of(owner.cohort, model.plan))
        own = np.array([of(store.image(c.id).astype(np.float32)) for c in owner.cohort.locked_cases[:300]])
        container = np.load(DATA / "mednist" / "mednist_64.npz")
        found: dict[str, Any] = {"own kind": judged(own, own)}
        for number, name in enumerate(container["class_names"]):
            some = container["images"][container["labels"] == number][:100]
            images = [Image(a[None, None], diagonal_affine((1, 1, 1))) for a in some]
            found[str(name)] = judged(np.array([of(prepare_image([i], model.plan).array) for i in images]), own)
    others = [v["called"] for k, v in found.items() if k not in ("own kind", "CXR")]
    said = (
        f"called foreign: own kind {found['own kind']['called']:.3f} (stated {FALSE_ALARM}), other chest radiographs "
        f"{found['CXR']['called']:.2f}, five other kinds {min(others):.2f} to {max(others):.2f}"
    )
    write(NAME, said, {**result, "stated_false_alarm": FALSE_ALARM, "kinds": found}, options)


if __name__ == "__main__":
    main()

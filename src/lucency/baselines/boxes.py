"""The simplest answer to where things are: where they were on other images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lucency.boxes import overlaps

#: Places kept for each class.
PLACES = 20

#: Boxes drawn in training that are looked at for each class; more change the places by little and cost their square.
LOOKED_AT = 2000

#: Boxes that overlap by this share stand in the same place.
SAME = 0.5


@dataclass(frozen=True)
class BoxBaseline:
    """The mean boxes of each class, with the share of training images that have one there as score.

    Args:
        name: As the report calls it.
        description: What it does, for the report.
    """

    name: str
    description: str

    def fit_predict(self, drawn: Sequence[np.ndarray], n_classes: int) -> np.ndarray:
        """Return what is answered for every image.

        Args:
            drawn: (n, 1 + 2 d) rows of each training image, all on one grid.
            n_classes: Number of classes.

        Returns:
            (m, 2 + 2 d) found rows: score, class, corners; the best first.
        """
        found = [row for label in range(n_classes) for row in _places(drawn, label)]
        width = 1 + (drawn[0].shape[1] if drawn else 5)
        if not found:
            return np.zeros((0, width))
        rows = np.stack(found)
        return np.asarray(rows[np.argsort(-rows[:, 0], kind="stable")])


#: The baselines of boxes, by name.
BOX_BASELINES = {
    b.name: b
    for b in (
        BoxBaseline(
            "mean boxes",
            "Where the boxes of each class were on the training images, with the share of images that have one there "
            "as score; it does not look at the image.",
        ),
    )
}


def _places(drawn: Sequence[np.ndarray], label: int) -> list[np.ndarray]:
    """Return the places where most images have a box of the class, one after the other."""
    rows = np.concatenate([r[r[:, 0] == label][:, 1:] for r in drawn])
    image = np.concatenate([np.full(int((r[:, 0] == label).sum()), n) for n, r in enumerate(drawn)])
    step = max(1, -(-len(rows) // LOOKED_AT))
    rows, image = rows[::step], image[::step]
    near = overlaps(rows, rows) >= SAME
    left = np.ones(len(rows), dtype=bool)
    found: list[np.ndarray] = []
    while left.any() and len(found) < PLACES:
        best = int(np.where(left, (near & left[None]).sum(axis=1), -1).argmax())
        own = near[best] & left
        share = len(set(image[own].tolist())) * step / len(drawn)
        found.append(np.concatenate([[min(share, 1.0), label], rows[own].mean(axis=0)]))
        left &= ~own
    return found

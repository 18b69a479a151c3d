"""Which generated images are used: what gives a patient away, what its class cannot be told of, and what lies far off.

Everything here is learned from the training part of a run. What is filtered out is counted and reported; the audit is
of the generator, before any of this.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from lucency.synthesize.drawn import Drawn

#: Probability of its own class below which an image is wrong, and above which it teaches nothing new (proposed in the
#: field's reviews; of the latter at most :data:`TRIVIAL` of a class go, or one that is well apart would lose all).
LEAST, MOST, TRIVIAL = 0.3, 0.98, 0.2

#: Share of a class that is kept, the nearest to real images of it (Xue 2021, doi 10.1016/j.media.2020.101816, selects
#: by distance in feature space as well), and how many of these are looked at.
NEAREST, NEIGHBOURS = 0.7, 5

#: Rows that are compared at once: with ten thousand others 80 MB.
BLOCK = 1000

#: An image nearer to a real one than all but this share of other patients' images are may be a copy.
COPY = 0.01


@dataclass(frozen=True)
class Sieved:
    """What was kept, and what was lost at each step.

    Args:
        kept: Rows.
        lost: Step to the number that it took: ``"copies"``, ``"label"``, ``"trivial"``, ``"far"``.
    """

    kept: np.ndarray
    lost: Mapping[str, int]


def agreement(outputs: np.ndarray, drawn: Drawn) -> np.ndarray:
    """Return (n,) how sure a network is of what an image was made to show, 0 to 1.

    Args:
        outputs: Activated, (n, L), or (n, L, K, J, I) where the images have masks.
        drawn: With class numbers, or with masks.

    Returns:
        The probability of the class; with masks the mean soft Dice of the labels that the mask has.
    """
    if drawn.masks is None:
        return np.asarray(outputs[np.arange(len(drawn)), drawn.labels], dtype=np.float64)
    found = np.zeros(len(drawn))
    for row, mask in enumerate(drawn.masks):
        each = []
        for label in range(1, outputs.shape[1]):
            here = mask == label
            if here.any():
                p = outputs[row, label].astype(np.float64)
                each.append(2 * float(p[here].sum()) / (float(p.sum()) + float(here.sum())))
        # An empty mask is right where nothing is found.
        found[row] = np.mean(each) if each else float(outputs[row, 0].mean())
    return found


def doubted(sureness: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) bool twice: images that do not show what they were made to show, and those that only repeat it.

    Args:
        sureness: From :func:`agreement`.
        labels: (n,) class number of each; in every class the surest go, or an easy class would lose all of its images.
    """
    trivial = np.zeros(len(sureness), dtype=bool)
    for label in np.unique(labels):
        own = labels == label
        surest = np.flatnonzero(own & (sureness > MOST))
        trivial[surest[np.argsort(-sureness[surest], kind="stable")][: int(TRIVIAL * own.sum())]] = True
    return sureness < LEAST, trivial


def nearest(ours: np.ndarray, theirs: np.ndarray, k: int = 1) -> np.ndarray:
    """Return (n,) the mean distance of each row to the ``k`` nearest of ``theirs``, block by block."""
    k = min(k, len(theirs))
    blocks = [cdist(ours[at : at + BLOCK], theirs) for at in range(0, len(ours), BLOCK)]
    return np.concatenate([np.partition(b, k - 1, axis=1)[:, :k].mean(axis=1) for b in blocks])


def copy_distance(real: np.ndarray, people: np.ndarray) -> float:
    """Return the distance below which only :data:`COPY` of the real images come to those of another patient.

    Args:
        real: (n, d) features.
        people: (n,) patient of each.

    Returns:
        0 where all images are of one patient.
    """
    found = []
    for at in range(0, len(real), BLOCK):
        apart = cdist(real[at : at + BLOCK], real)
        apart[people[at : at + BLOCK, None] == people[None]] = np.inf
        found.append(apart.min(axis=1))
    between = np.concatenate(found)
    between = between[np.isfinite(between)]
    return float(np.quantile(between, COPY)) if between.size else 0.0


def near_enough(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return (n,) bool: the images of one class, :data:`NEAREST` of them, that lie nearest to real ones of it.

    Args:
        made: (n, d) features.
        real: (m, d) features.
    """
    order = np.argsort(nearest(made, real, NEIGHBOURS), kind="stable")
    kept = np.zeros(len(made), dtype=bool)
    kept[order[: max(1, round(NEAREST * len(made)))]] = True
    return kept


def sieved(made: Drawn, real: Drawn, sureness: np.ndarray, seen: tuple[np.ndarray, np.ndarray]) -> Sieved:
    """Sieve the images that a generator drew.

    Args:
        made: With the classes that were asked for.
        real: Images that the generator was trained on.
        sureness: (n,) from :func:`agreement`.
        seen: Features of ``made`` (n, d) and of ``real`` (m, d), by one encoder.
    """
    ours, theirs = seen
    copies = nearest(ours, theirs) < copy_distance(theirs, real.people)
    wrong, trivial = doubted(sureness, made.labels)
    left = ~(copies | wrong | trivial)
    near = np.zeros(len(made), dtype=bool)
    for label in np.unique(made.labels):
        rows = np.flatnonzero(left & (made.labels == label))
        beside = np.flatnonzero(real.labels == label)
        if len(rows) and len(beside):
            near[rows] = near_enough(ours[rows], theirs[beside])
    lost = {"copies": copies, "label": ~copies & wrong, "trivial": ~copies & trivial, "far": left & ~near}
    return Sieved(np.flatnonzero(near), {step: int(rows.sum()) for step, rows in lost.items()})

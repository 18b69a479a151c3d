"""How far a model agrees with itself: each member, on several ways of showing it the same image."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from lucency.boxes import Box
from lucency.case import Prediction
from lucency.metrics import dice
from lucency.metrics.agreement import shared_boxes
from lucency.model import Model
from lucency.plan import Plan
from lucency.predict import Answered, raw_outputs, seen_of
from lucency.prepare import Seen
from lucency.tasks import Task

#: Contrast of the other ways of showing an image, against its own: scanners and windows differ by as much, and a
#: person would not answer differently. Mirrored copies take part where the plan mirrors.
CONTRASTS = (0.8, 1.25)

#: Axes of (C, K, J, I).
AXES = {"k": 1, "j": 2, "i": 3}

#: Nearest cases of which the order is compared.
NEAREST = 10


def views_of(nets: Sequence[nn.Module], answered: Answered, model: Model, task: Task) -> list[np.ndarray]:
    """Return the activated output of every member for every way of showing the image.

    Args:
        nets: From :func:`lucency.predict.networks`.
        answered: The case as it was predicted.
        model: Its plan and calibration.
        task: The plan's task.

    Returns:
        (L,) or (L, K, J, I) each; rows of boxes (n, 2 + 2 d) as the plan without mirrored copies has them.

    Source:
        Wang 2019, doi:10.1016/j.neucom.2019.01.103 (what changes with the view is not known);
        Lakshminarayanan 2017, arXiv:1612.01474 (what changes with the member).
    """
    plan = replace(model.plan, tta=())
    found = []
    for net in nets:
        for shown, flips in _ways(seen_of(answered.prepared), model.plan, mirrored=not task.boxes):
            (raw,) = raw_outputs(net, [shown], plan, dense=task.dense, boxes=task.boxes)
            out = task.activate(torch.from_numpy(raw)[None], model.calibration)[0].numpy()
            found.append(np.flip(out, flips) if task.dense and flips else out)
    return found


def _ways(seen: Seen, plan: Plan, *, mirrored: bool) -> Iterator[tuple[Seen, tuple[int, ...]]]:
    """Yield the image as it is, with other contrast, and mirrored along one axis, with the axis to undo."""

    def told(array: np.ndarray) -> Seen:
        return (array, seen[1]) if isinstance(seen, tuple) else array

    image = seen[0] if isinstance(seen, tuple) else seen
    yield seen, ()
    middle = image.mean(axis=(1, 2, 3), keepdims=True)
    for contrast in CONTRASTS:
        yield told((middle + contrast * (image - middle)).astype(np.float32)), ()
    for axis in plan.tta if mirrored else ():
        yield told(np.ascontiguousarray(np.flip(image, AXES[axis]))), (AXES[axis],)


def agreement_of(views: Sequence[np.ndarray], answered: Answered, model: Model, task: Task) -> float:
    """Return how far the views say the same as the prediction, 0 to 1: the quality that may be expected of it.

    Masks are compared by Dice on the network's grid, boxes by F1, classes by the chance that changes sides, numbers by
    the width of their interval.

    Args:
        views: From :func:`views_of`.
        answered: The case as it was predicted.
        model: Its plan and calibration.
        task: The plan's task.

    Source:
        Roy 2019, doi:10.1016/j.neuroimage.2019.03.042: Dice between samples predicts Dice with the truth.
    """
    if task.dense:
        mine = answered.output.argmax(axis=0)
        return float(np.mean([_mean_dice(mine, view.argmax(axis=0), len(view)) for view in views]))
    plan = replace(model.plan, tta=())
    each = [task.decode(v, answered.case, answered.prepared, plan, model.calibration) for v in views]
    return float(np.mean([alike(answered.prediction, one) for one in each]))


def _mean_dice(mine: np.ndarray, other: np.ndarray, n: int) -> float:
    """Return the mean Dice over the labels that either has; 1 where neither has any."""
    there = [v for v in range(1, n) if (mine == v).any() or (other == v).any()]
    return float(np.mean([dice(mine == v, other == v) for v in there])) if there else 1.0


def alike(first: Prediction, second: Prediction) -> float:
    """Return how far two predictions of one case agree, 0 to 1; masks must lie on one grid."""
    if first.mask is not None and second.mask is not None:
        mine, other = first.mask.array, second.mask.array
        there = sorted((set(np.unique(mine)) | set(np.unique(other))) - {0})
        return float(np.mean([dice(mine == v, other == v) for v in there])) if there else 1.0
    if first.probabilities is not None and second.probabilities is not None:
        return 1 - max(abs(p - second.probabilities[name]) for name, p in first.probabilities.items())
    if first.boxes is not None and second.boxes is not None:
        return box_f1(*([b for b in side if b.told] for side in (first.boxes, second.boxes)))
    if first.value is not None and second.value is not None:
        if first.lower is None or first.upper is None or first.upper <= first.lower:
            return 1 - max(first.doubt, second.doubt)
        return max(0.0, 1 - abs(first.value - second.value) / (first.upper - first.lower))
    if first.course is not None and second.course is not None:
        return 1 - abs(first.course.risk - second.course.risk)
    pairs = list(zip(first.neighbours or (), second.neighbours or (), strict=False))[:NEAREST]
    return float(np.mean([a == b for a, b in pairs])) if pairs else 1.0


def box_f1(mine: Sequence[Box], other: Sequence[Box]) -> float:
    """Return the F1 of two sets of boxes of one image, 0 to 1; 1 where both are empty."""
    total = len(mine) + len(other)
    return 2 * shared_boxes(mine, other) / total if total else 1.0

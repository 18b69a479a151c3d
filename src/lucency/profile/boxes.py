"""What the boxes of a training part are like: how many, of which shapes, where."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lucency.boxes import Box
from lucency.image import Image, orientation_of
from lucency.profile.fingerprint import Profile
from lucency.profile.sums import Summary, summary

#: Steps of an octave in which sides are counted: 19 % each, finer than two readers agree.
STEPS = 4


def of_boxes(boxes: Sequence[Box], image: Image) -> Profile:
    """Return the profile of the boxes on one image; sides are shares of its longest side in mm."""
    order = orientation_of(image.affine).order if image.size[0] > 1 else (0, 1, 2)
    extent = [image.size[a] * image.spacing[a] for a in order]
    # A single image is one slice: its thickness says nothing.
    longest = max(extent if image.size[0] > 1 else extent[1:])
    shapes: Counter[str] = Counter()
    middles: dict[str, list[list[float]]] = {}
    for box in boxes:
        sides = [(box.high[a] - box.low[a]) * image.spacing[a] for a in order]
        shapes[",".join(str(round(STEPS * math.log2(s / longest))) for s in sides)] += 1
        middle = [(box.high[a] + box.low[a]) / 2 / image.size[a] for a in order]
        middles.setdefault(box.label, []).append(middle)
    return Profile(
        class_counts=dict.fromkeys(sorted(middles), 1),
        box_counts={len(boxes): 1},
        box_shapes=dict(sorted(shapes.items())),
        box_places={label: _per_axis(np.array(rows)) for label, rows in sorted(middles.items())},
    )


def _per_axis(middles: np.ndarray) -> tuple[Summary, ...]:
    return tuple(summary(middles[:, axis]) for axis in range(3))


def shapes_of(profile: Profile) -> tuple[np.ndarray, np.ndarray]:
    """Return the shapes of all boxes, (n, 3) sides as shares of the image's longest side, and how often each occurs."""
    keys = list(profile.box_shapes)
    sides = np.array([[2.0 ** (int(v) / STEPS) for v in key.split(",")] for key in keys]).reshape(-1, 3)
    return sides, np.array([profile.box_shapes[k] for k in keys], dtype=float)

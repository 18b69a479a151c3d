"""What was drawn on one image, by a person or by a model: regions, boxes, words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from lucency.boxes import Box
from lucency.errors import DataError
from lucency.image import Image


@dataclass(frozen=True, eq=False)
class Annotation:
    """What was drawn on one image, on the image's own grid.

    An empty layer, no boxes and no words are answers too: somebody looked and found nothing.

    Args:
        case: Case id.
        layers: Label images on the source's own grid; several only where regions overlap. A value stands for one
            region, in one layer.
        labels: Value to name, without background 0.
        boxes: In the source's own pixels; None where boxes were not asked for.
        classes: Words for the whole image; None where none were asked for.
        by: Who drew it, as a word that identifies nobody (``"annotator 3"``); empty unknown.
        doubt: 0 (sure) to 1 (no idea) where a model drew it, else None.
        notes: What had to be done to bring it onto the grid, in words.

    Raises:
        DataError: Nothing at all, layers of two grids, or a value without a name or in two layers.
    """

    case: str
    layers: tuple[Image, ...] = ()
    labels: Mapping[int, str] = field(default_factory=dict)
    boxes: tuple[Box, ...] | None = None
    classes: tuple[str, ...] | None = None
    by: str = ""
    doubt: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers and self.boxes is None and self.classes is None:
            raise DataError("An annotation without anything", expected="regions, boxes or words", where=self.case)
        if any(layer.kind != "labels" or layer.channels != 1 for layer in self.layers):
            raise DataError("A layer that is no mask", expected="one channel of labels", where=self.case)
        if any(not layer.same_grid(self.layers[0]) for layer in self.layers):
            raise DataError("Layers on two grids", expected="the image's own", where=self.case)
        seen: set[int] = set()
        for layer in self.layers:
            values = values_in(layer.array) - {0}
            if values - set(self.labels) or min(self.labels, default=1) < 1:
                nameless = sorted(values - set(self.labels))[:5] or [0]
                raise DataError(f"Values {nameless}", expected="a name for each, and 0 for none", where=self.case)
            if values & seen:
                raise DataError(f"Values {sorted(values & seen)[:5]} in two layers", where=self.case)
            seen |= values

    @property
    def regions(self) -> Iterator[tuple[int, str, Image]]:
        """Value, name and layer of every label, in the order of the values; the first layer where it is nowhere."""
        held = [values_in(layer.array) for layer in self.layers]
        for value in sorted(self.labels) if self.layers else ():
            layer = next((n for n, own in enumerate(held) if value in own), 0)
            yield value, self.labels[value], self.layers[layer]


def values_in(array: np.ndarray) -> set[int]:
    """Return the different numbers of an integer array of any shape, a plane at a time.

    Example:
        >>> sorted(values_in(np.array([[[3, 0], [3, 1]]])))
        [0, 1, 3]
    """
    found: set[int] = set()
    for plane in array.reshape(-1, *array.shape[-2:]):
        if plane.dtype.kind in "bu" and plane.dtype.itemsize <= 2:
            found.update(np.flatnonzero(np.bincount(plane.ravel())).tolist())
        else:
            found.update(np.unique(plane).tolist())
    return found

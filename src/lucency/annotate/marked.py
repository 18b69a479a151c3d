"""What was drawn on the slices of a case, one by one, as one annotation of its image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lucency.annotate.exchange import source_grid
from lucency.annotation import Annotation
from lucency.boxes import Box, edges_of, overlaps
from lucency.case import Case
from lucency.errors import ReadError
from lucency.read.codes import key_of
from lucency.read.drawn import checked
from lucency.read.labelgrid import Drawing, Grid, Structure
from lucency.read.marks import Marked
from lucency.read.placing import layered

#: Rectangles of one label on neighbouring slices that overlap by this much are one box: a lesion changes less than by
#: half from a slice to the next.
JOINED = 0.5


@dataclass(frozen=True, eq=False)
class Drawings:
    """What one person drew on the slices of a case; decoded when it is asked for.

    Args:
        case: Whose image it is.
        by: Who drew it.
        slices: By slice, from 0.
        labels: Value to name of all regions.
        asked: As in :class:`lucency.read.marks.Marks`.
    """

    case: Case
    by: str
    slices: Mapping[int, Marked]
    labels: Mapping[int, str]
    asked: frozenset[str]

    def __call__(self) -> Annotation:
        """Return it on the image's grid.

        Raises:
            ReadError: A slice that the image has not, or of another size; a region that cannot be.
        """
        image = source_grid(self.case)
        grid = Grid(image.affine, image.size)
        for k, one in sorted(self.slices.items()):
            if not 0 <= k < image.size[0] or (any(one.size) and one.size != image.size[1:]):
                raise ReadError(
                    f"Slice {k + 1} of {one.size[1]} × {one.size[0]} pixels",
                    expected=f"1 to {image.size[0]} of {image.size[2]} × {image.size[1]}",
                    where=one.where,
                    remedy="export it with the pictures that were given out",
                )
        layers = layered(self._structures(grid), grid, image.k_axis) if "regions" in self.asked else ()
        boxes, notes = self._boxes(image.size) if "boxes" in self.asked else (None, ())
        words = (c for one in self.slices.values() for c in one.classes)
        classes = tuple(dict.fromkeys(words)) if "classes" in self.asked else None
        labels = self.labels if layers else {}
        notes = (*self._lacking(image.size[0]), *notes)
        return Annotation(self.case.id, layers, labels, boxes, classes, self.by, notes=notes)

    def _lacking(self, n_slices: int) -> tuple[str, ...]:
        """Return what was not looked at, or was drawn and cannot be used: without it the rest is not the whole."""
        away = n_slices - len(self.slices)
        lost = [f"{s.path}: {s.reason}" for _, one in sorted(self.slices.items()) for s in one.lost]
        return (*((f"{away} of {n_slices} slices did not come back.",) if away else ()), *lost)

    def _structures(self, grid: Grid) -> list[Structure]:
        value = {key_of(name): v for v, name in self.labels.items()}
        drawings = {v: Drawing(grid) for v in self.labels}
        for k, one in self.slices.items():
            for region in one.regions:
                drawings[value[key_of(region.label)]].add(k, region.drawn(grid.size[1:]))
        return [drawing.done(v, v) for v, drawing in drawings.items()]

    def _boxes(self, size: tuple[int, int, int]) -> tuple[tuple[Box, ...], tuple[str, ...]]:
        """Return the boxes; those on the slices of a volume are put together."""
        known = {key_of(name): name for name in self.labels.values()}
        open_: list[tuple[str, Box]] = []
        closed: list[Box] = []
        notes: list[str] = []
        for k, one in sorted(self.slices.items()):
            tracks = one.tracks or ("",) * len(one.boxes)
            flat: list[tuple[str, Box]] = []
            for track, drawn in zip(tracks, one.boxes, strict=True):
                named = replace(drawn, label=known.get(key_of(drawn.label), drawn.label))
                found, bad, _ = checked([named], (1, *size[1:]))
                notes += [f"{s.path}: {s.reason}" for s in bad]
                flat += [(track, _at(b, k)) for b in found]
            reached = [(t, b) for t, b in open_ if b.high[0] == k]
            closed += [b for t, b in open_ if b.high[0] != k]
            open_ = _continued(reached, flat, closed)
        return (*closed, *(b for _, b in open_)), tuple(notes)


def _at(box: Box, k: int) -> Box:
    return replace(box, low=(float(k), *box.low[1:]), high=(k + 1.0, *box.high[1:]))


def _continued(
    before: Sequence[tuple[str, Box]], now: Sequence[tuple[str, Box]], closed: list[Box]
) -> list[tuple[str, Box]]:
    """Return the boxes that end on this slice: those of the last one that go on, and new ones; the rest are closed."""
    rest = list(before)
    grown: list[tuple[str, Box]] = []
    for track, box in now:
        fits = [n for n, (t, b) in enumerate(rest) if b.label == box.label and t == track]
        if not track and fits:
            flat = edges_of(
                [replace(rest[n][1], low=(0.0, *rest[n][1].low[1:]), high=(1.0, *rest[n][1].high[1:])) for n in fits]
            )
            shared = overlaps(edges_of([_at(box, 0)]), flat)[0]
            fits = [fits[int(shared.argmax())]] if shared.max() >= JOINED else []
        if not fits:
            grown.append((track, box))
            continue
        old = rest.pop(fits[0])[1]
        low = tuple(np.minimum(old.low, box.low).tolist())
        high = tuple(np.maximum(old.high, box.high).tolist())
        grown.append((track, Box(old.label, (low[0], low[1], low[2]), (high[0], high[1], high[2]))))
    closed += [b for _, b in rest]
    return grown

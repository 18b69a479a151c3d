"""Boxes around what masks show: one file an object, one value an object, or one value a class."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lucency.errors import LucencyError
from lucency.read import masks
from lucency.read.drawn import Drawn, Labels
from lucency.read.formats import WORKERS, load
from lucency.read.layout import ReadOptions, Tree, Unit
from lucency.read.msd import described_labels
from lucency.read.pairs import Pairing, pairings

#: A label map names a few classes; a mask with more values counts its objects.
MOST_CLASSES = 8

#: A part of a class smaller than this, in pixels, is a slip of the pen.
LEAST_PART = 4


def boxes_of(tree: Tree, options: ReadOptions) -> Labels | None:
    """Return the boxes around what the masks of a tree show, or None where it holds no masks beside its images."""
    found = [p for p in pairings(tree.units) if options.target in (None, p.name)]
    found.sort(key=lambda p: -sum(len(m) for m in p.masks.values()))
    found = [p for p in found if masks.look_like_masks([m.source for ms in p.masks.values() for _, m in ms])]
    if not found:
        return None
    pairing = found[0]
    if any(len(ms) > 1 for ms in pairing.masks.values()):
        drawn = _looked_at(pairing, _one_each)
        how = "each mask file shows one object"
    else:
        names = described_labels(tree)[0]
        arrays = [m.source for ms in pairing.masks.values() for _, m in ms]
        seen = _values(arrays)
        counted = _counts_objects(seen)
        # One value besides the background, whatever its number, is no class of several.
        names = names or (dict.fromkeys(set().union(*seen), "object") if len(set().union(*seen)) == 1 else {})
        drawn = _looked_at(pairing, lambda unit, parts: _by_value(parts[0][1], names, counted=counted))
        how = "each value of a mask is an object" if counted else "each connected part of a mask is an object"
    notes = (f"Boxes were drawn around the masks in {pairing.name}: {how}.",)
    paths = tuple(m.path for ms in pairing.masks.values() for _, m in ms)
    return Labels("masks", paths, drawn, notes=notes)


def without_masks(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """Return the images that are not masks of others."""
    found = set()
    for pairing in pairings(units):
        sources = [m.source for ms in pairing.masks.values() for _, m in ms]
        if masks.look_like_masks(sources):
            found |= {m for ms in pairing.masks.values() for _, m in ms} | set(pairing.lonely)
    # Where every image looks like a mask of another, none is.
    kept = tuple(u for u in units if u not in found)
    return kept or tuple(units)


def _looked_at(pairing: Pairing, boxes: "object") -> dict[str, tuple[Drawn, ...]]:
    """Return image path to boxes; an image without a mask is not labelled, where most have one."""
    units = list(pairing.masks)

    def one(unit: Unit) -> tuple[Drawn, ...]:
        return tuple(boxes(unit, pairing.masks[unit]))  # type: ignore[operator]

    with ThreadPoolExecutor(WORKERS) as pool:
        return dict(zip([u.path for u in units], pool.map(one, units), strict=True))


def _one_each(unit: Unit, parts: Sequence[tuple[str, Unit]]) -> list[Drawn]:
    """Return the box of each file; files of one structure are told apart by the number behind its name."""
    found = []
    for word, part in parts:
        label = masks.structure_of(word)
        array = _array(part)
        if array is None:
            found.append(Drawn(label, (np.nan,) * 4, part.path))
            continue
        edges = _edges(array != 0)
        if edges is not None:
            found.append(Drawn(label, edges, part.path))
    return found


def _by_value(part: Unit, names: dict[int, str], *, counted: bool) -> list[Drawn]:
    from scipy import ndimage  # noqa: PLC0415 - slow to import, and most programs that read have no masks

    array = _array(part)
    if array is None:
        return [Drawn("", (np.nan,) * 4, part.path)]
    found = []
    for value in (int(v) for v in np.unique(array) if v):
        if counted:
            regions = [array == value]
        else:
            labelled, n = ndimage.label(array == value)
            regions = [labelled == m for m in range(1, n + 1)]
        label = "object" if counted else names.get(value, str(value))
        for number, region in enumerate(regions, start=1):
            edges = _edges(region) if region.sum() >= LEAST_PART else None
            if edges is not None:
                found.append(Drawn(label, edges, f"{part.path}, value {value}, part {number}"))
    return found


def _values(sources: Sequence[object]) -> list[set[int]]:
    """Return the values of a sample of masks, without the background."""
    return [set(masks.values_of(s).counts) - {0} for s in sources[:: max(1, len(sources) // masks.SAMPLE)]]  # type: ignore[arg-type]


def _counts_objects(seen: Sequence[set[int]]) -> bool:
    """Tell whether values number the objects: many of them, and another number of them on every image."""
    most = max((len(s) for s in seen), default=0)
    return most > MOST_CLASSES and len({len(s) for s in seen}) > 1


def _array(part: Unit) -> np.ndarray | None:
    try:
        return np.asarray(load(masks.as_mask(part.source)).array[0])
    except LucencyError:
        return None


def _edges(inside: np.ndarray) -> tuple[float, ...] | None:
    """Return xmin, ymin, xmax, ymax, zmin, zmax of a region, or None where it is empty."""
    if not inside.any():
        return None
    span = []
    for axis in (2, 1, 0):
        line = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        span.append((float(line[0]), float(line[-1] + 1)))
    (x0, x1), (y0, y1), (z0, z1) = span
    return x0, y0, x1, y1, z0, z1

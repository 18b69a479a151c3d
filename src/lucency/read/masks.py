"""What masks hold: few values or many, which ones, and several structures put together."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from lucency.case import Skipped, Source
from lucency.errors import LucencyError
from lucency.read.formats import WORKERS, load, reason
from lucency.read.layout import Tree, Unit
from lucency.read.outlines import is_outline

#: More distinct values than this are no labels; TotalSegmentator, the largest label set in use, has 117.
MAX_LABELS = 128

#: Masks opened to see whether a folder holds masks at all.
SAMPLE = 8

#: Share of the pixels within :data:`NEAR_END` of 0 or 255 in a mask that JPEG or antialiasing has blurred.
CROWDED = 0.97
NEAR_END = 24

#: Even a sharp square leaves more values than this after JPEG; a few grey-coded classes are no blur.
MANY = 4

#: Where such a mask is cut: halfway between 0 and 255.
THRESHOLD = 128

#: Two structures may share this part of the smaller one (drawn borders meet) and still count as apart.
MAX_SHARED = 0.01

#: Mean overlap of masks above which they are the same mask for every image (a field of view).
SAME_MASK = 0.95

#: Voxels decoded to find the label values; larger sets are looked at in an even sample.
MAX_VOXELS = 4_000_000_000


@dataclass(frozen=True)
class Values:
    """What one mask holds.

    Args:
        counts: Value to number of voxels.
    """

    counts: Mapping[int, int]

    @property
    def blurred(self) -> bool:
        """Whether many values crowd at two ends, as JPEG and antialiasing leave them."""
        total = sum(self.counts.values())
        ends = sum(n for v, n in self.counts.items() if v <= NEAR_END or v >= 255 - NEAR_END)
        both = max(self.counts) >= 255 - NEAR_END and min(self.counts) >= 0 and max(self.counts) <= 255
        # Label numbers with 255 for "ignore" leave the space between empty; a blur does not.
        between = any(NEAR_END < v < 255 for v in self.counts)
        return len(self.counts) > MANY and both and between and ends >= CROWDED * total


def as_mask(source: Source) -> Source:
    """Return the same file read as labels."""
    return replace(source, kind="labels")


def values_of(source: Source) -> Values:
    """Return the distinct values of a mask.

    Raises:
        ReadError: It cannot be read.
        GeometryError: Values between the integers.
    """
    array = load(as_mask(source)).array
    if array.dtype.kind in "iu" and array.dtype.itemsize <= 2:
        low = int(array.min())
        counts = np.bincount(array.ravel().astype(np.int32) - low)
        return Values({low + int(n): int(counts[n]) for n in np.flatnonzero(counts)})
    found, many = np.unique(array, return_counts=True)
    return Values({int(v): int(n) for v, n in zip(found, many, strict=True)})


def look_like_masks(sources: Sequence[Source]) -> bool:
    """Tell whether a sample of files has few distinct values, or values crowded at two ends."""
    step = max(1, len(sources) // SAMPLE)
    seen: list[Values] = []
    for source in sources[::step][:SAMPLE]:
        try:
            seen.append(values_of(source))
        except LucencyError:
            continue
    # Pictures of few values among many others are not the rule of a folder of masks.
    good = [v for v in seen if len(v.counts) <= MAX_LABELS // 2 or v.blurred]
    few = [v for v in good if v.blurred or len(v.counts) <= max(8, sum(v.counts.values()) // 32)]
    return bool(seen) and len(few) >= 0.9 * len(seen)


def drawn_as_lines(sources: Sequence[Source]) -> bool:
    """Tell whether most of a sample of masks are lines around things."""
    step = max(1, len(sources) // SAMPLE)
    seen: list[bool] = []
    for source in sources[::step][:SAMPLE]:
        try:
            array = load(as_mask(source)).array
        except LucencyError:
            continue
        if array.any():
            seen.append(is_outline(array))
    return bool(seen) and sum(seen) > len(seen) / 2


def all_alike(sources: Sequence[Source]) -> bool:
    """Tell whether the masks of a sample of images are nearly the same mask."""
    step = max(1, len(sources) // SAMPLE)
    planes: list[np.ndarray] = []
    for source in sources[::step][:SAMPLE]:
        try:
            planes.append(load(as_mask(source)).array != 0)
        except LucencyError:
            continue
    if len(planes) < 2 or len({p.shape for p in planes}) > 1:
        return False
    overlaps = [(planes[0] & p).sum() / max(1, (planes[0] | p).sum()) for p in planes[1:]]
    return bool(np.mean(overlaps) >= SAME_MASK)


def scan(sources: Sequence[Source]) -> tuple[dict[str, Values], list[Skipped], bool]:
    """Return the values of every mask by its place, those that cannot be read, and whether only a sample was read."""
    voxels = sum(int(np.prod(_size(s))) for s in sources)
    step = max(1, -(-voxels // MAX_VOXELS))
    chosen = list(sources)[::step]

    def look(source: Source) -> Values | LucencyError:
        try:
            return values_of(source)
        except LucencyError as error:
            return error

    found: dict[str, Values] = {}
    skipped: list[Skipped] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for source, values in zip(chosen, pool.map(look, chosen), strict=True):
            if isinstance(values, Values):
                found[source.where] = values
            else:
                skipped.append(Skipped(source.where, reason(values)))
    return found, skipped, step > 1


def _size(source: Source) -> tuple[float, ...]:
    size = source.header.get("size", (1.0,))
    assert isinstance(size, tuple)
    return size


def structures(
    tree: Tree, masks: Mapping[Unit, tuple[tuple[str, Unit], ...]]
) -> tuple[dict[Unit, Source], dict[int, str], list[str]]:
    """Put several masks of one image together, one label for each structure, as far as they lie apart.

    Two structures clash when over all images they share more than 1 % of the smaller one. Of all sets without a clash
    the one that the most files belong to is taken; the rest is left out and named in a note.

    Returns:
        Image to the Source of its mask, label value to structure, notes.
    """
    names = {u: [structure_of(word) for word, _ in parts] for u, parts in masks.items()}
    shown = Counter(n for own in names.values() for n in set(own))
    clash = _clashes(masks, names)
    taken = sorted(_apart(sorted(shown, key=lambda n: (-shown[n], n)), shown, clash))
    left_out = sorted(set(shown) - set(taken))
    value = {name: number for number, name in enumerate(taken, start=1)}
    targets: dict[Unit, Source] = {}
    for unit, parts in masks.items():
        kept = sorted(
            (value[name], part.path) for name, (_, part) in zip(names[unit], parts, strict=True) if name in value
        )
        if kept:
            header = {"values": tuple(float(v) for v, _ in kept)}
            targets[unit] = Source(
                tuple(p for _, p in kept), str(tree.root), "structures", kind="labels", header=header
            )
    notes = [
        f"{len(taken)} structures are put together in one mask; a structure without a file counts as absent, "
        "and where two meet the first in order keeps the voxel."
    ]
    if left_out:
        notes.append(f"Left out, because they overlap with others: {', '.join(left_out)}.")
    if len(taken) == 1 and not left_out:
        notes = ["Several masks of one image are put together."]
    return targets, {v: n for n, v in value.items()}, notes


def _apart(order: Sequence[str], shown: Mapping[str, int], clash: set[frozenset[str]]) -> list[str]:
    """Return the set of structures without a clash that has the most files; greedy beyond 20, where 2^n is too many."""

    def best(rest: Sequence[str]) -> list[str]:
        if not rest:
            return []
        first, others = rest[0], rest[1:]
        free = [n for n in others if frozenset((first, n)) not in clash]
        with_first = [first, *best(free)]
        if len(free) == len(others) or len(order) > 20:
            return with_first
        without = best(others)
        return with_first if sum(shown[n] for n in with_first) >= sum(shown[n] for n in without) else without

    return best(order)


def structure_of(word: str) -> str:
    """Return the structure's name without a number that counts masks of the same kind."""
    return re.sub(r"[_\-. ]*\d+$", "", word) or "mask"


def _clashes(
    masks: Mapping[Unit, tuple[tuple[str, Unit], ...]], names: Mapping[Unit, list[str]]
) -> set[frozenset[str]]:
    """Return the pairs of structures that overlap, over all images together."""
    shared: Counter[frozenset[str]] = Counter()
    smaller: Counter[frozenset[str]] = Counter()
    for unit, parts in masks.items():
        own: list[tuple[str, np.ndarray]] = []
        for name, (_, part) in zip(names[unit], parts, strict=True):
            try:
                own.append((name, load(as_mask(part.source)).array != 0))
            except LucencyError:
                continue
        for n, (name, mask) in enumerate(own):
            for other, second in own[:n]:
                if other == name or mask.shape != second.shape:
                    continue
                pair = frozenset((name, other))
                shared[pair] += int((mask & second).sum())
                smaller[pair] += min(int(mask.sum()), int(second.sum()))
    return {pair for pair, n in shared.items() if n > MAX_SHARED * smaller[pair]}

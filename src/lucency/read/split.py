"""What tells the images of one series apart: direction, size, time, echo, b-value; until each is one clean stack."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from lucency.errors import GeometryError
from lucency.read.geometry import TOLERANCE_MM
from lucency.read.stack import SAME_DIRECTION, SAME_SPACING, Slice, Stack, axes_of, stack_of

#: What may tell stacks at one place apart, by exact value, and what the user is told; the surest first.
EXACT: Mapping[str, tuple[str, str]] = {
    "TemporalPositionIdentifier": ("time", "temporal position"),
    "TemporalPositionIndex": ("time", "temporal position"),
    "TemporalPositionTimeOffset": ("time", "temporal position"),
    "DiffusionBValue": ("b", "b-value"),
    "DiffusionGradientOrientation": ("gradient", "diffusion gradient"),
    "EffectiveEchoTime": ("echo", "echo time"),
    "EchoTime": ("echo", "echo time"),
    "EchoNumbers": ("echo", "echo number"),
    "NominalPercentageOfCardiacPhase": ("phase", "cardiac phase"),
    "NominalCardiacTriggerDelayTime": ("phase", "trigger time"),
    "NominalPercentageOfRespiratoryPhase": ("phase", "respiratory phase"),
    "InversionTime": ("inversion", "inversion time"),
    "FlipAngle": ("flip", "flip angle"),
    "FrameType": ("kind", "type of image"),
    "ImageType": ("kind", "type of image"),
    "StackID": ("stack", "stack"),
    "TriggerTime": ("phase", "trigger time"),
    "AcquisitionNumber": ("acquisition", "acquisition number"),
    "FrameAcquisitionNumber": ("acquisition", "acquisition number"),
    "ConvolutionKernel": ("kernel", "reconstruction kernel"),
    "ContentTime": ("time", "content time"),
}

#: Of these it is enough that they differ: a stack that alternates between two values is two stacks between each other.
DECISIVE = tuple(EXACT)[: tuple(EXACT).index("TriggerTime")]

#: Values that differ from slice to slice within one phase as well: the n-th at each place makes the n-th stack.
RANKED: Mapping[str, tuple[str, str]] = {
    "TriggerTime": ("phase", "trigger time"),
    "AcquisitionTime": ("time", "acquisition time"),
    "AcquisitionDateTime": ("time", "acquisition time"),
    "ContentTime": ("time", "content time"),
}

#: A few slices across beside a stack of many are its localizer.
MOST_LOCALIZERS, LEAST_STACK = 3, 5


@dataclass(frozen=True, eq=False)
class Part:
    """One stack of a series.

    Args:
        stack: Its slices and affine.
        name: What is put behind the series' pseudonym: ``""`` where the series is one stack, else ``time2``, ``b1000``.
        told_by: What told it from the others, for the user; ``""`` where the series is one stack.
    """

    stack: Stack
    name: str = ""
    told_by: str = ""


@dataclass(frozen=True, eq=False)
class Parts:
    """What a series falls into.

    Args:
        parts: Clean stacks.
        aside: Slices that are not part of any image, such as a localizer.
        copies: Slices left out because another shows the same pixels at the same place.
        refused: Paths and reasons of stacks that are not clean beside others that are.
    """

    parts: tuple[Part, ...]
    aside: tuple[Slice, ...] = ()
    copies: tuple[Slice, ...] = ()
    refused: tuple[tuple[Slice, GeometryError], ...] = ()


def parts_of(slices: Sequence[Slice], same_pixels: Callable[[Slice, Slice], bool], *, fill: bool = False) -> Parts:
    """Return the stacks of one series or of one file with several frames.

    Args:
        slices: All placed, in any order; sorted by path and frame for a stable answer.
        same_pixels: Tells whether two slices show the same; asked only where nothing in the headers tells them apart.
        fill: Accept missing slices.

    Raises:
        GeometryError: Slices at one place that nothing tells apart, or groups that are no clean stacks.
    """
    slices = sorted(slices, key=lambda s: (s.path, s.frame))
    shapes = _shapes(slices)
    if len(shapes) == 1:
        return _phases(slices, same_pixels, fill=fill)
    main, few = shapes[0], [s for shape in shapes[1:] for s in shape]
    across = all(_across(shape[0], main[0]) for shape in shapes[1:])
    if across and len(few) <= MOST_LOCALIZERS and len(main) >= LEAST_STACK and 4 * len(few) <= len(main):
        found = _phases(main, same_pixels, fill=fill)
        return Parts(found.parts, (*found.aside, *few), found.copies, found.refused)
    if not across and min(len(s) for s in shapes) < 2:
        raise _mixed(slices, shapes)
    word = "direction" if across else "shape"
    told_by = "the direction of their slices" if across else "size, pixel spacing or direction"
    parts: list[Part] = []
    copies: list[Slice] = []
    for number, shape in enumerate(sorted(shapes, key=lambda s: (s[0].path, s[0].frame)), start=1):
        found = _phases(shape, same_pixels, fill=fill)
        if found.refused:
            raise found.refused[0][1]
        parts += [Part(p.stack, f"{word}{number}{p.name}", told_by) for p in found.parts]
        copies += found.copies
    return Parts(tuple(parts), copies=tuple(copies))


def _mixed(slices: Sequence[Slice], shapes: Sequence[Sequence[Slice]]) -> GeometryError:
    if len({s.size for s in slices}) > 1:
        found = f"Slices of {len({s.size for s in slices})} sizes in one series"
    elif any(_across(shape[0], shapes[0][0]) for shape in shapes[1:]):
        found = "Slices in more than one direction"
    else:
        found = "Pixel spacings that differ in one series"
    odd = min(shapes, key=len)
    return GeometryError(
        f"{found}, and one of them stands alone",
        expected="one size, direction and pixel spacing, or several whole stacks",
        where=odd[0].path,
        remedy="export the stacks apart, or take the odd file out",
    )


def _across(one: Slice, other: Slice) -> bool:
    """Tell whether two slices lie in clearly different directions."""
    return bool(np.abs(np.array(one.turn) - np.array(other.turn)).max() > SAME_DIRECTION)


def _shapes(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Return the slices by size, direction and pixel spacing, the largest group first."""
    turns = np.array([s.turn for s in slices])
    spacings = np.array([s.spacing or (1.0, 1.0) for s in slices])
    tolerance = [SAME_SPACING * float(spacings.min()) / max(max(s.size) for s in slices)] * 2
    names = [(s.size, s.head.get("SOPClassUID"), s.get("PhotometricInterpretation")) for s in slices]
    turned, spaced = _alike(turns, [SAME_DIRECTION] * 6), _alike(spacings, tolerance)
    found: dict[Hashable, list[Slice]] = {}
    for one, *key in zip(slices, names, turned, spaced, strict=True):
        found.setdefault(tuple(key), []).append(one)
    return sorted(found.values(), key=len, reverse=True)


def _alike(values: np.ndarray, tolerance: Sequence[float]) -> list[int]:
    """Return a group number for each row; rows of one group differ from its first by at most the tolerance."""
    if (np.ptp(values, axis=0) <= tolerance).all():
        return [0] * len(values)
    firsts = values[:1]
    groups: list[int] = []
    for row in values:
        near = np.flatnonzero((np.abs(firsts - row) <= tolerance).all(axis=1))
        if near.size:
            groups.append(int(near[0]))
        else:
            groups.append(len(firsts))
            firsts = np.concatenate([firsts, row[None]])
    return groups


def _phases(slices: Sequence[Slice], same_pixels: Callable[[Slice, Slice], bool], *, fill: bool) -> Parts:
    """Return the stacks among slices of one shape."""
    places = _places(slices)
    try:
        whole = stack_of(slices, fill=fill)
    except GeometryError as error:
        refusal = error
    else:
        return _between_each_other(slices, whole)
    most = int(np.bincount(places).max())
    for exact in (True, False):
        for groups, words in _candidates(slices, places, most, exact=exact):
            stacks = [_attempt(g, fill=fill) for g in groups]
            # Where slices share places the split is sure, and each stack is judged by itself.
            if most > 1 or all(isinstance(s, Stack) for s in stacks):
                return _named(groups, stacks, words)
    if most == 1:
        raise refusal
    kept, copies = _without_copies(slices, places, same_pixels)
    if copies:
        return Parts((Part(stack_of(kept, fill=fill)),), copies=tuple(copies))
    ordered = _ranked(slices, places, most, "InstanceNumber")
    if ordered is not None and len(set(places)) > 1:
        return _named(ordered, [_attempt(g, fill=fill) for g in ordered], [("number", "instance number only")])
    raise _same_place(slices, places)


def _between_each_other(slices: Sequence[Slice], whole: Stack) -> Parts:
    """Return the one stack, or the several that lie between each other and look like one with half the gap."""
    for keyword in DECISIVE:
        groups = _by_value(whole.slices, [keyword])
        if len(groups) < 2 or min(len(g) for g in groups) < 2:
            continue
        stacks = [_attempt(g, fill=False) for g in groups]
        depths = [[float(np.dot(s.position, axes_of(slices[0])[2])) for s in g] for g in groups]  # type: ignore[arg-type]
        ends = sorted((min(d), max(d)) for d in depths)
        apart = all(a[1] < b[0] for a, b in pairwise(ends))
        if not apart and all(isinstance(s, Stack) for s in stacks):
            return _named(groups, stacks, [EXACT[keyword]])
    return Parts((Part(whole),))


def _places(slices: Sequence[Slice]) -> np.ndarray:
    """Return the number of the place along the normal for each slice; slices at one place share it."""
    normal = axes_of(slices[0])[2]
    depth = np.array([s.position for s in slices]) @ normal
    order = np.argsort(depth, kind="stable")
    number = np.empty(len(slices), dtype=int)
    number[order] = np.concatenate([[0], np.cumsum(np.diff(depth[order]) > TOLERANCE_MM)])
    return number


Words = list[tuple[str, str]]


def _candidates(
    slices: Sequence[Slice], places: np.ndarray, most: int, *, exact: bool
) -> Iterator[tuple[list[list[Slice]], Words]]:
    """Yield ways to split the slices so that no group has two at one place.

    Args:
        slices: Of one shape.
        places: From :func:`_places`.
        most: Slices at the fullest place.
        exact: Only splits into as many groups as the fullest place holds; otherwise into more.
    """
    number = {id(s): int(n) for s, n in zip(slices, places, strict=True)}
    # Where slices share no place only what is sure counts: scanners number their acquisitions within one stack too.
    differing = [k for k in (EXACT if most > 1 else DECISIVE) if len(_by_value(slices, [k])) > 1]
    # A value of its own for nearly every slice tells nothing apart.
    telling = [k for k in differing if len(_by_value(slices, [k])) <= max(2, len(slices) // 2)] or differing
    least = 2 if len(set(number.values())) > 1 else 1
    for keys in (*((k,) for k in telling), *combinations(telling[:8], 2), *combinations(telling[:6], 3)):
        groups = _by_value(slices, keys)
        if (len(groups) == most) is not exact and most > 1:
            continue
        # A single slice beside whole stacks is no stack of its own.
        whole = min(len(g) for g in groups) >= least
        if whole and all(len({number[id(s)] for s in g}) == len(g) for g in groups):
            yield groups, [EXACT[k] for k in keys]
    if exact and most > 1:
        for keyword, words in RANKED.items():
            ranked = _ranked(slices, places, most, keyword)
            if ranked is not None:
                yield ranked, [words]


def _by_value(slices: Sequence[Slice], keywords: Sequence[str]) -> list[list[Slice]]:
    """Return the slices by the values of some attributes, in the order of the values."""
    found: dict[str, list[Slice]] = {}
    values: dict[str, list[Any]] = {}
    for one in slices:
        value = [one.get(k) for k in keywords]
        found.setdefault(repr(value), []).append(one)
        values[repr(value)] = value
    return [found[k] for k in sorted(found, key=lambda k: [_sortable(v) for v in values[k]])]


def _sortable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 1, float(value), ""
    return (0, 0.0, "") if value is None else (2, 0.0, repr(value))


def _ranked(slices: Sequence[Slice], places: np.ndarray, most: int, keyword: str) -> list[list[Slice]] | None:
    """Return the n-th slice of every place, by a value that rises at each; None where places differ in number."""
    at: dict[int, list[Slice]] = {}
    for one, place in zip(slices, places, strict=True):
        at.setdefault(int(place), []).append(one)
    groups: list[list[Slice]] = [[] for _ in range(most)]
    for members in at.values():
        values = [m.get(keyword) for m in members]
        if len(members) != most or not all(isinstance(v, int | float) for v in values) or len(set(values)) != most:
            return None
        for group, member in zip(groups, sorted(members, key=lambda m: float(m.get(keyword))), strict=True):
            group.append(member)
    return groups


def _attempt(slices: Sequence[Slice], *, fill: bool) -> Stack | GeometryError:
    try:
        return stack_of(slices, fill=fill)
    except GeometryError as error:
        return error


def _named(groups: Sequence[Sequence[Slice]], stacks: Sequence[Stack | GeometryError], words: Words) -> Parts:
    """Return the stacks as parts with names, the refused ones with their reasons.

    Raises:
        GeometryError: None of them is clean.
    """
    label = "-".join(dict.fromkeys(w for w, _ in words))
    told_by = " and ".join(dict.fromkeys(said for _, said in words))
    parts: list[Part] = []
    refused: list[tuple[Slice, GeometryError]] = []
    for number, (group, stack) in enumerate(zip(groups, stacks, strict=True), start=1):
        if isinstance(stack, Stack):
            parts.append(Part(stack, f"{label}{number}", told_by))
        else:
            refused.append((group[0], stack))
    if not parts:
        raise refused[0][1]
    return Parts(tuple(parts), refused=tuple(refused))


def _without_copies(
    slices: Sequence[Slice], places: np.ndarray, same_pixels: Callable[[Slice, Slice], bool]
) -> tuple[list[Slice], list[Slice]]:
    """Return one slice for each place and its copies; no copies where any place has two that differ."""
    kept: dict[int, Slice] = {}
    copies: list[Slice] = []
    for one, place in zip(slices, places, strict=True):
        first = kept.setdefault(int(place), one)
        if first is not one:
            if not same_pixels(first, one):
                return list(slices), []
            copies.append(one)
    return list(kept.values()), copies


def _same_place(slices: Sequence[Slice], places: np.ndarray) -> GeometryError:
    """Return the refusal of different slices at one place that nothing tells apart."""
    full = int(np.argmax(np.bincount(places) > 1))
    twins = [s for s, p in zip(slices, places, strict=True) if p == full]
    apart = float(np.linalg.norm(np.array(twins[0].position) - np.array(twins[1].position)))
    where = f"{apart:.1f} mm beside each other at one depth" if apart > 1.0 else "at the same place"
    return GeometryError(
        f"Slices {full} and {full + 1} lie {where} and show different pixels, and nothing in the headers tells them "
        "apart",
        expected="one slice at each place",
        where=twins[1].path,
        remedy="export the series once, without a second reconstruction or time point in it",
    )

"""What is measured once: how far members, held-out and generated images lie from each other in each space."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lucency.synthesize.audit.spaces import Measure, Near, Pixels, near
from lucency.synthesize.drawn import Drawn

#: Nearest members of other patients whose mean distance says how isolated an image is.
NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class Real:
    """The real images in one space.

    Args:
        measure: The space.
        members: (n, ...) what is compared of what the generator learned from.
        held: (m, ...) of what it never saw.
        people: Patients of the members.
        held_people: Patients of the others.
        held_seen: Of each held-out image the nearest member.
        held_held: The nearest held-out image of another patient.
        seen_seen: Of each member the nearest member of another patient; None for pixels, where it costs most.
        isolation: (n,) mean distance of the nearest members of other patients; empty for pixels.
        held_isolation: (m,) the same of held-out images.
        linked: (m,) of held-out images: see :func:`links`.
    """

    measure: Measure
    members: np.ndarray
    held: np.ndarray
    people: np.ndarray
    held_people: np.ndarray
    held_seen: Near
    held_held: Near
    seen_seen: Near | None
    isolation: np.ndarray
    held_isolation: np.ndarray
    linked: np.ndarray


@dataclass(frozen=True, eq=False)
class Made:
    """Generated images in one space.

    Args:
        seen: Of each the nearest member.
        held: Of each the nearest held-out image.
        linked: (n,), see :func:`links`; empty for pixels.
    """

    seen: Near
    held: Near
    linked: np.ndarray


def real_side(measure: Measure, members: Drawn, held_out: Drawn) -> Real:
    """Measure the real images in one space.

    Args:
        measure: The space.
        members: What the generator learned from.
        held_out: Of other patients.
    """
    ours, theirs = measure.plain(members.images), measure.plain(held_out.images)
    people, others = members.people, _elsewhere(held_out)
    deep = not isinstance(measure, Pixels)
    isolation, held_isolation = np.zeros(0), np.zeros(0)
    if deep:
        isolation, held_isolation = np.zeros(len(members)), np.zeros(len(held_out))
    linked = np.full(len(held_out) if deep else 0, np.nan)

    def look_back(rows: slice, apart: np.ndarray) -> None:
        if deep:
            isolation[rows] = _crowd(apart)

    def look(rows: slice, apart: np.ndarray) -> None:
        if deep:
            held_isolation[rows] = _crowd(apart)
            linked[rows] = links(apart, people)

    held_seen = near(measure, held_out.images, ours, people, look=look)
    held_held = near(measure, held_out.images, theirs, others, own=others)
    seen_seen = near(measure, members.images, ours, people, own=people, look=look_back) if deep else None
    return Real(
        measure, ours, theirs, people, others, held_seen, held_held, seen_seen, isolation, held_isolation, linked
    )


def made_side(real: Real, images: np.ndarray) -> Made:
    """Measure generated images, (n, C, K, J, I), in a space.

    Args:
        real: The real images there.
        images: Generated, or planted.
    """
    linked = np.full(0 if isinstance(real.measure, Pixels) else len(images), np.nan)

    def look(rows: slice, apart: np.ndarray) -> None:
        if len(linked):
            linked[rows] = links(apart, real.people)

    seen = near(real.measure, images, real.members, real.people, look=look)
    return Made(seen, near(real.measure, images, real.held, real.held_people), linked)


def _elsewhere(held_out: Drawn) -> np.ndarray:
    """Return the patients of held-out images; one without a patient is its own, and no member's."""
    alone = np.array([f"held {n}" for n in range(len(held_out))])
    return np.where(held_out.patients == "", alone, held_out.patients)


def _crowd(apart: np.ndarray) -> np.ndarray:
    """Return the mean distance of the nearest few, (r,) float, of (r, m) distances; infinite ones do not count."""
    k = min(NEIGHBOURS, apart.shape[1])
    nearest = np.partition(apart, k - 1, axis=1)[:, :k]
    there = np.isfinite(nearest)
    return np.asarray(np.where(there, nearest, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1))


def links(apart: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Return whether images lead to the other images of the patient whose image they are nearest to.

    Args:
        apart: (r, m) distances to members.
        people: (m,) patients of the members.

    Returns:
        (r,) share of other patients' images that lie farther off than the other images of that patient: an AUC, .5 by
        chance. NaN where that patient has one image only.
    """
    _, who = np.unique(people, return_inverse=True)
    counts = np.bincount(who)
    found = np.full(len(apart), np.nan)
    at = apart.argmin(axis=1)
    for row in np.flatnonzero(counts[who[at]] > 1):
        same = who == who[at[row]]
        rest = np.sort(apart[row][~same])
        same[at[row]] = False
        if len(rest):
            found[row] = 1 - np.searchsorted(rest, apart[row][same]).mean() / len(rest)
    return found


def logs(seen: Near, held: Near) -> np.ndarray:
    """Return the log of how near a member is against how near a held-out image is, (n,) float; low is suspicious.

    A generator of blurred or of average images is nearer to all real ones than real ones are to each other. It is as
    near to those that it never saw, and so this does not call it a copier.

    Args:
        seen: To members.
        held: To held-out images.
    """
    return np.asarray(np.log((seen.first + TINY) / (held.first + TINY)), dtype=np.float64)


#: Distance below which two images are the same: rounding to half precision leaves about so much.
TINY = 1e-4


def stacked(made: Sequence[Made]) -> np.ndarray:
    """Return :func:`logs` of generated images in all spaces, (spaces, n)."""
    return np.stack([logs(m.seen, m.held) for m in made])

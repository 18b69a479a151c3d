"""Training and evaluation must not share a patient or a picture."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from lucency.case import Case, Cohort
from lucency.errors import LeakageError
from lucency.inspect.checks import listed
from lucency.inspect.inspection import MaskFacts, Pair

#: Pairs named in a refusal.
PAIRS_LISTED = 10


def part_of(cases: Sequence[Case]) -> dict[str, str]:
    """Return case id to supplied part; what no part claims is for training."""
    return {c.id: c.part or "train" for c in cases}


def shared_patients(usable: Sequence[Case]) -> list[Pair]:
    """Return one pair for every patient and two supplied parts that hold an image of theirs."""
    first: dict[str, dict[str, str]] = defaultdict(dict)
    for case in usable:
        first[case.patient].setdefault(case.part or "train", case.id)
    pairs = []
    for parts in first.values():
        ids = [parts[name] for name in ("train", "val", "test") if name in parts]
        pairs += [Pair(a, b, "patient") for n, a in enumerate(ids) for b in ids[n + 1 :]]
    return sorted(pairs, key=lambda p: (p.first, p.second))


def check_leaks(cohort: Cohort, usable: Sequence[Case], pairs: Sequence[Pair]) -> tuple[tuple[Pair, ...], list[str]]:
    """Return the pairs that leak and what to say of them, if the user allowed them.

    Args:
        cohort: Its ``allow_leak`` is used.
        usable: The cases that are not left out.
        pairs: Duplicates.

    Raises:
        LeakageError: A patient in two supplied parts, or a duplicate with the test part; up to ten pairs are named.
    """
    part = part_of(usable)
    copies = [p for p in pairs if (part[p.first] == "test") != (part[p.second] == "test")]
    leaks = (*copies, *shared_patients(usable))
    if not leaks:
        return (), []
    kinds = {"exact": "the same image", "near": "nearly the same image", "patient": "the same patient"}
    named = "; ".join(
        f"{p.first} ({part[p.first]}) and {p.second} ({part[p.second]}): {kinds[p.kind]}" for p in leaks[:PAIRS_LISTED]
    )
    more = f"; and {len(leaks) - PAIRS_LISTED} more" if len(leaks) > PAIRS_LISTED else ""
    found = f"{len(leaks)} pairs are shared between the supplied parts: {named}{more}"
    if not cohort.allow_leak:
        raise LeakageError(
            found,
            expected="parts that share no patient, and a test part that shares no image with the others",
            remedy="take these cases out of one part, or accept optimistic numbers with --allow-leak",
        )
    return leaks, [f"Leakage was allowed, so the results are optimistic: {found}."]


def training_copies(pairs: Sequence[Pair], part: Mapping[str, str]) -> dict[str, str]:
    """Return the training cases that also are in the validation part, with the reason to leave them out."""
    left_out: dict[str, str] = {}
    for pair in pairs:
        ends = {part[pair.first]: pair.first, part[pair.second]: pair.second}
        if set(ends) == {"train", "val"}:
            likeness = "copy" if pair.kind == "exact" else f"near copy (correlation {pair.correlation:.3f})"
            left_out.setdefault(ends["train"], f"{likeness} of validation image {ends['val']}")
    return left_out


def conflicting_labels(usable: Sequence[Case], pairs: Sequence[Pair], masks: Sequence[MaskFacts]) -> list[str]:
    """Return a sentence naming duplicates that carry different labels, if there are any.

    Masks are compared between exact copies only: two frames of one heart rightly have two masks.
    """
    target = {c.id: c.target for c in usable}
    drawing = {m.case: m.digest for m in masks}
    noisy = []
    for pair in pairs:
        a, b = target[pair.first], target[pair.second]
        if isinstance(a, str) and isinstance(b, str) and a != b:
            noisy.append(f"{pair.first} ({a}) and {pair.second} ({b})")
        elif pair.kind == "exact" and isinstance(a, float) and isinstance(b, float) and a != b:
            noisy.append(f"{pair.first} ({a:g}) and {pair.second} ({b:g})")
        elif pair.kind == "exact" and drawing.get(pair.first) != drawing.get(pair.second):
            noisy.append(f"{pair.first} and {pair.second} (other masks)")
    return [f"{len(noisy)} pairs of duplicates have different labels: {listed(noisy)}."] if noisy else []

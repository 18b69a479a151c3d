"""The images of a set judged together: verdicts, what they may not do, and what is missing."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lucency.case import Case
from lucency.inspect.checks import listed
from lucency.inspect.inspection import ImageFacts
from lucency.inspect.quality import LEARN_FROM, Limits, Quality, Verdict, learn, scores, verdict
from lucency.inspect.quality_layout import layout
from lucency.inspect.quality_measures import TEXT_SIDE
from lucency.inspect.quality_unlike import unlike

#: With more of a modality's images rejected than this, they are the set and not its exceptions: none is left out.
REJECTED_MOST = 0.2
#: Rejections that depend on the class with a chance below this are taken for what the class looks like.
CLASS_CHANCE = 0.01
#: A body part or modality that a header gives is odd if at least this share of the set has one other.
USUAL = 0.9
#: Text in more of the images searched than this is the set's habit: it is said once, not for every image.
TEXT_HABIT = 0.5

#: Cases that must have a modality for a case that has nothing else to be used, and their share. More than what the
#: planner asks of the training part, so that hardly a case is kept whose only modality is then passed over.
LEAST_ALIKE, SHARE_ALIKE = 6, 0.1

Key = tuple[str, str, int]


@dataclass(frozen=True)
class Judged:
    """What became of a set's images.

    Args:
        images: With measures, faults, quality and reason.
        limits: By modality.
        left_out: Case id to reason.
        missing: Case id to what it lacks that most others have.
        warnings: Sentences for the report.
    """

    images: tuple[ImageFacts, ...]
    limits: Mapping[str, Limits] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def judge_set(
    images: Sequence[ImageFacts], pictures: Mapping[Key, np.ndarray], cases: Sequence[Case], policy: str
) -> Judged:
    """Judge every image against its set.

    Args:
        images: Facts with their own measures.
        pictures: (case, modality, time) to small picture, as ``thumbnail.glance`` makes it.
        cases: The same cases.
        policy: ``"off"``, ``"warn"`` or ``"reject"``.
    """
    absent, warnings = missing(cases)
    if policy == "off":
        return Judged(tuple(images), missing=absent, warnings=tuple(warnings))
    laid = _layouts(pictures, {(i.case, i.modality, i.time): i.measures for i in images})
    measured = [replace(i, measures={**i.measures, **laid.get((i.case, i.modality, i.time), {})}) for i in images]
    by_modality: dict[str, list[ImageFacts]] = defaultdict(list)
    for image in measured:
        by_modality[image.modality].append(image)
    limits = {m: learn([i.measures for i in group]) for m, group in sorted(by_modality.items())}
    verdicts = {(i.case, i.modality, i.time): verdict(i.measures, limits[i.modality], policy=policy) for i in measured}
    warnings += [*_odd_facts(cases, verdicts), *_text(measured, verdicts)]
    if policy == "reject":
        warnings += _too_many(by_modality, verdicts)
    warnings += _by_class(cases, verdicts, policy)
    judged = tuple(_with(i, verdicts[i.case, i.modality, i.time], limits[i.modality]) for i in measured)
    left_out: dict[str, str] = {}
    for image in judged:
        if image.quality == "reject":
            faults = "; ".join(reason.partition(" (")[0] for reason in image.reason.split("; "))
            left_out.setdefault(image.case, f"quality: {faults}")
    warnings += _said(judged, left_out)
    return Judged(judged, limits, left_out, absent, tuple(warnings))


def _layouts(
    pictures: Mapping[Key, np.ndarray], measures: Mapping[Key, Mapping[str, float]]
) -> dict[Key, dict[str, float]]:
    """Return the measures of layout and kind for every group that is large enough to have a usual one."""
    groups: dict[tuple[str, int], list[Key]] = defaultdict(list)
    for key, picture in pictures.items():
        groups[key[1], len(picture)].append(key)
    found: dict[Key, dict[str, float]] = {}
    for keys in groups.values():
        if len(keys) >= LEARN_FROM:
            shown = [pictures[k] for k in keys]
            laid = layout(shown)
            # Images with no layout in common have no kind in common either from which one could differ.
            strange = unlike(shown, [measures.get(k, {}) for k in keys]) if any(laid) else laid
            found |= {k: a | b for k, a, b in zip(keys, laid, strange, strict=True)}
    return found


def _with(image: ImageFacts, judged: Verdict, limits: Limits) -> ImageFacts:
    """Return the image with its verdict; what was said of it before stays."""
    reasons = [*([image.reason] if image.reason else []), *judged.reasons]
    quality: Quality = judged.quality if judged.quality == "reject" or not image.reason else "warn"
    return replace(image, faults=scores(image.measures, limits), quality=quality, reason="; ".join(reasons))


def missing(cases: Sequence[Case]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return what each case lacks that at least half of the others have, and the counts as sentences.

    Args:
        cases: All that can be read.
    """
    counts = Counter(m for c in cases for m in c.images)
    usual = {m for m, n in counts.items() if 2 * n >= len(cases)}
    labelled = 2 * sum(c.target is not None for c in cases) >= len(cases)
    found: dict[str, tuple[str, ...]] = {}
    for case in cases:
        lacks = [f"modality {m}" for m in sorted(usual - set(case.images))]
        lacks += ["label"] if labelled and case.target is None else []
        for modality in sorted(case.images):
            for source in case.images[modality]:
                filled = source.header.get("interpolated")
                if isinstance(filled, tuple) and filled:
                    lacks.append("slices " + ", ".join(str(int(k)) for k in filled))
        if lacks:
            found[case.id] = tuple(lacks)
    warnings = []
    lacking = sorted(c for c, lacks in found.items() if any(w.startswith("modality") for w in lacks))
    if lacking:
        warnings.append(f"{len(lacking)} cases lack a modality that most have: {listed(lacking)}.")
    filled_in = sorted(c for c, lacks in found.items() if any(w.startswith("slices") for w in lacks))
    if filled_in:
        warnings.append(f"Missing slices were interpolated, as asked, in {len(filled_in)} cases: {listed(filled_in)}.")
    return found, warnings


def strangers(cases: Sequence[Case]) -> tuple[dict[str, str], list[str]]:
    """Return the cases that have no modality which a fair share of the others have, and the count as a sentence.

    Nothing can be learned from them together with the others; a case that has another modality besides stays.

    Args:
        cases: All that can be used.
    """
    counts = Counter(m for c in cases for m in c.images)
    least = min(max(LEAST_ALIKE, SHARE_ALIKE * len(cases)), max(counts.values(), default=0))
    alone = sorted(c.id for c in cases if all(counts[m] < least for m in c.images))
    if not alone:
        return {}, []
    reason = "it has none of the modalities that the others have"
    said = f"{len(alone)} cases have none of the modalities that the others have, and are left out: {listed(alone)}."
    return dict.fromkeys(alone, reason), [said]


def _add(verdicts: dict[Key, Verdict], key: Key, reason: str) -> None:
    old = verdicts[key]
    verdicts[key] = Verdict("reject" if old.quality == "reject" else "warn", (*old.reasons, reason))


def _odd_facts(cases: Sequence[Case], verdicts: dict[Key, Verdict]) -> list[str]:
    """Mark images whose header gives another modality or body part than nearly all others."""
    warnings = []
    for fact, word in (("modality", "modality"), ("body_part", "body part")):
        values = {c.id: str(c.facts[fact]) for c in cases if c.facts.get(fact)}
        counts = Counter(values.values())
        if len(values) < LEARN_FROM or counts.most_common(1)[0][1] < USUAL * len(values) or len(counts) == 1:
            continue
        usual = counts.most_common(1)[0][0]
        odd = sorted(case for case, value in values.items() if value != usual)
        for key in [k for k in verdicts if k[0] in set(odd)]:
            _add(verdicts, key, f"another {word} than the rest of the set")
        warnings.append(f"{len(odd)} cases are of another {word} than the rest of the set: {listed(odd)}.")
    return warnings


def _text(images: Sequence[ImageFacts], verdicts: dict[Key, Verdict]) -> list[str]:
    """Say where text was burned into the pixels; mark single images unless text is the set's habit."""
    searched = [i for i in images if "text" in i.measures]
    marked = [i for i in searched if i.measures["text"] > 0]
    if not marked:
        return _unsearched(images) if searched else []
    if len(marked) <= TEXT_HABIT * len(searched) or len(searched) < LEARN_FROM:
        for image in marked:
            _add(verdicts, (image.case, image.modality, image.time), "burned-in text")
    names = listed(sorted({i.case for i in marked}))
    said = f"Text is burned into {len(marked)} of {len(searched)} images that were searched for it: {names}."
    return [said, *_unsearched(images)]


def _unsearched(images: Sequence[ImageFacts]) -> list[str]:
    """Say how many images were not searched for burned-in text, and why."""
    rest = [i for i in images if "text" not in i.measures]
    unfit = sum(1 not in i.size or sorted(i.size)[1] < TEXT_SIDE for i in rest)
    beyond = len(rest) - unfit
    said = []
    if beyond:
        said.append(
            f"{beyond} images were not searched for burned-in text: of a large set a part is searched, evenly spread. "
            "lucency deidentify searches all."
        )
    if unfit:
        said.append(f"{unfit} images were not searched for burned-in text: volumes, or too small for letters.")
    return said


def _too_many(by_modality: Mapping[str, Sequence[ImageFacts]], verdicts: dict[Key, Verdict]) -> list[str]:
    """Turn rejections into warnings where they are too many to be exceptions."""
    warnings = []
    for modality, group in sorted(by_modality.items()):
        keys = [(i.case, i.modality, i.time) for i in group]
        rejected = [k for k in keys if verdicts[k].quality == "reject"]
        if len(group) >= LEARN_FROM and len(rejected) > REJECTED_MOST * len(group):
            _soften(verdicts, rejected)
            warnings.append(
                f"{len(rejected)} of {len(group)} images ({modality}) are far from the rest of the set; so many are "
                "part of it, and none was left out. Look at them before you train."
            )
    return warnings


def _by_class(cases: Sequence[Case], verdicts: dict[Key, Verdict], policy: str) -> list[str]:
    """Keep quality and label apart: where verdicts fall on one class, they may be what the class looks like.

    Rejections then become warnings; where only warnings do so, it is said.
    """
    label = {c.id: c.target for c in cases if isinstance(c.target, str)}
    rejected = {k[0] for k, v in verdicts.items() if v.quality == "reject" and k[0] in label}
    found = _concentrated(label, rejected)
    if found and policy == "reject":
        _soften(verdicts, [k for k, v in verdicts.items() if v.quality == "reject"])
        return [
            f"{found[1]} of {len(rejected)} images far from the rest of the set are of class {found[0]!r}, more than "
            "chance allows; that may be what the class looks like, and none was left out."
        ]
    flagged = {k[0] for k, v in verdicts.items() if v.quality != "accept" and k[0] in label}
    found = _concentrated(label, flagged)
    if found:
        return [
            f"{found[1]} of {len(flagged)} images with a remark on their quality are of class {found[0]!r}, more than "
            "chance allows; a model may learn that instead of the disease."
        ]
    return []


def _concentrated(label: Mapping[str, str], chosen: set[str]) -> tuple[str, int] | None:
    """Return the class that has more of the chosen cases than chance allows, and how many, or None."""
    from scipy.stats import hypergeom  # noqa: PLC0415 - costs start-up time

    classes = Counter(label.values())
    for name, n in sorted(classes.items()):
        own = sum(label[c] == name for c in chosen)
        if own and len(classes) > 1:
            chance = float(hypergeom.sf(own - 1, len(label), len(chosen), n))
            if chance < CLASS_CHANCE / len(classes):
                return name, own
    return None


def _soften(verdicts: dict[Key, Verdict], keys: Sequence[Key]) -> None:
    for key in keys:
        verdicts[key] = Verdict("warn", verdicts[key].reasons)


def _said(images: Sequence[ImageFacts], left_out: Mapping[str, str]) -> list[str]:
    """Return the counts: what was left out, and what is only odd."""
    warnings = []
    if left_out:
        warnings.append(
            f"{len(left_out)} cases are left out for their quality: {listed(sorted(left_out))}. The results hold for "
            "images that pass the same gate; --set quality=warn keeps all."
        )
    odd = Counter(reason.partition(" (")[0] for i in images if i.quality == "warn" for reason in i.reason.split("; "))
    known = [f"{fault}: {n}" for fault, n in odd.most_common() if fault]
    n = sum(i.quality == "warn" for i in images)
    if n:
        warnings.append(f"{n} images are kept with a warning of their quality ({', '.join(known)}).")
    return warnings

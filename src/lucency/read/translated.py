"""A cohort seen as images of one modality to be made of those of others."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from lucency.case import Case, Cohort, Source, with_folds
from lucency.errors import DataError, UsageError
from lucency.read.files import stem_of

#: What a case has, which stands in the place of its target.
BOTH, GIVEN, WANTED = "both", "given", "wanted"

#: How images of two modalities that lie in two cases come together: where patients are known and a patient has one of
#: each; by equal file names; never.
PAIRINGS = ("auto", "name", "none")


@dataclass(frozen=True)
class Words:
    """What a user says of a translation.

    Args:
        given: Modalities that are there, by any word that the data know them by, with commas between several.
        wanted: The one that is to be made.
        pairs: One of :data:`PAIRINGS`.

    Raises:
        UsageError: A word is missing, the same on both sides, or an unknown pairing.
    """

    given: tuple[str, ...]
    wanted: str
    pairs: str = PAIRINGS[0]

    def __post_init__(self) -> None:
        if not self.given or not self.wanted or self.wanted in self.given:
            raise UsageError(
                f"A translation from {', '.join(self.given) or 'nothing'} to {self.wanted or 'nothing'}",
                expected="two modalities",
                where="--source, --target",
                remedy="name the modality that is there and the one that is wanted",
            )
        if self.pairs not in PAIRINGS:
            raise UsageError(f"pairs = {self.pairs!r}", expected=", ".join(PAIRINGS), where="--set pairs")


def translated(cohort: Cohort, words: Words) -> Cohort:
    """Return the cohort with one case for each patient's pair, or for each single image, folds drawn anew.

    A modality is known by its name among the images of a case (the number at the end of a file's name), by what
    dataset.json calls that number, or that channel of files with several, by the class of the case (the column
    that was named as the target), by a folder that it lies in, or by the modality in its DICOM header or table.

    Args:
        cohort: As read.
        words: What the user says.

    Returns:
        Cases whose target says what they have; those that have neither modality are left out. The masks that were
        their targets are their regions now.

    Raises:
        UsageError: A word that nothing in the data is known by, and the message lists what they are known by; or two
            words for one modality.
        DataError: Pairs are made by equal names, and the two images of one are said to be of two patients.
    """
    named = _named(cohort)
    asked = (*words.given, words.wanted)
    ways = [{w: _found(w, known) for w in asked} for known in named.values()]
    fitting = [(way, found) for way, found in zip(named, ways, strict=True) if all(found.values())]
    if not fitting:
        listed = "; ".join(f"{way}: {', '.join(sorted(known))}" for way, known in named.items() if known)
        lost = next((w for w in asked if not any(found[w] for found in ways)), words.wanted)
        raise UsageError(
            f"No images of {lost!r} beside those of the other modality",
            expected=listed or "images of two modalities",
            where="--source, --target",
            remedy="name both as the data do; a table column that tells them apart is named with --by",
        )
    way, found = fitting[0]
    first = {stands: word for word, stands in reversed(found.items())}
    again = next((word for word, stands in found.items() if first[stands] != word), "")
    if again:
        raise UsageError(
            f"{again!r} and {first[found[again]]!r} are one modality",
            expected="two modalities",
            where="--source, --target",
            remedy="name the modality that is there and the one that is wanted",
        )
    return _cohort_of(cohort, words, way, found)


def _named(cohort: Cohort) -> dict[str, dict[str, str]]:
    """Return, for each way of knowing a modality, the words that a user may say, and what each stands for."""
    images = Counter(m for c in cohort.cases for m in c.images)
    channels, described = {m: m for m in images if m != "image"}, _described(cohort)
    told = {v: k for k, v in described.items() if k in channels}
    stacked = any(s.header.get("axes") == "channels" for c in cohort.cases for s in c.images.get("image", ()))
    inside = {v: k for k, v in described.items()} | {k: k for k in described} if stacked else {}
    classes = {str(c.target) for c in cohort.cases if isinstance(c.target, str)}
    facts = {_modality(c) for c in cohort.cases} - {""}
    folders = {f for c in cohort.cases for f in _folders(c)}
    return {
        "channels": {**told, **channels},
        "inside": inside,
        "classes": {c: c for c in classes},
        "folders": {f: f for f in folders},
        "modalities": {f: f for f in facts},
    }


def _found(word: str, known: Mapping[str, str]) -> str:
    """Return what a word stands for; nothing where it is not known."""
    by_word = {k.lower(): v for k, v in known.items()}
    return by_word.get(word.lower(), "")


def _described(cohort: Cohort) -> dict[str, str]:
    """Return channel number to the name that dataset.json gives it; nothing where there is no such file."""
    root = next((s.root for c in cohort.cases for s in c.sources), "")
    path = Path(root) / "dataset.json"
    if not root or not path.is_file():
        return {}
    try:
        said = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError):
        return {}
    names = said.get("channel_names", said.get("modality")) if isinstance(said, dict) else None
    if not isinstance(names, dict):
        return {}
    return {f"{int(k):04d}": str(v) for k, v in names.items() if str(k).isdigit()}


def _modality(case: Case) -> str:
    return str(case.facts.get("modality") or case.sources[0].header.get("modality") or "")


def _folders(case: Case) -> tuple[str, ...]:
    """Return the folders that the image of a case lies in."""
    return PurePosixPath(case.sources[0].paths[0]).parts[:-1]


def _cohort_of(cohort: Cohort, words: Words, way: str, found: Mapping[str, str]) -> Cohort:
    """Return the cohort with the modalities that are asked for, under the user's words."""
    singles: list[Case] = []
    for case in cohort.cases:
        if case.id in cohort.left_out:
            continue
        if way == "channels":
            images = {w: case.images[f] for w, f in found.items() if f in case.images}
        elif way == "inside":
            images = {w: tuple(_channel(s, int(f)) for s in case.images["image"]) for w, f in found.items()}
        else:
            mine = {"classes": (str(case.target),), "folders": _folders(case)}.get(way, (_modality(case),))
            images = {w: next(iter(case.images.values())) for w, f in found.items() if f in mine}
        if images:
            region = case.target if isinstance(case.target, Source) else case.region
            singles.append(replace(case, images=images, region=region))
    whole = way in ("channels", "inside") or words.pairs == "none"
    cases = singles if whole else _paired(singles, cohort, words)
    kept = [replace(c, target=_has(c, words)) for c in cases if _has(c, words)]
    counts = Counter(str(c.target) for c in kept)
    note = (
        f"{words.wanted} is made of {' and '.join(words.given)}: {counts[BOTH]} cases have both, {counts[GIVEN]} only "
        f"what is given, {counts[WANTED]} only what is wanted."
    )
    made = replace(
        cohort,
        cases=tuple(kept),
        folds={},
        locked=frozenset(),
        classes=(),
        labels={},
        ignore=None,
        target_name=words.wanted,
        untrainable=(),
        unlabelled={},
        left_out={},
        notes=(*cohort.notes, note),
        made=words.wanted,
    )
    return with_folds(made)


def _channel(source: Source, number: int) -> Source:
    """Return one channel of a file that holds several."""
    header = {**source.header, "channel": number, "channels": 1}
    return replace(source, header=header, checksum=f"{source.checksum}/{number}" if source.checksum else "")


def _has(case: Case, words: Words) -> str:
    """Say what a case has; nothing where that is of no use: half of what is to be given, and not what is wanted."""
    given, wanted = all(m in case.images for m in words.given), words.wanted in case.images
    if given:
        return BOTH if wanted else GIVEN
    return WANTED if wanted and not any(m in case.images for m in words.given) else ""


def _paired(cases: Sequence[Case], cohort: Cohort, words: Words) -> list[Case]:
    """Join cases of single images that belong together, the others stay single.

    Raises:
        DataError: Two images of one name are said to be of two patients.
    """
    groups: dict[str, list[Case]] = {}
    for case in cases:
        name = stem_of(PurePosixPath(case.sources[0].paths[0]).name)
        key = name if words.pairs == "name" else case.patient if cohort.patient_key else case.id
        groups.setdefault(key, []).append(case)
    joined: list[Case] = []
    for key, members in groups.items():
        have = Counter(m for c in members for m in c.images)
        if len(members) == 1 or max(have.values()) > 1 or len({c.part for c in members}) > 1:
            joined += members
            continue
        if cohort.patient_key and len({c.patient for c in members}) > 1:
            raise DataError(
                f"Images named {key!r} belong to two patients, who are told apart by {cohort.patient_key}",
                expected="one patient behind equal names",
                where="--set pairs=name",
                remedy="pair by patient (--set pairs=auto), or say with --patient what both images of a pair share",
            )
        first = min(members, key=lambda c: c.id)
        images = {m: s for c in members for m, s in c.images.items()}
        region = next((c.region for c in members if c.region is not None), None)
        joined.append(
            replace(
                first,
                id=key if words.pairs == "name" else first.id,
                images=images,
                region=region,
                clinical={k: v for c in members for k, v in c.clinical.items()},
            )
        )
    return joined

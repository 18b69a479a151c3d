"""One sentence about what a model says of an image, in English and Chinese, from a controlled vocabulary.

``findings_of(prediction, case, grid, labels)`` returns the sentence in both languages, ``finding`` in one;
``coded(names)`` returns the public code of each name, or none. A sentence says what was drawn, how large it is and
where it lies, and how sure the model is; never what it means for the patient. A name that the vocabulary does not know
stands as it is, in quotation marks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from lucency.annotate.exchange import words_of
from lucency.annotation import values_in
from lucency.case import Case, Prediction
from lucency.errors import UsageError
from lucency.image import Image
from lucency.text import LANGUAGES, known, t
from lucency.write.vocabulary import SIDES, Concept, property_of, public_code

#: Doubt from which on it is called moderate, and high: thirds of its range.
MODERATE, HIGH = 1 / 3, 2 / 3

#: Things that one sentence names; the rest is counted.
LISTED = 4

#: Nearer than this to the middle of the image, in halves of its extent, a place is on neither side of it.
MIDDLE = 0.1

#: An image that reaches less far along an axis than this share of its longest reach has no sides there.
THIN = 0.1

#: Patient axes (left, posterior, superior): the word for the positive and the negative direction.
WAYS = (("left", "right"), ("posterior", "anterior"), ("superior", "inferior"))

#: Readers of formats that do not know the patient's axes.
PLACELESS = ("raster", "npz", "npy", "medmnist")


@dataclass(frozen=True)
class Seen:
    """What is known of the image.

    Args:
        grid: Any image on its grid; its numbers mean nothing.
        sized: Whether the size of its voxels is known.
        placed: Whether it is known how it lies in the patient.
    """

    grid: Image
    sized: bool = True
    placed: bool = True


def seen_of(case: Case, grid: Image) -> Seen:
    """Return what is known of a case's first image.

    Args:
        case: With the facts of its header.
        grid: Any image on the grid of its first image.
    """
    source = case.sources[0]
    placed = source.reader not in PLACELESS and source.header.get("placed") is not False and grid.k_axis == "space"
    return Seen(grid, bool(source.header.get("spacing_known", source.reader not in PLACELESS)), placed)


def findings_of(prediction: Prediction, case: Case, grid: Image, labels: Mapping[int, str]) -> dict[str, str]:
    """Return the sentence in both languages, as ``finding_en`` and ``finding_zh``.

    Args:
        prediction: As for :func:`finding`.
        case: Of the prediction.
        grid: Any image on the grid of the case's first image.
        labels: Mask value to name.
    """
    seen = seen_of(case, grid)
    return {f"finding_{lang}": finding(prediction, seen, labels, lang) for lang in LANGUAGES}


def coded(names: Iterable[str]) -> dict[str, Concept | None]:
    """Return name to its public code (SNOMED CT, DICOM, NCI Thesaurus, FMA), or None: no public code.

    Example:
        >>> coded(["liver", "xyzzy"])["liver"].value, coded(["xyzzy"])["xyzzy"]
        ('10200004', None)
    """
    return {name: public_code(name) for name in names}


def finding(prediction: Prediction, seen: Seen, labels: Mapping[int, str], lang: str) -> str:
    """Return one sentence about a prediction.

    Args:
        prediction: A mask, boxes, classes (its own, or that of the nearest cases) or a number.
        seen: What is known of the image.
        labels: Mask value to name.
        lang: ``"en"`` or ``"zh"``.

    Raises:
        UsageError: A prediction that cannot be seen on an image, or no such language.
    """
    one = prediction
    if one.mask is not None:
        said = _segmented(one.mask, seen, labels, lang)
    elif one.boxes is not None:
        said = _boxed(one, seen, lang)
    elif one.probabilities is not None or one.neighbours is not None:
        chance = (one.probabilities or {}).get(one.label)
        words = [term(w, lang) for w in ([one.label] if one.probabilities is None else words_of(one)) if w]
        word = _list(words, lang) if words else t("finding.none", lang)
        said = t("finding.word", lang, label=word)
        if chance is not None:
            said = t("finding.word_chance", lang, label=word, chance=f"{chance:.0%}")
    elif one.value is not None:
        said = t("finding.number", lang, value=f"{one.value:.4g}")
        if one.lower is not None and one.upper is not None:
            ends = {"lower": f"{one.lower:.4g}", "upper": f"{one.upper:.4g}"}
            said = t("finding.number_range", lang, value=f"{one.value:.4g}", **ends)
    else:
        raise UsageError("This prediction is none of an image", expected="a mask, boxes, classes or a number")
    return t("finding.whole", lang, said=said, doubt=doubt_word(one.doubt, lang))


def doubt_word(doubt: float, lang: str) -> str:
    """Return a doubt in words: low under a third, high from two thirds on.

    Example:
        >>> doubt_word(0.7, "en")
        'high'
    """
    return t(f"finding.doubt_{'high' if doubt >= HIGH else 'moderate' if doubt >= MODERATE else 'low'}", lang)


def term(name: str, lang: str) -> str:
    """Return what a label is called in a sentence: the vocabulary's word, or its own name in quotation marks.

    Example:
        >>> term("kidney_left", "en"), term("LV", "zh"), term("xyzzy", "en")
        ('left kidney', '左心室', '“xyzzy”')
    """
    concept = public_code(name)
    if concept is None:
        return t("finding.own_name", lang, name=name)
    side = property_of(name).side
    sided = {meaning: word for word, (_, meaning) in SIDES.items()}
    # A finding's side is in its name alone.
    words = [sided[side.meaning]] if side else [s for s in SIDES if s in name.lower().replace("_", " ").split()]
    key = f"term.{concept.meaning.lower().replace(' ', '_').replace('-', '_')}"
    if not known(key) and lang != "en":
        return t("finding.own_name", lang, name=name)
    word = t(key, lang) if known(key) else concept.meaning.lower()
    beside = [w for w in words if w not in concept.meaning.lower().split()]
    return t("finding.joined", lang, first=t(f"finding.{beside[0]}", lang), second=word) if beside else word


def _segmented(mask: Image, seen: Seen, labels: Mapping[int, str], lang: str) -> str:
    """Say what was drawn, each with its size and place, the largest first."""
    counts = {v: sum(int(np.count_nonzero(p == v)) for p in mask.array[0]) for v in values_in(mask.array) & set(labels)}
    found = sorted(counts, key=lambda v: (-counts[v], v))
    if not found:
        names = [term(name, lang) for _, name in sorted(labels.items())]
        return t("finding.nothing_drawn", lang, names=_list(names, lang))
    told = []
    for value in found[:LISTED]:
        facts = [_size(counts[value], seen, lang), *_place(_middle(mask.array[0] == value), seen, lang)]
        told.append(
            t(
                "finding.with_facts",
                lang,
                name=term(labels[value], lang),
                facts=t("finding.facts_comma", lang).join(facts),
            )
        )
    return t("finding.drawn", lang, names=_list(told, lang, len(found)))


def _middle(region: np.ndarray) -> np.ndarray:
    """Return (k, j, i) of the middle of a region that is not empty: the mean of its voxels."""
    lines = [region.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    return np.array([float(line @ np.arange(line.size)) / float(line.sum()) for line in lines])


def _boxed(prediction: Prediction, seen: Seen, lang: str) -> str:
    """Say how many of each were found, and where the surest is."""
    boxes = [b for b in prediction.boxes or () if b.told]
    if not boxes:
        return t("finding.nothing_found", lang)
    by_label: dict[str, list[int]] = {}
    for n, box in enumerate(boxes):
        by_label.setdefault(box.label, []).append(n)
    told = []
    for label, own in by_label.items():
        surest = max((boxes[n] for n in own), key=lambda b: b.score)
        # The centre of pixel 0 is half a pixel inside its edge.
        middle = (np.array(surest.low) + surest.high) / 2 - 0.5
        place = _place(middle, seen, lang)
        sure = t("finding.score", lang, score=f"{surest.score:.0%}")
        facts = t("finding.facts_comma", lang).join([sure, *place])
        told.append(t("finding.counted", lang, n=len(own), name=term(label, lang), facts=facts))
    return t("finding.found", lang, names=_list(told[:LISTED], lang, len(told)))


def _size(n: int, seen: Seen, lang: str) -> str:
    """Return a volume in millilitres, on a flat image an area in square millimetres, else a number of pixels."""
    flat = seen.grid.size[0] == 1
    if not seen.sized or seen.grid.k_axis == "time":
        return t("finding.pixels", lang, n=n)
    if flat:
        _, j, i = seen.grid.spacing
        return t("finding.area", lang, area=f"{n * j * i:.4g}")
    ml = n * abs(float(np.linalg.det(seen.grid.affine[:3, :3]))) / 1000
    return t("finding.volume", lang, ml=f"{ml:.3g}" if ml < 100 else f"{ml:.0f}")


def _place(middle: np.ndarray, seen: Seen, lang: str) -> list[str]:
    """Return where a place, (k, j, i), lies from the middle of the image; nothing where that says nothing."""
    size = np.array(seen.grid.size)
    if not seen.placed:
        if size[0] > 1:
            return []
        # As the picture is shown: rows go down, columns to the right.
        off = (middle[1:] - (size[1:] - 1) / 2) / np.maximum(size[1:] / 2, 1)
        words = [("bottom", "top")[int(off[0] < 0)]] if abs(off[0]) > MIDDLE else []
        words += [("picture_right", "picture_left")[int(off[1] < 0)]] if abs(off[1]) > MIDDLE else []
        if not words:
            return [t("finding.in_picture_middle", lang)]
        return [t("finding.in_picture", lang, where=_joined(words, lang))]
    turn = seen.grid.affine[:3, :3]
    away = turn @ (middle - (size - 1) / 2)
    reach = np.abs(turn) @ (size / 2)
    words = []
    for axis, (positive, negative) in enumerate(WAYS):
        if reach[axis] >= THIN * reach.max() and abs(away[axis]) > MIDDLE * reach[axis]:
            words.append(positive if away[axis] > 0 else negative)
    if not words:
        return [t("finding.in_middle", lang)]
    return [t("finding.in_part", lang, where=_joined(words, lang))]


def _joined(words: list[str], lang: str) -> str:
    said = t(f"finding.{words[0]}", lang)
    for word in words[1:]:
        said = t("finding.joined", lang, first=said, second=t(f"finding.{word}", lang))
    return said


def _list(names: list[str], lang: str, n: int = 0) -> str:
    """Return names one after the other, and how many of ``n`` are not named."""
    whole = t("finding.comma", lang).join(names[:LISTED])
    n = max(n, len(names))
    return whole + (t("report.more", lang, n=n - LISTED) if n > LISTED else "")

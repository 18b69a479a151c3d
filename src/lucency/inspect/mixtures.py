"""Images of one modality whose numbers do not mean the same (polarity, unit, bits), and what training makes of it."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from lucency.inspect.inspection import ImageFacts

#: Units whose numbers mean something by themselves, whatever type holds them.
CALIBRATED = ("HU", "SUV")
#: Images of few bits are on another scale where the others' typical maximum is this many times theirs.
SCALE = 4.0


def mixtures(images: Sequence[ImageFacts]) -> list[str]:
    """Return what is mixed, modality by modality, with examples and what a network makes of it.

    Args:
        images: Of the cases in use.

    Source:
        DICOM PS3.3, C.7.6.3.1.2 Photometric Interpretation: MONOCHROME1 shows its smallest number brightest.
    """
    groups: dict[str, list[ImageFacts]] = defaultdict(list)
    for image in images:
        groups[image.modality].append(image)
    return [s for _, group in sorted(groups.items()) for s in (*_polarity(group), *_units(group), *_bits(group))]


def _polarity(group: Sequence[ImageFacts]) -> list[str]:
    turned = [i.case for i in group if i.inverted]
    upright = [i.case for i in group if not i.inverted]
    if not turned or not upright:
        return []
    return [
        f"{len(turned)} of {len(group)} images are stored inverted (MONOCHROME1, such as {min(turned)}), the others "
        f"are not (such as {min(upright)}): the same tissue is bright in some and dark in others, and a network may "
        "learn which scanner it was. Export all in one polarity, or leave one kind out."
    ]


def _units(group: Sequence[ImageFacts]) -> list[str]:
    counts = Counter(i.unit for i in group)
    if len(counts) < 2:
        return []
    example = {i.unit: i.case for i in sorted(group, key=lambda i: i.case, reverse=True)}
    named = {u: "numbers without a unit" if u in ("", "1") else u for u in counts}
    words = ", ".join(f"{named[u]} ({n}, such as {example[u]})" for u, n in counts.most_common())
    return [
        f"The images are in different units: {words}. Training puts all on one scale, where the same number means "
        "different things; export them alike, or train one model for each."
    ]


def _bits(group: Sequence[ImageFacts]) -> list[str]:
    raw = [i for i in group if i.unit not in CALIBRATED]
    few = [i for i in raw if i.dtype in ("uint8", "int8")]
    many = [i for i in raw if i not in few]
    if not few or not many:
        return []
    # A picture of 8 bits in a file of 16 is on the same scale all the same.
    typical = sorted(i.maximum for i in many)[len(many) // 2]
    if typical < SCALE * max(i.maximum for i in few):
        return []
    return [
        f"{len(few)} of {len(group)} images have 8 bits (such as {few[0].case}), the others more (such as "
        f"{many[0].case}), with numbers up to {typical:g}: they are on different scales unless each image is "
        "normalised by itself. Export them alike."
    ]

"""Layout: one folder for each class."""

import re
from collections import Counter

from lucency.read import files
from lucency.read.layout import Candidate, Draft, Item, ReadOptions, Tree, Unit
from lucency.read.pairs import IMAGE_WORDS, MASK_WORDS, images_among

NAME = "classes"

#: Words before a number that name classes all the same: grade1, grade2.
CLASS_WORDS = frozenset(
    ["class", "grade", "stage", "type", "label", "level", "cat", "category", "birads", "score", "类", "级", "期"]
)

#: Folders of a general kind, which say nothing of what they hold.
GENERAL = (
    IMAGE_WORDS
    | MASK_WORDS
    | frozenset(["data", "dicom", "png", "jpg", "jpeg", "nifti", "raw", "all", "imagestr", "imagests"])
)

#: Folders, without spaces and signs, whose images have no label.
UNLABELLED = frozenset(
    ["unlabelled", "unlabeled", "unannotated", "nolabel", "nolabels", "withoutlabel", "未标注", "无标签", "未标记"]
)

#: More classes than this, or fewer images for each than 2, are patients' folders.
MAX_CLASSES = 60


def recognise(tree: Tree, options: ReadOptions) -> Candidate | None:
    """Return the claim: every image lies in one of a few folders at one level, whose names are no numbering."""
    images = images_among(tree.units)
    found = [u for u in images if u.folders]
    units = [u for u in found if not _unlabelled(u)]
    if len(units) < 2 or len(found) < 0.9 * len(images) or len({len(u.folders) for u in units}) > 2:
        return None
    level = _level(units)
    if level is None or _by_format(units, level):
        return None
    classes = Counter(_class_of(u, level) for u in units)
    items = tuple(Item({"image": u}, _class_of(u, level), part=_part(u, level)) for u in units)
    items += tuple(Item({"image": u}, None, part=_part(u, len(u.folders))) for u in found if _unlabelled(u))
    parts = sorted({i.part for i in items} - {""})
    shown = ", ".join(f"{n} ({c})" for n, c in sorted(classes.items())[:8])
    evidence = [f"{len(units)} images lie in {len(classes)} folders: {shown}."]
    if len(units) < len(found):
        evidence.append(f"{len(found) - len(units)} images lie in a folder for images without a label.")
    if parts:
        evidence.append(f"The folders above name the parts {', '.join(parts)}.")
    return Candidate(NAME, 0.6, tuple(evidence), Draft(items, "folder"))


def _level(units: list[Unit]) -> int | None:
    """Return the first level of folders with names that could be classes."""
    for level in range(min(len(u.folders) for u in units)):
        names = {u.folders[level] for u in units}
        if len(names) == 1 or all(files.part_of(n) for n in names):
            continue
        count = Counter(u.folders[level] for u in units)
        general = any(n.lower() in GENERAL for n in names)
        enough = len(names) <= MAX_CLASSES and len(units) >= 2 * len(names) and min(count.values()) >= 1
        if not general and enough and not _numbered(names):
            return level
        return None
    return None


def _by_format(units: list[Unit], level: int) -> bool:
    """Tell whether the folders separate DICOM from other files: previews beside series, and not classes."""
    formats: dict[str, set[bool]] = {}
    for unit in units:
        formats.setdefault(unit.folders[level], set()).add(bool(unit.uid))
    return {True, False} == set().union(*formats.values()) and all(len(f) == 1 for f in formats.values())


def _numbered(names: set[str]) -> bool:
    """Tell whether the names count something: the same word, or none, with different numbers."""
    words = {re.sub(r"[\d_\-. ]+", "", n).lower() for n in names}
    if len(words) > 1 or words <= CLASS_WORDS:
        return False
    if words == {""} and all(n.isdigit() for n in names):
        numbers = sorted(int(n) for n in names)
        # 0, 1, 2 … or 1, 2, 3 … up to ten are classes by number; anything else counts patients.
        return not (len(numbers) <= 10 and numbers in (list(range(len(numbers))), list(range(1, len(numbers) + 1))))
    return True


def _unlabelled(unit: Unit) -> bool:
    """Tell whether a folder above an image says that it has no label."""
    return any(re.sub(r"[\W_]+", "", f.lower()) in UNLABELLED for f in unit.folders)


def _class_of(unit: Unit, level: int) -> str:
    return unit.folders[level]


def _part(unit: Unit, level: int) -> str:
    return next((p for f in unit.folders[:level] if (p := files.part_of(f))), "")

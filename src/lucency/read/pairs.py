"""Layout: images and masks, in folders side by side or told apart by a word in the name."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from lucency.case import Source
from lucency.errors import LucencyError, UsageError
from lucency.read import files, masks
from lucency.read.layout import Candidate, Draft, Item, ReadOptions, Tree, Unit
from lucency.read.msd import described_labels, mask_source

NAME = "pairs"

#: Share of the masks that must find their image (architecture, section 7).
MIN_MATCH = 0.9

#: Fewer images than this share with a mask: the masks are a by-product, not the target.
MIN_MASKED = 0.25

#: So many masks say, where no other layout has a label to offer, that the other images are waiting for theirs.
FEW_MASKED = 5

#: Words that mark a mask in a file name.
MASK_WORDS = frozenset(
    [
        "mask",
        "masks",
        "seg",
        "segs",
        "segmentation",
        "label",
        "labels",
        "gt",
        "groundtruth",
        "annotation",
        "annotations",
        "manual",
        "roi",
        "lesion",
        "掩膜",
        "掩码",
        "标注",
        "分割",
    ]
)
#: Words that mark an image in a file name, where the mask's has a word of its own.
IMAGE_WORDS = frozenset(
    ["image", "images", "img", "scan", "ct", "mr", "mri", "volume", "orig", "original", "图像", "原图"]
)

#: More names than this at one level of the tree are cases, not kinds of files.
MAX_KINDS = 40


@dataclass(frozen=True)
class Pairing:
    """Images and their masks, one way of reading the tree.

    Args:
        name: What tells the masks apart: their folder or the word in their name.
        masks: Image to its masks with the structure each shows (``""`` when there is one kind only).
        images: Every image, also those without a mask.
        lonely: Masks that found no image.
        kinds: The two names, for the evidence.
    """

    name: str
    masks: dict[Unit, tuple[tuple[str, Unit], ...]]
    images: tuple[Unit, ...]
    lonely: tuple[Unit, ...]
    kinds: tuple[str, str]

    @property
    def good(self) -> bool:
        """Whether enough masks found an image and enough images a mask."""
        return self.matched and len(self.masks) >= MIN_MASKED * len(self.images)

    @property
    def matched(self) -> bool:
        """Whether enough masks found an image."""
        n_masks = sum(len(m) for m in self.masks.values())
        return bool(self.masks) and n_masks >= MIN_MATCH * (n_masks + len(self.lonely))


def recognise(tree: Tree, options: ReadOptions) -> Candidate | None:
    """Return the claim: at least 90 % of one side match the other by name, and that side has few distinct values."""
    found = pairings(tree.units) or pairings(tree.units, few=True)
    found.sort(key=lambda p: -len(p.masks))
    named = [p for p in found if options.target and p.name == options.target.strip()]
    found = named or [p for p in found if len(p.masks) >= MIN_MATCH * len(found[0].masks)]
    found = [p for p in found if masks.look_like_masks([m.source for ms in p.masks.values() for _, m in ms])]
    if len(found) > 1 and len({p.name for p in found}) > 1:
        # Masks that are the same for every image mark the field of view.
        found = [p for p in found if not masks.all_alike([ms[0][1].source for ms in p.masks.values()])] or found
    found = [p for n, p in enumerate(found) if p.name not in {q.name for q in found[:n]}]
    if not found:
        return None
    refusals: list[LucencyError] = []
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        refusals.append(
            UsageError(
                f"{len(found)} kinds of masks fit the images: {names}",
                expected="one",
                remedy=f"choose one, for example --target {found[0].name}",
            )
        )
    return _candidate(tree, found[0], refusals)


def pairings(units: Sequence[Unit], *, few: bool = False) -> list[Pairing]:
    """Return every good way to match images with masks by name; an npz file has another way to hold a mask.

    A DICOM series goes by the name of the folder that it fills, or by its file's name; it is never a mask.

    Args:
        units: Images and masks.
        few: Most images may lack a mask.
    """
    files_ = [u for u in units if u.source.reader != "npz"]
    stacks = any(len(u.source.paths) > 1 for u in files_)
    views = [] if stacks else [{u: u for u in files_}]
    if any(u.uid for u in files_):
        views.append(by_own_folder(files_))
    found = [_seen_as(view, p) for view in views for p in (*by_folder(list(view)), *by_word(list(view)))]
    kept = [p for p in found if p.good or (few and p.matched and len(p.masks) >= FEW_MASKED)]
    return [p for p in kept if not any(m.uid for ms in p.masks.values() for _, m in ms)]


def by_own_folder(units: Sequence[Unit]) -> dict[Unit, Unit]:
    """Return each image as it is named to the one it is: a DICOM series goes by the highest folder it has to itself."""
    lodgers = Counter(str(f) for u in units for f in _folders_of(u))
    named: dict[Unit, Unit] = {}
    for unit in units:
        own = [f for f in _folders_of(unit) if lodgers[str(f)] == 1] if unit.uid else []
        if own:
            named[replace(unit, path=str(min(own, key=lambda f: len(f.parts))))] = unit
        elif len(unit.source.paths) == 1:
            named[unit] = unit
    return named


def _folders_of(unit: Unit) -> list[PurePosixPath]:
    """Return every folder that holds the whole image, the data folder left out."""
    # A series of a thousand slices lies in one folder or a few.
    own = [PurePosixPath(f) for f in {p.rpartition("/")[0] for p in unit.source.paths}]
    shared = set.intersection(*({f, *f.parents} for f in own))
    return [f for f in shared if f.parts]


def _seen_as(view: Mapping[Unit, Unit], pairing: Pairing) -> Pairing:
    """Return the pairing in terms of the images themselves."""
    joined = {view[u]: tuple((word, view[m]) for word, m in ms) for u, ms in pairing.masks.items()}
    images, lonely = tuple(view[u] for u in pairing.images), tuple(view[u] for u in pairing.lonely)
    return replace(pairing, masks=joined, images=images, lonely=lonely)


def _candidate(tree: Tree, pairing: Pairing, refusals: list[LucencyError]) -> Candidate:
    several = any(len(m) > 1 for m in pairing.masks.values())
    notes: list[str] = []
    labels, ignore, told = described_labels(tree)
    notes += told
    targets: dict[Unit, Source]
    if several:
        targets, labels, notes = masks.structures(tree, pairing.masks)
        ignore = None
    else:
        targets = {u: mask_source(tree, m[0][1].path) for u, m in pairing.masks.items()}
    if pairing.lonely:
        notes.append(f"{len(pairing.lonely)} masks without an image left out, first {pairing.lonely[0].path}.")
    items = tuple(Item({"image": u}, targets.get(u), part=part_in_folders(u)) for u in pairing.images)
    n_masks = sum(len(m) for m in pairing.masks.values())
    evidence = (
        f"{len(pairing.masks)} of {len(pairing.images)} images ({pairing.kinds[0]}) find a mask by name "
        f"({pairing.kinds[1]}); {n_masks} of {n_masks + len(pairing.lonely)} masks find an image.",
        "The masks have few distinct values.",
    )
    draft = Draft(items, pairing.name, labels, ignore, notes=tuple(notes), refusals=tuple(refusals))
    return Candidate(NAME, 0.85 if pairing.good else 0.41, evidence, draft)


def part_in_folders(unit: Unit) -> str:
    """Return the part that a folder above the image names, or ``""``."""
    return next((p for f in unit.folders if (p := files.part_of(f))), "")


def by_folder(units: Sequence[Unit]) -> list[Pairing]:
    """Return every way in which the folders of one level hold the same cases under another name."""
    found: list[Pairing] = []
    depth = max((len(u.folders) for u in units), default=0)
    for level in range(depth):
        # What must agree is the rest of the folders; only the name at this level differs.
        kinds: dict[str, dict[tuple[str, ...], list[Unit]]] = {}
        for unit in units:
            if len(unit.folders) > level:
                rest = (*unit.folders[:level], *unit.folders[level + 1 :])
                kinds.setdefault(unit.folders[level], {}).setdefault(rest, []).append(unit)
        # Images may also lie one level above the folder of their masks: training/x.tif, training/manual/x.gif.
        above: dict[tuple[str, ...], list[Unit]] = {}
        for unit in units:
            if len(unit.folders) == level:
                above.setdefault(unit.folders, []).append(unit)
        if above:
            kinds[""] = above
        if 2 <= len(kinds) <= MAX_KINDS:
            found += [
                _paired(kinds[a], kinds[b], (a or ".", b))
                for a in kinds
                for b in kinds
                if a != b and b and _apart(a, b)
            ]
    return found


def _apart(a: str, b: str) -> bool:
    """Two parts of a data set are no pair, whatever their file names."""
    return not (files.part_of(a) and files.part_of(b))


def _paired(
    images: dict[tuple[str, ...], list[Unit]], masks_: dict[tuple[str, ...], list[Unit]], kinds: tuple[str, str]
) -> Pairing:
    """Match the two sides folder by folder."""
    joined: dict[Unit, tuple[tuple[str, Unit], ...]] = {}
    lonely: list[Unit] = []
    every: list[Unit] = []
    for rest in sorted(set(images) | set(masks_)):
        left, right = images.get(rest, []), masks_.get(rest, [])
        every += left
        found = match_names([u.stem for u in left], [u.stem for u in right])
        for number, unit in enumerate(left):
            if found.get(number):
                joined[unit] = tuple((word, right[m]) for word, m in found[number])
        used = {m for pairs in found.values() for _, m in pairs}
        lonely += [u for m, u in enumerate(right) if m not in used]
    return Pairing(kinds[1], joined, tuple(every), tuple(lonely), kinds)


def match_names(images: Sequence[str], masks_: Sequence[str]) -> dict[int, list[tuple[str, int]]]:
    """Match stems: equal; equal without what all of one side share; or ``image__structure``.

    Args:
        images: Stems of one folder.
        masks_: Stems of the other.

    Returns:
        Position in ``images`` to (structure, position in ``masks_``); structure is ``""`` for one mask each.
    """
    best: dict[int, list[tuple[str, int]]] = {}
    for left, right in (
        (list(images), list(masks_)),
        ([_without_words(s, IMAGE_WORDS) for s in images], [_without_words(s, MASK_WORDS) for s in masks_]),
        (_without_shared(images), _without_shared(masks_)),
    ):
        place = {s: n for n, s in enumerate(left)}
        if len(place) < len(left) or len(set(right)) < len(right):
            continue
        found = {place[s]: [("", m)] for m, s in enumerate(right) if s in place}
        if len(found) > len(best):
            best = found
    structures = _structures(images, masks_)
    n_best, n_structures = len(best), sum(len(v) for v in structures.values())
    return structures if n_structures > n_best else best


def _structures(images: Sequence[str], masks_: Sequence[str]) -> dict[int, list[tuple[str, int]]]:
    """Match masks whose name begins with an image's name, the longest such image first."""
    place = {s: n for n, s in enumerate(images)}
    found: dict[int, list[tuple[str, int]]] = {}
    for m, stem in enumerate(masks_):
        for cut in range(len(stem), 0, -1):
            if stem[:cut] in place and (cut == len(stem) or not stem[cut].isalnum()):
                found.setdefault(place[stem[:cut]], []).append((stem[cut:].strip("_-. "), m))
                break
    return found


def _without_words(stem: str, words: Iterable[str]) -> str:
    """Return the stem without words of a list at either end: ``brain1_image`` gives ``brain1``."""
    parts = files.tokens(stem)
    while len(parts) > 1 and parts[-1].lower().rstrip("0123456789") in words:
        parts.pop()
    while len(parts) > 1 and parts[0].lower() in words:
        parts.pop(0)
    return " ".join(parts)


def _without_shared(stems: Sequence[str]) -> list[str]:
    """Return the stems without the words that all of them begin or end with: ``21_training`` gives ``21``."""
    words = [files.tokens(s) for s in stems]
    if len(words) < 2:
        return list(stems)
    while all(len(w) > 1 for w in words) and len({w[-1] for w in words}) == 1:
        words = [w[:-1] for w in words]
    while all(len(w) > 1 for w in words) and len({w[0] for w in words}) == 1:
        words = [w[1:] for w in words]
    return [" ".join(w) for w in words]


def by_word(units: Sequence[Unit]) -> list[Pairing]:
    """Return the pairing of images with masks in the same folder, told apart by a word: ``x.png``, ``x_mask.png``."""
    folders: dict[str, tuple[list[Unit], list[Unit]]] = {}
    for unit in units:
        pair = folders.setdefault(str(PurePosixPath(unit.path).parent), ([], []))
        pair[_is_mask_name(unit.stem) or _is_mask_word(unit)].append(unit)
    joined: dict[Unit, tuple[tuple[str, Unit], ...]] = {}
    lonely: list[Unit] = []
    for left, right in folders.values():
        place = {_without_words(u.stem, IMAGE_WORDS): u for u in left}
        mine: dict[Unit, list[tuple[str, Unit]]] = {}
        if len(left) == len(right) == 1:
            # case-7/ct.nii.gz, case-7/mask.nii.gz: the folder is the case.
            place[_image_name(right[0].stem)] = left[0]
        for mask in right:
            image = place.get(_image_name(mask.stem)) or place.get(_without_words(mask.stem, MASK_WORDS))
            if image is None:
                lonely.append(mask)
            else:
                mine.setdefault(image, []).append(("mask", mask))
        joined |= {u: tuple(m) for u, m in mine.items()}
    # A folder without masks holds images of the set only if they are of the same kind of file.
    kinds = {u.source.reader for u in joined}
    images = tuple(u for left, right in folders.values() for u in left if right or u.source.reader in kinds)
    return (
        [Pairing("mask", joined, images, tuple(lonely), ("same folder", "told apart by a word such as mask"))]
        if joined
        else []
    )


def _is_mask_name(stem: str) -> bool:
    words = [t.lower().rstrip("0123456789") for t in files.tokens(stem)]
    # "x_mask" and "x_mask_1": a number may count several masks of one image.
    tail = [w for w in words[-2:] if w]
    return bool(tail) and len(words) > 1 and tail[-1] in MASK_WORDS


def _is_mask_word(unit: Unit) -> bool:
    """Tell whether a file is called mask and no more, which only a folder for each case makes a name."""
    return bool(unit.folders) and unit.stem.lower() in MASK_WORDS


def _image_name(stem: str) -> str:
    """Return the image's name inside ``x_mask_1``."""
    parts = files.tokens(stem)
    if parts[-1].isdigit() and len(parts) > 2:
        parts = parts[:-1]
    return _without_words(" ".join(parts), MASK_WORDS)


def images_among(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """Return the images of a set that may hold masks beside them; all of it where it holds none."""
    for pairing in sorted(pairings(units), key=lambda p: -len(p.masks)):
        if masks.look_like_masks([m.source for ms in pairing.masks.values() for _, m in ms]):
            images = set(pairing.images)
            return tuple(u for u in units if u in images or u.source.reader == "npz" or u.uid)
    return tuple(units)

"""Layout: MedMNIST, one npz with stacked images and labels for the parts train, val and test, any of them."""

import numpy as np

from lucency.case import PARTS, Source
from lucency.errors import DataError, ReadError
from lucency.read import npz
from lucency.read.layout import Candidate, Draft, Item, ReadOptions, Tree, Unit

NAME = "npz"

#: Class number of an image without a label, where the others are 0 and above (scikit-learn's convention for learning
#: with few labels); NaN says the same.
UNLABELLED = -1


def recognise(tree: Tree, options: ReadOptions) -> Candidate | None:
    """Return the claim: ``train_images`` with ``train_labels`` (val, test likewise), or ``images`` with ``labels``.

    Raises:
        DataError: As many labels as images are not there, or several labels for one image.
        ReadError: The container is damaged.
    """
    if len(tree.containers) != 1:
        return None
    path = tree.containers[0]
    shapes = tree.arrays(path)
    items = items_of(tree, path, labels=True)
    classes, notes = _class_names(tree, path)
    counts = {p: shapes[_name(p, "images")][0][0] for p in PARTS if _name(p, "images") in shapes}
    evidence = ", ".join(f"{n} {_name(p, 'images')}" for p, n in counts.items())
    score = 1.0 if len(tree.units) == 0 and len(tree.paths) <= 2 else 0.62
    draft = Draft(tuple(items), "labels", classes=classes, notes=notes)
    return Candidate(NAME, score, (f"{path} holds {evidence}.",), draft)


def items_of(tree: Tree, path: str, *, labels: bool) -> list[Item]:
    """Return one item for every image of the container.

    Args:
        tree: The tree that holds it.
        path: The npz file.
        labels: Take the labels as targets, where a part has them.
    """
    shapes = tree.arrays(path)
    items: list[Item] = []
    for part in PARTS:
        stack = _name(part, "images")
        if stack not in shapes:
            continue
        count = shapes[stack][0][0]
        words = _labels(tree, path, part, count) if labels else [None] * count
        for index, word in enumerate(words):
            source = Source((path,), str(tree.root), "npz", f"{stack}/{index}")
            name = f"{part or 'images'}-{index}"
            items.append(Item({"image": Unit(path, source, frozenset({name}))}, word, part=part, id=name))
    return items


def _name(part: str, what: str) -> str:
    return f"{part}_{what}" if part else what


def _labels(tree: Tree, path: str, part: str, count: int) -> list[str | None]:
    name = _name(part, "labels")
    if name not in tree.arrays(path):
        return [None] * count
    labels = npz.array_of(tree.root / path, name)
    if len(labels) != count:
        raise DataError(f"{len(labels)} labels for {count} images", where=f"{path}[{name}]", remedy="export it again")
    flat = labels.reshape(count, -1)
    if flat.shape[1] != 1:
        raise DataError(
            f"{flat.shape[1]} labels for each image",
            expected="one",
            where=f"{path}[{name}]",
            remedy="choose one of them and store it as the only column",
        )
    names, _ = _class_names(tree, path)
    values = [v.item() if isinstance(v, np.generic) else v for v in flat[:, 0]]
    counted = all(isinstance(v, int) and v >= UNLABELLED for v in values)
    # Where no part has anything but 1 beside it, it is the other of two classes.
    if counted and UNLABELLED in values and _every_label(tree, path) != {UNLABELLED, 1}:
        values = [None if v == UNLABELLED else v for v in values]
    if names and all(v is None or (isinstance(v, int) and 0 <= v < len(names)) for v in values):
        return [None if v is None else names[v] for v in values]
    return [None if v is None else str(v) for v in values]


def _every_label(tree: Tree, path: str) -> set[object]:
    """Return the labels of all parts."""
    names = [n for n in tree.arrays(path) if n == "labels" or n.endswith("_labels")]
    return {v for n in names for v in npz.array_of(tree.root / path, n).ravel().tolist()}


def _class_names(tree: Tree, path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if "class_names" not in tree.arrays(path):
        return (), ()
    try:
        names = tuple(str(n).strip() for n in npz.array_of(tree.root / path, "class_names").ravel())
    except ReadError:
        return (), ("class_names of the container is empty.",)
    return (names, ()) if len(set(names)) == len(names) else ((), ("class_names repeats a name and is not used.",))

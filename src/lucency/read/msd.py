"""Layout: Medical Segmentation Decathlon, a dataset.json that lists images and labels."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from lucency.case import Source
from lucency.errors import DataError, UsageError
from lucency.read import files
from lucency.read.layout import Candidate, Draft, Item, ReadOptions, Tree, Unit, names_of
from lucency.read.table import plain

NAME = "msd"

#: Headers of a column that names labels. "label" and "class" are not among them: they head the targets of cases.
NAME_COLUMNS = frozenset(["name", "structure", "organ", "labelname", "structurename", "名称", "结构", "器官"])


def recognise(tree: Tree, options: ReadOptions) -> Candidate | None:
    """Return the claim: a dataset.json whose "training" lists files that are there.

    Raises:
        UsageError: dataset.json is not JSON.
    """
    described = description(tree)
    listed = described.get("training") if described else None
    if not isinstance(listed, list) or not listed or not all(isinstance(e, dict) for e in listed):
        return None
    present = set(tree.paths)
    wanted = [_place(str(e.get("image", ""))) for e in listed]
    if not any(w in present for w in wanted):
        # nnU-Net v1 lists names without the channel number; its own layout reads that.
        return None
    labels = [_place(str(e["label"])) if e.get("label") else "" for e in listed]
    lost = [p for p in (*wanted, *labels) if p and p not in present]
    refusals = (absent(lost, "dataset.json"),) if lost else ()
    channels = len(described.get("modality", described.get("channel_names", {})) or {})
    items = [
        Item({"image": _unit(tree, image, channels)}, _mask(tree, label) if label else None)
        for image, label in zip(wanted, labels, strict=True)
    ]
    unlabelled = [_place(str(e["image"] if isinstance(e, dict) else e)) for e in described.get("test", []) or []]
    items += [Item({"image": _unit(tree, p, channels)}) for p in unlabelled if p in present]
    names, ignore, notes = label_names(described.get("labels", {}))
    draft = Draft(tuple(items), "labels of dataset.json", names, ignore, notes=notes, refusals=refusals)
    evidence = f"dataset.json lists {len(listed)} images with labels."
    return Candidate(NAME, 1.0, (evidence,), draft)


def description(tree: Tree) -> dict[str, Any]:
    """Return what dataset.json at the top of the tree says, or nothing.

    Raises:
        UsageError: It is not a JSON object.
    """
    if "dataset.json" not in tree.paths:
        return {}
    try:
        found = json.loads((tree.root / "dataset.json").read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(
            "Not readable as a JSON object", where="dataset.json", remedy="mend the file or take it out of the folder"
        )
    return found


def label_names(described: Mapping[str, Any] | list[Any]) -> tuple[dict[int, str], int | None, tuple[str, ...]]:
    """Return mask value to name, the ignore value, and notes, from either way round of writing them.

    MSD and nnU-Net v1 write ``{"1": "tumour"}``, nnU-Net v2 ``{"tumour": 1}``, with lists for regions and the name
    ``ignore`` for "not annotated".
    """
    names: dict[int, str] = {}
    ignore: int | None = None
    regions: list[str] = []
    for key, value in described.items() if isinstance(described, Mapping) else ():
        if isinstance(value, list):
            regions.append(str(key))
            for single in value:
                names.setdefault(int(single), str(single))
            continue
        number, name = (int(key), str(value)) if str(key).lstrip("-").isdigit() else (int(value), str(key))
        if name.lower() == "ignore":
            ignore = number
        elif number != 0:
            names[number] = name
    names.pop(0, None)
    notes = (f"The regions {', '.join(regions)} of dataset.json are read as their single labels.",) if regions else ()
    return names, ignore, notes


def described_labels(tree: Tree) -> tuple[dict[int, str], int | None, tuple[str, ...]]:
    """Return label names from a small JSON or table at the top of the tree, as :func:`label_names` does; or nothing.

    Read are ``{"1": "tumour"}`` and ``{"tumour": 1}``, also under the key ``labels``, and tables of two columns, a
    whole number and a word headed ``name``, ``structure`` …
    """
    for path in tree.paths:
        if "/" not in path and path.lower().endswith(".json"):
            found = _json_labels(tree, path)
            if found[0]:
                return found
    for table in tree.tables:
        words = [c for c in table.columns if plain(c) in NAME_COLUMNS]
        if "/" in table.path or len(table.columns) != 2 or len(words) != 1:
            continue
        (numbers,) = (table.column(c) for c in table.columns if c != words[0])
        if all(n.isdigit() for n in numbers) and len(set(numbers)) == len(numbers):
            return label_names(dict(zip(numbers, table.column(words[0]), strict=True)))
    return {}, None, ()


def _json_labels(tree: Tree, path: str) -> tuple[dict[int, str], int | None, tuple[str, ...]]:
    try:
        described = json.loads((tree.root / path).read_text(encoding="utf-8-sig"))
        return label_names(described.get("labels", described))
    except (ValueError, TypeError, AttributeError, OSError):
        # Some other JSON: settings, a listing, half a file.
        return {}, None, ()


def absent(lost: list[str], where: str) -> DataError:
    """Return the refusal of a list that names files which are not there: the first five and the count."""
    more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
    return DataError(
        f"{len(lost)} files that it names are absent: {', '.join(lost[:5])}{more}",
        expected="every file that it names",
        where=where,
        remedy="restore the files or take their lines out",
    )


def mask_source(tree: Tree, path: str) -> Source:
    """Return the Source of a mask file."""
    return Source((path,), str(tree.root), files.SUFFIXES[files.suffix_of(path)], kind="labels")


def _mask(tree: Tree, path: str) -> Source:
    return mask_source(tree, path)


def _unit(tree: Tree, path: str, channels: int) -> Unit:
    source = Source((path,), str(tree.root), files.SUFFIXES[files.suffix_of(path)])
    if channels > 1:
        source = replace(source, header={"axes": "channels"})
    return Unit(path, source, names_of(path))


def _place(path: str) -> str:
    return PurePosixPath(path.replace("\\", "/")).as_posix()

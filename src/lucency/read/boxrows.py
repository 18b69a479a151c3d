"""Box labels in rows: YOLO text files and tables with columns such as xmin … ymax."""

import math
import re
from collections.abc import Sequence

from lucency.read.drawn import Drawn, Labels
from lucency.read.edges import edge_columns, is_class_word
from lucency.read.files import part_of
from lucency.read.layout import Tree
from lucency.read.matching import Index
from lucency.read.table import Table, is_missing, number

#: Files that list YOLO's class names.
NAME_FILES = ("classes.txt", "obj.names", "labels.txt")

#: A table of boxes names at least this share of its images by files that are there.
MIN_FOUND = 0.5

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|nan", re.IGNORECASE)


# --- YOLO -----------------------------------------------------------------------------------------------------------


def yolo(tree: Tree) -> Labels | None:
    """Read one text file an image: class, middle and sides as shares; or class and the corners of a polygon."""
    stems = {u.stem for u in tree.units}
    images: dict[str, tuple[Drawn, ...]] = {}
    paths: list[str] = []
    names = _yolo_names(tree)
    for path in tree.paths:
        stem = path.rpartition("/")[2].removesuffix(".txt")
        if not path.endswith(".txt") or stem not in stems:
            continue
        rows = _yolo_rows(tree, path)
        if rows is None:
            continue
        paths.append(path)
        images[stem] = tuple(
            Drawn(names.get(int(row[0]), str(int(row[0]))), _yolo_edges(row[1:]), f"{path}, line {n}", shares=True)
            for n, row in rows
        )
    if not any(images.values()):
        return None
    parts = {s: p for path, s in zip(paths, images, strict=True) if (p := _part_above(path))}
    unnamed = {b.label for boxes in images.values() for b in boxes} - set(names.values())
    notes = (
        (f"No file names {len(unnamed)} of the classes (classes.txt or data.yaml): they go by their numbers.",)
        if unnamed
        else ()
    )
    return Labels("YOLO", tuple(paths), images, tuple(names.values()), parts, notes)


def _part_above(path: str) -> str:
    return next((p for f in path.split("/")[:-1] if (p := part_of(f))), "")


def _yolo_rows(tree: Tree, path: str) -> list[tuple[int, list[float]]] | None:
    """Return line number and numbers of each line; None where the file is no such label file."""
    text = _text(tree, path)
    rows = []
    for n, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) < 5 or not words[0].isdecimal() or not all(NUMBER.fullmatch(w) for w in words[1:]):
            return None
        rows.append((n, [float(w) for w in words]))
    return rows


def _yolo_edges(values: Sequence[float]) -> tuple[float, ...]:
    if len(values) > 5:
        return min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])
    x, y, width, height = values[:4]
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _yolo_names(tree: Tree) -> dict[int, str]:
    """Return class numbers to names from ``classes.txt``, ``obj.names`` or the ``names`` of a ``data.yaml``."""
    for path in tree.paths:
        low = path.rpartition("/")[2].lower()
        if low in NAME_FILES:
            return dict(enumerate(w.strip() for w in _text(tree, path).splitlines() if w.strip()))
        if low.endswith((".yaml", ".yml")):
            found = _yaml_names(_text(tree, path))
            if found:
                return found
    return {}


def _yaml_names(text: str) -> dict[int, str]:
    """Return the entry ``names`` of a YAML file, in the three ways in which YOLO's tools write it."""
    listed = re.search(r"^names:\s*\[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    if listed:
        return dict(enumerate(w.strip().strip("'\"") for w in listed[1].split(",") if w.strip()))
    block = re.search(r"^names:\s*\n((?:[ \t]*(?:-|\d+:).*\n?)+)", text, re.MULTILINE)
    if not block:
        return {}
    found: dict[int, str] = {}
    for n, line in enumerate(block[1].splitlines()):
        key, _, word = line.strip().partition(":" if ":" in line and not line.strip().startswith("-") else "-")
        found[int(key) if key.strip().isdecimal() else n] = word.strip().strip("'\"")
    return found


def _text(tree: Tree, path: str) -> str:
    try:
        return (tree.root / path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# --- tables ---------------------------------------------------------------------------------------------------------


def tables(tree: Tree) -> list[Labels]:
    """Return what each table with box columns says; a row without any number is an image with nothing on it."""
    index = Index(tree.units, tree.salt)
    return [found for t in tree.tables if (found := _table(t, index)) is not None]


def _table(table: Table, index: Index) -> Labels | None:
    columns, sides = edge_columns(table)
    if not columns:
        return None
    named = _image_column(table, index, set(columns))
    label = next((c for c in table.columns if is_class_word(c) and c not in (*columns, named)), "")
    part = table.roles.get("part", "")
    if not named:
        return None
    images: dict[str, list[Drawn]] = {}
    parts: dict[str, str] = {}
    for n, row in enumerate(table.rows, start=2):
        cells = dict(zip(table.columns, row, strict=True))
        name = cells[named]
        if is_missing(name):
            continue
        boxes = images.setdefault(name, [])
        if part and part_of(cells[part]):
            parts[name] = part_of(cells[part])
        if all(is_missing(cells[c]) for c in columns):
            continue
        edges = [_edge(cells[c]) for c in columns]
        if sides:
            edges[2:4] = [edges[0] + edges[2], edges[1] + edges[3]]
        word = cells[label] if label else "box"
        boxes.append(Drawn("" if is_missing(word) else word, tuple(edges), f"{table.path}, line {n}"))
    return Labels("a table", (table.path,), {k: tuple(v) for k, v in images.items()}, parts=parts)


def _edge(text: str) -> float:
    found = number(text)
    return math.nan if found is None else found


def _image_column(table: Table, index: Index, edges: set[str]) -> str:
    """Return the column that names the most images, or nothing."""
    base = table.path.rpartition("/")[0]
    best, most = "", 0.0
    for column in (c for c in table.columns if c and c not in edges):
        values = {v for v in table.column(column) if not is_missing(v)}
        # Numbers of boxes and classes find an image now and then; names find nearly all.
        share = sum(bool(index.find(v, base)) for v in values) / max(1, len(values))
        found = {u for v in values for u in index.find(v, base)}
        if share >= MIN_FOUND and len(found) > most:
            best, most = column, len(found)
    return best

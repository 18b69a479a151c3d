"""Tables: CSV and TSV as people export them, and what their columns mean."""

import csv
import gzip
import io
import re
import statistics
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

#: Column words, English and Chinese, in lower case without spaces, dots, ``_`` and ``-``.
ROLES: dict[str, frozenset[str]] = {
    "image": frozenset(
        [
            "image",
            "images",
            "img",
            "path",
            "file",
            "filename",
            "filepath",
            "imagepath",
            "imagefile",
            "imgpath",
            "imagename",
            "scan",
            "scanpath",
            "volume",
            "图像",
            "图片",
            "影像",
            "文件",
            "文件名",
            "路径",
            "图像路径",
            "文件路径",
            "影像路径",
            "图像文件",
        ]
    ),
    "mask": frozenset(
        [
            "mask",
            "maskpath",
            "maskfile",
            "segmentation",
            "seg",
            "segpath",
            "labelpath",
            "掩膜",
            "掩码",
            "掩模",
            "分割",
            "掩膜路径",
        ]
    ),
    "label": frozenset(
        [
            "label",
            "labels",
            "class",
            "target",
            "diagnosis",
            "category",
            "y",
            "outcome",
            "标签",
            "类别",
            "诊断",
            "分类",
            "结果",
            "诊断结果",
        ]
    ),
    "part": frozenset(["split", "part", "set", "subset", "partition", "fold", "划分", "集合", "数据集", "分组"]),
    "patient": frozenset(
        [
            "patient",
            "patientid",
            "subject",
            "subjectid",
            "patientno",
            "pid",
            "patientname",
            "患者",
            "病人",
            "患者编号",
            "病人编号",
            "患者id",
            "病人id",
            "病历号",
            "受试者",
            "受试者编号",
        ]
    ),
    "site": frozenset(["site", "center", "centre", "hospital", "institution", "中心", "医院", "机构"]),
    "age": frozenset(["age", "patientage", "年龄"]),
    "sex": frozenset(["sex", "gender", "patientsex", "性别"]),
    "scanner": frozenset(["scanner", "device", "manufacturer", "设备", "扫描仪"]),
    "modality": frozenset(["modality", "模态"]),
    "body_part": frozenset(["bodypart", "部位"]),
    "time": frozenset(["time", "survivaltime", "followuptime", "ostime", "days", "时间", "生存时间", "随访时间"]),
    "event": frozenset(["event", "survivalevent", "deadstatus", "vitalstatus", "osevent", "事件", "生存状态", "结局"]),
    "spacing": frozenset(
        [
            "pixelsize",
            "pixelsizemm",
            "pixelspacing",
            "pixelspacingmm",
            "spacing",
            "spacingmm",
            "mmperpixel",
            "像素间距",
            "像素大小",
            "像素尺寸",
        ]
    ),
    # Of the image before it was made smaller; its own size in pixels tells by how much.
    "full_spacing": frozenset(
        [
            *(
                f"{image}{size}{unit}"
                for image in ("orig", "original", "full", "fullsize")
                for size in ("pixelsize", "spacing", "pixelspacing")
                for unit in ("", "mm")
            ),
            "原始像素间距",
        ]
    ),
    "full_width": frozenset(["origwidth", "originalwidth", "fullwidth", "fullsizewidth", "原始宽度"]),
    "full_height": frozenset(["origheight", "originalheight", "fullheight", "fullsizeheight", "原始高度"]),
}

#: Written for "not known".
MISSING = {"", "na", "n/a", "nan", "null", "nd", "n.a.", "缺失", "未知"}


@dataclass(frozen=True, eq=False)
class Table:
    """A table with a header line.

    Args:
        path: Relative to the data folder.
        columns: Header names, without spaces around them.
        rows: One value for each column, spaces trimmed.
        header: Number of the row that was taken for the header, from 1.
    """

    path: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    header: int = 1

    def column(self, name: str) -> list[str]:
        """Return one column's values."""
        at = self.columns.index(name)
        return [r[at] for r in self.rows]

    @cached_property
    def roles(self) -> dict[str, str]:
        """Role to column: the first column with one of the role's words."""
        found: dict[str, str] = {}
        for name in self.columns:
            for role, words in ROLES.items():
                if plain(name) in words:
                    found.setdefault(role, name)
        return found

    def named(self, wanted: str) -> str:
        """Return the column that a user's word means, whatever its case and spaces, or ``""``."""
        return next((c for c in self.columns if c == wanted.strip()), "") or next(
            (c for c in self.columns if plain(c) == plain(wanted)), ""
        )


def plain(name: str) -> str:
    """Return a column name without case, spaces, dots, brackets, ``_`` and ``-``."""
    return re.sub(r"[\s_.\-()\[\]（）/]+", "", name).lower()


def read_table(path: Path, where: str) -> Table | None:
    """Read a table; UTF-8 or UTF-16 by its mark, UTF-8, else GB 18030; comma, semicolon or tab.

    Rows above the header, such as a title, are passed over; a header of two rows, as merged cells leave it, is taken
    by its lower row. :func:`told_of_tables` says which row was taken.

    Returns:
        None when the file is no table with a header: undecodable, empty, or header names that repeat.
    """
    found = _parsed(path)
    if isinstance(found, str):
        return None
    columns, rows, place = found
    return Table(where, columns, rows, place)


def told_of_tables(root: Path, paths: Sequence[str], tables: Sequence[Table]) -> list[str]:
    """Return which row was taken for the header where it is not the first, and why other tables are not read.

    Args:
        root: Data folder.
        paths: Of all tables in it, relative.
        tables: Those that were read.
    """
    said = [
        f"Row {t.header} of the table {t.path} was taken for the header; the rows above it are not used."
        for t in tables
        if t.header > 1
    ]
    read = {t.path for t in tables}
    for path in paths:
        why = "" if path in read else _parsed(root / path)
        if isinstance(why, str) and why:
            said.append(f"The table {path} was not used: {why}.")
    return said


#: Rows in which the separator and the header are looked for.
FIRST = 20


def _parsed(path: Path) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], int] | str:
    """Return (columns, rows, number of the header's row from 1), or why it is no table."""
    text = _text(path)
    if text is None or "\0" in text:
        return "its characters are in no encoding that is known"
    tried = [t for d in "\t;," if (t := _lines(text, d))]
    if not tried:
        return "it has no rows"
    lines = max(tried, key=lambda t: _alike([r for _, r in t[:FIRST]]))
    place = _header(lines)
    if len(lines) < place + 2:
        return f"it has no rows below row {lines[place][0]}, which was taken for the header"
    columns = tuple(c.strip() for c in lines[place][1])
    named = [c for c in columns if c]
    twice = sorted({c for c in named if named.count(c) > 1})
    if twice:
        return f"row {lines[place][0]}, which was taken for the header, has the name {twice[0]!r} twice"
    width = len(columns)
    rows = tuple(tuple(v.strip() for v in [*r, *[""] * width][:width]) for _, r in lines[place + 1 :])
    return columns, rows, lines[place][0]


def _lines(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Return the rows that are not empty, with their numbers from 1; none where they cannot be told apart."""
    try:
        every = enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), start=1)
        return [(n, r) for n, r in every if any(v.strip() for v in r)]
    except csv.Error:
        return []


def _alike(rows: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Return how many rows have the usual number of cells, and that number; a decimal comma is not in the header."""
    width, n = Counter(len(r) for r in rows).most_common(1)[0]
    return (n, width) if width > 1 else (0, 1)


def _filled(row: Sequence[str]) -> list[str]:
    return [v.strip() for v in row if v.strip()]


def _header(lines: Sequence[tuple[int, list[str]]]) -> int:
    """Return which of the rows is the header: the first that is nearly as full as the rows are, or the one below it."""
    first = [r for _, r in lines[:FIRST]]
    typical = statistics.median(len(_filled(r)) for r in first)
    place = next((n for n, r in enumerate(first) if len(_filled(r)) > 1 and 2 * len(_filled(r)) >= typical), 0)
    # Merged cells leave blanks to the right of their text; the names then stand in the row below, all different.
    if place + 2 < len(first):
        upper, lower = first[place], [v.strip() for v in first[place + 1]]
        gaps = [n for n, v in enumerate(upper[: len(lower)]) if not v.strip() and lower[n]]
        words = _filled(lower)
        names = len(set(words)) == len(words) > 1 and all(number(w) is None for w in words)
        fuller = len(words) > len(_filled(upper)) and len(words) >= typical
        if gaps and names and fuller and _unlike(lower, first[place + 2 :]):
            return place + 1
    return place


def _unlike(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether a row differs in kind from the rows below: a column has numbers, or files, where it has none."""
    return any(
        all(n < len(r) and (number(r[n]) is not None or "." in r[n]) for r in rows) and "." not in name
        for n, name in enumerate(names)
        if name
    )


def _text(path: Path) -> str | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if path.name.lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return None
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def is_missing(value: str) -> bool:
    """Tell whether a cell says "not known"."""
    return value.strip().lower() in MISSING


def number(value: str) -> float | None:
    """Return a finite number, or None for anything else."""
    try:
        found = float(value)
    except ValueError:
        return None
    return found if abs(found) < float("inf") else None

"""Tables: CSV and TSV as people export them, and what their columns mean."""

import csv
import io
import re
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
        ["pixelsize", "pixelsizemm", "pixelspacing", "pixelspacingmm", "spacing", "spacingmm", "mmperpixel", "像素间距"]
    ),
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
    """

    path: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

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
    """Read a table; UTF-8 with or without mark, else GB 18030; comma, semicolon or tab.

    Returns:
        None when the file is no table with one header line: undecodable, empty, or header names that repeat.
    """
    text = _text(path)
    if text is None or "\0" in text:
        return None
    first = text.split("\n", 1)[0]
    delimiter = max("\t;,", key=first.count)
    try:
        lines = [r for r in csv.reader(io.StringIO(text), delimiter=delimiter) if any(v.strip() for v in r)]
    except csv.Error:
        return None
    if len(lines) < 2:
        return None
    columns = tuple(c.strip() for c in lines[0])
    if len({c for c in columns if c}) != len([c for c in columns if c]):
        return None
    width = len(columns)
    rows = tuple(tuple(v.strip() for v in [*r, *[""] * width][:width]) for r in lines[1:])
    return Table(where, columns, rows)


def _text(path: Path) -> str | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    for encoding in ("utf-8-sig", "gb18030"):
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

"""Columns of a clinical table as numbers: which may be learned from, how words become numbers, what is missing.

Which columns there are is decided from the whole training part, without looking at what is to be learned; means,
spreads and what stands for a missing value come from the fold that learns.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lucency.case import Case
from lucency.errors import DataError

#: A row of a table: column to number or word; a column that is not known is absent.
Cells = Mapping[str, str | float]

#: A word that fewer patients share is not a group (and could point at one of them).
LEAST_IN_LEVEL = 5
#: More words than this are names or free text, not groups.
MOST_LEVELS = 10
#: A column of which less than this share is known says mostly who filled in the table.
LEAST_KNOWN = 0.2

#: Parts of names of columns that tell how it ended; they are never learned from, whatever is to be learned.
#: Compared in lower case without spaces and signs.
OUTCOME_WORDS = (
    *("surviv", "death", "dead", "died", "vital", "followup", "relapse", "recur", "progress", "event", "censor"),
    *("outcome", "lastcontact", "lastknown", "timeto", "daysto"),
    *("生存", "死亡", "随访", "复发", "进展", "结局", "事件", "预后", "转归"),
)
#: Whole names, or what a name begins with before ``_``, of the usual end points.
END_POINTS = frozenset(("os", "pfs", "dfs", "efs", "rfs", "css", "ttp", "mfs", "lrfs", "dmfs"))
#: Column of the region's size, beside those of the tables. Volumes spread over orders of magnitude; risk does not.
REGION_VOLUME = "log of the region's volume"
#: Names of columns that number things and measure nothing.
NUMBERING = re.compile(r"(?i)^(unnamed.*|index|row|no|nr|id|.*[_ ]id|.*(?<![a-z])id|编号|序号|.*编号)$")
#: Names that tables of radiomics features use: image type, feature class, feature.
RADIOMICS = re.compile(
    r"(?i)(?:^|_)(shape(?:2d)?|firstorder|glcm|glrlm|glszm|gldm|ngtdm)_\w+$|^(?:original|wavelet|log|exponential|square)\b"
)


#: Names of columns that hold what patients were given, in lower case without spaces and signs.
TREATMENT = re.compile(
    r"^(treatment|treatmentarm|treatmentgroup|therapy|arm|studyarm|intervention|drug|regimen|surgery|operated|resection|"
    r"chemo|chemotherapy|radiotherapy|radiation|chemoradiation|immunotherapy|targetedtherapy|adjuvant|adjuvanttherapy)$"
    r"|^(治疗|治疗方案|治疗方式|治疗组|分组|化疗|放疗|手术|是否手术|是否化疗|是否放疗|用药|免疫治疗|靶向治疗)$"
)


@dataclass(frozen=True)
class Column:
    """A column that is learned from.

    Args:
        name: As in the table.
        levels: Its words, the most frequent first; empty for numbers. The first is the one others are compared with.
    """

    name: str
    levels: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers it becomes."""
        return max(1, len(self.levels) - 1)

    @property
    def names(self) -> tuple[str, ...]:
        """What each of its numbers means."""
        return tuple(f"{self.name} = {word}" for word in self.levels[1:]) if self.levels else (self.name,)


def tells_the_end(name: str) -> bool:
    """Tell whether a column's name says that it holds how or when it ended.

    Example:
        >>> [tells_the_end(n) for n in ("OS_months", "Vital status", "Smoking status", "Dose", "随访时间")]
        [True, True, False, False, True]
    """
    plain = re.sub(r"[\W_]+", "", name.lower())
    return any(w in plain for w in OUTCOME_WORDS) or re.split(r"[\W_]+", name.lower())[0] in END_POINTS


def treatment_in(columns: "Sequence[Column]") -> str:
    """Return the first column whose name says that it holds what patients were given, or nothing.

    Example:
        >>> treatment_in((Column("age"), Column("Chemo_therapy", ("no", "yes"))))
        'Chemo_therapy'
    """
    return next((c.name for c in columns if TREATMENT.match(re.sub(r"[\W_]+", "", c.name.lower()))), "")


def is_radiomics(name: str) -> bool:
    """Tell whether a column's name is that of a radiomics feature.

    Example:
        >>> [is_radiomics(n) for n in ("original_shape_Sphericity", "wavelet-LLH_glcm_Idn", "Histology", "age")]
        [True, True, False, False]
    """
    return RADIOMICS.search(name) is not None


def columns_of(rows: Sequence[Cells]) -> tuple[Column, ...]:
    """Return the columns that can be learned from, in the order of their names.

    Left out are columns that tell the end, that number the rows, that are the same for everybody, of which hardly
    anything is known, and texts that differ from patient to patient.

    Args:
        rows: Of the training part.
    """
    names = sorted({name for row in rows for name in row})
    found = [_column(name, [row[name] for row in rows if name in row], len(rows)) for name in names]
    return tuple(c for c in found if c is not None)


def told_columns(cases: Sequence[Case]) -> tuple[Column, ...]:
    """Return the clinical columns of a training part, and the size of the region where most cases have one.

    Radiomics features in a table are left out: there are many of them and they say again what the image shows.

    Args:
        cases: Of the training part.
    """
    told = tuple(c for c in columns_of([c.clinical for c in cases]) if not is_radiomics(c.name))
    drawn = sum(c.region is not None for c in cases)
    return (*told, Column(REGION_VOLUME)) if drawn > len(cases) / 2 else told


def _column(name: str, known: Sequence[str | float], n: int) -> Column | None:
    if tells_the_end(name) or NUMBERING.match(name) or len(known) < max(2, LEAST_KNOWN * n):
        return None
    words = [v for v in known if isinstance(v, str)]
    if not words:
        return Column(name) if len(set(known)) > 1 else None
    counts = Counter(_word(v) for v in known)
    # Ties by name, so that the order of the rows does not matter.
    kept = [w for w, c in sorted(counts.items(), key=lambda both: (-both[1], both[0])) if c >= LEAST_IN_LEVEL]
    rare = sum(c for w, c in counts.items() if w not in kept)
    if len(kept) > MOST_LEVELS or not kept or rare > n / 2 or (len(kept) == 1 and rare < LEAST_IN_LEVEL):
        return None
    # A single frequent word against all the rest is a column of two groups.
    return Column(name, tuple(kept) if len(kept) > 1 else ("", kept[0]))


def _word(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def encoded(row: Cells, columns: Sequence[Column]) -> tuple[float, ...]:
    """Return a row as numbers, NaN where nothing is known.

    Args:
        row: Of any patient; columns that are absent are not known.
        columns: From :func:`columns_of`. A word that the training part did not have counts as none of its groups.
    """
    values: list[float] = []
    for column in columns:
        cell = row.get(column.name)
        if cell is None:
            values += [float("nan")] * column.width
        elif column.levels:
            values += [float(_word(cell) == level) for level in column.levels[1:]]
        else:
            values.append(float(cell) if not isinstance(cell, str) else float("nan"))
    return tuple(values)


@dataclass(frozen=True, eq=False)
class Standard:
    """What a fold learned of its columns.

    Args:
        mean: (p,) stands for what is missing.
        scale: (p,) standard deviation; infinite for a column that never varies.
        flagged: (q,) columns whose absence becomes a number of its own.
    """

    mean: np.ndarray
    scale: np.ndarray
    flagged: np.ndarray

    def apply(self, table: np.ndarray) -> np.ndarray:
        """Return (n, p + q): standardised, missing values at the mean (0), then 1 where a flagged one is missing."""
        missing = np.isnan(table)
        filled = np.where(missing, 0.0, (table - self.mean) / self.scale)
        return np.concatenate([filled, missing[:, self.flagged].astype(np.float64)], axis=1)


def standard(table: np.ndarray) -> Standard:
    """Learn means, spreads and what is missing from the rows of a training fold.

    Args:
        table: (n, p) float; NaN is missing.

    Raises:
        DataError: No row.
    """
    if not len(table):
        raise DataError("No row to learn from", expected="one or more")
    known = ~np.isnan(table)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, table, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, table - mean, 0.0) ** 2).sum(axis=0) / count)
    missing = (~known).sum(axis=0)
    flagged = list(np.flatnonzero((missing >= LEAST_IN_LEVEL) & (missing <= len(table) - LEAST_IN_LEVEL)))
    # The numbers of one column are missing together: one flag says it.
    alone = [at for n, at in enumerate(flagged) if not n or (known[:, at] != known[:, flagged[n - 1]]).any()]
    scale = np.where(spread > 1e-9 * np.maximum(np.abs(mean), 1e-12), spread, np.inf)
    return Standard(mean, scale, np.array(alone, dtype=int))

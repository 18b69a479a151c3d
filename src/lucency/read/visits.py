"""Visits: dated images of one patient become one case, an image sequence in the order of time."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np

from lucency.case import Outcome, Skipped, Source
from lucency.errors import DataError, UsageError
from lucency.read.layout import Item
from lucency.read.matching import Match
from lucency.read.outcomes import UNITS
from lucency.read.table import is_missing, number, plain

#: Words for the first visit.
FIRST = {"baseline", "screening", "base", "pre", "initial", "基线", "初诊", "首诊", "术前"}
#: Names of columns that hold when an image was taken; such a column is offered, never taken unasked.
WHEN = re.compile(
    r"(?i)^(visit|visitdate|visitno|visitnumber|timepoint|studydate|scandate|examdate|acquisitiondate|imagedate|date)$"
    r"|^(检查日期|检查时间|就诊日期|随访次数|访视|拍摄日期|扫描日期|日期)$"
)
#: What the list of left-out files says of an image whose visit has no time.
UNDATED = "no time of the visit, so it has no place in the patient's sequence"


def dated(items: Sequence[Item], found: Sequence[Match], column: str) -> list[Item]:
    """Return the items with the time of their visit, None where the column says nothing.

    Args:
        items: Of a layout, before their files are opened.
        found: Tables that speak of the images.
        column: That says when: dates, days, or numbers of visits.

    Raises:
        UsageError: No table has the column, or nothing in it is a time.
    """
    for match in found:
        name = match.table.named(column)
        if not name:
            continue
        cells = [match.by_unit.get(i.unit, {}).get(name, "") for i in items]
        times = times_of(cells, name)
        if all(t is None for t in times):
            break
        # What orders the images is no description of the patient.
        kept = [{k: v for k, v in i.clinical.items() if k != name} for i in items]
        return [replace(i, visit=t, clinical=c) for i, t, c in zip(items, times, kept, strict=True)]
    columns = ", ".join(dict.fromkeys(c for m in found for c in m.table.columns if c)) or "none"
    raise UsageError(
        f"No column {column!r} with dates, days or numbers of visits",
        where="--set visits",
        remedy=f"the columns are {columns}",
    )


def times_of(cells: Sequence[str], column: str) -> list[float | None]:
    """Return when each image was taken, in any unit that orders them; None where a cell says nothing that is known.

    Args:
        cells: Dates, numbers, or words with one number (``V2``, ``month 6``) or for the first visit (``baseline``).
        column: Its name, for the message.

    Raises:
        UsageError: Dates that can be read in two ways.

    Example:
        >>> times_of(["baseline", "week 2", "month 1", ""], "visit")
        [0.0, 14.0, 30.4375, None]
        >>> times_of(["03.12.2020", "13.01.2021"], "date")
        [737762.0, 737803.0]
    """
    european = [m for c in cells if (m := re.fullmatch(r"(\d{1,2})[./-](\d{1,2})[./-](\d{4})", c.strip()))]
    day_first = any(int(m[1]) > 12 for m in european)
    month_first = any(int(m[2]) > 12 for m in european)
    if european and day_first == month_first:
        raise UsageError(
            f"Dates in column {column!r} can be read day first or month first",
            expected="dates such as 2020-12-31",
            where="--set visits",
            remedy="write the year first",
        )
    return [_time(c.strip(), day_first) for c in cells]


def _time(cell: str, day_first: bool) -> float | None:
    if is_missing(cell):
        return None
    parts = re.findall(r"\d+", cell)
    lone = re.fullmatch(r"\d{8}(\.0+)?", cell)
    if lone and (day := _day(cell[:4], cell[4:6], cell[6:8])):
        return day
    if re.match(r"\d{4}[-./年]\d{1,2}[-./月]\d{1,2}", cell):
        return _day(*parts[:3])
    if re.fullmatch(r"(\d{1,2})[./-](\d{1,2})[./-](\d{4})", cell):
        return _day(parts[2], parts[1], parts[0]) if day_first else _day(parts[2], parts[0], parts[1])
    value = number(cell)
    if value is not None:
        return value
    if plain(cell) in FIRST:
        return 0.0
    numbers = re.findall(r"\d+(?:\.\d+)?", cell)
    if len(numbers) != 1:
        return None
    words = re.findall(r"[A-Za-z]+|[\u4e00-\u9fff]+", cell)
    stated = [UNITS[w.lower()] for w in words if w.lower() in UNITS]
    return float(numbers[0]) * (stated[0] if stated else 1.0)


def _day(year: str, month: str, day: str) -> float | None:
    try:
        return float(date(int(year), int(month), int(day)).toordinal())
    except ValueError:
        return None


def joined(items: Sequence[Item]) -> tuple[list[Item], list[str], list[Skipped]]:
    """Return one item a patient with all its visits in order, what there is to say, and images that have no place.

    The last visit that has a target gives it, and the id. What came after is left out: it was not known when the target
    was. Of each clinical column the last known value is taken.

    Args:
        items: Opened, with the time of their visit where one was asked for; without any they come back as they are.

    Raises:
        DataError: Targets that are masks or boxes, or times to an event that count from another image than their own.
    """
    if all(i.visit is None for i in items):
        return list(items), [], []
    if any(isinstance(i.target, Source) or i.drawn is not None for i in items):
        raise DataError(
            "Visits with masks or boxes to learn",
            expected="one answer a patient: a class, a number, or times with events",
            where="--set visits",
            remedy="leave the option out: each image is then a case of its own",
        )
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.patient or f"case:{item.id}", item.part), []).append(item)
    _refuse_shared_times(list(groups.values()))
    made, beside = [], []
    later = unlike = 0
    for group in groups.values():
        placed = sorted((i for i in group if i.visit is not None), key=lambda i: (i.visit or 0.0, i.id)) or group[:1]
        beside += [Skipped(i.unit.path, UNDATED) for i in group if i not in placed]
        labelled = [n for n, i in enumerate(placed) if _is_labelled(i)]
        end = labelled[-1] + 1 if labelled else len(placed)
        later += len(placed) - end
        made.append(_sequence(placed[:end]))
        unlike += end - 1 - len(made[-1].earlier)
    return made, _told(made, later, unlike, len(beside)), beside


def _is_labelled(item: Item) -> bool:
    """Tell whether a target is there; a word from a table may still say that it is not known."""
    return not is_missing(item.target) if isinstance(item.target, str) else item.target is not None


def _sequence(visits: Sequence[Item]) -> Item:
    """Return the last of some visits with the others before it."""
    last = visits[-1]
    clinical = {k: v for i in visits for k, v in i.clinical.items()}
    facts = {k: v for i in visits for k, v in i.facts.items()}
    # A visit that lacks a modality of the last one cannot stand in one line with it.
    alike = tuple(i for i in visits[:-1] if set(i.units) == set(last.units))
    return replace(last, earlier=alike, clinical=clinical, facts=facts)


def _told(made: Sequence[Item], later: int, unlike: int, undated: int) -> list[str]:
    lengths = [len(i.earlier) + 1 for i in made]
    single = sum(n == 1 for n in lengths)
    said = [
        f"{sum(lengths)} images of {len(made)} patients were put together as visits: {min(lengths)} to {max(lengths)} "
        f"a sequence, median {float(np.median(lengths)):g}."
    ]
    said += [f"{single} patients have a single visit: a sequence of one."] if single else []
    said += [f"{later} visits after the one that says what to learn are not used."] if later else []
    said += [f"{unlike} earlier visits with other modalities than the last one are not used."] if unlike else []
    return said + ([f"{undated} images without a time of the visit are not used."] if undated else [])


def _refuse_shared_times(groups: Sequence[Sequence[Item]]) -> None:
    """Refuse times to an event that are one for all visits: counted from the first they tell that the patient lived."""
    several = [o for g in groups if len(o := [i.target for i in g if isinstance(i.target, Outcome)]) > 1]
    alike = sum(len({o.time for o in outcomes}) == 1 for outcomes in several)
    if 2 * alike > len(several):
        raise DataError(
            f"{alike} of {len(several)} patients with several visits have the same time to the event at each",
            expected="the time from the image of its own row on: who comes to a late visit has lived until then",
            where="--set visits",
            remedy="subtract from each time what lies between the first visit and its own, or give the outcome in the "
            "row of the first visit only",
        )


def offered(items: Sequence[Item], found: Sequence[Match]) -> list[str]:
    """Return the hint that images of one patient are dated and could be learned from as sequences."""
    several = sum(n > 1 for n in Counter(i.patient for i in items if i.patient).values())
    for match in found:
        name = next((c for c in match.table.columns if WHEN.match(plain(c))), "")
        if name and several:
            return [
                f"{several} patients have several images, and column {name!r} may say when they were taken: "
                f"--set visits={name} reads the images of a patient as one sequence."
            ]
    return []

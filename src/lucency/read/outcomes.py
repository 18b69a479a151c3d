"""Times and events in a table: which columns hold them, and what their words mean."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lucency.case import Outcome
from lucency.errors import DataError, UsageError
from lucency.read.matching import Match
from lucency.read.table import ROLES, is_missing, number, plain

#: Column words for the time to an event and for the event, compared as in :data:`lucency.read.table.ROLES`. Some mean
#: something else where they stand alone, so both must be there.
TIME_WORDS = ROLES["time"] | {
    *("os", "overallsurvival", "survival", "survivaldays", "survivalmonths", "survivalyears", "duration", "followup"),
    *("followupdays", "followupmonths", "timetoevent", "timetodeath", "pfs", "dfs", "rfs", "efs", "pfstime", "dfstime"),
    *("总生存期", "总生存时间", "生存期", "生存天数", "生存月数", "随访天数", "随访月数", "无进展生存期", "无病生存期"),
}
EVENT_WORDS = ROLES["event"] | {
    *("deadstatusevent", "death", "dead", "died", "deceased", "status", "survivalstatus", "osstatus", "osevent"),
    *("eventobserved", "deathevent", "pfsstatus", "pfsevent", "dfsstatus", "dfsevent", "rfsevent", "efsevent"),
    *("是否死亡", "死亡", "死亡状态", "终点事件", "生存结局", "是否发生事件", "是否复发", "是否进展"),
}
#: Words for an event and for none.
YES = {"1", "true", "yes", "y", "dead", "deceased", "died", "death", "event", "recurred", "progressed"}
YES |= {"死亡", "是", "已死亡", "死", "复发", "进展"}
NO = {"0", "false", "no", "n", "alive", "living", "censored", "none", "diseasefree"}
NO |= {"存活", "生存", "否", "删失", "健在", "活", "失访"}
#: Days in a unit that a column's name may state; a month is a twelfth of 365.25 days.
UNITS = {
    **dict.fromkeys(("month", "months", "mo", "mos", "月", "个月"), 30.4375),
    **dict.fromkeys(("year", "years", "yr", "yrs", "年"), 365.25),
    **dict.fromkeys(("week", "weeks", "wk", "周"), 7.0),
    **dict.fromkeys(("day", "days", "d", "天", "日"), 1.0),
}


@dataclass(frozen=True)
class Columns:
    """Where the outcomes stand.

    Args:
        match: The table.
        time: Column.
        event: Column.
        name: As the user named them, or both columns with a comma.
    """

    match: Match
    time: str
    event: str
    name: str

    @property
    def days(self) -> float:
        """Days in the unit that the time column's name states; 1 where it states none."""
        found = re.findall(r"[A-Za-z]+|[\u4e00-\u9fff]+", self.time)
        stated = [UNITS[w.lower()] for w in found if w.lower() in UNITS]
        if not stated:
            stated = [days for word, days in UNITS.items() if not word.isascii() and self.time.endswith(word)]
            stated += [days for word, days in UNITS.items() if len(word) > 3 and plain(self.time).endswith(word)]
        return stated[-1] if stated else 1.0


def columns_in(found: Sequence[Match], asked: str | None) -> Columns | None:
    """Return the columns that hold outcomes: the two asked for, or two that are called so.

    Args:
        found: Tables that speak of the images.
        asked: ``--target``: two columns with a comma, the time first; ``time,event`` also means what is called so.
    """
    if asked is not None:
        words = [w.strip() for w in re.split("[,，]", asked)]
        if len(words) != 2:
            return None
        for match in found:
            time, event = (match.table.named(w) for w in words)
            if time and event:
                return Columns(match, time, event, asked)
        if [w.lower() for w in words] != ["time", "event"]:
            return None
    for match in found:
        time, event = (_called(match, words) for words in (TIME_WORDS, EVENT_WORDS))
        if time and event and (asked is not None or not {"label", "mask"} & set(match.table.roles)):
            return Columns(match, time, event, asked or f"{time},{event}")
    return None


def _called(match: Match, words: frozenset[str] | set[str]) -> str:
    """Return the first column with one of the words, its unit left out."""
    for column in match.table.columns:
        bare = plain(re.sub(r"(?i)[\s_.(（\[]*(months?|years?|days?|weeks?|个月|月|年|天|日|周)[)）\]]*$", "", column))
        if column != match.column and (plain(column) in words or bare in words):
            return column
    return ""


def outcomes_of(columns: Columns) -> tuple[dict[int, Outcome], list[str]]:
    """Return row number to outcome, and what there is to say.

    A row that makes no sense (an event without a time, a time that is negative) has no outcome; it is counted with its
    reason, and the others go on.

    Raises:
        DataError: No row makes sense.
        UsageError: The event column holds words that are not known.
    """
    table, days = columns.match.table, columns.days
    times, events = table.column(columns.time), table.column(columns.event)
    rows = sorted(columns.match.rows)
    kinds = _kinds({events[r] for r in rows if not is_missing(events[r])}, columns)
    found: dict[int, Outcome] = {}
    wrong: dict[str, list[int]] = {}
    for row in rows:
        time, event = number(times[row]), kinds.get(events[row])
        if time is None and event is None:
            continue
        if time is None:
            wrong.setdefault("an event without a time", []).append(row)
        elif event is None:
            wrong.setdefault("a time without an event", []).append(row)
        elif time < 0:
            wrong.setdefault("a negative time", []).append(row)
        else:
            found[row] = Outcome(time * days, event)
    notes = [_counted(why, at, table.path) for why, at in sorted(wrong.items())]
    if not found:
        raise DataError(
            "No row has a time with an event" + (f": {' '.join(notes)}" if notes else ""),
            expected="times from 0 on, and 1 for the event or 0 for censored",
            where=table.path,
            remedy="correct the table, or name its columns with --target TIME,EVENT",
        )
    unit = {1.0: "days", 7.0: "weeks", 365.25: "years"}.get(days, "months")
    notes.append(f"Outcomes: {columns.time!r} (taken as {unit}) and {columns.event!r}.")
    return found, notes


def _counted(why: str, rows: Sequence[int], path: str) -> str:
    # Row 0 is the second line of the file.
    shown = ", ".join(str(r + 2) for r in rows[:5]) + (" …" if len(rows) > 5 else "")
    return f"{len(rows)} cases have {why} (lines {shown} of {path}): kept as unlabelled."


def _kinds(words: set[str], columns: Columns) -> dict[str, int]:
    """Return what each word of the event column means."""
    numbers = {w: number(w) for w in words}
    if all(v is not None and v >= 0 and v.is_integer() for v in numbers.values()):
        values = {w: int(v) for w, v in numbers.items() if v is not None}
        if values and set(values.values()) == {1, 2}:
            # The coding of the oldest survival programs: 1 censored, 2 dead.
            return {w: v - 1 for w, v in values.items()}
        return values
    found: dict[str, int] = {}
    for word in words:
        # 1:DECEASED, 0:LIVING, as cancer portals write.
        said = [plain(part) for part in word.split(":")]
        if any(p in YES for p in said):
            found[word] = 1
        elif any(p in NO for p in said):
            found[word] = 0
        else:
            raise UsageError(
                f"{len(words)} different words in the event column {columns.event!r}, not all of them known",
                expected="0 and 1 (2 and more for competing events), alive and dead, or yes and no",
                where=columns.match.table.path,
                remedy="write 1 for the event and 0 for censored",
            )
    return found

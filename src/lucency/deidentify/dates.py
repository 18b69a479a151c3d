"""Dates and times, moved for one patient by one secret amount, so that intervals stay true.

Days move by 1 to 3652 and the clock by 1 to 59 minutes, always back. A time and the date beside it move together:
where the clock passes midnight, the date goes one day further. Intervals within a patient stay exact to the second.

Source:
    DICOM PS3.15, E.3.6 Retain Longitudinal Temporal Information Options; PS3.5, 6.2 (DA, TM, DT, AS).
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

DATE = re.compile(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})")
TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(\.\d{1,6})?)?)?")
DATETIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\.\d{1,6})?([+-]\d{4})?")
AGE = re.compile(r"(\d{3})([DWMY])")
DAY_S = 86400
#: Ages above this are told as this much: few people are that old (US 45 CFR 164.514(b)(2)(i)(C)).
OLDEST_YEARS = 90


@dataclass(frozen=True)
class Shift:
    """How far the dates of one patient move.

    Args:
        days: Whole days, negative is back.
        minutes: Of the clock, 0 to 59, back.
    """

    days: int
    minutes: int = 0

    def time(self, value: str) -> str | None:
        """Return a TM value moved, with its precision kept; None if it is no time.

        Example:
            >>> Shift(-10, 20).time("001005.25")
            '235005.25'
        """
        found = TIME.fullmatch(value.strip(" \0"))
        seconds = seconds_of(value)
        if found is None or seconds is None:
            return None
        moved = (seconds - 60 * self.minutes) % DAY_S
        text = f"{moved // 3600:02d}{moved // 60 % 60:02d}{moved % 60:02d}"
        return text[: 2 * sum(found[i] is not None for i in (1, 2, 3))] + (found[4] or "")

    def date(self, value: str, beside: str = "") -> str | None:
        """Return a DA value moved; None if it is no date.

        Args:
            value: ``YYYYMMDD``, or with the dots of ACR-NEMA.
            beside: The time that goes with it, if there is one.

        Example:
            >>> Shift(-10, 20).date("20240301"), Shift(-10, 20).date("20240301", "001000")
            ('20240220', '20240219')
        """
        found = DATE.fullmatch(value.strip(" \0"))
        if found is None:
            return None
        seconds = seconds_of(beside)
        before = seconds is not None and seconds < 60 * self.minutes
        try:
            return (date(*map(int, found.groups())) + timedelta(days=self.days - before)).strftime("%Y%m%d").zfill(8)
        except (ValueError, OverflowError):
            return None

    def datetime(self, value: str) -> str | None:
        """Return a DT value moved, with its precision and zone kept; None if it is none.

        A year or a month alone moves as if it were its first day: it says no more than before.
        """
        found = DATETIME.fullmatch(value.strip(" \0"))
        if found is None:
            return None
        parts = [int(p) if p else low for p, low in zip(found.groups()[:6], (1, 1, 1, 0, 0, 0), strict=True)]
        given = sum(p is not None for p in found.groups()[:6])
        try:
            moment = datetime(*parts) + timedelta(days=self.days, minutes=-self.minutes if given > 3 else 0)  # type: ignore[arg-type]
        except (ValueError, OverflowError):
            return None
        text = f"{moment.year:04d}" + moment.strftime("%m%d%H%M%S")
        return text[: 2 + 2 * given] + (found[7] or "") + (found[8] or "")


def seconds_of(value: str) -> int | None:
    """Return the whole seconds since midnight of a TM value, None if it is no time."""
    found = TIME.fullmatch(value.strip(" \0"))
    if found is None:
        return None
    hours, minutes, seconds = (int(found[i] or 0) for i in (1, 2, 3))
    return hours * 3600 + minutes * 60 + min(seconds, 59) if hours < 24 and minutes < 60 and seconds < 61 else None


def age(value: str) -> str | None:
    """Return an AS value, the very old as 090Y; None if it is none.

    Example:
        >>> age("097Y"), age("042Y"), age("006M")
        ('090Y', '042Y', '006M')
    """
    found = AGE.fullmatch(value.strip(" \0"))
    if found is None:
        return None
    per_year = {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[found[2]]
    return f"{OLDEST_YEARS:03d}Y" if int(found[1]) / per_year >= OLDEST_YEARS else found[0]


def is_valid(vr: str, value: str) -> bool:
    """Tell whether a single DA, TM, DT or AS value is what its representation says."""
    probe = Shift(0, 0)
    return {"DA": probe.date, "TM": probe.time, "DT": probe.datetime, "AS": age}[vr](value) is not None

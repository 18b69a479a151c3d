"""Dates and times move together, and intervals stay."""

import itertools
from datetime import datetime, timedelta

import numpy as np
import pytest

from lucency.deidentify import Options, dates
from lucency.deidentify.dates import Shift


@pytest.mark.parametrize("seed", range(20))
def test_intervals_between_moments_stay_exact_across_midnight(seed):
    rng = np.random.default_rng(seed)
    shift = Shift(-int(rng.integers(1, 3653)), int(rng.integers(1, 60)))
    moments = [datetime(2020, 2, 27) + timedelta(seconds=int(s)) for s in rng.integers(0, 4 * 86400, 6)]
    moved = []
    for moment in moments:
        day, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
        text = shift.date(day, time) + shift.time(time)
        assert text == shift.datetime(day + time)
        moved.append(datetime.strptime(text, "%Y%m%d%H%M%S"))
    assert [b - a for a, b in itertools.pairwise(moved)] == [b - a for a, b in itertools.pairwise(moments)]
    assert all(m < before for m, before in zip(moved, moments, strict=True))


@pytest.mark.parametrize("value", ["Smithson", "20201301", "2020-1-1", "99999999", "20200101 Smith"])
def test_what_is_no_date_is_none(value):
    assert Shift(-5).date(value) is None


@pytest.mark.parametrize(
    ("value", "moved"),
    [("2021", "2020"), ("202103", "202102"), ("20210304101112.123456+0100", "20210302101012.123456+0100")],
)
def test_datetime_keeps_precision_and_zone(value, moved):
    assert Shift(-2, 1).datetime(value) == moved


@pytest.mark.parametrize(
    ("value", "moved"), [("10", "09"), ("1011", "1010"), ("101112.5", "101012.5"), ("10:11:12", "101012")]
)
def test_time_keeps_its_precision(value, moved):
    assert Shift(-2, 1).time(value) == moved


@pytest.mark.parametrize(
    ("value", "kept"), [("089Y", "089Y"), ("090Y", "090Y"), ("104Y", "090Y"), ("999M", "999M"), ("old", None)]
)
def test_very_old_age_is_told_as_ninety(value, kept):
    assert dates.age(value) == kept


def test_dates_of_two_examinations_keep_their_distance_and_none_stays(room, image):
    image.StudyDate, image.SeriesDate, image.ContentDate = "20200101", "20200131", "20200301"
    after = room.one(image)
    days = [datetime.strptime(v, "%Y%m%d") for v in (after.StudyDate, after.SeriesDate, after.ContentDate)]
    # 2020: January has 31 days, February 29
    assert [(b - a).days for a, b in itertools.pairwise(days)] == [30, 30]
    assert after.StudyDate != "20200101"
    assert after.LongitudinalTemporalInformationModified == "MODIFIED"


def test_dates_can_be_removed_and_stay_valid(room, image):
    after = room.one(image, Options(dates="remove"))
    assert after.StudyDate == ""
    assert after.LongitudinalTemporalInformationModified == "REMOVED"
    assert "SeriesDate" not in after or after.SeriesDate in {"", "19000101"}


def test_dates_can_be_kept_but_no_word_in_their_place(room, image):
    image.SeriesDate = "20210304"
    image["StudyDate"].value = "20200102"
    after = room.one(image, Options(dates="keep"))
    assert (after.StudyDate, after.SeriesDate) == ("20200102", "20210304")
    assert after.LongitudinalTemporalInformationModified == "UNMODIFIED"


def test_a_name_in_a_date_does_not_come_out(room, image):
    import pydicom

    path = room.put(image)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"20210304", b"Smithson", 1))
    assert b"Smithson" in path.read_bytes().replace(b"Smithson^", b"")
    room.clean()
    (after,) = room.dst.rglob("*.dcm")
    assert b"Smithson" not in after.read_bytes()
    assert pydicom.dcmread(after).StudyDate in {"", "19000101"} or pydicom.dcmread(after).StudyDate.isdigit()

"""Dated images of a patient as one sequence: order, gaps, targets, refusals."""

import csv

import numpy as np
import pytest
from PIL import Image as Picture

from lucency.case import Source
from lucency.errors import DataError, UsageError
from lucency.read import ReadOptions, read, read_inputs
from lucency.read.layout import Item, Unit
from lucency.read.visits import joined, times_of


def images(folder, rows, columns):
    """Write one small picture a row and a table of them."""
    rng = np.random.default_rng(0)
    for row in rows:
        if row[0]:
            Picture.fromarray(rng.integers(0, 255, (12, 12), dtype=np.uint8)).save(folder / row[0])
    with (folder / "visits.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return folder


COLUMNS = ("file", "patient", "date", "dose", "label")


def crowd(folder, n=24):
    """Patients with one to four visits, their rows in the wrong order; the first of three was not imaged."""
    rows = []
    for number in range(n):
        visits = 1 + number % 4
        for visit in reversed(range(visits)):
            # A missing visit: the row is there, the image is not.
            name = "" if visits == 3 and visit == 0 else f"x{number:02d}{'dcba'[visit]}.png"
            rows.append((name, f"P{number:02d}", f"2020-{1 + 2 * visit:02d}-10", str(10 * visit), "ab"[number % 2]))
    return images(folder, rows, COLUMNS)


@pytest.mark.parametrize(
    ("cells", "times"),
    [
        (["20200131", "20200201"], [737455.0, 737456.0]),
        (["2020/1/31", "2020年2月1日"], [737455.0, 737456.0]),
        (["31.01.2020", "01.02.2020"], [737455.0, 737456.0]),
        (["01/31/2020", "02/01/2020"], [737455.0, 737456.0]),
        (["baseline", "V2", "month 6", "n/a", "later"], [0.0, 2.0, 6 * 30.4375, None, None]),
        (["0", "12.5"], [0.0, 12.5]),
    ],
)
def test_dates_numbers_and_words_order_the_visits(cells, times):
    assert times_of(cells, "when") == times


def test_dates_that_can_be_read_in_two_ways_are_refused():
    with pytest.raises(UsageError, match="day first or month first"):
        times_of(["03/04/2020", "05/06/2020"], "when")


def test_images_of_a_patient_come_together_in_the_order_of_their_dates(tmp_path):
    cohort = read(crowd(tmp_path), ReadOptions(visits="date"))
    by_id = {c.id: c for c in cohort.cases}
    assert len(cohort.cases) == len({c.patient for c in cohort.cases}) == 24
    # The last visit names the case; visits d, c, b, a follow each other in time.
    assert [s.paths[0] for s in by_id["x03a"].images["image"]] == ["x03d.png", "x03c.png", "x03b.png", "x03a.png"]
    assert [len(v.images["image"]) for v in by_id["x03a"].visits] == [1, 1, 1, 1]
    # The visit without an image is a gap, not a fault.
    assert [s.paths[0] for s in by_id["x02b"].images["image"]] == ["x02c.png", "x02b.png"]
    assert by_id["x03a"].clinical["dose"] == 30.0
    assert "date" not in by_id["x03a"].clinical
    notes = " ".join(cohort.notes)
    # 24 patients in turn with 1, 2, 3 and 4 visits, the third sort short of one: 6 x (1 + 2 + 2 + 4) images.
    assert "54 images of 24 patients were put together as visits: 1 to 4 a sequence, median 2." in notes
    assert "6 patients have a single visit" in notes


def test_dated_images_are_not_put_together_unasked_but_it_is_offered(tmp_path):
    cohort = read(crowd(tmp_path))
    assert len(cohort.cases) == 54
    assert any("--set visits=date" in note for note in cohort.notes)


def test_the_last_visit_that_has_a_target_gives_it_and_what_came_after_is_not_used(tmp_path):
    rows = [
        (f"y{n:02d}{v}.png", f"P{n:02d}", str(v), "", "" if v == 2 else "ab"[(n + v) % 2])
        for n in range(12)
        for v in range(3)
    ]
    cohort = read(images(tmp_path, rows, COLUMNS), ReadOptions(visits="date", target="label"))
    assert {c.id[-1] for c in cohort.cases} == {"1"}
    assert all(len(c.visits) == 2 for c in cohort.cases)
    assert {c.id: c.target for c in cohort.cases}["y000"[:3] + "1"] == "b"
    assert any("12 visits after the one that says what to learn" in note for note in cohort.notes)


def test_an_image_without_a_date_is_named_and_the_others_go_on(tmp_path):
    rows = [
        (f"z{n:02d}{v}.png", f"P{n:02d}", "" if n == 4 and v == 1 else f"2021-0{v + 1}-01", "", "ab"[n % 2])
        for n in range(12)
        for v in range(2)
    ]
    cohort = read(images(tmp_path, rows, COLUMNS), ReadOptions(visits="date"))
    assert {c.id: len(c.visits) for c in cohort.cases}["z040"] == 1
    assert [s.path for s in cohort.beside if "no time of the visit" in s.reason] == ["z041.png"]


def test_earlier_visits_with_other_modalities_are_counted_when_they_are_left_out():
    def visit(number, *modalities):
        units = {
            m: Unit(f"{number}{m}.nii.gz", Source((f"{number}{m}.nii.gz",), "/", "nifti"), frozenset())
            for m in modalities
        }
        return Item(units, target="a" if number == 2 else None, patient="P", visit=float(number), id=str(number))

    (one,), said, beside = joined([visit(0, "t1"), visit(1, "t1", "t2"), visit(2, "t1", "t2")])
    assert [e.id for e in one.earlier] == ["1"]
    assert beside == []
    assert any(s.startswith("1 earlier visits with other modalities than the last one") for s in said)


def test_a_time_that_is_the_same_at_every_visit_is_refused(tmp_path):
    # A patient whose late visit has the time of the first one has lived until then: the network could read that.
    rows = [
        (f"u{n:02d}{v}.png", f"P{n:02d}", str(90 * v), str(300 + n), str(n % 2)) for n in range(24) for v in range(2)
    ]
    folder = images(tmp_path, rows, ("file", "patient", "day", "SurvivalTime", "event"))
    with pytest.raises(DataError, match=r"same time to the event at each.*the time from the image of its own row on"):
        read(folder, ReadOptions(visits="day"))


def test_a_column_that_there_is_not_is_refused_with_the_columns(tmp_path):
    with pytest.raises(
        UsageError, match=r"No column 'when' with dates.*the columns are file, patient, date, dose, label"
    ):
        read(crowd(tmp_path), ReadOptions(visits="when"))


def test_images_to_predict_on_come_together_too_and_without_a_table_each_stands_alone(tmp_path):
    found = read_inputs(crowd(tmp_path), visits=("date", "patient"))
    assert len(found) == 24
    assert {c.id: len(c.visits) for c in found}["x03a"] == 4
    (tmp_path / "visits.csv").unlink()
    alone = read_inputs(tmp_path, visits=("date", "patient"))
    assert len(alone) == 54
    assert any("each is a case of one visit" in note for note in alone.notes)

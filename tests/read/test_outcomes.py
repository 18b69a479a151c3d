"""Times with events in a table: found by their names, in both languages, and refused where they make no sense."""

import numpy as np
import pytest
from PIL import Image as Picture

from lucency.case import Outcome
from lucency.errors import DataError, UsageError
from lucency.read import ReadOptions, read, read_inputs


def folder(tmp_path, header, lines):
    """Images named by a table."""
    rng = np.random.default_rng(0)
    for number in range(len(lines)):
        Picture.fromarray(rng.integers(0, 255, (9, 11)).astype(np.uint8)).save(tmp_path / f"c{number:02d}.png")
    text = "\n".join([f"file,{header}", *(f"c{n:02d}.png,{line}" for n, line in enumerate(lines))])
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("header", "yes", "no", "days"),
    [
        ("time,event", "1", "0", 1.0),
        ("SurvivalTime,Event", "1", "0", 1.0),
        ("Survival.time,deadstatus.event", "1", "0", 1.0),
        ("OS_MONTHS,OS_STATUS", "1:DECEASED", "0:LIVING", 30.4375),
        ("Overall survival (years),Vital status", "Dead", "Alive", 365.25),
        ("time,status", "2", "1", 1.0),
        ("生存时间（月）,是否死亡", "是", "否", 30.4375),
        ("随访时间,结局", "死亡", "存活", 1.0),
    ],
)
def test_outcomes_are_found_by_the_names_of_their_columns(tmp_path, header, yes, no, days):
    lines = [f"{10 + k},{yes if k % 2 else no},{50 + k}" for k in range(12)]
    cohort = read(folder(tmp_path, f"{header},age", lines))
    assert cohort.layout == "table"
    assert [c.target for c in cohort.cases] == [Outcome((10 + k) * days, k % 2) for k in range(12)]
    assert cohort.cases[3].clinical == {"age": 53.0}
    assert len(cohort.folds) + len(cohort.locked) == 12


def test_columns_of_any_name_can_be_asked_for(tmp_path):
    lines = [f"{10 + k},{k % 3}" for k in range(12)]
    cohort = read(folder(tmp_path, "until,what", lines), ReadOptions(target="until, what"))
    assert cohort.cases[5].target == Outcome(15.0, 2)
    assert dict(cohort.cases[5].clinical) == {}


def test_rows_that_make_no_sense_are_counted_by_line_and_the_others_go_on(tmp_path):
    lines = ["10,1", "-3,1", ",1", "7,", ",", *(f"{k},0" for k in range(20, 32))]
    cohort = read(folder(tmp_path, "time,event", lines))
    assert [c.target is None for c in cohort.cases[:5]] == [False, True, True, True, True]
    said = " ".join(cohort.notes)
    for text in (
        "1 cases have a negative time (lines 3 of list.csv)",
        "1 cases have an event without a time (lines 4 of list.csv)",
        "1 cases have a time without an event (lines 5 of list.csv)",
    ):
        assert text in said


def test_a_table_without_any_outcome_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"No row has a time with an event: 4 cases have a negative time"):
        read(folder(tmp_path, "time,event", ["-1,1"] * 4))


def test_words_that_mean_nothing_known_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"2 different words in the event column 'event'.*write 1 for the event"):
        read(folder(tmp_path, "time,event", ["1,green", "2,blue"] * 4))


def test_clinical_columns_go_along_to_prediction_and_names_do_not(tmp_path):
    lines = [f"{10 + k},{k % 2},{50 + k},II,Person {k}" for k in range(30)]
    found = read_inputs(folder(tmp_path, "time,event,age,stage,name", lines))
    assert found[4].clinical["age"] == 54.0
    assert found[4].clinical["stage"] == "II"
    assert "name" not in found[4].clinical

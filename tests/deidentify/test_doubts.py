"""Patient IDs that may be wrong go to a person: on the report and on the review list, by pseudonym."""

import csv

import planted
import pytest

from lucency.deidentify import doubts
from lucency.deidentify.sources import Source


def put(room, n, number, name, birth):
    one = planted.image()
    one.PatientID, one.PatientName, one.PatientBirthDate, one.SOPInstanceUID = number, name, birth, f"1.2.3.{n}"
    room.put(one, f"{n}.dcm")


def of(*people):
    """Return the reasons for files of (Patient ID, name, birth date)."""
    by_id = {}
    for number, name, birth in people:
        files = by_id.setdefault(("", number), (f"P-{number}", []))[1]
        files.append(Source("x", "dicom", patient=("", number), name=name, birth=birth))
    return [(d.reason, d.pseudonyms) for d in doubts.doubts(by_id)]


def test_two_people_with_one_patient_id_got_one_pseudonym_and_nobody_was_told(room):
    put(room, 1, "4711234", "Adams^Jo", "19610304")
    put(room, 2, "4711234", "Baker^Al", "19750101")
    put(room, 3, "9876543", "Clark^Ed", "19800101")
    report = room.clean()
    (doubt,) = report.doubts
    assert (doubt.reason, doubt.n_files) == (doubts.TWO_PEOPLE, 2)
    assert set(doubt.pseudonyms) <= {d.PatientID for d in room.cleaned()}
    said = "\n".join(report.lines())
    assert doubt.pseudonyms[0] in said
    rows = list(csv.DictReader((room.records / "review.csv").read_text(encoding="utf-8").splitlines()))
    assert [(r["file"], r["action"], r["reason"]) for r in rows] == [(doubt.pseudonyms[0], "ask", doubts.TWO_PEOPLE)]
    for secret in ("Adams", "Baker", "4711234", "19610304"):
        assert secret not in said
        assert secret not in (room.records / "review.csv").read_text(encoding="utf-8")
        assert secret not in (room.records / "report.json").read_text(encoding="utf-8")
    # A doubt is for a person; what was written is clean all the same.
    assert report.exit_status == 0


@pytest.mark.parametrize(("one", "other"), [("0004711", "4711"), ("ab-77", "AB-77"), ("12 34", "1234"), ("000", "00")])
def test_ids_that_differ_in_zeros_case_or_blanks_counted_as_two_patients_in_silence(room, one, other):
    put(room, 1, one, "Adams^Jo", "19610304")
    put(room, 2, other, "Adams^Jo", "19610304")
    (doubt,) = room.clean().doubts
    assert doubt.reason == doubts.ONE_PERSON
    assert set(doubt.pseudonyms) == {d.PatientID for d in room.cleaned()}
    assert len(doubt.pseudonyms) == 2


@pytest.mark.parametrize(
    ("name", "birth", "reason"),
    [
        ("Mueller^Anna", "19610304", None),
        ("MÜLLER^ANNA MARIA", "19610304", None),
        ("Anna Mueller", "", None),
        ("", "", None),
        ("Anonymous", "19610304", None),
        ("Schmidt^Anna", "19610304", None),  # married
        ("Schmidt^Anna", "19620304", doubts.TWO_PEOPLE),
        ("Baker^Al", "", doubts.TWO_NAMES),
        ("Baker^Al", "19610304", doubts.TWO_NAMES),
        ("Mueller^Anna", "19620304", doubts.TWO_BIRTHS),
    ],
)
def test_names_of_one_person_in_several_spellings_are_no_doubt(name, birth, reason):
    found = of(("1234", "Mueller^Anna", "19610304"), ("1234", name, birth))
    assert found == ([(reason, ("P-1234",))] if reason else [])


def test_two_people_with_one_placeholder_birth_date_were_no_doubt():
    found = of(("1234", "Adams^Jo", "19000101"), ("1234", "Baker^Al", "19000101"))
    assert found == [(doubts.TWO_NAMES, ("P-1234",))]


def test_other_ids_and_files_without_one_are_no_doubt():
    assert of(("1234", "A^B", ""), ("1235", "A^B", ""), ("no id|x", "", ""), ("no id|X", "", "")) == []


def test_decisions_on_the_review_list_were_lost_with_the_next_session(room):
    put(room, 1, "0004711", "Adams^Jo", "19610304")
    put(room, 2, "4711", "Adams^Jo", "19610304")
    room.clean()
    table = room.records / "review.csv"
    table.write_text(table.read_text(encoding="utf-8").rstrip("\n") + "one person\n", encoding="utf-8")
    put(room, 3, "8888888", "Clark^Ed", "19800101")
    room.clean()
    (row,) = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    assert row["decision"] == "one person"

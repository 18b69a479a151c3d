"""Pseudonyms are the same for the same key in every process, and the strings of a patient are found in any spelling."""

import subprocess
import sys

import pydicom
import pytest

from lucency.deidentify.keys import Identities, Keys
from lucency.deidentify.vocabulary import described
from lucency.errors import UsageError

KEYS = Keys(bytes(range(32)))
PATIENT = Identities(
    frozenset({"MUELLER^Anna Maria", "Wang^XiaoMing=王^小明"}),
    frozenset({"MRN-0012345", "ACC778812"}),
    frozenset({"19610304"}),
    frozenset({"20210517"}),
    frozenset({"St. Elsewhere Hospital"}),
)


def test_another_process_gives_the_same_pseudonyms():
    code = (
        "from lucency.deidentify.keys import Keys; k = Keys(bytes(range(32)));"
        "print(k.uid('1.2.3'), k.patient('', 'A1'), k.shift_days('P'), k.shift_minutes('P'), k.token('x'))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    expected = (
        KEYS.uid("1.2.3"),
        KEYS.patient("", "A1"),
        KEYS.shift_days("P"),
        KEYS.shift_minutes("P"),
        KEYS.token("x"),
    )
    assert said == [str(e) for e in expected]


def test_uids_are_valid_distinct_and_those_of_the_standard_stay():
    new = {KEYS.uid(f"1.2.{n}") for n in range(2000)}
    assert len(new) == 2000
    assert all(pydicom.uid.UID(u).is_valid and u.startswith("2.25.") for u in new)
    # RFC 9562: version 8 in bits 48-51, variant 10 in bits 64-65.
    number = int(KEYS.uid("1.2.3").removeprefix("2.25."))
    assert (number >> 76) & 15 == 8
    assert (number >> 62) & 3 == 2
    assert KEYS.uid("1.2.840.10008.5.1.4.1.1.2") == "1.2.840.10008.5.1.4.1.1.2"
    assert KEYS.uid("1.2.3\0") == KEYS.uid("1.2.3")


def test_another_key_gives_other_values_and_shifts_lie_within_their_bounds():
    other = Keys(bytes(32))
    assert other.uid("1.2.3") != KEYS.uid("1.2.3")
    assert other.patient("", "A1") != KEYS.patient("", "A1")
    assert {KEYS.shift_days(str(n)) for n in range(3000)} <= set(range(-3652, 0))
    assert {KEYS.shift_minutes(str(n)) for n in range(3000)} == set(range(1, 60))


def test_key_file_is_for_its_owner_and_never_written_over(tmp_path):
    path = tmp_path / "k"
    keys = Keys.create(path)
    assert Keys.load(path) == keys
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="The key file exists"):
        Keys.create(path)
    assert "master" not in repr(keys)


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"kind": "x", "id": "y", "key": "eA=="}'])
def test_a_file_that_is_no_key_is_refused(tmp_path, content):
    (tmp_path / "k").write_text(content)
    with pytest.raises(UsageError, match="Not a key file"):
        Keys.load(tmp_path / "k")


@pytest.mark.parametrize(
    "text",
    [
        "seen with Mrs. Müller",
        "MUELLER",
        "mueller, anna",
        "ANNA was here",
        "annamueller",
        "a.mueller",
        "amueller",
        "Mueller_Anna_CT",
        "id MRN0012345",
        "mrn 0012345",
        "MRN-0012345",
        "ACC778812",
        "778812",
        "born 1961-03-04",
        "4.3.1961",
        "03/04/1961",
        "19610304",
        "4 March 1961",
        "Mar 4, 1961",
        "1961年3月4日",
        "王小明",
        "患者王 小明女士",
        "Xiaoming Wang",
        "examined on 17.05.2021",
        "at St. Elsewhere Hospital, ward 3",
    ],
)
def test_patient_is_found_in_every_spelling_and_scrubbed(text):
    assert PATIENT.found_in(text)
    assert not PATIENT.found_in(PATIENT.scrub(text))


@pytest.mark.parametrize(
    "text",
    [
        "CT CHEST w/o contrast",
        "5 mm",
        "B30f",
        "0012346",
        "Manner",
        "1961",
        "20210518",
        "STANDARD",
        "mullerian duct",
        "",
    ],
)
def test_other_words_are_left_as_they_are(text):
    assert not PATIENT.found_in(text)
    assert PATIENT.scrub(text) == text


@pytest.mark.parametrize("name", ["Head^Peter", "Long^Foot"])
def test_a_name_that_is_a_word_of_radiology_counts_only_with_another_part(name):
    one = Identities(frozenset({name}))
    assert not one.found_in("MR HEAD LONG AXIS FOOT")
    assert one.found_in(name.replace("^", ", "))


@pytest.mark.parametrize("text", ["W. Li", "Li, W.", "li wei", "WEI LI", "Li_Wei", "liwei", "w.li"])
def test_a_name_of_two_letters_is_found_beside_an_initial(text):
    assert Identities(frozenset({"Li^Wei"})).found_in(text)
    assert not Identities(frozenset({"Li^Wei"})).found_in("li 5 mm, weighted")


@pytest.mark.parametrize(("name", "number"), [("Chest", "1"), ("Brain^Axial", "CT"), ("Contrast", "PHANTOM")])
def test_words_of_radiology_in_bytes_were_taken_for_the_patient_of_that_name(name, number):
    one = Identities(frozenset({name}), frozenset({number}))
    assert list(one.needles()) == []
    assert list(Identities(frozenset({"Chest^Wilhelmina"})).needles()) == ["Wilhelmina"]


def test_an_id_that_is_a_word_of_radiology_stood_in_the_patients_way():
    assert Identities(numbers=frozenset({"HEAD"})).scrub("HEAD") == "HEAD"
    assert Identities(numbers=frozenset({"HEAD01"})).scrub("HEAD01 axial") == " axial"


def test_filler_names_and_short_numbers_are_not_searched():
    one = Identities(frozenset({"Anonymous", "Unknown^Patient"}), frozenset({"1", "12", "000000"}))
    assert not one.found_in("anonymous patient 1 of 12, 000000")
    assert list(one.needles()) == []


def test_union_holds_the_strings_of_all():
    both = Identities.union([Identities(frozenset({"Adams^Jo"})), Identities(frozenset({"Baker^Al"}))])
    assert both.found_in("Adams")
    assert both.found_in("baker")


@pytest.mark.parametrize("text", ["4.3.61", "04/03/61", "3/4/61", "61-03-04", "17.5.21", "5.17.21", "21-05-17"])
def test_a_date_with_two_digits_for_its_year_passed_in_free_text(text):
    assert PATIENT.found_in(f"seen {text} again")


@pytest.mark.parametrize("text", ["471-12-34", "471 12 34", "4711 234", "47.11.234"])
def test_a_patient_id_written_in_pieces_passed(text):
    assert Identities(numbers=frozenset({"4711234"})).found_in(f"MRN {text}")
    assert not Identities(numbers=frozenset({"4711234"})).found_in(f"MRN {text}5")


@pytest.mark.parametrize(
    "text",
    [
        *("4.3.61", "04/03/61", "3/4/61", "61-03-04", "10.4.23", "4 3 61", "4.3-61", "4 Mar 61", "Mar 4, 61"),
        *("3. Okt 61", "1961年3月4日", "471-12-34", "943 476 5919", "(943) 476 5919", "943.476.5919", "10.4.23.1"),
    ],
)
def test_dates_and_numbers_in_pieces_passed_as_harmless_numbers_of_descriptions(text):
    assert described(f"Thorax {text}") == "Thorax"


@pytest.mark.parametrize("text", ["CT 0.625 mm", "T2 C7", "120 kV", "CT 1.25/0.8", "C5-C7", "3 mm 120 kV", "5.0 B30f"])
def test_sizes_and_vertebrae_stay_in_descriptions(text):
    assert described(text) == text

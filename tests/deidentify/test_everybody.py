"""Ages over 89 in reports and texts, and patients named in the files of others."""

import numpy as np
import planted
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from lucency.deidentify import Options
from lucency.deidentify.ages import cap_age
from lucency.deidentify.plain import PlainStrings
from lucency.deidentify.spellings import without_great_ages


def coded(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def measured(name, value, unit="a"):
    item, inner = Dataset(), Dataset()
    inner.MeasurementUnitsCodeSequence = Sequence([coded(unit, "UCUM", unit)])
    inner.NumericValue = value
    item.RelationshipType, item.ValueType = "CONTAINS", "NUM"
    item.ConceptNameCodeSequence = Sequence([name])
    item.MeasuredValueSequence = Sequence([inner])
    return item


AGE = coded("121033", "DCM", "Subject Age")


def test_subject_age_of_95_in_a_report_does_not_stay(room):
    import pydicom

    planted.series(room.src, 1, 64)
    (path,) = [p for p in room.src.rglob("*.dcm") if pydicom.dcmread(p).Modality == "SR"]
    report = pydicom.dcmread(path)
    report.ContentSequence.append(measured(AGE, "95"))
    report.ContentSequence.append(measured(coded("410668003", "SCT", "Length"), "95", "mm"))
    pydicom.dcmwrite(path, report)
    assert room.clean().left == ()
    (after,) = [d for d in room.cleaned() if d.Modality == "SR"]
    values = [item.MeasuredValueSequence[0].NumericValue for item in after.ContentSequence[-2:]]
    assert values == [90, 95]


@pytest.mark.parametrize(
    ("name", "value", "unit", "told"),
    [
        (AGE, "95", "a", 90),
        (AGE, "89", "a", 89),
        (AGE, "1140", "mo", 1080),  # 95 years; 90 are 90 * 12 months
        (AGE, "600", "mo", 600),
        (coded("445518008", "SCT", "Age"), "101", "a", 90),
        (coded("X1", "99LOCAL", "Patient age at scan"), "93", "a", 90),
        (coded("410668003", "SCT", "Average length"), "95", "mm", 95),
        (coded("X2", "99LOCAL", "REMOVED"), "95", "a", 90),
    ],
)
def test_only_great_ages_are_told_as_ninety_years_in_their_own_unit(name, value, unit, told):
    item = measured(name, value, unit)
    assert cap_age(item) == (float(value) != told)
    assert item.MeasuredValueSequence[0].NumericValue == told


def test_a_floating_point_age_goes_with_its_decimal(room):
    item = measured(AGE, "90")
    item.MeasuredValueSequence[0].FloatingPointValue = 95.25
    assert cap_age(item)
    assert "FloatingPointValue" not in item.MeasuredValueSequence[0]


@pytest.mark.parametrize(
    "text",
    [
        "95 year old",
        "a 95-year-old man",
        "aged 95",
        "She is 94. No fracture.",
        "Sie ist 101, gestern gestürzt",
        "95岁",
        "年龄:95",
        "95jährige",
        "95 y/o",
        "age: 102",
        "095Y",
        "95 ans",
    ],
)
def test_a_great_age_in_free_text_goes(text):
    assert not any(c.isdigit() for c in without_great_ages(text))


@pytest.mark.parametrize(
    "text", ["45 year old", "95 mm", "image 95 of 120", "aged 89", "95%", "TE 95", "195 years", "it is 95."]
)
def test_other_numbers_in_free_text_stay(text):
    assert without_great_ages(text) == text


def test_95_year_old_in_a_comment_left_its_number(room, image):
    image.ImageComments = "CT CHEST 95 year old"
    after = room.one(image, Options(keep=frozenset({"patient-characteristics"})))
    assert "95" not in str(after.get("ImageComments", ""))


def second(room, number="4711234", name="Wieczorek^Jan"):
    """Put a file of another patient into the run."""
    other = planted.image()
    other.PatientName, other.PatientID, other.SOPInstanceUID = name, number, f"{planted.ROOT}.4.77"
    room.put(other, "b.dcm")


def first(room):
    """Return the cleaned file of the patient in whose file the other is named."""
    return next(d for d in room.cleaned() if d.InstanceNumber == 41)


@pytest.mark.parametrize(
    ("keyword", "value", "left"),
    [
        ("ManufacturerModelName", "V2 Wieczorek", "V2"),
        ("SoftwareVersions", "4711234", "REMOVED"),
        ("ProtocolName", "CHEST Wieczorek 4711234", "CHEST"),
        ("StudyDescription", "CT THORAX WIECZOREK, JAN", "CT THORAX"),
        ("SeriesNumber", "4711234", "0"),
        ("ScanOptions", "WIECZOREK", "REMOVED"),
    ],
)
def test_another_patient_of_the_run_stayed_in_kept_and_cleaned_attributes(room, image, keyword, value, left):
    setattr(image, keyword, value)
    image.InstanceNumber = 41
    room.put(image)
    second(room)
    report = room.clean()
    assert report.left == ()
    assert report.exit_status == 0
    assert str(first(room).get(keyword, "")).strip() == left


def test_another_patient_in_bytes_that_stay_went_along(room, image):
    image.InstanceNumber = 41
    image.add_new(0x00282000, "OB", b"\0" * 40 + b"made for Wieczorek Jan" + b"\0" * 40)  # ICC Profile
    room.put(image)
    second(room)
    assert room.clean().left == ()
    assert "ICCProfile" not in first(room)


def test_a_hospital_named_like_another_patient_keeps_its_name_where_that_was_asked(room, image):
    image.InstanceNumber, image.InstitutionName = 41, "Wieczorek Hospital, Ward Jan Wieczorek 4711234"
    room.put(image)
    second(room)
    room.clean(Options(keep=frozenset({"institution"})))
    assert first(room).InstitutionName == "Wieczorek Hospital, Ward"


def test_a_dose_of_as_many_digits_as_another_patients_id_stays(room, image):
    image.InstanceNumber, image.ExposureTimeInuS = 41, "4711234"  # DS
    room.put(image)
    second(room)
    room.clean()
    assert first(room).ExposureTimeInuS == 4711234


def test_second_look_finds_another_patient_that_the_engine_forgets(room, image, monkeypatch):
    from lucency.deidentify.scrubbing import Scrubber

    monkeypatch.setattr(Scrubber, "without_people", lambda *_, **__: _[1])
    image.ManufacturerModelName = "Wieczorek"
    room.put(image)
    second(room)
    report = room.clean()
    assert ("name or number of another patient", "ManufacturerModelName") in {(f.kind, f.where) for f in report.left}
    assert report.exit_status == 1
    assert not any("Wieczorek" in str(f) for f in report.left)


def test_texts_of_one_patient_were_remembered_for_the_next_that_came_to_lie_in_its_place():
    from lucency.deidentify.keys import Identities
    from lucency.deidentify.scrubbing import Scrubber

    scrubber = Scrubber()
    assert scrubber.text("made for Baker", "LO", Identities(frozenset({"Adams^Jo"}))) == "made for Baker"
    for _ in range(50):  # each may get the memory of the one before
        assert scrubber.text("made for Baker", "LO", Identities(frozenset({"Baker^Al"}))).strip() == "made for"
        assert scrubber.text("made for Baker", "LO", Identities(frozenset({"Adams^Jo"}))) == "made for Baker"


NAMES = ["Wieczorek^Jan", "Mueller^Anna", "Li^Wei=王^小明", "Siemens^Eva", "Head^Otto", "QIICR", "HEADNECK^Scan"]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_found_in_what_was_scrubbed_and_other_words_stay(seed):
    rng = np.random.default_rng(seed)
    everybody = PlainStrings.of(NAMES, ["4711234", "00A-B77-1"])
    told = ["Wieczorek", "li", "wei", "MÜLLER", "anna", "4711234", "471-12-34", "王小明", "a b77 1", "00A-B77-1"]
    plain = ["CT", "chest", "5.0", "SIEMENS", "V2", "Wieczorekite", "12345"]
    text = "".join(rng.choice(told + plain) + rng.choice([" ", ", ", "_", "^", "; "]) for _ in range(30))
    left = everybody.scrub(text)
    assert not everybody.found_in(left)
    assert everybody.scrub(left) == left
    for word in plain:
        assert left.count(word) >= text.count(word) - text.count(word + "ite"), (word, text, left)


@pytest.mark.parametrize("text", ["SIEMENS V2 CT", "Wieczorekite 5 mm", "HEAD FIRST, QIICR"])
def test_texts_without_anybody_stay_as_they_are(text):
    assert PlainStrings.of(NAMES, ["4711234"]).scrub(text) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("V2 for WIECZOREK", True),
        ("Müller workstation", True),
        ("li, wei", True),
        ("lib 471-12-34", True),
        ("MRN4711234", True),
        ("王小明专用", True),
        ("Wieczorekite", False),
        ("Li battery", False),
        ("SIEMENS", False),
        ("QIICR IOWA", False),
        ("HEADNECK", False),
        ("HEAD FIRST", False),
        ("1234", False),
        ("47112345", False),
    ],
)
def test_everybody_is_found_as_whole_words_and_makers_and_anatomy_are_not(text, found):
    assert PlainStrings.of(NAMES, ["4711234", "1234"]).found_in(text) is found

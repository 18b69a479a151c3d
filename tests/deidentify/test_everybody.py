"""Ages over 89 in reports and texts, and patients named in the files of others."""

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


@pytest.mark.parametrize("text", ["45 year old", "95 mm", "image 95 of 120", "aged 89", "95%", "TE 95", "195 years"])
def test_other_numbers_in_free_text_stay(text):
    assert without_great_ages(text) == text


def test_95_year_old_in_a_comment_left_its_number(room, image):
    image.ImageComments = "CT CHEST 95 year old"
    after = room.one(image, Options(keep=frozenset({"patient-characteristics"})))
    assert "95" not in str(after.get("ImageComments", ""))


@pytest.mark.parametrize(
    ("keyword", "value"), [("ManufacturerModelName", "Wieczorek"), ("SoftwareVersions", "4711234")]
)
def test_another_patient_of_the_run_in_a_kept_attribute_passed_the_second_look(room, image, keyword, value):
    other = planted.image()
    other.PatientName, other.PatientID, other.SOPInstanceUID = "Wieczorek^Jan", "4711234", f"{planted.ROOT}.4.77"
    setattr(image, keyword, value)
    room.put(image)
    room.put(other, "b.dcm")
    report = room.clean()
    assert ("name or number of another patient", keyword) in {(f.kind, f.where) for f in report.left}
    assert report.exit_status == 1
    assert not any(value in str(f) for f in report.left)


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
    names = ["Wieczorek^Jan", "Mueller^Anna", "Li^Wei=王^小明", "Siemens^Eva", "Head^Otto", "QIICR", "HEADNECK^Scan"]
    assert PlainStrings.of(names, ["4711234", "1234"]).found_in(text) is found

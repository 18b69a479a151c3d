"""Standardised uptake value, worked out by hand."""

import dicom_made as made
import pytest

from lucency.read import load
from lucency.read.layout import tree_of
from lucency.read.suv import seconds_of_day, suv_of

#: 70 kg, 350 MBq of fluorine-18 (half-life 6586.2 s) at 10:00, scan at 11:00.
DRUG = {"RadionuclideTotalDose": 350e6, "RadionuclideHalfLife": 6586.2, "RadiopharmaceuticalStartTime": "100000"}
SAID = {
    "Units": "BQML",
    "CorrectedImage": ["ATTN", "DECY", "SCAT"],
    "DecayCorrection": "START",
    "PatientWeight": 70,
    "SeriesDate": "20200101",
    "SeriesTime": "110000",
    "AcquisitionTime": "110000",
}
#: After an hour 350 MBq are 350e6 * 2^(-3600 / 6586.2) = 239.61 MBq; 70 000 g / 239.61e6 Bq.
FACTOR = 70_000 / (350e6 * 2 ** (-3600 / 6586.2))


def pet(drug=(), **changes):
    data = made.empty("PT")
    for keyword, value in {**SAID, **changes}.items():
        if value is not None:
            setattr(data, keyword, value)
    data.RadiopharmaceuticalInformationSequence = [made.item(**{k: v for k, v in {**DRUG, **dict(drug)}.items() if v})]
    return data


@pytest.mark.parametrize(
    ("drug", "changes", "factor"),
    [
        ({}, {}, FACTOR),
        ({}, {"DecayCorrection": "ADMIN"}, 70_000 / 350e6),
        ({}, {"Units": "GML"}, 1.0),
        # Over midnight: injected at 23:30, scanned at 00:30 of the next day, one hour.
        ({"RadiopharmaceuticalStartTime": "233000"}, {"SeriesTime": "003000", "AcquisitionTime": "003000"}, FACTOR),
        ({"RadiopharmaceuticalStartDateTime": "20200101100000.00"}, {}, FACTOR),
        (
            {"RadiopharmaceuticalStartDateTime": "20191231233000"},
            {"SeriesTime": "003000", "AcquisitionTime": "003000"},
            FACTOR,
        ),
    ],
)
def test_factor(drug, changes, factor):
    assert suv_of(pet(drug, **changes)) == {"factor": pytest.approx(factor, rel=1e-9)}


@pytest.mark.parametrize(
    ("drug", "changes", "words"),
    [
        ({}, {"Units": "PROPCPS"}, "unit is not activity"),
        ({}, {"Units": "CNTS"}, "holds counts"),
        ({}, {"Units": "GML", "SUVType": "LBM"}, "something else than weight"),
        ({}, {"CorrectedImage": ["ATTN"]}, "not corrected for attenuation and decay"),
        ({}, {"PatientWeight": None}, "weight or the injection"),
        ({"RadionuclideTotalDose": 0}, {}, "dose or its half-life"),
        ({}, {"DecayCorrection": "NONE"}, "to which time its decay is corrected"),
        ({}, {"SeriesTime": None}, "times of injection and scan are not recorded"),
        # A reconstruction made at 15:00 says nothing of the scan at 11:00.
        ({}, {"SeriesTime": "150000"}, "times of injection and scan are not recorded"),
        ({"RadiopharmaceuticalStartDateTime": "20200101120000"}, {}, "contradict each other"),
        ({"RadiopharmaceuticalStartDateTime": "20191225100000"}, {}, "contradict each other"),
    ],
)
def test_without_what_it_needs_there_is_no_factor_and_a_reason(drug, changes, words):
    found = suv_of(pet(drug, **changes))
    assert words in found["reason"]
    assert "factor" not in found


def test_pixels_become_uptake(tmp_path):
    for n in range(3):
        data = pet()
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 3.0 * n], list(made.AXIAL)
        data.PixelSpacing, data.RescaleSlope, data.RescaleIntercept = [4, 4], 2.5, 0
        made.saved(made.with_pixels(data, made.plane(n)), tmp_path / f"{n}.dcm")
    (unit,) = tree_of(tmp_path).units
    image = load(unit.source)
    assert (image.unit, image.array.dtype.name, unit.source.header["dtype"]) == ("SUV", "float32", "float32")
    assert image.array[0, 1] == pytest.approx(made.plane(1) * 2.5 * FACTOR, rel=1e-6)


def test_without_a_factor_the_numbers_stay_and_it_is_said(tmp_path):
    for n in range(3):
        data = pet(PatientWeight=None)
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 3.0 * n], list(made.AXIAL)
        made.saved(made.with_pixels(data, made.plane(n)), tmp_path / f"{n}.dcm")
    tree = tree_of(tmp_path)
    (unit,) = tree.units
    assert load(unit.source).unit == "1"
    assert any("stay in the numbers of the scanner, because the patient's weight" in n for n in tree.notes)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("000000", 0.0),
        ("235959.5", 86399.5),
        ("0930", 34200.0),
        ("20200102030405.25+0100", 11045.25),
        ("12:30:00", 45000.0),
        ("", None),
        ("None", None),
        ("1x0000", None),
    ],
)
def test_times(text, seconds):
    assert seconds_of_day(text) == seconds

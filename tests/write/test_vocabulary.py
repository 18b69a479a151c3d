"""Codes are the standard's own, and no name has a code that the standard does not give it."""

import pytest

from lucency.write.vocabulary import PRIVATE, finding_of, property_of, public_code


# Code values as DICOM PS3.16 prints them: CID 7192, 7194, 6105, 6104, 12248, 645, 9534.
@pytest.mark.parametrize(
    ("name", "value", "scheme"),
    [
        ("left ventricle", "87878005", "SCT"),
        ("LV", "87878005", "SCT"),
        ("Nodules", "27925004", "SCT"),
        ("pneumothorax", "36118008", "SCT"),
        ("infiltration", "112121", "DCM"),
        ("Cardiomegaly", "287272002", "SCT"),
        ("pleural_effusion", "60046008", "SCT"),
        ("GTV", "228791009", "SCT"),
        ("vertebrae_L1", "66794005", "SCT"),
        ("Vertebra", "51282000", "SCT"),
        ("肝脏", "10200004", "SCT"),
    ],
)
def test_names_have_the_codes_that_the_standard_prints(name, value, scheme):
    found = public_code(name)
    assert (found.value, found.scheme) == (value, scheme)
    assert finding_of(name) == found


@pytest.mark.parametrize("name", ["viral", "pneumonia", "GTV-1", "xyzzy", "", "lung nodule", "RBC", "7"])
def test_names_without_a_public_code_get_none(name):
    assert public_code(name) is None
    assert finding_of(name).scheme == PRIVATE


def test_a_side_is_no_part_of_the_code_but_of_the_property():
    assert public_code("kidney_left") == public_code("kidney")
    assert finding_of("kidney_left").scheme == PRIVATE
    # A finding is no type of segment, so a segment of that name has the widest term and its own label.
    assert not property_of("pneumothorax").known
    assert property_of("vertebrae_L1").kind.meaning == "L1 vertebra"

"""A short text that is nothing but a name leaves a value behind where one must be."""

import planted
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from lucency.deidentify import Options, streams
from lucency.deidentify.keys import Identities
from lucency.deidentify.rescan import Known, left_in


def layers(*names):
    return Sequence([_with(GraphicLayer=name, GraphicLayerOrder=n) for n, name in enumerate(names)])


def _with(**values):
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def test_a_code_string_that_was_a_name_became_empty(room, image):
    image.ContentLabel = "SMITHSON"
    image.SegmentSequence = Sequence([_with(SegmentNumber=1, SegmentLabel="Smithson Harriet")])
    after = room.one(image)
    assert after.ContentLabel == "REMOVED"
    assert after.SegmentSequence[0].SegmentLabel == "REMOVED"


def test_layers_named_after_people_became_one(room, image):
    image.GraphicLayerSequence = layers("SMITHSON", "HARRIET", "LESION", "SMITHSON LESION")
    image.GraphicAnnotationSequence = Sequence([_with(GraphicLayer="HARRIET"), _with(GraphicLayer="SMITHSON")])
    after = room.one(image)
    names = [item.GraphicLayer for item in after.GraphicLayerSequence]
    assert names[2] == "LESION"
    assert len(set(names)) == 4
    assert all(name.startswith("LAYER_") for name in names[:2])
    assert names[3].startswith("LESION_")
    assert max(map(len, names)) <= 16
    assert [item.GraphicLayer for item in after.GraphicAnnotationSequence] == [names[1], names[0]]


@pytest.mark.parametrize("keyword", ["Rows", "BitsAllocated"])
def test_an_error_of_the_language_stood_in_the_sentence_about_what_is_beside_the_picture(keyword):
    image = planted.image()
    image.PixelData = bytes(int(image.Rows) * int(image.Columns) * 2)
    image[keyword].value = None
    said = streams.trimmed(image)
    assert {"Rows": "lacks Rows", "BitsAllocated": "lacks Bits Allocated"}[keyword] in said
    assert "Error" not in said


@pytest.mark.parametrize(
    ("name", "maker", "left"),
    [
        ("Siemens^Anna", "SIEMENS", "SIEMENS"),
        ("Philips^Jan", "Philips Medical Systems", "Philips Medical Systems"),
        ("Siemens^Anna", "Siemens Anna", "REMOVED"),
        ("Smithson^Harriet", "Smithson", "REMOVED"),
    ],
)
def test_the_maker_went_because_the_patient_is_called_like_it(room, image, name, maker, left):
    image.PatientName, image.Manufacturer = name, maker
    image.ProtocolName, image.ManufacturerModelName = f"CHEST {name.split('^')[0]}", maker
    after = room.one(image)
    assert after.Manufacturer == left
    assert after.ProtocolName == "CHEST"
    assert after.get("ManufacturerModelName", "") != maker


def test_a_makers_name_beside_the_attribute_of_makers_is_found(room, image):
    image.PatientName, image.Manufacturer = "Siemens^Anna", "SIEMENS"
    room.put(image)
    room.clean()
    (path,) = room.dst.rglob("*.dcm")
    after = pydicom.dcmread(path)
    after.ProtocolName = "SIEMENS"
    pydicom.dcmwrite(path, after)
    known = Known({after.PatientID: Identities(names=frozenset({"Siemens^Anna"}))}, frozenset())
    left = left_in(room.dst, path.relative_to(room.dst).as_posix(), known, Options())
    assert {(f.kind, f.where) for f in left} == {
        ("name or number", "ProtocolName"),
        ("name or number", "bytes of the file"),
    }


@pytest.mark.parametrize("lacking", ["Rows", "SamplesPerPixel", "PhotometricInterpretation"])
def test_an_error_of_the_language_stood_in_the_reason_for_holding_back(room, image, lacking):
    del image[lacking]
    room.put(image)
    report = room.clean()
    assert not report.actions.get("written")
    assert report.reasons
    assert not any("Error" in reason for reason in report.reasons)

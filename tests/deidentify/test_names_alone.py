"""A short text that is nothing but a name leaves a value behind where one must be."""

import planted
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from lucency.deidentify import streams


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

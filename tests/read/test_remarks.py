"""Every remark on a DICOM series can be said in both languages."""

import re

import pytest

from lucency.read.remarks import SENTENCES, Remarks
from lucency.read.split import EXACT, RANKED
from lucency.text import sentence

#: What a sentence may quote: file names, the standard's own words, units.
QUOTED = re.compile(r"a/0\.dcm|slices? [\d, ]+|DICOM|PET|MONOCHROME1|\bb\b")


def english_in(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]{3,}", QUOTED.sub("", text))


@pytest.mark.parametrize("kind", sorted(SENTENCES))
def test_every_remark_is_said_in_chinese(kind):
    remarks = Remarks()
    more = {
        "split": {"by": "trigger time"},
        "tilt": {"degrees": 12.34},
        "filled": {"what": "slices 3, 5"},
        "no_suv": {"by": "it holds counts and no scale to activity"},
    }
    remarks.add(kind, "a/0.dcm", **more.get(kind, {}))
    (said,) = remarks.sentences()
    assert said.endswith(".")
    assert "a/0.dcm" in said
    assert english_in(said)
    assert english_in(sentence(said, "zh")) == []


@pytest.mark.parametrize("word", sorted({said for table in (EXACT, RANKED) for _, said in table.values()}))
def test_what_tells_images_apart_has_a_chinese_word(word):
    assert english_in(sentence(word, "zh")) == []


def test_remarks_of_one_kind_are_counted_and_the_first_file_is_named():
    remarks = Remarks()
    for name in ("c.dcm", "a.dcm", "b.dcm"):
        remarks.add("overlays", name)
    remarks.add("tilt", "d.dcm", degrees=3.0)
    remarks.add("tilt", "e.dcm", degrees=20.0)
    said = remarks.sentences()
    assert said[0].startswith("2 DICOM images were taken with a tilted gantry, up to 20.0 degrees")
    assert said[1].startswith("3 DICOM images carry overlay planes")
    assert said[1].endswith("(first: a.dcm).")


def test_a_long_list_is_cut():
    remarks = Remarks()
    for n in range(15):
        remarks.add("filled", f"{n:02d}.dcm", what="slices 1")
    (said,) = remarks.sentences()
    assert "in 15 DICOM images" in said
    assert said.count("slices 1") == 10

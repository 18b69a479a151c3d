"""Files of other kinds beside the images: named, counted, and never taken for classes."""

import numpy as np
import pytest
from PIL import Image as Picture

from lucency import text
from lucency.read import read

pydicom_data = pytest.importorskip("pydicom.data")


def picture(path, value=7):
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.full((8, 8), value, np.uint8)).save(path)


def dicom(path, name="CT_small.dcm"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(pydicom_data.get_testdata_file(name), "rb") as file:
        path.write_bytes(file.read())


@pytest.fixture
def study(tmp_path):
    """Three DICOM images with what hospitals' exports lay beside them."""
    dicom(tmp_path / "ct" / "张三" / "I1")
    dicom(tmp_path / "ct" / "张三" / "I2", "MR_small.dcm")
    dicom(tmp_path / "ct" / "张三" / "I3", "JPEG2000.dcm")
    for name in ("preview/a.png", "preview/b.png"):
        picture(tmp_path / name)
    picture(tmp_path / "photo.jpg")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "list.xlsx").write_bytes(b"PK\3\4")
    (tmp_path / "LICENSE").write_text("free", encoding="utf-8")
    return tmp_path


def test_files_beside_dicom_were_dropped_without_a_word(study):
    told = []
    cohort = read(study, left_out=told.append)
    assert cohort.layout == "dicom"
    assert {s.path for s in cohort.beside} == {
        *("preview/a.png", "preview/b.png", "photo.jpg", "report.pdf", "list.xlsx", "LICENSE")
    }
    assert cohort.skipped == ()
    assert set(cohort.beside) <= set(told[-1])
    (note,) = [n for n in cohort.notes if "other kinds" in n]
    assert note.startswith("5 files of other kinds beside the DICOM images")
    assert note.endswith("PNG (2), JPEG (1), PDF (1), no suffix (1).")
    (sheet,) = [n for n in cohort.notes if "Excel" in n]
    assert "first: list.xlsx" in sheet
    assert "save them as CSV" in sheet
    for said in (note, sheet, *(s.reason for s in cohort.beside)):
        assert "files of" not in text.sentence(said, "zh")
        assert "What to do" not in text.sentence(said, "zh")


def test_previews_beside_series_were_taken_for_a_class(tmp_path):
    dicom(tmp_path / "ct" / "I1")
    dicom(tmp_path / "ct" / "I2", "MR_small.dcm")
    for name in ("a", "b"):
        picture(tmp_path / "preview" / f"{name}.png")
    assert read(tmp_path).layout == "dicom"


def test_a_picture_data_set_names_its_documents_and_keeps_its_texts(tmp_path):
    for n in range(12):
        picture(tmp_path / ("well" if n % 2 else "ill") / f"{n}.png", n)
        (tmp_path / ("well" if n % 2 else "ill") / f"{n}.txt").write_text("seen twice", encoding="utf-8")
    (tmp_path / "paper.pdf").write_bytes(b"%PDF-1.4")
    cohort = read(tmp_path)
    assert [s.path for s in cohort.beside] == ["paper.pdf"]
    assert cohort.layout == "classes"


def test_nothing_is_said_where_nothing_lies_beside(tmp_path):
    for n in range(12):
        picture(tmp_path / ("well" if n % 2 else "ill") / f"{n}.png", n)
    cohort = read(tmp_path)
    assert cohort.beside == ()
    assert not any("other kinds" in n for n in cohort.notes)

import numpy as np
import pytest

from lucency import text
from lucency.errors import DataError, UsageError
from lucency.read import ReadOptions, load, read, read_inputs
from lucency.read.layout import tree_of
from lucency.read.targets import parsed


def pictures(folder, names):
    for name in names:
        folder.picture(name)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_chinese_tables_in_every_usual_writing(folder, delimiter, encoding):
    pictures(folder, [f"图/{n}.png" for n in range(8)])
    head = ["文件名", " 诊断 ", "患者编号", "性别", "年龄"]
    lines = [head, *([f"{n}.png", "肺炎" if n % 2 else "正常 ", f"病{n // 2}", "男", "50"] for n in range(8))]
    folder.text("表.csv", "\n".join(delimiter.join(r) for r in lines), encoding)
    cohort = read(folder.root)
    assert cohort.classes == ("正常", "肺炎")
    assert cohort.target_name == "诊断"
    assert len({c.patient for c in cohort.cases}) == 4
    assert cohort.cases[0].facts == {"sex": "M", "age": 50.0}


@pytest.mark.parametrize(
    ("files", "values"),
    [
        ("{:03d}.png", "{}"),
        ("patient_{:03d}.png", "{}"),
        ("patient_{:03d}.png", "{:.1f}"),
        ("a/b/x{}.png", "a/b/x{}"),
        ("a/b/x{}.png", "C:\\scans\\x{}.png"),
        ("x{}.png", "x{}"),
        ("p{}/scan.png", "p{}"),
    ],
)
def test_an_id_column_finds_its_files(folder, files, values):
    pictures(folder, [files.format(n) for n in range(8)])
    rows = "".join(f"{values.format(n)},{'ab'[n % 2]}\n" for n in range(8))
    folder.text("t.csv", " ID , grade \n" + rows)
    cohort = read(folder.root)
    found = {c.sources[0].paths[0]: c.target for c in cohort.cases}
    assert cohort.layout == "table"
    assert found == {files.format(n): "ab"[n % 2] for n in range(8)}


def test_a_table_that_names_absent_files_is_refused_with_the_first_five(folder):
    pictures(folder, [f"{n}.png" for n in range(10)])
    folder.text("t.csv", "image,label\n" + "".join(f"{n}.png,{n % 2}\n" for n in range(17)))
    with pytest.raises(
        DataError, match=r"t\.csv: 7 files .* absent: 10\.png, 11\.png, 12\.png, 13\.png, 14\.png and 2 more"
    ):
        read(folder.root)


def test_an_image_named_twice_is_refused(folder):
    pictures(folder, [f"{n}.png" for n in range(20)])
    folder.text("t.csv", "image,label\n" + "".join(f"{n}.png,{n % 2}\n" for n in [*range(20), 7]))
    with pytest.raises(DataError, match=r"1 rows of column 'image' name an image that an earlier row names: 7\.png"):
        read(folder.root)


def test_a_table_that_leaves_the_target_open_is_refused_with_its_columns(folder):
    pictures(folder, [f"{n}.png" for n in range(8)])
    folder.text("t.csv", "image,site,stage,grade\n" + "".join(f"{n}.png,A,{n % 2},{n % 3}\n" for n in range(8)))
    with pytest.raises(UsageError, match=r"does not say what to learn.*--target; the columns are stage, grade"):
        read(folder.root)
    assert read(folder.root, ReadOptions(target=" Grade")).classes == ("0", "1", "2")
    with pytest.raises(UsageError, match="No column 'size'"):
        read(folder.root, ReadOptions(target="size", layout="single"))


def test_masks_named_by_a_column(folder):
    for n in range(10):
        folder.picture(f"a/{n}.png")
        folder.mask(f"elsewhere/truth-{n * 7}.png")
    rows = "".join(f"a/{n}.png,elsewhere/truth-{n * 7}.png,{'test' if n > 7 else 'train'}\n" for n in range(10))
    folder.text("t.csv", "image,mask,split\n" + rows)
    cohort = read(folder.root)
    assert (cohort.layout, cohort.labels, cohort.locked) == ("table", {255: "1"}, {"8", "9"})
    assert {c.id: c.target.paths[0] for c in cohort.cases}["3"] == "elsewhere/truth-21.png"


def test_a_table_beside_pairs_gives_facts_and_pixel_size_until_a_target_is_named(folder):
    for n in range(12):
        folder.picture(f"images/{n:02d}.png")
        folder.mask(f"masks/{n:02d}.png")
    rows = "".join(f"{n:02d}.png,0.{n + 10},{60 + n},{n * 1.5 + 0.25}\n" for n in range(12))
    folder.text("t.csv", "filename,pixel_size_mm,age,volume\n" + rows)
    cohort = read(folder.root)
    case = cohort.cases[3]
    assert (cohort.layout, case.facts) == ("pairs", {"age": 63.0})
    assert case.sources[0].header["spacing"] == (1.0, 0.13, 0.13)
    assert load(case.target).spacing == pytest.approx((1.0, 0.13, 0.13))
    measured = read(folder.root, ReadOptions(target="volume"))
    assert (measured.layout, measured.cases[3].target, len(measured.cases)) == ("table", 4.75, 12)


def made_smaller(folder, head, cells):
    for n in range(12):
        folder.picture(f"images/{n:02d}.png", np.full((12, 14), n * 9 + 5, np.uint8))
        folder.mask(f"masks/{n:02d}.png")
    folder.text("t.csv", f"filename,{head}\n" + "".join(f"{n:02d}.png,{cells}\n" for n in range(12)))


@pytest.mark.parametrize(
    ("head", "cells", "asked", "wanted"),
    [
        # The images are 12 × 14 pixels: half as high and half as wide as they were.
        ("pixel_size_mm,orig_width,orig_height", "0.2,28,24", "", (1.0, 0.2, 0.2)),
        ("pixel_size_mm,orig_width,orig_height", "0.2,28,24", "pixel_size_mm:full", (1.0, 0.4, 0.4)),
        ("original_pixel_size_mm,orig_width,orig_height", "0.2,28,24", "", (1.0, 0.4, 0.4)),
        ("orig_pixel_spacing,original_width", "0.2,42", "", (1.0, 0.6, 0.6)),
        ("orig_pixel_size,orig_width,orig_height", "0.2,14,24", "", (1.0, 0.4, 0.2)),
        ("pixel_spacing", "0.3\\0.5", "", (1.0, 0.3, 0.5)),
        ("how_large", "0.7", "how_large", (1.0, 0.7, 0.7)),
        ("pixel_size_mm", "0.2", "none", (1.0, 1.0, 1.0)),
        ("original_pixel_size_mm", "0.2", "", (1.0, 1.0, 1.0)),
        ("pixel_size_mm", "250", "", (1.0, 1.0, 1.0)),
    ],
)
def test_the_size_of_pixels_is_that_of_the_image_that_the_column_is_of(folder, head, cells, asked, wanted):
    made_smaller(folder, head, cells)
    cohort = read(folder.root, ReadOptions(pixel_size=asked))
    case = cohort.cases[0]
    assert load(case.sources[0]).spacing == load(case.target).spacing == pytest.approx(wanted)
    assert case.sources[0].header["spacing_known"] == (wanted != (1.0, 1.0, 1.0))
    told = [n for n in cohort.notes if n.startswith("The size of pixels in mm is taken from column")]
    assert len(told) == case.sources[0].header["spacing_known"]


def test_what_a_column_of_pixel_sizes_may_be_of_is_said(folder):
    made_smaller(folder, "pixel_size_mm,orig_width", "0.2,28")
    notes = read(folder.root).notes
    assert any("column pixel_size_mm of t.csv, of the images as they are stored" in n for n in notes)
    assert any("--set pixel_size=pixel_size_mm:full" in n for n in notes)


@pytest.mark.parametrize(("asked", "said"), [("pixel", "No column 'pixel'"), ("pixel_size_mm:half", "COLUMN:full")])
def test_a_column_of_pixel_sizes_that_is_not_there_is_refused(folder, asked, said):
    made_smaller(folder, "pixel_size_mm", "0.2")
    with pytest.raises(UsageError, match=said):
        read(folder.root, ReadOptions(pixel_size=asked))


def test_images_to_predict_have_the_pixel_size_of_the_table_beside_them(folder):
    made_smaller(folder, "pixel_size_mm", "0.2")
    assert {load(c.sources[0]).spacing for c in read_inputs(folder.root)} == {(1.0, 0.2, 0.2)}


def test_one_npz_for_each_case_takes_its_mask_unless_a_target_is_named(folder):
    for n in range(12):
        mask = np.zeros((6, 7, 8), bool)
        mask[2:4, 1:5, 2:6] = True
        folder.npz(
            f"ct/patient_{n:03d}.npz", scan=folder.rng.integers(-1000, 900, (6, 7, 8), dtype=np.int16), mask=mask
        )
    folder.text(
        "clinical.csv", "PatientID,histology,stage\n" + "".join(f"{n},{'ab'[n % 2]},{n % 4}\n" for n in range(12))
    )
    cohort = read(folder.root)
    assert (cohort.labels, cohort.target_name) == ({1: "1"}, "mask")
    assert load(cohort.cases[0].sources[0]).array.dtype == np.int16
    assert load(cohort.cases[0].target).array.sum() == 2 * 4 * 4
    assert read(folder.root, ReadOptions(target="histology")).classes == ("a", "b")
    with pytest.raises(UsageError, match=r"No column 'histolgy'.*use one of the columns: PatientID, histology, stage"):
        read(folder.root, ReadOptions(target="histolgy"))


@pytest.mark.parametrize(
    ("words", "targets", "classes"),
    [
        (["1.0", "0", " 1 ", "0.0"], ["1", "0", "1", "0"], ("0", "1")),
        (["TRUE", "false", "True"], ["True", "False", "True"], ("False", "True")),
        (["2.5", "3"], [2.5, 3.0], ()),
        ([str(n) for n in range(21)], [float(n) for n in range(21)], ()),
        (["10", "9"], ["10", "9"], ("9", "10")),
        (["b ", "a", "", None, "NA"], ["b", "a", None, None, None], ("a", "b")),
    ],
)
def test_words_become_classes_or_numbers(words, targets, classes):
    found, names, notes = parsed(words, "y")
    assert (found, names) == (targets, classes)
    assert bool(notes) == (None in targets)


def test_text_that_differs_for_every_case_is_no_class():
    with pytest.raises(DataError, match="y: 40 different texts for 40 cases"):
        parsed([f"remark {n}" for n in range(40)], "y")


def rows_of(n=8):
    return [f"{k}.png,{'肺炎' if k % 2 else '正常'},病{k // 2},{40 + k}" for k in range(n)]


@pytest.mark.parametrize(
    ("above", "row"),
    [
        (["某医院 2025 年肺部研究,,,", "文件名,诊断,患者编号,年龄"], 2),
        (["Exported 2025-01-02 by the registry", "", "文件名,诊断,患者编号,年龄"], 3),
        (["影像,,患者,", "文件名,诊断,患者编号,年龄"], 2),
        (["研究,,,", "影像,,患者,", "文件名,诊断,患者编号,年龄"], 3),
    ],
    ids=["title", "title and an empty row", "merged cells", "title and merged cells"],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_rows_above_the_header_were_taken_for_it(folder, above, row, encoding):
    pictures(folder, [f"图/{n}.png" for n in range(8)])
    folder.text("表.csv", "\n".join([*above, *rows_of()]), encoding)
    cohort = read(folder.root)
    assert cohort.target_name == "诊断"
    assert cohort.classes == ("正常", "肺炎")
    assert len({c.patient for c in cohort.cases}) == 4
    (said,) = [n for n in cohort.notes if n.startswith("Row ")]
    assert said.startswith(f"Row {row} of the table 表.csv was taken for the header")
    assert f"第 {row} 行" in text.sentence(said, "zh")


def test_a_decimal_comma_is_no_separator(folder):
    pictures(folder, [f"图/{n}.png" for n in range(8)])
    folder.text("t.csv", "\n".join(["image;label;age", *(f"{n}.png;{n},5;{40 + n},25" for n in range(8))]), "utf-8")
    (table,) = tree_of(folder.root).tables
    assert table.columns == ("image", "label", "age")
    assert table.rows[3] == ("3.png", "3,5", "43,25")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            b"image,label,label\n0.png,a,b\n1.png,a,b\n",
            "row 1, which was taken for the header, has the name 'label' twice",
        ),
        (b"image,label\n", "it has no rows below row 1, which was taken for the header"),
        (b"\xff\xff\x00\x81", "its characters are in no encoding that is known"),
        (b"\n\n", "it has no rows"),
    ],
)
def test_a_table_that_cannot_be_read_was_passed_over_in_silence(folder, content, why):
    pictures(folder, [f"图/{n}.png" for n in range(8)])
    (folder.root / "bad.csv").write_bytes(content)
    said = f"The table bad.csv was not used: {why}."
    assert said in read(folder.root).notes
    assert "header" not in text.sentence(said, "zh")
    assert "encoding" not in text.sentence(said, "zh")


def test_data_under_a_plain_header_are_no_second_header(folder):
    # Blanks in the first rows and words only: the first row stays the header.
    pictures(folder, [f"图/{n}.png" for n in range(8)])
    folder.text(
        "t.csv", "\n".join(["image,label,note", "0,a,", *(f"{n},{'ab'[n % 2]},seen" for n in range(1, 8))]), "utf-8"
    )
    (table,) = tree_of(folder.root).tables
    assert (table.header, table.columns, len(table.rows)) == (1, ("image", "label", "note"), 8)

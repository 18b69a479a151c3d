import numpy as np
import pytest

from lucency.errors import DataError, UsageError
from lucency.read import ReadOptions, load, read
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

"""Everything that a data folder can hold against the walk: refused by name with a remedy, or left out and listed."""

import csv
import json
import struct
import subprocess
import sys
import zlib

import nibabel
import numpy as np
import pytest
from PIL import Image as Picture

from lucency import record
from lucency.apps import summary
from lucency.case import Cohort
from lucency.errors import DataError, UsageError
from lucency.inspect import Inspection


def cohort_of(bench):
    return record.read(Cohort, bench.out / "cohort.json")


def warnings_of(bench):
    return record.read(Inspection, bench.out / "inspection.json").warnings


def skipped_of(bench):
    with (bench.out / "skipped.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


# --- nothing, or too little, to learn from --------------------------------------------------------------------------


def test_an_empty_folder(bench):
    refused = bench.refused(DataError, "data: The folder is empty", "choose the folder that holds the images")
    assert refused.exit_status == 3


def test_no_such_folder(bench):
    bench.data.rmdir()
    assert bench.refused(UsageError, "data: No such file or folder", "check the path").exit_status == 2


def test_files_that_are_no_images(bench):
    bench.file("letter.docx").write_bytes(b"PK")
    bench.refused(DataError, "No image among 1 files", "choose the folder that holds the images")


def test_one_class_in_a_table(bench):
    bench.pictures().table([f"{n:03d}.png,well" for n in range(24)])
    bench.refused(DataError, "label: Only one class: 'well'", "add images of another class")


def test_one_folder_of_one_class(bench):
    bench.classes(names=("cat",))
    bench.refused(
        DataError, "None of 24 images has a label", "folder 'cat'", "cat/000.png", "a folder of its own", upto="profile"
    )


def test_images_without_a_word_about_them(bench):
    for number in range(12):
        bench.picture(f"{number}.png")
    refused = bench.refused(
        DataError, "None of 12 images has a label", "a table with the columns image and label", upto="profile"
    )
    assert "one class only" not in str(refused)


def test_two_patients(bench):
    bench.pictures().table([f"{n:03d}.png,{'xy'[n % 2]},P{n // 12}" for n in range(24)], "image,label,patient")
    bench.refused(
        DataError, "2 labelled patients (24 labelled cases)", "at least 10", "add labelled patients", upto="profile"
    )


def test_a_class_with_fewer_patients_than_folds(bench):
    bench.classes(names=("cat",))
    for number in range(3):
        bench.picture(f"dog/{number}.png")
    bench.refused(DataError, "Class 'dog' has 3 patients", "at least 6", "add patients", upto="profile")


# --- files that cannot be used --------------------------------------------------------------------------------------


def spoil(bench, zero=0, cut=0, garbage=0):
    """Spoil the first files; a truncated picture still has its header, so only its pixels tell."""
    files = iter(sorted(bench.data.rglob("*.png")))
    for _ in range(zero):
        next(files).write_bytes(b"")
    for _ in range(garbage):
        next(files).write_bytes(b"not a picture")
    for _ in range(cut):
        file = next(files)
        file.write_bytes(file.read_bytes()[:150])


def test_a_few_unreadable_images_are_left_out_and_listed(bench):
    bench.classes(64)
    spoil(bench, zero=1, garbage=1, cut=1)
    before = bench.prints()
    bench.walk()
    skipped = skipped_of(bench)
    reasons = {p: r for p, r in skipped.items() if p.endswith(".png")}
    assert set(reasons) == {"cat/000.png", "cat/002.png", "cat/004.png"}
    assert "0 bytes" in reasons["cat/000.png"]
    assert "Not a picture" in reasons["cat/002.png"]
    assert "cannot be read" in reasons["cat/004.png"]
    assert bench.prints() == before


def test_unreadable_image_is_listed_once_and_not_by_its_case_too(bench):
    bench.classes(64)
    spoil(bench, cut=1)
    bench.walk(upto="inspect")
    assert list(skipped_of(bench)) == ["cat/000.png"]


def test_many_unreadable_images(bench):
    bench.classes(60)
    spoil(bench, zero=4)
    bench.refused(DataError, "4 of 60 files or series cannot be used", "cat/000.png", "at most 5%", "mend these files")


def test_many_truncated_images(bench):
    bench.classes(60)
    spoil(bench, cut=4)
    bench.refused(DataError, "4 of 60 cases cannot be used", "cat/000.png", "cannot be read: 4")


def test_a_few_empty_and_a_few_truncated_files_are_many_together(bench):
    bench.classes(60)
    spoil(bench, zero=2, cut=2)
    bench.refused(DataError, "2 of 58 cases cannot be used", "beside 2 files or series left out before", "cat/004.png")


def test_a_refusal_for_many_files_left_no_list_of_them(bench):
    bench.classes(60)
    spoil(bench, zero=3, garbage=2)
    refused = bench.refused(DataError, "3 × ", "2 × ", "or 3 if these are no more than 20%", "skipped.csv in the run")
    assert "fetch the file again" in refused.remedy or "export it again" in refused.remedy
    assert set(skipped_of(bench)) == {f"cat/{n:03d}.png" for n in (0, 2, 4, 6, 8)}


def test_many_truncated_images_are_listed_before_the_refusal(bench):
    bench.classes(60)
    spoil(bench, zero=2, cut=3)
    bench.refused(DataError, "3 of 58 cases", "skipped.csv in the run")
    assert len([path for path in skipped_of(bench) if not path.startswith("case ")]) == 5


def test_two_broken_files_of_thirty_refused_a_small_set(bench):
    bench.classes(30)
    spoil(bench, zero=1, cut=1)
    bench.walk()
    assert {"cat/000.png", "cat/002.png"} <= set(skipped_of(bench))


def test_reading_alone_leaves_the_list_too(bench):
    bench.classes(30)
    spoil(bench, zero=1)
    bench.walk("read")
    assert list(skipped_of(bench)) == ["cat/000.png"]


def test_images_without_labels_could_not_be_inspected(bench):
    for number in range(12):
        bench.picture(f"{number}.png")
    bench.picture("12.png", np.array(Picture.open(bench.data / "3.png")))
    bench.walk("inspect")
    found = record.read(Inspection, bench.out / "inspection.json")
    assert len(found.images) == 13
    assert [{p.first, p.second} for p in found.pairs] == [{"12", "3"}]
    assert "None of 13 images has a label" in found.untrainable[0]
    said = summary.lines(bench.out, "inspect", "en")
    assert said[0].startswith("Looked at 13 images")
    assert any(s.startswith("Nothing can be trained from these data yet: None of 13") for s in said)
    assert any(s.startswith("Training needs: something to learn") for s in said)
    assert "13 幅图像均无标签" in "".join(summary.lines(bench.out, "inspect", "zh"))
    assert skipped_of(bench) == {}
    bench.refused(DataError, "None of 13 images has a label", upto="profile")


def forged_png(width, height):
    """A PNG whose header promises pixels that the file does not hold."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def test_an_image_of_60000_by_60000_pixels(bench):
    bench.classes(40)
    bench.file("cat/huge.png").write_bytes(forged_png(60_000, 60_000))
    bench.walk()
    assert "60000 × 60000 pixels" in skipped_of(bench)["cat/huge.png"]
    assert len(cohort_of(bench).cases) == 40


def test_a_set_of_images_of_60000_by_60000_pixels(bench):
    for number in range(12):
        bench.file(f"{'ab'[number % 2]}/{number}.png").write_bytes(forged_png(60_000, 60_000))
    bench.refused(DataError, "60000 × 60000 pixels", "a/0.png", "mend these files")


# --- voxels, masks, geometry ----------------------------------------------------------------------------------------


def with_nan(bench):
    bench.masks()
    array = bench.rng.normal(100, 20, (6, 8, 10)).astype(np.float32)
    array[:3], array[3, 0] = np.nan, np.inf
    bench.volume("images/003.nii.gz", array)
    return bench


def test_nan_voxels_are_refused(bench):
    words = ("NaN or infinite voxels in 1 of 24 cases: images/003.nii.gz", "--set nan=VALUE")
    assert with_nan(bench).refused(DataError, *words).exit_status == 3


def test_nan_voxels_are_filled_on_purpose_and_reported(bench):
    with_nan(bench).walk("profile", values={"nan": "0"})
    assert "NaN or infinite voxels were filled, as asked, in 1 cases: 003." in warnings_of(bench)


def test_nan_is_filled_with_a_number_only(bench):
    with_nan(bench).refused(UsageError, "nan = 'zero'", "a number", values={"nan": "zero"})


def test_a_mask_of_another_shape(bench):
    bench.masks(12).mask(3, shape=(6, 8, 9))
    words = ("labels/003.nii.gz", "the mask is 9 × 8 × 6 voxels", "images/003.nii.gz is 10 × 8 × 6", "export the mask")
    bench.refused(DataError, *words)


def test_a_mask_at_another_place(bench):
    bench.masks(12)
    bench.mask(3, affine=np.array([[1.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    # 5 mm to the right in RAS is -5 in LPS.
    bench.refused(DataError, "labels/003.nii.gz", "the first at (-5.0, 0.0, 0.0) mm", "on the grid of its image")


def test_a_mask_with_a_value_that_the_description_does_not_know(bench):
    bench.masks(12).mask(3, value=7)
    bench.file("dataset.json").write_text(json.dumps({"labels": {"background": 0, "tumour": 1}}))
    bench.refused(DataError, "labels/003.nii.gz", "the mask holds 7", "only 0, 1", "correct the mask")


def test_a_value_that_one_mask_alone_holds_is_pointed_out(bench):
    bench.masks(24).mask(3, value=7)
    bench.walk()
    assert cohort_of(bench).labels == {1: "1", 7: "7"}
    assert "Label 7 is in 1 of 24 masks only: 003; is it meant?" in warnings_of(bench)


def test_one_described_label_drawn_as_255_keeps_its_name(bench):
    bench.masks(12, value=255)
    bench.file("labels.json").write_text(json.dumps({"background": 0, "tumour": 1}))
    bench.walk()
    assert cohort_of(bench).labels == {255: "tumour"}


def test_masks_that_are_all_empty(bench):
    bench.masks(12, value=0)
    bench.refused(
        DataError, "All 12 masks are empty", "labels/000.nii.gz", "check that the masks were exported", upto="profile"
    )


def test_single_images_among_volumes(bench):
    bench.classes()
    for number in range(4):
        bench.volume(f"cat/v{number}.nii.gz")
    bench.refused(DataError, "24 2-D images", "4 3-D images (such as v0)", "separate folders")


def test_colour_among_grey(bench):
    bench.classes()
    for number in range(4):
        bench.picture(f"cat/c{number}.png", bench.rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    bench.refused(DataError, "24 1-channel images", "4 3-channel images (such as c0)", "separate folders")


def test_spacings_in_mm_and_in_cm(bench):
    bench.masks(12)
    for number in (2, 3):
        affine = np.diag([12.0, 12.0, 12.0, 1.0])
        bench.volume(f"images/{number:03d}.nii.gz", affine=affine)
        bench.mask(number, affine=affine)
    bench.refused(DataError, "from 1 mm (000) to 12 mm (002)", "check the unit in the headers")


def conflicting(bench, number):
    image = nibabel.Nifti1Image(bench.rng.normal(size=(6, 8, 10)).astype(np.float32), np.eye(4))
    image.set_qform(np.diag([2.0, 1.0, 1.0, 1.0]), 1)
    image.set_sform(np.eye(4), 2)
    nibabel.save(image, bench.file(f"images/{number:03d}.nii.gz"))


def test_sform_and_qform_in_conflict(bench):
    bench.masks(12)
    for number in range(4):
        conflicting(bench, number)
    words = ("4 × sform and qform put the image at two different places (such as images/000", "keep the right one")
    bench.refused(DataError, *words)


def test_one_conflict_of_sform_and_qform_among_many_is_left_out(bench):
    bench.masks(24)
    conflicting(bench, 2)
    bench.walk()
    assert "sform and qform" in skipped_of(bench)["images/002.nii.gz"]
    assert "002" not in {c.id for c in cohort_of(bench).cases}


# --- labels and tables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "classes"),
    [
        (("well", "ill"), ("ill", "well")),
        (("True", "FALSE"), ("False", "True")),
        (("0.0", "1.0"), ("0", "1")),
        (("  big cat ", " small dog"), ("big cat", "small dog")),
        (("正常", "肺炎"), ("正常", "肺炎")),
    ],
    ids=["text", "bool", "float", "spaces", "chinese"],
)
def test_labels_however_they_are_written(bench, written, classes):
    bench.pictures().table([f"{n:03d}.png,{written[n % 2]}" for n in range(24)])
    bench.walk("profile")
    cohort = cohort_of(bench)
    assert cohort.classes == classes
    expected = {f"{n:03d}": written[n % 2].strip().lower().removesuffix(".0") for n in range(24)}
    assert {c.id: str(c.target).lower() for c in cohort.cases} == expected


def test_ids_that_occur_twice(bench):
    bench.pictures().table([*(f"{n:03d}.png,{'ab'[n % 2]}" for n in range(24)), "003.png,a"])
    bench.refused(DataError, "table.csv", "1 rows", "an earlier row names: 003.png", "take the duplicate ids out")


def test_ids_of_which_many_occur_twice(bench):
    bench.pictures().table([f"{n % 20:03d}.png,{'ab'[n % 2]}" for n in range(24)])
    words = ("None of 24 images has a label", "table.csv was not used: 4 rows of column 'image'", "a table with")
    bench.refused(DataError, *words, upto="profile")


def test_missing_labels_are_kept_as_unlabelled_and_said(bench):
    bench.pictures().table([f"{n:03d}.png,{'' if n < 5 else 'ab'[n % 2]}" for n in range(24)])
    bench.walk()
    assert sum(c.target is None for c in cohort_of(bench).cases) == 5
    assert "5 of 24 cases have no label; they are kept as unlabelled." in warnings_of(bench)


def test_a_table_that_names_absent_files(bench):
    bench.pictures().table([f"{n:03d}.png,{'ab'[n % 2]}" for n in range(26)])
    bench.refused(DataError, "table.csv: 2 files that it names are absent: 024.png, 025.png", "restore the files")


def test_a_column_that_is_not_there(bench):
    bench.pictures().table([f"{n:03d}.png,{'ab'[n % 2]}" for n in range(24)])
    bench.refused(UsageError, "No column 'diagnosis'", "use one of the columns: label", target="diagnosis")


# --- as the command line says it -------------------------------------------------------------------------------------


def lucency(bench, *arguments):
    command = [sys.executable, "-m", "lucency", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", cwd=bench.data.parent, timeout=300, check=False
    )


def test_the_command_line_says_data_refusals_with_status_3_and_wrong_use_with_2(bench):
    bench.masks(12, value=0)
    done = lucency(bench, "fit", "data", "--out", "run")
    assert done.returncode == 3
    assert "labels/000.nii.gz: All 12 masks are empty" in done.stderr
    assert "Traceback" not in done.stderr
    done = lucency(bench, "fit", "nowhere", "--out", "other")
    assert done.returncode == 2
    assert "nowhere: No such file or folder" in done.stderr


def test_after_a_refusal_the_mended_folder_goes_through_in_the_same_run(bench):
    bench.masks(12).mask(3, shape=(6, 8, 9))
    bench.refused(DataError, "labels/003.nii.gz")
    bench.mask(3)
    bench.walk("profile")
    assert (bench.out / "profile.json").exists()

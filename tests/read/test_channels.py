"""Several files a case, told apart by channel numbers, some of which may be absent."""

import pytest

from lucency.read import read, read_inputs
from lucency.text import sentence


def channels(folder, place, case, numbers, suffix="nii.gz"):
    for number in numbers:
        folder.nifti(f"{place}{case}_{number:04d}.{suffix}")


def images(cases):
    return {c.id: sorted(c.images) for c in cases}


def test_channels_in_class_folders_are_one_case_and_may_be_missing(folder):
    for n in range(4):
        channels(folder, "ill/", f"a{n}", (0, 1))
        channels(folder, "well/", f"b{n}", (0, 1) if n else (1,))
    cohort = read(folder.root)
    assert cohort.classes == ("ill", "well")
    assert images(cohort.cases)["a1"] == ["0000", "0001"]
    assert images(cohort.cases)["b0"] == ["0001"]
    assert len(cohort.cases) == 8


def test_a_case_name_in_two_folders_stays_two_cases(folder):
    for label in ("ill", "well"):
        for n in range(4):
            channels(folder, f"{label}/", f"p{n}", (0, 1))
    assert sorted(images(read(folder.root).cases))[:2] == ["ill__p0", "ill__p1"]


def test_a_table_names_the_case_and_speaks_of_all_its_channels(folder):
    for n in range(6):
        channels(folder, "scans/", f"p{n}", (0, 1) if n != 3 else (1,))
    rows = "".join(f"p{n},{40.5 + n}\n" for n in range(6))
    folder.text("ages.csv", "id,age_at_scan\n" + rows)
    cohort = read(folder.root)
    assert {c.id: c.target for c in cohort.cases} == {f"p{n}": 40.5 + n for n in range(6)}
    assert images(cohort.cases)["p3"] == ["0001"]


def test_numbers_that_count_images_are_no_channels(folder):
    for label in ("ill", "well"):
        for n in range(4):
            folder.nifti(f"{label}/{label}_x{n}_{n:04d}.nii.gz")
    assert all(list(c.images) == ["image"] for c in read(folder.root).cases)


@pytest.mark.parametrize("first", [0, 1])
def test_images_that_are_counted_within_a_class_are_not_channels_of_one_case(folder, first):
    for label in ("ill", "well"):
        for n in range(12):
            folder.picture(f"{label}/{label}_{first + n:04d}.png")
    cohort = read(folder.root)
    assert len(cohort.cases) == 24
    assert all(list(c.images) == ["image"] for c in cohort.cases)


def test_slices_of_stacks_are_not_channels(folder):
    for label in ("ill", "well"):
        for n in range(10):
            for k in range(9 + n % 3):
                folder.picture(f"{label}/{label}{n}_{k:04d}.png")
    assert all(list(c.images) == ["image"] for c in read(folder.root).cases)


def test_a_few_images_counted_within_two_classes_are_not_channels(folder):
    for label in ("ill", "well"):
        for n in range(4):
            folder.picture(f"{label}/{label}_{n:04d}.png")
    assert len(read(folder.root).cases) == 8


def test_numbered_images_to_predict_on_are_a_case_each(folder):
    for n in range(12):
        folder.picture(f"new/img_{n + 1:04d}.png")
    assert len(read_inputs(folder.root / "new", modalities=("image",))) == 12


def test_what_is_taken_as_modalities_is_said(folder):
    for label in ("ill", "well"):
        for n in range(4):
            channels(folder, f"{label}/", f"{label}{n}", (0, 1))
    said = [n for n in read(folder.root).notes if "modalities" in n]
    assert said == [
        "The files of 8 cases are taken as modalities of one case each, told apart by the number at the end of their "
        "names: 0000, 0001."
    ]
    assert sentence(said[0], "zh").startswith("8 例的文件")


def test_a_model_left_with_one_modality_of_several_knows_the_others_by_their_number(folder):
    channels(folder, "new/", "p8", (0,))
    channels(folder, "new/", "p9", (1,))
    assert images(read_inputs(folder.root / "new", modalities=("0000",))) == {"p8": ["0000"], "p9": ["0001"]}


@pytest.mark.parametrize("present", [(0,), (1,)])
def test_a_model_of_several_modalities_tells_a_single_file_by_its_number(folder, present):
    channels(folder, "new/", "p9", present)
    plain = read_inputs(folder.root / "new")
    numbered = read_inputs(folder.root / "new", modalities=("0000", "0001"))
    assert list(plain[0].images) == ["image"]
    assert images(numbered) == {"p9": [f"{present[0]:04d}"]}


def test_a_modality_beyond_those_of_the_model_keeps_its_name(folder):
    channels(folder, "new/", "p9", (0, 1, 7))
    assert images(read_inputs(folder.root / "new", modalities=("0000", "0001"))) == {"p9": ["0000", "0001", "0007"]}

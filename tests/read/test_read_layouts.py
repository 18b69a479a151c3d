import json

import numpy as np
import pytest

from lucency.errors import DataError, LeakageError, UsageError
from lucency.read import ReadOptions, load, preview, read, read_inputs


def pairs(folder, n=12, image="images/{:02d}.png", mask="labels/{:02d}.png", value=255):
    for number in range(n):
        folder.picture(image.format(number))
        folder.mask(mask.format(number), value)


@pytest.mark.parametrize(
    ("image", "mask", "key"),
    [
        ("images/{:02d}.png", "labels/{:02d}.png", "03"),
        ("foto/{:02d}.png", "wahrheit/{:02d}.png", "03"),
        ("images/{:02d}_training.png", "1st_manual/{:02d}_manual1.png", "03_training"),
        ("img/image_{:02d}.png", "gt/label_{:02d}.png", "image_03"),
        ("{:02d}.png", "{:02d}_mask.png", "03"),
        ("all/x{:02d}_image.png", "all/x{:02d}_label.png", "x03_image"),
        ("train/images/{:02d}.png", "train/masks/{:02d}.png", "03"),
        ("图像/{:02d}.png", "标注/{:02d}.png", "03"),
    ],
)
def test_images_find_their_masks_whatever_the_folders_are_called(folder, image, mask, key):
    pairs(folder, image=image, mask=mask)
    cohort = read(folder.root)
    case = {c.id: c for c in cohort.cases}[key]
    assert cohort.layout == "pairs"
    assert len(cohort.cases) == 12
    assert case.sources[0].paths == (image.format(3),)
    assert case.target.paths == (mask.format(3),)
    assert cohort.labels == {255: "1"}
    assert set(np.unique(load(case.target).array)) == {0, 255}
    assert cohort.cases[0].part == ("train" if image.startswith("train/") else "")


def test_a_mask_folder_that_covers_too_little_is_no_pair(folder):
    pairs(folder, n=10)
    for number in range(3):
        folder.mask(f"labels/stray{number}.png")
    # 10 of 13 masks find an image: 77 %, under 90 %.
    assert "pairs" not in [c.name for c in preview(folder.root)]


def test_two_folders_of_pictures_are_no_pairs(folder):
    for number in range(6):
        folder.picture(f"left/{number}.png")
        folder.picture(f"right/{number}.png")
    assert "pairs" not in [c.name for c in preview(folder.root)]


def test_images_without_a_mask_stay_unlabelled_and_are_said(folder):
    pairs(folder, n=10)
    folder.picture("images/alone.png")
    cohort = read(folder.root)
    assert {c.id: c.target for c in cohort.cases}["alone"] is None
    assert "alone" not in {*cohort.folds, *cohort.locked}
    assert any("1 of 11 images have no mask" in n for n in cohort.notes)


def test_a_field_of_view_is_not_the_target(folder):
    pairs(folder, mask="vessels/{:02d}.png")
    for number in range(12):
        folder.picture(f"fov/{number:02d}.png", np.full((12, 14), 255, np.uint8))
    assert read(folder.root).target_name == "vessels"


def test_two_readers_masks_are_refused_until_one_is_chosen(folder):
    pairs(folder, mask="reader_a/{:02d}.png")
    for number in range(12):
        folder.mask(f"reader_b/{number:02d}.png", 1)
    with pytest.raises(UsageError, match=r"2 kinds of masks fit the images: .*--target reader_"):
        read(folder.root)
    assert read(folder.root, ReadOptions(target="reader_b")).labels == {1: "1"}


def test_structures_apart_become_labels_and_the_overlapping_one_is_left_out(folder):
    left, right = np.zeros((2, 12, 14), np.uint8)
    left[2:8, 1:5], right[2:8, 8:12] = 255, 255
    for number in range(12):
        folder.picture(f"images/c{number}.png")
        folder.picture(f"masks/c{number}__left.png", left)
        folder.picture(f"masks/c{number}__right.png", right)
        folder.picture(f"masks/c{number}__both.png", left | right)
    cohort = read(folder.root)
    assert cohort.labels == {1: "left", 2: "right"}
    assert any("overlap with others: both" in n for n in cohort.notes)
    assert np.array_equal(load(cohort.cases[0].target).array[0, 0], left // 255 + right // 255 * 2)


def test_masks_blurred_by_jpeg_are_cut_and_reported(folder):
    for number in range(12):
        folder.picture(f"images/{number:02d}.png", folder.rng.integers(0, 256, (64, 64), dtype=np.uint8))
        mask = np.zeros((64, 64), np.uint8)
        mask[16:48, 9:40] = 255
        folder.picture(f"masks/{number:02d}.jpg", mask)
    cohort = read(folder.root)
    assert cohort.labels == {255: "1"}
    assert any("cut at 128" in n for n in cohort.notes)
    found = load(cohort.cases[0].target).array[0, 0]
    assert set(np.unique(found)) == {0, 255}
    assert np.array_equal(found, mask)


def test_decathlon(folder):
    names = [f"case_{n:02d}.nii.gz" for n in range(4)]
    for name in names:
        folder.nifti(f"imagesTr/{name}", folder.rng.normal(size=(4, 5, 6, 2)).astype(np.float32))
        folder.nifti(f"labelsTr/{name}", folder.rng.integers(0, 3, (4, 5, 6), dtype=np.uint8))
    folder.nifti("imagesTs/case_99.nii.gz", folder.rng.normal(size=(4, 5, 6, 2)).astype(np.float32))
    described = {
        "modality": {"0": "T1", "1": "FLAIR"},
        "labels": {"0": "background", "1": "oedema", "2": "tumour"},
        "training": [{"image": f"./imagesTr/{n}", "label": f"./labelsTr/{n}"} for n in names],
        "test": ["./imagesTs/case_99.nii.gz"],
    }
    folder.text("dataset.json", json.dumps(described))
    cohort = read(folder.root)
    assert (cohort.layout, cohort.labels) == ("msd", {1: "oedema", 2: "tumour"})
    assert [c.id for c in cohort.cases if c.target is None] == ["case_99"]
    assert load(cohort.cases[0].sources[0]).array.shape == (2, 6, 5, 4)
    assert [c.target for c in read_inputs(folder.root)] == [None] * 5
    (folder.root / "labelsTr" / names[0]).unlink()
    with pytest.raises(DataError, match=r"dataset\.json: 1 files that it names are absent: labelsTr/case_00"):
        read(folder.root)


@pytest.mark.parametrize("version", [1, 2])
def test_nnunet(folder, version):
    for n in range(4):
        folder.nifti(f"imagesTr/brain_{n:03d}_0000.nii.gz")
        folder.nifti(f"imagesTr/brain_{n:03d}_0001.nii.gz")
        folder.nifti(f"labelsTr/brain_{n:03d}.nii.gz", folder.rng.integers(0, 3, (4, 5, 6), dtype=np.uint8))
    if version == 2:
        described = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "tumour": 1, "ignore": 2}}
    else:
        entries = [
            {"image": f"./imagesTr/brain_{n:03d}.nii.gz", "label": f"./labelsTr/brain_{n:03d}.nii.gz"} for n in range(4)
        ]
        described = {
            "modality": {"0": "T1", "1": "T2"},
            "labels": {"0": "background", "1": "tumour", "2": "ignore"},
            "training": entries,
        }
    folder.text("dataset.json", json.dumps(described))
    cohort = read(folder.root)
    assert (cohort.layout, cohort.labels, cohort.ignore) == ("nnunet", {1: "tumour"}, 2)
    assert [c.id for c in cohort.cases] == [f"brain_{n:03d}" for n in range(4)]
    assert list(cohort.cases[0].images) == ["0000", "0001"]
    assert list(read_inputs(folder.root / "imagesTr")[0].images) == ["0000", "0001"]
    (folder.root / "imagesTr/brain_002_0001.nii.gz").unlink()
    assert [list(c.images) for c in read(folder.root).cases] == [["0000", "0001"]] * 2 + [["0000"], ["0000", "0001"]]


def test_class_folders_with_parts_and_colliding_names(folder):
    for part in ("train", "val", "test"):
        for label in ("normal", "肺炎"):
            for n in range(4):
                folder.picture(f"{part}/{label}/{n:03d}.png")
    cohort = read(folder.root)
    assert (cohort.layout, cohort.classes) == ("classes", ("normal", "肺炎"))
    assert cohort.cases[0].id == "test__normal__000"
    assert cohort.locked == {c.id for c in cohort.cases if c.part == "test"}
    assert {c.id for c in cohort.fold(0)} == {c.id for c in cohort.cases if c.part == "val"}


def test_numbered_folders_are_patients_and_no_classes(folder):
    for patient in range(12):
        for n in range(3):
            folder.picture(f"patient{patient:02d}/{n}.png")
    cohort = read(folder.root)
    assert cohort.layout == "single"
    assert cohort.patient_key == "folder"
    assert len({c.patient for c in cohort.cases}) == 12


def test_one_class_only_is_refused(folder):
    folder.npz("x.npz", images=folder.rng.integers(0, 9, (5, 6, 6), dtype=np.uint8), labels=np.ones(5, int))
    with pytest.raises(DataError, match="Only one class: '1'"):
        read(folder.root / "x.npz")


def test_medmnist_parts_may_lack_labels(folder):
    images = folder.rng.integers(0, 256, (20, 8, 8), dtype=np.uint8)
    file = folder.npz(
        "set.npz", train_images=images, train_labels=np.arange(20)[:, None] % 2, test_images=images[:3] ^ 255
    )
    cohort = read(file)
    assert (cohort.layout, cohort.classes) == ("npz", ("0", "1"))
    assert {c.id for c in cohort.cases if c.target is None} == {"test-0", "test-1", "test-2"}
    assert {c.id: c.target for c in cohort.cases}["train-7"] == "1"
    assert len(read_inputs(file)) == 23


def test_several_labels_for_one_image_are_refused(folder):
    images = np.zeros((4, 8, 8), np.uint8)
    with pytest.raises(DataError, match="14 labels for each image"):
        read(folder.npz("chest.npz", train_images=images, train_labels=np.zeros((4, 14), int)))


def test_a_tie_names_both_layouts_and_the_option(folder):
    for label in ("a", "b"):
        for n in range(4):
            folder.picture(f"{label}/{label}{n}.png")
    lines = "".join(f"{f}{n}.png,{'yes' if n % 2 else 'no'}\n" for f in "ab" for n in range(4))
    folder.text("truth.csv", "file,label\n" + lines)
    with pytest.raises(UsageError, match=r"Two layouts fit: table .* and classes .*--layout table or --layout classes"):
        read(folder.root)
    assert read(folder.root, ReadOptions(layout="classes")).classes == ("a", "b")
    assert read(folder.root, ReadOptions(layout="table")).classes == ("no", "yes")


def test_unknown_layouts_and_layouts_that_do_not_fit_are_refused(folder):
    pairs(folder)
    with pytest.raises(UsageError, match=r"No layout 'pear'.*pairs"):
        read(folder.root, ReadOptions(layout="pear"))
    with pytest.raises(UsageError, match="not in the layout 'nnunet'"):
        read(folder.root, ReadOptions(layout="nnunet"))


def test_preview_shows_evidence_and_first_rows(folder):
    pairs(folder)
    first = preview(folder.root)[0]
    assert first.name == "pairs"
    assert "12 of 12 images" in first.evidence[0]
    assert first.rows[0] == ("00", "images/00.png", "labels/00.png", "")
    assert len(first.rows) == 5


def test_inputs_of_a_labelled_folder_are_its_images_only(folder):
    pairs(folder)
    assert [c.sources[0].paths[0] for c in read_inputs(folder.root)] == [f"images/{n:02d}.png" for n in range(12)]


def test_a_further_test_set_is_locked_and_its_ids_are_set_apart(folder):
    pairs(folder)
    pairs(folder, n=3, image="../more/images/{:02d}.png", mask="../more/labels/{:02d}.png")
    cohort = read(folder.root, ReadOptions(test=folder.root.parent / "more"))
    assert cohort.locked == {"more__00", "more__01", "more__02"}
    assert len(cohort.trainable) == 12


def test_a_patient_in_two_supplied_parts_is_refused_unless_allowed(folder):
    lines = [f"{n:02d}.png,{'test' if n > 9 else 'train'},P{n % 10},{'ab'[n % 2]}\n" for n in range(12)]
    for n in range(12):
        folder.picture(f"{n:02d}.png")
    folder.text("t.csv", "image,split,patient,label\n" + "".join(lines))
    with pytest.raises(LeakageError, match=r"2 patients .*00 \(train\) and 10 \(test\).*--allow-leak"):
        read(folder.root)
    cohort = read(folder.root, ReadOptions(allow_leak=True))
    assert cohort.allow_leak
    assert cohort.locked == {"10", "11"}


def test_the_same_bytes_stay_in_one_fold(folder):
    pairs(folder, n=30)
    for number in range(0, 30, 2):
        (folder.root / f"images/{number + 1:02d}.png").write_bytes(
            (folder.root / f"images/{number:02d}.png").read_bytes()
        )
    cohort = read(folder.root)
    seat = {c.id: cohort.folds.get(c.id, "locked") for c in cohort.cases}
    assert all(seat[f"{n:02d}"] == seat[f"{n + 1:02d}"] for n in range(0, 30, 2))
    assert len(set(seat.values())) == 6


def test_a_table_of_the_test_part_takes_its_images_out_of_the_training_part(folder):
    for n in range(20):
        folder.picture(f"scans/{n:02d}.png")
    folder.text("all/train.csv", "image,label\n" + "".join(f"../scans/{n:02d}.png,{n % 2}\n" for n in range(20)))
    folder.text("part/test.csv", "image,label\n" + "".join(f"{n:02d}.png,{n % 2}\n" for n in range(4)))
    cohort = read(folder.root, ReadOptions(test=folder.root / "part" / "test.csv"))
    assert cohort.locked == {"00", "01", "02", "03"}
    assert len(cohort.cases) == 20


def test_patients_folders_inside_class_folders_are_patients(folder):
    for patient in range(12):
        for n in range(2):
            folder.picture(f"{('benign', 'malignant')[patient % 2]}/p{patient:02d}/{n}.png")
    cohort = read(folder.root)
    assert (cohort.layout, cohort.patient_key) == ("classes", "folder")
    assert len({c.patient for c in cohort.cases}) == 12


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.json", '{"1": "liver", "2": "tumour", "3": "ignore"}'),
        ("dataset.json", '{"labels": {"background": 0, "liver": 1, "tumour": 2, "ignore": 3}}'),
        ("names.csv", "value,name\n0,background\n1,liver\n2,tumour\n3,ignore\n"),
        ("names.csv", "name;value\nliver;1\ntumour;2\nignore;3\n"),
    ],
)
def test_labels_are_named_by_a_file_beside(folder, name, text):
    for n in range(12):
        folder.picture(f"images/{n:02d}.png")
        folder.picture(f"labels/{n:02d}.png", folder.rng.integers(0, 3, (12, 14), dtype=np.uint8))
    folder.text(name, text)
    cohort = read(folder.root)
    assert (cohort.layout, cohort.labels, cohort.ignore) == ("pairs", {1: "liver", 2: "tumour"}, 3)


def test_masks_among_class_folders_are_no_images(folder):
    for label in ("benign", "malignant"):
        for n in range(1, 7):
            folder.picture(f"{label}/{label} ({n}).png")
            folder.mask(f"{label}/{label} ({n})_mask.png")
    second = np.zeros((12, 14), np.uint8)
    second[0, 13] = 255
    folder.picture("benign/benign (1)_mask_1.png", second)
    cohort = read(folder.root)
    assert (cohort.layout, len(cohort.cases)) == ("pairs", 12)
    union = load({c.id: c for c in cohort.cases}["benign (1)"].target).array
    assert set(np.unique(union)) == {0, 1}
    assert union[0, 0, 0, 13] == 1
    by_class = read(folder.root, ReadOptions(layout="classes"))
    assert (by_class.classes, len(by_class.cases)) == (("benign", "malignant"), 12)


def test_a_test_folder_inside_the_data_is_not_trained_on(folder):
    for part, count in (("work", 12), ("held", 4)):
        for n in range(count):
            folder.picture(f"{part}/images/{part}{n}.png")
            folder.mask(f"{part}/labels/{part}{n}.png")
    cohort = read(folder.root, ReadOptions(test=folder.root / "held"))
    assert cohort.locked == {f"held{n}" for n in range(4)}
    assert len(cohort.trainable) == 12


def test_labels_with_255_for_ignore_are_not_taken_for_a_blur(folder):
    for n in range(12):
        folder.picture(f"images/{n:02d}.png", folder.rng.integers(0, 256, (120, 140), dtype=np.uint8))
        mask = np.repeat(folder.rng.integers(0, 12, (12, 140), dtype=np.uint8), 10, axis=0)
        mask[0] = 255
        folder.picture(f"labels/{n:02d}.png", mask)
    assert set(read(folder.root).labels) == {*range(1, 12), 255}


def test_retina_sets_with_parts_fields_of_view_and_names_that_share_a_number(folder):
    for part, numbers, word in (("training", range(21, 31), "training"), ("test", range(1, 5), "test")):
        for n in numbers:
            folder.picture(
                f"{part}/images/{n:02d}_{word}.tif", folder.rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
            )
            folder.picture(f"{part}/mask/{n:02d}_{word}_mask.gif", np.full((12, 14), 255, np.uint8))
            folder.mask(f"{part}/1st_manual/{n:02d}_manual1.gif")
    cohort = read(folder.root)
    assert (cohort.target_name, len(cohort.cases)) == ("1st_manual", 14)
    case = {c.id: c for c in cohort.cases}["21_training"]
    assert case.target.paths == ("training/1st_manual/21_manual1.gif",)
    assert cohort.locked == {f"{n:02d}_test" for n in range(1, 5)}


def test_one_folder_for_each_case_with_image_and_mask(folder):
    for n in range(12):
        folder.nifti(f"case-{n:02d}/ct.nii.gz")
        mask = np.zeros((4, 5, 6), np.uint8)
        mask[1:3, 2:4, n % 3] = 2
        folder.nifti(f"case-{n:02d}/mask.nii.gz", mask)
    cohort = read(folder.root)
    assert (cohort.layout, cohort.labels, len(cohort.cases)) == ("pairs", {2: "1"}, 12)
    assert all(c.sources[0].where.split("/")[0] == c.target.where.split("/")[0] for c in cohort.cases)
    assert [c.sources[0].where.split("/")[1] for c in cohort.cases] == ["ct.nii.gz"] * 12

"""Images without a label are kept as such, whatever the layout says it with."""

import numpy as np
import pytest

from lucency.read import ReadOptions, preview, read


def unlabelled(cohort):
    return {c.id for c in cohort.cases if c.target is None}


@pytest.mark.parametrize(
    "name", ["unlabelled", "Unlabeled", "no_label", "without label", "未标注", "train/unlabelled", "unlabelled/site A"]
)
def test_a_folder_for_images_without_a_label_is_no_class(folder, name):
    for label in ("normal", "ill"):
        for n in range(6):
            folder.picture(f"train/{label}/{label}{n}.png" if "train" in name else f"{label}/{label}{n}.png")
    for n in range(9):
        folder.picture(f"{name}/u{n}.png")
    cohort = read(folder.root)
    assert cohort.layout == "classes"
    assert cohort.classes == ("ill", "normal")
    assert unlabelled(cohort) == {f"u{n}" for n in range(9)}
    assert not unlabelled(cohort) & {*cohort.folds, *cohort.locked}
    assert any("9 of 21 cases have no value" in n for n in cohort.notes)


def test_a_folder_for_images_without_a_label_beside_parts_is_no_class(folder):
    for part in ("train", "val"):
        for label in ("a", "b"):
            for n in range(4):
                folder.picture(f"{part}/{label}/{part}{label}{n}.png")
    folder.picture("unlabelled/u.png")
    cohort = read(folder.root)
    assert cohort.classes == ("a", "b")
    assert unlabelled(cohort) == {"u"}
    assert {c.part for c in cohort.cases} == {"train", "val", ""}


@pytest.mark.parametrize("missing", [-1, np.nan])
@pytest.mark.parametrize("names", [(), ("cyst", "mass")])
def test_an_npz_says_it_by_a_number(folder, missing, names):
    rng = np.random.default_rng(0)
    labels = np.array([n % 2 for n in range(12)], dtype=float if missing != missing else int)
    labels[[3, 4, 8]] = missing
    arrays = {"train_images": rng.integers(0, 255, (12, 8, 8)).astype(np.uint8), "train_labels": labels}
    file = folder.npz("few.npz", **arrays, **({"class_names": np.array(names)} if names else {}))
    cohort = read(file)
    assert unlabelled(cohort) == {"train-3", "train-4", "train-8"}
    assert len(cohort.classes) == 2
    assert {c.id: c.target for c in cohort.cases}["train-5"] == cohort.classes[1]


def test_a_class_called_minus_one_among_other_signs_stays_a_class(folder):
    rng = np.random.default_rng(0)
    labels = np.array([(-2, -1, 1)[n % 3] for n in range(12)])
    file = folder.npz("signs.npz", images=rng.integers(0, 255, (12, 8, 8)).astype(np.uint8), labels=labels)
    assert read(file).classes == ("-2", "-1", "1")


def test_minus_one_beside_nothing_but_one_is_the_other_class(folder):
    images = np.random.default_rng(0).integers(0, 255, (12, 8, 8)).astype(np.uint8)
    signs = np.where(np.arange(12) % 2, 1, -1)
    assert read(folder.npz("signs.npz", images=images, labels=signs)).classes == ("-1", "1")
    # Where another part counts from 0 on, it is no label here either.
    parts = {
        "train_images": images,
        "train_labels": signs,
        "val_images": images[:6] // 2,
        "val_labels": np.arange(6) % 2,
    }
    cohort = read(folder.npz("parts.npz", **parts))
    assert cohort.classes == ("0", "1")
    assert unlabelled(cohort) == {f"train-{n}" for n in range(0, 12, 2)}


def test_a_part_without_labels_is_kept(folder):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (12, 8, 8)).astype(np.uint8)
    file = folder.npz("parts.npz", images=images, train_images=images, train_labels=np.arange(12) % 2)
    assert unlabelled(read(file)) == {f"images-{n}" for n in range(12)}


def test_empty_cells_are_no_class(folder):
    for n in range(12):
        folder.picture(f"images/{n}.png")
    lines = "".join(f"{n}.png,{'yes' if n % 2 else 'no'}\n" if n < 8 else f"{n}.png,\n" for n in range(12))
    folder.text("table.csv", "file,diagnosis\n" + lines)
    cohort = read(folder.root)
    assert (cohort.layout, cohort.classes) == ("table", ("no", "yes"))
    assert unlabelled(cohort) == {"8", "9", "10", "11"}


def test_a_few_masks_among_many_images_are_the_target_where_nothing_else_is(folder):
    for n in range(60):
        folder.picture(f"images/{n:02d}.png")
    for n in range(6):
        folder.mask(f"labels/{n:02d}.png")
    cohort = read(folder.root)
    assert cohort.layout == "pairs"
    assert len(unlabelled(cohort)) == 54
    assert any("54 of 60 images have no mask" in n for n in cohort.notes)


def test_a_few_masks_among_class_folders_stay_a_by_product(folder):
    for label in ("a", "b"):
        for n in range(30):
            folder.picture(f"{label}/{label}{n:02d}.png")
    for n in range(6):
        folder.mask(f"a/a{n:02d}_mask.png")
    assert preview(folder.root)[0].name == "classes"
    assert read(folder.root, ReadOptions(layout="pairs")).layout == "pairs"

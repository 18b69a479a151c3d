import re
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest

from lucency import record
from lucency.case import Skipped
from lucency.errors import DataError, LeakageError, ReadError, UsageError
from lucency.events import Events
from lucency.image import diagonal_affine
from lucency.inspect import Inspection, inspect, settle
from lucency.inspect.checks import check_targets
from lucency.inspect.scan import Problem
from lucency.text import sentence


def look(shelf, nan=None, **settings):
    return inspect(shelf.cohort(**settings), nan=nan, load=shelf.load)


def test_sound_set_gives_facts_and_no_warnings(two_classes):
    shelf = two_classes(40)
    found = look(shelf)
    assert found.warnings == ()
    assert found.left_out == {}
    assert [i.case for i in found.images] == sorted(c.id for c in shelf.cases)
    pixels = shelf.pixels["images/case007.png"][0]
    facts = found.images[7]
    assert (facts.size, facts.channels, facts.dtype) == ((1, 40, 48), 1, "int16")
    assert facts.mean == pytest.approx(pixels.mean())
    assert {i.quality for i in found.images} == {"accept"}


def test_every_file_is_decoded_once(with_masks):
    shelf = with_masks(20)
    look(shelf, labels={1: "organ"})
    assert sorted(shelf.opened) == sorted(shelf.pixels)


def test_inspection_survives_its_file(with_masks, tmp_path):
    found = look(with_masks(12), labels={1: "organ"})
    record.write(tmp_path / "inspection.json", found)
    assert record.read(Inspection, tmp_path / "inspection.json") == found


def test_workers_and_order_do_not_change_what_is_found(two_classes):
    shelf = two_classes(60)
    cohort = shelf.cohort()
    assert inspect(cohort, load=shelf.load, workers=4) == inspect(cohort, load=shelf.load, workers=1)


def test_no_more_images_are_held_than_threads_work(two_classes):
    shelf = two_classes(60)
    alive, most, lock = set(), [0], threading.Lock()

    def load(source, *, nan=None):
        image = shelf.load(source, nan=nan)
        own = image.array.copy()
        with lock:
            alive.add(id(own))
            most[0] = max(most[0], len(alive))
        weakref.finalize(own, alive.discard, id(own))
        return replace(image, array=own)

    inspect(shelf.cohort(), load=load, workers=2)
    assert most[0] <= 4  # Two threads; each drops the last image only when it has the next.
    assert not alive


def test_progress_is_counted_in_cases(two_classes):
    seen = []
    shelf = two_classes(40)
    inspect(shelf.cohort(), load=shelf.load, events=Events(None, seen.append))
    progress = [e for e in seen if e["kind"] == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == 40
    assert seen[-1]["kind"] == "done"


def test_damaged_slice_is_named_and_not_the_first_of_its_series(two_classes):
    shelf = two_classes()

    def load(source, *, nan=None):
        if source.where == "images/case004.png":
            raise ReadError("Truncated", where="images/case004.005.dcm", remedy="fetch it again")
        return shelf.load(source, nan=nan)

    found = inspect(shelf.cohort(), load=load)
    assert [s.path for s in found.skipped] == ["images/case004.005.dcm"]
    assert set(found.left_out) == {"case004"}


def test_few_unreadable_images_are_skipped_and_listed(two_classes):
    shelf = two_classes(60)
    shelf.broken = {"images/case004.png", "images/case011.png"}
    cohort = shelf.cohort()
    found = inspect(cohort, load=shelf.load)
    assert set(found.left_out) == {"case004", "case011"}
    said = "cannot be read: Truncated after 12 bytes. What to do: copy the file again."
    assert found.skipped[0] == Skipped("images/case004.png", said)
    settled = settle(cohort, found)
    assert settled.skipped == found.skipped
    assert not {"case004", "case011"} & (set(settled.folds) | settled.locked)
    assert len(settled.folds) + len(settled.locked) == 58


def test_many_unreadable_images_are_refused_with_counts_and_names(two_classes):
    shelf = two_classes(60)
    shelf.broken = {f"images/case{i:03}.png" for i in range(4)}
    with pytest.raises(
        DataError, match=r"4 of 60 cases cannot be used \(cannot be read: 4\)\. images/case000\.png"
    ) as e:
        look(shelf)
    assert "copy the file again" in str(e.value)
    assert e.value.exit_status == 3


def test_nan_is_refused_by_name_with_the_option_that_fills_it(two_classes):
    shelf = two_classes(40)
    for i in (3, 8):
        pixels = shelf.pixels[f"images/case{i:03}.png"][0].astype(np.float32)
        pixels[0, 0, 2, 2] = np.nan if i == 3 else np.inf
        shelf.pixels[f"images/case{i:03}.png"] = (pixels, np.eye(4))
    with pytest.raises(DataError, match=r"2 of 40 cases: images/case003\.png, images/case008\.png.*--set nan=VALUE"):
        look(shelf)
    found = look(shelf, nan=-7000.0)
    assert any("filled, as asked, in 2 cases: case003, case008" in w for w in found.warnings)
    assert [i.case for i in found.images if i.filled] == ["case003", "case008"]
    assert found.images[3].minimum == -7000.0


def test_constant_image_is_rejected_and_left_out(two_classes):
    shelf = two_classes(40)
    shelf.add("blank", np.full((1, 1, 40, 48), 9, np.int16))
    found = look(shelf)
    assert found.left_out == {"blank": "image without a picture: all 1920 voxels are 9"}
    assert next(i for i in found.images if i.case == "blank").quality == "reject"


def test_empty_slices_between_others_are_named_and_the_volume_is_kept(shelf):
    for number in range(12):
        pixels = shelf.picture((9, 40, 48))
        pixels[0, 0] = pixels[0, 8] = -1000  # beside the body: nothing is lost there
        if number == 3:
            pixels[0, 4:6] = 0
        shelf.add(f"case{number:03}", pixels, "ab"[number % 2])
    found = look(shelf)
    assert {i.case: i.reason for i in found.images if i.reason} == {
        "case003": "slices without a picture between others (4, 5)"
    }
    assert not found.left_out
    (said,) = (w for w in found.warnings if "without a picture between others: 1" in w)
    assert not re.search(r"[a-z]{3,} [a-z]{3,}", sentence(said, "zh")), sentence(said, "zh")


def test_a_case_with_nothing_but_a_modality_of_its_own_is_left_out_and_named(two_classes):
    shelf = two_classes(30)
    whole = [replace(c, images={"t1": c.images["image"], "t2": c.images["image"]}) for c in shelf.cases]
    whole[3] = replace(whole[3], images={"t1": shelf.cases[3].images["image"]})
    whole[4] = replace(whole[4], images={**whole[4].images, "pet": shelf.cases[4].images["image"]})
    whole[5] = replace(whole[5], images={"pet": shelf.cases[5].images["image"]})
    shelf.cases = whole
    found = look(shelf)
    assert found.left_out == {"case005": "it has none of the modalities that the others have"}
    (said,) = (w for w in found.warnings if "none of the modalities" in w)
    assert said.endswith("case005.")
    assert not re.search(r"[a-z]{3,} [a-z]{3,}", sentence(said, "zh"))


def test_image_of_extreme_contrast_is_pointed_out(two_classes):
    shelf = two_classes(40)
    pixels = shelf.picture()
    pixels[0, 0, 0, 0] = 32000
    shelf.add("spike", pixels)
    found = look(shelf)
    assert [i.case for i in found.images if i.quality == "warn"] == ["spike"]
    assert any("spike" in w for w in found.warnings)


@pytest.mark.parametrize("n_bad", [1, 12])
def test_mask_of_another_shape_is_skipped_alone_and_refused_in_number(with_masks, n_bad):
    shelf = with_masks(40)
    for i in range(n_bad):
        shelf.pixels[f"labels/case{i:03}.png"] = (np.ones((1, 6, 20, 25), np.uint8), diagonal_affine((1, 1, 1)))
    if n_bad == 1:
        assert "the mask is 6 × 20 × 25 voxels" in look(shelf, labels={1: "organ"}).left_out["case000"]
        return
    with pytest.raises(
        DataError, match=r"the mask is 6 × 20 × 25 voxels.*its image images/case000\.png is 6 × 20 × 24"
    ):
        look(shelf, labels={1: "organ"})


@pytest.mark.parametrize(
    ("affine", "said"),
    [
        (diagonal_affine((2, 1, 1)), "2 × 1 × 1 mm"),
        (np.array([[0, 0, 1, 0], [0, 1, 0, 30], [1, 0, 0, 0], [0, 0, 0, 1.0]]), "(0.0, 30.0, 0.0) mm"),
        (np.array([[0, 0, -1, 23], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]]), "rows along (-1.00, 0.00, 0.00)"),
    ],
)
def test_masks_at_another_place_are_refused_in_millimetres(with_masks, affine, said):
    shelf = with_masks(20)
    for path in [p for p in shelf.pixels if p.startswith("labels")]:
        shelf.pixels[path] = (shelf.pixels[path][0], affine)
    with pytest.raises(DataError, match="mask on another grid than its image: 20") as error:
        look(shelf, labels={1: "organ"})
    assert said in str(error.value)


def test_mask_may_lie_a_rounding_error_off(with_masks):
    shelf = with_masks(20)
    for path in [p for p in shelf.pixels if p.startswith("labels")]:
        array, affine = shelf.pixels[path]
        shifted = affine.copy()
        shifted[0, 3] += 0.04
        shelf.pixels[path] = (array, shifted)
    assert look(shelf, labels={1: "organ"}).left_out == {}


def test_place_is_not_compared_where_pixel_size_is_unknown(shelf):
    for i in range(12):
        mask = np.zeros((1, 1, 40, 48), np.uint8)
        mask[..., 5:20, 5:20] = 1
        shelf.add(
            f"c{i}", None, mask, affine=diagonal_affine((1, 0.3, 0.3)), mask_affine=np.eye(4), spacing_known=False
        )
    assert look(shelf, labels={1: "organ"}).left_out == {}


def test_unknown_mask_values_are_named_and_the_ignore_value_is_allowed(with_masks):
    shelf = with_masks(30)
    for path in [p for p in shelf.pixels if p.startswith("labels")]:
        array = shelf.pixels[path][0].copy()
        array[0, 0, 0, 0] = 9
        shelf.pixels[path] = (array, shelf.pixels[path][1])
    with pytest.raises(DataError, match=r"mask with unknown values: 30.*holds 9.*only 0, 1"):
        look(shelf, labels={1: "organ"})
    assert look(shelf, labels={1: "organ"}, ignore=9).left_out == {}


def test_all_empty_masks_are_refused_and_some_are_counted(with_masks):
    shelf = with_masks(30)
    labels = sorted(p for p in shelf.pixels if p.startswith("labels"))
    for number, path in enumerate(labels):
        shelf.pixels[path] = (np.zeros_like(shelf.pixels[path][0]), shelf.pixels[path][1])
        if number == 2:
            assert any("3 of 30 masks are empty: case000" in w for w in look(shelf, labels={1: "o"}).warnings)
    with pytest.raises(DataError, match="All 30 masks are empty") as error:
        look(shelf, labels={1: "o"})
    assert error.value.exit_status == 3


def test_mask_that_holds_only_the_ignore_value_counts_as_empty(with_masks):
    shelf = with_masks(30)
    for path in [p for p in shelf.pixels if p.startswith("labels")]:
        shelf.pixels[path] = (shelf.pixels[path][0] * 9, shelf.pixels[path][1])
    with pytest.raises(DataError, match="All 30 masks are empty"):
        look(shelf, labels={1: "o"}, ignore=9)


def test_label_that_no_mask_holds_is_said(with_masks):
    assert any("2 (tumour)" in w for w in look(with_masks(20), labels={1: "organ", 2: "tumour"}).warnings)


def test_mask_beside_the_body_is_pointed_out(with_masks):
    shelf = with_masks(20)
    pixels, affine = shelf.pixels["images/case003.png"]
    pixels = pixels.copy()
    pixels[:, :, :14] = pixels.min() - 1
    shelf.pixels["images/case003.png"] = (pixels, affine)
    found = inspect(shelf.cohort(labels={1: "organ"}), load=shelf.load, quality="off")
    assert any("empty background: case003" in w for w in found.warnings)
    assert [i.case for i in found.images if i.quality == "warn"] == ["case003"]


def test_mixed_dimensions_are_refused(two_classes):
    shelf = two_classes(40)
    shelf.add("volume", shelf.picture((9, 40, 48)))
    with pytest.raises(DataError, match=r"40 2-D images \(such as case000\) and 1 3-D images \(such as volume\)"):
        look(shelf)


def test_mixed_channel_counts_are_refused(two_classes):
    shelf = two_classes(40)
    shelf.add("colour", np.concatenate([shelf.picture()] * 3))
    with pytest.raises(DataError, match=r"40 1-channel images .* and 1 3-channel images \(such as colour\)"):
        look(shelf)


def test_spacings_in_another_unit_are_refused(two_classes):
    shelf = two_classes(40)
    shelf.add("metres", affine=diagonal_affine((1, 10, 10)))
    with pytest.raises(DataError, match=r"along j runs from 1 mm \(case000\) to 10 mm \(metres\).*40 mm and 400 mm"):
        look(shelf)


def test_thin_and_thick_slices_of_one_body_are_accepted_with_a_warning(shelf):
    for i in range(40):
        thick = i % 2
        size = (4, 24, 24) if thick else (48, 24, 24)
        shelf.add(
            f"c{i:02}", shelf.picture(size), "ab"[i // 2 % 2], affine=diagonal_affine((6 if thick else 0.5, 1, 1))
        )
    assert any("thin and thick slices" in w for w in look(shelf).warnings)


def test_unknown_spacings_are_not_compared(two_classes):
    shelf = two_classes(40)
    shelf.add("other", affine=diagonal_affine((1, 10, 10)), spacing_known=False)
    assert look(shelf).warnings == ()


def test_one_class_only_is_refused(two_classes):
    shelf = two_classes(40)
    shelf.cases = [replace(c, target="a") for c in shelf.cases]
    with pytest.raises(DataError, match="Only one class, 'a', in 40 cases"):
        look(shelf)


@pytest.mark.parametrize(("n", "refused"), [(5, True), (6, False)])
def test_class_needs_a_patient_for_every_fold_and_the_locked_part(two_classes, n, refused):
    shelf = two_classes(40)
    for i in range(n):
        shelf.add(f"rare{i}", target="rare")
    if not refused:
        assert look(shelf).left_out == {}
        return
    with pytest.raises(DataError, match=r"Class 'rare' has 5 patients.*at least 6.*table"):
        look(shelf)


def test_two_images_of_a_patient_are_one_patient_of_the_class(two_classes):
    shelf = two_classes(40)
    for i in range(12):
        shelf.add(f"rare{i}", target="rare", patient=f"P{i // 3}")
    with pytest.raises(DataError, match="Class 'rare' has 4 patients"):
        look(shelf)


def test_class_without_a_case_is_refused(two_classes):
    with pytest.raises(DataError, match="Class 'never' has 0 patients"):
        look(two_classes(40), classes=("a", "b", "never"))


def test_supplied_test_part_stands_for_the_locked_part(two_classes):
    shelf = two_classes(40)
    for i in range(5):
        shelf.add(f"rare{i}", target="rare", part="train")
    for i in range(4):
        shelf.add(f"test{i}", target="ab"[i % 2], part="test")
    assert look(shelf).left_out == {}


@pytest.mark.parametrize("n", [2, 9])
def test_too_few_patients_are_refused(shelf, n):
    for i in range(40):
        shelf.add(f"case{i:02}", target="ab"[i % 2], patient=f"P{i % n}")
    with pytest.raises(DataError, match=rf"{n} labelled patients \(40 labelled cases\).*at least 10"):
        look(shelf)


def test_few_and_missing_labels_are_said_with_their_numbers(two_classes):
    shelf = two_classes(20)
    for i in range(5):
        shelf.add(f"free{i}", target=None)
    warnings = look(shelf).warnings
    assert any(w.startswith("Only 20 labelled cases") for w in warnings)
    assert any("5 of 25 cases have no label" in w for w in warnings)


def test_one_number_for_all_is_refused(shelf):
    for i in range(20):
        shelf.add(f"case{i:02}", target=3.5)
    with pytest.raises(DataError, match=r"Every case has the target 3\.5"):
        look(shelf)


def test_duplicates_stay_in_one_fold(two_classes):
    shelf = two_classes(60)
    for i in range(6):
        shelf.add(f"copy{i}", shelf.pixels[f"images/case{i:03}.png"][0], "ab"[i % 2])
    cohort = shelf.cohort()
    found = inspect(cohort, load=shelf.load)
    assert found.groups == tuple((f"case{i:03}", f"copy{i}") for i in range(6))
    settled = settle(cohort, found)
    for a, b in found.groups:
        assert settled.folds.get(a, "locked") == settled.folds.get(b, "locked")
    assert any("12 cases in 6 groups" in w for w in found.warnings)


def test_images_of_one_patient_need_no_group(two_classes):
    shelf = two_classes(40)
    shelf.add("copy", shelf.pixels["images/case000.png"][0], patient="case000")
    assert look(shelf).groups == ()


def test_duplicates_with_different_labels_are_named(two_classes):
    shelf = two_classes(40)
    shelf.add("copy", shelf.pixels["images/case000.png"][0], "b")
    assert any("case000 (a) and copy (b)" in w for w in look(shelf).warnings)


def test_copies_with_different_masks_are_named(with_masks):
    shelf = with_masks(20)
    shelf.add("copy", shelf.pixels["images/case000.png"][0], shelf.pixels["labels/case001.png"][0])
    assert any("case000 and copy (other masks)" in w for w in look(shelf, labels={1: "organ"}).warnings)


def parts(shelf, copy_from, copy_to):
    shelf.cases = [replace(c, part="val" if int(c.id[-3:]) >= 40 else "train") for c in shelf.cases]
    shelf.add("copy", shelf.pixels[f"images/{copy_from}.png"][0], "a", part=copy_to)
    return shelf


def test_training_copy_of_a_validation_image_is_left_out(two_classes):
    shelf = parts(two_classes(60), "case050", "train")
    cohort = shelf.cohort()
    found = inspect(cohort, load=shelf.load)
    assert found.left_out == {"copy": "copy of validation image case050"}
    assert any("1 training images are also in the validation part" in w for w in found.warnings)
    settled = settle(cohort, found)
    assert settled.folds["case050"] == 0
    assert "copy" not in settled.folds


@pytest.mark.parametrize("source", ["case003", "case050"])
def test_duplicate_with_the_test_part_is_refused_unless_allowed(two_classes, source):
    shelf = parts(two_classes(60), source, "test")
    with pytest.raises(LeakageError, match=rf"1 pairs.*{source} \((train|val)\) and copy \(test\): the same image"):
        look(shelf)
    found = look(shelf, allow_leak=True)
    assert [(p.first, p.second) for p in found.leaks] == [(source, "copy")]
    assert any("optimistic" in w for w in found.warnings)
    settled = settle(shelf.cohort(allow_leak=True), found)
    assert settled.locked == {"copy"}
    assert source in settled.folds


def test_shared_patients_are_refused_and_ten_pairs_are_listed(two_classes):
    shelf = two_classes(60)
    for i in range(12):
        shelf.add(f"test{i:02}", target="ab"[i % 2], patient=f"case{i:03}", part="test")
    with pytest.raises(LeakageError, match="12 pairs") as error:
        look(shelf)
    assert str(error.value).count("the same patient") == 10
    assert "and 2 more" in str(error.value)
    assert len(look(shelf, allow_leak=True).leaks) == 12


def test_left_out_cases_are_not_opened(two_classes):
    shelf = two_classes(40)
    look(shelf, left_out={"case005": "asked"})
    assert "images/case005.png" not in shelf.opened


def test_settle_refuses_the_inspection_of_other_data(two_classes):
    shelf = two_classes(40)
    found = look(shelf)
    shelf.add("late")
    with pytest.raises(UsageError, match="other data"):
        settle(shelf.cohort(), found)


def test_settle_twice_is_settle_once(two_classes):
    shelf = two_classes(60)
    shelf.broken = {"images/case004.png"}
    cohort = shelf.cohort()
    found = inspect(cohort, load=shelf.load)
    once = settle(cohort, found)
    assert settle(once, found) == once


def test_unreadable_pixels_were_said_twice_and_without_what_to_do():
    found = "The pixels cannot be read: 8 of 9 bytes are there"
    problem = Problem("a", "a.dcm", "unreadable", found, "", "fetch it again")
    assert problem.reason == f"{found}. What to do: fetch it again."


def test_a_clip_of_one_frame_is_named_and_kept(shelf):
    for n in range(12):
        shelf.add(f"clip{n:02d}", shelf.picture((1 if n == 3 else 4, 40, 48)), "ab"[n % 2], k_axis="time")
    found = inspect(shelf.cohort(), load=shelf.load, quality="off")
    assert [w for w in found.warnings if "single frame" in w] == [
        "1 sequences have a single frame, of which no order can be read: clip03."
    ]
    assert "clip03" not in found.left_out


def test_labels_of_images_that_cannot_be_used_are_not_said_to_be_missing(two_classes):
    cohort = two_classes(8).cohort()
    with pytest.raises(DataError, match=r"^None of 8 labelled images can be used\. Expected.*skipped\.csv"):
        check_targets(cohort, [], [])
    bare = replace(cohort, cases=tuple(replace(c, target=None) for c in cohort.cases))
    with pytest.raises(DataError, match="None of 8 images has a label"):
        check_targets(bare, bare.cases, [])


@pytest.mark.parametrize(("learned", "judged", "enough"), [(8, 6, True), (7, 6, False), (9, 0, False), (10, 0, True)])
def test_beside_a_supplied_test_part_eight_patients_are_enough(shelf, learned, judged, enough):
    for part, n in (("", learned), ("test", judged)):
        for i in range(6 * n):
            shelf.add(f"{part}{i:03}", target="ab"[i % 2], patient=f"{part}case{i // 6:03}", part=part)
    if enough:
        look(shelf)
        return
    least = "at least 8 beside the test part: five folds" if judged else "at least 10: five folds and a locked part"
    with pytest.raises(DataError, match=rf"{learned} labelled patients .* {least}"):
        look(shelf)

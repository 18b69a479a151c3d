"""Rounds of annotation with a network that has learned nothing: what matters is what goes out and what comes back."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture

from lucency import model as models
from lucency import record
from lucency.annotate import Wish, annotate, dataset
from lucency.annotate.collecting import collected
from lucency.annotate.compared import scores_of
from lucency.annotate.dataset import write_dataset
from lucency.annotate.exchange import mask_of
from lucency.annotate.returned import Work, read_work
from lucency.annotate.room import Look, learned, listed
from lucency.annotation import Annotation
from lucency.boxes import Box
from lucency.calibration import Calibration
from lucency.case import Case, Source
from lucency.errors import DataError, OutputError, UsageError
from lucency.image import Image, diagonal_affine
from lucency.prepare import prepare
from lucency.read import load, read, read_inputs
from lucency.statistics import TOO_FEW
from lucency.tasks import task_named
from lucency.text import sentence
from lucency.write.nifti import write_nifti
from lucency.write.seg_nrrd import write_seg_nrrd
from tiny import masks, network_of, plan_for, stripes


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def balls(tmp_path):
    """Volumes with a ball, their true masks, and a model of balls."""
    (tmp_path / "data").mkdir()
    cohort = masks(tmp_path / "data", n=4)
    for case in cohort.cases:
        (tmp_path / "data" / case.target.paths[0]).replace(tmp_path / case.target.paths[0])
    truth = {c.id: load(replace(c.target, root=str(tmp_path))) for c in cohort.cases}
    plan = plan_for("segment")
    models.save(tmp_path / "model", plan, Calibration(), {"fold0": network_of(plan).state_dict()}, "# card")
    return models.load(tmp_path / "model"), read_inputs(tmp_path / "data"), truth


def give(folder, truth, *ids, change=lambda array: array):
    for name in ids:
        image = truth[name]
        write_nifti(folder / f"{name}.nii.gz", image.with_array(change(image.array.copy())))
    return folder


def test_pre_annotations_lie_on_their_images_and_the_list_names_every_case_once(balls, tmp_path):
    model, cases, truth = balls
    found = annotate(model, cases, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "worklist.csv")
    assert [int(r["rank"]) for r in rows] == [1, 2, 3, 4]
    assert sorted(r["case"] for r in rows) == sorted(truth)
    assert [r["case"] for r in rows] == [one.case.id for one, _ in found.listed]
    for case in cases:
        mask = read_inputs(tmp_path / "out" / "pre" / f"{case.id}.nii.gz")[0]
        assert load(mask.sources[0]).size == truth[case.id].size
    assert all(0 <= float(r[k]) <= 1 for r in rows for k in ("uncertainty", "quality", "doubt"))
    assert not (tmp_path / "out" / "annotated").exists()


def test_every_form_that_is_asked_for_lies_beside_the_pre_annotations_and_comes_back(balls, tmp_path):
    model, cases, _ = balls
    forms = ("nifti", "seg-nrrd", "coco", "label-studio")
    annotate(model, cases, tmp_path / "out", Wish(forms=forms))
    given = {c.id: load(read_inputs(tmp_path / "out" / "pre" / f"{c.id}.nii.gz")[0].sources[0]).array for c in cases}
    tasks = json.loads((tmp_path / "out" / "label-studio" / "tasks.json").read_text("utf-8"))
    rows = {r["case"]: r for r in rows_of(tmp_path / "out" / "worklist.csv")}
    assert {t["data"]["finding"] for t in tasks} == {r["finding_en"] for r in rows.values()}
    assert all(
        "the model's doubt is" in r["finding_en"] and "模型的不确定程度" in r["finding_zh"] for r in rows.values()
    )
    for task in tasks:
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    (tmp_path / "out" / "label-studio" / "tasks.json").write_text(json.dumps(tasks), "utf-8")
    for form in forms:
        for item in collected(tmp_path / "out" / form, cases, model.plan.labels).items:
            assert np.array_equal(mask_of(item.load()).array, given[item.case]), form
    with pytest.raises(UsageError, match="label-studio"):
        Wish(forms=("dwg",))
    with pytest.raises(UsageError, match="not DICOM"):
        annotate(model, cases, tmp_path / "again", Wish(forms=("dicom-seg",)))


def test_the_same_seed_gives_the_same_files_and_another_seed_another_draw(balls, tmp_path):
    model, cases, _ = balls
    lists = []
    for name, seed in (("one", 0), ("two", 0), *((f"s{n}", n) for n in range(1, 5))):
        annotate(model, cases, tmp_path / name, Wish("random", seed=seed))
        lists.append((tmp_path / name / "worklist.csv").read_bytes())
    assert lists[0] == lists[1]
    assert len(set(lists)) > 1


def test_done_cases_are_left_out_of_the_list_and_an_empty_folder_stops_nothing(balls, tmp_path):
    model, cases, truth = balls
    done = give(tmp_path / "done", truth, "case1", "case2")
    (tmp_path / "nothing yet").mkdir()
    found = annotate(model, cases, tmp_path / "out", Wish(done=(done, tmp_path / "nothing yet")))
    assert [s.path for s in found.left_out] == ["nothing yet/."]
    assert found.n_done == 2
    assert sorted(one.case.id for one, _ in found.listed) == ["case0", "case3"]


def test_each_fault_of_returned_masks_is_named_and_the_others_are_used(balls, tmp_path):
    model, cases, truth = balls
    reader = give(tmp_path / "reader", truth, "case0")
    give(reader, truth, "case1", change=lambda a: a * 7)
    moved = truth["case2"].affine.copy()
    moved[:3, 3] += 0.5
    write_nifti(reader / "case2.nii.gz", Image(truth["case2"].array, moved, kind="labels"))
    coarse = truth["case3"].affine @ np.diag([2.0, 1.0, 1.0, 1.0])
    write_nifti(reader / "case3.nii.gz", Image(truth["case3"].array[:, ::2], coarse, kind="labels"))
    give(reader / "again", truth, "case0")
    write_nifti(reader / "stranger.nii.gz", truth["case0"])
    (reader / "broken_mask.nii.gz").write_bytes(b"no gzip")
    (reader / "notes.txt").write_text("done on Monday", "utf-8")
    found = annotate(model, cases, tmp_path / "out", Wish(returned=(reader,)))
    why = {s.path: s.reason for s in found.left_out}
    expected = ("again/case0.nii.gz", "case1.nii.gz", "case2.nii.gz", "case3.nii.gz", "stranger.nii.gz")
    assert {p for p in why if "again" in p or "case0" in p} <= {"reader/again/case0.nii.gz", "reader/case0.nii.gz"}
    assert len(why) == len(expected) + 1
    assert {f"reader/{n}" for n in (*expected[1:], "broken_mask.nii.gz")} <= set(why)
    assert "Label '7'" in why["reader/case1.nii.gz"]
    assert "1 (ball)" in why["reader/case1.nii.gz"]
    assert all("another grid" in why[f"reader/case{n}.nii.gz"] for n in (2, 3))
    assert "No case has this name" in why["reader/stranger.nii.gz"]
    assert (found.n_used, len(found.listed)) == (1, 3)
    listed = rows_of(tmp_path / "out" / "returned.csv")
    assert [(r["annotator"], r["case"]) for r in listed if r["state"] == "used"] == [("reader", "case0")]
    assert {r["reason"] for r in listed if r["state"] == "not used"} == set(why.values())


def test_two_annotators_are_compared_with_the_pre_annotation_and_each_other(balls, tmp_path):
    model, cases, truth = balls
    one = give(tmp_path / "one", truth, "case0", "case1")

    def half(array):
        inside = np.argwhere(array[0])
        array[0, inside[len(inside) // 2 :, 0], inside[len(inside) // 2 :, 1], inside[len(inside) // 2 :, 2]] = 0
        return array

    two = give(tmp_path / "two", truth, "case1", "case2", change=half)
    found = annotate(model, cases, tmp_path / "out", Wish(returned=(one, two)))
    table = {(a.first, a.second): a for a in found.agreement if a.measure == "dice"}
    assert set(table) == {("one", "two"), ("one", "pre"), ("two", "pre")}
    both = table["one", "two"]
    n = int(truth["case1"].array.sum())
    assert both.found.value == pytest.approx(2 * (n // 2) / (n + n // 2))
    assert (both.n_cases, both.found.method) == (1, "too few for an interval")
    assert table["two", "pre"].n_cases == 2
    said = rows_of(tmp_path / "out" / "agreement.csv")
    assert {(r["first"], r["second"]) for r in said} == set(table)
    # The first annotator's work is taken where both gave one, and the data set says so.
    described = json.loads((tmp_path / "out" / "annotated" / "dataset.json").read_text("utf-8"))
    assert described["annotators"] == {"case0": "one", "case1": "one", "case2": "two"}
    cohort = read(tmp_path / "out" / "annotated")
    assert np.array_equal(load(next(c for c in cohort.cases if c.id == "case1").target).array, truth["case1"].array)


def test_a_mask_with_turned_axes_but_the_same_voxels_is_taken(balls, tmp_path):
    model, cases, truth = balls
    image = truth["case0"]
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = image.size[2] - 1
    turned = Image(image.array[..., ::-1], image.affine @ flip, kind="labels")
    write_nifti(tmp_path / "reader" / "case0-label.nii.gz", turned)
    found = annotate(model, cases, tmp_path / "out", Wish(returned=(tmp_path / "reader",)))
    assert found.left_out == ()
    (case,) = read(tmp_path / "out" / "annotated").cases
    assert np.array_equal(load(case.target).array, image.array)


def test_a_second_round_replaces_the_first_but_never_a_folder_of_somebody_else(balls, tmp_path):
    model, cases, truth = balls
    reader = give(tmp_path / "reader", truth, "case0")
    out = tmp_path / "out"
    annotate(model, cases, out, Wish(returned=(reader,)))
    give(reader, truth, "case1")
    annotate(model, cases, out, Wish(returned=(reader,)))
    assert sorted(c.id for c in read(out / "annotated").cases) == ["case0", "case1"]
    (tmp_path / "other" / "annotated").mkdir(parents=True)
    (tmp_path / "other" / "annotated" / "thesis.txt").write_text("years of work", "utf-8")
    with pytest.raises(OutputError, match="something else"):
        annotate(model, cases, tmp_path / "other", Wish(returned=(reader,)))
    assert (tmp_path / "other" / "annotated" / "thesis.txt").exists()


def test_an_image_that_cannot_be_used_is_named_and_one_alone_is_refused(balls, tmp_path):
    model, _, _ = balls
    write_nifti(tmp_path / "data" / "colour.nii.gz", Image(np.zeros((3, 12, 16, 16), np.float32), np.eye(4)))
    cases = read_inputs(tmp_path / "data")
    found = annotate(model, cases, tmp_path / "out")
    assert [s.path for s in found.skipped] == ["colour.nii.gz"]
    assert len(found.listed) == 4
    with pytest.raises(DataError, match="channels"):
        annotate(model, [c for c in cases if c.id == "colour"], tmp_path / "alone")


def test_a_wish_that_cannot_be_fulfilled_is_refused_before_any_work(tmp_path):
    with pytest.raises(UsageError, match="'best'"):
        Wish("best")
    with pytest.raises(UsageError, match="one name"):
        Wish(returned=(tmp_path / "a" / "anna", tmp_path / "b" / "anna"))


@pytest.fixture
def pictures(tmp_path):
    """Pictures of stripes, and a model of their classes."""
    cohort = stripes(tmp_path, n=6)
    (tmp_path / "new").mkdir()
    for case in cohort.cases:
        array = load(case.sources[0]).array[0, 0]
        Picture.fromarray(array).save(tmp_path / "new" / f"p{int(case.id) // 2}_{case.id}.png")
    plan = plan_for("classify", task_options={"dropout": 0.1})
    models.save(tmp_path / "model", plan, Calibration(), {"fold0": network_of(plan).state_dict()}, "# card")
    return models.load(tmp_path / "model"), tmp_path / "new"


def test_words_in_a_table_come_back_and_unknown_ones_are_named(pictures, tmp_path):
    model, src = pictures
    reader = tmp_path / "reader"
    reader.mkdir()
    (reader / "labels.csv").write_text(
        "case,label\np0_000,lying\np0_001.png,standing\np1_002,sitting\np9_999,lying\np1_003,\n", "utf-8"
    )
    found = annotate(model, read_inputs(src), tmp_path / "out", Wish(returned=(reader,)))
    why = {s.path: s.reason for s in found.left_out}
    assert set(why) == {"reader/labels.csv, line 4", "reader/labels.csv, line 5"}
    assert "'sitting'" in why["reader/labels.csv, line 4"]
    assert "lying, standing" in why["reader/labels.csv, line 4"]
    assert (found.n_used, len(found.listed)) == (2, 4)
    same, beyond_chance = found.agreement
    assert (same.measure, same.n_cases) == ("same", 2)
    assert (beyond_chance.measure, beyond_chance.found.method) == ("cohen_kappa", TOO_FEW)


def test_several_people_in_one_export_are_told_apart_and_compared(pictures, tmp_path):
    model, src = pictures
    said = {"p0_000": ("lying", "lying"), "p0_001": ("lying", "standing"), "p1_002": ("standing", "sitting")}

    def choice(word, by):
        result = {"type": "choices", "from_name": "label", "to_name": "image", "value": {"choices": [word]}}
        return {"result": [result], "was_cancelled": False, "completed_by": by}

    tasks = [
        {"data": {"image": f"/files/{name}.png"}, "annotations": [choice(a, 3), choice(b, 8)]}
        for name, (a, b) in said.items()
    ]
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "export.json").write_text(json.dumps(tasks), "utf-8")
    found = annotate(model, read_inputs(src), tmp_path / "out", Wish(returned=(tmp_path / "team",)))
    assert [("sitting" in s.reason) for s in found.left_out] == [True]
    one, two = sorted({a.first for a in found.agreement})
    (same,) = [a for a in found.agreement if a.measure == "same" and (a.first, a.second) == (one, two)]
    # Of two cases that both named with known words they agree on one.
    assert (same.n_cases, same.found.value) == (2, 0.5)
    assert {a.second for a in found.agreement} == {two, "pre"}


def test_patients_of_a_list_are_told_apart_by_an_expression(pictures, tmp_path):
    model, src = pictures
    cases = read_inputs(src, patient=r"(p\d)_")
    assert len({c.patient for c in cases}) == 3
    found = annotate(model, cases, tmp_path / "out", Wish("uncertainty"))
    assert len({one.case.patient for one, _ in found.listed[:3]}) == 3


def test_agreement_by_hand():
    plan = plan_for("segment", labels={1: "a", 2: "b"}, ignore=9)
    grid = diagonal_affine((1, 1, 1))

    def drawn(*values):
        labels = {1: "a", 2: "b", 9: "ignore"}
        return Annotation("x", (Image(np.array(values, np.uint8)[None, None, None], grid, kind="labels"),), labels)

    # a: 2 and 1 voxels with 1 in common, the fourth is left open by one side; b: nobody drew it.
    found = scores_of(drawn(1, 1, 0, 9), drawn(1, 0, 0, 1), plan)
    assert found["dice/a"] == pytest.approx(2 / 3)
    assert np.isnan(found["dice/b"])
    assert found["dice"] == pytest.approx(2 / 3)
    assert scores_of(drawn(0, 0, 0, 0), drawn(0, 0, 0, 0), plan)["dice"] == 1
    boxes = [Box("cell", (0, 0, i), (1, 4, i + 4.0)) for i in (0.0, 10.0, 20.0)]
    # Two of three are found again, the third lies elsewhere: F1 = 2 * 2 / (3 + 3).
    other = [*boxes[:2], Box("cell", (0, 0, 40), (1, 4, 44))]
    given = scores_of(Annotation("x", boxes=tuple(boxes)), Annotation("x", boxes=tuple(other)), plan)
    assert given == {"box_f1": pytest.approx(2 / 3)}
    number = replace(plan, classes=())
    two = scores_of(Annotation("x", classes=("54.5",)), Annotation("x", classes=("50",)), number)
    assert two == {"difference": pytest.approx(4.5)}


def test_a_case_of_which_one_box_cannot_be_used_is_not_taught_without_it(tmp_path):
    (tmp_path / "data").mkdir()
    plan = plan_for(
        "detect", network="fpn", network_options={"widths": (4.0, 8.0)}, classes=("cell",), size=(1, 32, 32)
    )
    plan = replace(plan, task_options={"head": "centre", "typical": (0.3, 0.3), "placed": False})
    models.save(tmp_path / "model", plan, Calibration(), {"fold0": network_of(plan).state_dict()}, "# card")
    rng = np.random.default_rng(0)
    for name in "abcd":
        Picture.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(tmp_path / "data" / f"{name}.png")
    reader = tmp_path / "reader"
    reader.mkdir()
    rows = [
        "a,cell,0.4,2,3,11,13,1",
        "a,cell,0.3,4,4,9,9,0",
        "b,cell,1,2,3,11,13,",
        "b,blast,1,2,3,9,9,",
        "c,,,,,,,",
        "e,cell,1,2,3,9,9,",
    ]
    (reader / "boxes.csv").write_text("\n".join(["case,label,score,xmin,ymin,xmax,ymax,told", *rows]), "utf-8")
    found = annotate(
        models.load(tmp_path / "model"), read_inputs(tmp_path / "data"), tmp_path / "out", Wish(returned=(reader,))
    )
    assert {s.path: s.reason for s in found.left_out} == {
        "reader/boxes.csv, line 5": "Label 'blast' is not one of cell.",
        "reader/boxes.csv, line 7": "No case of this name was given out.",
    }
    described = json.loads((tmp_path / "out" / "annotated" / "dataset.json").read_text("utf-8"))
    # Nothing is on c, and somebody said so; the box of a that the model did not tell is gone.
    assert set(described["annotators"]) == {"a", "c"}
    assert [r["image"] for r in rows_of(tmp_path / "out" / "annotated" / "boxes.csv")] == ["a.png", "c.png"]
    assert sorted(one.case.id for one, _ in found.listed) == ["b", "d"]


def test_what_could_not_be_used_is_said_in_chinese(balls, tmp_path):
    model, cases, truth = balls
    reader = give(tmp_path / "reader", truth, "case0")
    give(reader / "again", truth, "case0")
    give(reader, truth, "case1", change=lambda a: a * 7)
    found = annotate(model, cases, tmp_path / "out", Wish(returned=(reader,)))
    assert len(found.left_out) == 2
    for one in found.left_out:
        said = sentence(one.reason, "zh")
        assert re.search("[\u4e00-\u9fff]", said)
        assert not re.search("[A-Za-z]{2,} [a-z]{2,}", said), said


def test_a_channel_keeps_its_number_where_a_case_lacks_another(tmp_path):
    plan = plan_for("segment", channels=2, modalities=("0000", "0001"))
    model = models.save(tmp_path / "model", plan, Calibration(), {"fold0": network_of(plan).state_dict()}, "# card")
    image = Image(np.zeros((1, 12, 16, 16), np.float32), diagonal_affine((1, 1, 1)))
    mask = image.with_array(np.ones((1, 12, 16, 16), np.uint8), kind="labels", unit="label")
    cases = []
    for name, channels in (("a", ("0000", "0001")), ("b", ("0001",))):
        images = {}
        for channel in channels:
            write_nifti(tmp_path / "data" / f"{name}_{channel}.nii.gz", image)
            images[channel] = (Source((f"{name}_{channel}.nii.gz",), str(tmp_path / "data"), "nifti"),)
        cases.append(Case(name, name, images))
    drawn = {c.id: (lambda c=c: Annotation(c.id, (mask,), {1: "ball"})) for c in cases}
    assert write_dataset(tmp_path / "out", cases, [Work("anna", drawn)], model) == 2
    names = sorted(p.name for p in (tmp_path / "out" / "imagesTr").iterdir())
    assert names == ["a_0000.nii.gz", "a_0001.nii.gz", "b_0001.nii.gz"]


@pytest.mark.parametrize("place", ["pre", "seg-nrrd", "annotated", ""])
def test_corrections_made_in_place_are_not_written_over(balls, tmp_path, place):
    model, cases, truth = balls
    out = tmp_path / "out"
    give(out / (place or "pre"), truth, "case0")
    before = {p: p.read_bytes() for p in out.rglob("*.gz")}
    with pytest.raises(UsageError, match=r"writes its own files|is called 'pre'"):
        annotate(model, cases, out, Wish(returned=(out / place,), forms=("seg-nrrd",)))
    with pytest.raises(UsageError, match="writes its own files"):
        annotate(model, cases, out, Wish(done=(out / place,), forms=("seg-nrrd",)))
    assert {p: p.read_bytes() for p in out.rglob("*.gz")} == before
    assert len(before) == 1


def test_a_new_round_is_refused_where_files_were_corrected_in_place(balls, tmp_path):
    model, cases, truth = balls
    annotate(model, cases, tmp_path / "out")
    before = (tmp_path / "out" / "pre" / "case1.nii.gz").read_bytes()
    annotate(model, cases, tmp_path / "out")
    assert (tmp_path / "out" / "pre" / "case1.nii.gz").read_bytes() == before
    give(tmp_path / "out" / "pre", truth, "case1")
    mine = (tmp_path / "out" / "pre" / "case1.nii.gz").read_bytes()
    for _ in range(2):
        with pytest.raises(UsageError, match="changed where they lie") as error:
            annotate(model, cases, tmp_path / "out")
        assert error.value.where == "pre/case1.nii.gz"
    assert (tmp_path / "out" / "pre" / "case1.nii.gz").read_bytes() == mine
    give(tmp_path / "reader", truth, "case1")
    (tmp_path / "out" / "pre" / "case1.nii.gz").unlink()
    assert annotate(model, cases, tmp_path / "out", Wish(returned=(tmp_path / "reader",))).n_used == 1


def test_an_annotator_is_not_called_as_the_pre_annotations(tmp_path):
    with pytest.raises(UsageError, match="'pre'"):
        Wish(returned=(tmp_path / "pre",))


def test_a_data_set_of_somebody_else_stays_and_an_interrupted_one_is_made_again(balls, tmp_path, monkeypatch):
    model, cases, truth = balls
    reader = give(tmp_path / "reader", truth, "case0", "case1")
    theirs = tmp_path / "other" / "annotated"
    theirs.mkdir(parents=True)
    (theirs / "dataset.json").write_text('{"labels": {}, "numTraining": 1}', "utf-8")
    with pytest.raises(OutputError, match="something else"):
        annotate(model, cases, tmp_path / "other", Wish(returned=(reader,)))
    assert [p.name for p in theirs.iterdir()] == ["dataset.json"]
    annotate(model, cases, tmp_path / "out", Wish(returned=(reader,)))
    whole = sorted(p.name for p in (tmp_path / "out" / "annotated").rglob("*.*"))

    def full(*_):
        raise OutputError("Cannot write (No space left on device)")

    with monkeypatch.context() as patched:
        patched.setattr(dataset, "_mask", full)
        with pytest.raises(OutputError, match="No space"):
            annotate(model, cases, tmp_path / "out", Wish(returned=(reader,)))
    assert sorted(p.name for p in (tmp_path / "out" / "annotated").rglob("*.*")) == whole
    annotate(model, cases, tmp_path / "out", Wish(returned=(reader,)))
    assert sorted(p.name for p in (tmp_path / "out" / "annotated").rglob("*.*")) == whole
    assert not (tmp_path / "out" / "annotated.part").exists()


def test_what_is_done_is_not_given_out_again_and_a_volume_half_looked_at_is_not_taken(balls, tmp_path):
    model, cases, truth = balls
    reader = give(tmp_path / "reader", truth, "case0")
    out = tmp_path / "out"
    annotate(model, cases, out, Wish(done=(reader,), forms=("label-studio",)))
    tasks = json.loads((out / "label-studio" / "tasks.json").read_text("utf-8"))
    assert {t["data"]["case"] for t in tasks} == {"case1", "case2", "case3"}
    for task in tasks:
        # All slices of case1 were submitted, of case2 all but the first, of case3 none.
        if task["data"]["case"] == "case1" or (task["data"]["case"] == "case2" and task["data"]["slice"] > 1):
            task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "export.json").write_text(json.dumps(tasks), "utf-8")
    found = annotate(model, cases, tmp_path / "again", Wish(returned=(tmp_path / "team",)))
    assert found.n_used == 1
    assert [s.reason.partition(".")[0] for s in found.left_out] == ["1 of 12 slices did not come back"]
    assert sorted(one.case.id for one, _ in found.listed) == ["case0", "case2", "case3"]


def test_a_label_file_that_calls_values_otherwise_is_not_overruled(balls, tmp_path):
    model, cases, truth = balls
    reader = give(tmp_path / "reader", truth, "case0")
    line = '{} 255 0 0 1 1 1 "{}"\n'
    (reader / "labels.txt").write_text(line.format(1, "rest") + line.format(2, "Ball"), "utf-8")
    found = annotate(model, cases, tmp_path / "out", Wish(returned=(reader,)))
    assert found.n_used == 0
    assert "Value 2 is called 'Ball' in labels.txt. Expected: value 1 for it" in found.left_out[0].reason


def test_a_new_label_never_takes_the_number_of_what_is_left_open(balls, tmp_path):
    model, cases, truth = balls
    plan = replace(model.plan, ignore=2)
    models.save(tmp_path / "open", plan, Calibration(), {"fold0": network_of(plan).state_dict()}, "# card")
    for name in ("ignore", "cyst"):
        mask = truth["case0"].with_array(np.where(truth["case0"].array > 0, 2, 0).astype(np.uint8))
        (tmp_path / name).mkdir()
        write_seg_nrrd(tmp_path / name / "case0.seg.nrrd", Annotation("case0", (mask,), {2: name}))
        (one,) = read_work(tmp_path / name, cases, models.load(tmp_path / "open"))
        assert (set(one.annotations), len(one.left_out)) == (({"case0"}, 0) if name == "ignore" else (set(), 1))
    assert "'cyst'" in one.left_out[0].reason


def test_a_second_answer_that_says_otherwise_is_named(pictures, tmp_path):
    model, src = pictures
    reader = tmp_path / "reader"
    reader.mkdir()
    (reader / "labels.csv").write_text("case,label\np0_000,lying\np0_000,standing\np0_001,lying\np0_001,lying\n")
    found = annotate(model, read_inputs(src), tmp_path / "out", Wish(returned=(reader,)))
    assert [(s.path, s.reason) for s in found.left_out] == [
        ("reader/labels.csv, line 3", "The case has another answer already.")
    ]
    assert found.n_used == 2


def test_visits_are_refused_before_any_work(balls, tmp_path):
    model, cases, truth = balls
    reader = give(tmp_path / "reader", truth, "case0")
    twice = [replace(c, images={"image": c.images["image"] * 2}) for c in cases]
    with pytest.raises(UsageError, match="several visits"):
        annotate(model, twice, tmp_path / "out", Wish(returned=(reader,)))
    assert not (tmp_path / "out").exists()


def test_the_order_keeps_away_from_what_the_model_was_trained_on(tmp_path):
    (tmp_path / "data").mkdir()
    cohort = stripes(tmp_path / "data", n=12)
    plan = plan_for("classify", task_options={"dropout": 0.1})
    run = tmp_path / "run"
    models.save(run / "model", plan, Calibration(), {"fold0": network_of(plan).state_dict()}, "# card")
    model = models.load(run / "model")
    assert learned(run, model) == []
    record.write(run / "cohort.json", cohort)
    prepare(cohort, plan, task_named("classify").target, run / "prepared")
    found = learned(run, model)
    assert len(found) == 12
    assert len({f.shape for f in found}) == 1
    # Of an old and a new kind the new one comes first, for the model has seen the old one.
    old, new = found[0], -found[0]
    looks = [
        Look(Case(name, name, cohort.cases[0].images), "", 0.5, 0.5, 0.5, feature, found=True)
        for name, feature in (("old", old), ("new", new))
    ]
    order = listed(looks, (), "diversity", np.random.default_rng(0), found)
    assert [one.case.id for one, _ in order] == ["new", "old"]

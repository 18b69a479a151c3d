"""Every form there and back: voxel for voxel, wherever the image lies; and files of other tools' making."""

import json
import re
from dataclasses import replace
from datetime import datetime

import nibabel
import numpy as np
import pydicom
import pytest

from lucency.annotate.collecting import collected, numbered
from lucency.annotate.exchange import FORMS, Exporter, Told, annotation_of, export, mask_of
from lucency.annotation import Annotation
from lucency.boxes import Box
from lucency.case import Prediction
from lucency.errors import LucencyError, OutputError, ReadError, UsageError
from lucency.image import Image
from lucency.read import load, read_inputs
from lucency.read.labelgrid import Grid
from lucency.read.placing import placed
from lucency.text import sentence
from lucency.write.dicom_object import Origin
from lucency.write.dicom_series import Identity, write_series
from lucency.write.nifti import write_nifti
from lucency.write.raster import write_picture, write_raster
from lucency.write.runlengths import brush

LABELS = {1: "left kidney", 3: "nodule"}
TOLD = Told(LABELS, ("sick", "healthy"), "model 1", Origin("ab" * 32, datetime(2026, 3, 4)))
REGION_FORMS = tuple(FORMS)


def oblique(seed):
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform(0.5, 5, 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


def source_of(tmp_path, kind, seed=0):
    """Return the case of an image on the disk."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(seed)
    image = Image(rng.integers(-900, 900, (1, 4, 9, 7)).astype(np.int16), oblique(seed), unit="HU")
    if kind == "nifti":
        write_nifti(folder / "a.nii.gz", image)
    elif kind == "dicom":
        # A right-handed turn: slices stand on the normal of their rows and columns, as DICOM has them.
        columns = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
        affine = image.affine.copy()
        affine[:3, 0] = np.cross(columns[:, 2], columns[:, 1]) * 2.5
        write_series(folder / "a", replace(image, affine=affine), Identity(3, 1))
    else:
        write_picture(folder / "a.png", Image(rng.integers(0, 255, (1, 1, 9, 7)).astype(np.uint8), np.eye(4)))
    (case,) = read_inputs(folder, salt=b"s")
    return case


def drawn_on(case, seed=0):
    image = load(case.sources[0])
    array = np.random.default_rng(seed).choice([0, 1, 3], image.array[:1].shape, p=(0.6, 0.3, 0.1)).astype(np.uint8)
    return Annotation(case.id, (image.with_array(array, kind="labels", unit="label"),), LABELS)


@pytest.mark.parametrize("form", REGION_FORMS)
@pytest.mark.parametrize(("kind", "seed"), [("nifti", 0), ("nifti", 1), ("nifti", 2), ("dicom", 0), ("raster", 0)])
def test_regions_come_back_voxel_for_voxel_in_every_form(tmp_path, form, kind, seed):
    case = source_of(tmp_path, kind, seed)
    if form == "dicom-seg" and kind != "dicom":
        with pytest.raises(OutputError, match="not DICOM"):
            export([drawn_on(case)], [case], tmp_path / "out", form, TOLD)
        return
    said = drawn_on(case, seed)
    paths = export([said], [case], tmp_path / "out", form, TOLD)
    assert paths
    assert all(p.is_file() for p in paths)
    if form == "label-studio":
        submit(tmp_path / "out" / "tasks.json")
    found = collected(tmp_path / "out", [case], LABELS)
    assert found.left_out == ()
    (item,) = found.items
    back = item.load()
    assert item.case == case.id
    assert back.layers[0].same_grid(load(case.sources[0]))
    assert np.array_equal(mask_of(back).array, said.layers[0].array)
    assert {v: n for v, n in back.labels.items() if v in LABELS} == LABELS
    assert back.notes == ()


def submit(path, by=7, change=lambda results: results):
    """Do what Label Studio does when a person submits a prediction as it is."""
    tasks = json.loads(path.read_text("utf-8"))
    for task in tasks:
        (prediction,) = task["predictions"]
        done = {"result": change(prediction["result"]), "was_cancelled": False, "completed_by": by}
        task["annotations"] = [*task.get("annotations", []), done]
    path.write_text(json.dumps(tasks), "utf-8")


@pytest.mark.parametrize(
    ("change", "known"), [({}, True), ({"PatientID": "other"}, False), ({"FrameOfReferenceUID": "1.2.3"}, False)]
)
def test_a_segmentation_that_names_no_image_is_found_by_its_place_in_the_same_patient(tmp_path, change, known):
    case = source_of(tmp_path, "dicom")
    said = drawn_on(case)
    (path,) = export([said], [case], tmp_path / "out", "dicom-seg", TOLD)
    file = pydicom.dcmread(path)
    for keyword in ("ReferencedSeriesSequence", "StudiesContainingOtherReferencedInstancesSequence"):
        file.pop(keyword, None)
    for frame in file.PerFrameFunctionalGroupsSequence:
        frame.pop("DerivationImageSequence", None)
    for keyword, value in change.items():
        setattr(file, keyword, value)
    file.save_as(path)
    found = collected(tmp_path / "out", [case], LABELS)
    assert (len(found.items), len(found.left_out)) == ((1, 0) if known else (0, 1))
    if known:
        assert np.array_equal(found.items[0].load().layers[0].array, said.layers[0].array)


@pytest.mark.parametrize("form", ["coco", "label-studio"])
@pytest.mark.parametrize("kind", ["nifti", "raster"])
def test_boxes_come_back_in_the_images_own_pixels(tmp_path, form, kind):
    case = source_of(tmp_path, kind)
    if kind == "nifti":
        # The second begins on the slice behind the first and hardly overlaps it; the third lies on one slice.
        boxes = (
            Box("nodule", (0, 1, 1), (2, 4, 6)),
            Box("nodule", (2, 3.5, 5), (4, 8, 6.5)),
            Box("left kidney", (3, 0, 0), (4, 2, 2)),
        )
    else:
        boxes = (Box("nodule", (0, 1.25, 1), (1, 4, 6)), Box("left kidney", (0, 0, 0), (1, 2, 2)))
    export([Annotation(case.id, boxes=boxes)], [case], tmp_path / "out", form, TOLD)
    if form == "label-studio":
        submit(tmp_path / "out" / "tasks.json")
    (item,) = collected(tmp_path / "out", [case], LABELS).items
    back = item.load()
    assert back.layers == ()
    found = sorted((b.label, *b.low, *b.high) for b in back.boxes)
    wanted = sorted((b.label, *b.low, *b.high) for b in boxes)
    assert [f[0] for f in found] == [w[0] for w in wanted]
    assert np.array([f[1:] for f in found]) == pytest.approx(np.array([w[1:] for w in wanted]))


def test_no_boxes_is_an_answer(tmp_path):
    case = source_of(tmp_path, "raster")
    (tmp_path / "a.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
                "categories": [{"id": 4, "name": "nodule"}],
                "annotations": [{"id": 1, "image_id": 2, "category_id": 4, "bbox": [1, 1, 2, 2]}],
            }
        )
    )
    found = collected(tmp_path / "a.json", [case])
    assert found.items[0].load().boxes == ()
    assert [s.reason for s in found.left_out] == [
        "No case has this name. Expected: the name of a case, also with a word like -seg or _label behind it. "
        "What to do: name the file after its image."
    ]


def test_words_and_two_annotators_come_back_from_label_studio(tmp_path):
    case = source_of(tmp_path, "raster")
    export([Annotation(case.id, classes=("sick",), doubt=0.25)], [case], tmp_path / "out", "label-studio", TOLD)
    tasks = tmp_path / "out" / "tasks.json"
    assert json.loads(tasks.read_text())[0]["predictions"][0]["score"] == 0.75
    submit(tasks)
    submit(tasks, by={"id": 9, "email": "someone@example.org"}, change=lambda results: [])
    found = collected(tasks, [case])
    assert [(i.by, i.load().classes) for i in found.items] == [("annotator 7", ("sick",)), ("annotator 9", ())]


def test_tasks_that_nobody_submitted_are_no_work(tmp_path):
    case = source_of(tmp_path, "raster")
    export([drawn_on(case)], [case], tmp_path / "out", "label-studio", TOLD)
    found = collected(tmp_path / "out", [case])
    assert found.items == ()
    assert [s.path for s in found.left_out] == ["tasks.json"]


def test_polygons_of_coco_fill_to_the_same_pixels_and_holes_stay(tmp_path):
    case = source_of(tmp_path, "raster")
    image = load(case.sources[0])
    array = np.zeros((1, 1, 9, 7), np.uint8)
    array[0, 0, 1:6, 1:6] = 1
    array[0, 0, 3, 3] = 0  # a hole
    array[0, 0, 7, 2] = array[0, 0, 8, 3] = 3  # two parts that touch in a corner
    array[0, 0, 6:9, 5] = array[0, 0, 8, 6] = 3
    said = Annotation(case.id, (image.with_array(array, kind="labels", unit="label"),), LABELS)
    export([said], [case], tmp_path / "out", "coco", replace(TOLD, coco="polygons"))
    content = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert [type(a["segmentation"]) for a in content["annotations"]] == [dict, list, list, list]
    # The pixel at row 7, column 2 reaches from 2 to 3 and from 7 to 8.
    assert [2, 7, 3, 7, 3, 8, 2, 8] in [a["segmentation"][0] for a in content["annotations"][1:]]
    assert [a["area"] for a in content["annotations"]] == [24, 4, 1, 1]
    (item,) = collected(tmp_path / "out", [case], LABELS).items
    assert np.array_equal(item.load().layers[0].array, array)


def test_regions_that_overlap_are_two_layers_and_no_mask_unless_one_lies_inside(tmp_path):
    case = source_of(tmp_path, "raster")

    def task(second):
        points = [[[0, 0], [60, 0], [60, 100], [0, 100]], second]
        results = [
            {"type": "polygonlabels", "value": {"points": p, "polygonlabels": [n]}, "original_width": 7}
            for p, n in zip(points, ("organ", "lesion"), strict=True)
        ]
        return [{"data": {"image": "x/0a1b2c3d-a.png"}, "annotations": [{"result": results}]}]

    inside, across = ([[x0, 20], [x1, 20], [x1, 60], [x0, 60]] for x0, x1 in ((10, 40), (40, 90)))
    for second in (inside, across):
        (tmp_path / "a.json").write_text(json.dumps(task(second)))
        (item,) = collected(tmp_path / "a.json", [case]).items
        back = item.load()
        assert len(back.layers) == 2
        if second is inside:
            assert set(np.unique(mask_of(back).array)) == {0, 1, 2}
        else:
            with pytest.raises(ReadError, match=r"'lesion' shares .* with 'organ'"):
                mask_of(back)
        export([back], [case], tmp_path / "out", "seg-nrrd", TOLD)
        again = collected(tmp_path / "out", [case]).items[0].load()
        assert all(np.array_equal(a.array, b.array) for a, b in zip(back.layers, again.layers, strict=True))


def test_ellipse_and_brush_with_its_label_apart_are_read(tmp_path):
    case = source_of(tmp_path, "raster")
    result = [
        {"id": "b", "type": "brush", "value": {"format": "rle", "rle": [0]}},
        {"id": "b", "type": "labels", "value": {"labels": ["nodule"]}},
        {
            "id": "e",
            "type": "ellipselabels",
            "value": {"x": 50, "y": 50, "radiusX": 50, "radiusY": 50, "ellipselabels": ["e"]},
        },
        {"id": "k", "type": "keypointlabels", "value": {"x": 1, "y": 1, "width": 1, "keypointlabels": ["p"]}},
        {"id": "t", "value": {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["t"]}, "image_rotation": 90},
    ]
    region = np.zeros((9, 7), bool)
    region[8, 6] = True
    result[0]["value"]["rle"] = brush(region)
    (tmp_path / "a.json").write_text(json.dumps([{"data": {"image": "/a.png"}, "annotations": [{"result": result}]}]))
    found = collected(tmp_path / "a.json", [case])
    back = found.items[0].load()
    ball = np.hypot((np.arange(9)[:, None] + 0.5 - 4.5) / 4.5, (np.arange(7) + 0.5 - 3.5) / 3.5) < 1
    by_name = {n: layer.array[0, 0] == v for v, n, layer in back.regions}
    assert np.array_equal(by_name["nodule"], region)
    assert np.array_equal(by_name["e"], ball)
    assert back.notes == (
        "a.json, task 1, result 4: It was drawn on a turned view of the image. Turn the view back and draw again.",
    )
    assert [s.reason for s in found.left_out] == [
        "It is neither region nor rectangle nor choice.",
        "It was drawn on a turned view of the image. Turn the view back and draw again.",
    ]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{", "Not readable as JSON"),
        ("[1]", "Neither COCO nor Label Studio"),
        ('{"images": [], "annotations": []}', "Nothing is drawn"),
        ('[{"data": {"image": "a.png"}, "annotations": [{"result": []}]}]', "Nothing is drawn"),
    ],
)
def test_damaged_json_is_named(tmp_path, content, match):
    case = source_of(tmp_path, "raster")
    (tmp_path / "a.json").write_text(content)
    found = collected(tmp_path / "a.json", [case])
    assert found.items == ()
    (left_out,) = found.left_out
    assert left_out.path == "a.json"
    assert match in left_out.reason
    assert "What to do" in left_out.reason


@pytest.mark.parametrize(
    ("segmentation", "match"),
    [
        ([[1, 1, 2, 2]], "encloses nothing"),
        ([[1, 1, 2, "x", 3, 3]], "encloses nothing"),
        ([5], "encloses nothing"),
        ({"counts": [1, 2]}, "runs of 3 pixels"),
    ],
)
def test_regions_that_cannot_be_are_refused_when_loaded(tmp_path, segmentation, match):
    case = source_of(tmp_path, "raster")
    content = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "x"}]}
    content["annotations"] = [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    (item,) = collected(tmp_path / "a.json", [case]).items
    with pytest.raises(ReadError, match=match) as refused:
        item.load()
    assert refused.value.where == "a.json, annotation 1"


def test_picture_of_another_size_is_refused(tmp_path):
    case = source_of(tmp_path, "raster")
    write_raster(tmp_path / "a_mask.png", Image(np.ones((1, 1, 5, 5), np.uint8), np.eye(4), kind="labels"))
    (item,) = collected(tmp_path / "a_mask.png", [case]).items
    with pytest.raises(ReadError, match="5 × 5 pixels"):
        item.load()


def test_mask_on_a_cropped_or_turned_grid_is_put_where_it_was_drawn(tmp_path):
    case = source_of(tmp_path, "nifti", 3)
    image = load(case.sources[0])
    said = drawn_on(case, 3)
    affine = image.affine.copy()
    affine[:, 3] = affine @ (1, 2, 0, 1)
    # Cropped to slices 1 to 2 and rows 2 to 7, then stored with k last to first.
    cut = said.layers[0].array[0, 1:3, 2:8]
    affine[:, 3] += affine[:, 0] * (cut.shape[0] - 1)
    affine[:, 0] *= -1
    write_nifti(tmp_path / "a-seg.nii.gz", Image(cut[None, ::-1].copy(), affine, kind="labels", unit="label"))
    (item,) = collected(tmp_path / "a-seg.nii.gz", [case], LABELS).items
    back = item.load()
    truth = np.zeros_like(said.layers[0].array)
    truth[0, 1:3, 2:8] = cut
    assert np.array_equal(back.layers[0].array, truth)
    assert back.notes == ()


def test_names_of_a_model_keep_their_values_whatever_the_spelling():
    assert numbered(["Left_Kidney", "cyst"], {3: "left kidney"}) == {3: "left kidney", 4: "cyst"}


def test_predictions_become_annotations():
    mask = Image(np.ones((1, 1, 2, 2), np.uint8), np.eye(4), kind="labels")
    assert annotation_of(Prediction("a", "", mask=mask, doubt=0.2), {1: "x"}).doubt == 0.2
    boxes = tuple(Box("x", (0, 0, 0), (1, 1, 1), s, told=s > 0.3) for s in (0.9, 0.4, 0.2))
    assert [b.score for b in annotation_of(Prediction("a", "", boxes=boxes), {}).boxes] == [0.9, 0.4]
    assert annotation_of(Prediction("a", "", probabilities={"x": 1.0}, label="x"), {}).classes == ("x",)
    assert annotation_of(Prediction("a", "", value=54.25), {}).classes == ("54.25",)
    with pytest.raises(UsageError, match="cannot be drawn"):
        annotation_of(Prediction("a", "", neighbours=("x",)), {})


@pytest.mark.parametrize(
    ("form", "said", "match"),
    [
        ("nifti", Annotation("a", boxes=()), "no regions"),
        ("seg-nrrd", Annotation("a", classes=("x",)), "no regions"),
        ("coco", Annotation("a", classes=("x",)), "no place in COCO"),
    ],
)
def test_what_a_form_cannot_hold_is_refused(tmp_path, form, said, match):
    case = source_of(tmp_path, "raster")
    with pytest.raises(OutputError, match=match):
        export([said], [case], tmp_path / "out", form, TOLD)


@pytest.mark.parametrize(("label", "words"), [("sick|healthy", ("sick", "healthy")), ("", ()), ("sick", ("sick",))])
def test_several_labels_are_several_choices_and_none_is_no_empty_one(tmp_path, label, words):
    case = source_of(tmp_path, "raster")
    said = annotation_of(Prediction(case.id, "", probabilities={"sick": 0.5, "healthy": 0.5}, label=label), {})
    export([said], [case], tmp_path / "out", "label-studio", TOLD)
    (task,) = json.loads((tmp_path / "out" / "tasks.json").read_text("utf-8"))
    chosen = [r["value"]["choices"] for r in task["predictions"][0]["result"]]
    assert chosen == ([list(words)] if words else [])


def test_pictures_of_an_image_with_holes_are_written_where_they_are_filled(tmp_path):
    array = np.zeros((1, 2, 9, 7), np.float32)
    array[0, 0, 0, 0] = np.nan
    affine = np.diag([1.0, 1.0, -1.0, 1.0])
    (tmp_path / "data").mkdir()
    nibabel.save(nibabel.Nifti1Image(array[0].T, affine), tmp_path / "data" / "a.nii.gz")
    (case,) = read_inputs(tmp_path / "data")
    said = Annotation(case.id, boxes=())
    with pytest.raises(LucencyError, match="NaN"):
        export([said], [case], tmp_path / "out", "coco", TOLD)
    export([said], [case], tmp_path / "out", "coco", replace(TOLD, nan=0.0))
    assert len(list((tmp_path / "out" / "images").iterdir())) == 2


def test_an_annotation_of_coco_without_its_class_is_missed(tmp_path):
    case = source_of(tmp_path, "raster")
    content = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "x"}]}
    content["annotations"] = [
        {"image_id": 1, "category_id": c, "segmentation": [[0, 0, 2, 0, 2, 2]], "iscrowd": 0} for c in (1, 2)
    ]
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = collected(tmp_path / "a.json", [case])
    assert found.items[0].load().notes == ("a.json, annotation 2: It has no class.",)


def test_a_slice_whose_axes_fall_on_one_another_takes_the_nearest():
    # The slice direction leans so far that it rounds to the rows': no turn of axes, and no crash.
    image = Grid(np.eye(4), (3, 4, 4))
    affine = np.eye(4)
    affine[:3, 0] = (0.4, 0.9, 0.0)
    found = placed(Image(np.ones((1, 1, 4, 4), np.uint8), affine, kind="labels"), image, "a.nii")
    assert not found.exact
    assert found.array[0].all()


def test_unknown_forms_and_cases_are_refused(tmp_path):
    case = source_of(tmp_path, "raster")
    with pytest.raises(UsageError, match="nifti, "):
        export([], [case], tmp_path, "dwg")
    with pytest.raises(UsageError, match="no case"):
        export([Annotation("b", boxes=())], [case], tmp_path, "coco")


def test_pictures_show_the_slices_and_the_interface_knows_the_labels(tmp_path):
    case = source_of(tmp_path, "nifti")
    told = replace(TOLD, labels={1: 'a "b" <c>', 3: "结节"})
    exporter = Exporter(tmp_path / "out", "label-studio", told)
    exporter.add(drawn_on(case), case, "Nothing seen.")
    assert [p.name for p in exporter.finish()] == ["tasks.json", "config.xml"]
    assert sorted(p.name for p in (tmp_path / "out" / "images").iterdir()) == [f"a__{n:04d}.png" for n in (1, 2, 3, 4)]
    config = (tmp_path / "out" / "config.xml").read_text("utf-8")
    assert "value='a \"b\" &lt;c&gt;'" in config
    assert 'value="结节"' in config
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text("utf-8"))
    first = tasks[0]["data"]
    assert first == {
        "image": "/data/local-files/?d=images/a__0001.png",
        "case": "a",
        "slice": 1,
        "finding": "Nothing seen.",
    }


ODD = [None, -1, 0, 1e308, "", "x", [], {}, [1], {"a": 1}, True, 2**70, [[]], -5.5]


def places(value, path=()):
    """Every place in a JSON value, as the keys that lead there."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value[:12]) if isinstance(value, list) else ()
    for key, one in inside:
        yield from places(one, (*path, key))


@pytest.mark.parametrize("form", ["coco", "label-studio"])
def test_whatever_stands_in_a_file_nothing_but_a_refusal_comes_of_it(tmp_path, form):
    case = source_of(tmp_path, "raster")
    drawn = drawn_on(case)
    said = Annotation(case.id, drawn.layers, LABELS, (Box("nodule", (0, 1, 1), (1, 4, 6)),), ("sick",))
    (path, *_) = export([said], [case], tmp_path / "out", form, TOLD)
    if form == "label-studio":
        submit(path)
    whole = path.read_text("utf-8")
    ways = [p for p in places(json.loads(whole)) if p]
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(250):
        content = json.loads(whole)
        way = ways[rng.integers(len(ways))]
        parent = content
        for key in way[:-1]:
            parent = parent[key]
        parent[way[-1]] = ODD[rng.integers(len(ODD))]
        path.write_text(json.dumps(content), "utf-8")
        found = collected(path, [case], LABELS)
        outcomes |= {"left out" for _ in found.left_out}
        for item in found.items:
            try:
                item.load()
                outcomes.add("whole")
            except LucencyError:
                outcomes.add("refused")
    assert outcomes == {"left out", "whole", "refused"}


def test_what_is_said_of_returned_files_is_said_in_chinese_too(tmp_path):
    case = source_of(tmp_path, "raster")
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text("[1]")
    (tmp_path / "a.seg.nrrd").write_text("x")
    write_raster(tmp_path / "zzz.png", Image(np.ones((1, 1, 5, 5), np.uint8), np.eye(4), kind="labels"))
    found = collected(tmp_path, [case])
    (item,) = [i for i in found.items if i.where == "a.seg.nrrd"]
    with pytest.raises(ReadError) as refused:
        item.load()
    reasons = [s.reason for s in found.left_out] + [str(refused.value.args[0])]
    assert len(reasons) == 4
    for said in reasons:
        whole = sentence(said, "zh").removeprefix("a.seg.nrrd")
        assert not re.search(r"[a-z]{2,} [a-z]{2,}", whole), whole
    assert sentence("3 images were not annotated yet.", "zh") == "3 幅图像尚未标注。"

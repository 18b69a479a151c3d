"""Boxes as every tool writes them: one drawing, seven formats, the same boxes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from lucency.boxes import Box
from lucency.case import Cohort
from lucency.errors import DataError, UsageError
from lucency.read import ReadOptions, read

#: Image to (class, xmin, ymin, xmax, ymax) in pixels of 40 × 30; image 9 has nothing on it.
DRAWN = {
    f"im{n}": [("cell", 2.0, 3.0, 12.0, 13.0), ("dot", 20.0 + n, 5.0, 24.0 + n, 9.0)] if n < 9 else []
    for n in range(10)
}
WIDTH, HEIGHT = 40, 30


def pictures(folder: Path, stems: list[str] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for n, stem in enumerate(stems or list(DRAWN)):
        rng = np.random.default_rng(n)
        Picture.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH), dtype=np.uint8)).save(folder / f"{stem}.png")


def coco(folder: Path) -> None:
    images = [{"id": n, "file_name": f"{s}.png", "width": WIDTH, "height": HEIGHT} for n, s in enumerate(DRAWN)]
    boxes = [
        {"id": 1, "image_id": n, "category_id": 1 + (c == "dot"), "bbox": [x, y, a - x, b - y]}
        for n, rows in enumerate(DRAWN.values())
        for c, x, y, a, b in rows
    ]
    names = [{"id": 1, "name": "cell"}, {"id": 2, "name": "dot"}]
    content = {"images": images, "annotations": boxes, "categories": names}
    (folder / "instances.json").write_text(json.dumps(content))


def voc(folder: Path) -> None:
    (folder / "Annotations").mkdir()
    for stem, rows in DRAWN.items():
        objects = "".join(
            f"<object><name>{c}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{a}</xmax><ymax>{b}</ymax></bndbox></object>"
            for c, x, y, a, b in rows
        )
        text = f"<annotation><filename>{stem}.jpg</filename>{objects}</annotation>"
        (folder / "Annotations" / f"{stem}.xml").write_text(text)


def yolo(folder: Path) -> None:
    (folder / "labels").mkdir()
    for stem, rows in DRAWN.items():
        lines = [
            f"{int(c == 'dot')} {(x + a) / 2 / WIDTH} {(y + b) / 2 / HEIGHT} {(a - x) / WIDTH} {(b - y) / HEIGHT}"
            for c, x, y, a, b in rows
        ]
        (folder / "labels" / f"{stem}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text("nc: 2\nnames:\n  0: cell\n  1: dot\n")


def cvat(folder: Path) -> None:
    images = "".join(
        f'<image id="{n}" name="{s}.png">'
        + "".join(f'<box label="{c}" xtl="{x}" ytl="{y}" xbr="{a}" ybr="{b}"/>' for c, x, y, a, b in rows)
        + "</image>"
        for n, (s, rows) in enumerate(DRAWN.items())
    )
    (folder / "annotations.xml").write_text(f"<annotations><version>1.1</version>{images}</annotations>")


def table(folder: Path) -> None:
    lines = ["image_file,label,xmin,ymin,xmax,ymax,width,height"]
    for stem, rows in DRAWN.items():
        lines += [f"{stem}.png,{c},{x},{y},{a},{b},{WIDTH},{HEIGHT}" for c, x, y, a, b in rows]
        lines += [f"{stem}.png,,,,,,{WIDTH},{HEIGHT}"] * (not rows)
    (folder / "boxes.csv").write_text("\n".join(lines))


def sides(folder: Path) -> None:
    lines = ["patientId\tx\ty\twidth\theight\tclass"]
    for stem, rows in DRAWN.items():
        lines += [f"{stem}\t{x}\t{y}\t{a - x}\t{b - y}\t{c}" for c, x, y, a, b in rows]
        lines += [f"{stem}\t\t\t\t\t"] * (not rows)
    (folder / "boxes.tsv").write_text("\n".join(lines))


def label_studio(folder: Path) -> None:
    tasks = [
        {
            "data": {"image": f"/data/upload/1/0123abcd-{stem}.png"},
            "annotations": [
                {
                    "result": [
                        {
                            "type": "rectanglelabels",
                            "value": {
                                "x": 100 * x / WIDTH,
                                "y": 100 * y / HEIGHT,
                                "width": 100 * (a - x) / WIDTH,
                                "height": 100 * (b - y) / HEIGHT,
                                "rotation": 0,
                                "rectanglelabels": [c],
                            },
                        }
                        for c, x, y, a, b in rows
                    ]
                }
            ],
        }
        for stem, rows in DRAWN.items()
    ]
    (folder / "export.json").write_text(json.dumps(tasks))


def flat(box: Box) -> tuple[str, float, float, float, float]:
    return box.label, *(round(v, 6) for v in (box.low[2], box.low[1], box.high[2], box.high[1]))


def drawn_in(cohort: Cohort) -> dict[str, list[tuple[str, float, float, float, float]]]:
    return {c.id: [flat(b) for b in c.target] for c in cohort.cases if isinstance(c.target, tuple)}


@pytest.mark.parametrize("write", [coco, voc, yolo, cvat, table, sides, label_studio], ids=lambda f: f.__name__)
def test_every_format_gives_the_same_boxes(tmp_path: Path, write: Callable[[Path], None]) -> None:
    pictures(tmp_path / "images")
    write(tmp_path)
    cohort = read(tmp_path)
    assert cohort.layout == "boxes"
    assert cohort.classes == ("cell", "dot")
    assert drawn_in(cohort) == {s: [(c, *v) for c, *v in rows] for s, rows in DRAWN.items()}
    assert cohort.skipped == ()
    # An image with nothing on it is labelled, and is learned from.
    assert "im9" in {*cohort.folds, *cohort.locked}


def test_boxes_that_cannot_be_are_listed_and_left_out(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    coco(tmp_path)
    content = json.loads((tmp_path / "instances.json").read_text())
    wrong = {
        "inverted": [10, 10, -4, 5],
        "no extent": [10, 10, 0, 5],
        "lies outside": [50, 10, 5, 5],
        "More than 50% of the box lies outside": [36, 10, 10, 5],
        "no finite number": [None, 10, 5, 5],
        "drawn twice": [2, 3, 10, 10],
    }
    for box in wrong.values():
        content["annotations"].append({"image_id": 0, "category_id": 1, "bbox": box})
    content["annotations"].append({"image_id": 77, "category_id": 1, "bbox": [1, 1, 2, 2]})
    content["annotations"].append({"image_id": 0, "category_id": 9, "bbox": [1, 1, 2, 2]})
    content["annotations"].append({"image_id": 0, "category_id": 1, "bbox": [1, 1, 2, 2], "iscrowd": 1})
    # Reaches over the edge by a tenth: cut there.
    content["annotations"].append({"image_id": 1, "category_id": 1, "bbox": [31, 10, 10, 5]})
    (tmp_path / "instances.json").write_text(json.dumps(content))
    cohort = read(tmp_path)
    reasons = [s.reason for s in cohort.skipped]
    assert all(any(word in r for r in reasons) for word in wrong)
    assert any("no class" in r for r in reasons)
    assert len(reasons) == len(wrong) + 1
    assert drawn_in(cohort)["im0"] == [(c, *v) for c, *v in DRAWN["im0"]]
    assert drawn_in(cohort)["im1"][-1] == ("cell", 31.0, 10.0, 40.0, 15.0)
    assert any("1 boxes reached over the edge" in n for n in cohort.notes)
    assert any("crowds" in n for n in cohort.notes)


def test_an_image_in_no_label_file_is_unlabelled_and_not_empty(tmp_path: Path) -> None:
    pictures(tmp_path / "images", [*DRAWN, "new"])
    voc(tmp_path)
    cohort = read(tmp_path)
    (new,) = (c for c in cohort.cases if c.id == "new")
    assert new.target is None
    assert any("1 images are in no label file" in n for n in cohort.notes)


def test_two_formats_of_one_set_are_read_once_and_said(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    coco(tmp_path)
    table(tmp_path)
    cohort = read(tmp_path)
    assert sum(len(v) for v in drawn_in(cohort).values()) == 18
    assert any("18 boxes in a table (boxes.csv) were not used: COCO was taken." in n for n in cohort.notes)


def test_boxes_in_a_table_are_no_facts_of_the_patient(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    # One box an image: the table speaks of images as a clinical one does.
    lines = ["image,finding,xmin,ymin,xmax,ymax,area,age,marker"]
    lines += [f"im{n}.png,cell,{n},3,{n + 9},13,90,{40 + n},{n / 7}" for n in range(10)]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    for options in (None, ReadOptions(boxes=True)):
        cases = read(tmp_path, options).cases
        assert {tuple(c.clinical) for c in cases} == {("age", "marker")}
        assert [c.facts["age"] for c in cases] == [40 + n for n in range(10)]
    (tmp_path / "masks").mkdir()
    for n in range(10):
        drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
        drawn[3:13, n : n + 9] = 255
        Picture.fromarray(drawn).save(tmp_path / "masks" / f"im{n}.png")
    cohort = read(tmp_path, ReadOptions(layout="pairs"))
    assert {tuple(c.clinical) for c in cohort.cases} == {("age", "marker")}


def test_lists_of_pascal_voc_give_the_parts(tmp_path: Path) -> None:
    pictures(tmp_path / "JPEGImages")
    voc(tmp_path)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    stems = list(DRAWN)
    for name, part in (("train", stems[:7]), ("test", stems[7:])):
        (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(part))
    cohort = read(tmp_path)
    assert cohort.locked == frozenset(stems[7:])


def masks(folder: Path, *, each: bool) -> None:
    """Binary masks: a file for each object, or all objects of an image in one."""
    (folder / "masks").mkdir()
    for stem, rows in DRAWN.items():
        whole = np.zeros((HEIGHT, WIDTH), np.uint8)
        for c, x, y, a, b in rows:
            part = np.zeros_like(whole)
            part[int(y) : int(b), int(x) : int(a)] = 255
            whole |= part
            if each:
                Picture.fromarray(part).save(folder / "masks" / f"{stem}__{c}.png")
        if not each:
            Picture.fromarray(whole).save(folder / "masks" / f"{stem}.png")


@pytest.mark.parametrize("each", [True, False])
def test_masks_become_the_boxes_around_them_where_boxes_are_asked_for(tmp_path: Path, *, each: bool) -> None:
    pictures(tmp_path / "images")
    masks(tmp_path, each=each)
    assert read(tmp_path).layout == "pairs"
    cohort = read(tmp_path, ReadOptions(boxes=True))
    assert cohort.layout == "boxes"
    found = drawn_in(cohort)
    wanted = {s: sorted((c if each else "object", *v) for c, *v in rows) for s, rows in DRAWN.items() if rows}
    assert {s: sorted(v) for s, v in found.items() if v} == wanted


@pytest.mark.parametrize("named", [True, False])
def test_masks_that_number_their_objects_or_name_their_classes_become_boxes(tmp_path: Path, *, named: bool) -> None:
    """Values are objects, as many as an image has; or classes, of which each connected part is an object."""
    pictures(tmp_path / "images")
    (tmp_path / "masks").mkdir()
    wanted: dict[str, list[tuple[str, float, float, float, float]]] = {}
    for n in range(10):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        wanted[f"im{n}"] = []
        for m in range(4 + n):
            x, y = 6 * (m % 6) + 1, 8 * (m // 6) + 1
            # Numbers skip one, as objects do that were deleted.
            mask[y : y + 5, x : x + 4] = 1 + m % 2 if named else 2 + m
            wanted[f"im{n}"].append((str(1 + m % 2) if named else "object", x, y, x + 4.0, y + 5.0))
        Picture.fromarray(mask).save(tmp_path / "masks" / f"im{n}.png")
    cohort = read(tmp_path, ReadOptions(boxes=True))
    found = drawn_in(cohort)
    assert {s: sorted(v) for s, v in found.items()} == {s: sorted(v) for s, v in wanted.items()}
    how = "each connected part of a mask" if named else "each value of a mask"
    assert any(f"{how} is an object" in note for note in cohort.notes)


def test_rare_classes_are_left_out_and_named_and_classes_can_be_chosen(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    table(tmp_path)
    path = tmp_path / "boxes.csv"
    path.write_text(path.read_text() + f"\nim0.png,rare,1,1,3,3,{WIDTH},{HEIGHT}")
    cohort = read(tmp_path)
    assert cohort.classes == ("cell", "dot")
    assert any("rare (1)" in n for n in cohort.notes)
    assert read(tmp_path, ReadOptions(boxes=True, classes=("dot",))).classes == ("dot",)
    with pytest.raises(UsageError, match="No box of class 'dots'"):
        read(tmp_path, ReadOptions(boxes=True, classes=("dots",)))


def test_labels_without_one_good_box_are_refused_with_the_reason(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    lines = [f"{s}.png,cell,9,9,9,9" for s in DRAWN]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *lines]))
    with pytest.raises(DataError, match="No box that can be used"):
        read(tmp_path)


def test_an_xml_file_that_declares_entities_is_not_opened(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    coco(tmp_path)
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb">]><annotation><object><name>&b;</name></object></annotation>'
    (tmp_path / "im0.xml").write_text(bomb)
    assert drawn_in(read(tmp_path))["im0"] == [(c, *v) for c, *v in DRAWN["im0"]]

"""Boxes from the folder to boxes.csv; on real radiographs four formats of one set say the same."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from lucency import record
from lucency.boxes import overlaps
from lucency.case import Cohort
from lucency.fit import Settings, fit

DATA = Path(os.environ.get("LUCENCY_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))

#: x, y, x, y of a box in pixels.
Edges = tuple[int, int, int, int]


def pictures(folder: Path, n: int, scale: int = 1, seed: int = 0) -> dict[str, list[tuple[str, Edges]]]:
    """Grey noise of 64 × 48 with a bright and mostly a dark square, drawn ``scale`` times as large."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[tuple[str, Edges]]] = {}
    for number in range(n):
        image = rng.normal(110, 10, (48, 64))
        found: list[tuple[str, Edges]] = []
        for label, level, left in (("bright", 90, 0), ("dark", -90, 32)):
            side = int(rng.integers(10, 15))
            x, y = left + int(rng.integers(1, 31 - side)), int(rng.integers(1, 47 - side))
            if label == "dark" and number % 5 == 4:
                continue
            image[y : y + side, x : x + side] += level
            found.append((label, (scale * x, scale * y, scale * (x + side), scale * (y + side))))
        large = np.kron(image.clip(0, 255).astype(np.uint8), np.ones((scale, scale), np.uint8))
        Picture.fromarray(large).save(folder / f"im{number:02d}.png")
        drawn[f"im{number:02d}"] = found
    return drawn


def as_coco(folder: Path, drawn: dict[str, list[tuple[str, Edges]]]) -> None:
    names = ["bright", "dark"]
    content = {
        "images": [{"id": n, "file_name": f"{s}.png", "width": 64, "height": 48} for n, s in enumerate(drawn)],
        "annotations": [
            {"id": 1, "image_id": n, "category_id": names.index(c), "bbox": [x, y, a - x, b - y]}
            for n, rows in enumerate(drawn.values())
            for c, (x, y, a, b) in rows
        ],
        "categories": [{"id": n, "name": c} for n, c in enumerate(names)],
    }
    (folder / "boxes.json").write_text(json.dumps(content), encoding="utf-8")


def as_table(folder: Path, drawn: dict[str, list[tuple[str, Edges]]]) -> None:
    lines = ["image,label,xmin,ymin,xmax,ymax"]
    lines += [f"{s}.png,{c},{','.join(map(str, e))}" for s, rows in drawn.items() for c, e in rows]
    (folder / "boxes.csv").write_text("\n".join(lines), encoding="utf-8")


def as_voc(folder: Path, drawn: dict[str, list[tuple[str, Edges]]]) -> None:
    (folder / "Annotations").mkdir()
    for stem, rows in drawn.items():
        objects = "".join(
            f"<object><name>{c}</name><bndbox>"
            + "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), e, strict=True))
            + "</bndbox></object>"
            for c, e in rows
        )
        (folder / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{objects}</annotation>", encoding="utf-8")


def read_boxes(run: Path) -> dict[str, list[tuple[str, list[float]]]]:
    cohort = record.read(Cohort, run / "cohort.json")
    return {
        c.id: sorted((b.label, [b.low[2], b.low[1], b.high[2], b.high[1]]) for b in c.target)
        for c in cohort.cases
        if isinstance(c.target, tuple)
    }


@pytest.mark.journey
def test_drawn_boxes_become_a_model_that_finds_them_in_pixels_of_the_source(tmp_path: Path) -> None:
    data = tmp_path / "data"
    drawn = pictures(data / "images", 30)
    as_coco(data, drawn)
    # The steps are set, so that the time of a busy machine decides nothing.
    values = {"schedule.steps": "70", "schedule.ema": "0.95", "folds": "[0]", "quality": "off"}
    run = fit(data, tmp_path / "run", settings=Settings(minutes=4, values=values))
    assert run.plan.task == "detect"
    assert run.plan.classes == ("bright", "dark")
    assert set(run.metrics["baselines"]) == {"mean boxes"}
    text = run.report.read_text(encoding="utf-8")
    assert "1/8" in text
    # Four times the size that was learned from: what is given out lies on the pixels of the source.
    wanted = pictures(tmp_path / "new", 6, scale=4, seed=1)
    run.predict(tmp_path / "new", tmp_path / "out")
    with (tmp_path / "out" / "boxes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:7] == ["case", "label", "score", "xmin", "ymin", "xmax", "ymax"]
    hit = 0
    for case, truth in wanted.items():
        for label, edges in truth:
            own = [r for r in rows if r["case"] == case and r["label"] == label]
            best = max(own, key=lambda r: float(r["score"]))
            found = np.array([[float(best[k]) for k in ("xmin", "ymin", "xmax", "ymax")]])
            hit += overlaps(found, np.array([edges], dtype=float))[0, 0] > 0.4
    assert hit >= 0.7 * sum(map(len, wanted.values()))


@pytest.mark.journey
def test_coco_voc_and_a_table_are_the_same_data_to_the_whole_command(tmp_path: Path) -> None:
    found = {}
    for write in (as_coco, as_voc, as_table):
        folder = tmp_path / write.__name__
        drawn = pictures(folder / "images", 24)
        write(folder, drawn)
        fit(folder, tmp_path / f"{write.__name__}_run", settings=Settings(minutes=1), upto="profile")
        found[write.__name__] = read_boxes(tmp_path / f"{write.__name__}_run")
        profile = json.loads((tmp_path / f"{write.__name__}_run" / "profile.json").read_text(encoding="utf-8"))
        assert sum(profile["box_shapes"].values()) > 20
    assert found["as_coco"] == found["as_voc"] == found["as_table"]
    assert found["as_coco"] == {s: sorted((c, [float(v) for v in e]) for c, e in rows) for s, rows in drawn.items()}


@pytest.mark.journey
@pytest.mark.skipif(not (DATA / "cxr_mass_boxes").exists(), reason="no real data: set LUCENCY_TEST_DATA")
def test_four_formats_of_one_real_set_give_the_same_boxes(tmp_path: Path) -> None:
    every = {}
    # The folder "VOC" holds CVAT's XML, as the set was published.
    for form in ("COCO", "CSV", "YOLO", "VOC"):
        data = tmp_path / form
        shutil.copytree(DATA / "cxr_mass_boxes" / "images", data / "images")
        shutil.copytree(DATA / "cxr_mass_boxes" / "annotated_data" / form, data / "labels")
        fit(data, tmp_path / f"run_{form}", settings=Settings(minutes=1), upto="read")
        every[form] = read_boxes(tmp_path / f"run_{form}")
        notes = record.read(Cohort, tmp_path / f"run_{form}" / "cohort.json").notes
        # The YOLO files come without the file of names.
        assert any("No file names 2 of the classes" in n for n in notes) is (form == "YOLO")
    assert len(every["COCO"]) == 50
    named = {"0": "Mass", "1": "Nodule"}
    for form in ("CSV", "YOLO", "VOC"):
        assert set(every[form]) == set(every["COCO"])
        for case, wanted in every["COCO"].items():
            found = sorted((named.get(label, label), edges) for label, edges in every[form][case])
            assert [label for label, _ in found] == [label for label, _ in wanted]
            # Shares of the image and rounded corners: half a pixel.
            ours, theirs = (np.array([e for _, e in boxes]) for boxes in (found, wanted))
            shared = overlaps(ours, theirs)
            assert np.abs(ours - theirs[shared.argmax(axis=1)]).max() <= 0.51

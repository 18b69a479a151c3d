import csv

import numpy as np
import pytest

from lucency.boxes import Box
from lucency.case import Case, Course, Prediction, Source
from lucency.errors import OutputError
from lucency.image import Image
from lucency.write.outputs import Names, write_outputs
from lucency.write.rows import Rows, box_columns, joined, tabled

TWO = (
    Box("cell", (0.0, 2.0, 3.0), (1.0, 6.5, 9.0), 0.75, (30.0, 20.0, -1.0), (90.0, 65.0, 1.0)),
    Box("nucleus", (0.0, 0.0, 0.0), (1.0, 4.0, 5.0), 0.5, told=False),
)


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def case(name):
    return Case(name, name, {"image": (Source((f"{name}.png",), "nowhere", "raster"),)})


def test_boxes_stand_in_pixels_and_in_mm_and_are_counted(tmp_path):
    found = [Prediction("b", "m", boxes=()), Prediction("a", "m", boxes=TWO)]
    write_outputs(found, [case("a"), case("b")], Names(("cell", "nucleus"), flat=True), tmp_path)
    assert rows(tmp_path / "predictions.csv") == [
        ["case", "boxes", "highest_score", "told"],
        ["a", "2", "0.75", "1"],
        ["b", "0", "", "0"],
    ]
    # x is the column (i), y the row (j); a box without a place in the patient has none in mm.
    assert rows(tmp_path / "boxes.csv") == [
        ["case", "label", "score", "xmin", "ymin", "xmax", "ymax", "xmin_mm", "ymin_mm", "xmax_mm", "ymax_mm", "told"],
        ["a", "cell", "0.75", "3", "2", "9", "6.5", "30", "20", "90", "65", "1"],
        ["a", "nucleus", "0.5", "0", "0", "5", "4", "", "", "", "", "0"],
    ]


def test_a_table_of_boxes_is_written_where_none_was_found(tmp_path):
    write_outputs([Prediction("a", "m", boxes=())], [case("a")], Names(("cell",), flat=False), tmp_path)
    assert rows(tmp_path / "boxes.csv") == [list(box_columns(flat=False))]
    assert [c for c in box_columns(flat=False) if c.startswith("z")] == ["zmin", "zmax", "zmin_mm", "zmax_mm"]


def test_boxes_of_volumes_have_slices():
    box = Box("nodule", (4.0, 2.0, 3.0), (7.0, 6.0, 9.0), 0.25, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    table = tabled(Prediction("a", "m", boxes=(box,)))["boxes"]
    (row,) = table.rows
    given = dict(zip(table.columns, row, strict=True))
    assert (given["zmin"], given["zmax"], given["ymin"], given["xmax"]) == (4, 7, 2, 9)
    assert (given["zmin_mm"], given["zmax_mm"], given["xmin_mm"], given["ymax_mm"]) == (3, 6, 1, 5)


def test_courses_give_the_risk_and_the_median(tmp_path):
    course = Course((1.0, 2.0), {"1": (0.1, 0.3)}, risk=0.3, horizon=2.0)
    found = [Prediction("a", "m", course=course)]
    write_outputs(found, [case("a")], Names(), tmp_path)
    assert rows(tmp_path / "predictions.csv") == [["case", "risk", "median_days"], ["a", "0.3", ""]]


def test_nearest_cases_of_short_lists_leave_cells_empty():
    parts = [tabled(Prediction("a", "m", neighbours=n, label="x"))["predictions"] for n in (("x", "y"), ("x",))]
    assert joined(parts, "t.csv").rows == (("a", "x", "x", "y"), ("a", "x", "x", None))


def test_a_task_may_add_tables_of_its_own(tmp_path):
    def own(prediction):
        return {
            "predictions": Rows(("case", "sum"), ((prediction.case, 2),)),
            "parts": Rows(("case", "part"), ((prediction.case, 1), (prediction.case, 2))),
        }

    found = [Prediction(c, "m", value=1.0) for c in "ba"]
    write_outputs(found, [case("a"), case("b")], Names(tables=own), tmp_path)
    assert rows(tmp_path / "predictions.csv") == [["case", "sum"], ["a", "2"], ["b", "2"]]
    assert [r[0] for r in rows(tmp_path / "parts.csv")] == ["case", "a", "a", "b", "b"]


def test_masks_are_counted_before_they_leave_memory(tmp_path):
    mask = Image(np.array([[[[0, 7], [7, 7]]]], np.uint8), np.eye(4), "labels", "label")
    (kept,) = write_outputs([Prediction("a", "m", mask=mask)], [case("a")], Names(labels={7: "lung"}), tmp_path)
    assert rows(tmp_path / "predictions.csv") == [["case", "voxels_lung"], ["a", "3"]]
    assert kept.mask is not None
    assert kept.mask.array.size == 1


def test_rows_of_different_kinds_are_refused():
    with pytest.raises(OutputError, match=r"t\.csv: Predictions of 2 kinds"):
        joined([Rows(("case", "value"), ()), Rows(("case", "risk", "x"), ())], "t.csv")

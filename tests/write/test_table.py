"""predictions.csv, checked by reading it back with the csv module."""

import csv

import numpy as np
import pytest

from lucency.case import Prediction
from lucency.errors import OutputError
from lucency.image import Image, diagonal_affine
from lucency.write.table import write_predictions, write_table


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_text_comes_back_as_it_was_whatever_it_holds(tmp_path):
    words = ["plain", "a,b", 'say "x"', "two\nlines", "=1+1", "@SUM", "肺炎", " spaced ", ""]
    write_table(tmp_path / "t.csv", ["case", "word"], [[str(n), w] for n, w in enumerate(words)])
    assert [r[1] for r in rows(tmp_path / "t.csv")[1:]] == words


def test_numbers_keep_eight_digits_and_unknown_ones_are_empty(tmp_path):
    write_table(tmp_path / "t.csv", ["a", "b", "c", "d"], [[0.123456789, float("nan"), None, 3]])
    assert rows(tmp_path / "t.csv")[1] == ["0.12345679", "", "", "3"]


def test_a_short_row_is_refused(tmp_path):
    with pytest.raises(OutputError, match="Row 2 has 1 cells"):
        write_table(tmp_path / "t.csv", ["a", "b"], [["x", "y"], ["z"]])
    assert not list(tmp_path.iterdir())


def test_classes_are_columns_in_the_models_order_and_cases_are_sorted(tmp_path):
    path = tmp_path / "predictions.csv"
    predictions = [
        Prediction("b", "m", probabilities={"0": 0.25, "1": 0.75}, label="1"),
        Prediction("a", "m", probabilities={"1": 0.125, "0": 0.875}, label="0"),
    ]
    write_predictions(path, predictions, classes=["0", "1"])
    assert rows(path) == [["case", "label", "p_0", "p_1"], ["a", "0", "0.875", "0.125"], ["b", "1", "0.25", "0.75"]]


def test_numbers_have_their_interval(tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, [Prediction("a", "m", value=70.5, lower=68.0, upper=73.0)])
    assert rows(path) == [["case", "value", "lower", "upper"], ["a", "70.5", "68", "73"]]


def test_masks_are_counted_and_measured(tmp_path):
    # 3 voxels of 5 × 2 × 2 mm are 60 mm³, which is 0.06 ml.
    array = np.zeros((1, 2, 2, 2), np.uint8)
    array[0, 0, 0] = 1
    array[0, 1, 1, 1] = 1
    mask = Image(array, diagonal_affine((5, 2, 2)), "labels", "label")
    path = tmp_path / "predictions.csv"
    write_predictions(path, [Prediction("a", "m", mask=mask)], labels={1: "nodule", 2: "cyst"})
    assert rows(path) == [
        ["case", "voxels_nodule", "voxels_cyst", "ml_nodule", "ml_cyst"],
        ["a", "3", "0", "0.06", "0"],
    ]


def test_flat_masks_have_no_volume(tmp_path):
    mask = Image(np.full((1, 1, 2, 2), 255, np.uint8), np.eye(4), "labels", "label")
    path = tmp_path / "predictions.csv"
    write_predictions(path, [Prediction("a", "m", mask=mask)], labels={255: "1"})
    assert rows(path) == [["case", "voxels_1"], ["a", "4"]]


def test_what_does_not_belong_together_is_refused(tmp_path):
    path = tmp_path / "predictions.csv"
    classed = Prediction("a", "m", probabilities={"x": 1.0}, label="x")
    mask = Image(np.full((1, 1, 2, 2), 7, np.uint8), np.eye(4), "labels", "label")
    with pytest.raises(OutputError, match="No predictions"):
        write_predictions(path, [])
    with pytest.raises(OutputError, match="2 kinds"):
        write_predictions(path, [classed, Prediction("b", "m", value=1.0)], classes=["x"])
    with pytest.raises(OutputError, match="Classes"):
        write_predictions(path, [classed], classes=["x", "y"])
    with pytest.raises(OutputError, match=r"Labels \[7\]"):
        write_predictions(path, [Prediction("a", "m", mask=mask)], labels={1: "nodule"})
    assert not path.exists()

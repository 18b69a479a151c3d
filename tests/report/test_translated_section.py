"""What the report shows of made images: side by side, with what they are worth."""

import numpy as np
import pytest

from lucency.case import Case, Prediction, Source
from lucency.evaluate import Downstream, Shown
from lucency.image import Image, diagonal_affine
from lucency.report.shown import picture
from lucency.report.translated import GAP, table
from lucency.statistics import Metric
from lucency.text import t


def shown(truth=True, size=(5, 8, 6)):
    affine = diagonal_affine((3, 2, 1))
    given, made, real = (Image(np.full((1, *size), v) + np.arange(size[2]), affine) for v in (0.0, 50.0, 100.0))
    case = Case("a", "p", {"image": (Source(("a.nii.gz",), "", "nifti"),)})
    return Shown(case, given, real if truth else None, Prediction("a", "0", image=made))


def test_three_images_stand_side_by_side_and_the_last_two_share_a_window():
    found = picture(shown())
    assert found.image.shape == (8, 3 * 6 + 2 * GAP)
    given, made, real = found.image[:, :6], found.image[:, 8:14], found.image[:, 16:]
    assert given.max() == real.max() == 1
    # By the window of the real image all that was made is black: a difference in brightness is seen.
    assert made.max() == 0
    assert (found.image[:, 6:8] == 1).all()
    assert found.caption == {"slice": "3 of 5"}
    assert found.aspect == 2


def test_without_a_real_image_two_are_shown_each_in_its_own_window():
    found = picture(shown(truth=False))
    assert found.image.shape == (8, 2 * 6 + GAP)
    assert found.image[:, 8:].max() == 1


def metric(value, n=25):
    return Metric(value, value - 0.1, value + 0.1, n, "patient bootstrap, 2000")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_table_has_a_row_for_each_arm_that_was_shown(lang):
    arms = {"made": metric(0.6), "real": metric(0.7, 20), "nothing": metric(0.1)}
    minus = {"real": metric(-0.1, 20), "nothing": metric(0.5)}
    found = Downstream("segment", "dice", ("tumour",), 120, 25, arms, minus, {"real": 0.04, "nothing": None})
    drawn = table(found, lang)
    assert [row[0] for row in drawn.rows] == [t(f"translated.{a}", lang) for a in ("real", "made", "nothing")]
    assert [row[1] for row in drawn.rows] == ["20", "25", "25"]
    assert drawn.rows[0][4] == "0.040"
    assert drawn.strong == {1}
    assert "tumour" in drawn.caption
    assert table(None, lang) is None

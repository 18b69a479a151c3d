import base64
import io
import re

import numpy as np
import pytest
from PIL import Image as Reader

from lucency.errors import UsageError
from lucency.report import Picture
from lucency.report.pictures import MOST_POINTS, PICTURE_BYTES, draw, encode_png, largest_side, outlines, shrink


@pytest.mark.parametrize("shape", [(5, 7), (4, 6, 3), (1, 1)])
def test_png_is_read_back_exactly_by_another_program(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(np.asarray(Reader.open(io.BytesIO(encode_png(pixels)))), pixels)


def test_outline_of_a_square_runs_around_it():
    mask = np.zeros((10, 12), int)
    mask[2:5, 3:8] = 4  # rows 2 to 4, columns 3 to 7: edges at 2 and 5, 3 and 8 in pixels from the corner
    (line,) = outlines(mask, 4)
    assert line[:, 0].min() == pytest.approx(3.0)
    assert line[:, 0].max() == pytest.approx(8.0)
    assert line[:, 1].min() == pytest.approx(2.0)
    assert line[:, 1].max() == pytest.approx(5.0)


def test_outline_at_the_image_border_is_closed():
    (line,) = outlines(np.ones((4, 4), int), 1)
    assert np.array_equal(line[0], line[-1])
    assert (line.min(), line.max()) == (0.0, 4.0)


def test_frayed_mask_is_thinned():
    mask = np.random.default_rng(1).integers(0, 2, (512, 512))
    assert 0 < sum(map(len, outlines(mask, 1))) <= MOST_POINTS


def test_shrinking_keeps_the_mean_and_meets_the_side():
    image = np.random.default_rng(2).random((90, 60))
    small = shrink(image, 30)
    assert small.shape == (30, 20)
    assert small.mean() == pytest.approx(image.mean())
    assert shrink(image, 90) is image


def test_sixty_noisy_colour_pictures_stay_under_the_limit():
    rng = np.random.default_rng(3)
    pictures = {str(n): Picture(rng.random((700, 700, 3))) for n in range(60)}
    side = largest_side(pictures)
    size = len(draw(pictures["0"], side, "").svg)
    assert 60 * size < 1.35 * PICTURE_BYTES


def test_reference_and_prediction_differ_in_line_and_not_only_in_colour():
    truth, predicted = np.zeros((20, 20), int), np.zeros((20, 20), int)
    truth[4:9, 4:9], predicted[5:12, 5:12] = 2, 2
    drawing = draw(Picture(np.zeros((20, 20)), truth, predicted), 100, "a < b")
    assert 'class="truth c0"' in drawing.svg
    assert 'class="predicted c0"' in drawing.svg
    assert "a &lt; b" in drawing.svg
    assert drawing.labels == (2,)
    assert drawing.empty == ()


def test_empty_prediction_is_said():
    truth = np.ones((8, 8), int)
    assert draw(Picture(np.zeros((8, 8)), truth, 0 * truth), 50, "").empty == ("predicted",)


def test_tall_pixels_make_a_tall_picture():
    svg = draw(Picture(np.full((10, 20), 0.5), aspect=3.0), 50, "").svg
    assert 'viewBox="0 0 20 30"' in svg
    png = base64.b64decode(re.search(r"base64,([^\"]+)", svg)[1])
    assert np.unique(np.asarray(Reader.open(io.BytesIO(png)))).tolist() == [128]


def test_picture_with_a_mask_of_another_size_is_refused():
    with pytest.raises(UsageError, match=r"Mask of shape \(3, 4\). Expected: \(4, 4\)"):
        Picture(np.zeros((4, 4)), np.zeros((3, 4), int))
    with pytest.raises(UsageError, match="Picture of shape"):
        Picture(np.zeros((4, 4, 2)))

"""Flat masks out, checked by reading them back with pillow."""

import numpy as np
import PIL.Image
import pytest

from lucency.errors import OutputError
from lucency.image import Image
from lucency.write.raster import write_raster


def flat(values: list[list[int]]) -> Image:
    return Image(np.array(values)[np.newaxis, np.newaxis], np.eye(4), "labels", "label")


@pytest.mark.parametrize(
    ("values", "mode"),
    [([[0, 255, 0], [255, 255, 0]], "L"), ([[0, 1], [2, 3]], "L"), ([[0, 256], [40000, 65535]], "I;16")],
)
def test_values_come_back_as_they_were(tmp_path, values, mode):
    write_raster(tmp_path / "a.png", flat(values))
    with PIL.Image.open(tmp_path / "a.png") as back:
        assert back.format == "PNG"
        assert back.mode == mode
        assert np.asarray(back).tolist() == values


def test_volumes_and_intensities_are_refused(tmp_path):
    with pytest.raises(OutputError, match=r"write a volume as \.nii\.gz"):
        write_raster(tmp_path / "a.png", Image(np.zeros((1, 2, 3, 4), np.uint8), np.eye(4), "labels"))
    with pytest.raises(OutputError, match="flat mask"):
        write_raster(tmp_path / "a.png", Image(np.zeros((1, 1, 3, 4), np.uint8), np.eye(4)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [-1, 65536])
def test_labels_that_do_not_fit_are_refused(tmp_path, value):
    with pytest.raises(OutputError, match="0 to 65535"):
        write_raster(tmp_path / "a.png", flat([[value]]))

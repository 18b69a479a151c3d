"""Places and numbers of generated series as other people's readers see them, where they accept the series."""

import dicom_made as made
import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK

from lucency.read import load
from lucency.read.layout import tree_of

SERIES = {
    "axial": made.AXIAL,
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "turned": (0, 1, 0, -1, 0, 0),
    "oblique": (0.8, 0.6, 0.0, -0.48, 0.64, 0.6),
}


@pytest.fixture(params=SERIES)
def series(request, tmp_path):
    turn = np.array(SERIES[request.param], dtype=float)
    normal = np.cross(turn[:3], turn[3:])
    slices = [
        made.one_slice(
            n,
            np.array([12.5, -40.0, 7.25]) + 2.5 * n * normal,
            ImageOrientationPatient=[float(c) for c in turn],
            RescaleSlope=2,
            RescaleIntercept=-100.5,
        )
        for n in (3, 1, 4, 0, 2)
    ]
    files = made.write(tmp_path, slices)
    (unit,) = tree_of(tmp_path).units
    return load(unit.source), files, unit.source


def test_highdicom_puts_every_voxel_at_the_same_place(series):
    image, files, _ = series
    volume = highdicom.get_volume_from_series([pydicom.dcmread(f) for f in files], dtype=np.float32)
    for k, j, i in ((0, 0, 0), (4, 5, 7), (2, 1, 6)):
        place = image.affine @ [k, j, i, 1]
        theirs = np.linalg.inv(volume.affine) @ place
        assert theirs[:3] == pytest.approx(np.rint(theirs[:3]), abs=1e-6)
        a, b, c = (int(n) for n in np.rint(theirs[:3]))
        assert volume.array[a, b, c] == image.array[0, k, j, i]


def test_simpleitk_puts_every_voxel_at_the_same_place(series):
    image, _, source = series
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(f) for f in source.files])
    # ITK rescales to whole numbers where slope and intercept are; -100.5 makes it floats.
    reader.SetOutputPixelType(SimpleITK.sitkFloat32)
    theirs = reader.Execute()
    array = SimpleITK.GetArrayFromImage(theirs)
    assert array.shape == image.array.shape[1:]
    for k, j, i in ((0, 0, 0), (4, 5, 7), (2, 1, 6)):
        place = theirs.TransformIndexToPhysicalPoint((i, j, k))
        assert (image.affine @ [k, j, i, 1])[:3] == pytest.approx(place, abs=1e-6)
    assert array == pytest.approx(image.array[0], abs=0.51)

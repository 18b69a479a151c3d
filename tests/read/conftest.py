"""Small data sets in the layouts people meet, written file by file."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image as Picture
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


class Folder:
    """A data folder in the making; every method returns the file it wrote."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rng = np.random.default_rng(0)

    def place(self, path):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def text(self, path, text, encoding="utf-8"):
        file = self.place(path)
        file.write_bytes(text.encode(encoding))
        return file

    def picture(self, path, array=None):
        file = self.place(path)
        array = self.rng.integers(0, 256, (12, 14), dtype=np.uint8) if array is None else array
        Picture.fromarray(array).save(file)
        return file

    def mask(self, path, value=255, shape=(12, 14)):
        array = np.zeros(shape, np.uint8)
        j, i = self.rng.integers(0, 6, 2)
        array[j : j + 5, i : i + 6] = value
        return self.picture(path, array)

    def nifti(self, path, array=None, affine=None):
        file = self.place(path)
        array = self.rng.normal(size=(4, 5, 6)).astype(np.float32) if array is None else array
        image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
        nibabel.save(image, file)
        return file

    def npz(self, path, **arrays):
        file = self.place(path)
        np.savez_compressed(file, **arrays)
        return file

    def slices(self, path, depths=(0.0, 2.0, 4.0), **changes):
        """Write one CT series; ``changes`` override attributes of every slice. Returns the arrays by depth."""
        series = changes.pop("series", generate_uid())
        stored = {}
        for number, depth in enumerate(depths):
            meta = pydicom.dataset.FileMetaDataset()
            meta.MediaStorageSOPClassUID = CTImageStorage
            meta.MediaStorageSOPInstanceUID = generate_uid()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data = pydicom.Dataset()
            data.file_meta = meta
            data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
            data.SeriesInstanceUID, data.PatientID, data.Modality = series, "SECRET-NAME", "CT"
            data.PatientAge, data.PatientSex, data.Manufacturer = "045Y", "F", "Acme"
            data.Rows, data.Columns, data.SamplesPerPixel = 5, 6, 1
            data.PhotometricInterpretation = "MONOCHROME2"
            data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
            data.PixelSpacing, data.ImageOrientationPatient = [0.5, 0.75], [1, 0, 0, 0, 1, 0]
            data.ImagePositionPatient = [-10, -20, depth]
            data.RescaleSlope, data.RescaleIntercept = 1, -1024
            array = self.rng.integers(0, 4000, (5, 6), dtype=np.uint16)
            data.PixelData = array.tobytes()
            for name, value in changes.items():
                setattr(data, name, value[number] if isinstance(value, tuple) else value)
            # File names that sort against the slice order.
            data.save_as(self.place(f"{path}/{99 - number:03d}.dcm"), enforce_file_format=True)
            stored[depth] = array
        return stored


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    return Folder(root)


@pytest.fixture(scope="session")
def real():
    """The folder of real data; skips where it is absent."""
    named = os.environ.get("LUCENCY_TEST_DATA")
    place = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not place.is_dir():
        pytest.skip("real data are not here: set LUCENCY_TEST_DATA")
    return place

"""DICOM sources in every orientation, with the grid that a reader gives them and a mask on it."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from lucency.boxes import Box
from lucency.case import Prediction, Source
from lucency.image import Image
from lucency.write.dicom_object import Origin
from lucency.write.dicom_series import Identity, write_series

WHO = Identity(5, 9, age=44, sex="M")
ORIGIN = Origin("ab" * 32, datetime(2026, 3, 4, 5, 6, 7), "Lucency segment unet")
NAMES = {1: "nodule", 2: "left kidney", 3: "nothing of it"}
SAID = Prediction("c1", "0", probabilities={"healthy": 0.25, "结节": 0.75}, label="结节")
SIZE = (6, 9, 11)
#: Two boxes that are told and one that is not; a radiograph has slice 0 alone.
FOUND = (
    Box("nodule", (1.0, 2.0, 3.5), (3.0, 5.25, 7.0), 0.75),
    Box("left kidney", (0.0, 6.0, 1.0), (1.0, 7.0, 2.0), 0.5),
    Box("nodule", (0.0, 0.0, 0.0), (1.0, 2.0, 2.0), 0.1, told=False),
)
BOXED = Prediction("c1", "0", boxes=FOUND)

#: Columns of the affine in LPS, (k, j, i), without spacing.
AXIAL = np.eye(3)[::-1].T
TURNS = {
    "axial": AXIAL,
    "sagittal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "coronal": np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]]),
    "oblique": np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0],
    "reversed": AXIAL @ np.diag([-1.0, 1, 1]),
}
KINDS = (*TURNS, "tilted", "multi-frame", "radiograph", "mosaic", "filled in")


@dataclass(frozen=True)
class Placed:
    """A source on the disk, its grid and a mask: label 1 in slices 1 and 2, label 2 in slice 2 to 4, 3 nowhere."""

    source: Source
    image: Image
    mask: Image

    def corner(self, k: int) -> np.ndarray:
        """Where the first voxel of a slice lies, mm."""
        return (self.image.affine @ (k, 0, 0, 1))[:3]


def affine_of(kind: str) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = TURNS.get(kind, AXIAL) * (2.5, 0.7031, 0.8125)
    affine[:3, 3] = (-101.2345678, 33.3, -777.125)
    if kind == "tilted":
        affine[1, 0] = 0.9  # the gantry leans: every slice is shifted towards the back
    return affine


def mask_on(image: Image, seed: int = 0) -> Image:
    rng = np.random.default_rng(seed)
    k, j, i = image.size
    array = np.zeros((k, j, i), np.uint8)
    if k == 1:
        array[0, 2:5, 3:7] = 1
        array[0, 6, 1] = 2
    else:
        array[1:3] = rng.random((2, j, i)) < 0.3
        array[2:5][rng.random((3, j, i)) < 0.2] = 2
    return image.with_array(array[None], kind="labels", unit="label")


def place(kind: str, folder: Path, size: tuple[int, int, int] = SIZE) -> Placed:
    """Write a source of one kind."""
    size = (1, *size[1:]) if kind == "radiograph" else size
    rng = np.random.default_rng(1)
    image = Image(rng.integers(-1000, 2000, (1, *size)).astype(np.int16), affine_of(kind), unit="HU")
    straight = image.affine.copy()
    straight[:3, 0] = np.cross(straight[:3, 2] / 0.8125, straight[:3, 1] / 0.7031) * 2.5
    series = folder / "series"
    write_series(series, replace(image, affine=straight if kind == "tilted" else image.affine), WHO)
    names = sorted(p.name for p in series.iterdir())
    if kind == "tilted":
        for k, name in enumerate(names):
            change(series / name, ImagePositionPatient=[f"{v:.10g}" for v in (image.affine @ (k, 0, 0, 1))[:3]])
    if kind == "reversed":
        for k, name in enumerate(names):
            change(series / name, InstanceNumber=len(names) - k)
    header: dict[str, tuple[float, ...]] = {}
    if kind == "radiograph":
        radiograph(series / names[0])
    elif kind in ("multi-frame", "mosaic"):
        (multi_frame if kind == "multi-frame" else mosaic)(series, names, image)
        names, header = ["all.dcm"], {"frames": tuple(float(n) for n in range(1, size[0] + 1))}
    elif kind == "filled in":
        (series / names.pop(3)).unlink()
        header = {"interpolated": (3.0,)}
    source = Source(tuple(f"series/{n}" for n in names), str(folder), "dicom", header=header)
    return Placed(source, image, mask_on(image))


def change(path: Path, **attributes) -> None:
    data = pydicom.dcmread(path)
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    data.save_as(path)


def radiograph(path: Path) -> None:
    """Turn a slice into a Computed Radiography image: a spacing on the detector, no place in the patient."""
    data = pydicom.dcmread(path)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "PixelSpacing"):
        delattr(data, keyword)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.Modality = "CR"
    data.ImagerPixelSpacing = ["0.2", "0.2"]
    data.save_as(path)


def multi_frame(series: Path, names: list[str], image: Image) -> None:
    """Replace the files of a series by one enhanced CT with the same slices, in the opposite order of frames."""
    slices = [pydicom.dcmread(series / n) for n in names]
    data = slices[0].copy()
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    data.NumberOfFrames = len(slices)
    data.PixelData = b"".join(s.PixelData for s in slices)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = data.PixelSpacing, data.SliceThickness
    orientation.ImageOrientationPatient = data.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for one in slices:
        position, frame = Dataset(), Dataset()
        position.ImagePositionPatient = one.ImagePositionPatient
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = frames
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(data, keyword)
    for name in names:
        (series / name).unlink()
    data.save_as(series / "all.dcm")


def mosaic(series: Path, names: list[str], image: Image) -> None:
    """Replace the files of a series by one MR image with the slices side by side, three a row."""
    slices = [pydicom.dcmread(series / n) for n in names]
    rows, columns = image.size[1:]
    sheet = np.zeros((-(-len(slices) // 3) * rows, 3 * columns), "<u2")
    for k, one in enumerate(slices):
        top, left = k // 3 * rows, k % 3 * columns
        sheet[top : top + rows, left : left + columns] = one.pixel_array
    data = slices[0].copy()
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    data.Modality, data.ImageType = "MR", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    data.Rows, data.Columns = sheet.shape
    data.PixelData = sheet.tobytes()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name in names:
        (series / name).unlink()
    data.save_as(series / "all.dcm")

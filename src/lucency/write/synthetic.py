"""Images that a model made: marked as synthetic in the file itself and in a note beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lucency import __version__, record
from lucency.case import Prediction
from lucency.errors import OutputError
from lucency.image import Image
from lucency.write.dicom_frames import reference
from lucency.write.dicom_object import (
    Origin,
    begin,
    code,
    decimals,
    describe,
    digest_of,
    fill,
    save,
    side,
    uid_of,
)
from lucency.write.dicom_source import Measured
from lucency.write.nifti import write_nifti
from lucency.write.parametric import DERIVED
from lucency.write.raster import write_picture

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

#: What stands in every synthetic file.
MARK = "SYNTHETIC: made by a program, not acquired"

#: Letters of a model's digest that a short text holds.
SHOWN = 16

#: Bytes of the description in a NIfTI-1 header.
DESCRIP = 79


@dataclass(frozen=True)
class Made:
    """What an image was made of.

    Args:
        modality: That it is meant to look like.
        given: Modalities that it was made of.
        model: SHA-256 of the model.
    """

    modality: str
    given: tuple[str, ...]
    model: str

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        return f"{MARK}; {self.modality} from {', '.join(self.given)} by Lucency, model sha256 {self.model}"


def write_synthetic(path: Path, prediction: Prediction, made: Made) -> None:
    """Write a made image as NIfTI or PNG by the suffix, with its mark inside, and a note of the same name beside it.

    Args:
        path: Ends in ``.nii.gz`` or ``.png``.
        prediction: With its image.
        made: Of what, by whom.

    Raises:
        OutputError: A type that the format cannot hold, or a disk that cannot be written.
    """
    image = _image(prediction)
    if path.suffix == ".png":
        write_picture(path, image, text={"Synthetic": "yes", "Description": made.sentence})
    else:
        said = f"{MARK}; Lucency model {made.model[:SHOWN]}"
        write_nifti(path, image, description=said[:DESCRIP])
    write_note(path.parent, prediction, made, path.name)


def write_note(folder: Path, prediction: Prediction, made: Made, file: str) -> None:
    """Write ``<case>.synthetic.json``: what the image is, for programs that read no headers.

    Args:
        folder: Of the image.
        prediction: With its image.
        made: Of what, by whom.
        file: Name of the image, or of the folder of its slices.
    """
    image = _image(prediction)
    note: dict[str, Any] = {
        "synthetic": True,
        "file": file,
        "case": prediction.case,
        "modality": made.modality,
        "made_of": list(made.given),
        "model_sha256": made.model,
        "program": f"Lucency {__version__}",
        "unit": image.unit,
        "warning": "Made by a network and not acquired: lesions may be invented or erased. Research use only.",
    }
    record.write(folder / f"{prediction.case}.synthetic.json", note)


def write_synthetic_series(
    folder: Path, image: Image, source: Measured, origin: Origin, *, modality: str, given: tuple[str, ...]
) -> tuple[Path, ...]:
    """Write a made image as a series of Secondary Captures, every slice at the place of its source.

    Nothing is drawn into the pixels: Image Type, Derivation Description and Image Comments say what they are.

    Args:
        folder: Gets ``slice-0001.dcm`` …
        image: (1, K, J, I) intensities on the source's grid.
        source: From :func:`lucency.write.dicom_source.measured`.
        origin: What made it.
        modality: What it is meant to look like.
        given: What it was made of.

    Returns:
        The files.

    Raises:
        OutputError: Several channels, or a disk that cannot be written.

    Source:
        DICOM PS3.3, A.8.1 Secondary Capture Image IOD, C.7.6.1.1.2 Image Type, C.8.6.2; the Image Plane module beside
        them makes a Standard Extended SOP Class (PS3.4, B.4.1).
    """
    if image.kind != "intensity" or image.channels != 1:
        raise OutputError(f"{image.channels} channels", expected="one channel of intensities", where=folder.name)
    stored, slope, intercept = _stored(image.array[0])
    said = f"{digest_of(stored)}/{slope}/{intercept}/{modality}"
    written = []
    for k in range(len(source.frames)):
        file = begin(source, "synthetic", SECONDARY_CAPTURE, said, origin)
        _describe(file, source, origin, modality, given)
        series = str(file.SeriesInstanceUID)
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = uid_of("synthetic", series, str(k))
        _place(file, source, k)
        _pixels(file, stored[k], (slope, intercept), image.unit, (float(image.array.min()), float(image.array.max())))
        path = folder / f"slice-{k + 1:04d}.dcm"
        save(path, file)
        written.append(path)
    return tuple(written)


def _describe(file: Any, source: Measured, origin: Origin, modality: str, given: tuple[str, ...]) -> None:
    made = Made(modality, given, origin.model)
    # A description has 64 characters (PS3.5, 6.2, LO), and the warning behind it takes 42 of them.
    describe(file, source.head, "SYNTHETIC", f"Synthetic {modality}"[:22])
    side(file, source.head)
    for keyword in ("ContentLabel", "ContentDescription", "ContentCreatorName"):
        delattr(file, keyword)  # not of this kind of object
    fill(
        file,
        Modality="OT",
        ConversionType="WSD",
        ImageType=["DERIVED", "SECONDARY", "SYNTHETIC"],
        DerivationDescription=made.sentence[:1024],
        ImageComments=MARK,
        # Words that are burned into the source may come through; what it does not say is not known.
        BurnedInAnnotation=getattr(source.head, "BurnedInAnnotation", None) or None,
        SyntheticData="YES",
        PatientOrientation="",
    )
    file.DerivationCodeSequence = [code(*DERIVED)]


def _place(file: Any, source: Measured, k: int) -> None:
    """Say where the slice lies, as far as its source says it."""
    frame = source.frames[k]
    fill(file, InstanceNumber=k + 1)
    if source.pixel_spacing is not None:
        fill(file, PixelSpacing=decimals(source.pixel_spacing))
    if source.placed and frame.position is not None and frame.orientation is not None:
        fill(
            file,
            FrameOfReferenceUID=str(source.head.FrameOfReferenceUID),
            PositionReferenceIndicator="",
            ImagePositionPatient=decimals(frame.position),
            ImageOrientationPatient=decimals(frame.orientation),
            SliceThickness=None if source.gap is None else decimals([source.gap])[0],
        )
    if frame.uid:
        seen = reference(frame)
        file.SourceImageSequence = [seen]


def _pixels(file: Any, plane: np.ndarray, scale: tuple[float, float], unit: str, span: tuple[float, float]) -> None:
    slope, intercept = scale
    centre, width = decimals([(span[0] + span[1]) / 2, max(span[1] - span[0], 1.0)])
    fill(
        file,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=int(plane.shape[0]),
        Columns=int(plane.shape[1]),
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        RescaleIntercept=decimals([intercept])[0],
        RescaleSlope=decimals([slope])[0],
        RescaleType="HU" if unit == "HU" else "US",
        WindowCenter=centre,
        WindowWidth=width,
    )
    file.PixelData = np.ascontiguousarray(plane, "<u2").tobytes()
    file["PixelData"].VR = "OW"


def _stored(array: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return (K, J, I) uint16 with the slope and intercept that give the numbers back: exactly where they are whole."""
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind in "iu" and high - low <= np.iinfo(np.uint16).max:
        return (array.astype(np.int64) - int(low)).astype(np.uint16), 1.0, low
    slope = max((high - low) / np.iinfo(np.uint16).max, 1e-9)
    # Through a decimal of 16 characters, as it will be read back.
    slope, low = (float(v) for v in decimals([slope, low]))
    levels = np.rint((array.astype(np.float64) - low) / slope)
    return np.clip(levels, 0, np.iinfo(np.uint16).max).astype(np.uint16), slope, low


def _image(prediction: Prediction) -> Image:
    if prediction.image is None:
        raise OutputError("No image to write", where=prediction.case, remedy="report this as a bug")
    return prediction.image

"""One prediction as the DICOM objects that were asked for, in the study of its source."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lucency.case import Case, Prediction
from lucency.errors import OutputError, UsageError
from lucency.read import load
from lucency.write.capture import write_capture
from lucency.write.dicom_object import Origin
from lucency.write.dicom_seg import TYPES, write_seg
from lucency.write.dicom_source import grid_of, identified, measured
from lucency.write.dicom_sr import CLASSES, write_boxes, write_classes, write_found
from lucency.write.synthetic import Made, write_note, write_synthetic_series

#: Formats that are DICOM, by name, and whether each can hold classes.
DICOM_FORMATS = {"dicom-seg": False, "dicom-sr": True, "dicom-sc": False}


@dataclass(frozen=True)
class Dicom:
    """How results become DICOM.

    Args:
        origin: What made them.
        labels: Mask value to name, without background.
        seg: One of :data:`lucency.write.dicom_seg.TYPES`.
        sr: A key of :data:`lucency.write.dicom_sr.CLASSES`.
        classes: Names of what is looked for; a report says of each that has no box that it is absent.
        made: Modality of synthetic images.
        given: Modalities that they are made of.

    Raises:
        UsageError: An unknown kind of segmentation or report.
    """

    origin: Origin
    labels: Mapping[int, str] = field(default_factory=dict)
    seg: str = TYPES[0]
    sr: str = next(iter(CLASSES))
    classes: tuple[str, ...] = ()
    made: str = ""
    given: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, value, known in (("seg", self.seg, TYPES), ("sr", self.sr, tuple(CLASSES))):
            if value not in known:
                raise UsageError(f"{key} = {value!r}", expected=" or ".join(known), where="--set")


def encoded(
    origin: Origin,
    labels: Mapping[int, str],
    encoding: Mapping[str, str],
    classes: tuple[str, ...] = (),
    made: tuple[str, tuple[str, ...]] = ("", ()),
) -> Dicom:
    """Return how results become DICOM, from what a user said.

    Args:
        origin: What made them.
        labels: Mask value to name.
        encoding: ``{"seg": …, "sr": …}``, either or both.
        classes: Names of what is looked for.
        made: Modality of synthetic images, and those that they are made of.

    Raises:
        UsageError: Another key, or a value that is not known.
    """
    unknown = sorted(set(encoding) - {"seg", "sr"})
    if unknown:
        raise UsageError(f"No encoding {unknown[0]!r}", expected="seg or sr", where="--set")
    return Dicom(origin, labels, classes=classes, made=made[0], given=made[1], **encoding)


def refuse(form: str, cases: Iterable[Case], labels: Mapping[int, str], classes: Iterable[str]) -> None:
    """Refuse, before anything is predicted, what cannot become DICOM.

    Raises:
        UsageError: Sources that are not DICOM; a mask asked of a model that gives classes.
        ReadError: A source without the UIDs that a result refers to.
    """
    sources = [c.sources[0] for c in cases]
    others = [s for s in sources if s.reader != "dicom"]
    if others:
        raise UsageError(
            f"{len(others)} of the images are not DICOM",
            expected="DICOM series, whose patient and study a DICOM result repeats",
            where=f"--format {form}",
            remedy="use --format nifti, png or csv, or give the DICOM series themselves",
        )
    for source in sources:
        identified(source)
    if not labels and any(True for _ in classes) and not DICOM_FORMATS[form]:
        raise UsageError(
            "This model gives classes or boxes, and no masks", where=f"--format {form}", remedy="use --format dicom-sr"
        )


def write_result(prediction: Prediction, case: Case, form: str, dicom: Dicom, folder: Path) -> tuple[Path, ...]:
    """Write a prediction as DICOM; what an earlier one of the same case left there and this one does not, is removed.

    An image gives ``<case>-synthetic/slice-0001.dcm`` … under ``dicom-sc``.
    ``dicom-seg`` gives ``<case>-seg.dcm``; ``dicom-sr`` also ``<case>-sr.dcm``, which refers to it; ``dicom-sc``
    pictures ``<case>-overlay/overlay-0001.dcm`` … Where nothing was found there is the report alone, whatever was
    asked for: an empty segmentation or no file at all would say less.

    Args:
        prediction: A mask or an image on its source's own grid, probabilities, or boxes.
        case: Its case.
        form: One of :data:`DICOM_FORMATS`.
        dicom: How.
        folder: Where to.

    Returns:
        The files.

    Raises:
        UsageError: An unknown format.
        OutputError: A prediction that is none of them, or a disk that cannot be written.
        ReadError: The source's header cannot be read again.
        GeometryError: The mask is not on the source's grid.
    """
    if form not in DICOM_FORMATS:
        raise UsageError(f"No format {form!r}", expected=", ".join(DICOM_FORMATS), where="--format")
    written = _written(prediction, case, form, dicom, folder)
    _clear(folder, prediction.case, keep=written)
    return written


def _clear(folder: Path, case: str, keep: tuple[Path, ...]) -> None:
    """Remove a case's other results: an old segmentation beside a report that says "absent" would mislead."""
    pictures, slices = folder / f"{case}-overlay", folder / f"{case}-synthetic"
    ours = [folder / f"{case}-seg.dcm", folder / f"{case}-sr.dcm", *pictures.glob("overlay-[0-9]*.dcm")]
    ours += slices.glob("slice-[0-9]*.dcm")
    try:
        for path in set(ours) - set(keep):
            path.unlink(missing_ok=True)
        for place in (pictures, slices):
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
    except OSError as error:
        raise OutputError(f"Cannot remove an old result ({error.strerror})", where=case) from None


def _written(prediction: Prediction, case: Case, form: str, dicom: Dicom, folder: Path) -> tuple[Path, ...]:
    source, report = case.sources[0], folder / f"{prediction.case}-sr.dcm"
    if prediction.probabilities is not None:
        grid = grid_of(source) or load(source)
        write_classes(report, prediction, measured(source, grid), dicom.origin, form=dicom.sr)
        return (report,)
    if prediction.boxes is not None:
        grid = grid_of(source) or load(source)
        write_boxes(report, prediction, dicom.classes, grid, measured(source, grid), dicom.origin, form=dicom.sr)
        return (report,)
    if prediction.image is not None:
        if form != "dicom-sc":
            raise UsageError(
                "This model makes images, and no masks, classes or boxes",
                where=f"--format {form}",
                remedy="use --format dicom-sc, which writes a derived series marked as synthetic",
            )
        slices = folder / f"{prediction.case}-synthetic"
        seen = measured(source, prediction.image)
        files = write_synthetic_series(
            slices, prediction.image, seen, dicom.origin, modality=dicom.made, given=dicom.given
        )
        write_note(folder, prediction, Made(dicom.made, dicom.given, dicom.origin.model), slices.name)
        return files
    if prediction.mask is None:
        raise OutputError(
            "A single number cannot be written as DICOM", where=prediction.case, remedy="use --format csv"
        )
    mask = prediction.mask
    seen = measured(source, mask)
    if not mask.array.any():
        write_found(report, mask, dicom.labels, seen, dicom.origin, form=dicom.sr)
        return (report,)
    if form == "dicom-sc":
        pictures = folder / f"{prediction.case}-overlay"
        return write_capture(pictures, load(source), mask, seen, dicom.origin)
    path = folder / f"{prediction.case}-seg.dcm"
    segmentation = write_seg(path, mask, dicom.labels, seen, dicom.origin, form=dicom.seg)
    if form == "dicom-seg":
        return (path,)
    write_found(report, mask, dicom.labels, seen, dicom.origin, segmentation=segmentation, form=dicom.sr)
    return path, report

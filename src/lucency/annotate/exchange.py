"""Annotations out to the tools that people draw with, and one mask of what came back.

``annotation_of(prediction, labels)`` makes an annotation of what a model says. ``export(annotations, cases, folder,
form, told)`` writes annotations as one of :data:`FORMS`; an ``Exporter`` does so one by one. ``mask_of(annotation)``
makes one label image of an annotation; :mod:`lucency.annotate.collecting` brings corrected work back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lucency.annotation import Annotation
from lucency.case import Case, Prediction, Source
from lucency.errors import OutputError, ReadError, UsageError
from lucency.image import Image
from lucency.read import load
from lucency.read.labelgrid import Drawing, Grid, OverlapError, composed
from lucency.read.snap import NAME
from lucency.write.coco import Coco
from lucency.write.dicom_object import Origin
from lucency.write.dicom_seg import write_seg
from lucency.write.dicom_source import grid_of, measured
from lucency.write.label_studio import LOCAL, Tasks
from lucency.write.nifti import write_nifti
from lucency.write.pictures import PICTURES, write_pictures
from lucency.write.seg_nrrd import write_seg_nrrd
from lucency.write.snap import write_label_file


@dataclass(frozen=True)
class Told:
    """What the files say besides what is drawn.

    Args:
        labels: Value to name of all regions, or number to name of all boxes, in the model's order.
        classes: Words for whole images.
        model: What made the pre-annotations, in a word or two.
        origin: What made them, for DICOM.
        coco: One of :data:`lucency.write.coco.FORMS`.
        prefix: What stands before the path of a picture in Label Studio.
        nan: Value for NaN voxels of the pictures; None refuses them.
    """

    labels: Mapping[int, str] = field(default_factory=dict)
    classes: Sequence[str] = ()
    model: str = "lucency"
    origin: Origin | None = None
    coco: str = "rle"
    prefix: str = LOCAL
    nan: float | None = None


def annotation_of(prediction: Prediction, labels: Mapping[int, str]) -> Annotation:
    """Return what a model says of a case, as an annotation that a person can correct.

    Args:
        prediction: A mask, boxes (those that are told count), classes or a number.
        labels: Mask value to name.

    Raises:
        UsageError: What cannot be seen or drawn on an image: a course, neighbours.
    """
    one, doubt = prediction, prediction.doubt
    if one.mask is not None:
        return Annotation(one.case, (one.mask,), labels, by="model", doubt=doubt)
    if one.boxes is not None:
        boxes = tuple(b for b in one.boxes if b.told)
        return Annotation(one.case, boxes=boxes, by="model", doubt=doubt)
    if one.probabilities is None and one.value is None:
        raise UsageError("This prediction cannot be drawn on its image", expected="a mask, boxes, classes or a number")
    words = words_of(one) if one.value is None else (f"{one.value:.6g}",)
    return Annotation(one.case, classes=words, by="model", doubt=doubt)


def words_of(prediction: Prediction) -> tuple[str, ...]:
    """Return the labels of a prediction of classes: one, or those of several that are there, if only none.

    Example:
        >>> words_of(Prediction("a", "", probabilities={"x": 0.9, "y": 0.8}, label="x|y"))
        ('x', 'y')
    """
    label = prediction.label
    return (label,) if label in (prediction.probabilities or {}) else tuple(w for w in label.split("|") if w)


def mask_of(annotation: Annotation) -> Image:
    """Return one label image of an annotation's regions.

    Where one region lies inside another the inner one keeps the voxels.

    Args:
        annotation: With regions.

    Raises:
        UsageError: No regions.
        ReadError: Regions that overlap, so that no one mask says the truth of both; the message names them.
    """
    if not annotation.layers:
        raise UsageError("No regions", expected="an annotation with masks", where=annotation.case)
    first = annotation.layers[0]
    if len(annotation.layers) == 1:
        return first
    grid = Grid(first.affine, first.size)
    structures, names = [], dict(annotation.labels)
    for value, _, layer in annotation.regions:
        drawing = Drawing(grid)
        for k, plane in enumerate(layer.array[0]):
            drawing.add(k, plane == value)
        structures.append(drawing.done(value, value))
    listed = "\n".join(names.get(n, "") for n in range(1, max(names) + 1))
    facts = {"affine": tuple(first.affine.ravel().tolist()), "size": tuple(map(float, first.size))}
    source = Source(
        (annotation.case,), "", "", kind="labels", header={**facts, "names": listed, "k_axis": first.k_axis}
    )
    try:
        return composed(structures, source)
    except OverlapError as error:
        remedy = "draw them apart, or one of them wholly inside the other"
        raise ReadError(error.found, expected=error.expected, where=error.where, remedy=remedy) from None


def source_grid(case: Case) -> Image:
    """Return an image on the grid of a case's first image; its numbers mean nothing.

    Raises:
        LucencyError: The image cannot be read.
    """
    source = case.sources[0]
    return grid_of(source) or load(source)


# --- out ------------------------------------------------------------------------------------------------------------


class Exporter:
    """Writes annotations one by one in the form that a tool reads; see :func:`export`.

    Args:
        folder: Made if absent.
        form: One of :data:`FORMS`.
        told: What else to say.

    Raises:
        UsageError: Another form.
    """

    def __init__(self, folder: Path, form: str, told: Told | None = None) -> None:
        if form not in FORMS:
            raise UsageError(f"No form {form!r}", expected=", ".join(FORMS), where="--format")
        self.folder, self.form, self.told = folder, form, told or Told()
        names = tuple(self.told.labels.values())
        self.coco = Coco(names, self.told.coco)
        self.tasks = Tasks(names, self.told.classes, self.told.model, self.told.prefix)
        self.paths: list[Path] = []

    def add(self, annotation: Annotation, case: Case, finding: str = "") -> None:
        """Write a case, or keep it for the file of all.

        Args:
            annotation: Of the case.
            case: With its image.
            finding: A sentence that Label Studio shows beside the image.

        Raises:
            OutputError: What the form cannot hold, or a disk that cannot be written.
        """
        FORMS[self.form][0](annotation, case, self, finding)

    def finish(self) -> tuple[Path, ...]:
        """Write the file of all, where the form has one, and return the files, without the pictures.

        Raises:
            OutputError: A disk that cannot be written.
        """
        FORMS[self.form][1](self)
        return tuple(self.paths)


def export(
    annotations: Iterable[Annotation], cases: Iterable[Case], folder: Path, form: str, told: Told | None = None
) -> tuple[Path, ...]:
    """Write annotations in the form that a tool reads.

    ``nifti`` and ``seg-nrrd`` and ``dicom-seg`` give a file for each case (none as DICOM where nothing is drawn, for
    DICOM has no empty segmentation); ``coco`` gives ``annotations.json`` and ``label-studio`` gives ``tasks.json``
    and ``config.xml``, both with every slice as a picture beside them: those are images of patients.

    Args:
        annotations: One for each case; they may come one after the other.
        cases: Their cases.
        folder: Made if absent.
        form: One of :data:`FORMS`.
        told: What else to say.

    Returns:
        The files, without the pictures.

    Raises:
        UsageError: Another form, or an annotation of no case.
        OutputError: What the form cannot hold, or a disk that cannot be written.
    """
    exporter = Exporter(folder, form, told)
    by_id = {c.id: c for c in cases}
    for annotation in annotations:
        if annotation.case not in by_id:
            raise UsageError("An annotation of no case", where=annotation.case, remedy="give its case as well")
        exporter.add(annotation, by_id[annotation.case])
    return exporter.finish()


def _regions(annotation: Annotation, form: str) -> None:
    if not annotation.layers:
        raise OutputError(
            "Boxes and words are no regions",
            expected="masks",
            where=annotation.case,
            remedy=f"{form} holds masks only; choose label-studio, or coco for boxes",
        )


def _nifti(annotation: Annotation, case: Case, out: Exporter, finding: str) -> None:
    _regions(annotation, "nifti")
    out.paths.append(out.folder / f"{case.id}.nii.gz")
    write_nifti(out.paths[-1], mask_of(annotation))


def _seg_nrrd(annotation: Annotation, case: Case, out: Exporter, finding: str) -> None:
    _regions(annotation, "seg-nrrd")
    out.paths.append(out.folder / f"{case.id}.seg.nrrd")
    write_seg_nrrd(out.paths[-1], annotation)


def _dicom_seg(annotation: Annotation, case: Case, out: Exporter, finding: str) -> None:
    _regions(annotation, "dicom-seg")
    if out.told.origin is None:
        raise UsageError("A DICOM segmentation without its origin", remedy="say what made it")
    mask = mask_of(annotation)
    if mask.array.any():
        out.paths.append(out.folder / f"{case.id}-seg.dcm")
        seen = measured(case.sources[0], mask)
        write_seg(out.paths[-1], mask, annotation.labels, seen, out.told.origin)


def _coco(annotation: Annotation, case: Case, out: Exporter, finding: str) -> None:
    image = load(case.sources[0], nan=out.told.nan)
    out.coco.add(annotation, image.size)
    write_pictures(out.folder / PICTURES, case.id, image)


def _label_studio(annotation: Annotation, case: Case, out: Exporter, finding: str) -> None:
    image = load(case.sources[0], nan=out.told.nan)
    out.tasks.add(annotation, image.size, finding)
    write_pictures(out.folder / PICTURES, case.id, image)


def _named(out: Exporter) -> None:
    """Say beside the masks what their values mean."""
    if out.told.labels:
        out.paths.append(out.folder / NAME)
        write_label_file(out.paths[-1], out.told.labels)


def _wrote_coco(out: Exporter) -> None:
    out.paths.append(out.folder / "annotations.json")
    out.coco.write(out.paths[-1])


def _wrote_tasks(out: Exporter) -> None:
    out.paths += out.tasks.write(out.folder)


#: Form to what writes a case, and what is done at the end.
FORMS: Mapping[str, tuple[Callable[[Annotation, Case, Exporter, str], None], Callable[[Exporter], None]]] = {
    "nifti": (_nifti, _named),
    "seg-nrrd": (_seg_nrrd, lambda out: None),
    "dicom-seg": (_dicom_seg, lambda out: None),
    "coco": (_coco, _wrote_coco),
    "label-studio": (_label_studio, _wrote_tasks),
}

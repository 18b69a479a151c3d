"""What was found as a DICOM structured report: TID 1500, unverified, with the algorithm that says so."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lucency import __version__
from lucency.boxes import Box
from lucency.case import Prediction
from lucency.errors import OutputError, UsageError
from lucency.image import Image
from lucency.write.dicom_object import BANNER, MANUFACTURER, Origin, begin, item, same_names, save, uid_of
from lucency.write.dicom_seg import Segment, Segmentation
from lucency.write.dicom_source import Measured
from lucency.write.vocabulary import PRIVATE, Concept, finding_of, property_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

#: Report classes by name. Comprehensive 3D is what TID 1500 is mostly written as; some archives know Enhanced only.
CLASSES = {"comprehensive-3d": "1.2.840.10008.5.1.4.1.1.88.34", "enhanced": "1.2.840.10008.5.1.4.1.1.88.22"}

#: Codes that are used here; (value, scheme, meaning).
VOLUME = ("118565006", "SCT", "Volume")
AREA = ("42798000", "SCT", "Area")
PROBABILITY = ("122157", "DCM", "Probability")
PRESENCE = ("121052", "DCM", "Presence of property")
PRESENT = ("52101004", "SCT", "Present")
ABSENT = ("272519000", "SCT", "Absent")
NO_UNITS = ("1", "UCUM", "no units")
MILLILITRE = ("mL", "UCUM", "milliliter")
SQUARE_MM = ("mm2", "UCUM", "square millimeter")
IMAGING = ("363679005", "SCT", "Imaging procedure")
AI = ("123110", "DCM", "Artificial Intelligence")


def write_found(
    path: Path,
    mask: Image,
    names: Mapping[int, str],
    source: Measured,
    origin: Origin,
    *,
    segmentation: Segmentation | None = None,
    form: str = "comprehensive-3d",
) -> str:
    """Write how much of each label was found.

    A label that was found has its volume (its area where the source is a single image with a spacing) and refers to
    its segment, with the same tracking identifier; one that was not is said to be absent.

    Args:
        path: Where to; ends in ``.dcm``.
        mask: Labels, (1, K, J, I), on the grid of the source.
        names: Mask value to name.
        source: From :func:`lucency.write.dicom_source.measured`.
        origin: What made it.
        segmentation: What :func:`lucency.write.dicom_seg.write_seg` returned for the mask; None when it is empty.
        form: A key of :data:`CLASSES`.

    Returns:
        The SOP Instance UID.

    Raises:
        UsageError: An unknown form.
        OutputError: A label that was found without a segmentation, or a disk that cannot be written.

    Source:
        DICOM PS3.16, TID 1500, TID 1411 and TID 1501.
    """
    sop_class = _class(form)
    counts = {value: int((mask.array[0] == value).sum()) for value in names}
    segments = {s.value: s for s in segmentation.segments} if segmentation is not None else {}
    lacking = [names[v] for v, n in counts.items() if n and (v not in segments or not segments[v].frames)]
    if lacking:
        raise OutputError(f"No segment for {', '.join(lacking)}", where=path.name, remedy="report this as a bug")
    sizes = {v: _size(mask, n, source) for v, n in counts.items()}
    said = f"{sorted(names.items())}/{sorted(counts.items())}/{segmentation.uid if segmentation else ''}"
    file = begin(source, "sr", sop_class, said, origin)
    found = [
        _segment_group(segments[value], segmentation, sizes[value], source, origin)
        if counts[value] and segmentation is not None
        else _absent_group(file, number, name, sizes[value], source, origin)
        for value, number, name in same_names(names)
    ]
    _finish(path, file, found, source, segmentation)
    return str(file.SOPInstanceUID)


def write_classes(
    path: Path, prediction: Prediction, source: Measured, origin: Origin, *, form: str = "comprehensive-3d"
) -> str:
    """Write how probable each class is, and which one the calibrated threshold chose.

    Args:
        path: Where to; ends in ``.dcm``.
        prediction: With probabilities.
        source: From :func:`lucency.write.dicom_source.measured`.
        origin: What made it.
        form: A key of :data:`CLASSES`.

    Returns:
        The SOP Instance UID.

    Raises:
        UsageError: An unknown form.
        OutputError: No probabilities, or a disk that cannot be written.

    Source:
        DICOM PS3.16, TID 1500 and TID 1501.
    """
    sop_class = _class(form)
    if not prediction.probabilities:
        raise OutputError("A prediction without probabilities", expected="one for each class", where=path.name)
    said = f"{sorted(prediction.probabilities.items())}/{prediction.label}"
    file = begin(source, "sr", sop_class, said, origin)
    found = [
        _class_group(file, number, name, p, name == prediction.label, source, origin)
        for number, (name, p) in enumerate(prediction.probabilities.items(), start=1)
    ]
    _finish(path, file, found, source, None)
    return str(file.SOPInstanceUID)


def write_boxes(
    path: Path,
    prediction: Prediction,
    classes: Sequence[str],
    grid: Image,
    source: Measured,
    origin: Origin,
    *,
    form: str = "comprehensive-3d",
) -> str:
    """Write where things were found: each box that is told, with its probability; a class without one is absent.

    A box is drawn as a rectangle on the image, or on each slice that it covers. Where the slices are no images of
    their own (a mosaic, slices that were filled in) it is drawn in the patient, which only Comprehensive 3D can hold;
    an Enhanced report then names the images alone.

    Args:
        path: Where to; ends in ``.dcm``.
        prediction: With boxes.
        classes: All that were looked for.
        grid: Any image on the grid of the source.
        source: From :func:`lucency.write.dicom_source.measured`.
        origin: What made it.
        form: A key of :data:`CLASSES`.

    Returns:
        The SOP Instance UID.

    Raises:
        UsageError: An unknown form.
        OutputError: No boxes, or a disk that cannot be written.

    Source:
        DICOM PS3.16, TID 1500, TID 1410, TID 1411 and TID 1501; PS3.3, C.18.6.1.2: the corner of the first pixel is 0.
    """
    sop_class = _class(form)
    if prediction.boxes is None:
        raise OutputError("A prediction without boxes", expected="boxes, or none found", where=path.name)
    told = [b for b in prediction.boxes if b.told]
    said = f"{[(b.label, b.low, b.high, b.score) for b in told]}/{list(classes)}"
    file = begin(source, "sr", sop_class, said, origin)
    found = [
        _box_group(file, number, box, grid, source, origin, solid=form == "comprehensive-3d")
        for number, box in enumerate(told, start=1)
    ]
    without = [c for c in classes if c not in {b.label for b in told}]
    found += [
        _absent_group(file, number, name, None, source, origin) for number, name in enumerate(without, len(told) + 1)
    ]
    _finish(path, file, found, source, None)
    return str(file.SOPInstanceUID)


def _box_group(
    file: "Dataset", number: int, box: Box, grid: Image, source: Measured, origin: Origin, *, solid: bool
) -> Any:
    """Return what is said of a box: planar (TID 1410), over slices (TID 1411), or of the images alone (TID 1501)."""
    from highdicom import sr  # noqa: PLC0415

    score = float(f"{box.score:.6g}")
    known = property_of(box.label)
    said = {
        "tracking_identifier": _tracking(file, number, box.label),
        "finding_type": _of(finding_of(box.label)),
        "finding_category": _of(known.category) if known.known else None,
        "algorithm_id": _algorithm(origin),
        "measurements": [sr.Measurement(_concept(PROBABILITY), score, _concept(NO_UNITS))],
        "qualitative_evaluations": _presence(True),
    }
    slices = _slices(box, len(source.frames))
    flat = [_rectangle(box, source, k) for k in slices if source.frames[k].uid and source.frames[k].alike]
    if flat and len(source.frames) == 1:
        return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=flat[0], **said)
    if flat:
        return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_regions=flat, **said)
    if solid and source.placed:
        surface = sr.VolumeSurface(
            "POLYGON",
            [_outline(box, grid, k) for k in (box.low[0], box.high[0])],
            str(source.head.FrameOfReferenceUID),
            source_series=sr.SourceSeriesForSegmentation(str(source.head.SeriesInstanceUID)),
        )
        return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_volume_surface=surface, **said)
    del said["finding_category"]
    return sr.MeasurementsAndQualitativeEvaluations(source_images=_images(source), **said)


def _slices(box: Box, n: int) -> list[int]:
    """Return the slices whose middle lies in the box; of a box between two middles the one it lies in."""
    inside = [k for k in range(n) if box.low[0] <= k + 0.5 < box.high[0]]
    return inside or [min(n - 1, max(0, int((box.low[0] + box.high[0]) / 2)))]


def _rectangle(box: Box, source: Measured, k: int) -> Any:
    """Return a box as it lies on one slice, column before row."""
    from highdicom import sr  # noqa: PLC0415

    frame = source.frames[k]
    (top, left), (bottom, right) = box.low[1:], box.high[1:]
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
    image = sr.SourceImageForRegion(frame.sop_class, frame.uid, [frame.number] if frame.number else None)
    return sr.ImageRegion("POLYLINE", corners, image)


def _outline(box: Box, grid: Image, k: float) -> np.ndarray:
    """Return (5, 3) float, mm: the outline of a box at one edge along k, closed."""
    (top, left), (bottom, right) = box.low[1:], box.high[1:]
    corners = [(top, left), (top, right), (bottom, right), (bottom, left), (top, left)]
    # The middle of the first voxel is half a voxel inside its edge.
    points = np.array([[k - 0.5, j - 0.5, i - 0.5, 1.0] for j, i in corners]) @ grid.affine.T
    return np.asarray(points[:, :3])


def _class(form: str) -> str:
    if form not in CLASSES:
        raise UsageError(f"No kind of report {form!r}", expected=" or ".join(CLASSES), where="--set sr")
    return CLASSES[form]


def _size(
    mask: Image, voxels: int, source: Measured
) -> tuple[tuple[str, str, str], float, tuple[str, str, str]] | None:
    """Return (concept, number, unit): mL of a volume, mm² of a single image; None where pixels have no size."""
    if source.placed and len(source.frames) > 1 and mask.k_axis == "space":
        return VOLUME, voxels * abs(float(np.linalg.det(mask.affine[:3, :3]))) / 1000, MILLILITRE
    if source.pixel_spacing is not None and len(source.frames) == 1:
        return AREA, voxels * source.pixel_spacing[0] * source.pixel_spacing[1], SQUARE_MM
    return None


def _concept(words: tuple[str, str, str]) -> Any:
    from highdicom.sr import CodedConcept  # noqa: PLC0415  # takes a second to import

    return CodedConcept(*words)


def _algorithm(origin: Origin) -> Any:
    from highdicom.sr import AlgorithmIdentification  # noqa: PLC0415

    return AlgorithmIdentification(
        origin.algorithm, __version__, parameters=[origin.parameters], family=_concept(AI), manufacturer=MANUFACTURER
    )


def _measurements(size: tuple[tuple[str, str, str], float, tuple[str, str, str]] | None) -> Any:
    from highdicom.sr import Measurement  # noqa: PLC0415

    if size is None:
        return None
    # Six digits: more than a count of voxels times a spacing deserves, and few enough for VR DS.
    return [Measurement(_concept(size[0]), float(f"{size[1]:.6g}"), _concept(size[2]))]


def _segment_group(segment: Segment, segmentation: Segmentation, size: Any, source: Measured, origin: Origin) -> Any:
    """Return the measurements of a segment (TID 1411)."""
    from highdicom import sr  # noqa: PLC0415

    known = property_of(segment.name)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(segment.tracking_uid, segment.tracking_id),
        referenced_segment=sr.ReferencedSegment(
            segmentation.sop_class,
            segmentation.uid,
            segment.number,
            source_series=sr.SourceSeriesForSegmentation(str(source.head.SeriesInstanceUID)),
        ),
        finding_type=_of(finding_of(segment.name)),
        finding_category=_of(known.category) if known.known else None,
        algorithm_id=_algorithm(origin),
        measurements=_measurements(size),
        qualitative_evaluations=_presence(True),
    )


def _absent_group(file: "Dataset", number: int, name: str, size: Any, source: Measured, origin: Origin) -> Any:
    """Return what is said of a label that was not found (TID 1501)."""
    from highdicom import sr  # noqa: PLC0415

    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(file, number, name),
        finding_type=_of(finding_of(name)),
        algorithm_id=_algorithm(origin),
        measurements=_measurements(size),
        qualitative_evaluations=_presence(False),
        source_images=_images(source),
    )


def _class_group(
    file: "Dataset", number: int, name: str, probability: float, chosen: bool, source: Measured, origin: Origin
) -> Any:
    """Return what is said of a class (TID 1501)."""
    from highdicom import sr  # noqa: PLC0415

    value = float(f"{min(max(probability, 0.0), 1.0):.6g}")
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(file, number, name),
        finding_type=_of(finding_of(name)),
        algorithm_id=_algorithm(origin),
        measurements=[sr.Measurement(_concept(PROBABILITY), value, _concept(NO_UNITS))],
        qualitative_evaluations=_presence(chosen),
        source_images=_images(source),
    )


def _tracking(file: "Dataset", number: int, name: str) -> Any:
    from highdicom import sr  # noqa: PLC0415

    uid = uid_of("tracking", str(file.SOPInstanceUID), str(number))
    return sr.TrackingIdentifier(uid, f"{name[:40]} {uid[-12:]}")


def _presence(present: bool) -> list[Any]:
    from highdicom.sr import QualitativeEvaluation  # noqa: PLC0415

    return [QualitativeEvaluation(_concept(PRESENCE), _concept(PRESENT if present else ABSENT))]


def _of(concept: Concept) -> Any:
    return _concept((concept.value, concept.scheme, concept.meaning))


def _images(source: Measured) -> list[Any]:
    from highdicom.sr import SourceImageForMeasurementGroup  # noqa: PLC0415

    return [SourceImageForMeasurementGroup(c, u) for c, u in source.series]


def _finish(
    path: Path, file: "FileDataset", groups: Sequence[Any], source: Measured, segmentation: Segmentation | None
) -> None:
    """Put the content tree and what it is evidence of into the report, and write it.

    Source:
        DICOM PS3.3, C.17.2 SR Document General: partial and unverified until a person signs.
    """
    from highdicom import sr  # noqa: PLC0415

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid_of("device", str(file.DeviceSerialNumber), __version__),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=str(file.ContributingEquipmentSequence[1].ManufacturerModelName),
        serial_number=str(file.DeviceSerialNumber),
    )
    observer = sr.ObserverContext(_concept(("121007", "DCM", "Device")), device)
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_concept(IMAGING),
        imaging_measurements=list(groups),
    )
    for element in report[0]:
        file.add(element)
    file.Modality = "SR"
    file.SeriesDescription = f"Findings by AI - {BANNER}"[:64]
    file.ReferencedPerformedProcedureStepSequence = []
    file.PerformedProcedureCodeSequence = []
    file.CompletionFlag, file.VerificationFlag, file.PreliminaryFlag = "PARTIAL", "UNVERIFIED", "PRELIMINARY"
    file.CompletionFlagDescription = BANNER
    file.CodingSchemeIdentificationSequence = [
        item(
            CodingSchemeDesignator=PRIVATE,
            CodingSchemeName="Names of classes and labels as the training data have them",
            CodingSchemeResponsibleOrganization=MANUFACTURER,
        )
    ]
    file.CurrentRequestedProcedureEvidenceSequence = [_evidence(file, source, segmentation)]
    save(path, file)


def _evidence(file: "Dataset", source: Measured, segmentation: Segmentation | None) -> "Dataset":
    """List everything that the report refers to; all of it is in the report's own study."""
    images = [item(ReferencedSOPClassUID=c, ReferencedSOPInstanceUID=u) for c, u in source.series]
    series = [item(SeriesInstanceUID=str(source.head.SeriesInstanceUID), ReferencedSOPSequence=images)]
    if segmentation is not None:
        mask = item(ReferencedSOPClassUID=segmentation.sop_class, ReferencedSOPInstanceUID=segmentation.uid)
        series.append(item(SeriesInstanceUID=segmentation.series, ReferencedSOPSequence=[mask]))
    return item(StudyInstanceUID=str(file.StudyInstanceUID), ReferencedSeriesSequence=series)

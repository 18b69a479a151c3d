"""Reports read back by highdicom and by walking the tree of the file itself."""

from dataclasses import replace

import highdicom
import numpy as np
import placed
import pydicom
import pytest

from lucency.case import Prediction
from lucency.errors import OutputError, UsageError
from lucency.write.dicom_seg import write_seg
from lucency.write.dicom_source import measured
from lucency.write.dicom_sr import write_boxes, write_classes, write_found

SAID = placed.SAID


def reported(found, folder, **changes):
    seen = measured(found.source, found.mask)
    made = write_seg(folder / "seg.dcm", found.mask, placed.NAMES, seen, placed.ORIGIN)
    path = folder / "sr.dcm"
    write_found(path, found.mask, placed.NAMES, seen, placed.ORIGIN, segmentation=made, **changes)
    return pydicom.dcmread(path), made


def items(node, concept):
    """Every content item below ``node`` whose name has this code, at any depth."""
    for item in node.get("ContentSequence", ()):
        if "ConceptNameCodeSequence" in item and item.ConceptNameCodeSequence[0].CodeValue == concept:
            yield item
        yield from items(item, concept)


def one(node, concept):
    (found,) = items(node, concept)
    return found


GROUP, TRACKING_ID, TRACKING_UID, FINDING = "125007", "112039", "112040", "121071"
SEGMENT, VOLUME, AREA, PROBABILITY, PRESENCE = "121191", "118565006", "42798000", "122157", "121052"


@pytest.mark.parametrize("kind", placed.KINDS)
def test_sizes_and_segments_are_those_of_the_mask(kind, tmp_path):
    found = placed.place(kind, tmp_path)
    file, made = reported(found, tmp_path)
    nodule, kidney, nothing = items(file, GROUP)
    for value, group in ((1, nodule), (2, kidney)):
        segment = made.segments[value - 1]
        assert one(group, TRACKING_ID).TextValue == segment.tracking_id
        assert segment.tracking_uid == one(group, TRACKING_UID).UID
        seen = one(group, SEGMENT).ReferencedSOPSequence[0]
        assert (seen.ReferencedSOPClassUID, seen.ReferencedSOPInstanceUID) == (made.sop_class, made.uid)
        assert seen.ReferencedSegmentNumber == value
        assert one(group, PRESENCE).ConceptCodeSequence[0].CodeValue == "52101004"
        n = int((found.mask.array == value).sum())
        if kind == "radiograph":
            # The detector's spacing says nothing of the patient, so nothing is claimed in mm².
            assert not list(items(group, AREA)) + list(items(group, VOLUME))
            continue
        number = one(group, VOLUME).MeasuredValueSequence[0]
        # 2.5 mm along the normal, whatever the gantry does, times 0.7031 times 0.8125, in mL.
        assert float(number.NumericValue) == pytest.approx(n * 2.5 * 0.7031 * 0.8125 / 1000, rel=1e-5)
        assert number.MeasurementUnitsCodeSequence[0].CodeValue == "mL"
    assert one(nothing, PRESENCE).ConceptCodeSequence[0].CodeValue == "272519000"
    assert not list(items(nothing, SEGMENT))


def test_report_is_unverified_and_names_the_algorithm_and_the_model(tmp_path):
    file, _ = reported(placed.place("axial", tmp_path), tmp_path)
    flags = (file.CompletionFlag, file.VerificationFlag, file.PreliminaryFlag)
    assert flags == ("PARTIAL", "UNVERIFIED", "PRELIMINARY")
    assert "Research use only" in file.SeriesDescription
    assert file.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert file.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    for group in items(file, GROUP):
        assert one(group, "111001").TextValue == "Lucency segment unet"
        assert one(group, "111003").TextValue
        assert "ab" * 32 in one(group, "111002").TextValue


def test_everything_referred_to_is_listed_as_evidence(tmp_path):
    found = placed.place("axial", tmp_path)
    file, made = reported(found, tmp_path)
    (study,) = file.CurrentRequestedProcedureEvidenceSequence
    source = [pydicom.dcmread(f) for f in found.source.files]
    assert study.StudyInstanceUID == source[0].StudyInstanceUID == file.StudyInstanceUID
    listed = {s.ReferencedSOPInstanceUID for r in study.ReferencedSeriesSequence for s in r.ReferencedSOPSequence}
    assert listed == {str(s.SOPInstanceUID) for s in source} | {made.uid}


def test_nothing_found_is_a_report_without_a_segmentation(tmp_path):
    found = placed.place("axial", tmp_path)
    empty = found.mask.with_array(np.zeros_like(found.mask.array))
    seen = measured(found.source, empty)
    write_found(tmp_path / "sr.dcm", empty, placed.NAMES, seen, placed.ORIGIN)
    file = pydicom.dcmread(tmp_path / "sr.dcm")
    groups = list(items(file, GROUP))
    assert len(groups) == 3
    for group in groups:
        assert one(group, PRESENCE).ConceptCodeSequence[0].CodeValue == "272519000"
        assert float(one(group, VOLUME).MeasuredValueSequence[0].NumericValue) == 0
    with pytest.raises(OutputError, match="No segment for nodule, left kidney"):
        write_found(tmp_path / "x.dcm", found.mask, placed.NAMES, seen, placed.ORIGIN)


@pytest.mark.parametrize(("form", "uid"), [("comprehensive-3d", "88.34"), ("enhanced", "88.22")])
def test_classes_have_their_probabilities_and_one_is_present(tmp_path, form, uid):
    found = placed.place("radiograph", tmp_path)
    write_classes(tmp_path / "sr.dcm", SAID, measured(found.source, found.mask), placed.ORIGIN, form=form)
    file = pydicom.dcmread(tmp_path / "sr.dcm")
    assert file.SOPClassUID.endswith(uid)
    healthy, nodule = items(file, GROUP)
    assert float(one(healthy, PROBABILITY).MeasuredValueSequence[0].NumericValue) == 0.25
    assert float(one(nodule, PROBABILITY).MeasuredValueSequence[0].NumericValue) == 0.75
    assert one(healthy, FINDING).ConceptCodeSequence[0].CodeMeaning == "healthy"
    assert one(nodule, FINDING).ConceptCodeSequence[0].CodeValue == "27925004"
    codes = [one(g, PRESENCE).ConceptCodeSequence[0].CodeMeaning for g in (healthy, nodule)]
    assert codes == ["Absent", "Present"]
    image = one(nodule, "121112").ReferencedSOPSequence[0]
    assert image.ReferencedSOPInstanceUID == pydicom.dcmread(found.source.files[0]).SOPInstanceUID


REGION, SURFACE = "111030", "121231"


def boxed(found, folder, **changes):
    seen = measured(found.source, found.mask)
    names = tuple(placed.NAMES.values())
    write_boxes(folder / "sr.dcm", placed.BOXED, names, found.image, seen, placed.ORIGIN, **changes)
    return pydicom.dcmread(folder / "sr.dcm")


def corners(region):
    return np.array(region.GraphicData).reshape(-1, 2).tolist()


@pytest.mark.parametrize("kind", [k for k in placed.KINDS if k not in ("mosaic", "filled in", "radiograph")])
def test_boxes_lie_on_every_slice_that_they_cover(kind, tmp_path):
    found = placed.place(kind, tmp_path)
    nodule, kidney, nothing = items(boxed(found, tmp_path), GROUP)
    # Columns before rows; the corner of the image is 0, as in the boxes.
    around = [[3.5, 2], [7, 2], [7, 5.25], [3.5, 5.25], [3.5, 2]]
    seen = measured(found.source, found.mask).frames
    for group, rectangle, slices in (
        (nodule, around, (1, 2)),
        (kidney, [[1, 6], [2, 6], [2, 7], [1, 7], [1, 6]], (0,)),
    ):
        regions = list(items(group, REGION))
        assert [corners(r) for r in regions] == [rectangle] * len(slices)
        images = [r.ContentSequence[0].ReferencedSOPSequence[0] for r in regions]
        assert [i.ReferencedSOPInstanceUID for i in images] == [seen[k].uid for k in slices]
        numbers = [i.get("ReferencedFrameNumber", 0) for i in images]
        assert numbers == [seen[k].number for k in slices]
        assert one(group, PRESENCE).ConceptCodeSequence[0].CodeMeaning == "Present"
    assert float(one(nodule, PROBABILITY).MeasuredValueSequence[0].NumericValue) == 0.75
    assert one(nothing, FINDING).ConceptCodeSequence[0].CodeMeaning == "nothing of it"
    assert one(nothing, PRESENCE).ConceptCodeSequence[0].CodeMeaning == "Absent"


def test_a_box_on_a_single_image_is_a_planar_region(tmp_path):
    found = placed.place("radiograph", tmp_path)
    boxed(found, tmp_path)
    groups = highdicom.sr.srread(tmp_path / "sr.dcm").content.get_planar_roi_measurement_groups()
    assert [g.get_measurements()[0].value for g in groups] == [0.75, 0.5]
    assert [g.roi.value[:2].tolist() for g in groups] == [[[3.5, 2], [7, 2]], [[1, 6], [2, 6]]]


def test_a_box_in_a_mosaic_is_drawn_in_the_patient(tmp_path):
    found = placed.place("mosaic", tmp_path)
    nodule, *_ = items(boxed(found, tmp_path), GROUP)
    outlines = [np.array(s.GraphicData).reshape(-1, 3) for s in items(nodule, SURFACE)]
    # Slices 1 and 2 reach from half a slice before the middle of 1 to half a slice behind the middle of 2.
    wanted = [(found.image.affine @ (k - 0.5, 2 - 0.5, 3.5 - 0.5, 1))[:3] for k in (1, 3)]
    assert np.array([o[0] for o in outlines]) == pytest.approx(np.array(wanted), rel=1e-5)
    # An Enhanced report has no coordinates in the patient: the images alone are named.
    nodule, *_ = items(boxed(found, tmp_path, form="enhanced"), GROUP)
    assert not list(items(nodule, SURFACE)) + list(items(nodule, REGION))
    assert list(items(nodule, "121112"))


def test_a_slice_that_was_filled_in_is_passed_over(tmp_path):
    found = placed.place("filled in", tmp_path)
    seen = measured(found.source, found.mask)
    filled = next(k for k, f in enumerate(seen.frames) if not f.uid)
    across = replace(placed.FOUND[0], low=(filled - 1.0, 2.0, 3.0), high=(filled + 2.0, 5.0, 7.0))
    within = replace(across, low=(float(filled), 2.0, 3.0), high=(filled + 1.0, 5.0, 7.0))
    said = Prediction("c", "0", boxes=(across, within))
    write_boxes(tmp_path / "sr.dcm", said, ("nodule",), found.image, seen, placed.ORIGIN)
    first, second = items(pydicom.dcmread(tmp_path / "sr.dcm"), GROUP)
    assert len(list(items(first, REGION))) == 2
    assert len(list(items(second, SURFACE))) == 2


def test_where_no_box_is_told_every_class_is_absent(tmp_path):
    found = placed.place("axial", tmp_path)
    seen = measured(found.source, found.mask)
    none = Prediction("c", "0", boxes=placed.FOUND[2:])
    write_boxes(tmp_path / "sr.dcm", none, ("nodule", "cyst"), found.image, seen, placed.ORIGIN)
    groups = list(items(pydicom.dcmread(tmp_path / "sr.dcm"), GROUP))
    assert [one(g, PRESENCE).ConceptCodeSequence[0].CodeMeaning for g in groups] == ["Absent", "Absent"]
    with pytest.raises(OutputError, match="without boxes"):
        write_boxes(tmp_path / "x.dcm", SAID, (), found.image, seen, placed.ORIGIN)


def test_highdicom_reads_both_reports_as_tid_1500(tmp_path):
    found = placed.place("tilted", tmp_path)
    _, made = reported(found, tmp_path)
    report = highdicom.sr.srread(tmp_path / "sr.dcm").content
    groups = report.get_volumetric_roi_measurement_groups()
    assert [g.tracking_uid for g in groups] == [s.tracking_uid for s in made.segments[:2]]
    assert [g.get_measurements()[0].unit.value for g in groups] == ["mL", "mL"]
    assert len(report.get_image_measurement_groups()) == 1
    write_classes(tmp_path / "c.dcm", SAID, measured(found.source, found.mask), placed.ORIGIN)
    groups = highdicom.sr.srread(tmp_path / "c.dcm").content.get_image_measurement_groups()
    assert [g.get_measurements()[0].value for g in groups] == [0.25, 0.75]


def test_same_findings_have_the_same_uid_and_others_another(tmp_path):
    found = placed.place("axial", tmp_path)
    seen = measured(found.source, found.mask)
    other = replace(SAID, probabilities={"healthy": 0.24, "结节": 0.76})
    uids = [write_classes(tmp_path / "a.dcm", p, seen, placed.ORIGIN) for p in (SAID, SAID, other)]
    assert uids[0] == uids[1] != uids[2]


def test_unknown_kinds_are_refused(tmp_path):
    found = placed.place("axial", tmp_path)
    seen = measured(found.source, found.mask)
    with pytest.raises(UsageError, match="comprehensive-3d or enhanced"):
        write_classes(tmp_path / "a.dcm", SAID, seen, placed.ORIGIN, form="basic")
    with pytest.raises(OutputError, match="without probabilities"):
        write_classes(tmp_path / "a.dcm", Prediction("c", "0", value=1.0), seen, placed.ORIGIN)

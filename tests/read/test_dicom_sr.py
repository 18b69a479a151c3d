import warnings

import numpy as np
import pydicom
import pytest
from drawing import boxes, segmentation, study
from pydicom.uid import generate_uid

from lucency.errors import DataError, UsageError
from lucency.read import ReadOptions, load, read
from lucency.read.dicom_sr import groups_of


def report(path, images, groups, **changes):
    """Write a TID 1500 report: groups of (finding code, regions, numbers) drawn on the images."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        observer = sr.ObserverContext(codes.DCM.Person, sr.PersonObserverIdentifyingAttributes(name="SECRET^READER"))
        made = [_group(sr, codes, images, *g) for g in groups]
        content = sr.MeasurementReport(
            sr.ObservationContext(observer_person_context=observer),
            codes.LN.CTUnspecifiedBodyRegion,
            imaging_measurements=made,
        )
        document = sr.Comprehensive3DSR(
            evidence=images,
            content=content[0],
            series_number=7,
            series_instance_uid=generate_uid(),
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="m",
        )
    for name, value in changes.items():
        setattr(document, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    document.save_as(path)


def _group(sr, codes, images, finding, regions, numbers, words=()):
    tracking = sr.TrackingIdentifier(generate_uid(), f"{finding} 1")
    options = {
        "tracking_identifier": tracking,
        "finding_type": getattr(codes.SCT, finding),
        "measurements": [sr.Measurement(getattr(codes.SCT, n), v, getattr(codes.UCUM, u)) for n, v, u in numbers],
        "qualitative_evaluations": [sr.QualitativeEvaluation(a, b) for a, b in words],
    }
    if not regions:
        image = sr.SourceImageForMeasurementGroup.from_source_image(images[0])
        return sr.MeasurementsAndQualitativeEvaluations(source_images=[image], **options)
    ((kind, k, points),) = regions
    if k is None:
        shape = getattr(sr.GraphicTypeValues3D, kind)
        return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=sr.ImageRegion3D(shape, points, images[0].FrameOfReferenceUID), **options
        )
    source = sr.SourceImageForRegion(images[k].SOPClassUID, images[k].SOPInstanceUID)
    region = sr.ImageRegion(getattr(sr.GraphicTypeValues, kind), points, source)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **options)


def square(first, last):
    """A closed square, (column, row), in DICOM's coordinates: the centre of a pixel is at .5."""
    (a, b), (c, d) = first, last
    return np.array([[a, b], [c, b], [c, d], [a, d], [a, b]], float)


def test_a_number_becomes_the_target_when_it_is_asked_for(folder):
    for n in range(4):
        images = study(folder, f"p{n}/ct", PatientID=f"P{n}")
        groups = [
            ("Nodule", (), [("Diameter", 3.5 + n, "Millimeter")]),
            ("Aorta", (), [("Diameter", 20, "Millimeter")]),
        ]
        report(folder.root / f"p{n}/sr.dcm", images, groups)
    cohort = read(folder.root, ReadOptions(target="nodule diameter"))
    assert cohort.layout == "dicom"
    assert {c.sources[0].where[:2]: c.target for c in cohort.cases} == {"p0": 3.5, "p1": 4.5, "p2": 5.5, "p3": 6.5}
    assert any("measured in mm" in n for n in cohort.notes)
    # Two findings have a diameter: alone the name says nothing.
    with pytest.raises(DataError, match="4 images have several values"):
        read(folder.root, ReadOptions(target="Diameter"))
    with pytest.raises(UsageError, match=r"No structure or measurement 'volume'.*Nodule Diameter"):
        read(folder.root, ReadOptions(target="volume"))
    unasked = read(folder.root)
    assert all(c.target is None for c in unasked.cases)
    assert any("choose one with --target" in n and "Nodule Diameter" in n for n in unasked.notes)


def test_a_word_becomes_a_class(folder):
    from highdicom.sr import CodedConcept

    grades = CodedConcept("17621005", "SCT", "Normal"), CodedConcept("263654008", "SCT", "Abnormal")
    for n in range(4):
        images = study(folder, f"p{n}/ct", PatientID=f"P{n}")
        word = (CodedConcept("121999", "99TEST", "Level of Significance"), grades[n % 2])
        report(folder.root / f"p{n}/sr.dcm", images, [("Nodule", (), [], [word])])
    cohort = read(folder.root, ReadOptions(target="Level of Significance"))
    assert cohort.classes == ("Abnormal", "Normal")
    assert {c.sources[0].where[:2]: c.target for c in cohort.cases} == {
        "p0": "Normal",
        "p1": "Abnormal",
        "p2": "Normal",
        "p3": "Abnormal",
    }


def test_different_units_are_refused(folder):
    for n, unit in enumerate(("Millimeter", "Centimeter")):
        images = study(folder, f"p{n}/ct", PatientID=f"P{n}")
        report(folder.root / f"p{n}/sr.dcm", images, [("Nodule", (), [("Diameter", 3, unit)])])
    with pytest.raises(DataError, match="2 units: cm, mm"):
        read(folder.root, ReadOptions(target="Diameter"))


def test_the_newest_report_speaks(folder):
    for n in range(2):
        images = study(folder, f"p{n}/ct", PatientID=f"P{n}")
        for name, date, value in (("old", "20200101", 3), ("new", "20210101", 8.5 + n)):
            groups = [("Nodule", (), [("Diameter", value, "Millimeter")])]
            report(folder.root / f"p{n}/{name}.dcm", images, groups, ContentDate=date)
    assert {c.target for c in read(folder.root, ReadOptions(target="Diameter")).cases} == {8.5, 9.5}


def test_regions_drawn_in_the_image_become_a_mask(folder):
    images = study(folder, "ct")
    # Pixels 1..3 along the row and 2..3 down: from the corner at 1, 2 to the corner at 4, 4.
    groups = [
        ("Nodule", [("POLYLINE", 2, square((1, 2), (4, 4)))], []),
        ("Aorta", [("CIRCLE", 4, np.array([[2.5, 2.5], [2.5, 3.6]]))], []),
    ]
    report(folder.root / "sr.dcm", images, groups)
    cohort = read(folder.root)
    (case,) = cohort.cases
    assert cohort.labels == {1: "Aorta", 2: "Nodule"}
    truth = load(case.target)
    assert truth.same_grid(load(case.sources[0]))
    mask = np.zeros((6, 5, 6), np.uint8)
    mask[2, 2:4, 1:4] = 2
    # Centres within 1.1 pixels of the middle of pixel (2, 2): itself and its four neighbours.
    mask[4, 2, 1:4] = mask[4, 1:4, 2] = 1
    assert np.array_equal(truth.array[0], mask)


def test_a_polygon_in_space_becomes_a_mask_on_its_slice(folder):
    images = study(folder, "ct")
    # Half a pixel around pixels 1..3 of the row (0.75 mm) and 2..3 of the column (0.5 mm) on slice 3 (6 mm).
    x0, x1, y0, y1 = -10 + 0.5 * 0.75, -10 + 3.5 * 0.75, -20 + 1.5 * 0.5, -20 + 3.5 * 0.5
    corners = np.array([[x0, y0, 6], [x1, y0, 6], [x1, y1, 6], [x0, y1, 6], [x0, y0, 6]])
    report(folder.root / "sr.dcm", images, [("Nodule", [("POLYGON", None, corners)], [])])
    (case,) = read(folder.root).cases
    mask = np.zeros((6, 5, 6), np.uint8)
    mask[3, 2:4, 1:4] = 1
    assert np.array_equal(load(case.target).array[0], mask)


def test_a_segmentation_goes_before_the_report_that_measures_it(folder):
    images = study(folder, "ct")
    segmentation(folder.root / "seg.dcm", images, boxes((6, 5, 6), ((1, 1, 1), (3, 3, 3))), ["Nodule"])
    report(
        folder.root / "sr.dcm",
        images,
        [("Nodule", [("POLYLINE", 2, square((1, 2), (4, 4)))], [("Diameter", 3, "Millimeter")])],
    )
    (case,) = read(folder.root).cases
    assert case.target.reader == "dicom_seg"


def test_a_group_speaks_only_of_the_images_it_names(folder):
    for n in range(2):
        before = study(folder, f"a{n}", PatientID=f"A{n}")
        after = study(folder, f"b{n}", PatientID=f"A{n}", StudyInstanceUID=before[0].StudyInstanceUID)
        groups = [("Nodule", (), [("Diameter", 3.5 + n, "Millimeter")])]
        report(folder.root / f"sr{n}.dcm", [*before, *after], groups)
    cohort = read(folder.root, ReadOptions(target="Diameter"))
    found = {c.sources[0].where[:2]: c.target for c in cohort.cases}
    assert found == {"a0": 3.5, "a1": 4.5, "b0": None, "b1": None}


def test_real_reports_hold_what_their_makers_say(real):
    place = real / "dicom"
    groups = groups_of(pydicom.dcmread(place / "dcmqi/sr-example/sr.dcm"))
    numbers = {n: (v, u) for g in groups for n, v, u in g["Numbers"]}
    assert numbers["Volume"] == (33.5824, "ml")
    assert numbers["SUVbw (Mean)"] == (6.01529, "{SUVbw}g/ml")
    assert "Pixel Data Rows" not in numbers
    tumour = next(g for g in groups if g["Name"] == "primary tumor")
    assert (tumour["Finding"], tumour["Segments"]) == ("Neoplasm, Primary", [1])
    several = groups_of(pydicom.dcmread(place / "highdicom/sr_document_with_multiple_groups.dcm"))
    assert [g["Finding"] for g in several] == ["", "Nodule", "Aorta", "Vertebra"]
    assert groups_of(pydicom.dcmread(place / "pydicom_core/reportsi.dcm")) == []

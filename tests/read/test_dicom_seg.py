import numpy as np
import pydicom
import pytest
from drawing import boxes, segmentation, study

from lucency.errors import DataError, ReadError
from lucency.read import ReadOptions, dicom_labels, load, read, read_inputs
from lucency.read.layout import tree_of

SHAPE = (6, 5, 6)
ONE = ((1, 1, 1), (4, 3, 4))
OTHER = ((3, 3, 2), (6, 5, 6))


def only(folder, **options):
    cohort = read(folder.root, ReadOptions(**options))
    (case,) = [c for c in cohort.cases if c.target is not None]
    return cohort, case


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_a_segmentation_lies_where_it_was_drawn(folder, kind):
    images = study(folder, "ct")
    mask = boxes(SHAPE, ONE, OTHER)
    drawn = np.stack([mask == 1, mask == 2], axis=-1).astype(np.float32) if kind == "FRACTIONAL" else mask
    segmentation(folder.root / "seg.dcm", images, drawn, ["Liver", "spleen"], segmentation_type=kind)
    cohort, case = only(folder)
    assert cohort.layout == "dicom"
    assert cohort.labels == {1: "Liver", 2: "spleen"}
    truth = load(case.target)
    assert truth.same_grid(load(case.sources[0]))
    # The images are in order of depth, as the reader's slices are.
    assert np.array_equal(truth.array[0], mask)
    assert cohort.skipped == ()
    assert case.target.reader == "dicom_seg"


@pytest.mark.parametrize("turn", ["sagittal", "coronal", "oblique", "reversed", "tilted"])
def test_a_segmentation_lies_where_it_was_drawn_however_the_images_lie(folder, turn):
    axes = {
        "sagittal": [0, 1, 0, 0, 0, -1],
        "coronal": [1, 0, 0, 0, 0, -1],
        "oblique": [0.8, 0.6, 0, -0.48, 0.64, 0.6],
        "reversed": [1, 0, 0, 0, -1, 0],
        "tilted": [1, 0, 0, 0, 1, 0],
    }[turn]
    normal = np.cross(axes[:3], axes[3:])
    step = 2.0 * normal + (0, 0.5 * (turn == "tilted"), 0)
    places = tuple([float(v) for v in np.round([-10, -20, 5] + k * step, 6)] for k in range(6))
    study(folder, "ct", ImageOrientationPatient=[float(a) for a in axes], ImagePositionPatient=places)
    (files,) = [c.sources[0].files for c in read_inputs(folder.root)]
    images = [pydicom.dcmread(f) for f in files]
    mask = boxes(SHAPE, ONE, OTHER)
    # highdicom refuses to call a tilted stack a volume, so its frames are written one by one as they are.
    segmentation(folder.root / "seg.dcm", images, mask, ["a", "b"])
    _, case = only(folder)
    truth, image = load(case.target), load(case.sources[0])
    assert truth.same_grid(image)
    assert np.array_equal(truth.array[0], mask)


def test_the_reader_agrees_with_highdicom_on_the_images_it_wrote(folder):
    import highdicom

    images = study(folder, "ct")
    rng = np.random.default_rng(3)
    mask = rng.integers(0, 3, SHAPE).astype(np.uint8)
    segmentation(folder.root / "seg.dcm", images[::-1], mask[::-1], ["a", "b"])
    _, case = only(folder)
    ours = load(case.target)
    theirs = highdicom.seg.segread(folder.root / "seg.dcm").get_volume(combine_segments=True)
    back = np.round(np.linalg.inv(theirs.affine) @ ours.affine, 6)
    k, j, i = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    a, b, c = np.rint(np.einsum("rc,c...->r...", back, np.stack([k, j, i, np.ones_like(k)]))[:3]).astype(int)
    assert np.array_equal(ours.array[0], theirs.array[a, b, c])


def test_half_of_the_maximum_begins_a_fractional_segment(folder):
    images = study(folder, "ct")
    drawn = np.zeros((*SHAPE, 1), np.float32)
    drawn[2, 1, 1:5, 0] = 0.2, 0.49, 0.51, 1.0
    segmentation(folder.root / "s.dcm", images, drawn, ["a"], segmentation_type="FRACTIONAL", max_fractional_value=200)
    _, case = only(folder)
    assert load(case.target).array[0, 2, 1].tolist() == [0, 0, 0, 1, 1, 0]


def test_a_coarser_segmentation_gives_every_voxel_the_nearest_value(folder):
    import highdicom

    images = study(folder, "ct")
    # Twice the pixels in plane, half of their size: 10 x 12 pixels of 0.25 x 0.375 mm, first centre moved by a quarter.
    fine = np.zeros((6, 10, 12), np.uint8)
    fine[1:4, 2:6, 2:8] = 1
    measures = highdicom.PixelMeasuresSequence([0.25, 0.375], 2.0, 2.0)
    places = [highdicom.PlanePositionSequence("PATIENT", [-10 - 0.1875, -20 - 0.125, 2.0 * k]) for k in range(6)]
    segmentation(folder.root / "s.dcm", images, fine, ["a"], pixel_measures=measures, plane_positions=places)
    _, case = only(folder)
    assert np.array_equal(load(case.target).array[0], boxes(SHAPE, ((1, 1, 1), (4, 3, 4))))


def test_structures_that_overlap_are_refused_unless_one_is_chosen_or_they_are_nested(folder):
    images = study(folder, "ct")
    drawn = np.zeros((*SHAPE, 2), np.uint8)
    drawn[1:5, 1:5, 1:5, 0] = 1
    drawn[2:4, 1:3, 2:4, 1] = 1
    segmentation(folder.root / "s.dcm", images, drawn, ["Organ", "Tumour"])
    _, case = only(folder)
    assert np.array_equal(load(case.target).array[0], np.where(drawn[..., 1], 2, drawn[..., 0]))
    drawn[5, 1:3, 2:4, 1] = 1
    segmentation(folder.root / "s.dcm", images, drawn, ["Organ", "Tumour"])
    with pytest.raises(DataError, match=r"'Tumour' shares 67% of its voxels with 'Organ'.* --target NAME"):
        read(folder.root)
    cohort, case = only(folder, target="tumour")
    assert cohort.labels == {1: "Tumour"}
    assert cohort.target_name == "tumour"
    assert np.array_equal(load(case.target).array[0], drawn[..., 1])


def test_one_pair_of_overlapping_structures_does_not_refuse_the_whole_folder(folder):
    for n in range(4):
        images = study(folder, f"p{n}/ct", PatientID=f"P{n}")
        drawn = np.zeros((*SHAPE, 2), np.uint8)
        drawn[1:5, 1:5, 1:5, 0] = 1
        drawn[2 : 6 if n == 3 else 4, 1:3, 2:4, 1] = 1
        segmentation(folder.root / f"p{n}/seg.dcm", images, drawn, ["Organ", f"Only {n}" if n == 3 else "Tumour"])
    cohort = read(folder.root)
    assert len(cohort.cases) == 4
    assert [c.target is None for c in cohort.cases].count(True) == 1
    assert cohort.skipped == ()
    assert cohort.labels == {1: "Organ", 2: "Tumour"}
    (note,) = [n for n in cohort.notes if "do not say one thing" in n]
    assert "p3/seg.dcm: 'Only 3' shares 75% of its voxels with 'Organ'" in note


def test_one_ambiguous_pair_of_label_objects_leaves_its_image_without_a_label(folder):
    for n in range(3):
        images = study(folder, f"p{n}/ct", PatientID=f"P{n}")
        for again in range(2 if n == 0 else 1):
            when = {"ContentDate": "20200101", "ContentTime": "120000"}
            segmentation(folder.root / f"p{n}/s{again}.dcm", images, boxes(SHAPE, ONE), ["Organ"], changes=when)
    cohort = read(folder.root)
    assert [c.target is None for c in cohort.cases].count(True) == 1
    assert cohort.skipped == ()
    assert any("Two objects of the same date" in n for n in cohort.notes)


def test_labels_of_a_series_that_was_left_out_are_not_called_foreign(folder):
    for n in range(2):
        images = study(folder, f"p{n}/ct", PatientID=f"P{n}")
        segmentation(folder.root / f"p{n}/seg.dcm", images, boxes(SHAPE, ONE), ["Organ"])
        if n == 1:
            next(f for f in (folder.root / "p1/ct").iterdir() if f.samefile(images[2].filename)).unlink()
    notes = read_dicom(folder).notes
    (note,) = [n for n in notes if "images that were left out" in n]
    assert "the first is p1/seg.dcm: Gap after slice" in note
    assert not any("not here" in n for n in notes)


def read_dicom(folder):
    """The draft of a folder of which a part is left out, which is too much of so small a set."""
    tree = tree_of(folder.root)
    draft, _, _ = dicom_labels.draft_of(tree.units, tree, ReadOptions())
    return draft


def test_labels_have_one_number_in_the_whole_cohort_and_rare_ones_are_said(folder):
    for n, names in enumerate((["Spleen", "Liver"], ["liver", "SPLEEN "], ["Kidney_left"], ["Kidney left", "Liver"])):
        images = study(folder, f"p{n}/ct", PatientID=f"P{n}")
        mask = boxes(SHAPE, ONE, OTHER) if len(names) == 2 else boxes(SHAPE, ONE)
        segmentation(folder.root / f"p{n}/seg.dcm", images, mask, names)
    cohort = read(folder.root)
    assert cohort.labels == {1: "Kidney left", 2: "Liver", 3: "SPLEEN"}
    seen = {c.target.where[:2]: set(np.unique(load(c.target).array)) for c in cohort.cases}
    assert seen == {"p0": {0, 2, 3}, "p1": {0, 2, 3}, "p2": {0, 1}, "p3": {0, 1, 2}}
    assert any("Not every one of 4 images has all structures" in n for n in cohort.notes)
    assert load(next(c.target for c in cohort.cases if c.target.where[:2] == "p1")).array[0, 1, 1, 1] == 2


def test_a_label_without_a_name_goes_by_its_coded_type(folder):
    images = study(folder, "ct")
    segmentation(folder.root / "s.dcm", images, boxes(SHAPE, ONE), ["Segment_1"])
    assert only(folder)[0].labels == {1: "Organ"}


def test_the_newest_of_two_segmentations_counts_and_different_structures_are_put_together(folder):
    images = study(folder, "ct")
    for name, date, labels, box in (
        ("old", "20200101", ["Liver"], ONE),
        ("new", "20210101", ["Liver"], ((1, 1, 1), (4, 3, 5))),
        ("more", "20190101", ["Spleen"], OTHER),
    ):
        mask = boxes(SHAPE, box)
        segmentation(folder.root / f"{name}.dcm", images, mask, labels, changes={"ContentDate": date})
    cohort, case = only(folder)
    assert np.array_equal(load(case.target).array[0], boxes(SHAPE, ((1, 1, 1), (4, 3, 5)), OTHER))
    assert any(n == "old.dcm is older than new.dcm, which draws the same structures." for n in cohort.notes)
    assert any("more.dcm and new.dcm are put together" in n for n in cohort.notes)
    segmentation(
        folder.root / "twin.dcm",
        images,
        boxes(SHAPE, ONE),
        ["Liver"],
        changes={"ContentDate": "20210101", "ContentTime": ""},
    )
    twin = pydicom.dcmread(folder.root / "new.dcm")
    twin.ContentTime = ""
    twin.save_as(folder.root / "new.dcm")
    with pytest.raises(DataError, match="Two objects of the same date"):
        read(folder.root)


def test_another_frame_of_reference_is_refused_and_a_stranger_is_said(folder):
    images = study(folder, "a", PatientID="A")
    strangers = study(folder, "b", PatientID="B")
    segmentation(folder.root / "s.dcm", images, boxes(SHAPE, ONE), ["x"])
    wrong = pydicom.dcmread(folder.root / "s.dcm")
    wrong.FrameOfReferenceUID = "1.2.3.4.5"
    wrong.save_as(folder.root / "s.dcm")
    with pytest.raises(DataError, match="frame of reference is not that of the images"):
        read(folder.root)
    segmentation(folder.root / "s.dcm", strangers, boxes(SHAPE, ONE), ["x"])
    for file in (folder.root / "b").iterdir():
        file.unlink()
    notes = read(folder.root).notes
    assert any("1 DICOM label objects belong to images that are not here, the first is s.dcm" in n for n in notes)


def test_a_segmentation_of_a_radiograph_is_found_by_the_image_it_refers_to(folder, real):
    place = real / "dicom" / "highdicom"
    for name in ("seg_image_cr_binary.dcm", "dx_image.dcm"):
        folder.place(name).write_bytes((place / name).read_bytes())
    seg = pydicom.dcmread(folder.root / "seg_image_cr_binary.dcm")
    # The radiograph that it was drawn on is not in the set; one of its size and name stands in.
    source = seg.ReferencedSeriesSequence[0]
    image = pydicom.dcmread(folder.root / "dx_image.dcm")
    image.SOPInstanceUID = source.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.SeriesInstanceUID = source.SeriesInstanceUID
    image.Rows, image.Columns = seg.Rows, seg.Columns
    image.PixelData = bytes(seg.Rows * seg.Columns * image.BitsAllocated // 8)
    image.save_as(folder.root / "dx_image.dcm")
    _, case = only(folder)
    stored = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")[: seg.Rows * seg.Columns]
    assert np.array_equal(load(case.target).array[0, 0], stored.reshape(seg.Rows, seg.Columns))


def test_a_whole_slide_segmentation_and_a_truncated_one_are_refused(folder):
    images = study(folder, "ct")
    path = folder.root / "s.dcm"
    segmentation(path, images, boxes(SHAPE, ONE), ["a"])
    _, case = only(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(ReadError, match=r"s\.dcm"):
        load(case.target)
    data = pydicom.dcmread(folder.root / "s.dcm", force=True)
    data.TotalPixelMatrixRows = 100
    data.save_as(path)
    with pytest.raises(ReadError, match="whole slide"):
        load(case.target)


def test_names_of_patients_are_in_no_error_and_no_note(folder):
    images = study(folder, "ct")
    segmentation(folder.root / "s.dcm", images, boxes(SHAPE, ONE), ["a"])
    cohort, case = only(folder)
    assert "SECRET" not in repr(cohort)
    assert case.patient == cohort.cases[0].patient


def dataset(sop_class, **values):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.PatientID, data.SeriesInstanceUID = "P", pydicom.uid.generate_uid()
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 4, 8, 1, "MONOCHROME2"
    data.PixelRepresentation = 0
    for name, value in values.items():
        setattr(data, name, value)
    return data


def sequence(**values):
    item = pydicom.Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return [item]


def test_frames_of_a_clip_are_found_by_the_frames_they_were_drawn_on(folder):
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    clip = dataset("1.2.840.10008.5.1.4.1.1.3.1", Modality="US", NumberOfFrames=5, FrameTime=40.0, **bits)
    clip.PixelData = bytes(range(160))
    clip.save_as(folder.place("clip.dcm"), enforce_file_format=True)
    bits = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    seg = dataset("1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG", NumberOfFrames=2, SegmentationType="BINARY", **bits)
    seg.SegmentSequence = sequence(SegmentNumber=1, SegmentLabel="Line")
    reference = {"ReferencedSOPClassUID": clip.SOPClassUID, "ReferencedSOPInstanceUID": clip.SOPInstanceUID}
    instances = sequence(**reference)
    seg.ReferencedSeriesSequence = sequence(
        SeriesInstanceUID=clip.SeriesInstanceUID, ReferencedInstanceSequence=instances
    )
    seg.PerFrameFunctionalGroupsSequence = [
        sequence(
            SegmentIdentificationSequence=sequence(ReferencedSegmentNumber=1),
            DerivationImageSequence=sequence(SourceImageSequence=sequence(ReferencedFrameNumber=n, **reference)),
        )[0]
        for n in (4, 2)
    ]
    # One bit a pixel, 4 rows of 8: the first frame has its first row, the second its last.
    seg.PixelData = bytes([255, 0, 0, 0, 0, 0, 0, 255])
    seg.save_as(folder.place("seg.dcm"), enforce_file_format=True)
    _, case = only(folder)
    image, truth = load(case.sources[0]), load(case.target)
    assert image.k_axis == truth.k_axis == "time"
    mask = np.zeros((5, 4, 8))
    mask[3, 0] = mask[1, 3] = 1
    assert np.array_equal(truth.array[0], mask)
    assert truth.same_grid(image)

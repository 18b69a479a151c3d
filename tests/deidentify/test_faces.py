"""Heads: what is said of them, and a shear that takes the face and never the brain."""

import copy

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from lucency.deidentify import Options, faces
from lucency.deidentify.faces import REMAIN, face_of, shear_plane, shear_series, sheared
from lucency.errors import DataError, GeometryError, UsageError

SPACING = 4.0
SIDE = 60


def head():
    """Return an ellipsoid of brain, a nose far ahead and below, both (K, J, I) bool, and the affine to LPS mm.

    k goes up, j goes back (posterior), i goes left, 4 mm each; the brain's centre lies at the origin.
    """
    k, j, i = np.mgrid[:SIDE, :SIDE, :SIDE]
    up, back, left = (SPACING * (a - SIDE / 2) for a in (k, j, i))
    brain = (left / 65) ** 2 + (back / 85) ** 2 + (up / 60) ** 2 < 1
    nose = (left / 15) ** 2 + ((back + 100) / 15) ** 2 + ((up + 70) / 15) ** 2 < 1
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, SPACING], [0, SPACING, 0], [SPACING, 0, 0]]
    affine[:3, 3] = -SPACING * SIDE / 2
    return brain, nose, affine


def test_shear_takes_the_nose_and_leaves_the_brain_and_its_margin():
    brain, nose, affine = head()
    volume = np.where(brain, 100, np.where(nose, 50, 10)).astype(np.int16)
    out = sheared(volume, affine, shear_plane(brain, affine), fill=-1000)
    assert (out[brain] == 100).all()
    assert (out[nose] == -1000).all()
    # The back of the head and its top stay.
    assert (out[:, SIDE // 2 :, :][SIDE // 2 :] != -1000).all()
    assert (volume != -1000).all()


def test_plane_keeps_its_distance_from_the_brain():
    brain, _, affine = head()
    points = np.argwhere(brain) @ affine[:3, :3].T + affine[:3, 3]
    for margin in (0.0, 10.0, 25.0):
        shear = shear_plane(brain, affine, buffer_mm=margin)
        nearest = shear.offset_mm - (points @ np.array(shear.normal)).max()
        assert nearest == pytest.approx(margin)
        assert np.linalg.norm(shear.normal) == pytest.approx(1)
        assert shear.normal[1] < 0 > shear.normal[2]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_shear_is_the_same_however_the_volume_is_stored(order):
    brain, _, affine = head()
    turned = affine.copy()
    turned[:, :3] = affine[:, list(order)]
    here, there = shear_plane(brain, affine), shear_plane(brain.transpose(order), turned)
    np.testing.assert_allclose(here.normal, there.normal, atol=1e-9)
    assert here.offset_mm == pytest.approx(there.offset_mm)


def test_empty_and_flat_masks_are_refused():
    brain, _, affine = head()
    with pytest.raises(DataError, match="empty"):
        shear_plane(np.zeros_like(brain), affine)
    flat = np.zeros_like(brain)
    flat[3, 4] = True
    with pytest.raises(DataError, match="flat"):
        shear_plane(flat, affine)


def a_slice(number, volume, affine, series="1"):
    """Return slice k of a volume as CT, row by row as the affine says."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.Modality, data.ImageType = CTImageStorage, "CT", ["ORIGINAL", "PRIMARY"]
    data.SeriesInstanceUID, data.FrameOfReferenceUID = series, "2"
    data.Rows, data.Columns = volume.shape[1:]
    data.ImagePositionPatient = [float(v) for v in affine[:3, 0] * number + affine[:3, 3]]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [SPACING, SPACING]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.PixelData = volume[number].tobytes()
    data["PixelData"].VR = "OW"
    return data


def test_series_is_sheared_by_one_plane_and_only_then_says_113102():
    brain, nose, affine = head()
    volume = np.where(brain, 100, np.where(nose, 50, 10)).astype(np.int16)
    volume[5, 5, 5] = -900
    slices = [a_slice(k, volume, affine) for k in range(SIDE)]
    shear = shear_plane(brain, affine)
    n = shear_series(slices, shear)
    got = np.stack([d.pixel_array for d in slices])
    expected = sheared(volume, affine, shear, fill=-900)
    assert (got == expected).all()
    places = np.argwhere(np.ones_like(brain)) @ affine[:3, :3].T + affine[:3, 3]
    assert n == np.count_nonzero(places @ np.array(shear.normal) > shear.offset_mm)
    assert {d.DeidentificationMethodCodeSequence[0].CodeValue for d in slices} == {"113102"}
    assert slices[0].ImageType[0] == "DERIVED"


def test_series_of_two_frames_of_reference_are_refused():
    brain, _, affine = head()
    volume = brain.astype(np.int16)
    slices = [a_slice(k, volume, affine) for k in (30, 31)]
    slices[1].FrameOfReferenceUID = "3"
    before = copy.deepcopy(slices[0].PixelData)
    with pytest.raises(GeometryError, match="2 frames of reference"):
        shear_series(slices, shear_plane(brain, affine))
    assert slices[0].PixelData == before


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"Modality": "MR", "BodyPartExamined": "BRAIN"}, "yes"),
        ({"Modality": "CT", "StudyDescription": "CT Skull base"}, "yes"),
        ({"Modality": "MR", "SeriesDescription": "头颅平扫"}, "yes"),
        ({"Modality": "CT", "BodyPartExamined": "CHEST"}, "no"),
        ({"Modality": "CT", "BodyPartExamined": "CHEST", "StudyDescription": "Thorax and neck"}, "yes"),
        ({"Modality": "MR", "Rows": 256, "Columns": 256, "PixelSpacing": [1, 1]}, "possible"),
        ({"Modality": "CT", "Rows": 512, "Columns": 512, "PixelSpacing": [0.9, 0.9]}, "no"),
        ({"Modality": "MR", "Rows": 64, "Columns": 64, "PixelSpacing": [1, 1]}, "no"),
        ({"Modality": "CT"}, "possible"),
        ({"Modality": "DX", "BodyPartExamined": "SKULL"}, "no"),
        ({}, "no"),
    ],
)
def test_heads_are_told_by_what_the_header_says_and_by_the_field_of_view(values, expected):
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    finding = face_of(data)
    assert finding.recognisable == expected
    assert (finding.statement == "") == (expected == "no")
    if expected == "yes":
        assert finding.statement == REMAIN


def a_head_on_disk(room, *, compressed=False):
    """Write a head with a nose, a chest of another frame of reference, and a brain mask beside the head."""
    import nibabel
    import planted

    brain, nose, affine = head()
    volume = np.where(brain, 100, np.where(nose, 50, 10)).astype(np.int16)
    for k in range(SIDE):
        one = planted.image()
        made = a_slice(k, volume, affine)
        for keyword in ("Rows", "Columns", "ImagePositionPatient", "PixelSpacing", "PixelData"):
            setattr(one, keyword, made[keyword].value)
        one.BodyPartExamined, one.InstanceNumber, one.SOPInstanceUID = "HEAD", k + 1, f"{planted.ROOT}.4.{k}"
        if compressed:
            one.compress("1.2.840.10008.1.2.5")  # RLE
        room.put(one, f"head/{k:03}.dcm")
    chest = planted.image()
    chest.FrameOfReferenceUID, chest.SOPInstanceUID, chest.InstanceNumber = (
        f"{planted.ROOT}.9",
        f"{planted.ROOT}.5",
        999,
    )
    room.put(chest, "chest/1.dcm")
    # NIfTI counts i, j, k from right to left, back to front; LPS from left to right, front to back.
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(brain.T.astype(np.uint8), ras), room.src / "head" / "ct_brain_mask.nii.gz")
    return brain, nose, chest


@pytest.mark.parametrize("compressed", [False, True])
def test_faces_could_be_sheared_off_in_python_only(room, compressed):
    import json

    from typer.testing import CliRunner

    from lucency.apps.cli import app

    brain, nose, chest = a_head_on_disk(room, compressed=compressed)
    arguments = ["deidentify", str(room.src), str(room.dst), "--key", str(room.key), "--shear-faces", "--json"]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0, said.output
    result = json.loads(said.stdout.strip().splitlines()[-1])
    assert result["rules"]["face sheared"] == SIDE
    assert result["remarks"][faces.SHEARED] == SIDE
    assert REMAIN not in result["remarks"]
    heads = sorted((d for d in room.cleaned() if d.InstanceNumber != 999), key=lambda d: d.InstanceNumber)
    volume = np.stack([d.pixel_array for d in heads])
    assert (volume[brain] == 100).all()
    assert not (volume[nose] == 50).any()
    for one in heads:
        assert [c.CodeValue for c in one.DeidentificationMethodCodeSequence].count("113102") == 1
    (other,) = [d for d in room.cleaned() if d.InstanceNumber == 999]
    assert other.PixelData == chest.PixelData
    assert "113102" not in [c.CodeValue for c in other.DeidentificationMethodCodeSequence]


def test_shearing_without_a_mask_beside_the_slices_is_refused(room, image):
    room.put(image, "head/1.dcm")
    with pytest.raises(UsageError, match="No brain mask lies beside any slice"):
        room.clean(Options(shear=True))
    a_head_on_disk(room)
    mask = room.src / "head" / "ct_brain_mask.nii.gz"
    (room.src / "head" / "other_brain_mask.nii.gz").write_bytes(mask.read_bytes())
    with pytest.raises(UsageError, match="2 brain masks"):
        room.clean(Options(shear=True))
    (room.src / "head" / "other_brain_mask.nii.gz").unlink()
    mask.write_bytes(b"no mask")
    with pytest.raises(DataError, match="cannot be read"):
        room.clean(Options(shear=True))


def test_a_slice_of_a_masked_head_that_cannot_be_sheared_is_left_out(room):
    import pydicom

    a_head_on_disk(room)
    path = room.src / "head" / "005.dcm"
    one = pydicom.dcmread(path)
    del one.ImagePositionPatient
    one.save_as(path)
    report = room.clean(Options(shear=True))
    assert any("does not say where it lies" in reason for reason in report.reasons)
    assert 6 not in {d.InstanceNumber for d in room.cleaned()}

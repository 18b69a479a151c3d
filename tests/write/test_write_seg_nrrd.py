"""3D Slicer's segmentation files out; SimpleITK's NRRD reader, which is not ours, says where every voxel lies."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lucency.annotation import Annotation
from lucency.errors import OutputError
from lucency.image import Image
from lucency.read.labelgrid import Grid
from lucency.read.placing import placed
from lucency.read.seg_nrrd import read_segments
from lucency.write.seg_nrrd import write_seg_nrrd

NAMES = {1: "left kidney", 2: "nodule", 300: "结节 \\ two\nlines"}


def oblique(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform(0.4, 6, 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


def labels(seed: int, values, size=(4, 5, 6), affine=None) -> Image:
    array = np.random.default_rng(seed).choice([0, *values], (1, *size)).astype(np.uint16)
    return Image(array, oblique(seed) if affine is None else affine, kind="labels", unit="label")


@pytest.mark.parametrize("seed", range(6))
def test_every_voxel_lies_where_simpleitk_finds_it(tmp_path, seed):
    mask = labels(seed, NAMES)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", Annotation("a", (mask,), NAMES))
    back = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(back), mask.array[0])
    for k, j, i in np.random.default_rng(seed).integers(0, mask.size, (8, 3)).tolist():
        # The cosines of an ITK image are held to fewer digits than numpy's.
        place = back.TransformIndexToPhysicalPoint((i, j, k))
        assert place == pytest.approx((mask.affine @ (k, j, i, 1))[:3], abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_written_comes_back_voxel_for_voxel(tmp_path, seed):
    mask = labels(seed, NAMES)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", Annotation("a", (mask,), NAMES))
    found = read_segments(tmp_path / "a.seg.nrrd")
    assert [(s.value, s.name, s.layer) for s in found.segments][:2] == [(1, "left kidney", 0), (2, "nodule", 0)]
    on_image = placed(found.layers[0], Grid(mask.affine, mask.size), "a")
    assert on_image.exact
    assert np.array_equal(on_image.array, mask.array[0])


def test_regions_that_overlap_are_a_list_of_volumes(tmp_path):
    organ, lesion = labels(1, [1]), labels(1, [2], affine=oblique(1))
    lesion = organ.with_array(np.where(organ.array == 1, 2, 0).astype(np.uint8))  # wholly inside the organ
    write_seg_nrrd(tmp_path / "a.seg.nrrd", Annotation("a", (organ, lesion), {1: "liver", 2: "nodule"}))
    back = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert back.GetNumberOfComponentsPerPixel() == 2
    array = sitk.GetArrayFromImage(back)
    assert np.array_equal(array[..., 0], organ.array[0])
    assert np.array_equal(array[..., 1], lesion.array[0])
    found = read_segments(tmp_path / "a.seg.nrrd")
    assert [(s.name, s.value, s.layer) for s in found.segments] == [("liver", 1, 0), ("nodule", 2, 1)]
    assert np.array_equal(found.layers[1].array, lesion.array)


def test_header_says_names_codes_extents_and_nothing_of_the_machine(tmp_path):
    array = np.zeros((1, 4, 5, 6), np.uint8)
    array[0, 1:3, 2, 3:6] = 1  # k 1 to 2, j 2, i 3 to 5
    mask = Image(array, oblique(0), kind="labels", unit="label")
    write_seg_nrrd(tmp_path / "a.seg.nrrd", Annotation("a", (mask,), {1: "left kidney", 2: "xyzzy"}))
    header = (tmp_path / "a.seg.nrrd").read_bytes().split(b"\n\n")[0].decode()
    assert "Segment0_Extent:=3 5 2 2 1 2" in header
    assert "Segment1_Extent:=0 -1 0 -1 0 -1" in header
    # SCT 64033007 Kidney, SCT 7771000 Left: DICOM PS3.16, CID 7192 and 244.
    assert "~SCT^64033007^Kidney~SCT^7771000^Left~" in header
    # No public code for a word that means nothing: the widest term stands, and the name says which.
    assert "Segment1_Name:=xyzzy" in header
    assert "~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~" in header
    assert "Segmentation_MasterRepresentation:=Binary labelmap" in header
    assert str(tmp_path) not in header


def test_names_with_line_ends_and_chinese_ones_come_back(tmp_path):
    mask = labels(0, NAMES)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", Annotation("a", (mask,), NAMES))
    # SimpleITK undoes the escapes of NRRD.
    assert sitk.ReadImage(str(tmp_path / "a.seg.nrrd")).GetMetaData("Segment2_Name") == NAMES[300]


def test_same_regions_same_bytes(tmp_path):
    said = Annotation("a", (labels(2, NAMES),), NAMES)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", said)
    write_seg_nrrd(tmp_path / "b.seg.nrrd", said)
    first = (tmp_path / "a.seg.nrrd").read_bytes()
    assert first == (tmp_path / "b.seg.nrrd").read_bytes()
    assert gzip.decompress(first.split(b"\n\n", 1)[1])


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (Annotation("a", classes=("x",)), "No regions"),
        (Annotation("a", (Image(np.zeros((1, 1, 1, 1), np.uint8), np.eye(4), "labels"),), {}), "one voxel"),
    ],
)
def test_what_slicer_could_not_read_is_refused(tmp_path, said, found):
    with pytest.raises(OutputError, match=found):
        write_seg_nrrd(tmp_path / "a.seg.nrrd", said)
    assert not list(tmp_path.iterdir())

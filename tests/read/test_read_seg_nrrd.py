"""3D Slicer's segmentation files in, from headers written here by hand as Slicer writes them, and damaged ones."""

import gzip

import numpy as np
import pytest

from lucency.errors import LucencyError, ReadError
from lucency.image import Image
from lucency.read.labelgrid import Grid
from lucency.read.placing import placed
from lucency.read.seg_nrrd import is_segmentation, read_segments

#: As 3D Slicer 5 writes it: two layers, the second with two segments; the image is 8 x 7 x 6, the labels are cropped.
NEW = """NRRD0004
# Complete NRRD file format specification at:
# http://teem.sourceforge.net/nrrd/format.html
type: unsigned char
dimension: 4
space: left-posterior-superior
sizes: 2 4 3 2
space directions: none (0.9,0,0) (0,0.8,0) (0,0,2)
kinds: list domain domain domain
encoding: gzip
space origin: (1.8,0.8,6)
Segment0_Extent:=0 3 0 2 0 1
Segment0_ID:=Segment_1
Segment0_LabelValue:=1
Segment0_Layer:=0
Segment0_Name:=Liver
Segment1_ID:=Segment_2
Segment1_LabelValue:=1
Segment1_Layer:=1
Segment1_Name:=Tumour
Segment2_ID:=Segment_3
Segment2_LabelValue:=2
Segment2_Layer:=1
Segmentation_MasterRepresentation:=Binary labelmap
Segmentation_ReferenceImageExtentOffset:=2 1 3
"""
#: As 3D Slicer 4.10 wrote it: every segment its own volume, no layers, no values.
OLD = """NRRD0004
type: unsigned char
dimension: 4
space: left-posterior-superior
sizes: 2 4 3 2
space directions: none (0.9,0,0) (0,0.8,0) (0,0,2)
kinds: list domain domain domain
encoding: gzip
space origin: (1.8,0.8,6)
Segment0_ID:=Segment_1
Segment0_Name:=Liver
Segment1_ID:=Segment_2
Segment1_Name:=Tumour
"""
GRID = Grid(np.array([[0, 0, 0.9, 0], [0, 0.8, 0, 0], [2.0, 0, 0, 0], [0, 0, 0, 1]]), (6, 7, 8))


def voxels() -> np.ndarray:
    """(K, J, I, layer)."""
    array = np.zeros((2, 3, 4, 2), np.uint8)
    array[..., 0] = 1
    array[0, 1, 2, 1], array[1, 2, 3, 1] = 1, 2
    return array


def write(path, header, array):
    path.write_bytes(header.encode() + b"\n" + gzip.compress(array.tobytes()))
    return path


def test_segments_have_their_layers_names_and_values(tmp_path):
    found = read_segments(write(tmp_path / "a.seg.nrrd", NEW, voxels()))
    told = [(s.name, s.value, s.layer) for s in found.segments]
    assert told == [("Liver", 1, 0), ("Tumour", 1, 1), ("Segment_3", 2, 1)]
    assert np.array_equal(found.layers[1].array[0], voxels()[..., 1])


def test_labels_smaller_than_the_image_lie_at_their_offset(tmp_path):
    found = read_segments(write(tmp_path / "a.seg.nrrd", NEW, voxels()))
    on_image = placed(found.layers[1], GRID, "a")
    assert on_image.exact
    # Slicer's own offset says the same: i 2, j 1, k 3.
    truth = np.zeros((6, 7, 8), np.uint8)
    truth[3:5, 1:4, 2:6] = voxels()[..., 1]
    assert np.array_equal(on_image.array, truth)
    assert on_image.lost == 0


def test_file_of_an_older_slicer_has_one_segment_in_each_volume(tmp_path):
    array = np.minimum(voxels(), 1)
    found = read_segments(write(tmp_path / "a.seg.nrrd", OLD, array))
    assert [(s.name, s.value, s.layer) for s in found.segments] == [("Liver", 1, 0), ("Tumour", 1, 1)]


def test_a_single_voxel_means_empty_segments(tmp_path):
    header = NEW.replace("sizes: 2 4 3 2", "sizes: 2 1 1 1")
    found = read_segments(write(tmp_path / "a.seg.nrrd", header, np.zeros((1, 1, 1, 2), np.uint8)))
    # One voxel in each of two volumes: nothing is drawn, and its place means nothing.
    assert found.layers == ()
    assert len(found.segments) == 3


def test_ras_files_lie_in_the_same_place(tmp_path):
    header = NEW.replace("left-posterior-superior", "right-anterior-superior")
    header = header.replace("(0.9,0,0) (0,0.8,0)", "(-0.9,0,0) (0,-0.8,0)").replace("(1.8,0.8,6)", "(-1.8,-0.8,6)")
    found = read_segments(write(tmp_path / "a.seg.nrrd", header, voxels()))
    assert placed(found.layers[0], GRID, "a").array[3:5, 1:4, 2:6].all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda h, v: (h.replace("NRRD0004", "HRRD0004"), v), "Not readable as NRRD"),
        (lambda h, v: (h, v[:1]), "Not readable as NRRD"),
        (lambda h, v: (h.replace("sizes: 2 4 3 2", "sizes: 2 4000 3000 2000"), v), "promises 48 000 000 000 voxels"),
        (lambda h, v: (h.replace("Segment", "Sgmnt"), v), "No segments"),
        (lambda h, v: (h.replace("Segment2_Layer:=1", "Segment2_Layer:=2"), v), "value 2 in layer 2"),
        (lambda h, v: (h.replace("Segment2_LabelValue:=2", "Segment2_LabelValue:=1"), v), "share a value"),
        (lambda h, v: (h.replace("Segment2_LabelValue:=2", "Segment2_LabelValue:=0"), v), "value 0 in layer 1"),
        (lambda h, v: (h, np.where(v == 2, 8, v).astype(np.uint8)), "value 8 in layer 1 belong to no segment"),
        (lambda h, v: (h.replace("Binary labelmap", "Fractional labelmap"), v), "fractional"),
        (lambda h, v: (h.replace("unsigned char", "float\nendian: little"), v.astype("<f4")), "no integers"),
    ],
)
def test_damaged_files_are_refused_with_the_reason_and_without_their_path(tmp_path, change, match):
    header, array = change(NEW, voxels())
    with pytest.raises(ReadError, match=match) as refused:
        read_segments(write(tmp_path / "a.seg.nrrd", header, array))
    assert refused.value.where == "a.seg.nrrd"
    assert refused.value.expected or refused.value.remedy
    assert str(tmp_path) not in str(refused.value)


def test_absent_file_is_named(tmp_path):
    with pytest.raises(ReadError, match=r"a\.seg\.nrrd"):
        read_segments(tmp_path / "a.seg.nrrd")
    assert is_segmentation(tmp_path / "a.SEG.NRRD")
    assert not is_segmentation(tmp_path / "a.nrrd")


@pytest.mark.parametrize("seed", range(8))
def test_axes_that_run_otherwise_are_turned_and_what_is_outside_is_counted(seed):
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform(0.4, 4, 3)
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    size = (5, 6, 7)
    truth = rng.integers(0, 4, size).astype(np.uint8)
    # Another array of the same voxels: axes permuted, one reversed, two slices cut away.
    order = rng.permutation(3)
    cut = truth[1:-1]
    start = affine @ (1, 0, 0, 1)
    own = affine.copy()
    own[:, 3] = start
    own, array = own[:, [*order, 3]], np.transpose(cut, order)
    axis = int(rng.integers(3))
    own[:, 3] += own[:, axis] * (array.shape[axis] - 1)
    own[:, axis] *= -1
    drawn = Image(np.flip(array, axis)[None].copy(), own, kind="labels")
    found = placed(drawn, Grid(affine, size), "a")
    assert found.exact
    assert np.array_equal(found.array[1:-1], cut)
    assert not found.array[[0, -1]].any()
    smaller = placed(drawn, Grid(affine, (3, 6, 7)), "a")
    assert smaller.lost == np.count_nonzero(cut[2:])


def test_other_grid_takes_the_nearest_and_says_so():
    # Labels twice as fine along i: voxel 0 of the image covers labels 0 and 1, whose centres are at -.25 and .25.
    fine = np.diag([1.0, 1.0, 0.5, 1.0])
    fine[2, 3] = -0.25
    drawn = Image(np.array([[[[1, 1, 2, 2, 3, 3]]]], np.uint8), fine, kind="labels")
    found = placed(drawn, Grid(np.eye(4), (1, 1, 3)), "a")
    assert not found.exact
    assert found.array.ravel().tolist() == [1, 2, 3]


def test_labels_of_another_patient_are_refused():
    drawn = Image(np.ones((1, 2, 2, 2), np.uint8), np.eye(4), kind="labels")
    far = np.eye(4)
    far[0, 3] = 500.0
    with pytest.raises(ReadError, match="outside the image"):
        placed(drawn, Grid(far, (2, 2, 2)), "a.nii.gz")


def test_whatever_is_damaged_is_refused_or_read_and_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    whole = write(tmp_path / "whole.seg.nrrd", NEW, voxels()).read_bytes()
    outcomes: list[str] = []
    for number in range(150):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), rng.integers(1, 4)).tolist():
            content[place] = int(rng.integers(256))
        path = tmp_path / "a.seg.nrrd"
        path.write_bytes(bytes(content[: int(rng.integers(1, len(content))) if number % 3 == 0 else len(content)]))
        try:
            read_segments(path)
            outcomes.append("")
        except LucencyError as refused:
            outcomes.append(str(refused))
    assert "" in outcomes
    assert len(set(outcomes)) > 3
    assert not [said for said in outcomes if str(tmp_path) in said]

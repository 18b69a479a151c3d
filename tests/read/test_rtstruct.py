import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from skimage.measure import points_in_poly

from lucency.case import Source
from lucency.errors import ReadError
from lucency.read import load
from lucency.read.labelgrid import Grid
from lucency.read.polygons import drawn, filled

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SIZE = (6, 40, 50)
SPACING = (2.0, 0.5, 0.75)
CENTRE = np.array([18.0, 10.0])


def affine_of(turn=None, tilt_mm=0.0):
    """An affine of SPACING, turned in space; ``tilt_mm`` shifts every slice along the columns."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = SPACING
    affine[1, 0] = tilt_mm
    affine[:3, 3] = -15, 20, 100
    affine[3, 3] = 1
    if turn is not None:
        affine[:3] = turn @ affine[:3]
    return affine


def turned(seed):
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return turn


def circle(radius_mm, k, centre=CENTRE, n=720):
    """Points of a circle in slice k, (n, 3) in voxels (k, j, i); ``centre`` is (i, j) in mm."""
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    i = (centre[0] + radius_mm * np.cos(angle)) / SPACING[2]
    j = (centre[1] + radius_mm * np.sin(angle)) / SPACING[1]
    return np.stack([np.full(n, float(k)), j, i], axis=1)


def distance_mm():
    """Distance of every pixel's centre from CENTRE, (J, I) in mm."""
    j, i = np.meshgrid(np.arange(SIZE[1]) * SPACING[1], np.arange(SIZE[2]) * SPACING[2], indexing="ij")
    return np.hypot(i - CENTRE[0], j - CENTRE[1])


def world(affine, voxels):
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def structures(path, regions, affine):
    """Write a structure set: region name to list of (type, (n, 3) voxels)."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = RTSTRUCT
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Modality, data.PatientID, data.SeriesInstanceUID = "RTSTRUCT", "SECRET-NAME", generate_uid()
    data.StructureSetROISequence, data.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(regions.items(), start=1):
        region, drawn_ = pydicom.Dataset(), pydicom.Dataset()
        region.ROINumber, region.ROIName = number, name
        drawn_.ReferencedROINumber, drawn_.ContourSequence = number, []
        for kind, voxels in contours:
            contour = pydicom.Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(voxels)
            contour.ContourData = [f"{v:.6f}"[:16] for v in world(affine, np.asarray(voxels, float)).ravel()]
            drawn_.ContourSequence.append(contour)
        data.StructureSetROISequence.append(region)
        data.ROIContourSequence.append(drawn_)
    data.save_as(path, enforce_file_format=True)
    return data


def source_of(path, affine, n_regions=1, size=SIZE):
    header = {"size": size, "affine": tuple(affine.ravel()), "spacing": SPACING, "n_files": 1}
    header |= {
        "owners": (0,) * n_regions,
        "numbers": tuple(range(1, n_regions + 1)),
        "values": tuple(range(1, n_regions + 1)),
    }
    return Source((path.name,), str(path.parent), "rtstruct", kind="labels", header=header)


def mask_of(tmp_path, regions, affine=None):
    affine = affine_of() if affine is None else affine
    path = tmp_path / "rt.dcm"
    structures(path, regions, affine)
    image = load(source_of(path, affine, len(regions)))
    assert np.allclose(image.affine, affine)
    return image.array[0]


@pytest.mark.parametrize("turn", [None, turned(0), turned(1)])
@pytest.mark.parametrize("tilt_mm", [0.0, 0.6])
def test_a_circle_fills_the_pixels_whose_centres_it_holds(tmp_path, turn, tilt_mm):
    affine = affine_of(turn, tilt_mm)
    mask = mask_of(tmp_path, {"a": [("CLOSED_PLANAR", circle(6.03, k)) for k in (1, 2, 3)]}, affine)
    truth = distance_mm() < 6.03
    for k in range(SIZE[0]):
        assert np.array_equal(mask[k] == 1, truth if k in (1, 2, 3) else np.zeros_like(truth))
    # pi r^2 in voxels of 0.5 x 0.75 mm.
    assert np.count_nonzero(mask[1]) == pytest.approx(np.pi * 6.03**2 / 0.375, rel=0.01)


def test_one_contour_inside_another_is_a_hole_and_one_inside_the_hole_is_filled_in_any_order(tmp_path):
    rings = [circle(8.03, 2), circle(5.02, 2), circle(2.01, 2)]
    near = distance_mm()
    truth = (near < 8.03) & ~((near < 5.02) & ~(near < 2.01))
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        mask = mask_of(tmp_path, {"a": [("CLOSED_PLANAR", rings[n]) for n in order]})
        assert np.array_equal(mask[2] == 1, truth)
    assert np.count_nonzero(truth) * 0.375 == pytest.approx(np.pi * (8.03**2 - 5.02**2 + 2.01**2), rel=0.02)


def test_a_keyhole_leaves_its_hole_out(tmp_path):
    outer, inner = circle(8.03, 2), circle(4.02, 2)[::-1]
    # From the outer circle's first point along a channel without width to the inner one and back.
    key = np.concatenate([outer, outer[:1], inner[-1:], inner, inner[-1:]])
    mask = mask_of(tmp_path, {"a": [("CLOSED_PLANAR", key)]})
    near = distance_mm()
    assert np.count_nonzero((mask[2] == 1) != ((near < 8.03) & (near >= 4.02))) <= 2


@pytest.mark.parametrize("seed", range(8))
def test_any_polygon_is_filled_as_a_point_test_says(seed):
    rng = np.random.default_rng(seed)
    polygon = rng.uniform(-5, 45, (int(rng.integers(3, 12)), 2))
    j, i = np.meshgrid(np.arange(40), np.arange(40), indexing="ij")
    truth = points_in_poly(np.stack([j.ravel(), i.ravel()], axis=1), polygon).reshape(40, 40)
    assert np.array_equal(filled([polygon], (40, 40)), truth)


def test_two_polygons_with_a_common_edge_share_no_pixel():
    left = np.array([[2, 2], [2, 7], [12, 7], [12, 2]], float)
    right = left + np.array([0, 5])
    one, other = filled([left], (20, 20)), filled([right], (20, 20))
    assert not (one & other).any()
    assert (one | other).sum() == 10 * 10


def test_contours_between_slices_go_to_the_nearest_and_wide_gaps_are_filled(tmp_path):
    near = [("CLOSED_PLANAR", circle(5.03, k)) for k in (0.3, 1.3, 2.3)]
    assert [int(m.any()) for m in mask_of(tmp_path, {"a": near})] == [1, 1, 1, 0, 0, 0]
    # A plane on every second slice stands for two slices: itself and the one below it.
    wide = [("CLOSED_PLANAR", circle(r, k)) for k, r in ((1, 3.03), (3, 5.03), (5, 7.03))]
    mask = mask_of(tmp_path, {"a": wide})
    for k, radius in enumerate((3.03, 3.03, 5.03, 5.03, 7.03, 7.03)):
        assert np.array_equal(mask[k] == 1, distance_mm() < radius)
    # Finer than the slices: the contour nearest to each slice counts, not all of them together.
    fine = [("CLOSED_PLANAR", circle(3.03 + 2 * (n == 4), n / 4)) for n in range(9)]
    assert np.array_equal(mask_of(tmp_path, {"a": fine})[1] == 1, distance_mm() < 5.03)


@pytest.mark.parametrize("axis", [1, 2])
def test_contours_across_the_slices_fill_the_same_box(tmp_path, axis):
    # A box of voxels 1..4 x 10..19 x 15..24, drawn in sagittal or coronal planes through the voxel centres.
    low, high = np.array([0.5, 9.5, 14.5]), np.array([4.5, 19.5, 24.5])
    contours = []
    for at in range(int(low[axis]) + 1, int(high[axis]) + 1):
        a, b = [n for n in range(3) if n != axis]
        corners = np.full((4, 3), float(at))
        corners[:, a] = low[a], low[a], high[a], high[a]
        corners[:, b] = low[b], high[b], high[b], low[b]
        contours.append(("CLOSED_PLANAR", corners))
    for turn in (None, turned(3)):
        mask = mask_of(tmp_path, {"a": contours}, affine_of(turn))
        truth = np.zeros(SIZE, dtype=bool)
        truth[1:5, 10:20, 15:25] = True
        assert np.array_equal(mask == 1, truth)


def test_an_oblique_cylinder_has_its_volume(tmp_path):
    affine = affine_of()
    grid = Grid(affine, SIZE)
    # Circles of 4 mm radius around an axis that leans 30 degrees, a plane every 0.5 mm over 6 mm.
    normal = np.array([0.5, 0.0, np.sqrt(0.75)])
    across, along = np.array([0.0, 1.0, 0.0]), np.cross(normal, [0.0, 1.0, 0.0])
    middle = world(affine, np.array([2.5, 20.0, 25.0]))
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    ring = 4 * (np.cos(angle)[:, None] * along + np.sin(angle)[:, None] * across)
    contours = [middle + d * normal + ring for d in np.arange(-2.75, 3, 0.5)]
    drawing, bent = drawn(contours, grid)
    found = drawing.done(1, 1)
    assert bent == 0
    points = np.concatenate([grid.world(k) for k in range(SIZE[0])]) - middle
    depth = points @ normal
    truth = ((np.abs(depth) < 3) & (np.linalg.norm(points - np.outer(depth, normal), axis=1) < 4)).reshape(SIZE)
    whole = np.zeros(SIZE, dtype=bool)
    whole[found.box] = found.mask
    assert np.count_nonzero(whole != truth) <= 0.01 * truth.sum()
    assert whole.sum() * 0.75 == pytest.approx(np.pi * 16 * 6, rel=0.03)


def test_points_and_open_lines_enclose_nothing(tmp_path):
    path = tmp_path / "rt.dcm"
    regions = {"a": [("POINT", circle(5, 2)[:1]), ("OPEN_PLANAR", circle(5, 2)), ("CLOSED_PLANAR", circle(2.01, 3))]}
    structures(path, regions, affine_of())
    mask = load(source_of(path, affine_of())).array[0]
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [3]


def test_a_region_inside_another_keeps_its_voxels_and_others_that_overlap_are_refused(tmp_path):
    organ = [("CLOSED_PLANAR", circle(8.03, k)) for k in (1, 2, 3)]
    tumour = [("CLOSED_PLANAR", circle(3.02, 2))]
    mask = mask_of(tmp_path, {"organ": organ, "tumour": tumour})
    near = distance_mm()
    assert np.array_equal(mask[2], np.where(near < 3.02, 2, np.where(near < 8.03, 1, 0)))
    shifted = [("CLOSED_PLANAR", circle(8.03, 2, centre=CENTRE + 4))]
    with pytest.raises(ReadError, match=r"'Structure 2' shares \d+% of its voxels with 'Structure 1'.* --target NAME"):
        mask_of(tmp_path, {"organ": organ, "other": shifted})
    with pytest.raises(ReadError, match="shares 100%"):
        mask_of(tmp_path, {"organ": organ, "again": organ})


@pytest.mark.parametrize(
    ("contour", "words"),
    [
        (np.array([[1, 5, 5], [1, 9, 5]]), "A closed contour of 6 numbers"),
        (np.array([[0, 5, 5], [5, 9, 5], [1, 30, 40], [4, 2, 44.0]]), "1 contours of region 1 do not lie in a plane"),
    ],
)
def test_contours_that_enclose_nothing_flat_are_refused(tmp_path, contour, words):
    with pytest.raises(ReadError, match=words) as caught:
        mask_of(tmp_path, {"SECRET-REGION": [("CLOSED_PLANAR", contour)]})
    assert "SECRET" not in str(caught.value)

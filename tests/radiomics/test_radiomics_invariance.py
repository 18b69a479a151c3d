"""What must not change the numbers, and what must change them in a known way."""

from dataclasses import replace

import numpy as np
import pytest

from lucency import radiomics
from lucency.image import Image, crop, reorient
from lucency.radiomics import Settings

#: Names that follow the array's axes and not the patient.
BY_AXIS = ("Maximum2DDiameterSlice", "Maximum2DDiameterRow", "Maximum2DDiameterColumn")


def close(found, expected, without=()):
    kept = {n: v for n, v in expected.items() if n.split("_")[-1] not in without}
    assert kept
    assert {n: found[n] for n in kept} == pytest.approx(kept, rel=1e-9, abs=1e-12)


def moved(image, affine):
    return Image(image.array, affine, kind=image.kind)


@pytest.mark.parametrize("seed", range(5))
def test_the_patient_may_lie_as_he_likes(seed, blob):
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    image, mask = blob(seed)
    affine = image.affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    close(radiomics.features(moved(image, affine), moved(mask, affine)), radiomics.features(image, mask))


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("flip", [(), (0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("weighting", ["separate", "euclidean"])
def test_the_file_may_store_its_axes_in_any_order_and_direction(order, flip, weighting, blob):
    image, mask = blob(2)
    settings = Settings(weighting=weighting)
    expected = radiomics.features(image, mask, settings)
    columns = [*order, 3]

    def stored(one):
        array = np.flip(np.transpose(one.array[0], order), flip)
        affine = one.affine[:, columns].copy()
        for axis in flip:
            affine[:, 3] += affine[:, axis] * (array.shape[axis] - 1)
            affine[:, axis] *= -1
        return Image(np.ascontiguousarray(array)[None], affine, kind=one.kind)

    found = radiomics.features(stored(image), stored(mask), settings)
    close(found, expected, BY_AXIS)
    if flip != () and order == (0, 2, 1):
        close(radiomics.features(reorient(stored(image)), reorient(stored(mask)), settings), expected)


def test_lengths_surfaces_and_volumes_grow_with_the_voxels_and_nothing_else_does(blob):
    small = radiomics.features(*blob(1, spacing=(2.0, 0.8, 1.1)))
    large = radiomics.features(*blob(1, spacing=(6.0, 2.4, 3.3)))
    power = {"Volume": 3, "SurfaceVolumeRatio": -1, "SurfaceArea": 2, "Diameter": 1, "AxisLength": 1}
    power |= {"TotalEnergy": 3}
    changed = set()
    for name, value in small.items():
        n = next((n for part, n in power.items() if part in name), 0)
        if "SurfaceVolumeRatio" in name:
            n = -1
        assert large[name] == pytest.approx(value * 3.0**n, rel=1e-9), name
        changed |= {n}
    assert changed == {0, 1, 2, 3, -1}


def test_textures_do_not_see_a_shift_by_whole_bins(blob):
    image, mask = blob()
    settings = Settings(classes=("glcm", "glrlm", "glszm", "gldm", "ngtdm"))
    shifted = image.with_array(image.array + 75)
    close(radiomics.features(shifted, mask, settings), radiomics.features(image, mask, settings))
    first = replace(settings, classes=("firstorder",))
    before, after = (radiomics.features(one, mask, first) for one in (image, shifted))
    close(after, before, ("Energy", "TotalEnergy", "Mean", "Median", "Minimum", "Maximum", "RootMeanSquared",
                          "10Percentile", "90Percentile"))  # fmt: skip
    assert after["original_firstorder_Mean"] == pytest.approx(before["original_firstorder_Mean"] + 75)


def test_what_lies_outside_the_region_does_not_matter(blob):
    image, mask = blob()
    inside = mask.array == 1
    other = np.where(inside, image.array, np.random.default_rng(9).integers(-900, 900, image.array.shape))
    close(radiomics.features(image.with_array(other), mask), radiomics.features(image, mask))
    box = np.argwhere(inside[0])
    start, stop = box.min(0), box.max(0) + 1
    close(radiomics.features(crop(image, start, stop), crop(mask, start, stop)), radiomics.features(image, mask))


def test_another_label_of_the_same_mask_is_another_region(blob):
    image, mask = blob()
    two = mask.with_array(np.where(mask.array == 1, 7, np.where(image.array > 0, 1, 0)).astype(np.uint8))
    close(radiomics.features(image, two, label=7), radiomics.features(image, mask))
    assert radiomics.features(image, two)["original_shape_VoxelVolume"] != pytest.approx(
        radiomics.features(image, mask)["original_shape_VoxelVolume"]
    )


def test_the_same_features_whatever_the_number_type(blob):
    image, mask = blob()
    close(radiomics.features(image.with_array(image.array.astype(np.float32)), mask), radiomics.features(image, mask))


def test_resampling_to_the_same_spacing_changes_nothing(blob):
    image, mask = blob()
    close(radiomics.features(image, mask, Settings(spacing_mm=image.spacing)), radiomics.features(image, mask))
    close(radiomics.features(image, mask, Settings(spacing_mm=(0, 0, 0))), radiomics.features(image, mask))


def test_a_ramp_is_resampled_to_the_same_ramp(pair):
    # A cubic spline draws a straight line exactly; far from the border, where it is mirrored.
    k, j, i = np.indices((60, 60, 60))
    values = 3.0 * k - 2.0 * j + 5.0 * i
    mask = np.zeros(values.shape, bool)
    mask[26:34, 26:34, 26:34] = True
    image, region = pair(values, mask)
    for way in ("bspline", "linear"):
        found = radiomics.features(image, region, Settings(spacing_mm=(0.5, 2.0, 1.0), interpolation=way))
        assert found["original_shape_VoxelVolume"] == pytest.approx(8**3)
        # Middle of the cube: 29.5 on every axis.
        assert found["original_firstorder_Mean"] == pytest.approx(29.5 * 6)
        # New voxels stand at the middles of their own share: ±3.75, ±3 and ±3.5 from there.
        assert found["original_firstorder_Maximum"] == pytest.approx(29.5 * 6 + 3 * 3.75 + 2 * 3 + 5 * 3.5)


def test_resampling_agrees_with_simpleitk(blob):
    import SimpleITK as sitk  # noqa: N813 - as everybody calls it

    image, mask = blob(4, size=(14, 17, 20), spacing=(2.0, 0.8, 1.1))
    wanted = (1.3, 1.3, 1.3)
    given = sitk.GetImageFromArray(image.array[0].astype(np.float64))
    given.SetSpacing(image.spacing[::-1])
    size = [int(np.ceil(n * s / w)) for n, s, w in zip(image.size, image.spacing, wanted, strict=True)]
    origin = [(w - s) / 2 for w, s in zip(wanted, image.spacing, strict=True)]

    def resampled(source, way):
        return sitk.GetArrayFromImage(
            sitk.Resample(source, size[::-1], sitk.Transform(), way, origin[::-1], wanted[::-1], np.eye(3).ravel())
        )

    region = sitk.GetImageFromArray(mask.array[0])
    region.CopyInformation(given)
    inside = resampled(region, sitk.sitkNearestNeighbor) == 1
    values = resampled(given, sitk.sitkBSpline)[inside]
    found = radiomics.features(
        image.with_array(image.array.astype(np.float64)), mask, Settings(spacing_mm=wanted, classes=("firstorder",))
    )
    assert found["original_firstorder_TotalEnergy"] == pytest.approx((values**2).sum() * np.prod(wanted), rel=1e-6)
    assert found["original_firstorder_Maximum"] == pytest.approx(values.max(), rel=1e-6)
    assert found["original_firstorder_Median"] == pytest.approx(np.median(values), rel=1e-6)


@pytest.mark.parametrize(
    ("whole", "values"),
    [("truncated", [1, 2, 2, 3]), ("rounded", [2, 2, 3, 3]), ("kept", [1.75, 2.25, 2.75, 3.25])],
)
def test_fractions_of_a_resampled_whole_numbered_image(whole, values, pair):
    image, mask = pair(np.broadcast_to(np.arange(8), (6, 4, 8)).copy(), np.ones((6, 4, 8)))
    only = np.zeros_like(mask.array)
    only[0, :, :, 2:4] = 1
    settings = Settings(spacing_mm=(0, 0, 0.5), interpolation="linear", whole=whole, bin_width=0.25)
    found = radiomics.features(image, mask.with_array(only), settings)
    # New voxels at 1.75, 2.25, 2.75 and 3.25.
    assert found["original_firstorder_Mean"] == pytest.approx(np.mean(values))
    assert found["original_firstorder_Variance"] == pytest.approx(np.var(values))

"""What cannot be measured is refused with its reason, or has a reason in place of a number."""

import numpy as np
import pytest

from lucency import radiomics
from lucency.errors import DataError, UsageError
from lucency.image import Image, diagonal_affine
from lucency.radiomics import Settings


@pytest.fixture
def cube(pair):
    values = np.arange(125).reshape(5, 5, 5)
    mask = np.zeros((5, 5, 5), np.uint8)
    mask[1:4, 1:4, 1:4] = 1
    return pair(values, mask)


def with_mask(mask, array):
    return mask.with_array(np.asarray(array, dtype=np.uint8).reshape(mask.array.shape))


def test_empty_mask(cube):
    image, mask = cube
    with pytest.raises(DataError, match=r"mask: No voxel of the mask has label 1\. Expected: a mask that is not empty"):
        radiomics.features(image, with_mask(mask, np.zeros(125)))


def test_absent_label_names_those_that_are_there(cube):
    image, mask = cube
    with pytest.raises(DataError, match=r"label 4\. Expected: one of \[1\].*name another label"):
        radiomics.features(image, mask, label=4)


def test_mask_on_another_grid(cube):
    image, mask = cube
    moved = Image(mask.array, mask.affine + np.eye(4)[:, [3, 0, 1, 2]] * 0.4, kind="labels")
    with pytest.raises(DataError, match=r"mask: The mask lies on another grid\. Expected: the image's size and place"):
        radiomics.features(image, moved)
    less = Image(mask.array[:, :4], mask.affine, kind="labels")
    with pytest.raises(DataError, match=r"another grid \(\(4, 5, 5\) voxels for \(5, 5, 5\)\).*set correct_mask"):
        radiomics.features(image, less)
    found = radiomics.features(image, less, Settings(correct_mask=True))
    assert found == radiomics.features(image, mask)


@pytest.mark.parametrize("shift", [1.6, 1000])
def test_a_mask_that_may_be_moved_loses_no_part_of_the_region_by_it(cube, shift):
    image, mask = cube
    away = mask.affine.copy()
    away[0, 3] += shift
    moved = Image(mask.array, away, kind="labels")
    with pytest.raises(DataError, match=r"mask: The region reaches beyond the image\. Expected: a region within it"):
        radiomics.features(image, moved, Settings(correct_mask=True))
    away[0, 3] += 0.8 - shift
    # By less than a voxel: the last column lies just inside.
    found = radiomics.features(image, Image(mask.array, away, kind="labels"), Settings(correct_mask=True, min_voxels=9))
    assert found["original_firstorder_Maximum"] == 3 * 25 + 3 * 5 + 4


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        ((slice(2, 3), slice(2, 3), slice(2, 3)), r"region of 1 × 1 × 1 voxels\. Expected: two or more along 2 axes"),
        ((slice(2, 3), slice(2, 3), slice(0, 5)), r"region of 1 × 1 × 5 voxels\. Expected: two or more along 2 axes"),
    ],
)
def test_region_too_small(cube, fill, message):
    image, mask = cube
    array = np.zeros((5, 5, 5), np.uint8)
    array[fill] = 1
    with pytest.raises(DataError, match=message):
        radiomics.features(image, with_mask(mask, array))


def test_region_with_too_few_voxels(cube):
    with pytest.raises(DataError, match=r"region of 27 voxels\. Expected: at least 64.*min_voxels"):
        radiomics.features(*cube, Settings(min_voxels=64))


def test_nothing_left_after_resegmentation(cube):
    with pytest.raises(DataError, match=r"region of 0 voxels.*resegment"):
        radiomics.features(*cube, Settings(resegment=(900.0,)))


def test_too_many_levels_name_the_way_out(cube):
    image, mask = cube
    with pytest.raises(DataError, match=r"Bins of 0\.01 make .* grey levels\. Expected: at most 2000.*bin_count"):
        radiomics.features(image, mask, Settings(bin_width=0.01))
    huge = image.with_array(image.array * 1e60)
    with pytest.raises(DataError, match="at most 2000"):
        radiomics.features(huge, mask)


def test_channels_time_and_fractions(cube):
    image, mask = cube
    with pytest.raises(DataError, match=r"image: 2 channels\. Expected: one"):
        radiomics.features(Image(np.repeat(image.array, 2, 0), image.affine), mask)
    with pytest.raises(DataError, match=r"5 frames in time.*choose a frame"):
        radiomics.features(Image(image.array, image.affine, k_axis="time"), mask)
    with pytest.raises(DataError, match=r"A mask of fractions\. Expected: whole numbers"):
        radiomics.features(image, Image(mask.array * 0.5, mask.affine))


def test_sheared_grid(cube):
    image, mask = cube
    affine = diagonal_affine((1, 1, 1))
    affine[1, 0] = np.tan(np.radians(12))
    with pytest.raises(DataError, match=r"image: Axes 12\.00 degrees from a right angle.*lucency\.image\.resample"):
        radiomics.features(Image(image.array, affine), Image(mask.array, affine, kind="labels"))


def test_image_of_one_value_is_not_normalised(cube):
    image, mask = cube
    with pytest.raises(DataError, match=r"An image of one value.*switch normalise off"):
        radiomics.features(image.with_array(np.zeros_like(image.array)), mask, Settings(normalise=True))


def test_flat_region_has_reasons_in_place_of_numbers(cube):
    image, mask = cube
    flat = image.with_array(np.full_like(image.array, 40))
    found = radiomics.measure(flat, mask)
    nan = {name for name, value in found.values.items() if np.isnan(value)}
    assert nan == set(found.undefined)
    assert {n.removeprefix("original_") for n in nan} == {
        "firstorder_Kurtosis",
        "firstorder_Skewness",
        "glcm_Correlation",
        "glcm_Imc1",
        "glcm_Imc2",
        "glcm_MCC",
        "ngtdm_Busyness",
        "ngtdm_Coarseness",
        "ngtdm_Contrast",
        "ngtdm_Strength",
    }
    assert found.undefined["original_firstorder_Skewness"] == "All values are the same: no spread to be skewed"
    given = radiomics.measure(flat, mask, Settings(flat="conventional"))
    assert given.undefined == {}
    assert given.values["original_ngtdm_Coarseness"] == 1e6
    assert given.values["original_glcm_Correlation"] == 1


def test_voxels_that_touch_nobody_have_no_texture_of_neighbours(pair):
    # Four corners of a slice, two steps apart.
    image, mask = pair(np.arange(9).reshape(1, 3, 3), [[[1, 0, 1], [0, 0, 0], [1, 0, 1]]])
    for flat in ("undefined", "conventional"):
        found = radiomics.measure(image, mask, Settings(flat=flat, bin_width=1))
        lost = {n for n in found.values if n.split("_")[1] in ("glcm", "ngtdm")}
        assert lost == set(found.undefined)
        assert set(found.undefined.values()) == {"No two voxels of the region are neighbours"}
    assert found.values["original_glszm_ZonePercentage"] == 1


@pytest.mark.parametrize("seed", range(40))
def test_every_nan_has_its_reason_and_every_reason_its_nan(seed, pair):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(2, 6, 3))
    mask = rng.random(size) < rng.choice([0.2, 0.5, 1.0])
    mask[0, 0, :2] = True
    image, region = pair(rng.integers(0, rng.choice([1, 2, 9]) + 1, size), mask, tuple(rng.uniform(0.5, 4, 3)))
    settings = Settings(
        bin_width=1,
        min_dimensions=1,
        planar=bool(rng.random() < 0.3),
        planar_axis=int(rng.integers(3)),
        weighting=str(rng.choice(["separate", "merged", "euclidean"])),
        flat=str(rng.choice(["undefined", "conventional"])),
    )
    found = radiomics.measure(image, region, settings)
    assert {name for name, value in found.values.items() if not np.isfinite(value)} == set(found.undefined)
    assert all(found.undefined.values())


def test_two_values_have_nothing_between_their_outer_tenths(pair):
    found = radiomics.measure(*pair([[1, 9]]), Settings(min_dimensions=1))
    name = "original_firstorder_RobustMeanAbsoluteDeviation"
    assert found.undefined[name] == "No value lies between the 10th and the 90th percentile"


def test_neighbours_too_far_apart_for_their_weight(pair):
    image, mask = pair(np.arange(1, 28).reshape(3, 3, 3), spacing=(40.0, 40.0, 40.0))
    found = radiomics.measure(image, mask, Settings(weighting="euclidean", classes=("glcm", "glrlm")))
    assert all(np.isnan(value) for value in found.values.values())
    assert len(found.values) == len(found.undefined) == 40
    assert all("too far apart" in why for why in found.undefined.values())


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"bin_width": 0}, "bin_width"),
        ({"bin_width": None}, "bin_width"),
        ({"bin_count": 1}, "bin_count"),
        ({"spacing_mm": (1.0, -1.0, 1.0)}, "spacing_mm"),
        ({"spacing_mm": (1.0, 1.0)}, "spacing_mm"),
        ({"resegment": (3.0, 1.0)}, "resegment"),
        ({"distances": ()}, "distances"),
        ({"distances": (0,)}, "distances"),
        ({"planar_axis": 3}, "planar_axis"),
        ({"weighting": "heavy"}, "weighting"),
        ({"interpolation": "sinc"}, "interpolation"),
        ({"classes": ("glcm", "gclm")}, "classes"),
        ({"outliers": 0}, "outliers"),
        ({"min_dimensions": 0}, "min_dimensions"),
    ],
)
def test_settings_out_of_range(values, name):
    with pytest.raises(UsageError, match=rf"Setting {name} is out of range\. Expected: "):
        Settings(**values)


def test_parameters_of_other_files_become_settings():
    found = radiomics.from_parameters(
        {
            "binCount": 32,
            "resampledPixelSpacing": [1, 2, 3],
            "interpolator": "sitkLinear",
            "weightingNorm": "no_weighting",
            "resegmentRange": [-3, 3],
            "resegmentMode": "sigma",
            "force2D": True,
            "label": 1,
            "minimumROISize": 9,
            "distances": [1, 2],
        }
    )
    assert found == Settings(
        bin_count=32,
        spacing_mm=(3.0, 2.0, 1.0),
        interpolation="linear",
        weighting="merged",
        resegment=(-3.0, 3.0),
        resegment_mode="sigma",
        planar=True,
        distances=(1, 2),
        min_voxels=10,
        flat="conventional",
    )
    assert found.bin_width is None


def test_without_an_interpolator_nothing_is_resampled():
    found = radiomics.from_parameters({"interpolator": None, "resampledPixelSpacing": [1, 1, 1]})
    assert found.spacing_mm is None


def test_unknown_parameter_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"'binwidth' is not known.*did you mean binWidth\?"):
        radiomics.from_parameters({"binwidth": 25})
    with pytest.raises(UsageError, match=r"label is not 1\. Expected: no label\. What to do: give label="):
        radiomics.from_parameters({"label": 2})
    with pytest.raises(UsageError, match=r"A parameter has a value not known here\. Expected: sitkBSpline"):
        radiomics.from_parameters({"interpolator": "sitkGaussian"})

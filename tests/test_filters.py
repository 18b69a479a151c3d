"""Every filter keeps the place in the patient and the stored type; each does what its name says, on known pictures."""

import numpy as np
import pytest

from lucency.errors import DataError, UsageError
from lucency.filters import FILTERS, body, filtered, found, noise_of, settings_for
from lucency.image import Image, diagonal_affine

PLACED = np.array([[0, 0, 0.7, -91.0], [0, 0.7, 0, -40.0], [2.5, 0, 0, 12.0], [0, 0, 0, 1.0]])


def disc(size=(1, 64, 64), *, dtype=np.int16, low=100, high=900, noise=0.0, seed=0):
    """A bright ball on a dark ground."""
    grid = np.meshgrid(*(np.arange(n) - n / 2 + 0.5 for n in size), indexing="ij")
    radius = np.sqrt(grid[1] ** 2 + grid[2] ** 2 + (2 * grid[0]) ** 2)
    array = np.where(radius < 18, high, low) + np.random.default_rng(seed).normal(0, noise, size)
    return Image(np.rint(array).astype(dtype)[None] if np.dtype(dtype).kind in "iu" else array[None], PLACED)


def small(name):
    """Settings that keep the slow filters quick."""
    return {"iterations": 5} if "iterations" in found(name).settings else {}


@pytest.mark.parametrize("size", [(1, 64, 64), (12, 48, 40)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("name", FILTERS)
def test_place_and_type_are_kept_and_numbers_stay_finite(name, dtype, size):
    image = disc(size, dtype=dtype, low=20, high=200, noise=3)
    image = image.with_array(image.array.astype(dtype))
    done = filtered(image, name, small(name))
    first = (np.linalg.inv(image.affine) @ done.affine[:, 3])[:3]
    assert done.affine[:3, :3] == pytest.approx(image.affine[:3, :3])
    assert first == pytest.approx(np.rint(first), abs=1e-9)
    assert np.isfinite(done.array).all()
    stretched = name in ("window", "rescale") and np.dtype(dtype).kind != "u"
    assert done.array.dtype == (np.float32 if stretched else dtype)
    if name != "crop":
        assert done.size == image.size
        assert not np.array_equal(done.array, image.array)
    assert image.array.flags.writeable is False


@pytest.mark.parametrize("name", FILTERS)
def test_colour_channels_and_flat_images_do_not_break_a_filter(name):
    grey = disc(dtype=np.uint8, low=20, high=200).array
    colour = Image(np.concatenate([grey, grey // 2, 255 - grey]), PLACED)
    assert filtered(colour, name, small(name)).channels == 3


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        *((n, "HU") for n in ("denoise", "curvature", "sharpen", "bias", "crop")),
        *((n, "1") for n in ("clahe", "window", "rescale")),
    ],
)
def test_unit_is_kept_only_where_the_numbers_keep_their_meaning(name, unit):
    image = disc(noise=5)
    assert filtered(Image(image.array, image.affine, unit="HU"), name, small(name)).unit == unit


# Curvature flow rounds the corners of a pixelated disc, which counts against it here.
@pytest.mark.parametrize(("name", "left"), [("denoise", 0.6), ("curvature", 0.85)])
@pytest.mark.parametrize("size", [(1, 64, 64), (12, 64, 64)], ids=["2-D", "3-D"])
def test_smoothing_lowers_the_error_and_keeps_the_edge(name, left, size):
    clean, noisy = disc(size), disc(size, noise=60)
    done = filtered(noisy, name)
    error = [np.sqrt(np.mean((i.array.astype(float) - clean.array) ** 2)) for i in (noisy, done)]
    assert error[1] < left * error[0]
    middle = done.array[0, size[0] // 2, 32].astype(float)
    # The disc's edge lies between columns 49 and 50: of the step of 800 at least half must be left between 48 and 51.
    assert middle[48] - middle[51] > 400


def test_noise_is_estimated_within_a_tenth():
    x = np.random.default_rng(1).normal(50, 7, (200, 200))
    assert noise_of(x) == pytest.approx(7, rel=0.1)
    assert noise_of(np.full((20, 20), 3.0)) == 0.0


def test_sharpening_steepens_an_edge_and_stays_within_the_image():
    ramp = np.clip((np.arange(64) - 28) * 100, 0, 800)[None].repeat(64, axis=0)
    image = Image(ramp[None, None].astype(np.int16), PLACED)
    done = filtered(image, "sharpen", {"amount": 2})
    steepest = [np.abs(np.diff(i.array[0, 0, 32].astype(int))).max() for i in (image, done)]
    assert steepest[1] > 1.25 * steepest[0]
    assert (done.array.min(), done.array.max()) == (0, 800)


def test_window_by_hand():
    values = np.array([-1000, -160, 40, 240, 3000], np.int16)
    image = Image(values[None, None, None], PLACED, unit="HU")
    # Centre 40, width 400: from -160 to 240; 40 lies in the middle.
    assert filtered(image, "window").array.ravel() == pytest.approx([0, 0, 0.5, 1, 1])
    eight = Image(np.array([0, 50, 100, 150], np.uint8)[None, None, None], PLACED)
    assert filtered(eight, "window", {"centre": 75, "width": 100}).array.ravel().tolist() == [0, 64, 191, 255]


def test_rescale_by_hand_and_refuses_a_flat_image():
    image = Image(np.arange(101, dtype=np.float32)[None, None, None], PLACED)
    done = filtered(image, "rescale", {"low": 10, "high": 60}).array.ravel()
    assert done[[0, 10, 35, 60, 100]] == pytest.approx([0, 0, 0.5, 1, 1])
    with pytest.raises(DataError, match="are the same value"):
        filtered(Image(np.ones((1, 1, 8, 8)), PLACED), "rescale")


@pytest.mark.parametrize("size", [(1, 96, 96), (16, 64, 64)], ids=["2-D", "3-D"])
def test_bias_field_is_taken_out(size):
    image = disc(size, dtype=np.float32)
    ramp = np.linspace(0.7, 1.3, size[2], dtype=np.float32)
    spoilt = image.with_array(image.array * ramp)
    done = filtered(spoilt, "bias")
    inside = image.array > 500
    spread = [float(i.array[inside].std() / i.array[inside].mean()) for i in (spoilt, done)]
    assert spread[1] < 0.35 * spread[0]
    assert done.array[inside].mean() == pytest.approx(spoilt.array[inside].mean(), rel=0.02)


def test_crop_keeps_every_voxel_of_the_body_where_it_was():
    image = disc((9, 80, 72))
    done = filtered(image, "crop", {"margin": 0})
    place = np.argwhere(done.array[0] == 900)
    world = (done.affine @ np.c_[place, np.ones(len(place))].T)[:3].T
    before = np.argwhere(image.array[0] == 900)
    assert np.abs(world - (image.affine @ np.c_[before, np.ones(len(before))].T)[:3].T).max() < 1e-9
    assert done.size[1] < 45


def test_crop_margin_is_in_mm_and_a_marker_is_no_body():
    image = disc((1, 80, 80))
    array = image.array.copy()
    array[0, 0, 2:6, 70:76] = 900  # a letter in the corner: 24 of 6400 pixels
    none, some = (filtered(image.with_array(array), "crop", {"margin": m}) for m in (0.0, 7.0))
    # 7 mm of .7 mm are 10 pixels on each side.
    assert [s - n for s, n in zip(some.size, none.size, strict=True)] == [0, 20, 20]
    assert none.size[1:] == (38, 38)


def test_crop_keeps_dim_parts_of_the_body_and_refuses_an_empty_image():
    array = np.full((1, 1, 60, 60), 0.0)
    array[..., 10:50, 10:30] = 100.0
    array[..., 10:50, 30:50] = 15.0
    rows, columns = np.nonzero(body(Image(array, PLACED))[0])
    # Means over 3 × 3 reach one pixel out of the bright part (33 is above 5); of the dim part they are 5, which is not.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (9, 50, 9, 49)
    with pytest.raises(DataError, match="No body stands out"):
        filtered(Image(np.zeros((1, 1, 30, 30)), PLACED), "crop")


def test_hounsfield_units_tell_air_from_fat():
    array = np.full((1, 1, 60, 60), -1000, np.int16)
    array[..., 20:40, 20:40] = -100
    inside = body(Image(array, diagonal_affine((1, 1, 1)), unit="HU"))
    assert 18 * 18 <= inside.sum() <= 22 * 22


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'denoise'"):
        found("denoize")
    with pytest.raises(UsageError, match="did you mean 'margin'"):
        settings_for("crop", {"margn": 3})


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("denoise", {"strength": "much"}),
        ("denoise", {"patch": "2.5"}),
        ("window", {"width": "0"}),
        ("rescale", {"low": "90", "high": "10"}),
        ("curvature", {"iterations": "0"}),
        ("window", {"centre": "nan"}),
    ],
)
def test_settings_out_of_range_are_refused(name, setting):
    with pytest.raises(UsageError):
        filtered(disc(), name, setting)


def test_labels_are_not_filtered():
    with pytest.raises(DataError, match="Labels cannot be filtered"):
        filtered(Image(np.ones((1, 1, 8, 8), np.uint8), PLACED, kind="labels", unit="label"), "sharpen")


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_is_described(name):
    one = FILTERS[name]
    assert one.sentence.endswith(".")
    assert all(isinstance(v, int | float) for v in one.settings.values())

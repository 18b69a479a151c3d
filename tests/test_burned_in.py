"""The text detector: what it must find whatever the look, and what it must leave alone."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from lucency import burned_in
from lucency.burned_in import Box, find_text
from lucency.errors import DataError

DATA = Path(os.environ.get("LUCENCY_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
FONTS = ["DejaVuSans", "DejaVuSansMono", "DejaVuSerif", "cmtt10", "STIXGeneral"]
TEXT = "KAUFMAN SCOTT 03.09.2012"


def body(rows=240, columns=320, seed=0):
    """Return a bright ellipse with soft structure and noise on a dark ground, float in [0, 1]."""
    rng = np.random.default_rng(seed)
    j, i = np.mgrid[:rows, :columns]
    inside = ((j - rows * 0.55) / (rows * 0.4)) ** 2 + ((i - columns / 2) / (columns * 0.4)) ** 2 < 1
    waves = 0.1 * np.sin(j / 17) * np.cos(i / 23)
    return np.clip(inside * (0.45 + waves) + 0.03 + rng.normal(0, 0.01, (rows, columns)), 0, 1)


def font_of(name, size):
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(path), size)


def written(image, font, at=(4, 6), text=TEXT, level=1.0):
    """Return the image with a line of text, and the tight box of its ink (top, left, bottom, right)."""
    canvas = Image.new("L", image.shape[::-1])
    ImageDraw.Draw(canvas).text(at[::-1], text, fill=255, font=font)
    ink = np.asarray(canvas) / 255
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return image * (1 - ink) + level * ink, (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)


def share(box, found):
    """Return the share of a box that detections cover together."""
    hit = np.zeros((1000, 1000), bool)
    for b in found:
        hit[b.top : b.bottom, b.left : b.right] = True
    return hit[box[0] : box[2], box[1] : box[3]].mean()


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("size", [11, 16, 24])
@pytest.mark.parametrize("name", FONTS)
def test_lines_are_found_in_any_font_size_polarity_and_direction(name, size, inverted, turned):
    image, box = written(body(), font_of(name, size), text=TEXT[: 300 // size])
    image = 1 - image if inverted else image
    if turned:
        image, box = image.T, (box[1], box[0], box[3], box[2])
        # A transposed line reads mirrored; a turned one is flipped back.
        image, n = image[:, ::-1], image.shape[1]
        box = (box[0], n - box[3], box[2], n - box[1])
    assert share(box, find_text(image)) >= 0.8


@pytest.mark.parametrize("scale", [2, 3, 5])
def test_bitmap_letters_of_old_scanners_are_found_at_any_zoom(scale):
    image, box = written(body(80, 110), ImageFont.load_default_imagefont(), text="DOE 1956", at=(4, 6))
    large = np.kron(image, np.ones((scale, scale)))
    assert share(tuple(n * scale for n in box), find_text(large)) >= 0.8


@pytest.mark.parametrize("seed", range(4))
def test_image_without_text_has_no_boxes(seed):
    assert find_text(body(256 + 40 * seed, 300, seed)) == ()


@pytest.mark.parametrize(
    "image",
    [np.zeros((100, 100)), np.full((100, 90), 7, np.uint16), np.zeros((15, 400)), np.full((64, 64), np.nan)],
    ids=["black", "one value", "too low for a line", "not a number"],
)
def test_nothing_is_found_in_nothing(image):
    assert find_text(image) == ()


def test_noise_is_not_text():
    rng = np.random.default_rng(0)
    assert find_text(rng.normal(size=(256, 256))) == ()
    assert find_text(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)) == ()


@pytest.mark.parametrize(
    ("gain", "offset", "dtype"),
    [(255, 0, np.uint8), (4095, -1024, np.int16), (60000, 5000, np.uint16), (1e-6, -3e-7, np.float64)],
)
def test_scale_of_the_numbers_does_not_matter(gain, offset, dtype):
    image, box = written(body(), font_of("DejaVuSans", 14))
    assert share(box, find_text((image * gain + offset).astype(dtype))) >= 0.8


def test_text_written_with_the_largest_number_is_found_on_a_narrow_range():
    image, box = written(body(), font_of("DejaVuSans", 14), level=0)
    narrow = (body() * 300 - 200).astype(np.int16)
    narrow[image < body() - 0.02] = 32767
    assert share(box, find_text(narrow)) >= 0.8


def test_yellow_text_as_bright_as_its_ground_is_found_by_its_colour():
    ground = np.full((200, 320), 150.0) + np.random.default_rng(0).normal(0, 2, (200, 320))
    image, box = written(np.zeros((200, 320)), font_of("DejaVuSans", 16), at=(60, 40))
    ink = image[..., None]
    yellow = np.array([225.0, 225.0, 0.0])
    assert yellow.mean() == 150
    assert share(box, find_text((ground[..., None] * (1 - ink) + yellow * ink).astype(np.uint8))) >= 0.8


def test_lines_apart_get_boxes_of_their_own():
    image, first = written(body(), font_of("DejaVuSans", 14), at=(4, 6))
    image, second = written(image, font_of("DejaVuSans", 14), at=(215, 100))
    found = find_text(image)
    assert share(first, found) >= 0.8
    assert share(second, found) >= 0.8
    assert share((60, 20, 180, 300), found) < 0.05


def test_boxes_lie_within_the_image_and_are_sorted():
    image, _ = written(body(), font_of("DejaVuSans", 20), at=(0, 0))
    image, _ = written(image, font_of("DejaVuSans", 20), at=(218, 40))
    found = find_text(image)
    assert len(found) >= 2
    assert list(found) == sorted(found, key=lambda b: (b.top, b.left))
    for box in found:
        assert 0 <= box.top < box.bottom <= 240
        assert 0 <= box.left < box.right <= 320
        assert 0 < box.score <= 1


def soft(rows, columns, seed=0):
    """Return a body without sharp edges and with little noise."""
    return ndimage.gaussian_filter(body(rows, columns, seed), 2)


def looked(image):
    values = burned_in._finite(image)
    return burned_in.first_look(values, *burned_in._range(values))


@pytest.mark.parametrize("seed", range(3))
def test_first_look_leaves_the_network_nothing_to_do_where_brightness_changes_slowly(seed):
    assert not any(blocks.any() for blocks in looked(soft(300, 400, seed)))


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("name", FONTS)
def test_first_look_lets_the_network_see_what_it_would_find(name, inverted, monkeypatch):
    image, box = written(body(400, 520), font_of(name, 14), at=(300, 40))
    image = 1 - image if inverted else image
    assert share(box, find_text(image)) >= 0.8
    first = find_text(image)
    monkeypatch.setattr(burned_in, "first_look", lambda values, low, spread: [np.ones((50, 65), bool)] * 3)
    monkeypatch.setattr(burned_in, "_places", lambda blocks, shape: [(slice(0, shape[0]), slice(0, shape[1]))])
    everywhere = find_text(image)
    assert share(box, everywhere) >= 0.8
    assert abs(share(box, first) - share(box, everywhere)) < 0.05


def test_what_is_seen_of_a_part_is_what_is_seen_of_the_whole():
    drawn, _ = written(soft(301, 423), font_of("DejaVuSans", 14), at=(120, 90))
    image, blocks = burned_in.normalised(drawn), looked(drawn)
    whole = burned_in.probability(image)
    part = burned_in.probability(image, blocks)
    assert 0 < np.count_nonzero(part) < 0.8 * part.size
    places = burned_in._places(blocks[0], image.shape)
    for rows, columns in places:
        cells = (slice(rows.start // 4, -(-rows.stop // 4)), slice(columns.start // 4, -(-columns.stop // 4)))
        fine = burned_in._in_bands(image, burned_in._weights())[cells]
        np.testing.assert_allclose(burned_in._network(image, burned_in._weights(), blocks[0])[cells], fine, atol=1e-5)
    assert part.max() == pytest.approx(whole.max(), abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_places_to_look_at_hold_every_block_and_lie_within_the_image(seed):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(40, 400)), int(rng.integers(40, 400)))
    blocks = rng.random([-(-n // 8) for n in shape]) < 0.03
    seen = np.zeros(shape, bool)
    for rows, columns in burned_in._places(blocks, shape):
        assert 0 <= rows.start < rows.stop <= shape[0]
        assert 0 <= columns.start < columns.stop <= shape[1]
        seen[rows, columns] = True
    wanted = np.kron(blocks, np.ones((8, 8), bool))[: shape[0], : shape[1]]
    assert seen[wanted].all()


def test_quantiles_of_the_range_are_those_of_numpy():
    for values in (np.random.default_rng(0).integers(-3000, 3000, (200, 200)).astype(np.int16), body()):
        low, spread = burned_in._range(values)
        expected = np.percentile(values, (1, 99))
        assert low == pytest.approx(expected[0], rel=1e-6)
        assert low + spread == pytest.approx(expected[1], rel=1e-6)


@pytest.mark.parametrize("shape", [(40,), (40, 40, 4), (3, 40, 40), (2, 40, 40, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(DataError, match=r"rows, columns"):
        find_text(np.zeros(shape))


@pytest.mark.parametrize(("stride", "dilation", "side"), [(2, 1, 5), (2, 1, 3), (1, 1, 3), (1, 2, 3), (1, 4, 3)])
def test_convolution_is_that_of_torch(stride, dilation, side):
    import torch

    rng = np.random.default_rng(0)
    x = rng.normal(size=(37, 301, 3)).astype(np.float32)
    kernel, bias = rng.normal(size=(side, side, 3, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    ours = burned_in._convolved(x, kernel, bias, stride, dilation)
    theirs = torch.nn.functional.conv2d(
        torch.from_numpy(x).permute(2, 0, 1)[None],
        torch.from_numpy(kernel).permute(3, 2, 0, 1),
        torch.from_numpy(bias),
        stride,
        dilation * (side // 2),
        dilation,
    )[0].permute(1, 2, 0)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)


def test_strips_give_what_the_whole_gives(monkeypatch):
    image = burned_in.normalised(written(body(), font_of("DejaVuSans", 14))[0])
    whole = burned_in.probability(image)
    monkeypatch.setattr(burned_in, "STRIP", 200)
    np.testing.assert_allclose(burned_in.probability(image), whole, atol=1e-5)
    assert whole.shape == (60, 80)


def test_bands_of_a_large_image_give_what_the_whole_gives(monkeypatch):
    image = burned_in.normalised(written(body(301, 320), font_of("DejaVuSans", 14), at=(120, 20))[0])
    whole = burned_in.probability(image)
    monkeypatch.setattr(burned_in, "BAND", 320 * 60)
    np.testing.assert_allclose(burned_in.probability(image), whole, atol=1e-5)


def test_table_of_weights_fits_the_layers_and_is_small():
    table = burned_in._weights()
    width = 1
    for number in range(len(burned_in.LAYERS)):
        kernel = table[f"kernel{number}"]
        assert kernel.shape[2] == width
        assert kernel.shape[3] == table[f"bias{number}"].shape[0]
        width = kernel.shape[3]
    assert table["head"].shape == (width,)
    assert sum(t.size for t in table.values()) < 40_000


@pytest.mark.parametrize("seed", range(6))
def test_rectangles_of_a_group_hold_every_cell_of_it(seed):
    rng = np.random.default_rng(seed)
    member = np.zeros((30, 50), bool)
    for _ in range(3):
        top, left = rng.integers(0, 25), rng.integers(0, 35)
        member[top : top + rng.integers(2, 5), left : left + rng.integers(5, 15)] = True
    hit = np.zeros_like(member)
    for top, left, bottom, right in burned_in._parts(member):
        hit[top:bottom, left:right] = True
    assert hit[member].all()


def test_an_angle_of_two_lines_is_not_covered_as_one_block():
    member = np.zeros((40, 40), bool)
    member[:4], member[:, :4] = True, True
    assert sum((b - t) * (r - left) for t, left, b, r in burned_in._parts(member)) == member.sum()


def test_normalised_range_holds_whatever_is_stored():
    image = np.concatenate([np.linspace(0, 100, 9999), [32767]]).reshape(100, 100)
    out = burned_in.normalised(image)
    assert -0.5 <= out.min() <= 0 < out.max() <= 1.5
    np.testing.assert_allclose(burned_in.normalised(3 * image - 7), out, atol=1e-4)


def test_box_says_where_and_how_sure():
    assert Box(1, 2, 3, 4, 0.5).right == 4


def test_both_lines_of_the_pseudo_phi_image_are_found():
    path = DATA / "dicom" / "presidio_pseudo_phi" / "2_ORIGINAL.dcm"
    if not path.exists():
        pytest.skip("the real data are not here")
    import pydicom

    found = find_text(pydicom.dcmread(path).pixel_array)
    # Marked by eye: KAUFMAN … 03.09.2012 and DOB … 1943.
    for line in ((0, 0, 13, 230), (15, 4, 28, 115)):
        assert share(line, found) >= 0.8
    assert share((40, 0, 552, 394), found) == 0


@pytest.mark.parametrize("pattern", ["sunnybrook_lv/images/*.png", "hc18/images/*.jpg"])
def test_real_images_without_text_are_rarely_flagged(pattern):
    paths = sorted(DATA.glob(pattern))[::20]
    if not paths:
        pytest.skip("the real data are not here")
    flagged = [p.name for p in paths if find_text(np.asarray(Image.open(p)))]
    assert len(flagged) <= 0.1 * len(paths)


@pytest.mark.journey
def test_benchmark_runs_and_counts_every_line_once(tmp_path):
    import json
    import subprocess
    import sys

    if not (DATA / "hc18").exists():
        pytest.skip("the real data are not here")
    script = Path(__file__).resolve().parents[1] / "benchmarks" / "burned_in.py"
    words = [sys.executable, str(script), "--quick", "--part", "tune", "--out", str(tmp_path / "r.json")]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    n = found["lines"]["n"]
    assert n > 0
    for key in ("by_font", "by_background", "by_height_px", "by_style", "turned_by_90", "16_bit"):
        assert sum(v["n"] for v in found[key].values()) == n
    assert all(v["lower"] <= v["value"] <= v["upper"] for v in found["by_font"].values())

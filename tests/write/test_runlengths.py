"""Masks as runs, there and back, and against what other programs wrote."""

import numpy as np
import pytest

from lucency.errors import ReadError
from lucency.read.runlengths import brushed, counted
from lucency.write.runlengths import brush, counts

SQUARE = np.pad(np.ones((3, 3), bool), 1)


def regions():
    rng = np.random.default_rng(0)
    ball = np.hypot(*np.mgrid[-40:40, -60:60]) < 31
    yield from (ball, ~ball, np.ones((3, 5), bool), np.zeros((7, 2), bool), SQUARE)
    # 100 000 pixels are 400 000 numbers: longer than the longest run of 65 536.
    yield np.ones((250, 400), bool)
    yield from (rng.random((n, 2 * n + 1)) < 0.3 for n in (1, 4, 33))


@pytest.mark.parametrize("region", list(regions()), ids=lambda r: str(r.shape))
def test_regions_come_back_pixel_for_pixel(region):
    assert np.array_equal(brushed(brush(region), region.shape, "a"), region)
    for said in (counts(region), None):
        runs = said if said is not None else plain_runs(region)
        assert np.array_equal(counted({"size": list(region.shape), "counts": runs}, region.shape, "a"), region)


def plain_runs(region):
    """Run lengths the slow way: down the columns, background first."""
    runs, value = [0], False
    for pixel in region.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


# Worked out by hand from maskApi.c: 42 is 10 + 32 ("more") + 48 = "Z" and then 1 = "1"; -1 (1 - 2) is 31 + 48 = "O".
@pytest.mark.parametrize(
    ("runs", "packed", "size"),
    [([6, 3, 2, 3, 2, 3, 6], "6320004", (5, 5)), ([42, 1], "Z11", (43, 1)), ([1, 2, 2, 1], "122O", (2, 3))],
)
def test_cocos_text_is_what_its_own_program_packs(runs, packed, size):
    region = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[1], size[0]).T
    assert plain_runs(region) == runs
    assert counts(region) == packed
    assert np.array_equal(counted({"counts": packed}, size, "a"), region)


def test_head_of_a_brush_is_that_of_a_published_export():
    # The first seven bytes of a Label Studio export of an image of 3332 x 2527 pixels (a public set of cells):
    # 0x0201E9F0 is 3332 * 2527 * 4 numbers, of 8 bits, in runs of 3, 4, 8 or 16 bits.
    head = brush(np.zeros((2527, 3332), bool))[:6]
    assert head == [2, 1, 233, 240, 57, 27]


def test_brush_bits_worked_out_by_hand():
    # One row: two empty pixels, one full, none after. 8 zeros: bit 1, width 00, length 111, number 00000000;
    # 4 of 255: bit 1, width 00, length 011, number 11111111. Head: 12 numbers, 00111, then 0010 0011 0111 1111.
    bits = f"{12:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    bits += "1" + "00" + "111" + "00000000" + "1" + "00" + "011" + "11111111"
    bits += "0" * (-len(bits) % 8)
    assert brush(np.array([[False, False, True]])) == [int(bits[n : n + 8], 2) for n in range(0, len(bits), 8)]


def test_brush_of_single_numbers_and_half_covered_pixels_is_read():
    # As Label Studio's editor writes the soft edge of a stroke: a list (bit 0) of four numbers for each pixel; of the
    # fourth, 127 is less than half of a pixel and 128 is half of it.
    numbers = [9, 9, 9, 127, 9, 9, 9, 128]
    bits = f"{8:032b}" + "00111" + "0010" + "0011" + "0111" + "1111" + "0" + "00" + "111"
    bits += "".join(f"{n:08b}" for n in numbers)
    bits += "0" * (-len(bits) % 8)
    runs = [int(bits[n : n + 8], 2) for n in range(0, len(bits), 8)]
    assert brushed(runs, (1, 2), "a").tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("runs", "match"),
    [
        ([1, 2], "no bytes"),
        ([300] * 20, "no bytes"),
        (["x"], "no bytes"),
        ({"a": 1}, "no bytes"),
        (brush(SQUARE)[:-3], "cut off"),
        (brush(np.ones((4, 5), bool)), "A brush of 20 pixels"),
        (brush(SQUARE)[:7] + [255] * 3, "cut off"),
    ],
)
def test_damaged_brushes_are_refused(runs, match):
    with pytest.raises(ReadError, match=match) as refused:
        brushed(runs, (5, 5), "task 3, region 1")
    assert refused.value.where == "task 3, region 1"
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"counts": "6320003"}, "24 pixels on an image of 25"),
        ({"counts": "63200\u00e9"}, "no run lengths"),
        ({"counts": "632000T"}, "cut off"),
        ({"counts": [6, -3, 22]}, "no run lengths"),
        ({"counts": None}, "no run lengths"),
        ({"counts": "6320004", "size": [4, 4]}, r"an image of \[4, 4\]"),
        ({"counts": "0o", "size": [5, 5]}, "cut off|no run"),
    ],
)
def test_damaged_runs_are_refused(said, match):
    with pytest.raises(ReadError, match=match):
        counted(said, (5, 5), "a.json, annotation 1")

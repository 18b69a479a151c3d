"""Slices become one stack: properties that hold however the patient lies and whatever order the files have."""

import numpy as np
import pytest

from lucency.errors import GeometryError
from lucency.read.split import parts_of
from lucency.read.stack import Slice, stack_of

SIZE = (20, 30)


def slices(positions, turn=(1, 0, 0, 0, 1, 0), spacing=(0.5, 0.75), **head):
    turn = tuple(float(c) for c in turn)
    return [
        Slice(
            f"{n:03d}",
            0,
            {k: v[n] if isinstance(v, tuple) else v for k, v in head.items()},
            SIZE,
            tuple(float(x) for x in p),
            turn,
            spacing,
        )
        for n, p in enumerate(positions)
    ]


def different(one, other):
    return False


def identical(one, other):
    return True


@pytest.mark.parametrize("seed", range(8))
def test_every_slice_keeps_its_place_whatever_the_order_and_the_tilt(seed):
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    along_row, along_column, normal = turn[:, 0], turn[:, 1], np.cross(turn[:, 0], turn[:, 1])
    # Every second stack leans along both axes of the slice.
    step = 2.5 * normal + (seed % 2) * (0.6 * along_row - 0.4 * along_column)
    start = rng.uniform(-300, 300, 3)
    order = rng.permutation(11)
    made = stack_of(slices([start + n * step for n in order], np.concatenate([along_row, along_column])))
    assert [order[int(s.path)] for s in made.slices] == list(range(11))
    assert made.size == (11, *SIZE)
    for k, j, i in ((0, 0, 0), (10, 19, 29), (4, 7, 2)):
        place = start + k * step + 0.5 * j * along_column + 0.75 * i * along_row
        assert (made.affine @ [k, j, i, 1])[:3] == pytest.approx(place, abs=1e-9)
    # 0.6 and 0.4 mm aside for 2.5 mm of depth.
    leaning = np.degrees(np.arctan(np.hypot(0.6, 0.4) / 2.5))
    assert made.tilt == pytest.approx((seed % 2) * leaning, abs=1e-9)


def test_missing_places_are_counted_and_the_step_is_that_of_neighbours():
    at = [n for n in range(12) if n not in (2, 7, 8)]
    made = stack_of(slices([(0, 0.2 * n, 3.0 * n) for n in at]), fill=True)
    assert made.missing == (2, 7, 8)
    assert made.affine[:3, 0] == pytest.approx([0, 0.2, 3.0])
    with pytest.raises(GeometryError, match=r"Gap after slice 1 is 6\.00 mm, elsewhere 3\.00 mm: 3 slices are missing"):
        stack_of(slices([(0, 0.2 * n, 3.0 * n) for n in at]))


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        ((1, 0, 0, 1, 0, 0), "no pair of unit vectors at right angles"),
        ((1, 0, 0, 0, 0.5, 0), "no pair of unit vectors"),
        ((1, 0, 0, 0.1, 0.995, 0), "no pair of unit vectors"),
    ],
)
def test_a_direction_that_is_none_is_refused(turn, words):
    with pytest.raises(GeometryError, match=words):
        stack_of(slices([(0, 0, 0), (0, 0, 1)], turn))


def test_a_pixel_spacing_of_nothing_is_refused():
    with pytest.raises(GeometryError, match="pixel spacing that is not above 0"):
        stack_of(slices([(0, 0, 0), (0, 0, 1)], spacing=(0.0, 1.0)))


def test_one_slice_takes_its_depth_from_the_header():
    assert stack_of(slices([(0, 0, 0)], SliceThickness=4.0)).affine[2, 0] == 4.0
    assert stack_of(slices([(0, 0, 0)], SliceThickness=4.0, SpacingBetweenSlices=3.0)).affine[2, 0] == 3.0
    assert stack_of(slices([(0, 0, 0)])).affine[2, 0] == 1.0


def test_two_of_everything_are_copies_only_if_the_pixels_say_so():
    twice = slices([(0, 0, z) for z in (0, 1, 2)] * 2)
    found = parts_of(twice, identical)
    assert (len(found.parts), len(found.copies)) == (1, 3)
    with pytest.raises(GeometryError, match="nothing in the headers tells them apart"):
        parts_of(twice, different)


def test_the_number_of_the_instance_tells_apart_as_a_last_resort():
    twice = slices([(0, 0, z) for z in (0, 1, 2)] * 2, InstanceNumber=(1, 2, 3, 4, 5, 6))
    found = parts_of(twice, different)
    assert [[s.get("InstanceNumber") for s in p.stack.slices] for p in found.parts] == [[1, 2, 3], [4, 5, 6]]
    assert {p.told_by for p in found.parts} == {"instance number only"}


def test_pixels_are_not_asked_for_where_headers_tell_apart():
    def asked(one, other):
        raise AssertionError

    twice = slices([(0, 0, z) for z in (0, 1, 2)] * 2, EchoTime=(1.0,) * 3 + (2.0,) * 3)
    assert len(parts_of(twice, asked).parts) == 2


def test_echo_and_type_together_tell_four_stacks_apart():
    four = slices(
        [(0, 0, z) for z in (0, 1, 2)] * 4,
        EchoTime=tuple(e for e in (1.0, 2.0, 1.0, 2.0) for _ in range(3)),
        ImageType=tuple([t] for t in ("M", "M", "P", "P") for _ in range(3)),
    )
    found = parts_of(four, different)
    assert len(found.parts) == 4
    assert {p.told_by for p in found.parts} == {"echo time and type of image"}
    assert len({p.name for p in found.parts}) == 4


def test_stacks_side_by_side_are_not_copies():
    beside = slices([(x, 0, z) for x in (0, 50) for z in (0, 1, 2)])
    with pytest.raises(GeometryError, match=r"lie 50\.0 mm beside each other at one depth"):
        parts_of(beside, different)


def test_one_stray_slice_with_another_acquisition_does_not_become_a_stack():
    stray = slices([(0, 0, z) for z in (0, 1, 2, 3, 2)], AcquisitionNumber=(1, 1, 1, 1, 2))
    with pytest.raises(GeometryError, match="Slices 2 and 3 lie at the same place"):
        parts_of(stray, different)


def test_blocks_numbered_by_the_scanner_do_not_hide_a_missing_slice():
    # Four slices for each rotation, as a scanner numbers them; the first of the second block is gone.
    at = [0, 1, 2, 3, 5, 6, 7]
    block = slices([(0, 0, z) for z in at], AcquisitionNumber=(1, 1, 1, 1, 2, 2, 2))
    with pytest.raises(GeometryError, match="1 slice is missing"):
        parts_of(block, different)


def test_the_same_slices_in_any_order_of_files_give_the_same_parts():
    rng = np.random.default_rng(0)
    four = slices(
        [(0, 0, z) for z in range(5)] * 3,
        TemporalPositionIndex=tuple(t for t in range(3) for _ in range(5)),
    )
    expected = [[s.path for s in p.stack.slices] for p in parts_of(four, different).parts]
    for _ in range(5):
        shuffled = [four[n] for n in rng.permutation(len(four))]
        assert [[s.path for s in p.stack.slices] for p in parts_of(shuffled, different).parts] == expected

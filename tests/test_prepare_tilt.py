"""Stacks taken with a tilted gantry: rectangular for the network, sheared again for the patient."""

import numpy as np
import pytest

import tiny
from lucency.image import Image, diagonal_affine, resample
from lucency.metrics import dice
from lucency.plan import Grid
from lucency.prepare import Place, place_of, prepare_image, prepare_labels, restore, upright_of

SIZE, SPACING = (16, 40, 44), (3.0, 1.0, 0.9)
#: Degrees about the row axis and about the column axis.
TILTS = [(20.0, 0.0), (-25.0, 0.0), (0.0, 15.0), (12.0, -18.0)]


def tilted(about_rows, about_columns, turn=None):
    """Affine of a stack whose slices are shifted against each other; the gap along the normal stays 3 mm."""
    affine = diagonal_affine(SPACING)
    affine[:3, 0] += 3.0 * np.tan(np.radians(about_rows)) * affine[:3, 1] / SPACING[1]
    affine[:3, 0] += 3.0 * np.tan(np.radians(about_columns)) * affine[:3, 2] / SPACING[2]
    if turn is not None:
        affine[:3] = turn @ affine[:3]
    return affine


def places(affine, size=SIZE):
    """(K, J, I, 3) mm of every voxel."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def ball(affine, radius=9.0, size=SIZE):
    """A ball around the middle voxel, in the patient's millimetres."""
    at = places(affine, size)
    centre = at[size[0] // 2, size[1] // 2, size[2] // 2]
    return (np.linalg.norm(at - centre, axis=-1) <= radius).astype(np.uint8)


def plan_of(**grid):
    return tiny.plan_for(grid=Grid(**grid), labels={1: "ball"}, dims=3)


OWN = {"mode": "spacing", "size": (16, 40, 44), "spacing": SPACING}


@pytest.mark.parametrize("tilt", TILTS, ids=str)
def test_a_tilted_stack_is_set_upright_without_moving_anything_in_the_patient(tilt):
    affine = tilted(*tilt)
    at = places(affine)
    # Numbers that are a straight line in space: linear interpolation keeps them to rounding.
    values = 0.5 * at[..., 0] - 0.25 * at[..., 1] + 2.0 * at[..., 2]
    image = Image(values[None].astype(np.float32), affine)
    upright, lean = upright_of(image)
    assert abs(upright[:3, 0] @ upright[:3, 1]) < 1e-9
    assert abs(upright[:3, 0] @ upright[:3, 2]) < 1e-9
    place = place_of(image, plan_of(**OWN))
    assert place.lean == lean
    from lucency.prepare import set_upright

    made = set_upright(image.array, place)
    where = places(upright, made.shape[1:])
    expected = 0.5 * where[..., 0] - 0.25 * where[..., 1] + 2.0 * where[..., 2]
    # Inside the sheared stack, a pixel from its edge.
    inside = resample(Image(np.ones((1, *SIZE), np.float32), affine), upright, made.shape[1:]).array[0] > 0.999
    assert inside.mean() > 0.5
    assert made[0][inside] == pytest.approx(expected[inside], abs=1e-3)


@pytest.mark.parametrize("tilt", TILTS, ids=str)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_masks_come_back_onto_the_sheared_slices(tilt, seed):
    turn = None if seed is None else np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    affine = tilted(*tilt, turn=turn)
    truth = ball(affine)
    image = Image(truth[None].astype(np.float32) * 100, affine)
    plan = plan_of(mode="spacing", size=(16, 40, 44), spacing=(1.5, 1.0, 1.0))
    prepared = prepare_image([image], plan)
    mask = prepare_labels(Image(truth[None], affine, kind="labels"), plan)
    assert mask.shape == prepared.array.shape[1:]
    # A ball stays a ball: as deep as it is wide on the network's isotropic-in-plane grid.
    reach = [np.ptp(np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))) + 1 for axis in range(3)]
    assert reach[0] * 1.5 == pytest.approx(18, abs=4)
    assert reach[1] == pytest.approx(18, abs=3)
    assert reach[2] == pytest.approx(18, abs=3)
    back = restore(np.stack([mask == 0, mask == 1]).astype(np.float32), prepared.place).argmax(axis=0)
    assert back.shape == SIZE
    assert dice(back == 1, truth == 1) > 0.95


@pytest.mark.parametrize("tilt", TILTS, ids=str)
def test_the_network_sees_the_same_ball_tilted_or_not(tilt):
    plan = plan_of(**OWN)
    straight = prepare_labels(
        Image(ball(diagonal_affine(SPACING))[None], diagonal_affine(SPACING), kind="labels"), plan
    )
    leaning = prepare_labels(Image(ball(tilted(*tilt))[None], tilted(*tilt), kind="labels"), plan)
    assert leaning.sum() == pytest.approx(straight.sum(), rel=0.02)


def test_an_upright_stack_is_left_alone():
    image = Image(np.zeros((1, *SIZE)), diagonal_affine(SPACING))
    affine, lean = upright_of(image)
    assert lean == (0.0, 0.0)
    assert np.array_equal(affine, image.affine)
    place = place_of(image, plan_of(**OWN))
    assert place.upright_size == place.source_size


def test_rounding_of_the_header_is_no_tilt():
    affine = diagonal_affine(SPACING)
    affine[1, 0] = 1e-4
    assert upright_of(Image(np.zeros((1, *SIZE)), affine))[1] == (0.0, 0.0)


def test_image_and_mask_come_to_the_same_size_when_headers_differ_in_the_last_digit():
    plan = plan_of(**OWN)
    sizes = set()
    for noise in (-1e-7, 0.0, 1e-7):
        # Exactly one pixel for each slice: the overhang is a whole number, give or take the last digit.
        affine = diagonal_affine(SPACING)
        affine[1, 0] = 1.0 + noise
        sizes.add(place_of(Image(np.zeros((1, *SIZE)), affine), plan).frame)
    assert len(sizes) == 1


def test_places_written_before_stacks_could_lean_are_read():
    from lucency.record import from_json, to_json

    place = place_of(Image(np.zeros((1, *SIZE)), tilted(20, 0)), plan_of(**OWN))
    assert from_json(Place, to_json(place)) == place
    old = {k: v for k, v in to_json(place).items() if k != "lean"}
    assert from_json(Place, old).lean == (0.0, 0.0)

"""How boxes are looked for: decisions that follow from the shapes and places of the boxes."""

from dataclasses import replace

import numpy as np
import pytest

from lucency.boxes import Box, overlaps
from lucency.image import Image, diagonal_affine
from lucency.plan import Machine
from lucency.planner.boxes import FEW_IMAGES, box_augmentation, box_shape, fitted_anchors, single_classes
from lucency.planner.pieces import WHOLE, halvings, in_pieces
from lucency.profile import Profile
from lucency.profile.boxes import of_boxes, shapes_of
from lucency.profile.sums import summary
from lucency.tasks import task_named

FAST = Machine(cores=2, memory_mib=8000, gflops=1000, gflops_fp32=1000)


def profiled(
    boxes: list[Box],
    n: int = 10,
    size: tuple[int, int, int] = (1, 480, 640),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Profile:
    one = of_boxes(boxes, Image(np.zeros((1, *size), np.float32), diagonal_affine(spacing)))
    k, j, i = (summary(np.array([s])) for s in spacing)
    seen = Profile(
        n_cases=1,
        n_patients=1,
        dims={3 if size[0] > 1 else 2: 1},
        channels={1: 1},
        sizes=tuple({s: 1} for s in size),
        spacings=(k, j, i),
        spacing_known=1,
    )
    whole = replace(seen).merge(one)
    for _ in range(n - 1):
        whole = whole.merge(seen.merge(one))
    return whole


def square(x: float, y: float, side: float, label: str = "a") -> Box:
    return Box(label, (0.0, y, x), (1.0, y + side, x + side))


def test_profiles_of_boxes_count_and_keep_shapes_to_a_tenth() -> None:
    seen = profiled([square(0, 0, 64), square(100, 100, 128)], n=3)
    assert seen.box_counts == {2: 3}
    assert seen.class_counts == {"a": 3}
    sides, counts = shapes_of(seen)
    assert sorted(zip(sides[:, 2].tolist(), counts.tolist(), strict=True)) == [
        (pytest.approx(0.1, rel=0.1), 3),
        (pytest.approx(0.2, rel=0.1), 3),
    ]


@pytest.mark.parametrize(("side", "least"), [(20.0, 500), (100.0, 100)])
def test_small_boxes_ask_for_a_finer_grid(side: float, least: int) -> None:
    seen, reasons = profiled([square(50, 60, side)]), {}
    grid, _, _, _ = box_shape(seen, FAST, 2, 1e6, reasons)
    assert max(grid.size) >= least
    assert max(grid.size) * side / 640 >= 15
    assert "pixels wide" in reasons["grid"]
    slow, _, _, _ = box_shape(seen, replace(FAST, gflops=1.0), 2, 60.0, {})
    assert max(slow.size) <= max(grid.size)


def test_anchors_fit_the_shapes_of_the_set() -> None:
    rng = np.random.default_rng(0)
    boxes = [square(0, 0, s) for s in rng.uniform(18, 22, 50)] + [square(0, 0, s) for s in rng.uniform(90, 110, 50)]
    boxes += [Box("a", (0.0, 0.0, 0.0), (1.0, 20.0, 100.0))] * 50
    seen = profiled(boxes, n=1)
    anchors = fitted_anchors(seen, 2)
    sides, counts = shapes_of(seen)
    both = [np.concatenate([-s / 2, s / 2], axis=1) for s in (sides[:, 1:], anchors)]
    assert np.average(overlaps(*both).max(axis=1), weights=counts) > 0.85
    assert (np.diff(anchors.prod(axis=1)) > 0).all()


def test_a_class_on_one_side_forbids_the_mirror_and_boxes_all_over_allow_it() -> None:
    aside = profiled([square(20, 200, 60, "left"), square(500, 200, 60, "right")])
    reasons: dict[str, str] = {}
    kept = box_augmentation({"rotate": 10.0, "flip_i": 0.5, "noise": 0.1}, aside, reasons, 2)
    assert "flip_i" not in kept
    assert "rotate" not in kept
    assert "left, right" in reasons["augmentation"]
    rng = np.random.default_rng(0)
    everywhere = profiled([square(x, y, 30) for x, y in rng.uniform(0, [600, 440], (400, 2))], n=1)
    assert box_augmentation({}, everywhere, {}, 2)["flip_i"] == 0.5


def test_the_head_follows_from_the_number_of_images() -> None:
    detect = task_named("detect")
    few, many = (profiled([square(10, 10, 50)], n=n) for n in (10, FEW_IMAGES))
    assert detect.needs(few).options["head"] == "centre"
    assert detect.needs(many).options["head"] == "anchors"
    assert str(FEW_IMAGES) in detect.needs(few).reasons["head"]


def ball(low: tuple[float, float, float], sides: tuple[float, float, float], label: str = "nodule") -> Box:
    k, j, i = (a + s for a, s in zip(low, sides, strict=True))
    return Box(label, low, (k, j, i))


def test_small_things_in_large_volumes_are_looked_for_in_pieces() -> None:
    # Nodules of 6 mm in 60 slices of 5 mm and 512 × 512 pixels of 0.7 mm: two slices, nine pixels.
    nodule = ball((20, 100, 200), (2, 9, 9))
    seen = profiled([nodule], size=(60, 512, 512), spacing=(5.0, 0.7, 0.7))
    assert in_pieces(seen, 3)
    reasons: dict[str, str] = {}
    grid, options, piece, batch = box_shape(seen, FAST, 3, 600.0, reasons)
    assert grid.mode == "spacing"
    # The slices stay as they are; pixels are about 6.3 mm in 8, coarser by what ten minutes hold.
    assert grid.spacing[0] == pytest.approx(5.0, rel=0.01)
    assert 6.3 / 8 * 0.9 < grid.spacing[1] < 1.5
    assert max(piece) <= WHOLE
    assert batch * np.prod(piece) <= 600_000
    assert str(options["strides"]).startswith("1x2x2,1x2x2")
    assert "a voxel" in reasons["grid"]
    assert "8 are wanted" in reasons["grid"]
    plan = task_named("detect").needs(seen)
    assert plan.options["placed"] is False


def test_organs_in_volumes_are_looked_for_in_one_frame() -> None:
    organ = ball((10, 100, 100), (30, 250, 250), "liver")
    seen = profiled([organ], size=(60, 512, 512), spacing=(5.0, 0.7, 0.7))
    assert not in_pieces(seen, 3)
    grid, _, _, _ = box_shape(seen, FAST, 3, 600.0, {})
    assert grid.mode == "fit"
    assert not in_pieces(profiled([square(0, 0, 4)]), 2)


def test_long_volumes_are_coarsened_where_time_is_short() -> None:
    seen = profiled([ball((20, 100, 200), (8, 8, 8))], size=(400, 400, 400))
    reasons: dict[str, str] = {}
    short, _, _, _ = box_shape(seen, FAST, 3, 300.0, reasons)
    long, _, _, _ = box_shape(seen, FAST, 3, 36_000.0, {})
    assert long.spacing == pytest.approx((1, 1, 1), rel=0.1)
    assert min(short.spacing) > 1.5
    assert "coarsened" in reasons["grid"]


def test_axes_are_halved_when_they_are_as_fine_as_the_others() -> None:
    assert halvings((32, 64, 64), (4.0, 1.0, 1.0)) == [(1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)]
    assert halvings((16, 16, 16), (1.0, 1.0, 1.0)) == [(2, 2, 2), (2, 2, 2)]


def test_a_class_with_one_box_on_every_image_is_single_and_one_with_two_somewhere_is_not() -> None:
    both = [square(20, 200, 60, "left"), square(500, 200, 60, "right")]
    assert single_classes(profiled(both, n=20)) == ("left", "right")
    assert single_classes(profiled(both, n=10)) == ()
    twice = profiled(both, n=19).merge(profiled([*both, square(300, 200, 60, "right")], n=1))
    assert single_classes(twice) == ("left",)
    seldom = profiled(both, n=20).merge(profiled(both[:1], n=5))
    assert single_classes(seldom) == ("left",)
    scattered = profiled([square(0, 200, 60)], n=1)
    for x in range(30, 600, 30):
        scattered = scattered.merge(profiled([square(x, 200, 60)], n=1))
    assert single_classes(scattered) == ()
    needs = task_named("detect").needs(profiled(both, n=20))
    assert needs.options["single"] == "left,right"
    assert "left, right" in needs.reasons["single"]

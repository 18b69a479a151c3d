"""How boxes are looked for: decisions that follow from the shapes and places of the boxes."""

from dataclasses import replace

import numpy as np
import pytest

from lucency.boxes import Box, overlaps
from lucency.image import Image, diagonal_affine
from lucency.plan import Machine
from lucency.planner.boxes import FEW_IMAGES, box_augmentation, box_shape, fitted_anchors
from lucency.profile import Profile
from lucency.profile.boxes import of_boxes, shapes_of
from lucency.tasks import task_named

FAST = Machine(cores=2, memory_mib=8000, gflops=1000, gflops_fp32=1000)


def profiled(boxes: list[Box], n: int = 10, size: tuple[int, int, int] = (1, 480, 640)) -> Profile:
    one = of_boxes(boxes, Image(np.zeros((1, *size), np.float32), diagonal_affine((1, 1, 1))))
    seen = Profile(n_cases=1, n_patients=1, dims={2: 1}, channels={1: 1}, sizes=tuple({s: 1} for s in size))
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

import math

import numpy as np
import pytest
import torch

import tiny
from lucency.errors import DataError, UsageError
from lucency.events import Clock, Events
from lucency.generators import GENERATOR, every_family, family_named
from lucency.plan import Schedule
from lucency.tasks import Batch, every_task, task_for, task_named
from lucency.tasks.generate import SHOWN, Generate, ellipses, shape_of, tiled, transforms_of
from lucency.train import Work, train_member
from lucency.train import loop as rooms

TASK = task_named("generate")


pytestmark = pytest.mark.usefixtures("one_thread")


def plan_for(family="dcgan", **changes):
    options = {"family": family, "chance": 0.3, "adaptive": False, "flips": "", "masks": 0}
    masks = int(family_named(family).needs_masks)
    options["masks"] = masks
    settings = {
        "task": "generate",
        "network": family,
        "network_options": {"width": 4},
        "channels": 1 + masks,
        "augmentation": {},
        "schedule": Schedule(10, 2e-4, 0.0, 1, 1000.0, optimiser="adam", shape="constant"),
        "task_options": options | changes.pop("options", {}),
        "batch": 8,
    }
    base = {k: v for k, v in settings.items() if k != "task"}
    return tiny.plan_for("generate", dims=2, **base | changes)


def work_of(folder, plan, now=None, listeners=()):
    cohort = tiny.stripes(folder)
    training = folder / "training"
    training.mkdir(exist_ok=True)
    clock = Clock(now=now) if now else Clock()
    return Work(cohort, plan, TASK, tiny.stored(cohort, plan, folder), training, clock, Events(None, *listeners))


def test_it_is_not_offered_and_never_chosen(tmp_path):
    assert "generate" not in every_task()
    cohort = tiny.stripes(tmp_path)
    assert task_for(cohort).name == "classify"
    assert TASK.suits(cohort) == 0
    with pytest.raises(UsageError, match=r"No task 'generat'\. Expected: (?!.*generate)"):
        task_named("generat")


#: Stripes have no masks; how a family that needs them is trained stands beside masks (test_making).
FREE = [name for name, one in every_family().items() if not one.needs_masks]


@pytest.mark.parametrize("family", FREE)
def test_every_family_trains_on_the_one_loop(tmp_path, family):
    seen = []
    plan = plan_for(family)
    trained = train_member(work_of(tmp_path, plan, listeners=[seen.append]), 0, math.inf)
    assert trained.steps == 10
    assert set(trained.weights) == set(TASK.build(plan)[GENERATOR].state_dict())
    assert all(torch.isfinite(v).all() for v in trained.weights.values() if v.is_floating_point())
    assert set(trained.parts) == set(TASK.build(plan)) - {GENERATOR}
    assert [e["kind"] for e in seen].count("samples") >= 1


@pytest.mark.parametrize("family", ["dcgan", "r3gan"])
def test_a_training_interrupted_and_resumed_ends_with_the_same_weights(tmp_path, family):
    """Bit by bit, adaptive chance, averages and batch norms included."""

    class Stopping(rooms.Loop):
        def _point(self, epoch):
            super()._point(epoch)
            if self.step >= 4:
                raise KeyboardInterrupt

    for name in "ab":
        (tmp_path / name).mkdir()
    plan = plan_for(family, options={"adaptive": True, "chance": 0.5})
    whole = train_member(work_of(tmp_path / "a", plan), 1, math.inf)
    with pytest.raises(KeyboardInterrupt):
        Stopping(work_of(tmp_path / "b", plan), 1, math.inf).run()
    resumed = train_member(work_of(tmp_path / "b", plan), 1, math.inf)
    assert all(torch.equal(whole.weights[k], resumed.weights[k]) for k in whole.weights)
    assert all(torch.equal(v, resumed.parts["critic"][k]) for k, v in whole.parts["critic"].items())


def test_images_are_made_of_every_class_alike_however_rare(tmp_path, monkeypatch):
    asked = []
    from lucency.generators import Step

    own = Step.asked
    monkeypatch.setattr(Step, "asked", lambda self, n, rng: asked.append(own(self, n, rng)) or asked[-1])
    parts = TASK.build(plan_for())
    images, labels = torch.randn(64, 1, 16, 16), torch.zeros(64)
    labels[0] = 1.0
    batch = Batch(images, labels, plan_for().task_options, counts=(63, 1))
    list(TASK.losses(parts, batch, torch.Generator().manual_seed(0)))
    # 64 throws of a coin: 14 to 50 in all but a few of a million.
    assert 14 < int(torch.cat(asked).sum()) < 50
    asked.clear()
    list(TASK.losses(parts, Batch(images, labels * 0, batch.options, counts=(64, 0)), torch.Generator().manual_seed(0)))
    assert int(torch.cat(asked).sum()) == 0


def test_rate_and_average_follow_the_family(tmp_path):
    """R3GAN: the rate falls to a quarter over the burn-in of .8, the second decay rises from .9 to .99."""
    plan = plan_for("r3gan")
    start, middle, end = (TASK.pace(GENERATOR, plan, 0, progress) for progress in (0.0, 0.4, 0.9))
    assert (start.rate, start.betas) == (1.0, (0.0, 0.9))
    assert (middle.rate, middle.betas) == (pytest.approx(0.625), (0.0, pytest.approx(0.945)))
    assert (end.rate, end.betas) == (0.25, (0.0, 0.99))
    # Half of the average is forgotten over so many images.
    assert end.ema ** (20_000 / plan.batch) == pytest.approx(0.5)
    assert start.ema < middle.ema < end.ema


def test_a_family_that_is_told_masks_is_pictured_with_some_that_no_patient_has():
    plan = plan_for("spade")
    found = ellipses(40, shape_of(plan), torch.Generator().manual_seed(0))
    assert found.shape == (40, 1, 16, 16)
    assert set(found.unique().tolist()) == {-1.0, 1.0}
    # Half axes of .2 to .5 of the way from the middle to the edge: pi / 4 of their product is inside, .03 to .2.
    inside = (found > 0).float().mean(dim=(1, 2, 3))
    assert 0.01 < float(inside.min()) < float(inside.max()) < 0.25
    assert TASK.shown(TASK.build(plan)[GENERATOR].eval(), plan).shape == (2 * 17, SHOWN * 17)


@pytest.mark.parametrize("size", [(1, 16, 16), (6, 16, 20)])
def test_a_picture_shows_a_row_for_each_class(size):
    dims = 2 if size[0] == 1 else 3
    plan = plan_for(size=size) if dims == 2 else plan_for_volume(size)
    net = TASK.build(plan)[GENERATOR].eval()
    picture = TASK.shown(net, plan)
    assert picture.dtype == np.uint8
    assert picture.shape == (2 * (size[1] + 1), SHOWN * (size[2] + 1))
    assert np.array_equal(picture, TASK.shown(net, plan))


def plan_for_volume(size):
    plan = plan_for("dcgan")
    from dataclasses import replace

    from lucency.plan import Grid

    return replace(plan, dims=3, grid=Grid("fit", size), patch=size, tile=size)


def test_tiles_stand_in_rows_with_a_line_between():
    images = np.stack([np.full((2, 3), v) for v in (-2.0, 3.0, 0.5)])
    found = tiled(images, 2)
    assert found.shape == (2 * 3, 2 * 4)
    assert found[:2, :3].tolist() == [[0] * 3] * 2
    assert found[:2, 4:7].tolist() == [[255] * 3] * 2
    # Half of the way from -2 to 3.
    assert found[3:5, :3].tolist() == [[128] * 3] * 2
    assert found[2].tolist() == [0] * 8


def test_the_plan_says_what_critics_see_images_through():
    found = transforms_of({"flips": "ji", "chance": 0.2, "masks": 2, "adaptive": True})
    assert (found.flips, found.chance, found.masks, found.adaptive) == ((-2, -1), 0.2, 2, True)


def test_a_class_that_the_plan_does_not_know_is_refused(tmp_path):
    case = tiny.stripes(tmp_path).cases[0]
    with pytest.raises(DataError, match="Class 'standing'"):
        TASK.target(case, plan_for(classes=("a", "b")))
    assert TASK.target(case, plan_for(classes=("image",))) == 0


def test_sides_and_width_come_from_the_plan():
    assert isinstance(TASK, Generate)
    shape = shape_of(plan_for())
    assert (shape.size, shape.channels, shape.n_classes, shape.width) == ((16, 16), 1, 2, 4)
    with pytest.raises(UsageError, match="width 0"):
        shape_of(plan_for(network_options={"width": "wide"}))

"""The loop with several parts: which is delivered, how each moves, and what becomes of a loss that is not finite."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from torch import nn

import tiny
from lucency.errors import DivergedError
from lucency.events import Clock, Events
from lucency.model import load_facts, load_weights
from lucency.plan import Schedule
from lucency.tasks import Pace, Task
from lucency.train import Work, train_member
from lucency.train.loop import Loop


class Pair(Task):
    """Two parts of one weight each: ``pupil`` follows ``master``, which grows towards 3."""

    name, dense, headline, baselines = "pair", False, "", ""
    offered = validated = False
    delivered = "pupil"
    recoveries = 2

    def __init__(self, spoilt=(), gradient=()):
        self.spoilt, self.gradient, self.calls = set(spoilt), set(gradient), 0

    def build(self, plan):
        return {"master": nn.Linear(1, 1, bias=False), "pupil": nn.Linear(1, 1, bias=False)}

    def losses(self, parts, batch, rng):
        call, self.calls = self.calls, self.calls + 1
        one = torch.ones(1, 1)
        yield "master", (parts["master"](one) - 3).square().mean()
        # The second loss is formed after the first part has moved.
        loss = (parts["pupil"](one) - parts["master"](one).detach()).square().mean()
        if call in self.spoilt:
            loss = loss * math.nan
        if call in self.gradient:
            # Finite as it is, without an end in its slope.
            loss = loss + (parts["pupil"](one) * 0).abs().sqrt().sum()
        yield "pupil", loss

    def pace(self, part, plan, step, progress):
        return Pace(rate=0.5 if part == "master" else 1.0, betas=(0.0, 0.9), ema=0.5 if part == "pupil" else 0.0)

    def shown(self, net, plan):
        return np.full((4, 6), 7, dtype=np.uint8)


def work_of(folder, task, seen=None, **changes):
    cohort = tiny.stripes(folder)
    plan = tiny.plan_for("classify", **{"schedule": Schedule(12, 0.1, 0.0, warmup=1, optimiser="adam")} | changes)
    training = folder / "training"
    training.mkdir(exist_ok=True)
    store = tiny.stored(cohort, plan, folder)
    listeners = [] if seen is None else [seen.append]
    return Work(cohort, plan, task, store, training, Clock(), Events(None, *listeners))


def test_the_delivered_part_is_given_and_the_others_beside_it(tmp_path):
    seen = []
    trained = train_member(work_of(tmp_path, Pair(), seen), 0, math.inf)
    assert set(trained.weights) == {"weight"}
    assert set(trained.parts) == {"master"}
    assert not torch.equal(trained.weights["weight"], trained.parts["master"]["weight"])
    last = [e for e in seen if e["kind"] == "epoch"][-1]
    assert {"loss", "loss_master", "loss_pupil"} <= set(last)
    assert "val_loss" not in last


def test_each_part_moves_at_its_own_pace(tmp_path):
    """Adam's first step is as long as the rate, whatever the gradient: half of it for the one, all for the other."""
    loop = Loop(work_of(tmp_path, Pair(), schedule=Schedule(12, 0.1, 0.0, warmup=0, optimiser="adam")), 0, math.inf)
    before = {n: float(p.weight.detach()) for n, p in loop.parts.items()}
    loop._one_step()
    moved = {n: abs(float(p.weight.detach()) - before[n]) for n, p in loop.parts.items()}
    assert moved == {"master": pytest.approx(0.05, rel=1e-3), "pupil": pytest.approx(0.1, rel=1e-3)}
    assert {g["betas"] for o in loop.optimisers.values() for g in o.param_groups} == {(0.0, 0.9)}
    # The young average keeps a tenth of itself; one whose decay is 0 is the part itself.
    kept = float(loop.average["pupil"].weight) - float(loop.parts["pupil"].weight.detach())
    assert abs(kept) == pytest.approx(0.1 * moved["pupil"], rel=1e-3)
    assert torch.equal(loop.average["master"].weight, loop.parts["master"].weight)


@pytest.mark.parametrize("kind", ["spoilt", "gradient"])
def test_a_loss_that_is_not_finite_is_answered_by_the_last_good_average_and_told(tmp_path, kind):
    seen = []
    trained = train_member(work_of(tmp_path, Pair(**{kind: {7}}), seen), 0, math.inf)
    assert list(trained.rolled_back) == [7]
    assert torch.isfinite(trained.weights["weight"]).all()
    (told,) = [e for e in seen if e["kind"] == "rolled_back"]
    assert (told["step"], told["times"]) == (7, 1)
    assert trained.steps == 12
    assert all(math.isfinite(row["loss"]) for row in trained.history)


def test_after_going_back_the_weights_are_those_of_the_last_point(tmp_path):
    task = Pair(spoilt={5})
    loop = Loop(work_of(tmp_path, task), 0, math.inf)
    for _ in range(5):
        loop._one_step()
    loop._point(1.0)
    good = {n: float(p.weight) for n, p in loop.average.items()}
    loop._one_step()
    assert {n: float(p.weight.detach()) for n, p in loop.parts.items()} == good
    assert {n: float(p.weight) for n, p in loop.average.items()} == good
    assert all(not o.state_dict()["state"] for o in loop.optimisers.values())
    loop._one_step()
    assert loop.step == 7


def test_when_going_back_does_not_help_training_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(DivergedError, match=r"The loss is nan at step 5.*lower schedule\.rate"):
        train_member(work_of(tmp_path, Pair(spoilt={3, 4, 5})), 0, math.inf)


def test_a_resume_remembers_where_it_went_back(tmp_path):
    work = work_of(tmp_path, Pair(spoilt={2}))
    loop = Loop(work, 0, math.inf)
    for _ in range(6):
        loop._one_step()
    loop.save()
    assert json.loads(load_facts(loop.path)["facts"])["rolled_back"] == [2]
    trained = train_member(work_of(tmp_path, Pair()), 0, math.inf)
    assert list(trained.rolled_back) == [2]
    assert trained.steps == 12


def test_pictures_lie_beside_the_events_that_name_them(tmp_path):
    seen = []
    train_member(work_of(tmp_path, Pair(), seen), 0, math.inf)
    told = [e for e in seen if e["kind"] == "samples"]
    assert told
    for event in told:
        with Picture.open(tmp_path / "training" / event["file"]) as picture:
            assert picture.size == (6, 4)
            assert picture.getpixel((0, 0)) == 7


def by_hand(folder, task, steps):
    """The averages after so many steps, without a run."""
    loop = Loop(work_of(folder, task), 0, math.inf)
    for _ in range(steps):
        loop._one_step()
    return {n: float(p.weight) for n, p in loop.average.items()}


@pytest.mark.parametrize("stopped", [False, True], ids=["in one go", "interrupted between a point and its step"])
def test_averages_are_kept_at_the_points_that_are_asked_for(tmp_path, monkeypatch, stopped):
    """Half of 12 steps are 6, and three quarters 9."""
    work = replace(work_of(tmp_path, Pair()), points=(0.5, 0.75))
    step = Loop._one_step

    def until_six(self):
        step(self)
        if self.step == 6:
            raise KeyboardInterrupt

    if stopped:
        with monkeypatch.context() as patch:
            patch.setattr(Loop, "_one_step", until_six)
            with pytest.raises(KeyboardInterrupt):
                train_member(work, 0, math.inf)
        assert not list(work.folder.glob("*.kept*"))
    trained = train_member(work, 0, math.inf)
    assert list(trained.kept) == [6, 9]
    for at, path in trained.kept.items():
        found = {k: float(v) for k, v in load_weights(path).items()}
        expected = by_hand(tmp_path, Pair(), at)
        assert found == {f"{n}/weight": pytest.approx(v) for n, v in expected.items()}
    # What is done with them may be interrupted as well: the end is on the disk, and nothing is trained again.
    monkeypatch.setattr(Loop, "_one_step", None)
    again = train_member(work, 0, math.inf)
    assert torch.equal(again.weights["weight"], trained.weights["weight"])
    assert again.kept == trained.kept


def test_nothing_is_kept_where_nobody_asks(tmp_path):
    work = work_of(tmp_path, Pair())
    assert train_member(work, 0, math.inf).kept == {}
    assert not list(work.folder.glob("*.safetensors"))

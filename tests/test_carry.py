"""Weights carried from one run to another, and what may be judged with them."""

import math
from dataclasses import replace

import pytest
import torch

import tiny
from lucency import carry, model, record
from lucency.calibration import Calibration
from lucency.case import Cohort
from lucency.errors import LeakageError, UsageError
from lucency.events import Clock, Events
from lucency.plan import Schedule
from lucency.spare import with_unlabelled
from lucency.tasks import task_named
from lucency.text import sentence
from lucency.train import Work
from lucency.train.loop import Loop

TASK = task_named("classify")


def source(folder, cohort=None, **changes):
    """A run folder with a model of random weights, and what it was trained on."""
    plan = tiny.plan_for("classify", **changes)
    weights = {"fold0": tiny.network_of(plan, seed=5).state_dict()}
    found = model.save(folder / "model", plan, Calibration(), weights, "# Card\n")
    if cohort is not None:
        record.write(folder / "cohort.json", cohort)
    return found


def data(folder, *, seed, n=12, locked=4):
    """Stripes of which the last are locked."""
    folder.mkdir()
    cohort = tiny.stripes(folder, n=n, seed=seed)
    kept = {c.id: cohort.folds[c.id] for c in cohort.cases[: n - locked]}
    return Cohort(cohort.cases, kept, frozenset(c.id for c in cohort.cases[n - locked :]), classes=cohort.classes)


def test_training_starts_from_the_weights_that_fit_and_draws_the_others(tmp_path):
    found = source(tmp_path / "a", network_options={"widths": (4.0, 16.0), "depth": 6})
    cohort, plan = data(tmp_path / "b", seed=1), tiny.plan_for("classify", schedule=Schedule(4))
    begun = carry.begun(plan, str(tmp_path / "a"), cohort, TASK)
    assert begun.start == found.digest
    start = carry.weights(begun, str(tmp_path / "a"))
    store = tiny.stored(cohort, plan, tmp_path)
    work = Work(cohort, begun, TASK, store, tmp_path, Clock(now=lambda: 0.0), Events(), start)
    ours = Loop(work, 0, math.inf).parts["net"].state_dict()
    fresh = Loop(replace(work, start={}), 0, math.inf).parts["net"].state_dict()
    # The first level has 4 channels in both networks, the second 16 in one and 8 in the other.
    assert torch.equal(ours["body.stem.weight"], start["body.stem.weight"])
    assert not torch.equal(fresh["body.stem.weight"], start["body.stem.weight"])
    assert torch.equal(ours["head.weight"], fresh["head.weight"])
    fits = sum(v.shape == start[k].shape for k, v in fresh.items() if v.is_floating_point())
    whole = sum(v.is_floating_point() for v in fresh.values())
    assert 0 < fits < whole
    assert begun.reasons["start"].startswith(f"{fits} of {whole} tensors are carried over from model")
    assert "not known" in begun.reasons["start"]


def test_a_model_that_was_trained_on_the_locked_part_is_refused(tmp_path):
    theirs, ours = data(tmp_path / "x", seed=1), data(tmp_path / "y", seed=1, locked=6)
    # Two of our six locked images are in their folds: 4 of 12 are locked there.
    source(tmp_path / "a", theirs)
    plan = tiny.plan_for("classify")
    with pytest.raises(LeakageError, match=r"2 of 6 images of the locked part were trained on.*--allow-leak"):
        carry.begun(plan, str(tmp_path / "a"), ours, TASK)
    with pytest.raises(LeakageError):
        carry.begun(plan, str(tmp_path / "a" / "model"), ours, TASK)
    allowed = carry.begun(plan, str(tmp_path / "a"), replace(ours, allow_leak=True), TASK)
    assert "2 of 6 locked images are among those it was trained on" in allowed.reasons["start"]


def test_images_that_were_learned_from_without_a_label_must_not_be_judged(tmp_path):
    ours = data(tmp_path / "y", seed=1)
    # What is locked here lay in their run without a label, and its network learned from images alone.
    cases = tuple(replace(c, target=None) if c.id in ours.locked else c for c in ours.cases)
    theirs = with_unlabelled(replace(ours, cases=cases, locked=frozenset()))
    assert set(theirs.unlabelled) == ours.locked
    plan = tiny.plan_for("classify")
    source(tmp_path / "a", theirs, pretrain="contrastive")
    with pytest.raises(LeakageError, match="4 of 4 images of the locked part were trained on"):
        carry.begun(plan, str(tmp_path / "a"), ours, TASK)
    source(tmp_path / "b", theirs)
    assert "0 of 4 locked images" in carry.begun(plan, str(tmp_path / "b"), ours, TASK).reasons["start"]


def test_images_seen_before_are_counted_and_strangers_are_not(tmp_path):
    source(tmp_path / "a", data(tmp_path / "x", seed=1))
    plan = tiny.plan_for("classify")
    same = carry.begun(plan, str(tmp_path / "a"), data(tmp_path / "y", seed=1), TASK).reasons["start"]
    other = carry.begun(plan, str(tmp_path / "a"), data(tmp_path / "z", seed=2), TASK).reasons["start"]
    assert "0 of 4 locked images" in same
    assert "it has seen 8 of the training images" in same
    assert "it has seen" not in other
    assert not any("a" <= letter <= "z" for letter in sentence(same, "zh").replace(plan_digest(same), ""))


def plan_digest(text):
    """The shown digest in a reason, the only Latin letters of its translation."""
    return text.split("from model ")[1][: carry.SHOWN]


def test_another_model_in_the_place_of_the_first_is_refused(tmp_path):
    source(tmp_path / "a")
    cohort = data(tmp_path / "x", seed=1)
    begun = carry.begun(tiny.plan_for("classify"), str(tmp_path / "a"), cohort, TASK)
    source(tmp_path / "a", seed=3)
    for start in (str(tmp_path / "a"), str(tmp_path / "gone"), None):
        with pytest.raises(UsageError, match="starts from a model that is not there"):
            carry.weights(begun, start)
    assert carry.weights(tiny.plan_for("classify"), None) == {}


def test_a_model_of_which_nothing_fits_is_refused_with_what_would(tmp_path):
    source(tmp_path / "a", network="cnn", network_options={"widths": (6.0, 12.0)})
    cohort = data(tmp_path / "x", seed=1)
    plan = tiny.plan_for("classify")
    plan = replace(plan, network_options={"widths": (4.0, 10.0), "depth": 6}, classes=("a", "b", "c"))
    with pytest.raises(UsageError, match=r"No weight of the model.*--set network=cnn"):
        carry.begun(plan, str(tmp_path / "a"), cohort, TASK)

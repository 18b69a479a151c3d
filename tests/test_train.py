import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tiny
from lucency import record
from lucency.errors import DataError, LucencyError, ModelError
from lucency.events import Clock, Events
from lucency.learn import Learning
from lucency.losses import IGNORE
from lucency.plan import Schedule
from lucency.tasks import task_named
from lucency.train import Sampler, Work, train_member
from lucency.train import loop as rooms

pytestmark = pytest.mark.usefixtures("one_thread")


class Ticking:
    """A clock that moves by ``step`` at every reading, and raises at the reading given."""

    def __init__(self, step=0.0, stop_at=None):
        self.time, self.step, self.stop_at, self.readings = 0.0, step, stop_at, 0

    def __call__(self):
        self.readings += 1
        self.time += self.step
        if self.readings == self.stop_at:
            raise KeyboardInterrupt
        return self.time


def work_of(folder, task="classify", now=None, listeners=(), **changes):
    cohort = tiny.stripes(folder) if task == "classify" else tiny.masks(folder)
    plan = tiny.plan_for(task, **changes)
    training = folder / "training"
    training.mkdir(exist_ok=True)
    store = tiny.stored(cohort, plan, folder)
    clock = Clock(now=now or Ticking())
    return Work(cohort, plan, task_named(task), store, training, clock, Events(None, *listeners))


def same(a, b):
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_loss_falls_and_the_held_out_fold_is_learned(tmp_path, task):
    steps = {"classify": 80, "segment": 90}[task]
    options = {"mixup": 0.0, "smoothing": 0.0, "dropout": 0.0} if task == "classify" else {"supervised": 2}
    work = work_of(tmp_path, task, schedule=Schedule(steps, 2e-2, warmup=5, ema=0.9), task_options=options)
    trained = train_member(work, 0, math.inf)
    first, last = trained.history[0], trained.history[-1]
    assert trained.steps == steps == last["step"]
    assert trained.shortened == ""
    assert last["loss"] < 0.5 * first["loss"]
    assert last["val_loss"] < 0.6 * first["val_loss"]
    assert last["val_loss"] < {"classify": 0.3, "segment": 0.6}[task]


@pytest.mark.parametrize("task", ["classify", "segment"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_training_interrupted_and_resumed_ends_with_the_same_weights(tmp_path, task, channels_last):
    """Bit by bit, though dropout, mixup, augmentation and batch statistics all draw or remember something."""
    settings = {"schedule": Schedule(14, warmup=3), "channels_last": channels_last}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = train_member(work_of(tmp_path / "a", task, **settings), 1, math.inf)
    for stop_at in (23, 31):
        work = work_of(tmp_path / "b", task, now=Ticking(stop_at=stop_at), **settings)
        with pytest.raises(KeyboardInterrupt):
            train_member(work, 1, math.inf)
        assert (work.folder / "fold1.checkpoint.safetensors").exists()
    seen = []
    resumed = train_member(work_of(tmp_path / "b", task, listeners=[seen.append], **settings), 1, math.inf)
    (told,) = [e for e in seen if e["kind"] == "resumed"]
    assert 0 < told["step"] < 14
    assert same(whole.weights, resumed.weights)
    assert len(resumed.history) == len(whole.history)
    assert resumed.history[-1]["val_loss"] == whole.history[-1]["val_loss"]


def test_a_checkpoint_is_written_at_least_every_half_minute(tmp_path):
    """At 3 s a reading, about 5 readings a step, every second step or so; after a kill the last one is taken up."""
    seen = []
    work = work_of(tmp_path, now=Ticking(3.0), listeners=[seen.append], schedule=Schedule(12, warmup=2))
    train_member(work, 0, math.inf)
    steps = [e["step"] for e in seen if e["kind"] == "checkpoint"]
    assert len(steps) >= 3
    assert max(np.diff([0, *steps])) <= 4


@pytest.mark.parametrize("where", ["forward", "optimiser"])
def test_an_interrupt_inside_a_step_saves_no_half_step(tmp_path, where, monkeypatch):
    """Ctrl-C may strike anywhere. Half a step, saved and then made once more, would change the weights."""
    settings = {"schedule": Schedule(10, warmup=2)}
    for name in "ab":
        (tmp_path / name).mkdir()
    whole = train_member(work_of(tmp_path / "a", **settings), 0, math.inf)
    work = work_of(tmp_path / "b", **settings)
    with monkeypatch.context() as patch:
        calls = []

        def strike(result):
            calls.append(1)
            if len(calls) == 6:
                raise KeyboardInterrupt
            return result

        if where == "forward":
            own = rooms.nn.utils.clip_grad_norm_
            patch.setattr(rooms.nn.utils, "clip_grad_norm_", lambda *a, **k: strike(own(*a, **k)))
        else:
            average = rooms.Loop._average
            patch.setattr(rooms.Loop, "_average", lambda self: strike(average(self)))
        with pytest.raises(KeyboardInterrupt):
            train_member(work, 0, math.inf)
    resumed = train_member(work_of(tmp_path / "b", **settings), 0, math.inf)
    assert same(whole.weights, resumed.weights)


def test_same_seed_same_weights_another_seed_or_fold_others(tmp_path):
    settings = {"schedule": Schedule(6, warmup=2)}

    def weights(fold=0, **changes):
        work = work_of(tmp_path, **settings | changes)
        found = train_member(work, fold, math.inf).weights
        (work.folder / f"fold{fold}.checkpoint.safetensors").unlink(missing_ok=True)
        return found

    first = weights()
    assert same(first, weights())
    assert not same(first, weights(seed=1))
    assert not same(first, weights(fold=1))


def test_the_global_generator_is_left_as_it_was(tmp_path):
    torch.manual_seed(11)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - it is what is tested
    train_member(work_of(tmp_path, schedule=Schedule(4, warmup=1)), 0, math.inf)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def test_weights_do_not_depend_on_the_state_of_the_global_generator(tmp_path):
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        work = work_of(tmp_path, schedule=Schedule(4, warmup=1))
        found.append(train_member(work, 0, math.inf).weights)
    assert same(*found)


def test_the_time_guard_shortens_and_the_rate_still_ends_near_0(tmp_path):
    """Every reading takes a second, a step four or five: 600 s hold some 130 of 1000 steps."""
    work = work_of(tmp_path, now=Ticking(1.0), schedule=Schedule(1000, 1e-2, warmup=5))
    trained = train_member(work, 0, 600.0)
    assert 90 <= trained.steps <= 200
    assert work.clock.elapsed() <= 600 * 1.03
    assert trained.shortened == f"fold 0: {trained.steps} of 1000 planned steps"
    rates = [row["rate"] for row in trained.history]
    assert max(rates) > 0.9e-2
    assert rates[-1] < 0.02 * 1e-2
    assert trained.history[-1]["step"] == trained.steps


def test_with_time_enough_the_guard_changes_nothing(tmp_path):
    work = work_of(tmp_path, now=Ticking(1.0), schedule=Schedule(120, 1e-2, warmup=5))
    trained = train_member(work, 0, 10_000.0)
    assert trained.steps == 120
    assert trained.shortened == ""
    assert trained.history[-1]["rate"] < 1e-4 * 1e-2 + 1e-12


def test_the_rate_warms_up_and_follows_the_cosine(tmp_path):
    rates = []

    class Noting(rooms.Loop):
        def _rate(self):
            rates.append((self.step, super()._rate()))
            return rates[-1][1]

    loop = Noting(work_of(tmp_path, schedule=Schedule(40, 1e-2, warmup=8)), 0, math.inf)
    for _ in range(40):
        loop._one_step()
    by_step = dict(rates)
    for step in range(40):
        expected = 1e-2 * min(1, (step + 1) / 8) * 0.5 * (1 + math.cos(math.pi * step / 40))
        assert by_step[step] == pytest.approx(expected, rel=1e-9)


def test_a_rehearsal_may_make_more_steps_than_the_plan_has(tmp_path):
    loop = rooms.Loop(work_of(tmp_path, schedule=Schedule(1, 1e-2, warmup=1)), 0, math.inf)
    assert loop.time_steps(0.0) > 0
    assert (loop.step, loop.progress) == (3, 1.0)


def test_members_of_a_plan_that_did_not_fit_into_memory_are_not_kept(tmp_path, monkeypatch):
    """The smaller plan trains from the first step on: a member of the larger one would be of another plan."""
    plan, trained = tiny.plan_for("classify", batch=8), []
    record.write(tmp_path / "plan.json", plan)
    record.write_text(tmp_path / "training" / "digest.txt", "d")
    old = [tmp_path / "training" / "fold0.safetensors", tmp_path / "out_of_fold" / "fold0.json"]
    for path in old:
        record.write_text(path, "{}")

    def train_all(self, plan):
        trained.append((plan.batch, any(path.exists() for path in old)))
        if len(trained) == 1:
            raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Learning, "_train_all", train_all)
    walk = SimpleNamespace(folder=tmp_path, digest="d", state={"train": {"unfinished": 1.0}}, events=Events())
    Learning(walk).train()
    assert trained == [(8, True), (4, False)]


def test_averaged_weights_are_the_moving_average_of_the_live_ones(tmp_path):
    loop = rooms.Loop(work_of(tmp_path, schedule=Schedule(5, warmup=1, ema=0.5)), 0, math.inf)
    expected = {k: v.clone() for k, v in loop.parts["net"].state_dict().items()}
    for step in range(5):
        loop._one_step()
        decay = min(0.5, (1 + step) / (10 + step))
        live = loop.parts["net"].state_dict()
        for key, value in expected.items():
            if value.is_floating_point():
                expected[key] = decay * value + (1 - decay) * live[key]
    found = loop.average["net"].state_dict()
    assert all(torch.allclose(found[k], v, atol=1e-6) for k, v in expected.items() if v.is_floating_point())
    # Batch statistics are averaged too, or the averaged weights would meet another network's statistics.
    assert any("running_mean" in k for k in found)


def test_a_loss_that_is_not_finite_stops_with_advice(tmp_path):
    work = work_of(tmp_path, schedule=Schedule(30, rate=1e20, warmup=1, clip=1e30))
    with pytest.raises(LucencyError, match=r"loss is (nan|inf) at step \d+.*lower schedule\.rate"):
        train_member(work, 0, math.inf)


def test_a_broken_checkpoint_is_named(tmp_path):
    work = work_of(tmp_path)
    (work.folder / "fold0.checkpoint.safetensors").write_bytes(b"broken off")
    with pytest.raises(ModelError, match=r"fold0\.checkpoint\.safetensors: Weights cannot be read"):
        train_member(work, 0, math.inf)


def test_no_case_of_the_held_out_fold_or_the_locked_part_is_trained_on(tmp_path):
    from dataclasses import replace

    work = work_of(tmp_path)
    folds = dict(work.cohort.folds)
    locked = folds.popitem()[0]
    work = replace(work, cohort=replace(work.cohort, folds=folds, locked=frozenset({locked})))
    loop = rooms.Loop(work, 1, math.inf)
    assert set(loop.sampler.cases) == {c for c, f in folds.items() if f != 1}
    assert set(loop.held) == {c for c, f in folds.items() if f == 1}


def test_every_point_of_the_curve_is_told_as_one_event(tmp_path):
    seen = []
    trained = train_member(work_of(tmp_path, listeners=[seen.append], schedule=Schedule(12, warmup=2)), 0, math.inf)
    told = [e for e in seen if e["kind"] == "epoch"]
    assert len(told) == len(trained.history) >= 3
    for event, row in zip(told, trained.history, strict=True):
        assert all(event[k] == row[k] for k in row)
        assert event["seconds_left"] >= 0
        json.dumps(event)


def test_augmentation_is_a_small_share_of_the_time(tmp_path):
    """At one second a reading: from the step's begin to the end 4 seconds, augmentation between two readings 1."""
    trained = train_member(work_of(tmp_path, now=Ticking(1.0), schedule=Schedule(4, warmup=1)), 0, math.inf)
    assert 0 < trained.augment_share < 0.5


# --- what is drawn -------------------------------------------------------------------------------------------------


def test_a_pass_draws_every_case_once_and_each_pass_in_another_order(tmp_path):
    cohort, plan = tiny.stripes(tmp_path, n=12), tiny.plan_for("classify", batch=4)
    store = tiny.stored(cohort, plan, tmp_path)
    sampler = Sampler(store, [c.id for c in cohort.cases], plan, dense=False)
    assert sampler.steps_per_epoch == 3
    passes = [[sampler._case(n) for n in range(12 * e, 12 * e + 12)] for e in range(3)]
    assert all(sorted(p) == list(range(12)) for p in passes)
    assert passes[0] != passes[1] != passes[2]
    # What is drawn at a step does not depend on what was drawn before it.
    again = Sampler(store, [c.id for c in cohort.cases], plan, dense=False)
    assert [again._case(n) for n in range(24, 36)] == passes[2]


def test_images_and_targets_of_a_batch_belong_together(tmp_path):
    cohort, plan = tiny.stripes(tmp_path), tiny.plan_for("classify", batch=5)
    store = tiny.stored(cohort, plan, tmp_path)
    images, targets = Sampler(store, [c.id for c in cohort.cases], plan, dense=False).batch(3)
    assert images.shape == (5, 1, 1, 16, 16)
    assert images.dtype == torch.float32
    known = {store.image(c).tobytes(): store.target(c) for c in store.entries}
    found = [known[i.numpy().astype(np.float16).tobytes()] for i in images]
    assert found == targets.tolist()


@pytest.mark.parametrize("patch", [(6, 8, 8), (20, 20, 20), (6, 20, 8)])
def test_patches_hold_the_same_place_of_image_and_mask(tmp_path, patch):
    """The ball is 3 brighter than its surroundings, so its mask can be read off the image again."""
    cohort, plan = tiny.masks(tmp_path), tiny.plan_for(patch=patch, batch=6)
    store = tiny.stored(cohort, plan, tmp_path)
    sampler = Sampler(store, [c.id for c in cohort.cases], plan, dense=True)
    for step in range(3):
        images, masks = sampler.batch(step)
        assert images.shape == (6, 1, *patch)
        assert masks.shape == (6, *patch)
        bright = images[:, 0] > 1
        known = masks != IGNORE
        assert (bright[known] == (masks[known] == 1)).float().mean() > 0.97
        # Beside a small image nothing is shown and nothing is asked.
        assert not images[:, 0][~known].any()
        share = np.prod([min(p, n) / p for p, n in zip(patch, (12, 16, 16), strict=True)])
        assert float(known.float().mean()) == pytest.approx(share)


def test_a_third_of_the_patches_holds_a_labelled_voxel_for_certain(tmp_path):
    cohort, plan = tiny.masks(tmp_path, size=(24, 40, 40)), tiny.plan_for(patch=(4, 4, 4), batch=6)
    store = tiny.stored(cohort, plan, tmp_path)
    sampler = Sampler(store, [c.id for c in cohort.cases], plan, dense=True)
    for step in range(20):
        masks = sampler.batch(step)[1]
        assert (masks[:2] == 1).flatten(1).any(1).all()
    starts = {sampler._start(c, (24, 40, 40), np.random.default_rng(s), forced=False) for c in "a" for s in range(200)}
    assert {min(a[k] for a in starts) for k in range(3)} == {0}
    assert [max(a[k] for a in starts) for k in range(3)] == [20, 36, 36]


def test_nothing_to_train_on_is_refused(tmp_path):
    work = work_of(tmp_path)
    with pytest.raises(DataError, match=r"No training case"):
        Sampler(work.store, [], work.plan, dense=False)


def test_the_clock_counts_working_time_across_resumes():
    now = Ticking(2.0)
    clock = Clock(spent=100.0, now=now)
    assert clock.elapsed() == 102.0
    assert clock.elapsed() == 104.0

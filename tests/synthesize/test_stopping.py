"""Which state of a training is kept: what its images teach on an inner fold decides, and nobody else is asked."""

import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from blobs import blobs
from test_making import given, made, normalised, seconds_for

import tiny
from lucency import record
from lucency.errors import DivergedError
from lucency.events import Clock, Events
from lucency.model import load_weights
from lucency.statistics import Metric
from lucency.synthesize import making, stopping
from lucency.synthesize.arrays import cohort_of
from lucency.synthesize.drawn import Drawn, drawn_of
from lucency.synthesize.fidelity import use
from lucency.synthesize.gate.running import Run
from lucency.synthesize.looking import Looking
from lucency.synthesize.maker import Look, Made
from lucency.synthesize.making import Order
from lucency.synthesize.stopping import Choice, Judging, affordable, chosen, decided, narrowed
from lucency.tasks import task_named
from lucency.text import sentence
from lucency.train import Work
from lucency.train import loop as rooms


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch, ten_images):
    """Networks that judge learn for a moment."""
    monkeypatch.setattr(stopping, "_timed", lambda drawn, plan, folder: 1e-5)
    monkeypatch.setattr(stopping, "MOST_STEPS", stopping.LEAST_STEPS)


class Draws:
    """Stands for a state of a generator: blobs of the class asked for, a share of them of another class."""

    def __init__(self, wrong, seed=5):
        self.wrong, self.pool = wrong, normalised(blobs(200, seed))

    def sample(self, labels, rng):
        shown = np.where(rng.random(len(labels)) < self.wrong, 1 - labels, labels)
        rows = np.array([rng.choice(np.flatnonzero(self.pool.labels == k)) for k in shown])
        return Drawn(self.pool.images[rows], labels, np.full(len(labels), ""))


def judging(folder, **changes):
    told = Judging(
        normalised(blobs(120)),
        normalised(blobs(80, 1)),
        tiny.plan_for("classify", augmentation={}),
        folder,
        Clock(now=lambda: 0.0),
        math.inf,
    )
    return replace(told, **changes)


def state(step, auc, fd=3.0, spread=0.03):
    """A look; its standard error is .03 / 1.96, about .015."""
    around = [Metric(v, v - s, v + s, 80) for v, s in ((auc, spread), (fd, 10 * spread))]
    return Look(step, *around)


@pytest.mark.parametrize(
    ("looks", "kept", "why"),
    [
        # .015 below the best is within a standard error, and the latest of equals is kept.
        ([state(10, 0.90), state(8, 0.912), state(5, 0.88)], 10, "none of 2 earlier states"),
        ([state(10, 0.80), state(8, 0.90), state(5, 0.905)], 8, "learned 0.900 on the inner fold, .* of the end 0.800"),
        ([state(10, 0.80), state(8, 0.86), state(5, 0.90)], 5, "Step 5 of 10 was kept"),
        ([state(10, 0.90, 5.0), state(8, 0.91, 3.0), state(5, 0.905, 3.1)], 8, "a distance of 3.00 against 5.00"),
        # Nearness does not count against what is taught.
        ([state(10, 0.90, 5.0), state(8, 0.70, 1.0)], 10, "none of 1 earlier"),
        ([state(10, math.nan), state(8, 0.70)], 8, "from images of the end a network could not learn"),
        # The inner fold has one class only: the distance decides.
        ([state(10, math.nan, 5.0), state(8, math.nan, 2.0)], 8, "a network could not learn"),
        ([Look(10, Metric(0.5), Metric(9.0)), Look(5, Metric(0.9), Metric(1.0))], 10, "none of 1 earlier"),
    ],
)
def test_what_teaches_most_is_kept_then_what_is_nearest_then_the_latest(looks, kept, why):
    found = decided(looks)
    assert found.step == kept
    assert re.search(why, found.why)
    assert found.looks == tuple(looks)
    assert sentence(found.why, "zh") != found.why


def test_looks_stay_within_their_time():
    rng = np.random.default_rng(0)
    for _ in range(200):
        seconds, beside, step_s = rng.uniform(0, 60), rng.uniform(0, 3), rng.uniform(0.001, 0.2)
        n, steps = affordable(4, seconds, beside, step_s)
        assert n * (beside + steps * step_s) <= seconds
        assert n == 0 or stopping.LEAST_STEPS <= steps <= stopping.MOST_STEPS
    assert affordable(4, -1.0, 0.1, 0.01) == (0, 0)


def test_states_that_show_what_was_not_asked_for_are_not_kept(tmp_path):
    """Half of the end's images are of the other class: nothing can be learned from them."""
    states = {40: lambda: Draws(0.0), 60: lambda: Draws(0.0), 80: lambda: Draws(0.5)}
    found = chosen(states, judging(tmp_path))
    assert [one.step for one in found.looks] == [80, 60, 40]
    assert found.step == 60
    taught = {one.step: one.teaches.value for one in found.looks}
    assert taught[60] > taught[80] + 0.1
    # States that draw alike are alike: they have the same numbers to draw from.
    assert taught[40] == taught[60]
    early = chosen({40: lambda: Draws(0.5), 80: lambda: Draws(0.0)}, judging(tmp_path))
    assert early.step == 80


def test_a_state_from_which_nothing_can_be_learned_is_not_kept(tmp_path, monkeypatch):
    tried = []

    trained = use.trained_on

    def diverged(drawn, *rest, **kept):
        tried.append(drawn)
        if len(tried) == 1:
            raise DivergedError("The loss is nan")
        return trained(drawn, *rest, **kept)

    monkeypatch.setattr(use, "trained_on", diverged)
    found = chosen({40: lambda: Draws(0.0), 80: lambda: Draws(0.0)}, judging(tmp_path))
    assert found.step == 40


def test_without_time_or_anything_to_compare_with_the_end_is_kept(tmp_path, monkeypatch):
    states = {40: lambda: Draws(0.0), 80: lambda: Draws(0.5)}
    found = chosen(states, judging(tmp_path, until=0.0))
    assert (found.step, found.looks) == (80, ())
    assert "no time to look" in found.why
    other = normalised(blobs(40, 1))
    strange = replace(other, labels=other.labels + 5)
    for told in (judging(tmp_path, inner=strange), None):
        alone = chosen(states if told else {80: states[80]}, told or judging(tmp_path))
        assert (alone.step, alone.looks) == (80, ())
        assert "nothing to compare" in alone.why
    for why in (found.why, alone.why):
        assert sentence(why, "zh") != why


def test_looking_ends_when_its_time_is_over(tmp_path, monkeypatch):
    """Each drawing takes 4 s: of three states that were planned for 10 s two are looked at."""
    now = [0.0]

    class Slow(Draws):
        def sample(self, labels, rng):
            now[0] += 4.0
            return super().sample(labels, rng)

    monkeypatch.setattr(stopping, "affordable", lambda *given: (3, stopping.LEAST_STEPS))
    states = {step: lambda: Slow(0.0) for step in (40, 60, 80)}
    found = chosen(states, judging(tmp_path, clock=Clock(now=lambda: now[0]), until=10.0))
    assert [one.step for one in found.looks] == [80, 60]
    assert now[0] <= 10.0


def test_the_network_that_judges_is_half_as_wide():
    plan = tiny.plan_for("classify", network_options={"widths": (16.0, 6.0, 3.0), "depth": 8}, compile=True)
    narrow = narrowed(plan)
    assert narrow.network_options == {"widths": (8.0, 4.0, 3.0), "depth": 8}
    assert not narrow.compile


def asked(seen=None, **changes):
    events = Events(None, *([] if seen is None else [seen.append]))
    inner = normalised(blobs(80, 1))
    return Order(
        **{"family": "dcgan", "size": "tiny", "clock": Clock(now=lambda: 0.0), "events": events, "inner": inner}
        | changes
    )


def choose_first(states, judging):
    return Choice(min(states), (state(max(states), 0.5), state(min(states), 0.9)), "told")


def test_the_state_that_is_chosen_is_the_generator_and_nothing_else_is_left(tmp_path, monkeypatch):
    kept, train = {}, making.train_member

    def noting(work, fold, deadline):
        trained = train(work, fold, deadline)
        kept.update({step: load_weights(path) for step, path in trained.kept.items()})
        return trained

    monkeypatch.setattr(making, "train_member", noting)
    monkeypatch.setattr(making, "chosen_state", choose_first)
    seen = []
    # A tenth of the time is for looks: of 20 steps 18 are planned, and states are kept at 9, 12 and 15.
    maker = made(tmp_path, steps=20, order=asked(seen))
    assert maker.made.steps == 18
    assert list(kept) == [9, 12, 15]
    assert maker.made.kept == 9
    assert maker.made.why == "told"
    assert [one.step for one in maker.made.looks] == [18, 9]
    own = load_weights(tmp_path / "maker" / "generator.safetensors")
    assert all(torch.equal(own[name], values) for name, values in kept[9].items())
    assert any(not torch.equal(own[name], values) for name, values in kept[12].items())
    assert not list((tmp_path / "maker").rglob("*kept*")) + list((tmp_path / "maker").rglob("*checkpoint*"))
    assert not (tmp_path / "maker" / "training" / "looks").exists()
    (told,) = [e for e in seen if e["kind"] == "chosen"]
    assert (told["step"], told["of"], told["looks"]) == (9, 18, 2)
    again = record.read(Made, tmp_path / "maker" / "generator.json")
    assert again == maker.made


def test_looks_that_are_interrupted_go_on_without_training_again(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setattr(making, "chosen_state", choose_first)
    whole = made(tmp_path / "a", steps=20, order=asked())

    def stop(states, judging):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(making, "chosen_state", stop)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path / "b", steps=20, order=asked())
    assert not (tmp_path / "b" / "maker" / "generator.json").exists()
    monkeypatch.setattr(rooms.Loop, "_one_step", lambda self: pytest.fail("trained again"))
    resumed = made(tmp_path / "b", steps=20, order=asked())
    assert resumed.made.weights == whole.made.weights


def test_a_worse_later_state_is_not_kept(tmp_path, monkeypatch):
    """A generator that is as it should be until the last moment, and then is nothing but noise."""
    train = making.train_member

    def spoilt(work, fold, deadline):
        trained = train(work, fold, deadline)
        rng = torch.Generator().manual_seed(0)
        noise = {k: torch.randn(v.shape, generator=rng) if v.ndim > 1 else v for k, v in trained.weights.items()}
        return replace(trained, weights=noise)

    monkeypatch.setattr(making, "train_member", spoilt)
    maker = made(tmp_path, normalised(blobs(120)), steps=240, order=asked(family="vae"))
    assert maker.made.kept < maker.made.steps
    end, *before = maker.made.looks
    assert end.fd.value > max(one.fd.value for one in before)
    assert maker.made.why.startswith(f"Step {maker.made.kept} of {maker.made.steps} was kept")


def test_nobody_is_asked_without_an_inner_fold(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "chosen_state", lambda *given: pytest.fail("asked"))
    maker = made(tmp_path, steps=20, order=asked(inner=None))
    assert (maker.made.kept, maker.made.steps, maker.made.looks, maker.made.why) == (20, 20, (), "")


def test_the_outer_fold_and_the_locked_part_are_never_touched(tmp_path, monkeypatch):
    """Every image that is read while a generator is made is of a fold to learn from or of the inner one."""
    drawn = normalised(blobs(100))
    _, plan, store = given(tmp_path, drawn)
    cohort = cohort_of(drawn, plan, "case")
    folds = {c.id: n % 5 for n, c in enumerate(cohort.cases) if n < 80}
    locked = frozenset(c.id for n, c in enumerate(cohort.cases) if n >= 80)
    cohort = replace(cohort, folds=folds, locked=locked)
    read = set()

    class Watched(type(store)):
        def image(self, case):
            read.add(case)
            return super().image(case)

    watched = Watched(store.folder)
    clock, task = Clock(now=lambda: 0.0), task_named("classify")
    work = Work(cohort, plan, task, watched, tmp_path / "arms", clock, Events())
    looking = Looking(work, SimpleNamespace(generator_s=seconds_for(12)), "dcgan:size=tiny", tmp_path)
    maker = looking.maker(Run(0, 1, 0), tmp_path / "fold0")
    assert maker.made.looks
    of = {fold: {c for c, f in folds.items() if f == fold} for fold in range(5)}
    assert read == of[1] | of[2] | of[3] | of[4]
    learned = [c for c in cohort.cases if folds.get(c.id, 0) > 1]
    assert maker.made.data == drawn_of(store, [c.id for c in learned], [c.patient for c in learned]).digest

"""A generator that is over-fitted on purpose: it repeats what it learned, or it is none."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from blobs import blobs
from test_making import given, normalised

import tiny
from lucency.events import Clock, Events
from lucency.generators import family_named
from lucency.synthesize import making
from lucency.synthesize.arrays import cohort_of
from lucency.synthesize.audit.finding import surely_above
from lucency.synthesize.audit.membership import membership
from lucency.synthesize.audit.planted import planted
from lucency.synthesize.audit.spaces import Pixels, near
from lucency.synthesize.drawn import Drawn
from lucency.synthesize.gate.design import control_fold
from lucency.synthesize.gate.running import apart, runs_of
from lucency.synthesize.looking import Looking
from lucency.synthesize.making import Order, members_of
from lucency.synthesize.overfitting import FEW, few_of, overfitted, repeats
from lucency.tasks import task_named
from lucency.tasks.generate import Generate
from lucency.train import Work

pytestmark = pytest.mark.usefixtures("ten_images")


def few():
    return normalised(blobs(FEW, 3))


def order(family="vae"):
    return Order(family=family, clock=Clock(now=lambda: 0.0), inner=normalised(blobs(20, 4)))


def test_images_repeat_where_they_come_nearer_than_the_learned_ones_are_to_each_other():
    """0, 10 and 30 on a line: the nearest others lie 10, 10 and 20 off, so 6, 6 and 12 are near enough."""

    def at(*values):
        return Drawn(
            np.array(values, dtype=np.float32).reshape(-1, 1, 1, 1, 1), np.zeros(len(values)), [""] * len(values)
        )

    learned = at(0, 10, 30)
    assert repeats(at(6, 42), learned)
    assert not repeats(at(-7, 17, 43), learned)
    assert repeats(planted(few(), 64, np.random.default_rng(0))[0], few())
    assert not repeats(normalised(blobs(300, 9)), few())


def test_one_image_each_of_a_few_patients_is_taken():
    members = blobs(40, each=3)
    allowed = np.arange(30, 120)
    rows = few_of(members, allowed, np.random.default_rng(0))
    assert len(rows) == FEW == len(set(members.people[rows].tolist()))
    assert set(rows.tolist()) <= set(allowed.tolist())


def test_an_attack_finds_whom_an_overfitted_generator_knows(tmp_path, monkeypatch):
    plan = tiny.plan_for("classify", augmentation={"flip_i": 0.5})
    drawn = overfitted(few(), plan, tmp_path, 330.0, order())
    assert drawn is not None
    pixels, strangers = Pixels(2), normalised(blobs(120, 8))
    back = [near(pixels, drawn.images, pixels.plain(d.images), d.people).back for d in (few(), strangers)]
    found, _ = membership("pixels", -back[0], -back[1], (few().people, strangers.people), np.random.default_rng(0))
    assert surely_above(found.value, 0.5)
    # Nothing changes the images that it learns, and nobody looks for its best state.
    maker_plan = making.record.read(making.Plan, tmp_path / "plan.json")
    assert (maker_plan.task_options["flips"], maker_plan.task_options["chance"]) == ("", 0.0)
    assert not list(tmp_path.rglob("*kept*"))
    monkeypatch.setattr(making, "train_member", None)
    again = overfitted(few(), plan, tmp_path, 330.0, order())
    assert np.array_equal(again.images, drawn.images)


def test_without_the_time_to_repeat_there_is_none(tmp_path, monkeypatch):
    plan = tiny.plan_for("classify")
    assert overfitted(few(), plan, tmp_path / "short", 6.0, order()) is None
    monkeypatch.setattr(type(family_named("vae")), "least_seen", 10**6)
    assert overfitted(few(), plan, tmp_path / "shorter", 6.0, order()) is None
    assert overfitted(few().take(np.arange(8)), plan, tmp_path / "fewer", 60.0, order()) is None


def test_haste_shortens_what_takes_time_and_leaves_the_rest(tmp_path):
    cohort, plan, store = given(tmp_path, normalised(blobs(40)))
    members = members_of(cohort, plan, store, 0)
    own = making.drafted(members, plan, 0, family_named("dcgan"), 16, replace(order("dcgan"), haste=4.0))
    usual = making.drafted(members, plan, 0, family_named("dcgan"), 16, order("dcgan"))
    assert "haste" not in usual.task_options
    assert replace(own, task_options=usual.task_options) == usual
    quick, slow = (Generate().pace("generator", p, 100, 1.0) for p in (own, usual))
    assert quick.rate == pytest.approx(4 * slow.rate)
    # Forgotten by half over a quarter of the images.
    assert quick.ema == pytest.approx(slow.ema**4)
    assert quick.betas == slow.betas


@pytest.mark.parametrize("n", [3, 4, 5, 7])
def test_a_run_is_tried_on_patients_that_it_learns_from(n):
    folds = tuple(range(n))
    assert all(control_fold(folds, run) not in (run.fold, run.inner) for run in runs_of(folds, 1))


def test_one_overfitted_generator_serves_the_runs_that_may_know_its_patients(tmp_path, monkeypatch):
    drawn = normalised(blobs(100))
    _, plan, store = given(tmp_path, drawn)
    cohort = cohort_of(drawn, plan, "case")
    cohort = replace(cohort, folds={c.id: n % 5 for n, c in enumerate(cohort.cases)})
    work = Work(cohort, plan, task_named("classify"), store, tmp_path / "arms", Clock(), Events())
    given_to = []

    def told(some, plan, place, seconds, order):
        given_to.append((place.name, some.digest, seconds))
        return some

    monkeypatch.setattr("lucency.synthesize.looking.overfitted", told)
    folds = (0, 1, 2, 3, 4)
    looking = Looking(work, SimpleNamespace(control_s=30.0, folds=folds), "dcgan", tmp_path)
    runs = runs_of(folds, 1)
    for run in runs:
        members = members_of(apart(cohort, run), plan, store, run.fold)
        control = looking.control(run, members)
        assert members.take(control.rows).digest == control.images.digest
    assert [name for name, _, _ in given_to] == ["control4", "control4", "control4", "control2", "control2"]
    assert len(set(given_to)) == 2
    looking = Looking(work, SimpleNamespace(control_s=0.0, folds=folds), "dcgan", tmp_path)
    assert looking.control(runs[0], members) is None

"""Images without a label in a run: kept, prepared, learned from by the right members, and by what."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from lucency import model as models
from lucency import planner
from lucency.calibration import NEVER, SURE, Calibration, sure_at
from lucency.errors import UsageError
from lucency.events import Clock, Events
from lucency.losses import IGNORE
from lucency.plan import Grid, Machine, Schedule, Timing
from lucency.planner import overridden
from lucency.prepare import digest_of, prepare, unlabelled, used
from lucency.profile import profile
from lucency.spare import with_unlabelled
from lucency.tasks import Batch, task_named
from lucency.text import sentence
from lucency.train import OutOfFold, Work, early
from lucency.train.loop import Loop
from lucency.train.member import member
from lucency.train.sampler import Sampler
from lucency.train.teacher import Teaching, named, ramp, spread_over
from tiny import masks, plan_for, stored, stripes

pytestmark = pytest.mark.usefixtures("one_thread")


def mostly_unlabelled(folder, n=24, labelled=12):
    """Stripes of which only the first few keep their label; three of the others are of patients of fold 0."""
    cohort = stripes(folder, n=n)
    kept = {c.id for c in cohort.cases[:labelled]}
    cases = []
    for number, c in enumerate(cohort.cases):
        if c.id in kept:
            cases.append(c)
        else:
            patient = cohort.cases[0].patient if number >= n - 3 else c.patient
            cases.append(replace(c, target=None, patient=patient))
    folds = {i: f for i, f in cohort.folds.items() if i in kept}
    return with_unlabelled(replace(cohort, cases=tuple(cases), folds=folds))


def half_masked(folder, n=6):
    cohort = masks(folder, n)
    cases = tuple(c if k < 3 else replace(c, target=None) for k, c in enumerate(cohort.cases))
    return with_unlabelled(replace(cohort, cases=cases, folds={c.id: k % 3 for k, c in enumerate(cases[:3])}))


def work_of(cohort, plan, folder, events=None):
    task = task_named(plan.task)
    store = prepare(cohort, plan, task.target, folder / "prepared")
    return Work(cohort, plan, task, store, folder / "training", Clock(), events or Events())


# --- the store and the sampler ---------------------------------------------------------------------------------------


def test_images_without_a_label_are_prepared_only_where_the_plan_uses_them(tmp_path):
    cohort = mostly_unlabelled(tmp_path)
    none, some = plan_for("classify"), plan_for("classify", pretrain="masked")
    assert {c.id for c in used(cohort, none)} == set(cohort.folds)
    assert {c.id for c in used(cohort, some)} == {c.id for c in cohort.cases}
    assert digest_of(cohort, none) != digest_of(cohort, some)
    store = stored(cohort, some, tmp_path)
    spare = next(iter(cohort.unlabelled))
    assert math.isnan(store.target(spare))
    assert store.image(spare).shape == (1, 1, 16, 16)


def test_of_too_many_some_are_drawn_by_the_data_alone(tmp_path, monkeypatch):
    cohort, plan = mostly_unlabelled(tmp_path), plan_for("classify", unlabelled="mean-teacher")
    monkeypatch.setattr("lucency.prepare.store.MOST_UNLABELLED", 5)
    chosen = unlabelled(cohort, plan)
    assert len(chosen) == 5
    assert chosen == unlabelled(cohort, replace(plan, seed=9))


def test_a_mask_that_is_not_there_is_ignored_everywhere(tmp_path):
    cohort, plan = half_masked(tmp_path), plan_for("segment", unlabelled="mean-teacher")
    store = stored(cohort, plan, tmp_path)
    assert {int(v) for v in np.unique(store.mask("case5"))} == {IGNORE}
    assert 1 in store.mask("case0")


@pytest.mark.parametrize(("task", "make"), [("classify", mostly_unlabelled), ("segment", half_masked)])
def test_a_blind_batch_holds_images_and_no_target(tmp_path, task, make):
    cohort, plan = make(tmp_path), plan_for(task, unlabelled="mean-teacher")
    small = replace(plan, patch=(8, 8, 8)) if task == "segment" else plan
    store = stored(cohort, plan, tmp_path)
    images, targets = Sampler(store, list(cohort.unlabelled), small, dense=False, blind=True).batch(0)
    assert images.shape == (plan.batch, 1, *small.patch)
    assert targets.shape == (plan.batch,)
    assert not bool(targets.any())


# --- which images a member sees ---------------------------------------------------------------------------------------


def test_a_member_never_sees_an_image_of_a_patient_it_is_judged_by(tmp_path):
    cohort = mostly_unlabelled(tmp_path)
    judged = {c.patient for c in cohort.fold(0)}
    work = work_of(cohort, plan_for("classify", pretrain="contrastive", pretrain_steps=2), tmp_path)
    patient = {c.id: c.patient for c in cohort.cases}
    assert {patient[c] for c in work.unlabelled(0)}.isdisjoint(judged)
    assert not {patient[c] for c in work.unlabelled(1)}.isdisjoint(judged)
    own = early.of_pretext(work, "pretrain")
    for fold in (0, 1, 2):
        seen = {patient[c] for c in Loop(own, fold, math.inf).sampler.cases}
        assert seen.isdisjoint({c.patient for c in cohort.fold(fold)})


# --- before training --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["contrastive", "masked"])
def test_the_body_is_handed_on_and_its_curve_is_told(tmp_path, kind):
    told = []
    plan = plan_for("classify", pretrain=kind, pretrain_steps=6, schedule=Schedule(4, warmup=1))
    work = work_of(mostly_unlabelled(tmp_path), plan, tmp_path, Events(None, told.append))
    begun = early.early(work, 0, math.inf)
    given = models.load_weights(tmp_path / "training" / "pretrain" / "fold0.safetensors")
    assert set(given)
    assert all(k.startswith("body.") for k in given)
    net = Loop(begun.work, 0, math.inf).parts["net"].state_dict()
    plain = Loop(work, 0, math.inf).parts["net"].state_dict()
    learned = [k for k in given if given[k].is_floating_point()]
    assert all(torch.equal(net[k], given[k]) for k in learned)
    assert any(not torch.equal(plain[k], given[k]) for k in learned)
    assert begun.rows
    assert all(math.isfinite(r["loss"]) for r in begun.rows)
    stages = [e.get("stage") for e in told if e["kind"] == "epoch"]
    assert stages == ["pretrain"] * len(begun.rows)


def test_learning_from_images_alone_makes_its_loss_smaller(tmp_path):
    plan = plan_for("classify", pretrain="masked", pretrain_steps=60, augmentation={}, schedule=Schedule(2, warmup=1))
    rows = early.early(work_of(mostly_unlabelled(tmp_path), plan, tmp_path), 0, math.inf).rows
    assert np.mean([r["loss"] for r in rows[-5:]]) < 0.8 * rows[0]["loss"]


def test_what_was_learned_before_an_interruption_is_kept(tmp_path):
    plan = plan_for("classify", pretrain="masked", pretrain_steps=4, schedule=Schedule(4, warmup=1))
    work = work_of(mostly_unlabelled(tmp_path), plan, tmp_path)
    first = early.early(work, 0, math.inf)
    path = tmp_path / "training" / "pretrain" / "fold0.safetensors"
    written = path.stat().st_mtime_ns
    again = early.early(work, 0, math.inf)
    assert path.stat().st_mtime_ns == written
    assert all(torch.equal(again.work.start[k], v) for k, v in first.work.start.items())


def test_steps_follow_from_the_share_of_the_time(tmp_path):
    plan = plan_for("classify", pretrain="contrastive", pretrain_share=0.5, schedule=Schedule(1000, warmup=1))
    work = work_of(mostly_unlabelled(tmp_path), plan, tmp_path)
    timing = Timing(1e-7, 0.1, 0.1, 100, 1)
    # 1000 steps of 0.1 microseconds leave no time for a single step of the pretext: one is made all the same.
    assert early.timed(work, timing, said=False).pretrain_steps == 1
    found = early.timed(work, replace(timing, step_s=1e3), said=False)
    # More time than can be used: the passes are bounded. 21 images of 24 may be seen by fold 0, in one batch of 64.
    assert found.pretrain_steps == early.MOST_PASSES
    assert "images that it may see" in found.reasons["pretrain"]
    assert early.timed(work, timing, said=True) is plan


def test_a_pretext_is_timed_also_where_training_has_a_single_step(tmp_path):
    plan = plan_for("classify", pretrain="masked", pretrain_share=0.3, schedule=Schedule(1, warmup=1))
    work = work_of(mostly_unlabelled(tmp_path), plan, tmp_path)
    assert early.timed(work, Timing(1e-7, 0.1, 0.1, 100, 1), said=False).pretrain_steps == 1


# --- the teacher ------------------------------------------------------------------------------------------------------


def test_what_a_teacher_is_sure_of_by_hand():
    opinion = torch.tensor([[0.96, 0.04], [0.90, 0.10], [0.30, 0.70], [0.05, 0.95]])
    found = named(opinion, torch.tensor([0.95, 0.7]))
    assert found.tolist() == [0, IGNORE, 1, 1]
    assert named(opinion, torch.tensor([0.95, NEVER])).tolist() == [0, IGNORE, IGNORE, IGNORE]


def test_thresholds_are_those_at_which_the_held_out_cases_were_right():
    # Called 1: of the sixteen surest all right; below 0.7 all wrong. Called 0: nine cases, too few to tell.
    p1 = np.concatenate([np.linspace(0.99, 0.7, 16), np.linspace(0.69, 0.51, 10), np.full(9, 0.1)])
    truth = np.concatenate([np.ones(16), np.zeros(10), np.zeros(9)]).astype(int)
    low, high = sure_at(np.stack([1 - p1, p1], axis=1), truth)
    assert low == SURE
    assert high == pytest.approx(0.7)
    # Always wrong: never believed.
    assert sure_at(np.stack([1 - p1, p1], axis=1), np.zeros(35, dtype=int))[1] == NEVER


def test_voxels_of_a_held_out_mask_are_drawn_label_by_label():
    rng = np.random.default_rng(0)
    raw, target = rng.normal(size=(3, 2, 4, 4)), np.zeros((2, 4, 4), dtype=int)
    target[0, 0, :2], target[1] = 1, IGNORE
    logits, classes = spread_over(raw, target, 5, rng)
    assert sorted(classes.tolist()) == [0] * 5 + [1] * 2
    ones = {tuple(np.round(row, 6)) for row in logits[classes == 1]}
    assert ones == {tuple(np.round(raw[:, 0, 0, n], 6)) for n in range(2)}


def test_the_teachers_weight_grows():
    assert [round(ramp(p), 4) for p in (0.0, 0.2, 0.4, 1.0)] == [0.0067, 0.2865, 1.0, 1.0]


class Says(torch.nn.Module):
    """A network that says the same of every image."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits))
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return self.logits.expand(len(x), -1)


def teaching_of(tmp_path, kind, **work_changes):
    plan = plan_for("classify", unlabelled=kind, task_options={"mixup": 0.0, "smoothing": 0.0})
    work = replace(work_of(mostly_unlabelled(tmp_path), plan, tmp_path), **work_changes)
    return Teaching(work, 0), Batch(torch.zeros(4, 1, 16, 16), torch.zeros(4), plan.task_options, 1.0)


def test_a_network_that_agrees_with_its_teacher_has_no_loss_and_one_that_does_not_learns_from_it(tmp_path):
    teaching, batch = teaching_of(tmp_path, "mean-teacher")
    assert teaching.loss(Says([0.0, 2.0]).train(), Says([0.0, 2.0]), batch, 0).item() == pytest.approx(0, abs=1e-10)
    student, teacher = Says([0.0, 0.0]).train(), Says([0.0, 4.0])
    loss = teaching.loss(student, teacher, batch, 0)
    # Probabilities .5 and 1 / (1 + exp -4) = .98201: a squared difference of .23234 for each class, times ten.
    assert loss.item() == pytest.approx(2.3234, abs=1e-3)
    loss.backward()
    assert teacher.logits.grad is None
    assert float(student.logits.grad[1]) < 0
    assert not torch.equal(student.seen[0], teacher.seen[0])


def test_pseudo_labels_teach_only_where_the_teacher_is_sure(tmp_path):
    teaching, batch = teaching_of(tmp_path, "pseudo", trusted=Calibration(2.0, extra={"sure_at": (0.95, 0.8)}))
    # Logits 0 and 4 at temperature 2: .881 of class 1, above its .8.
    student = Says([0.0, 0.0]).train()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lucency.tasks.classify._outputs", lambda net: 2)
        assert teaching.loss(student, Says([0.0, 4.0]), batch, 0).item() == pytest.approx(math.log(2), abs=1e-5)
        # .881 of class 0 is below its .95: nothing is learned.
        assert teaching.loss(student, Says([4.0, 0.0]), batch, 0).item() == 0.0


def test_the_teacher_of_pseudo_labels_was_never_told_of_the_held_out_fold(tmp_path):
    plan = plan_for("classify", unlabelled="pseudo", folds=(0, 1, 2), schedule=Schedule(4, warmup=1))
    work = work_of(mostly_unlabelled(tmp_path), plan, tmp_path)
    early.first_round(work, math.inf)
    outputs = OutOfFold(tmp_path / "training" / "teacher" / "out_of_fold")
    assert set(outputs.cases) == set(work.cohort.folds)
    begun = early.early(work, 1, math.inf)
    assert len(begun.sure_at) == 2
    assert begun.work.plan.schedule.steps == 2
    # Whatever stands in the labels of fold 1, its member's thresholds are the same.
    for case in work.cohort.fold(1):
        entry = work.store.entries[case.id]
        work.store.entries[case.id] = replace(entry, target=1.0 - entry.target)
    assert early.early(work, 1, math.inf).work.trusted == begun.work.trusted


def test_every_teacher_starts_with_the_body_of_its_own_fold(tmp_path, monkeypatch):
    plan = plan_for(
        "classify", unlabelled="pseudo", pretrain="contrastive", folds=(0, 1), schedule=Schedule(2, warmup=1)
    )
    work = work_of(mostly_unlabelled(tmp_path), replace(plan, pretrain_steps=1), tmp_path)
    begun = {}
    train = early._train_teacher
    monkeypatch.setattr(early, "_train_teacher", lambda w, f, *rest: (begun.update({f: w.start}), train(w, f, *rest)))
    early.early(work, 0, math.inf)
    assert set(begun) == {0, 1}
    for fold, start in begun.items():
        body = models.load_weights(tmp_path / "training" / "pretrain" / f"fold{fold}.safetensors")
        assert body
        assert all(torch.equal(start[name], body[name]) for name in body)


def test_with_one_fold_the_teacher_must_be_as_sure_as_it_says(tmp_path):
    plan = plan_for("classify", unlabelled="pseudo", schedule=Schedule(4, warmup=1))
    begun = early.early(work_of(mostly_unlabelled(tmp_path), plan, tmp_path), 0, math.inf)
    assert begun.work.trusted == Calibration()
    assert begun.sure_at == ()


@pytest.mark.parametrize("kind", ["mean-teacher", "pseudo"])
@pytest.mark.parametrize(("task", "make"), [("classify", mostly_unlabelled), ("segment", half_masked)])
def test_members_are_trained_and_judged_with_every_way(tmp_path, task, make, kind):
    plan = plan_for(task, unlabelled=kind, folds=(0, 1), schedule=Schedule(4, warmup=1))
    work = work_of(make(tmp_path), plan, tmp_path)
    one = member(work, 0, tmp_path / "out_of_fold", math.inf)
    assert all(torch.isfinite(v).all() for v in one.weights.values() if v.is_floating_point())
    assert set(OutOfFold(tmp_path / "out_of_fold").cases) == {c.id for c in work.cohort.fold(0)}
    assert (len(one.facts["sure_at"]) == 2) == (kind == "pseudo")
    json.dumps(one.facts)


def test_a_training_with_a_teacher_resumed_ends_with_the_same_weights(tmp_path):
    plan = plan_for("classify", unlabelled="mean-teacher", schedule=Schedule(6, warmup=1))
    work = work_of(mostly_unlabelled(tmp_path), plan, tmp_path)
    straight = Loop(work, 0, math.inf).run().weights
    half = Loop(work, 0, math.inf)
    for _ in range(3):
        half._one_step()
    half.save()
    resumed = Loop(work, 0, math.inf).run().weights
    assert all(torch.equal(straight[k], resumed[k]) for k in straight)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_task_that_cannot_be_taught_so_is_refused_with_what_can(tmp_path):
    plan = plan_for("retrieve", unlabelled="mean-teacher", task_options={})
    with pytest.raises(UsageError, match="for task 'retrieve'"):
        Teaching(work_of(mostly_unlabelled(tmp_path), plan, tmp_path), 0)


def test_without_such_images_there_is_nothing_to_teach(tmp_path):
    with pytest.raises(UsageError, match="no image without a label"):
        Teaching(work_of(stripes(tmp_path), plan_for("classify", unlabelled="pseudo"), tmp_path), 0)


def test_a_misspelt_way_is_answered_with_the_ways():
    with pytest.raises(UsageError, match="contrastive, masked"):
        plan_for(pretrain="simclr")
    with pytest.raises(UsageError, match="mean-teacher, pseudo"):
        plan_for(unlabelled="mixmatch")


@pytest.mark.parametrize("changes", [{"pretrain_share": 1.0}, {"pretrain_share": -0.1}, {"pretrain_steps": -1}])
def test_a_share_of_all_the_time_or_less_than_none_is_refused(changes):
    with pytest.raises(UsageError, match="0 or more"):
        plan_for(**changes)


def test_a_network_without_a_body_for_images_cannot_learn_from_them():
    plan = plan_for("classify", pretrain="masked")

    class Bare:
        dense = False

        def build(self, plan):
            return {"net": torch.nn.Linear(2, 2)}

    with pytest.raises(UsageError, match="without a body"):
        early.Pretext(Bare(), "masked", frames=False).build(plan)


# --- the plan ---------------------------------------------------------------------------------------------------------


def planned(cohort, name="classify", **changes):
    found = profile(cohort)
    needs = replace(task_named(name).needs(found), **changes)
    return planner.plan(cohort, found, needs, Machine(2, 4000.0), planner.Budget(10.0)), found


def test_from_ten_times_as_many_on_the_body_learns_first_and_the_plan_says_why(tmp_path):
    cohort = mostly_unlabelled(tmp_path, n=140)
    # 12 labelled, 125 without a label that every fold may see and three that fold 0 may not: 128.
    draft, _ = planned(cohort)
    assert draft.pretrain == "contrastive"
    assert "128 images without a label are at least 10 times the 12 with one" in draft.reasons["pretrain"]
    few = replace(cohort, unlabelled=dict(list(cohort.unlabelled.items())[:119]))
    fewer, _ = planned(few)
    assert (fewer.pretrain, fewer.reasons.get("pretrain")) == ("none", None)
    assert planned(cohort, pretrain="none")[0].pretrain == "none"
    assert overridden(draft, {"pretrain": "masked"}).reasons["pretrain"].endswith("pretrain = masked")


def test_it_has_its_share_of_the_time_and_what_training_cannot_use(tmp_path):
    draft, found = planned(mostly_unlabelled(tmp_path, n=140))

    def timed(plan, step_s):
        timing = Timing(step_s, 0.01, 0.001, 100.0, 1.0)
        return planner.timed(plan, timing, found, n_locked=5, spent_s=20.0, dense=False)

    slow, plain = timed(draft, 10.0), timed(replace(draft, pretrain="none"), 10.0)
    assert slow.pretrain_share == pytest.approx(0.3)
    assert slow.schedule.steps == pytest.approx(0.7 * plain.schedule.steps, abs=1)
    quick = timed(draft, 0.01)
    used_s = len(quick.folds) * quick.schedule.steps * 0.01
    # 300 passes over twelve images take seconds; the rest of minutes is left to the images without a label.
    assert quick.pretrain_share > 0.8
    assert quick.forecast.seconds["train"] == pytest.approx(used_s / (1 - quick.pretrain_share), rel=1e-6)
    assert plain.pretrain_share == 0.0


def test_members_are_fewer_where_each_has_to_learn_from_images_first(tmp_path):
    draft, found = planned(mostly_unlabelled(tmp_path, n=140))
    timing = Timing(0.6, 0.01, 0.001, 100.0, 1.0)
    args = {"n_locked": 5, "spent_s": 20.0, "dense": False}
    with_it, without = (planner.timed(replace(draft, pretrain=p), timing, found, **args) for p in ("masked", "none"))
    assert len(with_it.folds) < len(without.folds)


def test_thresholds_want_several_folds(tmp_path):
    draft, found = planned(mostly_unlabelled(tmp_path, n=140), pretrain="none")
    timing = Timing(0.8, 0.01, 0.001, 100.0, 1.0)
    alone = replace(draft, members=1)
    named_by = replace(draft, unlabelled="pseudo")
    args = {"n_locked": 5, "spent_s": 20.0, "dense": False}
    assert len(planner.timed(alone, timing, found, **args).folds) == 1
    assert len(planner.timed(named_by, timing, found, **args).folds) >= 3


def test_every_reason_has_its_chinese(tmp_path):
    cohort = mostly_unlabelled(tmp_path, n=140)
    for kind in ("contrastive", "masked"):
        draft, _ = planned(cohort, pretrain=kind)
        plan = replace(draft, pretrain_share=0.3, grid=Grid("fit", (1, 16, 16)), patch=(1, 16, 16))
        work = work_of(cohort, replace(plan, network_options={"widths": (4.0, 8.0), "depth": 6}), tmp_path / kind)
        reason = early.timed(work, Timing(1e-7, 0.1, 0.1, 100, 1), said=False).reasons["pretrain"]
        assert "passes over" in reason
        assert "TOO FEW" in reason
        # The name of the option stays.
        assert set(re.findall(r"[A-Za-z]{2,}", sentence(reason, "zh"))) == {"minutes"}

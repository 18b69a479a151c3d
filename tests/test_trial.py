"""Choices on trial: when they are tried, for how long, and what evidence it takes to keep one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from lucency import record, trial
from lucency.case import Case, Cohort, Source
from lucency.errors import DivergedError
from lucency.events import Clock, Events
from lucency.plan import Machine, Needs, Schedule, Timing
from lucency.planner import Arm, Budget, Trial, Tried, designed, plan, remarked, timed
from lucency.profile import Profile, summary
from lucency.statistics import Metric
from lucency.tasks import task_named
from lucency.text import sentence
from lucency.train import Work

TASK = task_named("classify")
MACHINE = Machine(cores=2, memory_mib=6000, gflops=100.0)
TIMING = Timing(step_s=0.05, predict_s=0.001, score_s=0.001, memory_mib=500, store_mib=10)


# --- whether and how ------------------------------------------------------------------------------------------------


def cohort_of(common, rare, patients_each=1):
    """A cohort of which every fifth case of each class is in a fold."""
    image = {"image": (Source(("a.png",), "", "raster"),)}
    cases = [
        Case(f"{name}{n:04d}", f"{name}{n // patients_each}", image, name)
        for name, count in (("common", common), ("rare", rare))
        for n in range(count)
    ]
    folds = {c.id: int(c.id[-4:]) // patients_each % 5 for c in cases}
    return Cohort(tuple(sorted(cases, key=lambda c: c.id)), folds, frozenset(), classes=("common", "rare"))


def profile_of(cohort, side=28):
    n = len(cohort.cases)
    counts = {c: sum(k.target == c for k in cohort.cases) for c in cohort.classes}
    voxels = summary(np.linspace(0, 255, 256))
    return Profile(
        n_cases=n,
        n_patients=n,
        modalities={"image": n},
        units={"1": n},
        channels={1: n},
        dims={2: n},
        sizes=({1: n}, {side: n}, {side: n}),
        spacings=tuple(summary(np.ones(n)) for _ in range(3)),
        spacing_known=n,
        intensity={"image": (voxels,)},
        body={"image": (voxels,)},
        class_counts=counts,
    )


def design(common, rare, minutes=10.0, timing=TIMING, said=(), patients_each=1):
    cohort = cohort_of(common, rare, patients_each)
    profile = profile_of(cohort)
    needs = TASK.needs(profile)
    draft = plan(cohort, profile, needs, MACHINE, Budget(minutes))
    return draft, profile, *designed(draft, needs, timing, cohort, profile, said=said)


def test_classes_of_like_size_are_not_tried_and_the_plan_says_from_where_on():
    draft, _, found, refused = design(1000, 200)
    assert (found, refused) == (None, {})
    assert draft.reasons["imbalance"].endswith("no other choice is tried below 5 images to 1")
    assert design(1000, 199)[2] is not None


def test_the_default_is_tried_first_and_all_for_as_many_steps():
    _, _, found, refused = design(1000, 100, minutes=30)
    assert found.setting == "imbalance"
    assert found.choices == ("plain", "balanced_mixup", "logit_adjustment")
    assert refused == {}


def test_a_rare_class_of_too_few_patients_is_not_judged():
    """95 images of 19 patients are 19 patients; 24 are 20 in all, but not 5 in each of five folds, and 15 in three."""
    assert design(1000, 20)[2] is None
    _, _, found, refused = design(1000, 95, patients_each=5)
    assert found is None
    assert refused["imbalance"].startswith("no other choice is tried, for 19 patients of the rarest class")
    assert design(1000, 24)[2] is None
    assert design(1000, 25, minutes=60)[2].folds == (0, 1, 2, 3, 4)


def test_the_more_time_the_more_folds_and_never_more_than_its_share():
    folds = []
    for minutes in (0.5, 4, 8, 20, 40, 200):
        _, _, found, refused = design(2000, 200, minutes)
        folds.append(len(found.folds) if found else 0)
        assert (found is None) == ("imbalance" in refused)
        if found:
            assert found.seconds <= 0.15 * minutes * 60
            # 2200 cases, 80 % of them in steps of a batch of 64: 28 steps a pass, 6 passes at least and 12 at most.
            assert 6 * 28 <= found.steps <= 12 * 28
    assert folds == sorted(folds)
    assert set(folds) == {0, 3, 5}


def test_with_less_time_the_first_choice_alone_is_tried_before_folds_are_given_up():
    """A pass is 28 steps of .05 s; six are 8.4 s, and .22 s to predict: 5 folds take 86 s for two choices, 129 s for
    three. Fifteen per cent of 10 and of 15 minutes are 90 s and 135 s."""
    short, long = (design(1000, 100, minutes=m)[2] for m in (10, 15))
    assert (short.folds, short.choices) == ((0, 1, 2, 3, 4), ("plain", "balanced_mixup"))
    assert (long.folds, long.choices) == ((0, 1, 2, 3, 4), ("plain", "balanced_mixup", "logit_adjustment"))


def test_what_the_user_chose_is_not_tried():
    assert design(1000, 100, said=("imbalance",))[2] is None
    assert design(1000, 100, said=("task_options.imbalance", "batch"))[2] is None
    assert design(1000, 100, said=("batch",))[2] is not None


def test_the_forecast_has_the_trial_and_training_gives_it_up():
    draft, profile, found, _ = design(2000, 200, 20)
    with_it, without = (
        timed(draft, TIMING, profile, n_locked=300, spent_s=20, dense=False, trial_s=s) for s in (found.seconds, 0.0)
    )
    assert with_it.forecast.seconds["trial"] == found.seconds
    assert "trial" not in without.forecast.seconds
    totals = [sum(p.forecast.seconds.values()) for p in (with_it, without)]
    assert totals[0] == pytest.approx(totals[1], rel=0.02)
    trained = [p.forecast.seconds["train"] for p in (with_it, without)]
    assert trained[1] - trained[0] == pytest.approx(found.seconds, rel=0.1)


def test_a_remark_follows_a_reason_or_stands_alone():
    assert remarked({"a": "x"}, {"a": "y", "b": "z"}) == {"a": "x; y", "b": "z"}
    assert remarked({"a": "x"}, {}) == {"a": "x"}


def test_a_task_that_names_nothing_is_not_asked():
    draft, profile, _, _ = design(1000, 100)
    needs = Needs("count", "resnet", 1, dense=False)
    assert designed(draft, needs, TIMING, cohort_of(1000, 100), profile) == (None, {})


# --- carried out ----------------------------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path):
    """Stripes, of which a fifth stand."""
    whole = tiny.stripes(tmp_path, n=160)
    lying = [c for c in whole.cases if c.target == "lying"][:75]
    standing = [c for c in whole.cases if c.target == "standing"][:15]
    cases = tuple(sorted([*lying, *standing], key=lambda c: c.id))
    folds = {c.id: n % 3 for group in (lying, standing) for n, c in enumerate(group)}
    cohort = Cohort(cases, folds, frozenset(), classes=whole.classes)
    options = {"mixup": 0.0, "smoothing": 0.0, "dropout": 0.0, "imbalance": "plain"}
    draft = tiny.plan_for("classify", task_options=options, batch=8, schedule=Schedule(40, warmup=2, ema=0.9))
    draft = replace(draft, reasons={**draft.reasons, "imbalance": "plain cross-entropy"})
    store = tiny.stored(cohort, draft, tmp_path)
    (tmp_path / "run").mkdir()
    return Work(cohort, draft, TASK, store, tmp_path / "run" / "training", Clock(now=lambda: 0.0), Events())


def trial_on(folds, choices=("plain", "balanced_mixup"), steps=6):
    return Trial("imbalance", choices, folds, steps, seconds=1000.0)


def carried_out(work, asked):
    run = work.folder.parent
    trial.begin(run, "digest", work.plan, asked, 0.0)
    return trial.settled(work, asked, run), record.read(Tried, run / trial.FILE)


def test_equal_choices_gain_nothing_and_the_default_stays(work):
    """Under one name the same training, seed and draws: the outputs are equal to the last bit."""
    asked = trial_on((0,), ("plain", "plain "))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lucency.tasks.classify.IMBALANCE", ("plain", "plain "))
        patch.setattr("lucency.losses.IMBALANCE", ("plain", "plain "))
        found, told = carried_out(work, asked)
    assert told.arms[0].value == told.arms[1].value
    assert told.arms[1].gain.value == 0
    assert found.task_options == work.plan.task_options


@pytest.mark.parametrize(("folds", "test"), [((0,), "patient bootstrap"), ((0, 1, 2), "Nadeau")])
def test_every_choice_has_its_number_and_gain_in_plan_file_and_events(work, folds, test):
    seen = []
    work = replace(work, events=Events(None, seen.append))
    found, told = carried_out(work, trial_on(folds))
    assert [a.choice for a in told.arms] == ["plain", "balanced_mixup"]
    assert told.arms[0].gain is None
    assert test in told.arms[1].test
    for arm in told.arms:
        assert arm.value.lower <= arm.value.value <= arm.value.upper
    assert told.kept == found.task_options["imbalance"]
    reason = found.reasons["imbalance"]
    assert f"tried on {len(folds)} of 5 folds for 6 steps each" in reason
    assert all(f"{a.choice} reaches {a.value.value:.3f}" in reason for a in told.arms)
    last = [e for e in seen if e["kind"] == "tried"]
    assert [a["choice"] for a in last[0]["arms"]] == ["plain", "balanced_mixup"]
    assert [e["done"] for e in seen if e["kind"] == "trial"] == list(range(1, 2 * len(folds) + 1))
    assert [e["of"] for e in seen if e["kind"] == "trial"] == [2 * len(folds)] * (2 * len(folds))


def test_the_same_plan_and_seed_give_the_same_verdict_also_after_an_interrupt(work, monkeypatch):
    whole, told = carried_out(work, trial_on((0,)))
    from lucency.train import member as members  # the module that the trial trains through

    run, calls = work.folder.parent, []
    real = members.train_member

    def interrupted(*given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    asked = trial_on((0,))
    trial.begin(run, "digest", work.plan, asked, 0.0)
    monkeypatch.setattr(members, "train_member", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trial.settled(work, asked, run)
    assert trial.waiting(run, "another") is None
    plan_again, trial_again = trial.waiting(run, "digest")
    assert (plan_again, trial_again) == (work.plan, asked)
    assert trial.settled(replace(work, plan=plan_again), trial_again, run) == whole
    # The first choice was not trained again: one interrupted, one whole.
    assert len(calls) == 3
    assert record.read(Tried, run / trial.FILE) == told
    # Stopped once more before the plan was written: nothing is trained again.
    assert trial.settled(work, asked, run) == whole
    assert len(calls) == 3
    trial.end(run)
    assert trial.waiting(run, "digest") is None


def test_a_choice_that_helps_for_certain_is_kept_and_one_that_hurts_is_not(work, monkeypatch):
    """Outputs of known worth: the default turned round, one choice nearly perfect, one worse than the default."""
    truth = {c.id: c.target == "standing" for c in work.cohort.cases}
    worth = {"plain": -1.5, "balanced_mixup": 5.0, "logit_adjustment": -4.0}

    def outputs(own, found, cases):
        choice = own.plan.task_options["imbalance"]
        noise = np.random.default_rng(len(choice)).normal(size=len(cases))
        logits = [worth[choice] * truth[c] + n for c, n in zip(cases, noise, strict=True)]
        return [np.array([1 / (1 + np.exp(v)), 1 / (1 + np.exp(-v))]) for v in logits]

    monkeypatch.setattr(trial, "_activated", outputs)
    choices = ("plain", "balanced_mixup", "logit_adjustment")
    for folds in ((0,), (0, 1, 2)):
        found, told = carried_out(work, trial_on(folds, choices, steps=1))
        assert told.kept == found.task_options["imbalance"] == "balanced_mixup"
        assert told.arms[1].gain.lower > 0 > told.arms[2].gain.value
        assert found.reasons["imbalance"].endswith(
            "balanced_mixup is kept, for its gain is certain after adjustment for the number of choices"
        )
    worth |= {"plain": 1.0, "balanced_mixup": 1.2}
    found, told = carried_out(work, trial_on((0,), choices, steps=1))
    assert told.arms[1].gain.lower < 0 < told.arms[1].gain.upper
    assert told.kept == "plain"
    assert found.reasons["imbalance"].startswith("plain cross-entropy; tried on 1 of 5 folds")


def test_a_choice_that_diverges_is_left_and_a_default_that_does_is_no_secret(work, monkeypatch):
    from lucency.train import member as members

    real = members.train_member

    def diverging(name):
        def train(own, fold, deadline):
            if own.plan.task_options["imbalance"] == name:
                raise DivergedError("The loss is nan at step 3")
            return real(own, fold, deadline)

        return train

    monkeypatch.setattr(members, "train_member", diverging("balanced_mixup"))
    found, told = carried_out(work, trial_on((0,)))
    assert told.arms[1] == Arm("balanced_mixup", None)
    assert "balanced_mixup diverged" in found.reasons["imbalance"]
    assert told.kept == "plain"
    monkeypatch.setattr(members, "train_member", diverging("plain"))
    with pytest.raises(DivergedError):
        carried_out(work, trial_on((0,)))


def test_a_machine_that_is_too_slow_breaks_the_trial_off_and_the_default_stays(work):
    """Every reading of the clock is a second later; a training that should take .1 s is cut short."""
    readings = iter(range(10**6))
    slow = replace(work, clock=Clock(now=lambda: float(next(readings))))
    found, told = carried_out(slow, Trial("imbalance", ("plain", "focal"), (0,), 60, seconds=0.2))
    assert told.arms == ()
    assert "slower than in the rehearsal; plain stays" in found.reasons["imbalance"]
    assert found.task_options == work.plan.task_options


def test_short_memory_breaks_the_trial_off(work, monkeypatch):
    from lucency.train import member as members

    def short(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(members, "train_member", short)
    found, told = carried_out(work, trial_on((0,)))
    assert (told.arms, told.kept) == ((), "plain")
    assert "memory ran out" in found.reasons["imbalance"]


def test_a_trial_trains_as_the_plan_does_but_for_its_choice_and_steps(work):
    own = trial.plan_of(replace(work.plan, tta=("i",), compile=True), trial_on((0, 1, 2)), "focal")
    assert (own.task_options["imbalance"], own.schedule.steps, own.folds) == ("focal", 6, (0, 1, 2))
    assert (own.tta, own.compile, own.seed, own.batch) == ((), False, work.plan.seed, work.plan.batch)


# --- told -----------------------------------------------------------------------------------------------------------


def test_what_was_tried_is_told_in_chinese(work):
    metrics = (Metric(0.9, 0.85, 0.94, 60, "patient bootstrap, 2000"), Metric(-0.01, -0.03, 0.01, 60, "paired"))
    arms = (Arm("plain", metrics[0]), Arm("balanced_mixup", *metrics, 0.4, 0.4, "paired patient bootstrap, 2000"))
    arms = (*arms, Arm("focal", None))
    for folds, broken in (((0,), ""), ((0, 1, 2), "the trial was broken off, for memory ran out")):
        said = trial._said(trial_on(folds), arms, "plain", 12.0, broken)
        chinese = sentence(said, "zh")
        left = chinese.replace("plain", "").replace("balanced_mixup", "").replace("focal", "")
        assert not any(c.isascii() and c.isalpha() for c in left), chinese
    kept = sentence(trial._said(trial_on((0,)), arms, "balanced_mixup", 12.0, ""), "zh")
    assert "采用 balanced_mixup" in kept
    for case in (design(1000, 20), design(2000, 200, 0.5), design(1000, 300)):
        reason = remarked(case[0].reasons, case[3])["imbalance"]
        assert "no other choice is tried" in reason
        assert "tried" not in sentence(reason, "zh")

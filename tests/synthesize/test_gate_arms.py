"""Arms of the gate: what each trains on, in which counts, and how many steps and hours that makes."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import tiny
from lucency.errors import UsageError
from lucency.plan import Needs
from lucency.synthesize.drawn import UNKNOWN
from lucency.synthesize.gate.arms import AGAIN, Arm, arms_of, pool_of, rows_of, share_of, topped_up
from lucency.synthesize.gate.design import LEAST_GENERATOR_S, Frame, Timed, designed, seeds_for
from lucency.synthesize.gate.running import Marks, Run, apart, gathered, plan_of, runs_of

PLAN = tiny.plan_for("classify", task_options={"mixup": 0.2, "smoothing": 0.05, "imbalance": "plain"})
NEEDS = Needs("classify", "resnet", 2, dense=False, tried={"imbalance": ("balanced_mixup", "logit_adjustment")})
COUNTS = {0: 40, 1: 400}


def named(arms):
    return {a.name: a for a in arms}


def test_rivals_and_candidates_of_unlike_classes():
    assert list(named(arms_of(PLAN, NEEDS, COUNTS))) == [
        "real",
        "real again",
        "imbalance balanced_mixup",
        "mixup 0.4",
        "generated 0.25",
        "generated 0.5",
        "generated 1",
        "real again, rare classes",
        "generated, rare classes",
    ]
    assert named(arms_of(PLAN, NEEDS, COUNTS))["imbalance balanced_mixup"].options == {"imbalance": "balanced_mixup"}


def test_a_task_that_offers_nothing_has_no_such_rivals():
    plan = tiny.plan_for("segment")
    arms = arms_of(plan, Needs("segment", "unet", 2, dense=True), {UNKNOWN: 30})
    assert [a.name for a in arms if not a.candidate] == ["real", "real again"]


def test_mixup_is_tried_where_it_is_off():
    plan = replace(PLAN, task_options={"mixup": 0.0})
    assert "mixup 0.2" in named(arms_of(plan, NEEDS, COUNTS))


def test_each_class_is_added_to_in_proportion_and_the_batch_shares_follow_the_counts():
    half = named(arms_of(PLAN, NEEDS, COUNTS))["generated 0.5"]
    assert half.further(COUNTS) == {0: 20, 1: 200}
    assert share_of(220, COUNTS) == pytest.approx(220 / 660)


def test_rare_classes_are_brought_to_the_median_and_the_common_one_is_left_alone():
    # The median of 40 and 400 is 220: 180 more of class 0.
    rare = named(arms_of(PLAN, NEEDS, COUNTS))["generated, rare classes"]
    assert rare.further(COUNTS) == {0: 180}
    # Of the images of another run; 1 of the rare class there comes to the median as well, not to five times itself.
    assert rare.further({0: 1, 1: 399}) == {0: 199}
    assert rare.further({0: 300, 1: 310}) == {}
    assert topped_up({0: 100, 1: 110}) == {}
    assert topped_up({UNKNOWN: 30}) == {}
    assert topped_up({0: 30}) == {}


def test_the_count_matched_rival_has_as_many_images_of_each_class_as_the_largest_candidate():
    arms = named(arms_of(PLAN, NEEDS, COUNTS))
    assert arms["real again"].further(COUNTS) == arms["generated 1"].further(COUNTS) == COUNTS
    assert arms["real again, rare classes"].further(COUNTS) == arms["generated, rare classes"].further(COUNTS)


def test_a_pool_holds_what_any_candidate_wants():
    assert pool_of(arms_of(PLAN, NEEDS, COUNTS), COUNTS) == {0: 180, 1: 400}


def test_candidates_share_the_images_of_a_pool_and_the_smaller_have_the_first():
    labels = np.repeat([0, 1], [180, 400])
    arms, rng = named(arms_of(PLAN, NEEDS, COUNTS)), np.random.default_rng(0)
    quarter, whole = (set(rows_of(arms[f"generated {r}"], COUNTS, labels, rng).tolist()) for r in ("0.25", "1"))
    assert quarter < whole
    assert np.bincount(labels[sorted(quarter)]).tolist() == [10, 100]


def test_a_pool_that_is_too_small_gives_what_it_has():
    labels = np.repeat([0, 1], [3, 400])
    whole = named(arms_of(PLAN, NEEDS, COUNTS))["generated 1"]
    rows = rows_of(whole, COUNTS, labels, np.random.default_rng(0))
    assert np.bincount(labels[rows]).tolist() == [3, 400]
    assert not len(rows_of(whole, COUNTS, np.zeros(0, dtype=int), np.random.default_rng(0)))


def test_an_arm_with_less_than_half_of_what_it_is_called_by_is_none():
    whole = named(arms_of(PLAN, NEEDS, COUNTS))["generated 1"]
    assert whole.enough(220, COUNTS)
    assert not whole.enough(219, COUNTS)
    assert not whole.enough(0, COUNTS)


def test_real_images_come_again_equally_often():
    rare = Arm("rare", AGAIN, {0: 2.5})
    rows = rows_of(rare, {0: 4}, np.zeros(4, dtype=int), np.random.default_rng(3))
    assert sorted(np.bincount(rows).tolist()) == [2, 2, 3, 3]


def test_names_are_folders_on_every_system():
    slugs = [a.slug for a in arms_of(PLAN, NEEDS, COUNTS)]
    assert len(set(slugs)) == len(slugs)
    assert all(s.replace("_", "").replace(".", "").replace("-", "").isalnum() for s in slugs)


# --- runs -----------------------------------------------------------------------------------------------------------


def test_every_fold_judges_and_chooses_as_often_and_runs_come_seed_by_seed():
    runs = runs_of((0, 1, 2, 3, 4), 2)
    assert len(runs) == 10
    assert runs[:5] == tuple(Run(f, (f + 1) % 5, 0) for f in range(5))
    assert {r.seed for r in runs[5:]} == {1}


def test_judges_and_choosers_of_a_run_are_both_held_out(tmp_path):
    cohort = tiny.stripes(tmp_path, n=30)
    run = Run(0, 1, 0)
    both = {c.id for c in (*cohort.fold(0), *cohort.fold(1))}
    assert {c.id for c in apart(cohort, run).fold(0)} == both
    assert {c.id for c in apart(cohort, run).outside(0)} == {c.id for c in cohort.fold(2)}


def test_arms_differ_in_their_options_and_runs_in_their_seed_alone():
    run = Run(2, 0, 1)
    own = plan_of(PLAN, Arm("mixup 0.4", options={"mixup": 0.4}), run, 77)
    assert own.schedule.steps == 77
    assert own.seed == PLAN.seed + 1
    assert own.folds == (2,)
    assert own.task_options == {**PLAN.task_options, "mixup": 0.4}
    again = plan_of(PLAN, Arm("real"), run, 77)
    assert replace(again, task_options=own.task_options) == own


def test_what_was_not_measured_in_a_run_is_nan_there():
    marks = {"real": [Marks(0.9, 0.8, {"ece": 0.1}), Marks(0.9, 0.8, {"ece": 0.1, "sensitivity/a": 0.5})]}
    (found,) = gathered((Arm("real"),), marks)
    assert found.outer == (0.8, 0.8)
    assert np.isnan(found.guards["sensitivity/a"][0])
    assert found.guards["sensitivity/a"][1] == 0.5


# --- hours ----------------------------------------------------------------------------------------------------------

FRAME = Frame((0, 1, 2, 3, 4), 2, arms_of(PLAN, NEEDS, COUNTS), 300.0, 100.0, 16, 28)
TIMED = Timed(step_s=0.02, beside_s=0.5)


def test_a_design_fills_the_budget_and_says_what_each_stage_takes():
    design = designed(FRAME, TIMED, 60.0, 30.0, "digest")
    assert design.trainings == 5 * 2 * 9
    assert 0.8 * 3600 < sum(design.seconds.values()) + 30 <= 0.9 * 3600 + 1
    assert design.generator_s >= LEAST_GENERATOR_S
    assert design.passes == pytest.approx(design.steps * 16 / 300, abs=0.1)
    assert design.hours == pytest.approx(sum(design.seconds.values()) / 3600)


def test_more_minutes_never_give_less_to_anybody():
    designs = [designed(FRAME, TIMED, m, 0.0, "d") for m in (60, 90, 180, 600)]
    for less, more in itertools.pairwise(designs):
        assert more.steps >= less.steps
        assert more.generator_s >= less.generator_s


def test_a_budget_too_small_is_refused_with_what_it_would_take():
    with pytest.raises(
        UsageError, match=r"5 minutes are too few for a verdict.* Expected: about (\d+) minutes"
    ) as told:
        designed(FRAME, TIMED, 5.0, 0.0, "d")
    minutes = float(str(told.value).split("about ")[1].split(" ")[0])
    assert designed(FRAME, TIMED, minutes, 0.0, "d").steps >= 8 * 300 / 16
    with pytest.raises(UsageError):
        designed(FRAME, TIMED, minutes - 1.1, 0.0, "d")


def test_steps_that_the_user_sets_are_kept():
    assert designed(replace(FRAME, steps=33), TIMED, 60.0, 0.0, "d").steps == 33


@pytest.mark.parametrize(("folds", "seeds"), [(5, 2), (4, 3), (3, 4), (10, 1)])
def test_seeds_make_ten_runs(folds, seeds):
    assert seeds_for(folds) == seeds


def test_a_generator_that_is_overfitted_on_purpose_is_counted_or_left_out():
    """A quarter of a generator's time, two minutes at most; five folds need two such generators."""
    design = designed(FRAME, TIMED, 90.0, 0.0, "d")
    assert design.control_s == pytest.approx(min(120.0, design.generator_s / 4), abs=0.1)
    assert design.controls == 2
    each = design.steps * TIMED.step_s + TIMED.beside_s
    looking = 5 * (0.25 * design.generator_s + 7 * each) + 2 * design.control_s
    assert design.seconds["looking"] == pytest.approx(looking, abs=0.5)
    assert designed(FRAME, TIMED, 6000.0, 0.0, "d").control_s == 120.0
    assert replace(design, control_s=0.0).controls == 0


def test_generators_that_need_longer_are_in_the_forecast_before_anything_begins():
    frame = Frame((0, 1, 2), 4, tuple(Arm(str(n)) for n in range(3)), 90, 30, 32, 28)
    slow = replace(TIMED, generator_s=4000.0)
    assert designed(frame, TIMED, 20, 0, "d").generator_s < slow.generator_s
    with pytest.raises(UsageError, match=r"20 minutes are too few.*about (\d+) minutes") as told:
        designed(frame, slow, 20, 0, "d")
    needed = int(str(told.value).split("about ")[1].split()[0])
    assert needed > 3 * 4000 / 60
    assert designed(frame, slow, needed, 0, "d").generator_s >= slow.generator_s

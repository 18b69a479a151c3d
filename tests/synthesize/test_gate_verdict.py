"""The rules of the verdict, one by one: each thing that must be shown, left out, takes the ACCEPT away."""

import math

import numpy as np
import pytest

from lucency.statistics import Metric
from lucency.synthesize.gate import (
    ACCEPT,
    INCONCLUSIVE,
    REJECT,
    Confirmation,
    Runs,
    contrasted,
    guarded,
    stopped,
    verdict,
)
from lucency.synthesize.gate.verdict import chosen, sure
from lucency.text import sentence

RNG = np.random.default_rng(5)
REAL = tuple(0.9 + 0.01 * RNG.normal(size=10))
WOBBLE = 0.004 * RNG.normal(size=10)


def arms(gain=0.03, runs=10, **guards):
    made = tuple(r + gain + w for r, w in zip(REAL, WOBBLE - WOBBLE.mean(), strict=True))[:runs]
    ours = {k: v[1][:runs] for k, v in guards.items()}
    theirs = {k: v[0][:runs] for k, v in guards.items()}
    return [
        Runs("real", False, (0.9,) * runs, REAL[:runs], theirs),
        Runs("generated 1", True, (0.92,) * runs, made, ours),
    ]


def locked(lower=0.005, value=0.02, upper=0.035, n=200):
    gain = Metric(value, lower, upper, n, "paired patient bootstrap, 2000")
    return Confirmation(gain, 0.01, gain, 0.01, "paired DeLong", n)


def decided(found, confirmation=None, audit="pass"):
    guards = guarded(found[1], found[0], 60, 20)
    return verdict(found, contrasted(found, 60, 20), guards, confirmation, audit)


def flat(value, change=0.0, spread=0.0):
    rng = np.random.default_rng(2)
    noise = spread * rng.normal(size=10)
    return (value,) * 10, tuple(value + change + noise - noise.mean())


def test_everything_shown_is_accepted_with_its_numbers():
    found = decided(arms(brier=flat(0.1), ece=flat(0.03, -0.005)), locked())
    assert found.word == ACCEPT
    assert found.arm == "generated 1"
    assert found.rival == "real"
    assert found.reasons == (
        "3.0 points over the best rival in 10 paired runs, and 2.0 points on the locked part; by the estimates nothing "
        "that is guarded loses more than its margin",
    )


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ({"found": arms(gain=0.002)}, "is not certain after adjustment for all candidates"),
        ({"found": arms(runs=9)}, "9 paired runs with a score; 10 are needed"),
        ({"confirmation": None}, "the gain has not been confirmed on a locked part"),
        ({"confirmation": locked(None, 0.02, None, 12)}, "the locked part of 12 patients is too small to confirm"),
        ({"confirmation": locked(-0.001)}, "the locked part of 200 patients does not confirm the gain"),
        ({"found": arms(ece=flat(0.03, 0.02, 0.02))}, "ece may get worse: by 2.0 points, and 1 are borne"),
    ],
)
def test_one_thing_that_is_not_shown_leaves_it_open_and_is_said(lacking, reason):
    given = {"found": arms(), "confirmation": locked()} | lacking
    found = decided(given["found"], given["confirmation"])
    assert found.word == INCONCLUSIVE
    assert any(reason in r for r in found.reasons)


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ({"audit": "fail"}, "the audit failed"),
        ({"found": arms(gain=-0.03)}, "no candidate gains 0.5 points over the best rival"),
        ({"found": arms(brier=flat(0.1, 0.02))}, "brier gets worse: by 2.0 points, and 1 are borne"),
        (
            {"found": arms(**{"sensitivity/rare": flat(0.8, -0.05)})},
            "sensitivity of rare gets worse: by 5.0 points, and 2 are borne",
        ),
        ({"confirmation": locked(-0.04, -0.03, -0.02)}, "on the locked part it is worse by 3.0 points"),
    ],
)
def test_one_thing_that_is_shown_against_it_rejects_and_is_said(shown, reason):
    given = {"found": arms(), "confirmation": locked(), "audit": "pass"} | shown
    found = decided(given["found"], given["confirmation"], given["audit"])
    assert found.word == REJECT
    assert any(reason in r for r in found.reasons)


def test_an_audit_that_cannot_tell_does_not_reject_but_the_verdict_says_where_the_images_may_be_used():
    found = decided(arms(), locked(), "not auditable")
    assert found.word == ACCEPT
    assert "in this house only" in found.reasons[1]


def test_less_calibration_error_and_more_sensitivity_are_no_loss():
    found = decided(arms(ece=flat(0.05, -0.04), **{"sensitivity/rare": flat(0.6, 0.2)}), locked())
    assert [g.state for g in found.guards] == ["kept", "kept"]
    assert all(g.change.value > 0 for g in found.guards)


def test_what_is_not_defined_on_these_patients_is_neither_kept_nor_broken():
    nothing = ((math.nan,) * 10, (math.nan,) * 10)
    found = decided(arms(**{"sensitivity/rare": nothing}), locked())
    assert [g.state for g in found.guards] == ["unknown"]
    assert found.word == ACCEPT
    assert found.reasons[1] == "sensitivity of rare was measured in too few runs to be guarded"
    seldom = tuple((0.8, 0.8, 0.8, 0.8) + (math.nan,) * 6 for _ in range(2))
    assert [g.state for g in decided(arms(**{"sensitivity/rare": seldom}), locked()).guards] == ["unknown"]


def test_a_candidate_that_lacks_runs_does_not_stand_in_the_way_of_another_that_is_certain():
    found, few = (
        arms(),
        Runs("generated, rare classes", True, (0.5,) * 8 + (math.nan,) * 2, (0.7,) * 8 + (math.nan,) * 2),
    )
    assert decided([*found, few], locked()).word == ACCEPT


def test_the_candidate_is_the_best_inside_of_those_that_are_certain():
    found = arms()
    loud = Runs("generated 0.5", True, (0.99,) * 10, tuple(r + 0.0 for r in REAL))
    contrasts = contrasted([*found, loud], 60, 20)
    assert sure(contrasts) == ("generated 1",)
    assert chosen([*found, loud], contrasts) == "generated 1"


def test_what_is_stated_as_detectable_is_the_larger_of_folds_and_locked_part():
    # Half an interval of 0.2 is 1.96 standard errors, and 80 % power takes 0.84 of them more.
    wide = locked(-0.08, 0.02, 0.12)
    assert wide.detectable == pytest.approx(0.1 / 1.959964 * (1.959964 + 0.841621), rel=1e-5)
    found = decided(arms(), wide)
    assert found.detectable == pytest.approx(wide.detectable)
    assert found.contrasts[0].detectable < wide.detectable


def test_a_gate_that_was_not_walked_through_rejects_with_its_reason():
    found = stopped("the images teach too little")
    assert (found.word, found.arm, found.reasons) == (REJECT, "", ("the images teach too little",))
    assert math.isnan(found.detectable)


@pytest.mark.parametrize("word", [ACCEPT, REJECT, INCONCLUSIVE])
def test_every_reason_has_its_chinese(word):
    gain = {ACCEPT: 0.03, REJECT: -0.03, INCONCLUSIVE: 0.002}[word]
    found = decided(arms(gain, ece=flat(0.03, 0.02, 0.02)) if word == INCONCLUSIVE else arms(gain), locked())
    assert found.word == word
    for reason in found.reasons:
        assert any("\u4e00" <= c <= "\u9fff" for c in sentence(reason, "zh")), reason

"""The report of a walk: the verdict first, every number beside what it is to be compared with, nothing left untold."""

import re
from dataclasses import replace

import numpy as np
import pytest

import tiny
from lucency import record
from lucency.case import Cohort
from lucency.statistics import Metric
from lucency.synthesize.audit import Audit, Finding, Pair, Reason, SelfTest
from lucency.synthesize.fidelity import Beside, Panel, Use
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
from lucency.synthesize.gate.arms import Arm
from lucency.synthesize.gate.design import Design
from lucency.synthesize.looking import Looked
from lucency.synthesize.page import arm_name, differences, forest, write_page

RNG = np.random.default_rng(1)
NOISE = 0.01 * RNG.normal(size=(4, 10))
BLACK = "data:image/png;base64,iVBORw0KGgo="


def runs(gain=0.03):
    real = tuple(0.85 + NOISE[0])

    def arm(name, more, row, candidate):
        guards = {"ece": tuple(0.03 + 0.001 * NOISE[row]), "sensitivity/dark": tuple(0.8 + more + 0 * NOISE[row])}
        return Runs(name, candidate, (0.85 + more,) * 10, tuple(np.array(real) + more + 0.3 * NOISE[row]), guards)

    return (
        arm("real", 0.0, 1, candidate=False),
        arm("real again", -0.01, 2, candidate=False),
        arm("imbalance balanced_mixup", -0.02, 3, candidate=False),
        arm("generated 1", gain, 2, candidate=True),
        arm("generated, rare classes", gain / 2, 3, candidate=True),
    )


def design(found):
    arms = tuple(Arm(r.arm) for r in found)
    return Design("d", (0, 1, 2, 3, 4), 2, arms, 210, 11.0, 120.0, {"generators": 600.0, "arms": 900.0}, 300, 100, 28)


def metric(value, spread=0.05):
    return Metric(value, value - spread, value + spread, 100, "patient bootstrap, 2000")


def looked(fold=0, word="pass", use=(0.9, 0.95)):
    beside = {k: Beside(metric(2.0), metric(1.0)) for k in ("fd", "kid", "coverage", "density", "precision", "recall")}
    tried = Use({"auc": metric(use[0])}, {"auc": metric(use[1])}, {"auc": metric(0.8)}, 200, 300)
    panel = Panel(100, {0: 25, 1: 75}, {"trained": beside, "random": beside}, {0: {}, 1: {}}, collapsed=(1,), use=tried)
    findings = (
        Finding("copies", "", metric(0.01), metric(0.01), 0.02, "pass"),
        Finding("membership", "pixels", metric(0.52), None, 0.6, "undecided"),
    )
    told = SelfTest(metric(0.98), metric(0.004), {}, 320, able=True)
    audit = Audit(
        word, ("internal training",), (Reason("clean", {"n": 15}),), told, findings, gallery=(Pair(3, 4, 2.0, {}),)
    )
    lost = {"copies": 1, "label": 20, "trivial": 12, "far": 60}
    facts = {"remarks": "Class 'dark' has 12 images: hardly more than copies of them can be drawn"}
    return Looked(fold, fold + 1, {0: 75, 1: 225}, {0: 75, 1: 225}, lost, 660, "x", panel, audit, "dcgan", facts)


@pytest.fixture
def folder(tmp_path):
    record.write(tmp_path / "plan.json", tiny.plan_for("classify"))
    record.write(tmp_path / "cohort.json", Cohort((), {}, frozenset()))
    some = {"generated": {"0": [BLACK, BLACK], "1": [BLACK]}, "pairs": [[BLACK, BLACK]]}
    record.write(tmp_path / "synthesis" / "fold0" / "pictures.json", some)
    return tmp_path


def decided(found, word):
    if word == "stopped":
        return stopped("the audit failed: the images give patients away", "fail")
    plan = design(found)
    gain = Metric(0.02, 0.005, 0.035, 150, "paired patient bootstrap, 2000")
    look = Confirmation(gain, 0.01, gain, 0.012, "paired DeLong", 150) if word == ACCEPT else None
    guards = guarded(found[3], found[0], plan.n_train, plan.n_test)
    return verdict(found, contrasted(found, plan.n_train, plan.n_test), guards, look, "pass")


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize(("word", "gain"), [(ACCEPT, 0.03), (REJECT, -0.03), (INCONCLUSIVE, 0.004), ("stopped", 0.0)])
def test_every_verdict_has_its_page_in_both_languages(folder, word, gain, lang):
    found = runs(gain)
    said = decided(found, word)
    assert said.word == (REJECT if word == "stopped" else word)
    shown = () if word == "stopped" else found
    path = write_page(folder, said, design(found), (looked(0), looked(1)), shown, lang)
    body = path.read_text(encoding="utf-8").split("<body>")[1]
    words = re.sub(r"<svg.*?</svg>", "", body, flags=re.DOTALL)
    assert "{" not in words
    assert "nan" not in words
    assert body.index('class="word') < body.index("<h2>")
    assert "包含患者图像" in body or "contains patient images" in body
    if lang == "zh":
        assert not re.search(r"(?<![a-z\"=/.-])(the|and|points|gain|images) ", re.sub(r"<[^>]+>", " ", words))
    assert ("<svg" in body) == bool(shown)


def test_numbers_stand_beside_those_of_real_images_and_the_tables_name_their_rows(folder):
    found = runs()
    page = write_page(folder, decided(found, ACCEPT), design(found), (looked(),), found, "en").read_text("utf-8")
    assert "2.000 / 1.000" in page
    assert "0.900 / 0.950" in page
    assert "660 images drawn, 300 kept" in page
    assert "real + generated 1 : 1" in page
    assert "imbalance: balanced mixup" in page
    assert "5 generators (dcgan) were trained" in page
    assert "judged by AUC on about 100 images" in page
    assert "hardly more than copies" in page
    assert "would be found in four of five cases by the folds" in page
    assert "patients unknown" in page


@pytest.mark.parametrize(("lang", "said"), [("en", "Generators trained: 2 of 5 (dcgan)"), ("zh", "5 个中的 2 个")])
def test_a_walk_that_ended_early_does_not_claim_what_was_planned(folder, lang, said):
    page = write_page(folder, decided((), "stopped"), design(runs()), (looked(0), looked(1)), (), lang)
    body = page.read_text("utf-8").split("<body>")[1]
    assert said in body
    assert "were judged" not in body
    assert "并在约" not in body


def test_the_rival_is_the_line_of_the_figure_and_no_row_of_it():
    found = runs()
    rows = differences(found, "real", design(found))
    assert [arm.arm for arm, _ in rows] == [r.arm for r in found[1:]]
    assert rows[2][1].value == pytest.approx(0.03, abs=0.01)
    drawn = forest(rows, "en")
    assert "real + generated 1 : 1" in drawn
    assert "difference from the best rival" in drawn


def test_an_arm_without_a_score_has_no_row_and_no_number(folder):
    found = [*runs(), replace(runs()[3], arm="generated 0.5", outer=(float("nan"),) * 10)]
    assert "generated 0.5" not in [a.arm for a, _ in differences(found, "real", design(found))]
    said = decided(runs(), ACCEPT)
    assert (
        "nan"
        not in write_page(folder, said, design(found), (looked(),), found, "en").read_text("utf-8").split("</style>")[1]
    )


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        ("real", "real images"),
        ("real again", "real images again, as many as generated"),
        ("real again, rare classes", "real images again, rare classes only"),
        ("generated 0.25", "real + generated 0.25 : 1"),
        ("generated, rare classes", "real + generated, rare classes only"),
        ("mixup 0.4", "mixup 0.4"),
        ("imbalance balanced_mixup", "imbalance: balanced mixup"),
    ],
)
def test_arms_have_names_for_people(arm, expected):
    assert arm_name(arm, "en") == expected

"""The walk behind the generators: arms on the one loop, the verdict, what it leaves for ``fit``, and going on.

Generators and their audits have tests of their own; here their place is taken by one that draws noisy real images.
"""

from dataclasses import replace

import numpy as np
import pytest
from test_synthesis_page import looked

from lucency import record, supplement
from lucency.case import Cohort
from lucency.errors import DivergedError
from lucency.statistics import Metric
from lucency.synthesize import walked as room
from lucency.synthesize.arrays import store_of
from lucency.synthesize.asked import Ask
from lucency.synthesize.drawn import drawn_of
from lucency.synthesize.gate import ACCEPT, INCONCLUSIVE, REJECT
from lucency.synthesize.gate.arms import pool_of
from lucency.synthesize.gate.running import apart
from lucency.synthesize.looking import counts_in
from lucency.walk import Settings

VALUES = {"network_options.widths": "[4, 8]", "network_options.depth": "6", "mixup": "0"}


class Noisy:
    """Stands for the generators: training images with noise, never of a held-out fold."""

    audit = "pass"

    def __init__(self, work, design, generator, place):
        self.work, self.design, self.place = work, design, place

    def at(self, run):
        cohort = apart(self.work.cohort, run)
        cases = cohort.outside(run.fold)
        members = drawn_of(self.work.store, [c.id for c in cases], [c.patient for c in cases])
        counts = counts_in(members)
        rng = np.random.default_rng(run.fold)
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(members.labels == k), n) for k, n in pool_of(self.design.arms, counts).items()]
        )
        made = members.take(rows).nameless()
        made = replace(made, images=made.images + rng.normal(0, 0.1, made.images.shape).astype(np.float32))
        store = store_of(made, self.work.plan, self.place / f"fold{run.fold}" / "made", "made")
        kept = {int(k): int(n) for k, n in zip(*np.unique(made.labels, return_counts=True), strict=True)}
        told = replace(looked(run.fold, self.audit), inner=run.inner, counts=counts, kept=kept)
        return replace(told, store=store.folder.relative_to(self.place).as_posix())


@pytest.fixture
def ground(tmp_path, monkeypatch):
    """Stripes in class folders, three outer folds, generators that are none."""
    from lucency.image import Image, diagonal_affine
    from lucency.write.raster import write_picture

    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(28) * 0.9)
    for number in range(60):
        plane = (wave[:, None] if number % 2 else wave[None]) + rng.normal(0, 0.6, (28, 28))
        image = Image((plane * 40 + 128).clip(0, 255).astype(np.uint8)[None, None], diagonal_affine((1, 1, 1)))
        write_picture(tmp_path / "data" / ("lying" if number % 2 else "standing") / f"{number:03d}.png", image)
    checked = room.refuse_unfit
    monkeypatch.setattr(room, "refuse_unfit", lambda *given: checked(*given)[:3])
    monkeypatch.setattr(room, "Looking", Noisy)
    monkeypatch.setattr(room, "least_time", lambda *given: 0.0)
    return tmp_path


def ask():
    return Ask(Settings(minutes=20_000, values=VALUES), "", 28, 1, (1.0,), 4)


def test_arms_are_trained_alike_judged_and_left_for_fit_and_nothing_is_done_twice(ground, monkeypatch):
    found = room.walked(ground / "data", ground / "run", ask())
    assert [r.arm for r in found.runs] == ["real", "real again", "mixup 0.2", "generated 1"]
    assert all(len(r.outer) == 3 and np.isfinite(r.outer).all() for r in found.runs)
    assert found.verdict.word in (INCONCLUSIVE, REJECT)
    assert "3 paired runs with a score; 10 are needed" in found.verdict.reasons
    assert found.verdict.confirmation is None
    assert not (ground / "run" / "ledger.jsonl").exists(), "nobody may look at the locked part before it is certain"
    left = supplement.of_run(str(ground / "run"))
    assert (left.verdict, left.arm, left.share) == (found.verdict.word, "generated 1", 0.5)
    assert set(left.ids) == {0, 1, 2}
    # A second walk finds every mark on the disk: nothing is left that could train.
    monkeypatch.setattr("lucency.synthesize.gate.running.member", None)
    again = room.walked(ground / "run", None, ask())
    assert record.to_json(again.verdict) == record.to_json(found.verdict)


def test_a_certain_gain_is_confirmed_once_on_the_locked_part_and_still_needs_its_runs(ground, monkeypatch):
    monkeypatch.setattr(room, "sure", lambda contrasts: [c.arm for c in contrasts])
    found = room.walked(ground / "data", ground / "run", ask())
    look = found.verdict.confirmation
    assert look is not None
    assert (look.n_patients, look.looks) == (len({c.patient for c in _locked(ground / "run")}), 1)
    assert found.verdict.word != ACCEPT, "three runs are too few, whatever the locked part says"
    again = room.walked(ground / "run", None, ask())
    assert record.to_json(again.verdict.confirmation) == record.to_json(look)
    assert len((ground / "run" / "ledger.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_an_arm_that_diverges_has_no_score_and_the_walk_goes_on(ground, monkeypatch):
    marked = room.marked

    def diverging(work, arm, run, steps, extra):
        if (arm.name, run.fold) == ("generated 1", 1) and steps > room.TRIAL_STEPS:
            raise DivergedError("The loss is nan at step 3")
        return marked(work, arm, run, steps, extra)

    monkeypatch.setattr(room, "marked", diverging)
    found = room.walked(ground / "data", ground / "run", ask())
    scores = {r.arm: np.isfinite(r.outer).tolist() for r in found.runs}
    assert scores["generated 1"] == [True, False, True]
    assert all(all(known) for arm, known in scores.items() if arm != "generated 1")
    assert "2 paired runs with a score; 10 are needed" in found.verdict.reasons


def _locked(run):
    return record.read(Cohort, run / "cohort.json").locked_cases


def test_a_failed_audit_ends_the_walk_before_anything_is_trained(ground, monkeypatch):
    monkeypatch.setattr(Noisy, "audit", "fail")
    found = room.walked(ground / "data", ground / "run", ask())
    assert (found.verdict.word, found.verdict.audit) == (REJECT, "fail")
    assert found.verdict.reasons == ("the audit failed: the images give patients away",)
    assert len(found.looked) == 1
    assert supplement.of_run(str(ground / "run")).ids == {}


def test_images_that_certainly_teach_little_end_the_walk_and_those_of_few_patients_go_on():
    def taught(upper):
        found = looked(use=(0.79, 0.99))
        use = replace(found.panel.use, tstr={"auc": Metric(0.79, 0.57, upper, 88, "DeLong, logit")})
        return room.settled(replace(found, panel=replace(found.panel, use=use)))

    assert taught(0.915) is None
    ended = taught(0.88)
    assert ended.word == REJECT
    assert "reaches 0.790, at most 0.880, where as many real images give 0.990; 0.891 are needed" in ended.reasons[0]
    assert taught(None) is None, "a fold too small for an interval settles nothing"

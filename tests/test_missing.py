"""What is left without a modality: scored on the same cases, against everything and against zeros."""

from dataclasses import replace

import numpy as np
import pytest

import tiny
from lucency import controls
from lucency import model as models
from lucency.case import Cohort, Source
from lucency.evaluate import ZERO_FILLING, Grounds, Pattern, evaluate
from lucency.evaluate.missing import patterns, without
from lucency.events import Clock, Events
from lucency.plan import Schedule
from lucency.predict import raw_outputs
from lucency.record import from_json, to_json
from lucency.tasks import task_named
from lucency.train import OutOfFold, Work, calibrate
from lucency.train.member import member

OPTIONS = {"widths": (8.0, 16.0), "depth": 6, "stems": (1.0, 1.0), "modality_dropout": 0.3}


def two_modalities(folder, n=24, side=16, lacking=()):
    """Stripes that lie or stand in the first modality; the second is noise without a word to say."""
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(side) * 0.9)
    told = np.stack([(wave[:, None] if k % 2 else wave[None]) + rng.normal(0, 0.2, (side, side)) for k in range(n)])
    noise = rng.normal(0, 1, told.shape)
    pixels = [(a * 40 + 128).clip(0, 255).astype(np.uint8) for a in (told, noise)]
    np.savez(folder / "both.npz", t1=pixels[0], t2=pixels[1])
    cases = []
    for number, case in enumerate(tiny.stripes(folder, n=n, side=side).cases):
        images = {
            m: (Source(("both.npz",), str(folder), "npz", f"{m}/{number}", checksum=f"{m}/{number}"),)
            for m in ("t1", "t2")
            if not (m == "t1" and number in lacking)
        }
        cases.append(replace(case, images=images))
    folds = {c.id: k // 2 % 3 for k, c in enumerate(cases[:-6])}
    return Cohort(tuple(cases), folds, frozenset(c.id for c in cases[-6:]), classes=("lying", "standing"))


def run_of(tmp_path, **changes):
    """A model with the network that is given zeros beside it, both trained for a moment."""
    (tmp_path / "data").mkdir()
    cohort = two_modalities(tmp_path / "data", **changes)
    plan = tiny.plan_for(
        "classify",
        channels=2,
        modalities=("t1", "t2"),
        network_options=OPTIONS,
        batch=8,
        schedule=Schedule(60, warmup=5, rate=5e-3, ema=0.9),
        augmentation={"noise": 0.1, "brightness": 0.2},
        folds=(0, 1),
        controls={ZERO_FILLING: 60},
    )
    store, task = tiny.stored(cohort, plan, tmp_path), task_named("classify")
    work = Work(cohort, plan, task, store, tmp_path / "training", Clock(), Events())
    work.folder.mkdir()
    weights = {f"fold{f}": member(work, f, tmp_path / "out_of_fold", 1e9).weights for f in plan.folds}
    for name, fold in list(controls.waiting(work, tmp_path)):
        controls.train(work, tmp_path, name, fold, 1e9)
    outputs = OutOfFold(tmp_path / "out_of_fold")
    models.save(tmp_path / "model", plan, calibrate(work, outputs), weights, "# Card\n")
    grounds = Grounds(cohort, plan, task, store, models.load(tmp_path / "model"), outputs, Events())
    return replace(grounds, controls=controls.grounds_of(grounds, tmp_path))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    place = tmp_path_factory.mktemp("run")
    grounds = run_of(place)
    return grounds, evaluate(grounds, place / "ledger.jsonl")


def test_every_choice_is_scored_in_both_parts(found):
    _, evaluation = found
    for part in evaluation.parts:
        assert [p.given for p in part.patterns] == [("t1", "t2"), ("t1",), ("t2",)]
        whole, *rest = part.patterns
        assert whole.loss is None
        assert whole.metric == part.metrics["auc"]
        for pattern in rest:
            assert pattern.n_cases == part.n_cases
            assert pattern.loss.value == pytest.approx(pattern.metric.value - whole.metric.value)
            assert pattern.gain.value == pytest.approx(pattern.metric.value - pattern.zero_filling.value)


def test_zero_filling_is_not_called_a_simple_model(found):
    """Else a report would advise to use it where it is no different with everything there."""
    _, evaluation = found
    for part in evaluation.parts:
        assert part.baselines
        assert ZERO_FILLING not in part.baselines
        assert part.patterns[0].zero_filling is not None


def test_the_modality_that_tells_is_the_one_that_is_missed(found):
    _, evaluation = found
    (part,) = (p for p in evaluation.parts if p.name == "out-of-fold")
    values = {p.given: p.metric.value for p in part.patterns}
    assert values["t1",] > 0.9
    assert values["t2",] < 0.8


def test_the_full_choice_is_what_the_network_gives_by_itself(found):
    """Out of fold, the way with every modality given must lead to the outputs that training left."""
    grounds, _ = found
    case = grounds.cohort.fold(0)[0]
    net = tiny.network_of(grounds.plan)
    net.load_state_dict(dict(grounds.model.weights("fold0")))
    given = without(grounds.store.seen(case.id), ("t1", "t2"), grounds.plan)
    (raw,) = raw_outputs(net, [given], grounds.plan, dense=False)
    assert raw == pytest.approx(grounds.outputs.output(case.id), abs=1e-5)


def test_what_is_not_given_is_zero_and_the_store_is_left_as_it_is(found):
    grounds, _ = found
    case = grounds.cohort.cases[0].id
    image = without(grounds.store.seen(case), ("t2",), grounds.plan)
    assert not image[0].any()
    assert np.array_equal(image[1], grounds.store.image(case)[1].astype(np.float32))
    assert grounds.store.image(case)[0].any()


def test_cases_that_lack_a_modality_are_scored_where_they_have_it(tmp_path):
    grounds = run_of(tmp_path, lacking=(0, 1, 20))
    held = [c for f in grounds.plan.folds for c in grounds.cohort.fold(f)]
    evaluation = evaluate(grounds, tmp_path / "ledger.jsonl")
    (part,) = (p for p in evaluation.parts if p.name == "out-of-fold")
    n = {p.given: p.n_cases for p in part.patterns}
    # Cases 0 and 1 are held out by fold 0 and lack t1; case 20 is locked.
    assert n == {("t1", "t2"): len(held) - 2, ("t1",): len(held) - 2, ("t2",): len(held)}
    judged = [p for p in part.patterns if p.given == ("t2",)]
    assert judged[0].loss.n == len(held)


def test_a_plan_that_needs_every_modality_has_no_table(found):
    grounds, evaluation = found
    plain = replace(grounds, plan=replace(grounds.plan, network_options={**OPTIONS, "modality_dropout": 0.0}))
    assert patterns("locked", list(grounds.cohort.locked_cases), [], plain) == ()
    (locked, _) = evaluation.parts
    assert from_json(tuple[Pattern, ...], to_json(locked.patterns), "patterns") == locked.patterns

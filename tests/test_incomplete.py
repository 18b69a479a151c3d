"""Cases that lack a modality: prepared, learned from, predicted, and named."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from lucency import controls
from lucency import model as models
from lucency.augment import augment
from lucency.calibration import Calibration
from lucency.case import Cohort, Source
from lucency.errors import DataError
from lucency.evaluate import ZERO_FILLING
from lucency.events import Clock, Events
from lucency.image import Image, diagonal_affine
from lucency.plan import Grid, Normalisation, Schedule
from lucency.predict import lacking_in, predict, raw_outputs, unlike_training
from lucency.prepare import images_of, prepare_image
from lucency.tasks import task_named
from lucency.train import Work
from lucency.train.loop import Loop
from lucency.write.nifti import write_nifti

STEMS = {"stems": (1.0, 1.0), "modality_dropout": 0.3}
SIZE = (12, 16, 16)


def plan_for(task="segment", **changes):
    plain = tiny.plan_for(task)
    options = {**plain.network_options, **STEMS, **changes.pop("network_options", {})}
    return tiny.plan_for(task, channels=2, modalities=("t1", "t2"), network_options=options, **changes)


def volumes(folder, lacking):
    """Volumes of two modalities, the first with a ball; ``lacking`` says what a case is without."""
    rng = np.random.default_rng(5)
    cohort, cases = tiny.masks(folder), []
    for case in cohort.cases:
        (source,) = case.images["image"]
        second = Source((f"{case.id}_t2.nii.gz",), str(folder), "nifti", checksum=f"t2/{case.id}")
        noise = rng.normal(size=(1, *SIZE)).astype(np.float32)
        write_nifti(folder / second.paths[0], Image(noise, diagonal_affine((1, 1, 1))))
        images = {"t1": (source,), "t2": (second,)}
        cases.append(replace(case, images={m: s for m, s in images.items() if m not in lacking.get(case.id, ())}))
    return replace(cohort, cases=tuple(cases))


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    return volumes(tmp_path / "data", {"case1": ("t2",), "case4": ("t1",)})


@pytest.mark.parametrize(
    "normalisation", [Normalisation("zscore"), Normalisation("fixed", (-9, -9), (9, 9), (0.3, -0.2), (1.1, 0.7))]
)
def test_what_is_missing_is_zero_throughout_and_the_rest_is_as_ever(data, normalisation):
    plan = plan_for(normalisation=normalisation)
    whole, lacking = data.cases[0], data.cases[1]
    images = images_of(lacking, plan, None)
    assert [i is None for i in images] == [False, True]
    prepared = prepare_image(images, plan).array
    assert not prepared[1].any()
    both = prepare_image(images_of(whole, plan, None), plan).array
    alone = prepare_image([images_of(whole, plan, None)[0], None], plan).array
    assert np.array_equal(alone[0], both[0])
    assert both[1].any()


@pytest.mark.parametrize("mode", ["fit", "frames"])
def test_a_network_without_stems_is_given_all_modalities(data, mode):
    """A network over sequences has none, and needs every modality."""
    plan = tiny.plan_for("classify", dims=3, size=SIZE, channels=2, modalities=("t1", "t2"), grid=Grid(mode, SIZE))
    prepared = prepare_image(images_of(data.cases[0], plan, None), plan).array
    assert prepared.shape == (2, *SIZE)
    one = tiny.plan_for("classify", dims=3, size=SIZE, modalities=("t2",), grid=Grid(mode, SIZE))
    assert np.array_equal(prepared[1:], prepare_image(images_of(data.cases[0], one, None), one).array)


def test_a_plan_that_needs_every_modality_refuses_a_case_without_and_says_what_to_do(data):
    plan = plan_for(network_options={"modality_dropout": 0.0})
    with pytest.raises(DataError, match=r"Modality t2 is missing.*modality_dropout=0\.3"):
        images_of(data.cases[1], plan, None)


def test_a_case_with_none_of_the_modalities_is_refused(data):
    alien = replace(data.cases[0], images={"pet": data.cases[0].images["t1"]})
    with pytest.raises(DataError, match=r"t1, t2 is missing.*one of t1, t2"):
        images_of(alien, plan_for(), None)


def test_a_modality_that_training_never_saw_is_named_and_passed_over(data):
    plan, case = plan_for(), data.cases[0]
    more = replace(case, images={**case.images, "pet": case.images["t2"]})
    assert len(images_of(more, plan, None)) == 2
    said = unlike_training([more, data.cases[1]], plan)
    assert said == (
        "1 cases lack modality t2: case1.",
        "1 cases have modality pet, which training has never seen and which is passed over: case0.",
    )
    assert unlike_training([replace(case, images={"x": case.images["t1"]})], tiny.plan_for()) == ()


def test_a_model_left_with_one_modality_of_several_names_the_others_and_takes_none_for_its_own(data):
    plan, (source,) = tiny.plan_for("segment", modalities=("0000",)), data.cases[0].images["t1"]
    both = replace(data.cases[0], images={"0000": (source,), "0001": (source,)})
    assert unlike_training([both], plan) == (
        "1 cases have modality 0001, which training has never seen and which is passed over: case0.",
    )
    with pytest.raises(DataError, match=r"case0: Modality 0000 is missing.*take it out"):
        images_of(replace(both, images={"0001": (source,)}), plan, None)
    assert len(images_of(replace(both, images={"image": (source,)}), plan, None)) == 1


def test_augmentation_brings_no_noise_into_a_missing_modality():
    images = torch.randn(2, 2, 1, 8, 8)[:, :, 0]
    images[0, 1] = 0.0
    strengths = {"noise": 0.5, "brightness": 1.0, "gamma": 0.3, "rotate": 20.0, "contrast": 0.2}
    seen, _ = augment(images, None, strengths, torch.Generator().manual_seed(0))
    assert not seen[0, 1].any()
    assert all(seen[b, c].std() > 0.1 for b, c in ((0, 0), (1, 0), (1, 1)))


@pytest.mark.parametrize("task", ["segment", "classify", "regress"])
def test_a_network_learns_and_answers_whatever_is_there(data, tmp_path, task):
    cohort, plan = data, plan_for(schedule=Schedule(3, warmup=1))
    if task != "segment":
        targets = ("lying", "standing") if task == "classify" else (1.5, 2.5)
        cases = tuple(replace(c, target=targets[n % 2]) for n, c in enumerate(data.cases))
        cohort = Cohort(cases, data.folds, frozenset(), classes=("lying", "standing") if task == "classify" else ())
        plan = plan_for(
            task, dims=3, size=SIZE, tile=SIZE, schedule=Schedule(3, warmup=1), network_options={"depth": 6}
        )
    store = tiny.stored(cohort, plan, tmp_path)
    assert not store.image("case1")[1].any()
    work = Work(cohort, plan, task_named(plan.task), store, tmp_path / "training", Clock(), Events())
    (tmp_path / "training").mkdir()
    trained = Loop(work, 0, 1e9).run()
    assert all(np.isfinite(row["loss"]) for row in trained.history)
    net = tiny.network_of(plan)
    net.load_state_dict(dict(trained.weights))
    arrays = [store.seen(c.id) for c in cohort.cases]
    outputs = list(raw_outputs(net, arrays, plan, dense=work.task.dense))
    assert all(np.isfinite(o).all() for o in outputs)


def test_a_prediction_without_a_modality_says_so(data, tmp_path):
    plan = plan_for()
    weights = {"fold0": tiny.network_of(plan).state_dict()}
    models.save(tmp_path / "model", plan, Calibration(), weights, "# Card\n")
    model = models.load(tmp_path / "model")
    found = {p.case: p for p in predict(model, data.cases)}
    assert (found["case0"].quality, found["case0"].reason) == ("", "")
    assert (found["case1"].quality, found["case1"].reason) == ("warn", "modality t2 is missing")
    assert found["case4"].mask.array.shape == (1, *SIZE)
    assert lacking_in(data.cases[4], plan) == ("t1",)


def test_zeros_are_given_to_the_same_network_without_stems():
    plan = controls.with_zero_filling(plan_for())
    assert dict(plan.controls) == {ZERO_FILLING: 0}
    other = controls.plan_of(plan, ZERO_FILLING)
    assert not other.spares
    assert (other.network, other.patch, other.seed, other.modalities) == (
        plan.network,
        plan.patch,
        plan.seed,
        plan.modalities,
    )
    names = tiny.network_of(other).state_dict()
    assert not any("stems" in n for n in names)
    assert any("stems" in n for n in tiny.network_of(plan).state_dict())
    alone = tiny.plan_for()
    assert controls.with_zero_filling(alone) == alone


def test_every_choice_of_modalities_is_scored_and_of_many_the_ends():
    assert plan_for().patterns == (("t1", "t2"), ("t1",), ("t2",))
    assert tiny.plan_for().patterns == ()
    names = tuple("abcde")
    options = {**tiny.plan_for().network_options, "stems": (1.0,) * 5, "modality_dropout": 0.3}
    many = tiny.plan_for(channels=5, modalities=names, network_options=options)
    # All five, five that lack one, five alone.
    assert [len(p) for p in many.patterns] == [5] + [4] * 5 + [1] * 5

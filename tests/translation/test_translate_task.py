"""The task of translation: planned, chosen, decoded to the source's grid, scored against the real image."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pairs import SIDE, cohort
from scipy.spatial.transform import Rotation

from lucency import controls
from lucency.calibration import Calibration
from lucency.case import Case
from lucency.errors import DataError, UsageError
from lucency.events import Clock, Events
from lucency.image import Image, diagonal_affine
from lucency.plan import Machine
from lucency.planner import Budget, overridden
from lucency.planner import plan as make_plan
from lucency.predict import raw_outputs
from lucency.prepare import images_of, prepare, prepare_image
from lucency.profile import profile
from lucency.read import load
from lucency.tasks import every_task, task_named
from lucency.text import sentence
from lucency.train import Work
from lucency.train.loop import Loop
from lucency.write.nifti import write_nifti

MACHINE = Machine(cores=1, memory_mib=4000, gflops=50, gflops_fp32=50)
TASK = task_named("translate")
OBLIQUE = np.eye(4)
OBLIQUE[:3] = np.column_stack(
    [
        Rotation.from_euler("xyz", [12, -8, 5], degrees=True).as_matrix()[:, [2, 1, 0]] * [2.0, -1.1, 0.8],
        [40, -30, 7],
    ]
)


def planned(found, **settings):
    seen = profile(found, workers=1)
    draft = overridden(make_plan(found, seen, TASK.needs(seen), MACHINE, Budget(1.0)), settings)
    options, reasons = TASK.told(found, draft.task_options)
    return replace(draft, task_options={**draft.task_options, **options}, reasons={**draft.reasons, **reasons})


def test_fit_does_not_offer_it_and_it_suits_nothing_else(tmp_path):
    found = cohort(tmp_path)
    assert "translate" not in every_task()
    assert TASK.suits(found) == 1
    assert TASK.suits(replace(found, made="")) == 0


def test_the_plan_keeps_intensities_and_asks_for_what_is_given_only(tmp_path):
    found = cohort(tmp_path)
    plan = planned(found)
    assert (plan.modalities, plan.made, plan.inputs) == (("a", "b"), ("b",), ("a",))
    assert plan.normalisation.kind == "fixed"
    assert "eight bits" in plan.reasons["normalisation"]
    assert all(plan.augmentation.get(k, 0) == 0 for k in ("contrast", "brightness", "noise", "gamma"))
    assert plan.augmentation["rotate"] > 0
    assert controls.with_zero_filling(plan).controls == {}
    assert plan.task_options["wanted_whole"] is True


def test_pairs_on_each_other_take_pix2pix_and_pairs_apart_a_field(tmp_path):
    (tmp_path / "on").mkdir()
    (tmp_path / "off").mkdir()
    on = planned(cohort(tmp_path / "on", 12, (1, 48, 48)))
    off = planned(cohort(tmp_path / "off", 12, (1, 48, 48), shift=4))
    assert on.task_options["translate"] == "pix2pix"
    assert off.task_options["translate"] == "reggan"
    assert off.task_options["apart_px"] == pytest.approx(4, abs=1)
    assert "pixels apart" in off.reasons["translate"]


def test_single_sides_take_a_cycle(tmp_path):
    found = cohort(tmp_path, 14)
    halves = tuple(
        replace(c, images={m: c.images[m] for m in ("ab"[n % 2],)}, target=("given", "wanted")[n % 2])
        for n, c in enumerate(found.cases)
    )
    plan = planned(replace(found, cases=halves))
    assert plan.task_options["translate"] == "cyclegan"
    assert "0 of 14 training patients have both modalities" in plan.reasons["translate"]
    with pytest.raises(DataError, match="No training case has 'b'"):
        planned(replace(found, cases=halves), translate="pix2pix")


def test_unknown_ways_are_refused(tmp_path):
    found = cohort(tmp_path)
    with pytest.raises(UsageError, match=r"translate = 'gan'.*auto, pix2pix, reggan, cyclegan, cut"):
        planned(found, translate="gan")
    with pytest.raises(UsageError, match="slices = '4d'"):
        TASK.build(planned(found, slices="4d"))


def test_what_is_wanted_must_have_something_in_it_and_one_channel(tmp_path):
    found = cohort(tmp_path)
    for case in found.cases:
        write_nifti(case.images["b"][0].files[0], Image(np.full((1, 1, SIDE, SIDE), 7, np.uint8), np.eye(4)))
    with pytest.raises(DataError, match="holds one number only"):
        TASK.told(found, {})
    for case in found.cases:
        write_nifti(case.images["b"][0].files[0], Image(np.zeros((3, 1, SIDE, SIDE), np.uint8), np.eye(4)))
    with pytest.raises(DataError, match="have 3 channels"):
        TASK.told(found, {})


def test_grids_of_two_sizes_are_refused_with_the_case(tmp_path):
    found = cohort(tmp_path)
    plan, case = planned(found), found.cases[3]
    write_nifti(case.images["b"][0].files[0], Image(np.zeros((1, 1, SIDE, SIDE - 2), np.uint8), np.eye(4)))
    with pytest.raises(DataError, match=r"^3: Modalities of one case on different grids"):
        prepare(found, plan, TASK.target, tmp_path / "prepared")


def finer(found, case):
    """Write the wanted image of a case in voxels of half the size, over the same field."""
    source = case.images[found.made][0]
    image = load(source)
    affine = image.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:, 3] = image.affine @ [-0.25, -0.25, -0.25, 1.0]
    fine = image.array.repeat(2, axis=1).repeat(2, axis=2).repeat(2, axis=3)
    write_nifti(source.files[0], Image(fine, affine))
    header = {**source.header, "size": fine.shape[1:]}
    return replace(case, images={**case.images, found.made: (replace(source, header=header),)})


def test_pairs_on_two_grids_meet_on_the_grid_of_what_is_given(tmp_path):
    found = cohort(tmp_path, 10, (6, SIDE, SIDE), OBLIQUE)
    given, before = load(found.cases[0].images["a"][0]), load(found.cases[0].images["b"][0])
    found = replace(found, cases=tuple(finer(found, c) if n < 4 else c for n, c in enumerate(found.cases)))
    case = found.cases[0]
    assert load(case.images["b"][0]).size == (12, 2 * SIDE, 2 * SIDE)
    plan = planned(found)
    assert plan.reasons["grids"].startswith("4 of 10 pairs that were looked at lie on two grids")
    assert "给定图像的网格" in sentence(plan.reasons["grids"], "zh")
    assert plan.task_options["translate"] == "pix2pix", "they lie on each other in the patient"
    first, second = images_of(case, plan, None)
    assert first is not None
    assert second is not None
    assert first.same_grid(given)
    assert second.same_grid(given)
    # Each voxel of the coarse grid lies between eight equal ones of the finer grid.
    assert second.array == pytest.approx(before.array)
    prepared = prepare_image([first, second], plan)
    prediction = TASK.decode(prepared.array[1:], case, prepared, plan, Calibration())
    assert prediction.image is not None
    assert prediction.image.same_grid(given)
    scores = TASK.score(prediction, case, plan)
    same = TASK.score(prediction, replace(case, images={"b": found.cases[0].images["b"]}), plan)
    assert scores == same
    assert scores["mae"] < TASK.score(prediction, replace(case, images=found.cases[9].images), plan)["mae"]


def test_a_pair_of_two_places_is_refused_with_its_case(tmp_path):
    found = cohort(tmp_path, 10, (6, SIDE, SIDE))
    plan, case = planned(found), found.cases[3]
    image, affine = load(case.images["b"][0]), np.eye(4)
    affine[:3, 3] = 500.0
    write_nifti(case.images["b"][0].files[0], Image(image.array, affine))
    with pytest.raises(DataError, match=r"^3: Two modalities of one case have 0 % of the field in common"):
        prepare(found, plan, TASK.target, tmp_path / "prepared")
    with pytest.raises(DataError, match=r"^3: Two modalities of one case have 0 % of the field in common"):
        planned(found)


@pytest.mark.parametrize(
    ("affine", "size"),
    [
        (diagonal_affine((1, 1, 1)), (1, SIDE, SIDE)),
        (diagonal_affine((1, 1, 1)), (6, SIDE, SIDE)),
        (OBLIQUE, (6, 24, 24)),
    ],
    ids=["flat", "volume", "oblique"],
)
def test_a_perfect_output_scores_best_and_returns_to_the_patient(tmp_path, affine, size):
    found = cohort(tmp_path, 10, size, affine)
    plan = planned(found)
    for case in found.cases[:3]:
        prepared = prepare_image(images_of(case, plan, None), plan)
        truth = load(case.images["b"][0])
        prediction = TASK.decode(prepared.array[1:], case, prepared, plan, Calibration())
        assert prediction.image is not None
        assert prediction.image.same_grid(truth)
        scores = TASK.score(prediction, case, plan)
        if prepared.place.scaled == prepared.place.upright_size and affine is not OBLIQUE:
            assert np.array_equal(prediction.image.array, truth.array)
            assert scores == {"mae": 0.0, "psnr": 100.0, "ssim": pytest.approx(1.0)}
        other = TASK.decode(prepared.array[:1], case, prepared, plan, Calibration())
        assert TASK.worth(TASK.score(other, case, plan)) < TASK.worth(scores)
        (row,) = TASK.tables(prediction, plan)["predictions"].rows
        assert row[:4] == (case.id, "yes", "b", "a")


def test_a_case_without_the_real_image_is_made_and_not_scored(tmp_path):
    found = cohort(tmp_path)
    plan, whole = planned(found), found.cases[0]
    alone = Case("new", "new", {"image": whole.images["a"]})
    images = images_of(alone, plan, None)
    assert images[1] is None
    prepared = prepare_image(images, plan)
    assert np.array_equal(prepared.array[0], prepare_image(images_of(whole, plan, None), plan).array[0])
    assert not prepared.array[1].any()
    assert TASK.score(TASK.decode(prepared.array[1:], alone, prepared, plan, Calibration()), alone, plan) == {}
    nothing = TASK.measure([], plan, np.random.default_rng(0)).metrics
    assert next(iter(nothing)) == "mae"
    assert all(np.isnan(m.value) for m in nothing.values())


@pytest.mark.parametrize("size", [(1, SIDE, SIDE), (6, SIDE, SIDE)], ids=["flat", "volume"])
@pytest.mark.parametrize("way", ["pix2pix", "reggan", "cyclegan", "cut"])
def test_the_one_loop_trains_every_way_and_what_it_delivers_predicts(tmp_path, way, size):
    found = cohort(tmp_path, 10, size)
    plan = planned(found, translate=way, **{"network_options.widths": "[4, 8, 8]"} if size[0] == 1 else {})
    plan = replace(plan, schedule=replace(plan.schedule, steps=2, warmup=1), batch=2, precision="fp32")
    store = prepare(found, plan, TASK.target, tmp_path / "prepared")
    (tmp_path / "training").mkdir()
    work = Work(found, plan, TASK, store, tmp_path / "training", Clock(), Events())
    trained = Loop(work, 0, 1e9).run()
    assert trained.rolled_back == []
    net = TASK.build(plan)["net"]
    net.load_state_dict(dict(trained.weights))
    (raw,) = raw_outputs(net.eval(), [store.seen("0")], plan, dense=True)
    assert raw.shape == (1, *store.entries["0"].shape[1:])
    assert np.isfinite(raw).all()
    active = TASK.activate(torch.from_numpy(raw)[None], Calibration())
    assert torch.equal(active[0], torch.from_numpy(raw))


@pytest.mark.parametrize("way", ["cyclegan", "cut"])
def test_training_without_pairs_goes_on_where_it_was_interrupted(tmp_path, way):
    found = cohort(tmp_path, 10)
    sides = tuple(
        replace(c, images={m: c.images[m] for m in ("ab"[n % 2],)}, target=("given", "wanted")[n % 2])
        for n, c in enumerate(found.cases)
    )
    found = replace(found, cases=sides)
    plan = planned(found, translate=way, **{"network_options.widths": "[4, 8]"})
    plan = replace(plan, schedule=replace(plan.schedule, steps=4, warmup=1), batch=4, precision="fp32")
    store = prepare(found, plan, TASK.target, tmp_path / "prepared")
    ends = []
    for name in ("whole", "interrupted"):
        (tmp_path / name).mkdir()
        work = Work(found, plan, TASK, store, tmp_path / name, Clock(), Events())
        if name == "interrupted":
            loop = Loop(work, 0, 1e9)
            for _ in range(2):
                loop._one_step()
            loop.save()
        ends.append(Loop(work, 0, 1e9).run())
    assert ends[0].steps == ends[1].steps == 4
    assert all(torch.equal(v, ends[1].weights[k]) for k, v in ends[0].weights.items())


def test_views_that_agree_leave_nothing_to_ask(tmp_path):
    plan, prediction = planned(cohort(tmp_path)), None
    view = np.random.default_rng(0).normal(size=(1, 1, 8, 8))
    assert TASK.informative([view, view], prediction, plan) == 0
    assert TASK.informative([view, -view], prediction, plan) > 0.3

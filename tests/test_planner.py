import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

import tiny
from lucency import record
from lucency.case import Cohort
from lucency.errors import UsageError
from lucency.mirror import Mirror
from lucency.plan import DECISIONS, Machine, Needs, Plan, Timing
from lucency.planner import Budget, overridden, plan, smaller, surprise, timed
from lucency.planner.shape import strides_of
from lucency.profile import Profile, summary
from lucency.tasks import task_named
from lucency.text import sentence

MACHINE = Machine(cores=2, memory_mib=6000, gflops=100.0, gflops_fp32=60.0, bf16=True, name="a processor")
GPU = replace(MACHINE, accelerator="cuda", device_memory_mib=20_000.0, gflops=20_000.0)


def profile_of(size=(36, 50, 35), spacing=(1.0, 1.0, 1.0), n=160, classes=0, unit="1", dims=None, dicom=""):
    """A training part of ``n`` images of one size."""
    voxels = summary(np.linspace(-1000, 1500, 2000) if unit == "HU" else np.linspace(0, 255, 256))
    return Profile(
        n_cases=n,
        n_patients=n,
        modalities={"image": n},
        dicom_modalities={dicom: n} if dicom else {},
        units={unit: n},
        channels={1: n},
        dims={dims or (2 if size[0] == 1 else 3): n},
        sizes=tuple({s: n} for s in size),
        spacings=tuple(summary(np.full(n, s)) for s in spacing),
        spacing_known=n,
        intensity={"image": (voxels,)},
        body={"image": (voxels,)},
        class_counts={f"class {c}": n // classes for c in range(classes)},
        label_cases={} if classes else {1: n, 2: n},
    )


def planned(profile, minutes=10.0, machine=MACHINE, seed=0):
    task = task_named("classify" if profile.class_counts else "segment")
    classes = tuple(profile.class_counts)
    cohort = Cohort((), {}, frozenset(), classes=classes, labels={} if classes else {1: "a", 2: "b"})
    return plan(cohort, profile, task.needs(profile), machine, Budget(minutes, seed))


PROFILES = {
    "hippocampus": profile_of(),
    "anisotropic": profile_of((20, 320, 320), (5.0, 0.6, 0.6), 40),
    "thin": profile_of((3, 256, 256), (10.0, 1.0, 1.0), 40),
    "huge": profile_of((400, 512, 512), (1.0, 0.8, 0.8), 60, unit="HU"),
    "ten": profile_of(n=10),
    "slices": profile_of((1, 256, 256), n=300),
    "tiny slices": profile_of((1, 28, 28), n=300),
    "tiny": profile_of((1, 28, 28), n=4000, classes=2),
    "x-rays": profile_of((1, 2000, 1700), (1.0, 0.14, 0.14), 3000, classes=3),
    "ten x-rays": profile_of((1, 2000, 1700), n=10, classes=2),
    "strip": profile_of((1, 40, 900), n=100, classes=2),
    "volumes": profile_of((160, 240, 240), n=200, classes=2),
    "few voxels": profile_of((4, 5, 6), n=50),
}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("machine", [MACHINE, GPU], ids=["cpu", "gpu"])
def test_every_decision_has_a_reason_and_the_plan_can_be_carried_out(name, machine):
    import torch

    profile = PROFILES[name]
    found = planned(profile, machine=machine)
    assert all(len(found.reasons[d]) > 10 for d in DECISIONS)
    assert found.dims == (2 if profile.median_size()[0] == 1 else 3)
    assert all(p >= 1 for p in found.patch)
    assert all(t >= p for t, p in zip(found.tile, found.patch, strict=True))
    assert found.batch <= 128
    assert found.channels == 1
    net = tiny.network_of(found)
    # One image through the real network, at most 40 voxels a side to be quick.
    size = [min(p, 40) for p in found.patch][3 - found.dims :]
    with torch.inference_mode():
        out = net(torch.zeros(1, 1, *size))
    assert out.shape == ((1, len(found.classes)) if found.classes else (1, 3, *size))


@pytest.mark.parametrize("name", PROFILES)
def test_same_input_same_plan_and_it_survives_json(name, tmp_path):
    found = planned(PROFILES[name])
    assert record.to_json(found) == record.to_json(planned(PROFILES[name]))
    record.write(tmp_path / "plan.json", found)
    assert record.read(Plan, tmp_path / "plan.json") == found


def test_whole_volumes_are_the_patch_where_they_fit_and_a_part_where_not():
    small = planned(PROFILES["hippocampus"])
    assert all(p >= n for p, n in zip(small.patch, (36, 50, 35), strict=True))
    assert "whole volumes" in small.reasons["patch"]
    large = planned(PROFILES["anisotropic"])
    assert np.prod(large.patch) <= 1.3 * 100_000
    assert "largest that trains at speed" in large.reasons["patch"]


def test_patch_is_a_multiple_of_the_networks_stride():
    for name in ("hippocampus", "anisotropic", "thin", "huge", "ten"):
        found = planned(PROFILES[name])
        steps = np.array([[int(n) for n in s.split("x")] for s in found.network_options["strides"].split(",")])
        assert not any(np.array(found.patch) % steps.prod(axis=0))


def test_thick_slices_are_left_whole_until_the_slice_is_as_coarse():
    """5 mm slices of 0.6 mm pixels: .6, 1.2, 2.4 mm are halved in the plane; k joins once 2 · pixel > 5 mm."""
    assert strides_of([20, 80, 80], [5.0, 0.6, 0.6], 4) == [(1, 2, 2), (1, 2, 2), (1, 2, 2), (2, 2, 2)]
    assert strides_of([32, 32, 32], [1.0, 1.0, 1.0], 3) == [(2, 2, 2)] * 3
    assert strides_of([16, 40, 40], [1.0, 1.0, 1.0], 3) == [(2, 2, 2), (2, 2, 2), (1, 2, 2)]
    assert strides_of([4, 5, 6], [1.0, 1.0, 1.0], 3) == [(1, 1, 1)]
    found = planned(PROFILES["anisotropic"])
    assert found.network_options["strides"].startswith("1x2x2")
    assert found.augmentation["tilt"] == 0
    assert "8.3 times thicker" in found.reasons["network"]


def test_huge_volumes_are_coarsened_and_the_plan_says_so():
    found = planned(PROFILES["huge"])
    assert min(found.grid.spacing) > 0.8
    ratio = np.array(found.grid.spacing) / np.array([1.0, 0.8, 0.8])
    assert ratio == pytest.approx(np.full(3, ratio[0]), rel=0.02)
    assert "coarsened" in found.reasons["grid"]
    longer = planned(PROFILES["huge"], minutes=240)
    assert min(longer.grid.spacing) < min(found.grid.spacing)


def test_frames_keep_the_proportions_of_the_image():
    found = planned(PROFILES["x-rays"])
    _, j, i = found.grid.size
    # 2000 × 1700: 1 : .85, sides rounded up to multiples of the stride.
    assert i / j == pytest.approx(0.85, abs=8 / j)
    assert max(j, i) <= 224
    assert planned(PROFILES["tiny"]).grid.size == (1, 28, 28)
    strip = planned(PROFILES["strip"]).grid.size
    assert strip[1] < strip[2] / 10


def test_more_time_gives_finer_images_and_never_coarser():
    sides = [max(planned(PROFILES["x-rays"], minutes=m).grid.size) for m in (2, 10, 60, 600)]
    assert sides == sorted(sides)
    assert sides[0] < sides[-1]


def test_hounsfield_units_are_clipped_for_all_alike_and_other_numbers_by_image():
    ct = planned(PROFILES["huge"]).normalisation
    assert ct.kind == "fixed"
    # 0.5 and 99.5 % of numbers evenly from -1000 to 1500, within a bin of 1 %.
    assert ct.lower[0] == pytest.approx(-987.5, rel=0.02)
    assert ct.upper[0] == pytest.approx(1487.5, rel=0.02)
    assert ct.mean[0] == pytest.approx(250)
    assert planned(PROFILES["hippocampus"]).normalisation.kind == "zscore"


def test_precision_follows_what_was_measured():
    assert planned(PROFILES["tiny"]).precision == "bf16"
    slow = planned(PROFILES["tiny"], machine=replace(MACHINE, bf16=False))
    assert slow.precision == "fp32"
    assert "not faster" in slow.reasons["precision"]


def test_little_memory_gives_smaller_tiles_but_never_under_the_patch():
    tiles = [planned(PROFILES["huge"], machine=replace(MACHINE, memory_mib=m)).tile for m in (200, 2000, 20_000)]
    sizes = [int(np.prod(t)) for t in tiles]
    assert sizes[0] <= sizes[1] < sizes[2]
    patch = planned(PROFILES["huge"]).patch
    assert all(a >= b for t in tiles for a, b in zip(t, patch, strict=True))


def test_a_modality_that_all_images_share_is_noted_for_prediction():
    assert planned(profile_of(dicom="CT")).task_options["modality"] == "CT"
    assert "modality" not in planned(PROFILES["hippocampus"]).task_options


def test_no_mirror_image_unless_the_data_show_that_it_is_safe():
    for profile in PROFILES.values():
        found = planned(profile)
        assert not any(found.augmentation.get(f"flip_{a}") for a in "kji")
        assert found.tta == ()


# --- after the rehearsal -------------------------------------------------------------------------------------------

TIMING = Timing(step_s=0.5, predict_s=0.1, score_s=0.05, memory_mib=700, store_mib=50, channels_last=True)


def finished(name, minutes, timing=TIMING, spent=30.0):
    profile = PROFILES[name]
    return timed(planned(profile, minutes), timing, profile, n_locked=30, spent_s=spent, dense=not profile.class_counts)


@pytest.mark.parametrize("minutes", [2, 10, 30, 60])
@pytest.mark.parametrize("name", ["hippocampus", "slices", "tiny", "x-rays", "anisotropic"])
def test_the_forecast_fills_the_budget_and_does_not_break_it(name, minutes):
    one = {"hippocampus": 0.1, "anisotropic": 0.1, "slices": 0.02}.get(name, 0.005)
    found = finished(name, minutes, replace(TIMING, predict_s=one, score_s=one / 2))
    total = sum(found.forecast.seconds.values())
    assert total <= 0.86 * minutes * 60 or found.schedule.steps == 1
    assert found.forecast.seconds["train"] == pytest.approx(len(found.folds) * found.schedule.steps * 0.5)
    capped = "learned by heart" in found.reasons["schedule"]
    assert capped or len(found.folds) == 5 or total >= 0.8 * minutes * 60
    assert found.channels_last
    assert found.forecast.memory_mib >= 700


def test_an_hour_gives_more_members_than_ten_minutes_and_never_fewer_steps_in_all():
    short, long = finished("hippocampus", 10), finished("hippocampus", 60)
    assert short.folds == (0,)
    assert len(long.folds) > 1
    assert len(long.folds) * long.schedule.steps > 4 * short.schedule.steps
    assert long.folds == tuple(range(len(long.folds)))
    assert f"{len(long.folds)} of 5 folds" in long.reasons["folds"]


def test_few_images_are_not_learned_by_heart():
    """Ten cases, 8 a fold, 4 a batch: an epoch of 2 steps, 600 passes: 1200 steps at most, times patches."""
    quick = replace(TIMING, step_s=0.001)
    found = finished("ten", 60, quick)
    epoch = -(-8 // found.batch)
    assert found.schedule.steps == 600 * epoch
    assert "learned by heart" in found.reasons["schedule"]


def test_no_time_left_still_gives_a_step():
    found = finished("hippocampus", 1, replace(TIMING, step_s=30.0), spent=55.0)
    assert found.schedule.steps >= 1
    assert found.schedule.warmup >= 1
    assert found.folds == (0,)


# --- after memory ran out, and by hand -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hippocampus", "anisotropic", "huge", "x-rays", "tiny"])
def test_smaller_and_smaller_until_nothing_is_left(name):
    found = planned(PROFILES[name])
    sizes = []
    for _ in range(20):
        sizes.append(found.batch * int(np.prod(found.patch)))
        try:
            found = smaller(found)
        except UsageError as error:
            assert "cannot be made smaller" in str(error)  # noqa: PT017 - how many steps it takes is part of the test
            break
        assert "did not fit into memory" in found.reasons["batch"] + found.reasons["patch"]
        assert all(t >= p for t, p in zip(found.tile, found.patch, strict=True))
    assert len(sizes) < 20
    assert all(a > b for a, b in itertools.pairwise(sizes))


def test_settings_are_put_in_and_say_who_chose_them():
    draft = planned(PROFILES["hippocampus"])
    found = overridden(
        draft,
        {
            "batch": "3",
            "schedule.rate": "1e-3",
            "network_options.residual": "true",
            "network_options.widths": "[8, 16]",
            "network_options.strides": "2x2x2",
            "folds": "[0, 1]",
            "augmentation.flip_i": "0.5",
            "task_options.nan": "0",
            "ignore": "255",
            "precision": "fp32",
        },
    )
    assert (found.batch, found.schedule.rate, found.network_options["residual"]) == (3, 1e-3, True)
    assert found.network_options["widths"] == (8, 16)
    assert (found.folds, found.augmentation["flip_i"], found.ignore) == ((0, 1), 0.5, 255)
    assert found.reasons["batch"] == "set by the user: batch = 3"
    assert found.grid == draft.grid
    assert draft.batch != 3


@pytest.mark.parametrize(
    ("key", "text", "match"),
    [
        ("batc", "3", r"Unknown key 'batc'.*did you mean 'batch'"),
        ("schedule.rat", "3", r"Unknown key 'rat'.*did you mean 'rate'"),
        ("shedule.rate", "3", r"No part 'shedule' in the plan"),
        ("batch", "many", r"--set batch: Value many.*a whole number"),
        ("batch", "2.5", r"a whole number"),
        ("batch", "true", r"a whole number"),
        ("batch", "0", r"batch = 0.*1 or more"),
        ("schedule.rate", "fast", r"--set schedule\.rate: Value fast.*a number"),
        ("channels_last", "1", r"true or false"),
        ("patch", "[1, 2]", r"a list of 3"),
        ("patch", "8", r"a list of 3"),
        ("patch", "[0, 8, 8]", r"patch = .*1 or more"),
        ("folds", "[5]", r"folds = .*0 to 4"),
        ("folds", "[]", r"at least one of 0 to 4"),
        ("tta", '["x"]', r"tta = .*of k, j and i"),
        ("normalisation.kind", "zcore", r"zscore, fixed or mixed"),
        ("augmentation", "none", r"an object in braces"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_with_what_would(key, text, match):
    with pytest.raises(UsageError, match=match) as error:
        overridden(planned(PROFILES["hippocampus"]), {key: text})
    assert error.value.exit_status == 2


def test_a_plan_that_lacks_a_reason_is_none():
    found = planned(PROFILES["tiny"])
    with pytest.raises(UsageError, match=r"'grid' has no reason"):
        replace(found, reasons={k: v for k, v in found.reasons.items() if k != "grid"})


def test_needs_of_another_task_are_planned_for_without_its_name():
    needs = Needs(
        "count", "resnet", 1, dense=False, reasons={"task": "counts of cells", "network": "ResNet for images"}
    )
    found = plan(Cohort((), {}, frozenset()), PROFILES["tiny"], needs, MACHINE, Budget())
    assert (found.task, found.network) == ("count", "resnet")


# --- in Chinese ----------------------------------------------------------------------------------------------------

#: Names and units that Chinese papers print in Latin letters as well, and the axes.
LATIN = {
    *("AdamW", "AUC", "Dice", "GFLOP", "GPU", "HU", "ResNet", "U-Net", "arXiv", "bf16", "fp32", "cpu", "cuda"),
    *("mm", "minutes", "s", "k", "j", "i"),
}


def english_in(reasons):
    """Return the Latin words, beyond those allowed, that are left in the Chinese of the reasons."""
    said = {key: sentence(reason, "zh") for key, reason in reasons.items()}
    words = {key: set(re.findall(r"[A-Za-z](?:[\w-]*\w)?", text)) - LATIN for key, text in said.items()}
    marks = {key: set(re.findall(r"[\u4e00-\u9fff] ?[,:;(]", text)) for key, text in said.items()}
    return {key: (words[key] | marks[key], said[key]) for key in said if words[key] | marks[key]}


#: A piece of each kind of sentence that the planner and the tasks make.
KINDS = (
    *("images scaled into", "no resampling", "coarsened", "the whole frame", "whole volumes", "largest that trains"),
    *("steps a pass", "small sets learn", "convolved within the slice", "Hounsfield", "each image by its own"),
    *(
        "mildly",
        "strongly",
        "no mirror image",
        "mirrored along",
        "cannot be judged",
        "with AUC 0.50;",
        "steps a member:",
    ),
    *(
        "learned by heart",
        "TOO FEW",
        "bf16:",
        "fp32:",
        "fold 0 until",
        "of 5 folds",
        "fold 0 alone",
        "no mirrored copies",
    ),
    *("mean of", "yes: on a GPU", "no: it takes", "training images each", "labels beside", "plain cross-entropy"),
)


def mirrored(name):
    """Give a profile mirror images that cannot be told from the originals."""
    axes = {a: Mirror(100, (0.0,), (1.0,)) for a in "kji"}
    return replace(PROFILES[name], mirrors={"image": axes})


def reasons_of(name):
    """Yield the reasons of many plans for one profile: three machines, short and long, before and after rehearsal."""
    machines = (MACHINE, GPU, replace(MACHINE, bf16=False))
    for profile, machine, minutes in itertools.product((PROFILES[name], mirrored(name)), machines, (1, 10, 60)):
        draft = planned(profile, minutes, machine)
        yield draft.reasons
        for step_s in (0.001, 0.5, 30.0):
            timing = replace(TIMING, step_s=step_s, predict_s=0.02)
            dense = not profile.class_counts
            yield timed(draft, timing, profile, n_locked=30, spent_s=30.0, dense=dense).reasons


@pytest.mark.parametrize("name", PROFILES)
def test_every_reason_of_a_plan_has_its_chinese(name):
    for reasons in reasons_of(name):
        assert english_in(reasons) == {}


def test_the_chinese_of_what_changed_a_plan_names_the_setting():
    draft = planned(PROFILES["huge"])
    fewer = smaller(draft)
    assert english_in(fewer.reasons) == {}
    while fewer.batch > 2:
        fewer = smaller(fewer)
    assert english_in(smaller(fewer).reasons) == {}
    chosen = overridden(draft, {"network_options.widths": "[8, 16]", "batch": "3"})
    assert sentence(chosen.reasons["network_options"], "zh").endswith("network_options.widths = [8, 16]")
    assert english_in({"batch": chosen.reasons["batch"]})["batch"][0] == {"batch"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_profiles_bring_about_every_kind_of_reason(kind):
    """What no profile brings about, the test of the Chinese above would not see."""
    assert any(kind in reason for name in PROFILES for reasons in reasons_of(name) for reason in reasons.values())


def sequences(n_frames, side=96, n=80, patients=50):
    """A training part of clips."""
    seen = profile_of((n_frames, side, side), n=n, classes=2)
    return replace(seen, n_patients=patients, k_axes={"time": n})


def sequence_plan(profile, **needs):
    task = task_named("classify")
    asked = replace(task.needs(profile), sequence=True, **needs)
    cohort = Cohort((), {}, frozenset(), classes=tuple(profile.class_counts))
    return plan(cohort, profile, asked, MACHINE, Budget(20.0))


def test_clips_are_read_as_sequences_and_volumes_are_not():
    assert task_named("classify").needs(sequences(16)).network == "recurrent"
    assert task_named("classify").needs(replace(sequences(16), k_axes={"space": 80})).network == "resnet"


@pytest.mark.parametrize("n_frames", [2, 5, 16, 400])
def test_frames_of_long_clips_are_bounded_with_a_reason(n_frames):
    found = sequence_plan(sequences(n_frames))
    assert found.grid.mode == "frames"
    assert found.grid.size[0] <= min(n_frames, 32)
    assert found.patch == found.grid.size
    assert f"{found.grid.size[0]} frames of" in found.reasons["grid"]
    assert ("evenly taken" in found.reasons["grid"]) == (found.grid.size[0] < n_frames)
    assert not {"tilt", "flip_k"} & {k for k, v in found.augmentation.items() if v}


def test_controls_share_the_time_and_bring_more_folds():
    profile = sequences(16)
    alone, beside = sequence_plan(profile), sequence_plan(profile, controls=("mean over frames", "3-D network"))
    timing = Timing(step_s=0.1, predict_s=0.01, score_s=0, memory_mib=500, store_mib=10)
    one, three = (timed(p, timing, profile, n_locked=12, spent_s=10, dense=False) for p in (alone, beside))
    assert three.controls == {"mean over frames": 0, "3-D network": 0}
    assert three.schedule.steps * len(three.folds) < one.schedule.steps * len(one.folds) / 2
    # Ten of fifty patients are held out by a fold: four folds hold out forty.
    assert len(three.folds) >= 4


def test_numbers_keep_the_scale_where_it_is_known():
    profile = replace(
        profile_of((1, 200, 300), (1.0, 0.5, 0.5), n=200),
        label_cases={},
        values=summary(np.linspace(40, 90, 200)),
        extents=tuple(summary(np.full(200, e)) for e in (1.0, 100.0, 150.0)),
    )
    task = task_named("regress")
    cohort = Cohort((), {}, frozenset())
    found = plan(cohort, profile, task.needs(profile), MACHINE, Budget(10.0))
    assert found.grid.mode == "canvas"
    # The canvas holds 150 mm along its longer side, and pixels are square.
    assert found.grid.spacing[2] * found.grid.size[2] == pytest.approx(150, rel=0.05)
    assert found.grid.spacing[1] == found.grid.spacing[2]
    assert found.augmentation["scale"] == 0
    blind = plan(cohort, replace(profile, spacing_known=150), task.needs(profile), MACHINE, Budget(10.0))
    assert blind.grid.mode == "fit"


def survived(minutes, machine=MACHINE):
    """A plan of prognosis for 119 patients with 65 events, and its profile."""
    outcomes = {"0": summary(np.linspace(700, 3000, 54)), "1": summary(np.linspace(30, 1300, 65))}
    sides = (summary(np.full(119, 92.0)),) * 3
    profile = replace(profile_of((46, 46, 46), (2.0, 2.0, 2.0), 119), outcomes=outcomes, label_cases={}, extents=sides)
    needs = task_named("prognose").needs(profile)
    return plan(Cohort((), {}, frozenset()), profile, needs, machine, Budget(minutes)), profile


def test_a_grid_that_leaves_time_for_one_member_is_coarsened_where_five_are_wanted():
    draft, profile = survived(15)
    assert draft.least_members == 5
    epoch = -(-119 * 8 // 10 // draft.batch)
    # 13 passes of one member: enough where one is wanted, and 24 of 119 patients judged. A machine under load did so.
    slow = replace(TIMING, step_s=0.65 * 900 / (13 * epoch))
    assert surprise(draft, slow, profile, dense=False) == pytest.approx(13 / 30, rel=0.1)
    assert surprise(replace(draft, least_members=1), slow, profile, dense=False) == 1.0
    coarser, _ = survived(15, replace(MACHINE, gflops=MACHINE.gflops / 100))
    assert coarser.grid.size < draft.grid.size


def test_the_reason_for_the_folds_states_the_passes_that_are_planned():
    draft, profile = survived(15)
    epoch = -(-119 * 8 // 10 // draft.batch)
    found = timed(
        draft, replace(TIMING, step_s=0.65 * 900 / (33 * epoch)), profile, n_locked=21, spent_s=30.0, dense=False
    )
    assert found.folds == (0, 1, 2, 3, 4)
    passes = round(found.schedule.steps / epoch)
    assert 6 <= passes <= 9
    assert f"about {passes} passes each" in found.reasons["folds"]

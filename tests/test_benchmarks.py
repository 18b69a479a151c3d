"""The benchmarks run, on generated data and for a few steps; how fast anything is, is not tested."""

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PEER = {"throughput_train", "throughput_predict"}


@pytest.fixture
def benchmark(monkeypatch):
    """Import a benchmark's module as its own command would."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield __import__
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == BENCHMARKS:
            del sys.modules[name]


def quick(name, out):
    """Run a benchmark's command and return what it wrote."""
    if name in PEER and importlib.util.find_spec("monai") is None:
        pytest.skip("MONAI is not installed: pip install -e '.[bench]'")
    words = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick", "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", env=environment(), check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text(encoding="utf-8"))


def environment():
    return {**os.environ, "PYTHONIOENCODING": "utf-8"}


@pytest.mark.journey
def test_training_throughput_compares_the_same_work(tmp_path):
    found = quick("throughput_train", tmp_path / "train.json")
    rates = found["patches_per_s"]
    assert set(rates) >= {"ours bf16", "ours fp32", "monai fp32, 2 workers", "monai bf16, 2 workers"}
    assert all(0 < r["lowest"] <= r["median"] <= r["highest"] for r in rates.values())
    # Three classes, unlearned: cross-entropy ln 3 and a Dice loss of at most 1, whatever the loop.
    assert all(0.5 < loss < math.log(3) * 1.5 + 1 for loss in found["last_loss"].values())
    assert found["commit"] is not None
    assert len(found["load_before"]) == 3


@pytest.mark.journey
def test_plain_and_residual_networks_start_from_the_same_convolutions(benchmark):
    found = benchmark("deep_residual")
    plain, residual = (found.three_by_three(found.network(20, residual=r, seed=0)) for r in (False, True))
    assert len(plain) == len(residual) == 19
    assert all((a.weight == b.weight).all() for a, b in zip(plain, residual, strict=True))


@pytest.mark.journey
def test_prediction_throughput_scores_every_way_on_the_same_masks(tmp_path):
    found = quick("throughput_predict", tmp_path / "predict.json")
    for each in found["sets"].values():
        assert each["ratio"] > 0
        # bf16 turns only voxels on the fence.
        assert each["dice"]["ours"] == pytest.approx(each["dice"]["ours fp32"], abs=0.02)
        assert each["dice"]["monai fp32, 1 window"] == pytest.approx(each["dice"]["monai fp32, 4 windows"], abs=1e-4)
    assert found["sets"]["mosaics"]["median_size"] == [32, 48, 32]


@pytest.mark.journey
def test_both_modalities_are_scored_with_and_without_the_other(tmp_path):
    found = quick("missing_modality", tmp_path / "missing.json")
    assert found["runs"]["complete"]["patients_that_lack_one"] == 0
    assert found["runs"]["incomplete"]["patients_that_lack_one"] > 0
    for run in found["runs"].values():
        for part in run["parts"].values():
            assert list(part) == ["0000+0001", "0000", "0001"]
            assert all(0 <= row["dice"][0] <= 1 and 0 <= row["zero_filling"][0] <= 1 for row in part.values())


@pytest.mark.journey
@pytest.mark.parametrize("name", ["layers", "baselines"])
def test_the_others_run(name, tmp_path):
    found = quick(name, tmp_path / "out.json")
    assert found["benchmark"] == name
    assert found["quick"] is True


def test_a_line_in_the_table_replaces_the_last_of_its_name_and_leaves_the_others(benchmark, tmp_path):
    recorded = benchmark("recorded")
    facts = {
        "machine": {"accelerator": "", "processor": "A processor", "cores": 2},
        "versions": {"lucency": "0.1.0", "torch": "2.13.0", "numpy": "2.0"},
        "load_before": [0.1234, 0, 0],
        "commit": "abc1234",
    }
    options = argparse.Namespace(quick=False, seed=0, out=tmp_path / "two.json")
    recorded.write("two", "first try", facts, options)
    recorded.write("one", "2.00 ×", facts, argparse.Namespace(quick=False, seed=0, out=tmp_path / "one.json"))
    recorded.write("two", "second try", facts, options)
    lines = [line for line in (tmp_path / "README.md").read_text(encoding="utf-8").splitlines() if "`" in line[:3]]
    tail = "A processor, 2 cores | lucency 0.1.0, torch 2.13.0 | 0.12 | abc1234 |"
    assert lines == [f"| `one` | 2.00 × | {tail}", f"| `two` | second try | {tail}"]


def test_a_trial_leaves_no_record(benchmark, tmp_path, monkeypatch):
    recorded = benchmark("recorded")
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    recorded.write("one", "2.00 ×", {}, argparse.Namespace(quick=True, seed=0, out=None))
    assert list(tmp_path.iterdir()) == []


def test_ratio_is_that_of_median_rates(benchmark):
    # Rates of the slow row 1, 1/2, 1/4: median 1/2; of the fast one 2, 1, 2: median 2; 2 / (1/2) = 4.
    assert benchmark("recorded").ratio_of({"slow": [1, 2, 4], "fast": [0.5, 1, 0.5]}, "slow", "fast") == 4


def test_rows_are_timed_in_turns_that_rotate(benchmark):
    recorded = benchmark("recorded")
    seen = []
    ticks = iter(range(100))
    rows = [recorded.Row(name, lambda name=name: seen.append(name), 6) for name in "ab"]
    times = recorded.interleaved(rows, 2, lambda: float(next(ticks)))
    assert seen == ["a", "b", "b", "a"]
    assert times == {"a": [1, 1], "b": [1, 1]}
    assert recorded.rates(rows, times)["a"] == {"median": 6, "lowest": 6, "highest": 6, "rounds": 2}


def test_fit_targets_know_which_way_is_better(benchmark):
    reached = benchmark("fit_sets").reached
    found = reached({"auc": {"value": 0.98}, "ece": {"value": 0.06}}, {"auc": 0.975, "ece": 0.05, "accuracy": 0.9})
    assert {name: row["reached"] for name, row in found.items()} == {"auc": True, "ece": False, "accuracy": False}
    measured = reached({"mae/hc_mm": {"value": 2.5}, "dice": {"value": 0.9}}, {"mae/hc_mm": 3.0, "dice": 0.97})
    assert {name: row["reached"] for name, row in measured.items()} == {"mae/hc_mm": True, "dice": False}


def test_memory_of_a_command_is_seen_from_outside(benchmark):
    # 300 MiB of touched memory on top of a bare interpreter's few dozen.
    watched = benchmark("fit_sets").watch(
        [sys.executable, "-c", "import time; a = bytearray(b'1') * (300 * 2**20); time.sleep(1)"]
    )
    assert 300 <= watched["memory_mib"]["seen"] < 500
    assert watched["wall_s"] >= 1


def test_a_command_that_fails_is_not_recorded(benchmark):
    with pytest.raises(SystemExit, match="status 3"):
        benchmark("fit_sets").watch([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_simulated_annotator_counts_cases_and_border_pixels_by_hand(benchmark):
    made = benchmark("annotate")
    # .7 lies half way between .6 at 16 and .8 at 32 cases: 24 of 32.
    assert made.share_of_cases(np.array([0.5, 0.6, 0.8]), 0.7, (8, 16, 32)) == pytest.approx(24 / 32)
    assert made.share_of_cases(np.array([0.5, 0.6, 0.65]), 0.7, (8, 16, 32)) == math.inf
    assert made.share_of_cases(np.array([0.7, 0.6, 0.8]), 0.7, (8, 16, 32)) == 8 / 32
    square = np.zeros((1, 20, 20), bool)
    square[:, 5:15, 5:15] = True
    # A border of 10 x 10 has 36 pixels; one that lies a pixel off needs nothing, an empty one or one elsewhere all 36.
    assert made.pixels(square, square) == (0, 36)
    assert made.pixels(np.roll(square, 1, axis=1), square) == (0, 36)
    assert made.pixels(np.zeros_like(square), square) == (36, 36)
    assert made.pixels(np.roll(square, 5, axis=1), square)[0] == 36
    # The right of column 8 is missing. Drawn: columns 10 to 14 of top and bottom and rows 6 to 13 of the right side,
    # for column 9 is a pixel off; taken away: rows 7 to 12 of column 8. 5 + 5 + 8 + 6.
    half = square.copy()
    half[..., 9:] = False
    assert made.pixels(half, square) == (24, 36)


def test_a_strategy_like_its_control_gains_nothing(benchmark):
    made = benchmark("annotate")
    rng = np.random.default_rng(0)
    curve = np.sort(rng.random((3, 3, 12)), axis=1)
    scores = dict.fromkeys(made.STRATEGIES, curve)
    drawn = {s: [(3.0, 10.0)] * 3 for s in made.STRATEGIES}
    found = made.summed(scores, drawn, [f"p{n // 2}" for n in range(12)], (8, 16, 32), rng)["strategies"]
    assert all(one["gain_over_control"][-1] == {"value": 0, "lower": 0, "upper": 0} for one in found.values())
    assert all(
        one["share_of_cases"]["value"] == 1 and one["share_of_cases"]["not_reached"] == 0 for one in found.values()
    )
    assert all(one["share_of_border"] == {"value": 0.3, "lower": 0.3, "upper": 0.3} for one in found.values())


def test_instance_norm_takes_the_place_of_group_norm_with_the_same_result(benchmark):
    torch = pytest.importorskip("torch")
    layers = benchmark("layers")
    net = layers.subjects(quick=True)[1].make().train()
    x = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    before = [m.detach() for m in net(x)]
    groups = sum(isinstance(m, torch.nn.GroupNorm) for m in net.modules())
    layers.replace_norms(net, 2)
    assert groups > 0
    assert not any(isinstance(m, torch.nn.GroupNorm) for m in net.modules())
    for one, two in zip(before, net(x), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


def test_blocks_of_a_mosaic_keep_image_and_mask_together(benchmark):
    if importlib.util.find_spec("monai") is None:
        pytest.skip("MONAI is not installed: pip install -e '.[bench]'")
    predict = benchmark("throughput_predict")
    import numpy as np

    truth = [np.full((3, 5, 4), n, dtype=np.int16) for n in (1, 2)]
    images, masks = predict.mosaics(([t[None].astype(np.float32) for t in truth], truth), 1, (4, 8, 4), (4, 4, 4))
    assert images[0].shape == (1, 4, 8, 4)
    assert masks[0].shape == (4, 8, 4)
    # Edge values pad the image; outside a volume's own voxels the mask is background.
    assert set(np.unique(images[0][0, :, :4])) == {1}
    assert set(np.unique(images[0][0, :, 4:])) == {2}
    assert masks[0][:3, :4].min() == 1
    assert masks[0][3].max() == 0


@pytest.mark.journey
def test_dicom_readers_agree_on_every_sum(tmp_path):
    found = quick("dicom_read", tmp_path / "read.json")
    # The command itself stops where two readers disagree.
    assert set(found["rows"]) == {"raw", "jpeg2000", "jpegls"}
    assert all({"lucency load", "pydicom loop", "SimpleITK"} <= set(rows) for rows in found["rows"].values())
    assert found["bytes"]["jpegls"] < found["bytes"]["raw"] / 2
    assert len(found["targets"]) == 8


@pytest.mark.journey
def test_damaged_dicom_files_give_outcomes_and_nothing_wrong(tmp_path):
    found = quick("dicom_mutated", tmp_path / "mutated.json")
    assert found["mutants"] == 40
    assert found["wrong"] == []
    assert sum(n for kind, n in found["outcomes"].items() if kind.startswith("decode: ")) == 40


@pytest.mark.journey
def test_dicom_writing_measures_every_kind_beside_highdicom(tmp_path):
    found = quick("dicom_write", tmp_path / "dicom_write.json")
    rows = found["rows"]
    assert {"SEG binary, nodule", "SEG binary, nodule, highdicom", "parametric map", "SR with SEG, nodule"} <= set(rows)
    assert all(r["cpu_s"] > 0 and r["bytes"] > 1000 for r in rows.values())
    # One bit against one byte a voxel, and one byte against four.
    assert rows["parametric map"]["bytes"] > 12 * 64 * 64 * 4
    assert rows["SEG label map, organs"]["bytes"] < rows["SEG binary, organs"]["bytes"]


@pytest.mark.journey
def test_the_header_cache_answers_for_every_file(tmp_path):
    found = quick("header_cache", tmp_path / "header_cache.json")
    # The command itself stops where the second pass does not come from the cache or says something else.
    assert found["files"] == 600
    assert {"first_pass", "second_pass", "first_read", "second_read"} <= set(found["seconds"])
    assert 500 < found["cache_bytes_per_file"] < 5000


@pytest.mark.journey
def test_annotations_come_back_from_every_form(tmp_path):
    rows = quick("annotate_formats", tmp_path / "annotate_formats.json")["rows"]
    forms = {"nifti", "seg-nrrd", "coco", "label-studio"}
    asked = {f"oblique_{kind}, {form}" for kind in ("nifti", "dicom") for form in forms}
    assert set(rows) == asked | {"oblique_dicom, dicom-seg"}
    assert all(r["labelled_voxels"] > 1000 and r["voxels_wrong"] == 0 for r in rows.values())


@pytest.mark.journey
def test_quality_is_measured_for_every_fault(tmp_path):
    found = quick("quality", tmp_path / "quality.json")
    (only,) = found["sets"].values()
    assert set(only["faults"]) == set(found["strengths"])
    assert all(0 <= row["lower"] <= row["auc"] <= row["upper"] <= 1 for row in only["faults"].values())
    assert only["faults"]["inverted"]["auc"] > 0.99
    assert only["false_rejection"]["value"] <= only["false_warning"]["value"] < 0.2


@pytest.mark.journey
def test_quality_gate_abstains_from_degraded_images_only(tmp_path):
    found = quick("quality_gate", tmp_path / "gate.json")
    for part in found["parts"].values():
        assert part["no gate"]["abstained"] == 0 <= part["reject"]["abstained"] <= part["warn"]["abstained"]
    assert found["parts"]["degraded"]["reject"]["abstained"] > found["parts"]["untouched"]["reject"]["abstained"]
    assert sum(found["by_fault"]["inverted"][q] for q in ("accept", "warn", "reject")) > 0


def test_true_masks_give_back_what_the_table_states(tmp_path):
    found = quick("measures", tmp_path / "measures.json")
    assert found["n_masks"] == 24
    assert found["targets"]["mae_mm"]["reached"]
    assert found["limit_lower_mm"]["value"] < found["bias_mm"]["value"] < found["limit_upper_mm"]["value"]


def test_cost_of_knowing_everybody_is_measured(tmp_path):
    result = quick("everybody", tmp_path / "r.json")
    assert set(result["cpu_ms"]) == {f"{what}, {n} patients" for what in ("text", "file") for n in (1, 100)}
    assert all(cost > 0 for cost in result["cpu_ms"].values())


def test_the_set_made_unlike_judges_by_images_that_nothing_learned_from(benchmark, tmp_path):
    found = benchmark("imbalance")
    found.thinned(tmp_path / "set.npz", argparse.Namespace(quick=True), 0)
    with np.load(tmp_path / "set.npz") as made:
        learned, judged = ({i.tobytes() for i in made[f"{part}_images"]} for part in ("train", "test"))
        assert np.bincount(made["train_labels"].ravel()).tolist() == [60, 200]
        assert np.bincount(made["test_labels"].ravel()).tolist() == [40, 40]
    assert not learned & judged
    # Nearly every image is its own; noise seldom repeats.
    assert len(learned) == 260


def test_every_trial_of_the_unlike_classes_is_counted_once(benchmark):
    found = benchmark("imbalance")
    keys = ["seed", "apart", "over folds", "fold 0 alone"]
    keys += ["seed against seed, over folds", "seed against seed, fold 0 alone"]
    counted = {key: [kind for kind in found.KINDS if found._is(key, kind)] for key in keys}
    assert counted["seed"] == counted["apart"] == []
    assert sorted(kinds[0] for kinds in counted.values() if kinds) == sorted(found.KINDS)
    assert all(len(kinds) <= 1 for kinds in counted.values())


@pytest.mark.journey
def test_simulated_gates_are_judged_by_the_rules_of_the_program(tmp_path):
    found = quick("gate_null", tmp_path / "gate.json")
    worlds = found["worlds"]
    assert {w["gates"] for w in worlds.values()} == {4}
    for world in worlds.values():
        assert world["accepted"] + world["rejected"] + world["inconclusive"] == 4
        assert world["lower"] <= world["share_accepted"] <= world["upper"]
        assert world["detectable_over_folds"] > 0
    # Eight times as many new patients are a gain; training rows drawn again are none.
    assert worlds["gain"]["gain_over_folds"] > 0.02
    assert worlds["null, few patients, classes further apart"]["accepted"] == 0

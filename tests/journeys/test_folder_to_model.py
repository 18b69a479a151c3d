"""Folder to deployed model on real images, with few steps: not good models, but every door walked through."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Picture

from lucency.events import read_events
from lucency.fit import Settings, fit
from lucency.model import load

DATA = Path(os.environ.get("LUCENCY_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))

pytestmark = pytest.mark.journey


def real(name):
    """A real set, or a skip that says what is missing."""
    place = DATA / name
    if not place.exists():
        pytest.skip(f"real data {name!r} are not here; set LUCENCY_TEST_DATA")
    return place


def few(**values):
    """The budget allows anything; the steps decide."""
    return Settings(minutes=4, values={"schedule.steps": "12", "folds": "[0]", **values})


@pytest.fixture
def radiographs(tmp_path):
    """A tenth of the radiographs, in the same layout: enough for every room, in a tenth of the time."""
    whole = np.load(real("pneumoniamnist_trainval.npz"))
    parts = {name: array[: 420 if name.startswith("train") else 60] for name, array in whole.items()}
    np.savez(tmp_path / "radiographs.npz", **parts)
    return tmp_path / "radiographs.npz"


def test_hippocampus_becomes_a_model_whose_masks_lie_on_their_sources(tmp_path):
    data = real("hippocampus")
    run = fit(data, tmp_path / "run", settings=few())
    metrics = run.metrics
    assert metrics["task"] == "segment"
    assert metrics["n_patients"] == 30
    assert {"dice", "surface_dice", "hd95_mm", "volume_error"} <= set(metrics["metrics"])
    assert set(metrics["baselines"]) == {"threshold", "location prior"}
    assert "patients unknown" in run.report.read_text(encoding="utf-8")
    one = sorted((data / "images").glob("*.nii.gz"))[0]
    run.predict(one, tmp_path / "out")
    found, source = nibabel.load(tmp_path / "out" / one.name), nibabel.load(one)
    assert found.shape == source.shape
    np.testing.assert_allclose(found.affine, source.affine, atol=1e-4)
    assert set(np.unique(np.asarray(found.dataobj))) <= {0, 1, 2}


def test_sunnybrook_splits_thirty_patients_and_writes_png_in_the_masks_own_values(tmp_path):
    data = real("sunnybrook_lv")
    run = fit(
        data, tmp_path / "run", settings=few(**{"grid.size": "[1,64,64]", "patch": "[1,64,64]", "tile": "[1,64,64]"})
    )
    cohort = json.loads((run.folder / "cohort.json").read_text(encoding="utf-8"))
    assert len({c["patient"] for c in cohort["cases"]}) == 30
    images = sorted((data / "images").glob("*.png"))[:2]
    for image in images:
        run.predict(image, tmp_path / image.stem)
        out = tmp_path / image.stem
        assert [p.name for p in out.glob("*.png")] == [image.name]
        mask = np.asarray(Picture.open(out / image.name))
        assert mask.shape == np.asarray(Picture.open(image)).shape[:2]
        assert set(np.unique(mask)) <= {0, 255}


def test_radiographs_give_calibrated_probabilities_and_five_baselines(radiographs, tmp_path):
    run = fit(radiographs, tmp_path / "run", settings=few(**{"network_options.depth": "8"}))
    metrics = run.metrics
    assert metrics["task"] == "classify"
    wanted = {"auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1", "auprc", "brier", "ece"}
    assert wanted | {"ece_before"} <= set(metrics["metrics"])
    assert len(metrics["baselines"]) == 5
    images = np.load(radiographs)["val_images"][:20]
    np.savez(tmp_path / "new.npz", test_images=images)
    run.predict(tmp_path / "new.npz", tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {r["case"] for r in rows} == {f"test-{n}" for n in range(20)}
    assert list(rows[0]) == ["case", "label", "p_0", "p_1", "quality", "reason", "foreign", "likeness"]
    assert all(abs(float(r["p_0"]) + float(r["p_1"]) - 1) < 1e-6 for r in rows)
    model = load(run.folder / "model")
    inside = b"".join(p.read_bytes() for p in model.folder.iterdir())
    assert b"radiographs" not in inside
    assert b"train-1" not in inside


def test_killed_while_training_the_same_command_goes_on_in_the_same_folder(radiographs, tmp_path):
    data, run = radiographs, tmp_path / "run"
    command = [sys.executable, "-m", "lucency", "fit", str(data), "--out", str(run), "--minutes", "10"]
    command += ["--set", "schedule.steps=150", "--set", "folds=[0]", "--set", "network_options.depth=8", "--quiet"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + 240
    while time.monotonic() < give_up and first.poll() is None:
        if any(e["room"] == "train" and e["kind"] == "begin" for e in read_events(run / "events.jsonl")):
            break
        time.sleep(0.1)
    assert first.poll() is None, "ended before it trained"
    first.kill()
    first.wait()
    assert (run / "lock.json").exists()
    plan = (run / "plan.json").read_bytes()
    again = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=300, check=False)
    assert again.returncode == 0, again.stderr
    assert (run / "plan.json").read_bytes() == plan
    kinds = [(e["room"], e["kind"]) for e in read_events(run / "events.jsonl")]
    assert kinds.count(("read", "begin")) == 1
    assert ("read", "kept") in kinds
    assert (run / "report" / "index.html").is_file()
    assert not (run / "lock.json").exists()


def test_same_plan_same_seed_same_metrics(radiographs, tmp_path):
    """Run folders have salts of their own, so this also shows that no number hangs on the pseudonyms."""
    settings = few(**{"network_options.depth": "8"})
    first, second = tmp_path / "first", tmp_path / "second"
    fit(radiographs, first, settings=settings)
    fit(radiographs, second, settings=settings, upto="plan")
    (second / "plan.json").write_bytes((first / "plan.json").read_bytes())
    fit(radiographs, second, settings=settings)
    texts = [(run / "report" / "metrics.json").read_text(encoding="utf-8") for run in (first, second)]
    assert texts[0] == texts[1]

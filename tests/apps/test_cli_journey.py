"""One walk as a user makes it: a folder of pictures, ``fit``, ``predict``, ``verify``, each in its own process."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Picture

N_EACH = 24


def picture(rng, lying):
    """24 × 24 stripes, lying or standing, in noise."""
    wave = np.sin(np.arange(24) * 0.9 + rng.uniform(0, 6))
    stripes = np.broadcast_to(wave[:, None] if lying else wave[None], (24, 24))
    return (128 + 40 * stripes + rng.normal(0, 12, (24, 24))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    rng = np.random.default_rng(3)
    root = tmp_path_factory.mktemp("journey")
    for name in ("lying", "standing"):
        for number in range(N_EACH + 4):
            folder = root / "data" / name if number < N_EACH else root / "new"
            folder.mkdir(parents=True, exist_ok=True)
            Picture.fromarray(picture(rng, name == "lying")).save(folder / f"{name}_{number:02d}.png")
    return root


def lucency(place, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "lucency", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=place,
        timeout=300,
        check=False,
    )


#: The budget only bounds; the steps are set, so that a busy machine learns as much as an idle one.
BUDGET = ("--minutes", "5", "--set", "schedule.steps=60", "--set", "folds=[0]", "--set", "network_options.depth=8")
SMALL = (*BUDGET, "--set", "network_options.widths=[8.0, 16.0]", "--json")


@pytest.mark.journey
def test_from_a_folder_to_predictions_by_the_command_line_alone(place):
    done = lucency(place, "fit", "data", *SMALL)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["task"] == "classify"
    assert {"value", "lower", "upper", "n", "method"} <= set(next(iter(result["metrics"].values())))
    assert (place / result["report"]).is_file()
    assert "\x1b" not in done.stderr
    assert "train: done in" in done.stderr

    again = lucency(place, "fit", "data", *SMALL)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == result
    assert "kept from before" in again.stderr

    done = lucency(place, "predict", "runs/data", "new", "--out", "out")
    assert done.returncode == 0, done.stderr
    with (place / "out" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:6] == ["case", "label", "p_lying", "p_standing", "quality", "reason"]
    assert len(rows) == 8
    right = sum(row["case"].startswith(row["label"]) for row in rows)
    assert right >= 7, rows

    checked = lucency(place, "verify", "runs/data", "--json")
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["digest"] == result["model"]["digest"]

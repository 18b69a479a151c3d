"""The comparison of generators runs, on generated images and for a few steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "generators.py"


@pytest.mark.journey
def test_families_stand_beside_each_other_and_beside_real_images(tmp_path):
    out, grids = tmp_path / "found.json", tmp_path / "grids"
    words = [sys.executable, str(BENCHMARK), "--quick", "--out", str(out), "--grids", str(grids)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(out.read_text(encoding="utf-8"))
    assert set(found["families"]) == {"dcgan", "vae"}
    for row in found["families"].values():
        assert 0 <= row["tstr_auc"] <= 1
        # Unlearned images are further from real ones than real ones are from each other.
        assert row["fd_ratio_trained"] > 1
        assert row["fd_ratio_random"] > 1
        assert row["steps"] >= 1
        # Sixty held-out images are too few to say anything of a hundred and twenty.
        assert row["audit"]["verdict"] == "not auditable"
    assert found["families"]["dcgan"]["trtr_auc"] == found["families"]["vae"]["trtr_auc"]
    assert set(found["steps"]["milliseconds"]) == {"tutorial", "dcgan"}
    with Image.open(grids / "pneumoniamnist-vae.png") as picture:
        assert picture.size == (10 * 29, 2 * 29)

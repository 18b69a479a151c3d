"""The benchmark of large volumes runs, on small ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "latent.py"


@pytest.mark.journey
def test_both_parts_are_timed_beside_the_forecast_of_memory(tmp_path):
    out = tmp_path / "found.json"
    words = [sys.executable, str(BENCHMARK), "--quick", "--out", str(out)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    row = json.loads(out.read_text(encoding="utf-8"))["sides"]["16"]
    assert row["batch"] == 64
    assert min(row[f"{name}_s"] for name in ("autoencoder", "flow", "draw")) > 0
    # Of 64 volumes of 16³ at width 16: 64 * 4096 * 4 B * 1.5 * (16 * (1.5 + 14 / 8 + 33 / 64) + 3), in MiB.
    assert row["forecast_mib"] == 95

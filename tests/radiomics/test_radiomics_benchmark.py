"""The benchmark runs; how fast anything is, is not tested."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lucency import radiomics

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "radiomics.py"


@pytest.mark.journey
def test_benchmark_times_every_class(tmp_path):
    out = tmp_path / "radiomics.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--out", str(out)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (seconds,) = json.loads(out.read_text(encoding="utf-8"))["generated_s"].values()
    assert set(seconds) == {*radiomics.CLASSES, "all"} - {"shape2D"}
    assert all(s > 0 for s in seconds.values())

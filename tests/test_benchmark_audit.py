"""The benchmark of the auditor: who is dealt where, and which generators copy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield __import__("audit")
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == BENCHMARKS:
            del sys.modules[name]


def some(n=60):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(n, 16, 16))
    # The last ten are the first ten again, every other one with a little noise.
    images[-10:] = images[:10]
    images[-10::2] += rng.normal(0, 0.01, (5, 16, 16))
    return images, np.arange(n) % 2


def test_images_that_are_alike_are_dealt_to_one_side_and_equal_ones_are_kept_once(benchmark):
    images, labels = some()
    groups = benchmark.grouped(images, 0.05)
    assert [groups[k] == groups[50 + k] for k in range(10)] == [True] * 10
    assert len(set(groups)) == 50
    members, held, pool = benchmark.dealt(images, groups, labels, (20, 15), np.random.default_rng(0))
    assert len(members) + len(held) + len(pool) == 55
    assert len(members) >= 20
    sides = [set(d.patients) for d in (members, held, pool)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]


def test_generators_copy_as_much_as_they_are_said_to(benchmark):
    images, labels = some()
    members, _, pool = benchmark.dealt(
        images, benchmark.grouped(images, 0.0), labels, (20, 5), np.random.default_rng(0)
    )
    rng = np.random.default_rng(1)
    half = benchmark.copying(members, pool, 20, 0.5, rng, "flip")
    seen = {np.flip(i, axis=a).tobytes() for i in members.images for a in (2, 3)}
    assert len(half) == 20
    assert sum(i.tobytes() in seen for i in half.images) == 10
    known = {i.tobytes() for i in pool.images}
    assert sum(i.tobytes() in known for i in half.images) == 10
    found = benchmark.generators(members, pool, 20, quick=False)
    copying = [k for k, (share, _) in found.items() if share]
    assert len(copying) >= 20
    assert all(len(draw(rng)) == 20 for _, draw in found.values())
    assert all(set(draw(rng).patients) == {""} for _, draw in found.values())


@pytest.mark.journey
def test_the_benchmark_catches_copies_of_generated_patients(tmp_path):
    words = [sys.executable, str(BENCHMARKS / "audit.py"), "--quick", "--out", str(tmp_path / "audit.json")]
    env = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", env=env, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert found["copying"]["n"] >= 4
    whole = [r for r in found["sets"]["made"]["generators"] if r["generator"] == "100% changed copies"]
    assert whole[0]["verdict"] == "fail"
    assert found["honest"]["failed"] <= 1

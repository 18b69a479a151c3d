import os

import numpy as np
import pytest
import torch

from lucency import machine as rooms


@pytest.mark.parametrize(
    ("quota", "expected"), [("150000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("", None)]
)
def test_a_containers_quota_limits_the_cores(monkeypatch, quota, expected):
    """1.5 cores of time keep one thread busy; half a core still is one."""
    monkeypatch.setattr(rooms, "_read", lambda path: quota if path.endswith("cpu.max") else "")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert rooms.cores() == (expected or usable)


def test_a_containers_limit_is_the_free_memory(monkeypatch):
    """512 MiB allowed, 128 MiB used."""
    files = {"memory.max": str(512 * 2**20), "memory.current": str(128 * 2**20)}
    monkeypatch.setattr(rooms, "_read", lambda path: files.get(path.rpartition("/")[2], ""))
    assert rooms.free_memory_mib() == 384
    monkeypatch.setattr(rooms, "_read", lambda path: "max")
    assert rooms.free_memory_mib() > 0


def test_the_peak_grows_by_what_is_held():
    before = rooms.peak_memory_mib()
    held = np.ones(2**25)
    held += 1
    # The peak of an earlier test may have been higher: then it stays.
    assert rooms.peak_memory_mib() >= max(before, held.nbytes / 2**20)


def test_a_measurement_is_complete_and_leaves_the_threads_as_measured():
    threads = torch.get_num_threads()
    try:
        found = rooms.measure()
        assert torch.get_num_threads() == found.cores
    finally:
        torch.set_num_threads(threads)
    assert found.cores >= 1
    assert found.memory_mib > 0
    assert found.gflops >= found.gflops_fp32 > 0
    assert found.name


def test_the_best_of_the_repeats_counts_and_the_first_call_does_not(monkeypatch):
    readings = iter([0.0, 5.0, 10.0, 12.0, 14.0])
    monkeypatch.setattr(rooms.time, "perf_counter", lambda: next(readings))
    calls = []
    assert rooms.best_time(lambda: calls.append(1), repeats=2) == 2.0
    assert len(calls) == 3


def test_memory_that_runs_out_is_told_from_other_errors():
    try:
        torch.empty(2**60, dtype=torch.uint8)
    except RuntimeError as error:
        assert rooms.is_out_of_memory(error)  # noqa: PT017 - a real refusal of the allocator
    else:
        pytest.fail("2^60 bytes were granted")
    assert rooms.is_out_of_memory(MemoryError())
    assert rooms.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not rooms.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not rooms.is_out_of_memory(OSError(28, "No space left on device"))

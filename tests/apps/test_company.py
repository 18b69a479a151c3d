"""The program under ``torchrun``: one process does what was asked, the others help and end with it."""

import json
import os
import subprocess
import sys

import pytest
import torch

from lucency.apps.company import company

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")


def program(*words):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lucency"]
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=300, check=False)


def test_two_processes_are_one_program():
    done = program("doctor", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["usable"] is True


def test_a_refusal_ends_both(tmp_path):
    done = program("verify", str(tmp_path / "nothing"))
    assert done.returncode != 0
    assert done.stderr.count("lucency: nothing") == 1


@pytest.mark.parametrize("around", [{}, {"WORLD_SIZE": "4", "RANK": "2"}, {"TORCHELASTIC_RUN_ID": "x"}])
def test_a_process_that_torchrun_did_not_start_is_alone(monkeypatch, around):
    for name in ("TORCHELASTIC_RUN_ID", "WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in around.items():
        monkeypatch.setitem(os.environ, name, value)
    with company() as asked:
        assert asked
    assert not torch.distributed.is_initialized()

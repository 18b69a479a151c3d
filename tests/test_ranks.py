"""Two processes, truly started, train as one does; and what they are made of."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import together
from lucency.errors import UsageError
from lucency.events import read_events
from lucency.model import load_weights
from lucency.ranks import Dealt, OverRows, Ranks, SharedNorm, in_rows, joined, shared
from lucency.train import train_member
from lucency.train.loop import Loop

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")

#: Biases before a norm, which takes out what they add, and the mean that the norm remembers of them.
SILENT = re.compile(r"body\.\d+\.bias|ups\.\d\.bias|steps\.\d\.0\.bias|running_mean")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder in which two processes have trained all jobs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("two")
    _interrupted(folder)
    script = Path(together.__file__)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), str(folder)],
        cwd=script.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    yield folder
    torch.set_num_threads(threads)


def _interrupted(folder):
    """Leave the checkpoint of one process that was stopped in the middle."""
    work, deadline = together.work_of(folder, "resumed")
    loop = Loop(work, 1, deadline)
    for _ in range(together.STEPS // 2):
        loop._one_step()
    loop.save()


def alone(tmp_path, job):
    """What one process ends with: weights of all parts."""
    work, deadline = together.work_of(tmp_path, job, "alone")
    trained = train_member(work, 1, deadline)
    return {f"{n}/{k}": v for n, p in {"": trained.weights, **trained.parts}.items() for k, v in p.items()}, trained


def left(folder, job, rank):
    return load_weights(folder / f"{job}.rank{rank}.safetensors")


def said(folder, job, rank):
    return json.loads((folder / f"{job}.rank{rank}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("job", [*together.JOBS])
def test_both_processes_end_with_the_same_weights(two, job):
    first, second = (left(two, job, rank) for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("job", [j for j in together.JOBS if j not in ("shortened", "resumed")])
def test_two_processes_train_as_one_does(two, tmp_path, job):
    """In four steps weights move by up to .0008. A bias before a norm has no say, and Adam follows its rounding."""
    one, trained = alone(tmp_path, job)
    both = left(two, job, 0)
    assert one.keys() == both.keys()
    losses = [row["loss"] for row in said(two, job, 0)["history"]]
    coarse = job.endswith("bf16")
    assert losses == pytest.approx([row["loss"] for row in trained.history], abs=1e-4 if coarse else 1e-6)
    apart = {k: float((one[k].float() - both[k].float()).abs().max()) for k in one}
    assert {k: v for k, v in apart.items() if v > (4e-4 if coarse else 3e-6) and not SILENT.search(k)} == {}
    assert max(apart.values()) < 2 * together.STEPS * 2e-4


def test_what_one_process_began_two_go_on_with(two):
    whole, resumed = left(two, "r3gan", 0), left(two, "resumed", 0)
    assert max(float((whole[k] - resumed[k]).abs().max()) for k in whole) < 3e-6
    assert [e["step"] for e in read_events(two / "resumed" / "events.jsonl") if e["kind"] == "resumed"] == [2]


def test_the_time_guard_decides_for_both(two):
    steps = [said(two, "shortened", rank)["steps"] for rank in (0, 1)]
    assert steps[0] == steps[1] < 10 * together.STEPS


def test_only_the_first_process_writes(two):
    for job in together.JOBS:
        points = [e["step"] for e in read_events(two / job / "events.jsonl") if e["kind"] == "epoch"]
        assert points == sorted(set(points)) != []
    assert len(list((two / "r3gan" / "samples").iterdir())) == len(said(two, "r3gan", 0)["history"])


def test_a_process_that_was_started_alone_deals_nothing():
    alone, rows = joined(), torch.arange(6.0).reshape(3, 2)
    assert (alone.n, alone.first) == (1, True)
    assert torch.equal(alone.own(rows), rows)
    assert torch.equal(alone.whole(rows), rows)
    assert alone.told(3.0) == 3.0
    net = nn.Linear(2, 1)
    assert torch.equal(in_rows(net, net, rows), net(rows))


def test_rows_are_dealt_in_turn_so_that_two_halves_of_a_batch_stay_together():
    rows = torch.arange(7)
    assert [Ranks(3, r).own(rows).tolist() for r in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
    with pytest.raises(UsageError, match=r"2 rows of a batch for 3 processes.*start fewer"):
        Ranks(3, 0).own(rows[:2])


def test_layers_that_look_over_a_batch_are_told_with_whom_they_share_it():
    class Looking(OverRows):
        pass

    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, momentum=0.3), nn.Sequential(nn.BatchNorm1d(3), Looking())
    )
    before = {k: v.clone() for k, v in net.state_dict().items()}
    weights = {id(p) for p in net.parameters()}
    shared(net, Ranks(2, 1))
    assert [type(m) for m in net.modules()].count(SharedNorm) == 2
    assert {m.ranks for m in net.modules() if isinstance(m, OverRows)} == {Ranks(2, 1)}
    assert {id(p) for p in net.parameters()} == weights
    assert net.state_dict().keys() == before.keys()
    assert net[1].momentum == 0.3


def test_a_shared_norm_that_is_alone_or_at_rest_does_as_torchs_own():
    seen = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    own, other = nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3))
    shared(other, Ranks())
    assert torch.equal(own(seen), other(seen))
    assert torch.equal(own.running_var, other[0].running_var)
    other[0].ranks = Ranks(2, 0)
    assert torch.equal(own.eval()(seen), other.eval()(seen))


def test_what_a_part_gives_in_several_tensors_is_given_in_several():
    part = Dealt(nn.Identity(), Ranks())
    first, second = part.in_rows(lambda a, b: (a + 1, b * 2), torch.ones(3), torch.ones(3))
    assert (first.tolist(), second.tolist()) == ([2.0] * 3, [2.0] * 3)

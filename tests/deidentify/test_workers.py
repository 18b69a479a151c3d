"""Further processes: they give what one process gives, end with it, and a file that ends one of them is named."""

import os
import subprocess
import sys
import time
from pathlib import Path

import planted
import psutil
import pytest

from lucency.deidentify import Options, deidentify, workers
from lucency.deidentify.keys import Keys
from lucency.deidentify.work import Place
from lucency.errors import OutputError

PARENT = """
import sys, time
from pathlib import Path
from lucency.deidentify import Options, workers
from lucency.deidentify.keys import Keys
from lucency.deidentify.work import Place

if __name__ == "__main__":
    here = Path(sys.argv[1])
    other = workers._Other(Place(here, here, here, Keys(bytes(32)), Options()), None)
    other.ask(abs, 0, -1)
    assert [a for _, a in other.answered(wait=True)] == [1]
    if sys.argv[2] == "busy":
        other.ask(time.sleep, 0, 600)
    print(other._process.pid, flush=True)
    time.sleep(600)
"""


def gone(pid, seconds=60):
    """Wait until a process has ended; one that nobody has asked for its status counts."""
    for _ in range(seconds * 10):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_processes_end_with_the_one_that_was_killed(tmp_path, state):
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path), state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    assert gone(pid)


def place_of(room):
    return Place(room.src, room.dst, room.home, Keys(bytes(32)), Options())


def test_answers_come_in_the_order_of_the_files(room, monkeypatch):
    monkeypatch.setattr(workers, "ALONE", 10)
    planted.series(room.src, 40, 16, reports=False)
    paths = sorted(p.name for p in room.src.iterdir())
    with workers.Workers(place_of(room), 3) as several:
        found = [s.path for s in several.surveyed(paths)]
        pids = [o._process.pid for o in several._others]
    assert found == paths
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


def kill(items):
    """End the process that is to do one certain file, wherever it is not the first one."""
    if "bad" in items and psutil.Process().ppid() != int(os.environ["PYTEST_PPID"]):
        os._exit(5)
    return [f"{i} done" for i in items]


def test_a_file_that_ends_its_process_is_named_and_costs_no_other(room, monkeypatch):
    monkeypatch.setenv("PYTEST_PPID", str(os.getppid()))
    monkeypatch.setitem(workers.LOST, "kill", lambda item: f"{item} lost")
    other = workers._Other(place_of(room), None)
    other.ask(kill, 0, ["a", "bad", "b"])
    other.ask(kill, 3, ["c"])
    answers = []
    while other.n_waiting:
        answers += other.answered(wait=True)
    other.end()
    assert answers == [(0, ["a done", "bad lost", "b done"]), (3, ["c done"])]


def refuse(items):
    raise OutputError("The disk is full", where=items[0], remedy="free some space")


def test_what_goes_wrong_in_a_process_is_told_here(room):
    other = workers._Other(place_of(room), None)
    other.ask(refuse, 0, ["x"])
    with pytest.raises(OutputError, match="disk is full") as caught:
        list(other.answered(wait=True))
    other.end()
    assert caught.value.where == "x"


def test_a_file_changed_after_its_look_is_looked_at_again(room, monkeypatch):
    planted.series(room.src, 3, 32, reports=False)
    once = workers.Workers.rescanned

    def changed(self, written):
        file = self.place.dst / min(written)
        file.write_bytes(file.read_bytes() + b"Smithson")
        return once(self, written)

    monkeypatch.setattr(workers.Workers, "rescanned", changed)
    report = deidentify(room.src, room.dst, room.key)
    kinds = {f.kind for f in report.left}
    assert "bytes other than those that were written" in kinds
    assert report.exit_status == 1


def test_a_full_disk_ends_the_session_and_leaves_no_half_file(room, monkeypatch):
    from lucency.deidentify import writing

    planted.series(room.src, 3, 32, reports=False)

    def full(path: Path, content: bytes) -> None:
        raise OutputError("Cannot write (No space left on device)", where=path.name)

    monkeypatch.setattr(writing, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        deidentify(room.src, room.dst, room.key)
    assert not list(room.dst.rglob("*.dcm"))

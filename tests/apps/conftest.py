"""Runs without training: a walk that only tells of itself, in place of the real one."""

import sys
from importlib import import_module

import pytest

from lucency.apps import cli
from lucency.events import Events


class Program:
    """Runs the command line in this process and keeps what it said."""

    def __init__(self, capsys):
        self.capsys = capsys

    def __call__(self, *arguments):
        with pytest.raises(SystemExit) as ended:
            cli.app(args=[str(a) for a in arguments])
        self.out, self.err = self.capsys.readouterr()
        return ended.value.code or 0


@pytest.fixture
def lucency(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return Program(capsys)


class Walk:
    """Stands in for ``lucency.fit.fit``: notes how it was called, tells the listeners, and may fail."""

    def __init__(self):
        self.calls = []
        self.error = None
        self.events = [("read", "begin", {}), ("read", "end", {"seconds": 1.25})]

    def __call__(self, data, out=None, *, settings=None, upto="report", listeners=()):
        self.calls.append((data, out, settings, upto))
        stream = Events(None, *listeners)
        for room, kind, facts in self.events:
            stream.emit(room, kind, **facts)
        if self.error is not None:
            raise self.error
        return import_module("lucency.fit").Run(out)


@pytest.fixture
def walk(monkeypatch):
    stand_in = Walk()
    summary = import_module("lucency.apps.summary")
    monkeypatch.setattr(import_module("lucency.fit"), "fit", stand_in)
    monkeypatch.setattr(summary, "lines", lambda run, room, lang: [f"the end of {room} in {lang}"])
    monkeypatch.setattr(summary, "facts", lambda run, room: {"run": str(run), "room": room})
    return stand_in


@pytest.fixture(scope="session")
def python():
    return sys.executable

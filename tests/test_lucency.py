"""The package's face: public names, looked up when they are first used."""

import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import lucency
from lucency.case import Case
from lucency.errors import DataError, UsageError


@pytest.mark.parametrize("name", sorted(lucency.__all__))
def test_every_public_name_is_there(name):
    found = getattr(lucency, name)
    assert callable(found) or isinstance(found, str)
    assert name in dir(lucency)


def test_types_are_those_of_their_modules():
    assert lucency.Case is Case
    assert lucency.Run.__module__ == "lucency.fit"


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(lucency, "nonsense")  # noqa: B009 - the look-up is what is tested


def test_a_room_is_its_module_and_its_verb(tmp_path):
    assert isinstance(lucency.read, ModuleType)
    assert callable(lucency.read.load)
    with pytest.raises(DataError):
        lucency.read(tmp_path)
    assert list(inspect.signature(lucency.plan).parameters) == ["cohort", "profile", "needs", "machine", "budget"]


def test_a_room_stays_callable_whoever_imports_it_first():
    code = "import lucency.fit, lucency.profile\nprint(callable(lucency.fit), callable(lucency.profile))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_fit_takes_the_words_of_the_command_line(tmp_path, monkeypatch):
    calls = []

    def walk(data, out=None, *, settings=None, upto="report", listeners=()):
        calls.append((data, out, settings, upto))
        return lucency.fit.Run(out)

    monkeypatch.setattr(lucency.fit, "fit", walk)
    run = lucency.fit("DATA", tmp_path, minutes=3, target="sex", values={"batch": "4"})
    assert run.folder == Path(tmp_path)
    ((data, _, settings, upto),) = calls
    assert (data, upto) == ("DATA", "report")
    assert (settings.minutes, settings.target, settings.values) == (3, "sex", {"batch": "4"})
    with pytest.raises(UsageError, match="more than 0"):
        lucency.fit("DATA", minutes=-1)
    with pytest.raises(TypeError, match="minuts"):
        lucency.fit("DATA", minuts=3)


def test_words_of_fit_are_those_of_its_settings():
    words = set(inspect.signature(lucency.fit).parameters) - {"data", "out", "listeners"}
    assert words == set(lucency.fit.Settings.__dataclass_fields__)

"""What the doctor says of this machine, and of one where things are missing."""

import json
import shlex
from importlib import import_module, metadata

import pytest

from lucency.apps import doctor
from lucency.apps.doctor import Finding, examine, library, told, usable


@pytest.fixture(scope="module")
def findings():
    return examine()


def test_every_declared_library_is_looked_at(findings):
    named = {f.name.lower() for f in findings}
    declared = {
        r.split(";")[0].split(">")[0].split("<")[0].strip().lower()
        for r in metadata.requires("lucency")
        if "extra" not in r
    }
    assert {"torch", "numpy", "simpleitk", "scikit-learn"} <= declared <= named


def test_this_machine_can_work_and_says_so(lucency):
    assert lucency("doctor") == 0
    assert "✓ torch" in lucency.out
    assert lucency.out.rstrip().endswith("Lucency can work here.")


def test_json_lists_every_finding(lucency):
    assert lucency("doctor", "--json") == 0
    found = json.loads(lucency.out)
    assert found["usable"] is True
    assert {"name", "state", "detail", "remedy"} == set(found["findings"][0])
    assert {"python", "cores", "memory", "disk", "folder"} <= {f["name"] for f in found["findings"]}


def test_missing_library_is_status_1_with_the_command_that_mends_it(lucency, monkeypatch):
    def examined(*, measure):
        return [Finding("python", "ok", "3.11"), library("no-such-distribution", "no-such-distribution>=2,<3")]

    monkeypatch.setattr(doctor, "examine", examined)
    assert lucency("doctor") == 1
    lines = lucency.out.splitlines()
    assert lines[1] == "✗ no-such-distribution  not installed"
    command = shlex.split(lines[2].removeprefix("  → "))
    assert command[1:] == ["-m", "pip", "install", "no-such-distribution>=2,<3"]
    assert "mend" in lines[-1]


def test_library_that_is_too_old_is_missing():
    found = library("numpy", "numpy>=999.1")
    assert (found.state, found.detail.split()[-1]) == ("missing", "999.1")
    assert library("numpy", "numpy>=1.26").state == "ok"


def test_library_that_cannot_be_imported_is_missing(monkeypatch):
    monkeypatch.setitem(doctor.MODULES, "numpy", "no_such_module_at_all")
    found = library("numpy", "numpy>=1.26")
    assert found.state == "missing"
    assert "--force-reinstall" in found.remedy


@pytest.mark.parametrize(("version", "numbers"), [("2.13.0+cpu", (2, 13, 0)), ("3.0.2rc1", (3, 0, 2)), ("7", (7,))])
def test_versions_compare_as_numbers(version, numbers):
    assert doctor._numbers(version) == numbers


def test_short_memory_and_disk_warn_and_are_no_obstacle(monkeypatch):
    machine = import_module("lucency.machine")
    monkeypatch.setattr(machine, "free_memory_mib", lambda: 100.0)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Use", (), {"free": 5 * 2**20})())
    found = {f.name: f for f in (*doctor._hardware(measure=False), doctor._disk())}
    assert found["memory"].state == found["disk"].state == "warn"
    assert found["memory"].remedy
    assert usable(list(found.values()))


def test_folder_without_permission_warns(monkeypatch):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    assert doctor._writable() == Finding(
        "folder", "warn", "Permission denied", "change to a folder you may write to, or give --out"
    )


def test_columns_stand_in_line_in_chinese_too(findings):
    lines = [line for line in told(findings, "zh") if line[0] in "✓!✗"]
    starts = {doctor._cells(line[: line.index(f.detail)]) for line, f in zip(lines, findings, strict=True)}
    assert len(starts) == 1


def test_measured_rate_is_told(findings):
    rate = [f for f in doctor._hardware(measure=True) if f.name == "rate"]
    assert len(rate) == 1
    assert "GFLOP/s" in rate[0].detail
    assert not [f for f in findings if f.name == "rate"]

"""The two commands of a fresh machine: what they say when something is missing, and that they stop at a failure."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bootstrap(monkeypatch, tmp_path):
    """The module over an empty project, with pip and venv replaced by a list of what was asked for."""
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module("bootstrap")
    for name in module.INPUTS:
        (tmp_path / name).write_text(name)
    environment = tmp_path / ".venv"
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "ENVIRONMENT", environment)
    monkeypatch.setattr(module, "PYTHON", environment / "python")
    monkeypatch.setattr(module, "STAMP", environment / "stamp")
    monkeypatch.setattr(module, "asked", [], raising=False)
    monkeypatch.setattr(module, "status", {}, raising=False)

    def run(command, *, quiet=False):
        verb = next(w for w in ("venv", "install", "--version", "ruff", "mypy", "pytest") if w in command)
        module.asked.append(verb)
        if verb == "venv":
            shutil.rmtree(environment, ignore_errors=True)  # what --clear does
            environment.mkdir()
            (environment / "python").write_text("")
        return module.status.get(verb, 0)

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "TRIED", environment / "peers.tried")
    # The tests install nothing on the machine that they run on.
    monkeypatch.setattr(module, "_as_root", lambda: None)
    return module


def test_second_call_installs_nothing_and_a_changed_pin_does(bootstrap, tmp_path):
    assert bootstrap.ready() == tmp_path / ".venv" / "python"
    assert bootstrap.asked == ["venv", "install"]
    bootstrap.asked.clear()
    bootstrap.ready()
    assert bootstrap.asked == ["--version"]
    (tmp_path / "constraints.txt").write_text("torch==9")
    bootstrap.ready()
    assert bootstrap.asked == ["--version", "--version", "install"]


def test_failed_pip_says_what_to_do_and_is_tried_again(bootstrap):
    bootstrap.status["install"] = 1
    with pytest.raises(bootstrap.NotReadyError, match=r"pip stopped with status 1.*network or proxy"):
        bootstrap.ready()
    bootstrap.status.clear()
    bootstrap.ready()
    assert bootstrap.asked == ["venv", "install", "--version", "install"]


def test_broken_environment_is_made_anew(bootstrap):
    bootstrap.ready()
    bootstrap.asked.clear()
    bootstrap.status["--version"] = 127  # as when the Python that it was made with is gone
    bootstrap.ready()
    assert bootstrap.asked == ["--version", "venv", "install"]


def test_old_python_and_missing_venv_are_named(bootstrap, monkeypatch):
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(bootstrap.NotReadyError, match="python3-venv"):
        bootstrap.ready()
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 18))
    with pytest.raises(bootstrap.NotReadyError, match=r"Python 3\.9\.18; 3\.11 or newer"):
        bootstrap.ready()
    assert bootstrap.asked == []


@pytest.mark.parametrize(("failing", "ran"), [("ruff", 1), ("mypy", 3), ("pytest", 4), ("", 4)])
def test_check_stops_at_the_first_failure(bootstrap, monkeypatch, capsys, failing, ran):
    check = importlib.import_module("check")
    monkeypatch.setattr(sys, "argv", ["check.py"])
    bootstrap.ready()
    bootstrap.asked.clear()
    bootstrap.status[failing] = 5
    assert check.main() == (5 if failing else 0)
    assert len(bootstrap.asked) == 1 + ran  # pip --version first
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("FAILED: " if failing else "PASSED in ")


def test_a_child_killed_by_a_signal_is_a_failure(bootstrap, monkeypatch, capsys):
    check = importlib.import_module("check")
    monkeypatch.setattr(sys, "argv", ["check.py", "--fast"])
    bootstrap.status["pytest"] = -9
    assert check.main() == 1
    assert "FAILED: tests" in capsys.readouterr().out


@pytest.fixture
def lacking(bootstrap, monkeypatch):
    """A machine without two of the programs, whose administrator we are; what root would run is kept."""
    bootstrap.ready()
    monkeypatch.setattr(
        bootstrap.shutil, "which", lambda name, path=None: None if name in ("Orthanc", "dciodvfy") else name
    )
    monkeypatch.setattr(bootstrap, "_as_root", list)
    monkeypatch.setattr(bootstrap, "commands", [], raising=False)
    monkeypatch.setattr(bootstrap, "answer", 0, raising=False)

    def system(command, **options):
        bootstrap.commands.append(command)
        assert options["timeout"] > 0
        assert options["stdin"] == subprocess.DEVNULL
        return subprocess.CompletedProcess(command, bootstrap.answer)

    monkeypatch.setattr(bootstrap.subprocess, "run", system)
    return bootstrap


def test_missing_peers_are_installed_once(lacking, capsys):
    lacking.peers()
    (command,) = lacking.commands
    assert command[-3:] == ["orthanc", "orthanc-dicomweb", "dicom3tools"]
    assert "Peers: installed." in capsys.readouterr().out
    lacking.peers()
    assert len(lacking.commands) == 1
    assert "apt-get install orthanc orthanc-dicomweb dicom3tools" in capsys.readouterr().out


@pytest.mark.parametrize("answer", [1, "offline"])
def test_peers_that_cannot_be_installed_stop_nothing(lacking, monkeypatch, capsys, answer):
    if answer == "offline":

        def hang(command, **options):
            raise subprocess.TimeoutExpired(command, options["timeout"])

        monkeypatch.setattr(lacking.subprocess, "run", hang)
    lacking.answer = answer
    lacking.peers()
    assert "could not be installed" in capsys.readouterr().out


def test_without_rights_peers_are_only_named_and_where_all_are_there_nothing_is_said(lacking, monkeypatch, capsys):
    monkeypatch.setattr(lacking, "_as_root", lambda: None)
    lacking.peers()
    assert "tests with Orthanc, dciodvfy are skipped" in capsys.readouterr().out
    monkeypatch.setattr(lacking.shutil, "which", lambda name, path=None: name)
    lacking.peers()
    assert capsys.readouterr().out == ""
    assert lacking.commands == []


@pytest.mark.skipif(shutil.which("sh") is None, reason="no POSIX shell")
@pytest.mark.parametrize("status", [0, 7])
def test_install_script_starts_no_service_and_leaves_the_machine_as_it_was(bootstrap, tmp_path, status):
    """Run by a shell with an apt-get and a systemctl that only note how they were called."""
    tools, policy = tmp_path / "tools", tmp_path / "policy-rc.d"
    tools.mkdir()
    notes = tmp_path / "notes"
    # A service asks the policy before it starts; 101 forbids it (invoke-rc.d).
    asks = f'test -x "{policy}" && "{policy}"; echo "policy $?" >> "{notes}"\n'
    body = {"apt-get": f'{asks}test "$1" = update || exit {status}\n', "systemctl": ""}
    for tool, more in body.items():
        (tools / tool).write_text(f'#!/bin/sh\necho "{tool} $*" >> "{notes}"\n{more}')
        (tools / tool).chmod(0o755)
    script = bootstrap.INSTALL.replace("/usr/sbin/policy-rc.d", str(policy))
    environment = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", script, "sh", "orthanc", "dcmtk"], env=environment, capture_output=True, check=False
    )
    said = notes.read_text().splitlines()
    assert done.returncode == (1 if status else 0), done.stderr
    assert said[1] == said[3] == "policy 101"
    assert said[2].endswith("install -qq -y --no-install-recommends orthanc dcmtk")
    assert ("systemctl disable orthanc" in said) == (status == 0)
    assert not policy.exists()


@pytest.mark.skipif(os.name == "nt", reason="the shims are for a POSIX shell; Windows starts the .py files")
@pytest.mark.parametrize("shim", ["demo", "check"])
def test_shim_finds_a_python_from_any_folder_or_says_that_there_is_none(tmp_path, shim):
    project, tools = tmp_path / "a project", tmp_path / "bin"
    project.mkdir()
    tools.mkdir()
    shutil.copy(ROOT / shim, project)
    (project / f"{shim}.py").write_text("import sys; print(sys.argv[1:])")
    for tool in ("bash", "dirname"):
        (tools / tool).symlink_to(shutil.which(tool))
    old = tools / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")  # answers as a Python that is too old
    old.chmod(0o755)
    command = [str(tools / "bash"), str(project / shim), "--minutes", "1 2"]
    said = subprocess.run(command, cwd="/", env={"PATH": str(tools)}, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert "No Python 3.11 or newer" in said.stderr
    (tools / "python3.12").symlink_to(sys.executable)
    said = subprocess.run(command, cwd="/", env={"PATH": str(tools)}, capture_output=True, text=True, check=False)
    assert said.stdout.strip() == "['--minutes', '1 2']"
    assert said.returncode == 0

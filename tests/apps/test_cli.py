"""The command line as other programs see it: statuses, streams, JSON, speed."""

import errno
import json
import os
import subprocess
import sys
import traceback

import psutil
import pytest
import typer

from lucency import __version__
from lucency.apps import cli
from lucency.apps.boundary import CRASH_LOG, crash_report, settings_of
from lucency.errors import (
    DataError,
    GeometryError,
    LeakageError,
    LucencyError,
    MemoryShortError,
    ModelError,
    OutputError,
    ReadError,
    UsageError,
)
from lucency.fit import Passport, Settings
from lucency.record import write

COMMANDS = [c.name or c.callback.__name__ for c in cli.app.registered_commands]
SECRET = "Doe^Jane 1970-01-01"


def fresh(python, code, **options):
    """Run code in a fresh interpreter."""
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, encoding="utf-8", timeout=60, check=False, **options
    )


def test_commands_are_those_of_the_interface():
    assert set(COMMANDS) == {
        *("fit", "read", "inspect", "profile", "plan", "prepare", "train", "evaluate", "predict"),
        *("doctor", "demo", "verify"),
        *("send", "fetch", "deidentify", "enhance", "pseudonyms", "search", "explain", "annotate"),
        *("synthesize", "translate"),
    }


def test_help_loads_nothing_heavy(python):
    code = (
        "import sys\nfrom lucency.apps import cli\n"
        "try:\n    cli.app(args=['--help'])\nexcept SystemExit as e:\n    assert not e.code\n"
        "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'matplotlib', 'pydicom', 'nibabel', 'SimpleITK'}\n"
        "heavy |= {'rich', 'jinja2', 'psutil'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = fresh(python, code)
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout
    assert "Usage:" in done.stdout


def test_import_of_the_package_loads_nothing_heavy(python):
    done = fresh(
        python, "import sys\nbefore = set(sys.modules)\nimport lucency\nprint(sorted(set(sys.modules) - before))"
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.strip(" []\n").replace("'", "").split(", "))
    assert {m for m in loaded if m.startswith("lucency")} == {"lucency"}
    assert not loaded & {"torch", "numpy", "typing_extensions", "dataclasses"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_sentence_and_examples(lucency, command):
    assert lucency(command, "--help") == 0
    text = " ".join(lucency.out.split())
    sentence = text.split("]", 1)[1]
    assert "Examples:" in text
    assert f"lucency {command}" in text.split("Examples:")[1]
    assert "." in sentence.split("Options")[0]


def test_version_is_told(lucency):
    assert lucency("--version") == 0
    assert lucency.out.startswith(f"lucency {__version__},")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit"], "DATA"),
        (["fit", "data", "--nonsense"], "--nonsense"),
        (["sing"], "sing"),
        (["fit", "data", "--minutes", "many"], "--minutes"),
        (["fit", "data", "--set", "batch"], "key=value"),
        (["fit", "data", "--set", "=8"], "key=value"),
        (["fit", "data", "--set", "batch=8", "--set", "batch=9"], "twice"),
        (["predict", "data", "data"], "--out"),
        (["predict", "data", "data", "--out", "o", "--set", "nan=x"], "Expected: a number"),
        (["predict", "data", "data", "--out", "o", "--set", "batch=1"], "nan, missing_slices, seg, sr"),
        (["predict", "data", "data", "--out", "o", "--format", "dicom"], "No format 'dicom'"),
        (["predict", "data", "data", "--out", "o", "--format", "bmp"], "auto, nifti, png, dicom-seg"),
        (["fit", "data", "--lang", "de"], "en or zh"),
        (["fit", "data", "--minutes", "0"], "more than 0"),
        (["fit", "absent"], "absent: No such file or folder"),
        (["predict", "absent", "data", "--out", "o"], "absent: No such file or folder"),
        (["predict", "data", "gone.png", "--out", "o"], "gone.png: No such file or folder"),
    ],
)
def test_wrong_use_is_status_2_on_standard_error(lucency, arguments, said):
    assert lucency(*arguments) == 2
    assert said in lucency.err
    assert "Traceback" not in lucency.err
    assert lucency.out == ""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LucencyError("x"), 1),
        (UsageError("x"), 2),
        (DataError("x"), 3),
        (GeometryError("x"), 3),
        (LeakageError("x"), 3),
        (ReadError("x"), 3),
        (ModelError("x"), 1),
        (OutputError("x"), 1),
        (MemoryShortError("x"), 1),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else str(v),
)
def test_every_refusal_is_one_message_and_its_status(lucency, walk, error, status):
    walk.error = type(error)("A thing was found", expected="another", where="a/b.nii", remedy="mend it")
    assert lucency("fit", "data", "--out", "run", "--quiet") == status
    assert lucency.err == "lucency: a/b.nii: A thing was found. Expected: another. What to do: mend it.\n"
    assert lucency.out == ""


def test_refusal_is_json_on_standard_output_when_asked(lucency, walk):
    walk.error = DataError("Two patients", remedy="bring more")
    assert lucency("fit", "data", "--out", "run", "--json") == 3
    assert json.loads(lucency.out) == {
        "schema": 1,
        "error": {"kind": "DataError", "message": "Two patients. What to do: bring more.", "exit_status": 3},
    }
    assert "lucency: Two patients." in lucency.err


def test_interruption_says_how_to_go_on(lucency, walk):
    walk.error = KeyboardInterrupt()
    assert lucency("fit", "data", "--out", "run") == 1
    assert "lucency: stopped; the same command goes on from here\n" in lucency.err
    assert lucency("fit", "data", "--out", "run", "--lang", "zh") == 1
    assert "\u7ee7\u7eed" in lucency.err


def test_bug_is_logged_in_the_run_without_a_word_of_the_data(lucency, walk, tmp_path):
    (tmp_path / "run").mkdir()
    walk.error = KeyError(SECRET)
    assert lucency("fit", "data", "--out", "run", "--quiet") == 1
    log = (tmp_path / "run" / CRASH_LOG).read_text(encoding="utf-8")
    assert "builtins.KeyError" in log
    assert "lucency/apps/cli.py:" in log
    for text in (log, lucency.err):
        assert SECRET not in text
        assert "Traceback" not in text
    assert "bug" in lucency.err
    assert CRASH_LOG in lucency.err


def test_bug_is_shown_whole_with_debug(lucency, walk):
    walk.error = ZeroDivisionError("a / b")
    assert lucency("fit", "data", "--out", "run", "--debug") == 1
    assert "Traceback" in lucency.err
    assert "a / b" in lucency.err


def test_bug_before_there_is_a_run_is_logged_in_the_current_folder(lucency, walk, tmp_path):
    walk.error = TypeError("x")
    assert lucency("fit", "data", "--out", "nowhere") == 1
    assert (tmp_path / f"lucency-{CRASH_LOG}").exists()


def test_crash_report_holds_every_link_of_the_chain_but_no_message_and_no_home_folder(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text("def f(name):\n    raise ValueError(name)\n")
    space: dict = {}
    exec(compile(script.read_text(), str(script), "exec"), space)  # a frame outside the package

    def fail():
        try:
            space["f"](SECRET)
        except ValueError as error:
            raise RuntimeError(f"while reading {SECRET}") from error

    with pytest.raises(RuntimeError) as raised:
        fail()
    report = crash_report(raised.value)
    assert SECRET in "".join(traceback.format_exception(raised.value))  # so there was something to leave out
    assert SECRET not in report
    assert str(tmp_path) not in report
    assert report.index("builtins.RuntimeError") < report.index("builtins.ValueError")
    assert "mine.py:2 in f" in report


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_full_or_forbidden_disk_is_said_plainly(lucency, walk, code, tmp_path):
    walk.error = OSError(code, "the disk's word", str(tmp_path / "run" / "plan.json"))
    assert lucency("fit", "data", "--out", "run", "--quiet") == 1
    assert lucency.err.startswith("lucency: plan.json: Cannot write (the disk's word).")
    assert "--out" in lucency.err
    assert str(tmp_path) not in lucency.err


def test_data_that_may_not_be_read_are_not_called_a_full_disk(lucency, walk, tmp_path):
    walk.error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "data" / "a.nii"))
    assert lucency("fit", "data", "--out", "run", "--quiet") == 1
    assert "refuses access" in lucency.err
    assert "Cannot write" not in lucency.err


def test_short_memory_is_no_bug(lucency, walk):
    walk.error = MemoryError()
    assert lucency("fit", "data", "--out", "run", "--quiet") == 1
    assert "out of memory" in lucency.err
    assert "bug" not in lucency.err


def test_options_reach_the_walk(lucency, walk, tmp_path):
    options = "--task segment --target mask --patient ID --layout pairs --minutes 2.5 --seed 7 --test t --allow-leak"
    options += " --from old"
    assert lucency("plan", "data", "--out", "run", *options.split(), "--set", "batch=8", "--set", "nan = 0") == 0
    ((data, out, settings, upto),) = walk.calls
    assert (str(data), str(out), upto) == ("data", "run", "plan")
    assert settings == Settings(
        "segment",
        "mask",
        "ID",
        "pairs",
        2.5,
        7,
        "t",
        "en",
        allow_leak=True,
        values={"batch": "8", "nan": "0"},
        start="old",
    )


@pytest.mark.parametrize("room", ["read", "inspect", "profile", "plan", "prepare", "train", "evaluate"])
def test_a_room_is_the_last_that_its_command_enters(lucency, walk, room):
    assert lucency(room, "data", "--out", "run") == 0
    assert walk.calls[0][3] == room


def test_mistyped_folder_loads_nothing_heavy_and_leaves_nothing_behind(python, tmp_path):
    code = (
        "import sys\nfrom lucency.apps import cli\n"
        "try:\n    cli.app(args=['fit', 'absent'])\nexcept SystemExit as e:\n    print('STATUS', e.code)\n"
        "print('LOADED', sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = fresh(python, code, cwd=tmp_path)
    assert done.stdout.split("\n")[:2] == ["STATUS 2", "LOADED []"]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stale(tmp_path):
    """A run folder with what an earlier walk left."""
    run = tmp_path / "run"
    write(run / "run.json", Passport(str(tmp_path / "data"), Settings(), "ab"))
    for name in ("rooms.json", "plan.json", "ledger.jsonl", "model/fold0.safetensors", "prepared/x/images.bin"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("old")
    (run / "notes.txt").write_text("mine")
    return run


def test_force_starts_anew_but_keeps_the_ledger_the_salt_and_foreign_files(lucency, walk, stale):
    assert lucency("fit", "data", "--out", "run") == 0
    assert (stale / "plan.json").exists()
    assert lucency("fit", "data", "--out", "run", "--force") == 0
    assert sorted(p.name for p in stale.iterdir()) == ["ledger.jsonl", "notes.txt", "run.json"]


def test_force_gives_the_folder_to_other_data(lucency, walk, stale, tmp_path):
    (tmp_path / "other").mkdir()
    assert lucency("fit", "other", "--out", "run", "--force") == 0
    assert sorted(p.name for p in stale.iterdir()) == ["ledger.jsonl", "notes.txt"]


def test_force_spares_a_folder_that_is_no_run(lucency, walk, tmp_path):
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "plan.json").write_text("mine")
    assert lucency("fit", "data", "--out", "papers", "--force") == 0
    assert (tmp_path / "papers" / "plan.json").read_text() == "mine"


def test_force_waits_for_nobody_but_disturbs_no_other_process(lucency, walk, stale):
    other = psutil.Process(os.getppid())
    write(stale / "lock.json", {"pid": other.pid, "born": other.create_time()})
    assert lucency("fit", "data", "--out", "run", "--force") == 1
    assert "Another process" in lucency.err
    assert (stale / "plan.json").exists()


def test_a_run_keeps_its_settings_where_nothing_else_is_said(lucency, walk, tmp_path):
    stored = Settings(minutes=33, target="sex", lang="zh")
    write(tmp_path / "run" / "run.json", Passport("/data", stored, "ab"))
    assert lucency("train", "run", "--out", "run", "--seed", "5") == 0
    settings = walk.calls[0][2]
    assert (settings.minutes, settings.target, settings.lang, settings.seed) == (33, "sex", "zh", 5)
    assert "the end of train in zh" in lucency.out


def test_result_is_one_json_object_on_standard_output_and_the_rest_on_standard_error(lucency, walk):
    assert lucency("fit", "data", "--out", "run", "--json") == 0
    assert json.loads(lucency.out) == {"schema": 1, "run": "run", "room": "report"}
    assert "read: done in 1.2 s" in lucency.err
    assert "the end of report in en" in lucency.err


def test_quiet_says_nothing(lucency, walk):
    assert lucency("fit", "data", "--out", "run", "--quiet") == 0
    assert (lucency.out, lucency.err) == ("", "")


def test_output_that_the_console_cannot_show_stops_nothing(python):
    code = (
        "from lucency.apps.boundary import Manner, steady_streams\nsteady_streams()\n"
        "Manner().say('\\u4e2d\\u6587 \\u00d7 \\u2713')"
    )
    done = fresh(python, code, env={"PYTHONIOENCODING": "ascii", "SYSTEMROOT": "C:\\Windows"})
    assert done.returncode == 0, done.stderr
    assert "?? ? ?" in done.stdout


def test_module_is_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lucency", "fit", "absent", "--out", "nowhere"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("lucency: ")


def test_a_pair_that_is_none_is_told_under_the_name_of_its_own_option():
    with pytest.raises(typer.BadParameter) as told:
        settings_of(["modality"], "--where")
    assert told.value.param_hint == "'--where'"


def test_values_may_hold_an_equals_sign():
    assert settings_of(["a=b=c"]) == {"a": "b=c"}

"""Starts the tests against real peers where they cannot be reached from outside."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SERVER = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def namespace() -> list[str] | None:
    """The command that gives a child a network of its own, as this user may; None where none works."""
    tool = shutil.which("unshare")
    for flags in ("-n", "-rn") if tool else ():
        if subprocess.run([tool, flags, "true"], capture_output=True, check=False).returncode == 0:
            return [tool, flags]
    return None


@pytest.mark.skipif(SERVER is None or not PLUGIN.exists(), reason="Orthanc with its DICOMweb plugin is not installed")
@pytest.mark.skipif(namespace() is None, reason="no network namespace can be made here (unshare -n, unshare -rn)")
def test_results_pass_through_an_orthanc_of_their_own(tmp_path):
    command = [sys.executable, "-m", "pytest", str(TESTS / "peers.py"), "-rs", "-q", "--basetemp", str(tmp_path / "t")]
    done = subprocess.run([*namespace(), *command], cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    # What is skipped in there must not look like success out here.
    last = done.stdout.strip().splitlines()[-20:]
    assert not [line for line in last if line.startswith("SKIPPED") and "dcmtk" not in line]


def test_the_file_for_the_namespace_is_not_collected_by_itself():
    spec = importlib.util.spec_from_file_location("peers", TESTS / "peers.py")
    assert spec is not None
    assert not Path(spec.origin).name.startswith("test_")

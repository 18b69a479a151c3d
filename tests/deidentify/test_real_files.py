"""Real files: a verdict for each, no crash; and the validator finds no error that was not there before."""

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import planted
import pydicom
import pytest

from lucency.deidentify import Options, deidentify
from lucency.deidentify.table import PROFILES

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("LUCENCY_TEST_DATA", ROOT.parent / "shared" / "data"))
#: Headers only: looking at pixels has its own tests.
HEADERS = Options(clean=Options().clean - {"pixels"})
needs_validator = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")


def errors(path: Path) -> Counter:
    """Return the validator's errors; its exit status says nothing."""
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
    lines = (re.sub(r"UID [0-9.]+", "UID", line) for line in run.stderr.splitlines())
    return Counter(line for line in lines if line.startswith("Error"))


def test_every_test_file_of_pydicom_gets_a_verdict(tmp_path):
    source = Path(pydicom.__file__).parent / "data"
    report = deidentify(source, tmp_path / "out", tmp_path / "k" / "key", HEADERS)
    assert report.n_files == sum(1 for p in source.rglob("*") if p.is_file())
    assert report.actions["written"] > 120
    assert report.left == ()
    told = (tmp_path / "out-records" / "left-out.csv").read_text()
    assert "MR_truncated.dcm" in told
    assert "rtplan_truncated.dcm" in told
    assert "cannot be processed" not in told


@pytest.mark.skipif(not (DATA / "dicom").is_dir(), reason="the real data are not here (LUCENCY_TEST_DATA)")
def test_every_real_dicom_file_gets_a_verdict(tmp_path):
    report = deidentify(DATA / "dicom", tmp_path / "out", tmp_path / "k" / "key", HEADERS)
    assert sum(report.actions.values()) == report.n_files
    assert report.actions["written"] > 200
    assert report.left == ()
    assert "cannot be processed" not in (tmp_path / "out-records" / "left-out.csv").read_text()


@needs_validator
@pytest.mark.parametrize("profile", PROFILES)
def test_validator_finds_no_new_errors_in_ct_segmentation_and_report(room, profile):
    planted.series(room.src, 4, 64)
    before = sum((errors(p) for p in room.src.glob("*.dcm")), Counter())
    room.clean(Options(**PROFILES[profile]))
    after = sum((errors(p) for p in room.dst.rglob("*.dcm")), Counter())
    assert after - before == Counter()


@needs_validator
@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "rtdose.dcm", "rtplan.dcm", "rtstruct.dcm", "reportsi.dcm", "liver.dcm"]
)
@pytest.mark.parametrize("profile", PROFILES)
def test_validator_finds_no_new_errors_in_real_kinds(room, name, profile):
    from pydicom.data import get_testdata_file

    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"{name} does not come with this pydicom")
    room.src.mkdir()
    shutil.copy(found, room.src / "a.dcm")
    before = errors(room.src / "a.dcm")
    room.clean(Options(**{**PROFILES[profile], "clean": PROFILES[profile]["clean"] - {"pixels"}}))
    (path,) = room.dst.rglob("*.dcm")
    assert errors(path) - before == Counter()

"""Files with planted identities and a place to clean them into."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest

from lucency.deidentify import Options, deidentify
from lucency.deidentify.report import Report

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import planted  # noqa: E402


@dataclass
class Room:
    """A source, an output, a key and records, apart from each other."""

    home: Path

    @property
    def src(self) -> Path:
        return self.home / "in"

    @property
    def dst(self) -> Path:
        return self.home / "out"

    @property
    def key(self) -> Path:
        return self.home / "safe" / "hospital.key"

    @property
    def records(self) -> Path:
        return self.home / "out-records"

    def put(self, dataset, name="a.dcm") -> Path:
        path = self.src / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        return path

    def clean(self, options: Options | None = None, **more) -> Report:
        return deidentify(self.src, self.dst, self.key, options, **more)

    def cleaned(self):
        return [pydicom.dcmread(p) for p in sorted(self.dst.rglob("*.dcm"))]

    def one(self, dataset, options: Options | None = None):
        """Clean one dataset and return it."""
        self.put(dataset)
        report = self.clean(options)
        assert report.actions == {"written": 1}, report.reasons
        assert report.left == ()
        (after,) = self.cleaned()
        return after


@pytest.fixture
def room(tmp_path):
    return Room(tmp_path)


@pytest.fixture
def image():
    return planted.image()

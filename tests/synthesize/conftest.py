"""The small data sets of the other tests are at hand here as well."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))


@pytest.fixture
def ten_images(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """Any family is content with ten images, and a step is taken to last a second, whatever the machine."""
    from lucency.generators import every_family
    from lucency.synthesize import sizes

    for family in every_family().values():
        monkeypatch.setattr(type(family), "least_seen", 10, raising=False)
    monkeypatch.setattr(sizes, "_timed", lambda work, seconds: 1.0)

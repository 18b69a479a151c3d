"""Two hundred damaged files through the whole first door; ``benchmarks/dicom_mutated.py`` sends thousands."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
COUNT = 200


@pytest.fixture
def mutated(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import dicom_mutated

    yield dicom_mutated
    del sys.modules["dicom_mutated"]


def test_damaged_files_are_read_or_refused_in_words(mutated, tmp_path, caplog):
    found = mutated.checked(tmp_path / "data", mutated.mutants(7, 0, COUNT))
    assert found["wrong"] == []
    # pydicom logs what it finds odd, with the value; none of it may reach a log of ours.
    assert [r for r in caplog.records if r.name.startswith("pydicom")] == []
    outcomes = found["outcomes"]
    # Every file has an outcome of its own, alone and decoded, and both ways out occur.
    assert outcomes["alone: accepted and loaded"] + outcomes["alone: refused in words"] == COUNT
    assert sum(n for kind, n in outcomes.items() if kind.startswith("decode: ")) == COUNT
    assert outcomes["alone: accepted and loaded"] > 5
    assert outcomes["decode: pixels"] > COUNT // 10
    assert len(outcomes) > 10


def test_the_same_number_gives_the_same_mutant_and_every_damage_occurs(mutated):
    some = list(mutated.mutants(0, 0, 60))
    assert some[20:30] == list(mutated.mutants(0, 20, 10))
    assert len({data for _, data in some}) == 60
    said = "".join(name for name, _ in some)
    assert all(kind in said for kind in mutated.DAMAGES)


def test_what_must_not_happen_is_seen(mutated, tmp_path, monkeypatch):
    import lucency.read

    def broken(*_):
        raise IndexError("list index out of range")

    monkeypatch.setattr(lucency.read, "load", broken)
    monkeypatch.setattr(lucency.read.decode, "frames", broken)
    name, data = next(s for s in mutated.seeds() if s[0] == "generated-explicit-1.dcm")
    found = mutated.checked(tmp_path / "data", iter([(name, data)]))
    assert sorted(words.split(" ")[0] for words in found["wrong"]) == ["decode", "read_inputs/load"]
    assert any("shows a value" in w for w in _words(mutated, mutated.PLANTED))


def _words(mutated, text):
    wrong = []
    mutated._refuse_values(f"PatientName is {text}", "place", "a file", wrong)
    return wrong

import pytest

from lucency.errors import UsageError
from lucency.read import ReadOptions, read
from lucency.read.patients import prefix


def pairs(folder, stems):
    for stem in stems:
        folder.picture(f"images/{stem}.png")
        folder.mask(f"masks/{stem}.png")


def n_patients(cohort):
    return len({c.patient for c in cohort.cases})


def test_names_up_to_a_number():
    assert prefix("SC-HF-I-01-IM-0001-0048.dcm", 1) == "SC HF I 01"
    assert prefix("IM-0001-0048", 2) == "IM 0001 0048"


def test_a_prefix_that_groups_as_patients_do_is_taken(folder):
    pairs(folder, [f"S{p:02d}_slice{n}" for p in range(11) for n in range(3)])
    cohort = read(folder.root)
    assert n_patients(cohort) == 11
    assert cohort.patient_key == "name prefix up to its first number, such as 'S00'"


@pytest.mark.parametrize(
    "stems",
    [
        [f"S{p:02d}_slice{n}" for p in range(9) for n in range(3)],
        [f"S00_slice{n}" for n in range(20)] + [f"S{p:02d}_slice0" for p in range(1, 12)],
        [f"scan_{n:03d}" for n in range(20)],
    ],
    ids=["nine groups", "one group of 65 %", "numbers that count images"],
)
def test_a_prefix_that_does_not_is_left_and_said(folder, stems):
    pairs(folder, stems)
    cohort = read(folder.root)
    assert cohort.patient_key == ""
    assert n_patients(cohort) == len(stems)
    assert cohort.notes[0].startswith("Patients unknown")


def test_a_prefix_that_tells_the_class_is_no_patient(folder):
    for n in range(12):
        for m in range(2):
            folder.picture(f"{'ab'[n % 2]}/s{n:02d}_{m}.png")
    assert read(folder.root).patient_key == ""


def test_a_rule_of_the_user_goes_first(folder):
    pairs(folder, [f"x{p}y_{n}" for p in range(4) for n in range(3)])
    cohort = read(folder.root, ReadOptions(patient=r"x(\d+)y"))
    assert n_patients(cohort) == 4
    for wrong, words in (("x[0-9]", "one group"), (r"z(\d)", "finds no patient in 12 of 12 names"), ("(", "one group")):
        with pytest.raises(UsageError, match=words):
            read(folder.root, ReadOptions(patient=wrong))


def test_salt_changes_the_names_of_patients_and_nothing_else(folder):
    pairs(folder, [f"S{p:02d}_slice{n}" for p in range(11) for n in range(3)])
    a, b = (read(folder.root, ReadOptions(salt=s)) for s in (b"a", b"b"))
    assert {c.patient for c in a.cases}.isdisjoint({c.patient for c in b.cases})
    assert (a.digest, a.folds, a.locked) == (b.digest, b.folds, b.locked)

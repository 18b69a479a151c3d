import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lucency.case import N_FOLDS, Case, Cohort, Findings, Prediction, Source, pseudonym, with_folds
from lucency.errors import DataError


def source(name, reader="raster"):
    return Source((f"{name}.png",), "nowhere", reader, checksum=f"sum of {name}")


def case(name, patient="", target="a", part="", reader="raster", content=""):
    return Case(name, patient or name, {"image": (source(content or name, reader),)}, target, part)


def drawn(cases, groups=(), **settings):
    return with_folds(Cohort(tuple(cases), {}, frozenset(), **settings), groups)


def seats(cohort):
    """Case id to its seat: -1 locked, else the fold."""
    return {**cohort.folds, **dict.fromkeys(cohort.locked, -1)}


def crowd(seed, n_patients=60, most=6):
    """Patients with 1 to ``most`` images, each of class a, b or (one in eight) c."""
    rng = np.random.default_rng(seed)
    cases = []
    for patient in range(n_patients):
        target = rng.choice(["a", "b", "c"], p=[0.5, 0.375, 0.125])
        cases += [case(f"{patient:03d}-{n}", f"P{patient}", str(target)) for n in range(rng.integers(1, most + 1))]
    return cases


@pytest.mark.parametrize("seed", range(8))
def test_no_patient_and_no_group_is_torn_apart_and_every_labelled_case_has_one_seat(seed):
    cases = crowd(seed)
    rng = np.random.default_rng(seed)
    ids = [c.id for c in cases]
    groups = [[str(i) for i in rng.choice(ids, 2, replace=False)] for _ in range(5)]
    unlabelled = case("zzz", "P0", None)
    cohort = drawn([*cases, unlabelled], groups, left_out={ids[-1]: "copy"})
    seat = seats(cohort)
    assert set(seat) == set(ids[:-1])
    assert not set(cohort.folds) & cohort.locked
    by_patient = {}
    for c in cohort.cases:
        if c.id in seat:
            by_patient.setdefault(c.patient, set()).add(seat[c.id])
    assert {len(s) for s in by_patient.values()} == {1}
    for a, b in groups:
        if a in seat and b in seat:
            assert seat[a] == seat[b]


@pytest.mark.parametrize("seed", range(8))
def test_one_image_each_is_dealt_evenly_in_every_class(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(60, 200))
    cases = [case(f"{i:03d}", target=str(t)) for i, t in enumerate(rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1]))]
    cohort = drawn(cases)
    for name in "abc":
        counts = [sum(c.target == name for c in cohort.fold(f)) for f in range(N_FOLDS)]
        assert max(counts) - min(counts) <= 1
        many = sum(c.target == name for c in cases)
        # The locked part takes 15 % of every class, rounded to whole cases.
        assert abs(sum(c.target == name for c in cohort.locked_cases) - 0.15 * many) <= 1
    assert len(cohort.locked) == pytest.approx(0.15 * n, abs=2)


def patients_of(cases):
    return {c.patient for c in cases}


@pytest.mark.parametrize("seed", range(8))
def test_locked_part_is_15_percent_of_the_patients_where_they_have_several_images(seed):
    cohort = drawn(crowd(seed, n_patients=120))
    # 15 % of 120 are 18; each of the three classes is rounded to whole patients.
    assert len(patients_of(cohort.locked_cases)) == pytest.approx(18, abs=1.5)
    sizes = Counter(cohort.folds.values())
    assert max(sizes.values()) - min(sizes.values()) <= 12


@pytest.mark.parametrize("seed", range(8))
def test_a_patient_of_a_thousand_images_counts_as_one_in_the_locked_part(seed):
    rng = np.random.default_rng(seed)
    cases = [case(f"{p:02d}-0", f"P{p}", "ab"[p % 2], content=f"{seed}/{p}") for p in range(80)]
    # Two patients hold 1200 of 1278 images; counted by images, 15 % would be some 200 of them.
    for p, n in ((3, 1000), (4, 200)):
        cases += [case(f"{p:02d}-{i}", f"P{p}", "ab"[p % 2]) for i in range(1, n)]
    cases = [cases[i] for i in rng.permutation(len(cases))]
    cohort = drawn(cases)
    held = patients_of(cohort.locked_cases)
    assert len(held) == 12  # 15 % of 80
    of_each = Counter(c.target for c in cohort.cases if c.id in cohort.locked and c.id.endswith("-0"))
    assert of_each == {"a": 6, "b": 6}


def test_a_patient_with_images_of_two_classes_is_balanced_as_one_of_the_rarer():
    # Ten of 60 patients have a lesion on one of their five images.
    cases = [case(f"{p:02d}-{i}", f"P{p}", "ill" if p < 10 and not i else "well") for p in range(60) for i in range(5)]
    cohort = drawn(cases)
    # 15 % of 10 are 1.5, and of 50 are 7.5.
    assert sum(c.target == "ill" for c in cohort.locked_cases) in (1, 2)
    assert len(patients_of(cohort.locked_cases)) in (8, 9, 10)


def test_a_class_of_few_patients_with_many_images_each_is_judged_too():
    cases = [case(f"a{n:03d}", target="a") for n in range(100)]
    # 15 % of 60 images are 9, and no patient has so few.
    cases += [case(f"b{p}-{n}", f"B{p}", "b") for p in range(6) for n in range(10)]
    cohort = drawn(cases)
    assert sum(c.target == "b" for c in cohort.locked_cases) == 10
    assert [sum(c.target == "b" for c in cohort.fold(f)) for f in range(N_FOLDS)] == [10] * 5


def test_a_supplied_test_part_is_the_locked_part_and_a_supplied_validation_part_is_fold_0():
    parts = ["train"] * 40 + ["val"] * 7 + ["test"] * 9
    cases = [case(f"{n:02d}", target="ab"[n % 2], part=p) for n, p in enumerate(parts)]
    cohort = drawn(cases)
    assert {c.id for c in cohort.cases if c.part == "test"} == cohort.locked
    assert {c.id for c in cohort.fold(0)} == {c.id for c in cohort.cases if c.part == "val"}
    assert Counter(len(cohort.fold(f)) for f in range(1, N_FOLDS)) == {10: 4}


def test_a_validation_part_without_a_test_part_still_leaves_a_locked_part():
    cases = [case(f"{n:02d}", target="ab"[n % 2], part="val" if n < 10 else "train") for n in range(60)]
    cohort = drawn(cases)
    assert all(c.part == "train" for c in cohort.locked_cases)
    # 15 % of all 60, taken from the 50 of the training part.
    assert len(cohort.locked) == pytest.approx(9, abs=1)


@pytest.mark.parametrize("seed", range(5))
def test_draw_depends_on_the_data_alone_not_on_their_order(seed):
    cases = crowd(seed)
    shuffled = [cases[n] for n in np.random.default_rng(seed).permutation(len(cases))]
    first, second = drawn(cases), drawn(shuffled)
    assert (first.digest, seats(first)) == (second.digest, seats(second))
    other = drawn([replace(cases[0], images={"image": (source("another"),)}), *cases[1:]])
    assert other.digest != first.digest


def test_a_dicom_set_is_drawn_alike_whatever_the_salt_of_the_run():
    def under(salt):
        cases = [
            case(pseudonym(salt, f"1.2.{n}"), pseudonym(salt, f"P{n // 2}"), "ab"[n % 3 == 0], "", "dicom", f"slice{n}")
            for n in range(80)
        ]
        cohort = drawn(cases)
        return cohort.digest, {c.sources[0].checksum: seats(cohort)[c.id] for c in cohort.cases}

    assert under(b"salt") == under(b"pepper")


def test_work_of_the_draw_grows_in_proportion_to_the_cases():
    def lines(n):
        """Lines of Python run, which no other work on the machine changes."""
        parts = ("train", "val", "test")
        cases = tuple(case(f"{i:05d}", target="ab"[i % 2], part=parts[i % 3]) for i in range(n))
        cohort = Cohort(cases, {}, frozenset())
        count = 0

        def step(frame, event, _):
            nonlocal count
            count += event == "line"
            return step

        before = sys.gettrace()
        sys.settrace(step)
        try:
            with_folds(cohort)
        finally:
            sys.settrace(before)
        return count

    # Four times the cases: a quadratic draw takes 16 times the work.
    assert lines(2000) < 6 * lines(500)


def test_a_leak_that_was_allowed_stays_as_supplied():
    cases = [case(f"{n:02d}", f"P{n % 20}", part="train" if n < 20 else "test") for n in range(40)]
    cohort = drawn(cases, allow_leak=True)
    assert cohort.locked == {f"{n:02d}" for n in range(20, 40)}
    with pytest.raises(DataError, match="A patient is in two parts of the split"):
        Cohort(tuple(cases), dict.fromkeys(("00",), 0), frozenset(["20"]))


def test_ids_that_occur_twice_are_refused_and_named():
    with pytest.raises(DataError, match="Case ids that occur twice: x"):
        Cohort((case("x"), case("y"), case("x")), {}, frozenset())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": {}}, "x: A case without an image"),
        ({"images": {"ct": ()}}, "x: A case without an image"),
        ({"part": "exam"}, "x: Part 'exam'.*train, val or test"),
        ({"facts": {"name": "Doe"}}, r"x: Facts \['name'\].*only age, sex"),
    ],
)
def test_a_case_that_exists_is_valid(changes, words):
    with pytest.raises(DataError, match=words):
        replace(case("x"), **changes)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({}, "0 payloads.*exactly one"),
        ({"value": 1.0, "probabilities": {"a": 1.0}}, "2 payloads"),
        ({"probabilities": {"a": 1.2}}, "A probability outside 0 to 1"),
        ({"value": 1.0, "doubt": 1.5}, "Doubt 1.5"),
    ],
)
def test_a_prediction_that_exists_is_valid(payload, words):
    with pytest.raises(DataError, match=words):
        Prediction("x", "digest", **payload)


def test_pseudonyms_need_the_salt_and_tell_keys_apart():
    assert pseudonym(b"a", "P1") == pseudonym(b"a", "P1")
    assert len({pseudonym(b"a", "P1"), pseudonym(b"b", "P1"), pseudonym(b"a", "P2")}) == 3


@pytest.mark.parametrize("seed", range(6))
def test_every_label_of_several_is_spread_evenly_over_the_folds_by_patients(seed):
    rng = np.random.default_rng(seed)
    share = {"common": 0.4, "seldom": 0.15, "rare": 0.06}
    cases = []
    for patient in range(100):
        there = {name: bool(rng.random() < p) for name, p in share.items()}
        # Two images each; of a fifth of the patients the rare label is not known.
        known = {k: v for k, v in there.items() if k != "rare" or rng.random() > 0.2}
        cases += [case(f"{patient:03d}-{n}", f"P{patient}", Findings(known)) for n in range(2)]
    cohort = drawn(cases)
    seat, patient_of = seats(cohort), {c.id: c.patient for c in cohort.cases}
    for name in share:
        ill = {patient_of[c.id]: seat[c.id] for c in cases if c.target.known.get(name)}
        counts = Counter(s for s in ill.values() if s >= 0)
        in_folds = [counts[fold] for fold in range(N_FOLDS)]
        # Dealt evenly up to one patient; blind dealing of six rare ones leaves a fold without any in most draws.
        assert max(in_folds) - min(in_folds) <= 2
        assert sum(in_folds) < N_FOLDS or min(in_folds) >= 1
    assert len({s for s in seat.values() if s >= 0}) == N_FOLDS
    sizes = Counter(s for s in seat.values() if s >= 0)
    assert max(sizes.values()) - min(sizes.values()) <= 8


def test_the_same_images_with_patients_told_apart_otherwise_are_another_split():
    alone, joined = (split_of(40, lambda k, each=each: f"p{k // each}") for each in (1, 4))
    again = split_of(40, lambda k: f"other{k}")
    assert alone.digest == joined.digest == again.digest
    assert alone.split != joined.split
    assert alone.split == again.split, "what patients are called does not matter"


def split_of(n, patient):
    cases = [
        Case(f"c{k:02d}", patient(k), {"CT": [Source((f"{k}.png",), f"{k:064x}", "raster")]}, str(k % 2))
        for k in range(n)
    ]
    return with_folds(Cohort(tuple(cases), {}, frozenset()))

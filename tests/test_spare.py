"""Images without a label: which fold's network may see which."""

from dataclasses import replace

import pytest

from lucency.case import Case, Cohort, Source, with_folds
from lucency.spare import with_unlabelled


def case(name, patient, target="a", part=""):
    source = Source((f"{name}.png",), "", "raster", checksum=name)
    return Case(name, patient, {"image": (source,)}, target, part)


def drawn(*spare, groups=(), n=40):
    """Return a cohort of labelled patients with folds, and the cases without a label beside them."""
    labelled = [case(f"c{k:02d}", f"p{k}", "ab"[k % 2]) for k in range(n)]
    cohort = with_folds(Cohort((*labelled, *spare), {}, frozenset(), classes=("a", "b")), groups)
    return cohort, with_unlabelled(cohort, groups).unlabelled


def test_a_stranger_without_a_label_may_be_seen_by_every_fold():
    assert drawn(case("u", "nobody", None))[1] == {"u": -1}


def test_an_image_of_a_patient_who_is_judged_is_kept_from_the_fold_that_judges():
    plain, _ = drawn()
    held = next(c for c in plain.trainable if plain.folds[c.id] == 2)
    cohort, seats = drawn(case("u", held.patient, None))
    assert seats == {"u": cohort.folds[held.id]}


def test_an_image_of_a_locked_patient_is_seen_by_nobody():
    for number in range(40):
        cohort, seats = drawn(case("u", f"p{number}", None))
        locked = {c.patient for c in cohort.locked_cases}
        assert ("u" in seats) == (f"p{number}" not in locked)
    assert locked


def test_the_same_picture_counts_as_the_same_patient_also_by_way_of_a_third():
    cohort, _ = drawn()
    (locked, *_), held = cohort.locked_cases, cohort.fold(1)[0]
    spare = (case("u", "x", None), case("v", "y", None), case("w", "z", None))
    groups = [("u", "v"), ("v", locked.id), ("w", held.id)]
    changed = with_unlabelled(replace(cohort, cases=(*cohort.cases, *spare)), groups)
    assert changed.unlabelled == {"w": 1}


def test_what_hangs_together_with_two_folds_is_seen_by_nobody():
    cohort, _ = drawn()
    one, other = cohort.fold(0)[0], cohort.fold(3)[0]
    changed = replace(cohort, cases=(*cohort.cases, case("u", "x", None)))
    assert with_unlabelled(changed, [("u", one.id), ("u", other.id)]).unlabelled == {}


@pytest.mark.parametrize("part", ["val", "test"])
def test_what_was_supplied_for_judging_is_not_learned_from(part):
    seats = drawn(case("u", "x", None, part), case("v", "x", None), case("w", "z", None, "train"))[1]
    assert seats == {"w": -1}


def test_a_case_left_out_is_not_learned_from():
    cohort, _ = drawn(case("u", "x", None), case("v", "y", None))
    assert set(with_unlabelled(replace(cohort, left_out={"u": "blurred"})).unlabelled) == {"v"}


def test_cases_without_a_label_do_not_move_the_folds_of_the_others():
    plain, _ = drawn()
    cohort = Cohort((*plain.cases, case("u", "nobody", None)), plain.folds, plain.locked, classes=("a", "b"))
    found = with_unlabelled(cohort)
    assert (found.folds, found.locked) == (plain.folds, plain.locked)
    assert all(c.target is not None for c in (*found.trainable, *found.locked_cases))

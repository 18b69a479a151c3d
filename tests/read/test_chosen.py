"""Classes that the user drops, and patients with two labels."""

import pytest

from lucency.case import Case, Cohort, Source, with_folds
from lucency.errors import UsageError
from lucency.read.chosen import chosen

IMAGE = {"image": (Source(("a.npz",), "", "npz"),)}


def cohort(labels: dict[str, list[str]]) -> Cohort:
    """Patient to the classes of his images."""
    cases = [
        Case(f"{patient}-{number}", patient, IMAGE, label)
        for patient, found in labels.items()
        for number, label in enumerate(found)
    ]
    return with_folds(Cohort(tuple(cases), {}, frozenset(), classes=tuple(sorted({str(c.target) for c in cases}))))


def many(n: int, mixed: int, *, several: int = 10) -> Cohort:
    """``several`` of n patients have two images of one class, ``mixed`` further ones two of two."""
    labels = {f"p{k:03d}": ["a" if k % 2 else "b"] * (2 if k < several else 1) for k in range(n - mixed)}
    return cohort(labels | {f"x{k}": ["a", "b"] for k in range(mixed)})


def test_a_dropped_class_is_in_no_fold_and_said() -> None:
    found = chosen(cohort({f"p{k}": ["abc"[k % 3]] for k in range(30)}), drop=("c",))
    assert found.classes == ("a", "b")
    assert {c.target for c in (*found.trainable, *found.locked_cases)} == {"a", "b"}
    assert len(found.trainable) + len(found.locked_cases) == 20
    assert any("10 cases of the classes c are dropped" in n for n in found.notes)


def test_an_unknown_class_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"No class 'virl'.*did you mean 'viral'"):
        chosen(cohort({f"p{k}": [("viral", "covid")[k % 2]] for k in range(20)}), drop=("virl",))


def test_rare_patients_with_two_labels_are_left_out_and_said() -> None:
    found = chosen(many(60, 2))
    assert {c.patient for c in found.cases if c.id in found.left_out} == {"x0", "x1"}
    assert not {"x0", "x1"} & {c.patient for c in (*found.trainable, *found.locked_cases)}
    assert any(n.startswith("2 patients have images of two classes") for n in found.notes)


@pytest.mark.parametrize("mixed", [4, 20])
def test_where_many_patients_have_two_labels_the_label_is_one_of_the_image(mixed: int) -> None:
    found = chosen(many(60, mixed))
    assert found.left_out == {}
    assert found.notes == ()


def test_with_few_patients_of_several_images_nothing_can_be_said_of_the_label() -> None:
    assert chosen(many(60, 1, several=3)).left_out == {}


def test_the_user_decides_about_patients_with_two_labels() -> None:
    assert chosen(many(60, 2), mixed="keep").left_out == {}
    assert len(chosen(many(60, 20), mixed="leave_out").left_out) == 40
    with pytest.raises(UsageError, match=r"mixed_patients = 'drop'.*auto, leave_out, keep"):
        chosen(many(60, 2), mixed="drop")


def test_a_dropped_class_may_end_a_contradiction() -> None:
    labels = {f"p{k:03d}": ["a" if k % 2 else "b"] * 2 for k in range(40)} | {"x": ["a", "c"]}
    found = chosen(cohort(labels), drop=("c",))
    assert set(found.left_out) == {"x-1"}

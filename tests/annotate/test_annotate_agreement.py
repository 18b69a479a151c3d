"""Agreement against scikit-learn, published tables and numbers worked out by hand; intervals over patients."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from lucency.annotate.agreement import boxes_alike, kappa, kappa_of_many
from lucency.annotate.compared import agreements
from lucency.annotate.returned import Work
from lucency.annotation import Annotation
from lucency.boxes import Box
from lucency.errors import UsageError
from lucency.image import Image, diagonal_affine
from lucency.metrics.agreement import cohen_kappa, fleiss_kappa, shared_boxes
from lucency.statistics import TOO_FEW
from tiny import plan_for

#: Fleiss' kappa, worked example as it is printed widely (10 subjects, 14 raters, 5 categories): kappa = 0.210.
PRINTED = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)


def ids(n, each=1):
    return [f"p{k // each}" for k in range(n)]


@pytest.mark.parametrize("weighting", ["none", "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(4))
def test_kappa_is_scikit_learns(weighting, seed):
    rng = np.random.default_rng(seed)
    classes = ["0", "1", "2", "3"]
    first = rng.choice(classes, 60)
    second = np.where(rng.random(60) < 0.6, first, rng.choice(classes, 60))
    found = kappa(list(first), list(second), classes, ids(60), rng, weighting=weighting)
    asked = None if weighting == "none" else weighting
    assert found.value == pytest.approx(cohen_kappa_score(first, second, labels=classes, weights=asked))
    assert found.lower < found.value < found.upper
    assert found.n == 60


def test_kappa_by_hand():
    # 20 + 15 of 50 alike: .7; by chance .5 * .6 + .5 * .4 = .5; (.7 - .5) / (1 - .5) = .4.
    assert cohen_kappa(np.array([[[20.0, 5], [10, 15]]]))[0] == pytest.approx(0.4)
    assert np.isnan(cohen_kappa(np.array([[[50.0, 0], [0, 0]]]))[0])


def test_fleiss_is_the_printed_one():
    assert fleiss_kappa(PRINTED, np.ones((1, 10)))[0] == pytest.approx(0.20993, abs=1e-5)


def test_weights_count_cases_as_often_as_they_were_drawn():
    weights = np.array([[2, 0, 1, 1, 3, 1, 0, 1, 1, 0]])
    repeated = np.repeat(PRINTED, weights[0], axis=0)
    assert fleiss_kappa(PRINTED, weights)[0] == pytest.approx(fleiss_kappa(repeated, np.ones((1, len(repeated))))[0])


def test_a_case_that_one_rater_saw_counts_for_nothing():
    more = np.concatenate([PRINTED, [[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]])
    assert fleiss_kappa(more, np.ones((1, 12)))[0] == pytest.approx(fleiss_kappa(PRINTED, np.ones((1, 10)))[0])


def test_many_who_agree_always_and_who_guess():
    rng = np.random.default_rng(0)
    truth = rng.choice(["a", "b"], 200)
    same = kappa_of_many([list(truth)] * 3, ["a", "b"], ids(200), rng)
    assert same.value == pytest.approx(1)
    guessed = kappa_of_many([list(rng.choice(["a", "b"], 200)) for _ in range(3)], ["a", "b"], ids(200), rng)
    assert guessed.lower < 0 < guessed.upper
    absent = [list(truth), [None] * 200, list(truth)]
    assert kappa_of_many(absent, ["a", "b"], ids(200), rng).value == pytest.approx(1)


def test_under_twenty_patients_there_is_no_interval():
    rng = np.random.default_rng(0)
    words = list(rng.choice(["a", "b"], 38))
    other = ["a", *words[1:]]
    few = kappa(words, other, ["a", "b"], ids(38, each=2), rng)
    assert (few.lower, few.upper, few.method, few.n) == (None, None, TOO_FEW, 19)
    assert kappa(words, list(rng.permutation(words)), ["a", "b"], ids(38), rng).lower is not None


def test_under_five_patients_of_a_class_there_is_no_interval_whoever_said_it():
    rng = np.random.default_rng(0)
    words = ["a"] * 10 + ["b"] * 20
    rare = ["b"] * 3 + words[3:4] * 17 + ["b"] * 10
    assert kappa(words, rare, ["a", "b"], ids(30), rng).lower is not None
    rare = ["c"] * 4 + words[4:]
    for one, two in ((words, rare), (rare, words)):
        assert kappa(one, two, ["a", "b", "c"], ids(30), rng).method == TOO_FEW
    assert kappa_of_many([rare, rare, words], ["a", "b", "c"], ids(30), rng).method == TOO_FEW


def test_two_annotators_and_one_of_whom_nothing_could_be_used_are_not_three():
    plan = plan_for("classify", classes=("a", "b"))
    given = {f"c{k}": Annotation(f"c{k}", classes=("ab"[k % 2],)) for k in range(40)}
    sides = [work("r0", given), work("r1", given), work("empty", {}), work("pre", given)]
    found = agreements(sides, {f"c{k}": f"p{k}" for k in range(40)}, plan, np.random.default_rng(0))
    assert {a.measure for a in found} == {"same", "cohen_kappa"}


def box(label, *edges):
    k, j, i, kk, jj, ii = edges
    return Box(label, (k, j, i), (kk, jj, ii))


def test_boxes_are_paired_as_well_as_can_be_whatever_their_order():
    a, b = box("x", 0, 0, 0, 1, 10, 10), box("x", 0, 3, 0, 1, 13, 10)
    c, d = box("x", 0, 1, 0, 1, 11, 10), box("x", 0, -3, 0, 1, 7, 10)
    # a-c 9/11, a-d 7/13, b-c 8/12, b-d 4/16: pairing a with its best (c) leaves b alone; a-d and b-c are two pairs.
    for one in ([a, b], [b, a]):
        assert shared_boxes(one, [c, d]) == 2
        assert shared_boxes([c, d], one) == 2
    assert shared_boxes([a], [box("y", 0, 0, 0, 1, 10, 10)]) == 0
    assert shared_boxes([], [a]) == 0


def test_f1_of_boxes_counts_all_cases_together():
    a, far = box("x", 0, 0, 0, 1, 4, 4), box("x", 0, 9, 9, 1, 12, 12)
    first = [Annotation(f"c{n}", boxes=(a, far) if n % 2 else ()) for n in range(40)]
    second = [Annotation(f"c{n}", boxes=(a,) if n % 2 else ()) for n in range(40)]
    found = boxes_alike(first, second, ids(40), np.random.default_rng(0))
    # 20 pairs of 40 + 20 boxes: 2 * 20 / 60.
    assert found.value == pytest.approx(2 / 3)
    assert boxes_alike(first, first, ids(40), np.random.default_rng(0)).value == 1
    with pytest.raises(UsageError, match="without boxes"):
        boxes_alike([Annotation("a", classes=())], [Annotation("a", boxes=())], ["p"], np.random.default_rng(0))


def test_regions_by_label_with_distance_where_both_drew_it():
    affine = diagonal_affine((3, 2, 1))

    def drawn(case, *spans):
        array = np.zeros((1, 1, 5, 20), np.uint8)
        for value, (start, stop) in enumerate(spans, start=1):
            array[0, 0, 2, start:stop] = value
        mask = Image(array, affine, kind="labels", unit="label")
        return Annotation(case, (mask,), {1: "liver", 2: "cyst", 3: "absent"})

    first = [drawn("a", (0, 4), (10, 12)), drawn("b", (0, 4))]
    second = [drawn("a", (2, 6), (10, 12)), drawn("b", (0, 4), (10, 12))]
    plan = plan_for("segment", labels={1: "liver", 2: "cyst", 3: "absent"})
    sides = [work(name, {a.case: a for a in own}) for name, own in (("r", first), ("pre", second))]
    made = agreements(sides, {"a": "p", "b": "q"}, plan, np.random.default_rng(0))
    found = {f"{a.measure}/{a.label}": a.found for a in made}
    # Liver in a: 2 * 2 / 8; in b 1. Cyst in a: 1; in b one drew it: 0, and no distance there.
    assert found["dice/liver"].value == pytest.approx(0.75)
    assert found["dice/cyst"].value == pytest.approx(0.5)
    assert found["assd_mm/cyst"].value == 0
    assert "1 undefined left out" in found["assd_mm/cyst"].method
    # Lines of voxels of 1 mm, 0..3 against 2..5: each end 2 and 1 mm away from the other, four of eight points.
    assert found["assd_mm/liver"].value == pytest.approx(((2 + 1 + 1 + 2) / 8 + 0) / 2)
    assert np.isnan(found["dice/absent"].value)
    assert found["dice/liver"].method.startswith(TOO_FEW)


def test_three_annotators_are_compared_two_by_two_and_all_together():
    plan = plan_for("classify", classes=("a", "b"))
    rng = np.random.default_rng(0)
    truth = rng.choice(["a", "b"], 40)
    words = [list(truth), list(truth), list(np.where(rng.random(40) < 0.2, "a", truth))]
    sides = [
        work(f"r{n}", {f"c{k}": Annotation(f"c{k}", classes=(w,)) for k, w in enumerate(own)})
        for n, own in enumerate(words)
    ]
    pre = work("pre", {f"c{k}": Annotation(f"c{k}", classes=("a",)) for k in range(40)})
    found = agreements([*sides, pre], {f"c{k}": f"p{k}" for k in range(40)}, plan, rng)
    by_name = {(a.first, a.second, a.measure): a.found for a in found}
    assert by_name["r0", "r1", "cohen_kappa"].value == 1
    assert by_name["r0", "r2", "cohen_kappa"].value == pytest.approx(cohen_kappa_score(words[0], words[2]))
    together = by_name["r0", "r1 – r2", "fleiss_kappa"]
    # 3 words a case, pairs alike: all 3 or 1 of 3 pairs.
    counts = np.array([[sum(w[k] == c for w in words) for c in "ab"] for k in range(40)])
    assert together.value == pytest.approx(fleiss_kappa(counts, np.ones((1, 40)))[0])
    assert together.lower < together.value < together.upper
    assert not [a for a in found if a.measure == "fleiss_kappa" and "pre" in (a.first, a.second)]


def work(name, annotations):
    return Work(name, {case: (lambda given=given: given) for case, given in annotations.items()})


def test_regions_of_a_round_have_their_surface_distance_too():
    plan = plan_for("segment", labels={1: "liver"})
    array = np.zeros((1, 1, 5, 9), np.uint8)
    array[0, 0, 2, 2:6] = 1
    moved = np.roll(array, 1, axis=3)
    masks = [Image(a, diagonal_affine((1, 1, 2)), kind="labels", unit="label") for a in (array, moved)]
    one, two = ({"c": Annotation("c", (m,), {1: "liver"})} for m in masks)
    found = agreements([work("r", one), work("pre", two)], {"c": "p"}, plan, np.random.default_rng(0))
    by_name = {a.measure: a.found.value for a in found if a.label in ("", "liver")}
    # Four voxels of 2 mm each, one step aside: only the outer ones are 2 mm away, one on either side.
    assert by_name["assd_mm"] == pytest.approx((2 + 2) / 8)
    assert by_name["dice"] == pytest.approx(2 * 3 / 8)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda r: kappa(["a"], ["z"], ["a"], ["p"], r), "Word 'z'"),
        (lambda r: kappa(["a"], ["a", "a"], ["a"], ["p"], r), "2 words for 1 cases"),
        (lambda r: kappa(["a"], ["a"], ["a"], ["p"], r, weighting="cubic"), "Weights 'cubic'"),
        (lambda r: kappa_of_many([["a"]], ["a"], ["p"], r), "1 annotators"),
        (lambda r: kappa_of_many([["a"], []], ["a"], ["p"], r), "0 words for 1 cases"),
        (lambda r: boxes_alike([Annotation("a", boxes=())], [Annotation("b", boxes=())], ["p"], r), "unlike cases"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, match):
    with pytest.raises(UsageError, match=match):
        call(np.random.default_rng(0))

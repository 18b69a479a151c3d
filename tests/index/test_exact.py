"""Exact search and its stored form, against brute force and by hand."""

import json

import numpy as np
import pytest

from lucency.errors import DataError, ModelError, UsageError
from lucency.index import Index, Rows, averaged, averaged_all, nearest, ranks_of_same, remember, space_of
from lucency.index import exact as room
from lucency.index.rows import wanted


def unit(rng, n, d=12):
    v = rng.normal(size=(n, d)).astype(np.float32)
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def brute(vectors, query, n, keep):
    similar = np.where(keep, vectors.astype(float) @ query.astype(float), -np.inf)
    order = sorted(range(len(vectors)), key=lambda r: (-similar[r], r))
    return [r for r in order if keep[r]][:n]


@pytest.mark.parametrize("block", [7, 50, 1 << 24])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_nearest_is_what_brute_force_finds_whatever_the_block_and_the_filter(monkeypatch, block, share):
    monkeypatch.setattr(room, "BLOCK", block * 3)
    rng = np.random.default_rng(1)
    vectors, queries = unit(rng, 203), unit(rng, 3)
    allowed = rng.random(203) < share
    excluded = [np.flatnonzero(rng.random(203) < 0.05) for _ in queries]
    rows, values = nearest(vectors, queries, 6, allowed=allowed, excluded=excluded)
    for number, query in enumerate(queries):
        keep = allowed.copy()
        keep[excluded[number]] = False
        assert rows[number].tolist() == brute(vectors, query, 6, keep)
        np.testing.assert_allclose(values[number], vectors[rows[number]] @ query, rtol=1e-5)


def test_where_fewer_are_left_than_wanted_the_places_stay_empty():
    rng = np.random.default_rng(2)
    vectors = unit(rng, 5)
    rows, values = nearest(vectors, vectors[:1], 4, excluded=[np.array([0, 2, 3])])
    assert sorted(rows[0, :2].tolist()) == [1, 4]
    assert rows[0, 2:].tolist() == [-1, -1]
    assert np.isneginf(values[0, 2:]).all()


def test_equal_similarities_come_in_the_order_of_the_rows():
    vectors = np.tile(np.array([[1.0, 0.0]], np.float32), (50, 1))
    rows, _ = nearest(vectors, vectors[:1], 50)
    assert rows[0].tolist() == list(range(50))


def test_ranking_leaves_the_patient_out():
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.5, 0.5]], np.float32)
    same = np.array([[True, False, True, True]])
    (right,) = ranks_of_same(vectors, vectors[:1], same, [np.array([0])])
    # Without row 0 the order is 1, 3, 2.
    assert right.tolist() == [False, True, True]


def rows_of(n):
    labels = ("a", "b")
    facts = {
        "label": tuple(labels[k % 2] for k in range(n)),
        "age": tuple(float(20 + k) if k % 5 else None for k in range(n)),
    }
    return Rows(
        tuple(f"c{k}" for k in range(n)),
        tuple(f"p{k // 2}" for k in range(n)),
        tuple(f"i{k}" for k in range(n)),
        facts,
    )


def test_an_index_comes_back_from_the_disk_and_finds_the_same(tmp_path):
    rng = np.random.default_rng(3)
    features = rng.gamma(2.0, size=(40, 8)).astype(np.float32)
    made = remember(tmp_path / "index", features, rows_of(40), "digest")
    again = Index(tmp_path / "index")
    assert again.model == "digest"
    assert again.rows == made.rows
    np.testing.assert_allclose(np.linalg.norm(again.vectors, axis=1), 1, atol=1e-5)
    queries = again.placed(features[:2])
    found = again.search(queries, 3, excluded=[again.rows.of_patients(["p0"])] * 2)
    assert all(r not in (0, 1) for f in found for r in f.rows)
    stored = averaged_all(space_of(features).unit(features))
    (query,) = averaged(stored, queries[:1], excluded=[np.array([0, 1])])
    best = [r for r in np.argsort(-(stored @ query)) if r not in (0, 1)][:3]
    assert list(found[0].rows) == best
    assert found[0].similarities[0] == pytest.approx(stored[best[0]] @ query, abs=1e-4)


def test_an_average_by_hand():
    # The query's nearest are (1, 0) with cosine .8 and (0, 1) with .6, the third is behind it: its weight is 0.
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    query = np.array([[0.8, 0.6]], np.float32)
    expected = np.array([0.8 + 0.8**3, 0.6 + 0.6**3])
    np.testing.assert_allclose(averaged(vectors, query)[0], expected / np.linalg.norm(expected), rtol=1e-5)


def test_in_the_space_no_direction_of_size_counts_more_than_another():
    rng = np.random.default_rng(6)
    features = rng.normal(size=(400, 6)) * [1, 10, 100, 1, 1, 1] + 7
    features[:, 5] = 3.0
    space = space_of(features)
    moved = (features - features.mean(axis=0)) @ space.matrix
    spread = moved.std(axis=0)
    # Five directions vary; all divided by the root of 1.1 times their variance or nearly so. The constant says nothing.
    assert spread[:5] == pytest.approx(1 / 1.1**0.5, rel=0.1)
    assert spread[5] == pytest.approx(0, abs=1e-6)
    assert np.abs(space.matrix[5]).max() == 0


def test_filters_hold_together_and_an_empty_one_says_what_there_is(tmp_path):
    rng = np.random.default_rng(4)
    index = remember(tmp_path / "index", rng.normal(size=(40, 8)).astype(np.float32), rows_of(40), "m")
    (found,) = index.search(index.placed(rng.normal(size=(1, 8))), 40, where=wanted({"label": "a", "age": "24-30"}))
    # Even rows from 4 to 10 whose age is known: row 10 has none.
    assert sorted(found.rows) == [4, 6, 8]
    with pytest.raises(DataError, match=r"label = c\. Expected: a, b"):
        index.search(np.zeros((1, 8), np.float32), 1, where=wanted({"label": "c"}))
    with pytest.raises(DataError, match=r"age = 90 to 95.*21 to 59"):
        index.search(np.zeros((1, 8), np.float32), 1, where=wanted({"age": "90-95"}))
    with pytest.raises(DataError, match=r"sex = F.*nothing is"):
        index.search(np.zeros((1, 8), np.float32), 1, where=wanted({"sex": "F"}))


def test_a_condition_that_cannot_be_asked_for_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'label'"):
        wanted({"lable": "a"})
    with pytest.raises(UsageError, match="smaller number first"):
        wanted({"age": "60-40"})
    with pytest.raises(UsageError, match="a number or a range"):
        wanted({"age": "old"})


def test_a_changed_file_is_refused(tmp_path):
    index = remember(tmp_path / "index", np.eye(4, dtype=np.float32), rows_of(4), "m")
    path = index.folder / "rows.json"
    content = json.loads(path.read_text("utf-8"))
    content["patients"][0] = "p9"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ModelError, match=r"rows\.json.*changed"):
        Index(tmp_path / "index")


def test_the_same_image_or_case_names_its_patient():
    rows = rows_of(6)
    assert rows.patients_of(case="c3") == {"p1"}
    assert rows.patients_of(image="i5") == {"p2"}
    assert rows.patients_of(case="x", image="y") == frozenset()
    assert rows.of_patients(["p1", "p2"]).tolist() == [2, 3, 4, 5]


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="different lengths"):
        Rows(("a",), ("p", "q"), ("i",))

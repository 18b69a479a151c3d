"""Orders of work lists: what they must hold whatever the numbers are."""

from collections import Counter

import numpy as np
import pytest

from lucency.annotate import orders
from lucency.annotate.orders import STRATEGIES, Pool, ordered
from lucency.errors import UsageError


def pool_of(seed, n=60, n_patients=12, **changes):
    rng = np.random.default_rng(seed)
    settings = {
        "patients": tuple(f"p{v}" for v in rng.integers(0, n_patients, n)),
        "uncertainty": rng.random(n),
        "quality": rng.random(n),
        "features": rng.normal(size=(n, 5)),
        "foreground": rng.random(n) < 0.3,
    }
    return Pool(**settings | changes)


def indexes(pool, strategy, seed=0):
    return [p.index for p in ordered(pool, strategy, np.random.default_rng(seed))]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("seed", range(3))
def test_every_case_stands_once_and_the_same_seed_gives_the_same_order(strategy, seed):
    pool = pool_of(seed)
    first = indexes(pool, strategy, seed)
    assert sorted(first) == list(range(60))
    assert first == indexes(pool, strategy, seed)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("seed", range(3))
def test_no_patient_s_second_case_comes_before_everybody_s_first(strategy, seed):
    pool = pool_of(seed, n=80, n_patients=9)
    left = Counter(pool.patients)
    had = dict.fromkeys(left, 0)
    for index in indexes(pool, strategy, seed):
        mine = pool.patients[index]
        assert had[mine] == min(had[p] for p in left if left[p])
        had[mine] += 1
        left[mine] -= 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_patient_with_labelled_cases_waits_for_the_others(strategy):
    pool = pool_of(0, n=6, patients=("a", "a", "b", "b", "c", "c"), taken={"a": 1})
    order = [pool.patients[i] for i in indexes(pool, strategy)]
    assert sorted(order[:2]) == ["b", "c"]
    assert sorted(order[2:5]) == ["a", "b", "c"]


def test_random_differs_between_seeds_and_draws_two_of_three_where_something_is_found():
    pool = pool_of(1, n=3000, patients=tuple(map(str, range(3000))), foreground=np.arange(3000) < 1500)
    first = indexes(pool, "random", 0)
    assert first != indexes(pool, "random", 1)
    # 1000 draws of chance 2/3: standard deviation sqrt(1000 * 2/9) = 14.9; five of them.
    assert abs(pool.foreground[first[:1000]].sum() - 667) < 75


def test_uncertain_and_bad_cases_come_first():
    alone = tuple(map(str, range(60)))
    pool = pool_of(2, patients=alone)
    assert np.all(np.diff(pool.uncertainty[indexes(pool, "uncertainty")]) <= 0)
    assert np.all(np.diff(pool.quality[indexes(pool, "worst-first")]) >= 0)


@pytest.mark.parametrize("seed", range(5))
def test_diversity_visits_every_heap_before_it_goes_back_to_one(seed):
    # Five heaps, of which one holds 40 of 60 cases: chance takes most from it, farthest-first one from each.
    rng = np.random.default_rng(seed)
    heap = np.repeat(np.arange(5), (40, 5, 5, 5, 5))
    features = 100 * np.eye(5)[heap] + rng.normal(size=(60, 5))
    pool = pool_of(seed, patients=tuple(map(str, range(60))), features=features)
    assert set(heap[indexes(pool, "diversity", seed)[:5]]) == set(range(5))
    known = features[heap == 0][:1]
    seen = pool_of(seed, patients=tuple(map(str, range(60))), features=features, known=known)
    assert set(heap[indexes(seen, "diversity", seed)[:4]]) == {1, 2, 3, 4}


@pytest.mark.parametrize("seed", range(3))
def test_diversity_covers_the_rest_better_than_chance(seed):
    pool = pool_of(seed, n=200, patients=tuple(map(str, range(200))))

    def radius(order):
        away = np.linalg.norm(pool.features[:, None] - pool.features[None, order[:20]], axis=2)
        return away.min(axis=1).max()

    drawn = [radius(indexes(pool, "random", s)) for s in range(20)]
    assert radius(indexes(pool, "diversity", seed)) < min(drawn)


def test_mixed_leaves_one_place_of_three_to_chance_and_takes_the_uncertain_for_the_others():
    pool = pool_of(3, n=90, patients=tuple(map(str, range(90))), features=np.zeros((90, 2)))
    places = ordered(pool, "mixed", np.random.default_rng(0))
    assert [p.why for p in places[:6]] == ["mixed", "mixed", "random"] * 2
    # Where all look alike the distance says nothing once one is chosen; the first is the most uncertain.
    assert places[0].index == int(pool.uncertainty.argmax())


def test_a_long_list_is_filled_by_uncertainty_beyond_its_first_places(monkeypatch):
    monkeypatch.setattr(orders, "PLACES", 10)
    pool = pool_of(4, patients=tuple(map(str, range(60))))
    places = ordered(pool, "diversity", np.random.default_rng(0))
    assert {p.why for p in places[:10]} == {"diversity"}
    rest = [p.index for p in places[10:]]
    assert {p.why for p in places[10:]} == {"uncertainty"}
    assert np.all(np.diff(pool.uncertainty[rest]) <= 0)


@pytest.mark.parametrize("strategy", ["diversity", "mixed"])
def test_patients_take_turns_beyond_the_first_places_too(monkeypatch, strategy):
    monkeypatch.setattr(orders, "PLACES", 10)
    pool = pool_of(5, n=40, patients=tuple(f"p{n % 20}" for n in range(40)))
    order = [pool.patients[n] for n in indexes(pool, strategy)]
    assert sorted(order[:20]) == sorted(set(order))


def test_equally_uncertain_cases_are_not_ordered_by_their_names():
    # All alike in looks and doubt: any order is as good, and the last by name must not always be the first.
    pool = pool_of(0, n=30, patients=tuple(map(str, range(30))), features=np.zeros((30, 2)), uncertainty=np.zeros(30))
    assert len({indexes(pool, "mixed", seed)[0] for seed in range(20)}) > 5


def test_nothing_to_order_is_an_empty_list_and_an_unknown_strategy_is_named():
    empty = Pool((), np.zeros(0), np.zeros(0), np.zeros((0, 3)), np.zeros(0, bool))
    assert ordered(empty, "mixed", np.random.default_rng(0)) == []
    with pytest.raises(UsageError, match=r"'best'.*mixed, uncertainty, diversity, worst-first, random"):
        ordered(pool_of(0), "best", np.random.default_rng(0))

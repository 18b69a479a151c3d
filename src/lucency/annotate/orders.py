"""In which order people should look at cases that nobody has labelled: by what the model knows, or at random.

Every order takes turns among the patients: nobody's second case comes before everybody's first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lucency.errors import UsageError

#: One draw of three at random, the others by the model: picking by uncertainty alone misses what the model is sure of
#: and wrong about, and no way of picking beats foreground-aware random reliably (arXiv 2511.19183).
RANDOM_EACH = 3

#: Chance that a random draw is among the cases in which the model finds something (arXiv 2511.19183 tries a third and
#: two thirds of the queries; the higher share is the harder control).
FOREGROUND_SHARE = 2 / 3

#: Places that are filled one by one, each with regard to those before; a list is not worked through any further than
#: that before the next model, and the places beyond are filled by uncertainty alone.
PLACES = 5000


@dataclass(frozen=True, eq=False)
class Pool:
    """The cases to be ordered, and what the model says of them.

    Args:
        patients: (n,) whose each case is.
        uncertainty: (n,) float, 0 to 1: how much a label would tell.
        quality: (n,) float, 0 to 1: how good the pre-annotation is thought to be.
        features: (n, d) float, where likeness is nearness.
        foreground: (n,) bool: whether the model finds anything.
        known: (m, d) float, features of the cases that are labelled already.
        taken: Patient to the number of their cases that are labelled already.
    """

    patients: tuple[str, ...]
    uncertainty: np.ndarray
    quality: np.ndarray
    features: np.ndarray
    foreground: np.ndarray
    known: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    taken: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """One place of a work list.

    Args:
        index: Which case of the pool.
        why: What put it there: a key of :data:`STRATEGIES`.
    """

    index: int
    why: str


def ordered(pool: Pool, strategy: str, rng: np.random.Generator) -> list[Place]:
    """Return every case of the pool once, in the order in which to look at them.

    Args:
        pool: May be empty.
        strategy: One of :data:`STRATEGIES`.
        rng: Draws, and decides between equals.

    Raises:
        UsageError: No such strategy.
    """
    if strategy not in STRATEGIES:
        raise UsageError(f"No strategy {strategy!r}", expected=", ".join(STRATEGIES), where="--strategy")
    return STRATEGIES[strategy](pool, rng) if pool.patients else []


def _by_uncertainty(pool: Pool, rng: np.random.Generator) -> list[Place]:
    return [Place(n, "uncertainty") for n in _in_turns(pool, -pool.uncertainty, rng)]


def _worst_first(pool: Pool, rng: np.random.Generator) -> list[Place]:
    return [Place(n, "worst-first") for n in _in_turns(pool, pool.quality, rng)]


def _at_random(pool: Pool, rng: np.random.Generator) -> list[Place]:
    # A draw does not ask what cases look like, and a long list would be slow if it did.
    chooser = _Chooser(replace(pool, features=np.zeros((len(pool.patients), 0)), known=np.zeros((0, 0))))
    return [Place(chooser.drawn(rng), "random") for _ in pool.patients]


def _by_diversity(pool: Pool, rng: np.random.Generator) -> list[Place]:
    """Farthest first: each case lies as far as can be from all before it (Sener 2018, arXiv:1708.00489)."""
    chooser = _Chooser(pool)
    found = [Place(chooser.farthest(np.ones(len(pool.patients)), rng), "diversity") for _ in _greedy(pool)]
    return found + [Place(n, "uncertainty") for n in chooser.rest(rng)]


def _mixed(pool: Pool, rng: np.random.Generator) -> list[Place]:
    """Two of three places to what is uncertain and unlike what was chosen, one of three to chance."""
    chooser = _Chooser(pool)
    # By ranks, so that one measure's unit does not drown the other; equals share a rank, whatever they are called.
    rank = np.searchsorted(np.sort(pool.uncertainty), pool.uncertainty, side="right") / len(pool.patients)
    found = []
    for number in _greedy(pool):
        if number % RANDOM_EACH == RANDOM_EACH - 1:
            found.append(Place(chooser.drawn(rng), "random"))
        else:
            found.append(Place(chooser.farthest(rank, rng), "mixed"))
    return found + [Place(n, "uncertainty") for n in chooser.rest(rng)]


#: Name to order. ``random`` is the control that the others have to beat.
STRATEGIES: Mapping[str, Callable[[Pool, np.random.Generator], list[Place]]] = {
    "mixed": _mixed,
    "uncertainty": _by_uncertainty,
    "diversity": _by_diversity,
    "worst-first": _worst_first,
    "random": _at_random,
}


def _greedy(pool: Pool) -> range:
    return range(min(len(pool.patients), PLACES))


def _in_turns(pool: Pool, key: np.ndarray, rng: np.random.Generator, among: np.ndarray | None = None) -> list[int]:
    """Return the indexes by rising key, the patients taking turns."""
    chosen = np.arange(len(pool.patients)) if among is None else among
    tie = rng.permutation(len(chosen))
    order = chosen[np.lexsort((tie, key[chosen]))]
    seen = dict(pool.taken)
    turns = []
    for n in order:
        turns.append(seen.get(pool.patients[n], 0))
        seen[pool.patients[n]] = turns[-1] + 1
    return [int(n) for n in order[np.argsort(turns, kind="stable")]]


class _Chooser:
    """Chooses case after case, only among those of the patients with the fewest chosen so far."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.names = sorted(set(pool.patients))
        place = {name: n for n, name in enumerate(self.names)}
        self.patient = np.array([place[p] for p in pool.patients])
        self.count = np.array([pool.taken.get(name, 0) for name in self.names])
        self.open = np.ones(len(pool.patients), dtype=bool)
        self.features = np.asarray(pool.features, dtype=float)
        self.distance = np.full(len(pool.patients), np.inf)
        for row in np.asarray(pool.known, dtype=float):
            self._near(row)

    def _near(self, row: np.ndarray) -> None:
        self.distance = np.minimum(self.distance, np.linalg.norm(self.features - row, axis=1))

    def eligible(self) -> np.ndarray:
        """Return the indexes that may come next."""
        count = self.count[self.patient]
        return np.flatnonzero(self.open & (count == count[self.open].min()))

    def take(self, index: int) -> int:
        """Choose a case."""
        self.open[index] = False
        self.count[self.patient[index]] += 1
        self._near(self.features[index])
        return index

    def drawn(self, rng: np.random.Generator) -> int:
        """Choose at random, two times of three among the cases in which something was found."""
        chosen = self.eligible()
        wanted = bool(rng.random() < FOREGROUND_SHARE)
        some = chosen[self.pool.foreground[chosen] == wanted]
        return self.take(int(rng.choice(some if some.size else chosen)))

    def farthest(self, weight: np.ndarray, rng: np.random.Generator) -> int:
        """Choose the case with the largest weighted distance to what is known or chosen.

        Where nothing is known yet, the first is the one nearest to the middle of all: the most ordinary one.
        """
        chosen = self.eligible()
        if np.isinf(self.distance[chosen]).all():
            away = np.linalg.norm(self.features - self.features.mean(axis=0), axis=1)
            worth = weight[chosen] / (1 + away[chosen])
        elif self.distance[chosen].max() > 0:
            worth = weight[chosen] * self.distance[chosen]
        else:
            worth = weight[chosen]
        best = chosen[worth >= worth.max() - 1e-12]
        return self.take(int(rng.choice(best)))

    def rest(self, rng: np.random.Generator) -> list[int]:
        """Return what was not chosen, the most uncertain first."""
        if not self.open.any():
            return []
        taken = dict(zip(self.names, self.count.tolist(), strict=True))
        return _in_turns(replace(self.pool, taken=taken), -self.pool.uncertainty, rng, np.flatnonzero(self.open))

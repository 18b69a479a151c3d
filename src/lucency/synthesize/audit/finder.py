"""The auditor's eye for copies, and the trial that it must pass before its silence means anything."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lucency.errors import DataError
from lucency.statistics import Metric, clopper_pearson, proportion_metric
from lucency.synthesize.audit.finding import (
    FAIL,
    PASS,
    TOLD,
    UNDECIDED,
    Finding,
    Pair,
    SelfTest,
    effective,
    surely_above,
)
from lucency.synthesize.audit.planted import KINDS
from lucency.synthesize.audit.sides import Made, Real, logs
from lucency.synthesize.audit.spaces import Near

#: Share of held-out images that may be called copies, and of planted copies that must be found.
FALSE, FOUND = 0.01, 0.95

#: Held-out patients below which a threshold for one in a hundred cannot be set: with 99 it is the lowest of them.
LEAST_HELD = 99

#: Copy rate whose interval must not lie above this, and must not reach above that.
LIMIT, BEARABLE = 0.02, 0.05

#: Probability under honesty below which a count of copies is proof.
PROOF = 0.001

#: A copy beyond doubt: in two spaces its distance, against that to held-out images, is under this share of the least
#: that any held-out image has. Distances of images vary in ten directions or more, so that even five of them would make
#: so near a neighbour a matter of one in a thousand.
BEYOND = 0.25

#: Closest pairs that are shown.
SHOWN = 16


@dataclass(frozen=True, eq=False)
class Finder:
    """Says how much more alike than by chance an image is to a member.

    Args:
        centre: (s,) median of the held-out images' log ratios in each space.
        scale: (s,) their spread below the median, as a standard deviation.
        least: (s,) their smallest.
        usual: (n,) ascending scores of held-out images, one for each patient.
        threshold: A score below it is called a copy.
    """

    centre: np.ndarray
    scale: np.ndarray
    least: np.ndarray
    usual: np.ndarray
    threshold: float

    def scores(self, found: np.ndarray) -> np.ndarray:
        """Return scores, (n,), of log ratios (s, n): the mean of the two lowest of the spaces, in deviations.

        Two, because one alone may be fooled by chance; not all, because a change may hide a copy from one.
        """
        z = np.sort((found - self.centre[:, None]) / self.scale[:, None], axis=0)
        return np.asarray(z[:2].mean(axis=0))

    def certain(self, found: np.ndarray) -> np.ndarray:
        """Return (n,) bool: copies beyond doubt, see :data:`BEYOND`."""
        far = found < (self.least + np.log(BEYOND))[:, None]
        return np.asarray(far.sum(axis=0) >= 2)


def finder_of(reals: Sequence[Real], rng: np.random.Generator) -> Finder:
    """Learn from held-out images what likeness chance gives.

    Args:
        reals: The real images in each space, two or more.
        rng: Which image stands for a patient who has several.

    Raises:
        DataError: Fewer than :data:`LEAST_HELD` held-out patients.
    """
    found = np.stack([logs(r.held_seen, r.held_held) for r in reals])
    rows = one_each(reals[0].held_people, rng)
    if len(rows) < LEAST_HELD:
        raise DataError(
            f"{len(rows)} held-out patients",
            expected=f"{LEAST_HELD} or more, to tell one false alarm in a hundred",
            remedy="hold more patients out",
        )
    centre = np.median(found, axis=1)
    scale = np.maximum((centre - np.quantile(found, 0.05, axis=1)) / 1.645, 1e-6)
    bare = Finder(centre, scale, found.min(axis=1), np.zeros(0), 0.0)
    usual = np.sort(bare.scores(found[:, rows]))
    return Finder(centre, scale, bare.least, usual, float(usual[rank_of(len(usual)) - 1]))


def rank_of(n: int) -> int:
    """Return which of ``n`` ascending scores is the threshold: so many in a hundred lie below it, at least the first.

    Example:
        >>> rank_of(99), rank_of(250), rank_of(1000)
        (1, 2, 10)
    """
    return max(1, int(FALSE * (n + 1)))


def one_each(people: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one row for each patient, drawn by chance, ascending."""
    order = rng.permutation(len(people))
    _, first = np.unique(people[order], return_index=True)
    return np.sort(order[first])


def self_test(finder: Finder, planted: np.ndarray, kinds: Sequence[str], rng: np.random.Generator) -> SelfTest:
    """Try the finder on copies that were planted.

    Args:
        finder: To be tried.
        planted: (s, n) log ratios of the copies.
        kinds: How each was changed.
        rng: Deals the held-out patients to halves: a threshold is judged by those it was not learned from.
    """
    hit = finder.scores(planted) < finder.threshold
    named = np.array(kinds)
    found = _exact(hit)
    half = rng.permutation(len(finder.usual)) % 2 == 0
    wrong = np.zeros(len(finder.usual), dtype=bool)
    for side in (half, ~half):
        other = np.sort(finder.usual[~side])
        wrong[side] = finder.usual[side] < other[rank_of(len(other)) - 1]
    false = _exact(wrong)
    return SelfTest(
        found=found,
        false=false,
        by_kind={k: _exact(hit[named == k]) for k in KINDS if (named == k).any()},
        planted=len(hit),
        # By its rank the threshold lies at 1 %; whether that holds for other strangers, the halves say.
        able=found.value >= FOUND and not surely_above(false, FALSE),
    )


def _exact(hits: np.ndarray) -> Metric:
    """Return a proportion with its exact interval."""
    return Metric(float(hits.mean()), *clopper_pearson(int(hits.sum()), len(hits)), len(hits), "Clopper–Pearson")


def excess(count: int, n: int, rank: int, usual: int) -> float:
    """Return the probability of so many below a rank of as honest a sample as the held-out images are.

    Args:
        count: Generated images below it.
        n: Generated images.
        rank: Which of the ascending held-out scores it is, from 1.
        usual: Held-out scores.

    Source:
        A new value lies below the r-th of n by a chance that is Beta(r, n - r + 1); so the count is beta-binomial
        (Wilks 1942, doi 10.1214/aoms/1177731537).

    Example:
        >>> round(excess(1, 1, 1, 99), 4), round(excess(2, 2, 1, 1), 4)
        (0.01, 0.3333)
    """
    return float(stats.betabinom.sf(count - 1, n, rank, usual - rank + 1))


def copies(
    finder: Finder, found: np.ndarray, nearest: np.ndarray, false: Metric | None, rng: np.random.Generator
) -> list[Finding]:
    """Return how many generated images are copies, and how many of them beyond doubt.

    Args:
        finder: That has passed its trial.
        found: (s, n) log ratios of the generated images.
        nearest: (n,) the patient whom each is nearest to: images that are like no real one may all be nearest to one,
            and then say no more than one of them.
        false: The same share of held-out images.
        rng: Of the interval.
    """
    scores, n = finder.scores(found), found.shape[1]
    rate = proportion_metric(scores < finder.threshold, np.arange(n), rng)
    ranks = sorted({1, rank_of(len(finder.usual))})
    below = {r: nearest[scores < finder.usual[r - 1]] for r in ranks}
    counts = {r: effective(who) if len(who) else 0 for r, who in below.items()}
    p = {r: min(1.0, len(ranks) * excess(c, n, r, len(finder.usual))) for r, c in counts.items()}
    many = p[ranks[-1]] < PROOF and rate.lower is not None and rate.lower > LIMIT
    # More than chance below all held-out images is too much however small a share it is.
    outcome = FAIL if many or p[1] < PROOF else UNDECIDED if rate.upper is None or rate.upper > BEARABLE else PASS
    sure = finder.certain(found)
    beyond = Metric(float(sure.mean()), *clopper_pearson(int(sure.sum()), n), n, "Clopper–Pearson", 0.0)
    return [
        Finding("copies", "", rate, false, LIMIT, outcome, min(p.values())),
        Finding("certain", "", beyond, None, 0.0, FAIL if sure.any() else PASS),
    ]


def closest(finder: Finder, made: Sequence[Made], names: Sequence[str]) -> tuple[Pair, ...]:
    """Return the pairs of a generated image and a member that are most alike, the closest first.

    Args:
        finder: Scores them.
        made: The generated images in each space.
        names: Of the spaces.
    """
    return _pairs(finder, [m.seen for m in made], [m.held for m in made], names)


def usual_pairs(finder: Finder, reals: Sequence[Real]) -> tuple[Pair, ...]:
    """Return the pairs of a held-out image and a member that are most alike: what chance looks like."""
    names = [r.measure.name for r in reals]
    return _pairs(finder, [r.held_seen for r in reals], [r.held_held for r in reals], names)


def _pairs(finder: Finder, seen: Sequence[Near], held: Sequence[Near], names: Sequence[str]) -> tuple[Pair, ...]:
    found = np.stack([logs(a, b) for a, b in zip(seen, held, strict=True)])
    scores = finder.scores(found)
    # The space that finds it most unlike chance says which member it is.
    says = ((found - finder.centre[:, None]) / finder.scale[:, None]).argmin(axis=0)
    pairs = []
    for row in np.argsort(scores, kind="stable")[:SHOWN]:
        member = int(seen[says[row]].at[row])
        distances = {n: float(s.first[row]) for n, s in zip(names, seen, strict=True)}
        pairs.append(Pair(int(row), member, float(scores[row]), distances))
    return tuple(pairs)


def isolated_copies(
    finder: Finder, found: np.ndarray, near_isolated: np.ndarray, rng: np.random.Generator
) -> Finding | None:
    """Return the share of copies among generated images whose nearest member is an isolated one; None without any.

    Args:
        finder: As before.
        found: (s, n) log ratios.
        near_isolated: (n,) bool.
        rng: Of the interval.
    """
    if not near_isolated.any():
        return None
    hits = (finder.scores(found) < finder.threshold)[near_isolated]
    rate = proportion_metric(hits, np.arange(len(hits)), rng)
    sure = rate.lower is not None and rate.lower > LIMIT
    n, count = len(hits), int(hits.sum())
    p = excess(count, n, rank_of(len(finder.usual)), len(finder.usual))
    outcome = FAIL if sure and p < PROOF else PASS if rate.upper is not None and rate.upper <= BEARABLE else TOLD
    return Finding("copies_isolated", "", rate, None, LIMIT, outcome, p)

"""Exact and near duplicates, and the groups of cases that must stay together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lucency.inspect.inspection import Pair, PairKind

#: Largest share of the 256 hash bits that may differ before two images are compared in full. JPEG at quality 50,
#: half or double size, gamma 1.3 and 2 % noise stay under it.
HASH_SHARE = 0.30
#: Correlation of the small pictures from which on they may be one picture.
SAME_PICTURE = 0.98
#: Correlation of their detail, the set's mean detail taken off. Centred anatomy reaches .98 without it: on 28 × 28
#: chest radiographs two patients come to .979 in the picture but no pair that is not a copy passes .85 in the detail.
SAME_DETAIL = 0.90
#: From this many images on the set has a mean worth taking off; with fewer it would be the pair itself.
MEAN_FROM = 20
#: Largest share of the cases that near duplicates may tie together, and the least number that is always allowed,
#: since 5 % of a small set is less than a pair.
GROUP_SHARE, GROUP_LEAST = 0.05, 5
#: Hash words compared at a time, and numbers correlated at a time: about 32 MiB each.
HASH_BLOCK, CORRELATION_BLOCK = 1 << 22, 1 << 22


@dataclass(frozen=True, eq=False)
class Thumb:
    """The small picture of one image, as :func:`lucency.inspect.thumbnail.glance` makes it.

    Args:
        case: Case id.
        modality: Only images of one modality are compared with each other, unless they are equal.
        digest: Checksum of the pixels.
        picture: (1 or 8, 32, 32) float16, standardised.
        detail: The same shape.
        hash: (4,) uint64.
    """

    case: str
    modality: str
    digest: str
    picture: np.ndarray
    detail: np.ndarray
    hash: np.ndarray


def find_pairs(thumbs: Sequence[Thumb], part: Mapping[str, str]) -> list[Pair]:
    """Return the pairs of cases that share a picture, most alike first.

    Of many equal images not every pair is listed, only those that tie each copy to one of every part.

    Args:
        thumbs: All images that show a picture.
        part: Case id to ``"train"``, ``"val"`` or ``"test"``.
    """
    found: dict[tuple[str, str], tuple[PairKind, float]] = {}
    for first, second in _exact(thumbs, part):
        found[first, second] = ("exact", 1.0)
    alike: dict[tuple[str, int], list[Thumb]] = {}
    for thumb in thumbs:
        alike.setdefault((thumb.modality, len(thumb.picture)), []).append(thumb)
    for group in alike.values():
        for i, j, correlation in _near(group):
            first, second = sorted((group[i].case, group[j].case))
            if first != second and correlation > found.get((first, second), ("near", -1.0))[1]:
                found[first, second] = ("near", correlation)
    pairs = [Pair(a, b, kind, round(correlation, 4)) for (a, b), (kind, correlation) in found.items()]
    return sorted(pairs, key=lambda p: (p.kind != "exact", -p.correlation, p.first, p.second))


def _exact(thumbs: Sequence[Thumb], part: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Yield sorted pairs of cases with equal pixels: the first copy in each part with every other copy."""
    copies: dict[str, set[str]] = {}
    for thumb in thumbs:
        copies.setdefault(thumb.digest, set()).add(thumb.case)
    for cases in copies.values():
        first_of: dict[str, str] = {}
        for case in sorted(cases):
            first_of.setdefault(part[case], case)
        for centre in first_of.values():
            for case in sorted(cases - {centre}):
                yield (centre, case) if centre < case else (case, centre)


def _near(thumbs: Sequence[Thumb]) -> Iterable[tuple[int, int, float]]:
    """Yield index pairs of different images that show one picture, with the correlation of the pictures."""
    digests = np.unique([t.digest for t in thumbs], return_inverse=True)[1]
    pictures = _unit(np.stack([t.picture.ravel() for t in thumbs]), 0.0)
    details = np.stack([t.detail.ravel() for t in thumbs])
    mean = details.mean(axis=0, dtype=np.float32) if len(thumbs) >= MEAN_FROM else 0.0
    details = _unit(details, mean)
    for i, j in _close_hashes(np.stack([t.hash for t in thumbs])):
        other = digests[i] != digests[j]
        i, j = i[other], j[other]  # noqa: PLW2901 - the same pairs, fewer
        step = max(1, CORRELATION_BLOCK // pictures.shape[1])
        for start in range(0, len(i), step):
            a, b = i[start : start + step], j[start : start + step]
            correlation = _correlation(pictures, a, b)
            keep = correlation >= SAME_PICTURE
            a, b, correlation = a[keep], b[keep], correlation[keep]
            keep = _correlation(details, a, b) >= SAME_DETAIL
            yield from zip(a[keep].tolist(), b[keep].tolist(), correlation[keep].tolist(), strict=True)


def _unit(rows: np.ndarray, mean: np.ndarray | float) -> np.ndarray:
    """Return (n, m) float16 rows of length 1 after taking off ``mean`` and each row's own mean."""
    out = np.empty_like(rows, dtype=np.float16)
    for start in range(0, len(rows), 1024):
        block = rows[start : start + 1024].astype(np.float32) - mean
        block -= block.mean(axis=1, keepdims=True)
        block /= np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-12) / np.sqrt(block.shape[1])
        out[start : start + 1024] = block
    return out


def _correlation(rows: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return the correlation of rows ``i`` with rows ``j``; the rows have mean 0 and mean square 1."""
    product = np.einsum("nm,nm->n", rows[i].astype(np.float32), rows[j].astype(np.float32))
    return np.asarray(np.minimum(product / rows.shape[1], 1.0))


def _close_hashes(hashes: np.ndarray) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Yield (i, j) index arrays, i < j, of hashes that differ in at most ``HASH_SHARE`` of their bits.

    Every pair is compared, but in blocks and in machine words: 20 000 images take about two seconds.
    """
    n, words = hashes.shape
    limit = int(HASH_SHARE * words * 64)
    start = 0
    while start < n:
        stop = min(n, start + max(1, HASH_BLOCK // (n - start)))
        differing = np.zeros((stop - start, n - start), dtype=np.uint16)
        for word in range(words):
            differing += np.bitwise_count(hashes[start:stop, None, word] ^ hashes[None, start:, word])
        i, j = np.nonzero(differing <= limit)
        later = j > i
        yield i[later] + start, j[later] + start
        start = stop


@dataclass(frozen=True)
class Merged:
    """Groups of cases that must stay together.

    Args:
        groups: Case ids, sorted, two or more in each.
        pairs: The pairs that tie them.
        refused: Near pairs that were not joined, because the group would have grown too large.
    """

    groups: tuple[tuple[str, ...], ...]
    pairs: tuple[Pair, ...]
    refused: tuple[Pair, ...]


def merge(pairs: Sequence[Pair], n_cases: int) -> Merged:
    """Join pairs to groups, most alike first.

    Equal images are always joined. Near duplicates stop joining where a group would exceed 5 % of the cases:
    a chain of look-alikes would otherwise draw half the data into one fold.

    Args:
        pairs: As :func:`find_pairs` sorts them.
        n_cases: Size of the cohort.
    """
    limit = max(GROUP_LEAST, int(GROUP_SHARE * n_cases))
    group_of: dict[str, set[str]] = {}
    ties: list[Pair] = []
    refused: list[Pair] = []
    for pair in pairs:
        first = group_of.setdefault(pair.first, {pair.first})
        second = group_of.setdefault(pair.second, {pair.second})
        if first is second:
            continue
        if pair.kind != "exact" and len(first) + len(second) > limit:
            refused.append(pair)
            continue
        ties.append(pair)
        large, small = (first, second) if len(first) >= len(second) else (second, first)
        large |= small
        group_of.update(dict.fromkeys(small, large))
    groups = {tuple(sorted(g)) for g in group_of.values() if len(g) > 1}
    return Merged(tuple(sorted(groups)), tuple(ties), tuple(refused))

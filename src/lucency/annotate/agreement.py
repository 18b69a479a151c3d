"""How far annotators agree, with intervals over patients: words, grades, boxes and regions.

``kappa`` for two and words or grades, ``kappa_of_many`` for more than two, ``boxes_alike`` for boxes at an overlap of
a half, ``regions_alike`` for Dice and surface distance of each label. Under 20 patients, or 5 with a class (of the
annotator who said it less; of several, as most of them call it), a number has no interval and its ``method`` says so.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lucency import metrics
from lucency.annotation import Annotation
from lucency.errors import UsageError
from lucency.metrics.agreement import box_f1, cohen_kappa, fleiss_kappa, shared_boxes
from lucency.statistics import Metric, bootstrap_metric, mean_metric
from lucency.statistics.measure import patients_by_class

#: Surface Dice is not asked for here, so how much of a distance it would forgive does not matter.
ANY_MM = 1.0


def kappa(
    first: Sequence[str],
    second: Sequence[str],
    classes: Sequence[str],
    patients: Sequence[str],
    rng: np.random.Generator,
    *,
    weighting: str = "none",
) -> Metric:
    """Return Cohen's kappa of two annotators.

    Args:
        first: (n,) words.
        second: (n,) words, of the same cases.
        classes: All words; in order for grades.
        patients: (n,) whose each case is.
        rng: Of the bootstrap.
        weighting: ``"none"``; for grades ``"linear"`` or ``"quadratic"``.

    Raises:
        UsageError: A word that is no class, or unlike numbers of cases.
    """
    one, two = (_numbers(words, classes, len(patients)) for words in (first, second))

    def statistic(weights: np.ndarray) -> np.ndarray:
        return cohen_kappa(metrics.confusion(one, two, len(classes), weights), weighting)

    rarer = min((one, two), key=lambda own: min(patients_by_class(own, patients), default=0))
    return bootstrap_metric(statistic, patients, rng, truth=rarer, bounds=None)


def kappa_of_many(
    words: Sequence[Sequence[str | None]], classes: Sequence[str], patients: Sequence[str], rng: np.random.Generator
) -> Metric:
    """Return Fleiss' kappa of several annotators.

    Args:
        words: For each annotator (n,) words; None where they did not look at a case.
        classes: All words.
        patients: (n,) whose each case is.
        rng: Of the bootstrap.

    Raises:
        UsageError: Fewer than two annotators, a word that is no class, or unlike numbers of cases.
    """
    if len(words) < 2:
        raise UsageError(f"{len(words)} annotators", expected="2 or more")
    counts = np.zeros((len(patients), len(classes)), dtype=int)
    for own in words:
        given = [n for n, word in enumerate(own) if word is not None]
        found = _numbers([str(own[n]) for n in given], classes, len(given))
        if len(own) != len(patients):
            raise UsageError(f"{len(own)} words for {len(patients)} cases", expected="one for each, or none")
        counts[given, found] += 1
    most = counts.argmax(axis=1)
    return bootstrap_metric(lambda weights: fleiss_kappa(counts, weights), patients, rng, truth=most, bounds=None)


def boxes_alike(
    first: Sequence[Annotation], second: Sequence[Annotation], patients: Sequence[str], rng: np.random.Generator
) -> Metric:
    """Return the F1 of two annotators' boxes at an overlap of a half, over all cases together.

    Args:
        first: (n,) annotations with boxes.
        second: (n,) of the same cases.
        patients: (n,) whose each case is.
        rng: Of the bootstrap.

    Raises:
        UsageError: Two cases in one place, or an annotation without boxes.
    """
    shared, drawn = [], []
    for one, two in _pairs(first, second):
        if one.boxes is None or two.boxes is None:
            raise UsageError("An annotation without boxes", expected="boxes, if only none", where=one.case)
        shared.append(shared_boxes(one.boxes, two.boxes))
        drawn.append(len(one.boxes) + len(two.boxes))
    both, all_ = np.array(shared, dtype=int), np.array(drawn, dtype=int)
    return bootstrap_metric(lambda weights: box_f1(both, all_, weights), patients, rng)


def regions_alike(
    first: Sequence[Annotation], second: Sequence[Annotation], patients: Sequence[str], rng: np.random.Generator
) -> dict[str, Metric]:
    """Return ``dice/<label>`` and ``assd_mm/<label>`` of two annotators' regions, means over cases.

    Dice counts where either drew the label; the average symmetric surface distance exists where both did.

    Args:
        first: (n,) annotations with regions.
        second: (n,) of the same cases, on the same grids.
        patients: (n,) whose each case is.
        rng: Of the bootstrap.

    Raises:
        UsageError: Two cases in one place, an annotation without regions, or two grids.
    """
    scores: dict[str, dict[int, float]] = {}
    for n, (one, two) in enumerate(_pairs(first, second)):
        if not one.layers or not two.layers or not one.layers[0].same_grid(two.layers[0]):
            raise UsageError("Annotations without regions on one grid", where=one.case)
        for name, dice, away in _by_label(one, two):
            scores.setdefault(f"dice/{name}", {})[n] = dice
            scores.setdefault(f"assd_mm/{name}", {})[n] = away
    found = {}
    for key, by_case in sorted(scores.items()):
        values = np.array([by_case.get(n, np.nan) for n in range(len(patients))])
        dice = key.startswith("dice/")
        bounds = (0.0, 1.0) if dice else None
        found[key] = mean_metric(values, patients, rng, best=1.0 if dice else 0.0, bounds=bounds)
    return found


def _by_label(one: Annotation, two: Annotation) -> list[tuple[str, float, float]]:
    """Return name, Dice and distance of every label; NaN where they do not exist."""
    mine, other = ({name: (value, layer) for value, name, layer in a.regions} for a in (one, two))
    found = []
    for name in sorted({*mine, *other}):
        masks = [
            side[name][1].array[0] == side[name][0] if name in side else np.zeros(one.layers[0].size, dtype=bool)
            for side in (mine, other)
        ]
        drawn = [m.any() for m in masks]
        if not any(drawn):
            found.append((name, float("nan"), float("nan")))
        elif not all(drawn):
            found.append((name, 0.0, float("nan")))
        else:
            scores = metrics.mask_scores(masks[0], masks[1], one.layers[0].spacing, ANY_MM)
            found.append((name, scores.dice, scores.assd_mm))
    return found


def _pairs(first: Sequence[Annotation], second: Sequence[Annotation]) -> list[tuple[Annotation, Annotation]]:
    if [a.case for a in first] != [a.case for a in second]:
        raise UsageError("Annotations of unlike cases", expected="the same cases in the same order")
    twice = [case for case, n in Counter(a.case for a in first).items() if n > 1]
    if twice:
        raise UsageError("One case twice", where=twice[0])
    return list(zip(first, second, strict=True))


def _numbers(words: Sequence[str], classes: Sequence[str], n: int) -> np.ndarray:
    place = {name: number for number, name in enumerate(classes)}
    unknown = [w for w in words if w not in place]
    if unknown or len(words) != n:
        found = f"Word {unknown[0]!r}" if unknown else f"{len(words)} words for {n} cases"
        raise UsageError(found, expected=", ".join(classes) if unknown else "one for each case")
    return np.array([place[w] for w in words], dtype=int)

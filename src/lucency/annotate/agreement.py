"""How far annotators agree, with intervals over patients: words, grades and boxes.

``kappa`` for two and words or grades, ``kappa_of_many`` for more than two, ``boxes_alike`` for boxes at an overlap of
a half. Under 20 patients, or 5 with a class (of the annotator who said it less; of several, as most of them call it), a
number has no interval and its ``method`` says so.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lucency import metrics
from lucency.annotation import Annotation
from lucency.errors import UsageError
from lucency.metrics.agreement import box_f1, cohen_kappa, fleiss_kappa, shared_boxes
from lucency.statistics import Metric, bootstrap_metric
from lucency.statistics.measure import patients_by_class


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

"""Classifiers of a table of features under nested cross-validation: every choice is made inside the training folds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lucency.baselines.outcomes import FAR, tamed
from lucency.columns import standard
from lucency.errors import DataError

#: Folds of the choice inside a training fold.
INNER_FOLDS = 5
#: Two features that agree this much say the same; the first, by how well it tells the classes apart, is kept.
SAME = 0.95
#: Features kept at most before any model: the ones that tell the classes of the training fold apart best.
MOST_FEATURES = 200


@dataclass(frozen=True)
class Candidate:
    """One setting of one kind of model.

    Args:
        features: How many of the best features it sees; 0 for all that are kept.
        build: seed -> a scikit-learn classifier.
    """

    features: int
    build: Callable[[int], Any]


@dataclass(frozen=True)
class TableModel:
    """A kind of model with the settings that are tried inside the training folds.

    Args:
        name: Key in ``TABLE_MODELS`` and in the report.
        description: One sentence in plain words, for the report.
        candidates: What is tried; the best by inner cross-validation is kept.
    """

    name: str
    description: str
    candidates: Sequence[Candidate]


def _logistic(strength: float) -> Callable[[int], Any]:
    def build(seed: int) -> Any:
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

        return LogisticRegression(C=strength, max_iter=2000, tol=1e-3, class_weight="balanced", random_state=seed)

    return build


def _svm(strength: float) -> Callable[[int], Any]:
    def build(seed: int) -> Any:
        from sklearn.svm import SVC  # noqa: PLC0415

        return SVC(C=strength, gamma="scale", class_weight="balanced", random_state=seed)

    return build


def _forest(leaf: int) -> Callable[[int], Any]:
    def build(seed: int) -> Any:
        from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

        return RandomForestClassifier(
            200, min_samples_leaf=leaf, class_weight="balanced_subsample", n_jobs=1, random_state=seed
        )

    return build


def _tree(depth: int) -> Callable[[int], Any]:
    def build(seed: int) -> Any:
        from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

        return DecisionTreeClassifier(max_depth=depth, min_samples_leaf=5, class_weight="balanced", random_state=seed)

    return build


TABLE_MODELS: dict[str, TableModel] = {
    model.name: model
    for model in (
        TableModel(
            "logistic regression of a table",
            "A weighted sum of the features that tell the classes apart best; a penalty keeps the weights small.",
            [Candidate(k, _logistic(c)) for k in (10, 0) for c in (0.001, 0.01, 0.1)],
        ),
        TableModel(
            "support vector machine of a table",
            "Compares the features of a patient with those of the training patients nearest the class border.",
            [Candidate(k, _svm(c)) for k in (10, 0) for c in (0.1, 1.0)],
        ),
        TableModel(
            "random forest of a table",
            "The average of 200 decision trees, each grown on a random part of the patients and of their features.",
            [Candidate(0, _forest(3))],
        ),
        TableModel(
            "decision tree of a table",
            "A few yes-or-no questions about single features.",
            [Candidate(0, _tree(depth)) for depth in (1, 2, 4)],
        ),
    )
}

#: What is delivered: the models that are not single trees, averaged by rank.
AVERAGED = ("logistic regression of a table", "support vector machine of a table", "random forest of a table")
MEAN = "mean of the models"


@dataclass(frozen=True, eq=False)
class Fold:
    """The rows of a training fold as models see them.

    Args:
        rows: (n, p) standardised, the feature that tells the classes apart best first.
        further: (k, p) rows to judge, treated by what the training rows taught.
    """

    rows: np.ndarray
    further: np.ndarray = field(repr=False)


def seen_by(train: np.ndarray, y: np.ndarray, further: np.ndarray) -> Fold:
    """Return standardised rows with the most telling features first; everything is learned from the training rows.

    Args:
        train: (n, p) float, NaN where not known.
        y: (n,) 0 or 1.
        further: (k, p).
    """
    train, further = tamed(train, further)
    known = standard(train)
    rows, others = (np.clip(known.apply(t), -FAR, FAR) for t in (train, further))
    order = np.argsort(-np.abs(separations(rows, y) - 0.5), kind="stable")[: 4 * MOST_FEATURES]
    kept = _distinct(rows[:, order])[:MOST_FEATURES]
    return Fold(rows[:, order[kept]], others[:, order[kept]])


def separations(rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (p,) AUC of each column for class 1; ties count one half."""
    from scipy.stats import rankdata  # noqa: PLC0415

    ranks = rankdata(rows, axis=0)
    n = int(y.sum())
    return np.asarray((ranks[y == 1].sum(axis=0) - n * (n + 1) / 2) / max(n * (len(y) - n), 1))


def _distinct(rows: np.ndarray) -> list[int]:
    """Return the columns that do not repeat an earlier one."""
    spread = rows.std(axis=0)
    unit = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, np.inf) / np.sqrt(len(rows))
    kept: list[int] = []
    for at in range(rows.shape[1]):
        if spread[at] > 0 and (not kept or np.abs(unit[:, kept].T @ unit[:, at]).max() < SAME):
            kept.append(at)
    return kept or [0]


def scores_of(candidate: Candidate, fold: Fold, y: np.ndarray, seed: int) -> np.ndarray:
    """Fit one candidate and return (k,) scores of class 1 for the further rows; higher means class 1."""
    width = candidate.features or fold.rows.shape[1]
    model = candidate.build(seed)
    model.fit(fold.rows[:, :width], y)
    if hasattr(model, "decision_function"):
        return np.asarray(model.decision_function(fold.further[:, :width]))
    return np.asarray(model.predict_proba(fold.further[:, :width])[:, 1])


def folds_of(y: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Return (n,) fold of each row, both classes spread evenly."""
    fold = np.empty(len(y), dtype=int)
    start = 0
    for kind in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == kind))
        # The second class goes on where the first ended, so that no fold is larger by two.
        fold[members] = (np.arange(members.size) + start) % n_folds
        start += members.size
    return fold


def chosen(
    model: TableModel, folds: Sequence[tuple[np.ndarray, np.ndarray, Fold]], y: np.ndarray, seed: int
) -> Candidate:
    """Return the candidate with the best mean AUC over inner folds.

    Args:
        model: Its candidates.
        folds: (training rows, held-out rows, what models see) of each inner fold.
        y: (n,) 0 or 1.
        seed: Of the models.
    """
    if len(model.candidates) == 1:
        return model.candidates[0]
    means = []
    for candidate in model.candidates:
        found = [
            separations(scores_of(candidate, seen, y[inside], seed)[:, None], y[outside])[0]
            for inside, outside, seen in folds
        ]
        means.append(float(np.mean(found)))
    return model.candidates[int(np.argmax(means))]


def nested(table: np.ndarray, y: np.ndarray, fold: np.ndarray, seed: int) -> Mapping[str, np.ndarray]:
    """Return the out-of-fold scores of every kind of model, each tuned inside its own training folds.

    Args:
        table: (n, p) float, NaN where not known.
        y: (n,) 0 or 1.
        fold: (n,) outer fold of each row; a patient's rows share one.
        seed: Of everything random.

    Returns:
        Name to (n,) share of the training rows that score lower, 0 to 1, so that folds can be pooled; and their mean
        as :data:`MEAN`.

    Raises:
        DataError: A training fold with fewer than two rows of a class.

    Source:
        Varma & Simon 2006, doi:10.1186/1471-2105-7-91.
    """
    found = {name: np.empty(len(y)) for name in TABLE_MODELS}
    for number in np.unique(fold):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        mine = y[inside]
        if np.bincount(mine, minlength=2).min() < 2:
            raise DataError(
                "A training fold with fewer than two patients of a class", remedy="add patients of the rarer class"
            )
        whole = seen_by(table[inside], mine, np.concatenate([table[inside], table[outside]]))
        inner = inner_folds(table[inside], mine, np.random.default_rng((seed, int(number))))
        for name, model in TABLE_MODELS.items():
            best = chosen(model, inner, mine, seed)
            scores = scores_of(best, whole, mine, seed)
            ours, theirs = np.sort(scores[: len(inside)]), scores[len(inside) :]
            below, upto = (np.searchsorted(ours, theirs, side=s) for s in ("left", "right"))
            found[name][outside] = (below + upto) / 2 / len(ours)
    return found | {MEAN: np.mean([found[name] for name in AVERAGED], axis=0)}


def inner_folds(
    table: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray, Fold]]:
    """Return the inner folds of a training fold with what models see in each."""
    n_folds = int(min(INNER_FOLDS, np.bincount(y, minlength=2).min()))
    fold = folds_of(y, n_folds, rng)
    found = []
    for number in range(n_folds):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        found.append((inside, outside, seen_by(table[inside], y[inside], table[outside])))
    return found

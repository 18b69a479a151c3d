"""Class probabilities from simple features of an image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lucency.errors import DataError

#: Training images of a support vector machine: its time grows with their square; 4000 take seconds.
SVM_IMAGES = 4000


@dataclass(frozen=True)
class ImageBaseline:
    """A classifier of image features.

    Args:
        name: Key in ``IMAGE_BASELINES`` and in the report.
        description: One sentence in plain words, for the report.
        build: (smallest class, seed) -> a scikit-learn classifier; None to give the class frequencies alone.
        most: Training images used at most.
    """

    name: str
    description: str
    build: Callable[[int, int], Any] | None
    most: int = 1_000_000

    def fit_predict(
        self,
        features_train: np.ndarray,
        y_train: np.ndarray,
        features_test: np.ndarray,
        n_classes: int,
        rng_seed: int,
    ) -> np.ndarray:
        """Fit to the training images and return the probabilities of the test images.

        A class with fewer than two training images cannot be learned and gets probability 0.

        Args:
            features_train: (n, f) float.
            y_train: (n,) class index.
            features_test: (m, f) float.
            n_classes: Classes, also those without a training image.
            rng_seed: Seed of the subsample, the forest and the inner folds.

        Returns:
            (m, n_classes) float64, rows sum to 1.

        Raises:
            DataError: No training image.
        """
        y_train = np.asarray(y_train)
        if not y_train.size:
            raise DataError("No training image for a baseline", expected="one or more")
        counts = np.bincount(y_train, minlength=n_classes)
        usable = np.flatnonzero(counts >= 2)
        probabilities = np.zeros((len(features_test), n_classes))
        if self.build is None or usable.size < 2:
            probabilities[:] = counts / counts.sum()
            return probabilities
        chosen = _subsample(np.flatnonzero(np.isin(y_train, usable)), y_train, self.most, rng_seed)
        y = y_train[chosen]
        model = self.build(int(np.bincount(y)[usable].min()), rng_seed)
        mean, spread = features_train[chosen].mean(axis=0), features_train[chosen].std(axis=0)
        # A feature that never varies in training says nothing; unscaled it could explode on a test image.
        scale = np.where(spread > 1e-6, spread, np.inf)
        model.fit((features_train[chosen] - mean) / scale, y)
        probabilities[:, model.classes_] = model.predict_proba((features_test - mean) / scale)
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))


def _logistic(smallest: int, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    # A tenth of the default strength: there are as many features as images in small sets. A loose tolerance ends
    # the fit long before its iterations do.
    return LogisticRegression(C=0.1, max_iter=1000, tol=1e-3, random_state=seed)


def _svm(smallest: int, seed: int) -> Any:
    from sklearn.calibration import CalibratedClassifierCV  # noqa: PLC0415
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415
    from sklearn.svm import SVC  # noqa: PLC0415

    folds = StratifiedKFold(min(3, smallest), shuffle=True, random_state=seed)
    return CalibratedClassifierCV(SVC(kernel="rbf", C=1.0, gamma="scale", random_state=seed), cv=folds, ensemble=False)


def _forest(smallest: int, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    return RandomForestClassifier(200, min_samples_leaf=2, n_jobs=1, random_state=seed)


def _tree(smallest: int, seed: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

    # Few questions, so that a person can follow them; leaves of 5 keep the probabilities off 0 and 1.
    return DecisionTreeClassifier(max_depth=5, min_samples_leaf=5, random_state=seed)


IMAGE_BASELINES: dict[str, ImageBaseline] = {
    baseline.name: baseline
    for baseline in (
        ImageBaseline(
            "majority class",
            "Gives every image the class frequencies of the training images and never looks at the image.",
            None,
        ),
        ImageBaseline(
            "logistic regression",
            "A weighted sum of simple image features (brightness, contrast, edges, coarse layout).",
            _logistic,
        ),
        ImageBaseline(
            "support vector machine",
            "Compares the simple features of an image with those of the training images nearest the class border.",
            _svm,
            SVM_IMAGES,
        ),
        ImageBaseline(
            "random forest",
            "The average of 200 decision trees, each grown on a random part of the images and their simple features.",
            _forest,
        ),
        ImageBaseline(
            "decision tree",
            "At most five yes-or-no questions about simple image features.",
            _tree,
        ),
    )
}


def _subsample(rows: np.ndarray, y: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return at most ``most`` of the rows, each class by its share but two at least."""
    if rows.size <= most:
        return rows
    rng = np.random.default_rng(seed)
    kept = []
    for c in np.unique(y[rows]):
        of_class = rows[y[rows] == c]
        kept.append(rng.permutation(of_class)[: max(2, of_class.size * most // rows.size)])
    return np.sort(np.concatenate(kept))

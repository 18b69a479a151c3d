"""Numbers from simple features of an image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lucency.errors import DataError

#: Strengths of the ridge penalty tried by leave-one-out; features are standardised.
PENALTIES = tuple(float(p) for p in np.logspace(-1, 5, 13))

#: Fewest training images for a fit; with fewer the mean is given.
LEAST_IMAGES = 10


@dataclass(frozen=True)
class NumberBaseline:
    """A regression on image features.

    Args:
        name: Key in ``NUMBER_BASELINES`` and in the report.
        description: One sentence in plain words, for the report.
        build: seed -> a scikit-learn regressor; None to give the mean alone.
    """

    name: str
    description: str
    build: Callable[[int], Any] | None

    def fit_predict(
        self, features_train: np.ndarray, y_train: np.ndarray, features_test: np.ndarray, rng_seed: int
    ) -> np.ndarray:
        """Fit to the training images and return the numbers of the test images.

        Args:
            features_train: (n, f) float.
            y_train: (n,) float.
            features_test: (m, f) float.
            rng_seed: Seed of the forest.

        Returns:
            (m, 2) float64: value, and the deviation of the training images around the fit.

        Raises:
            DataError: No training image.
        """
        y = np.asarray(y_train, dtype=np.float64)
        if not y.size:
            raise DataError("No training image for a baseline", expected="one or more")
        found = np.empty((len(features_test), 2))
        found[:] = float(y.mean()), float(y.std())
        if self.build is None or y.size < LEAST_IMAGES:
            return found
        mean, spread = features_train.mean(axis=0), features_train.std(axis=0)
        # A feature that never varies in training says nothing; unscaled it could explode on a test image.
        scale = np.where(spread > 1e-6, spread, np.inf)
        model = self.build(rng_seed)
        model.fit((features_train - mean) / scale, (y - y.mean()) / max(float(y.std()), 1e-12))
        found[:, 0] = y.mean() + max(float(y.std()), 1e-12) * model.predict((features_test - mean) / scale)
        return found


def _ridge(seed: int) -> Any:
    from sklearn.linear_model import RidgeCV  # noqa: PLC0415

    return RidgeCV(alphas=PENALTIES)


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415

    return RandomForestRegressor(200, min_samples_leaf=2, max_features=1 / 3, n_jobs=1, random_state=seed)


NUMBER_BASELINES: dict[str, NumberBaseline] = {
    baseline.name: baseline
    for baseline in (
        NumberBaseline(
            "mean",
            "Gives every image the mean of the training images and never looks at the image.",
            None,
        ),
        NumberBaseline(
            "ridge regression",
            "A weighted sum of simple image features (brightness, contrast, edges, coarse layout).",
            _ridge,
        ),
        NumberBaseline(
            "random forest of numbers",
            "The average of 200 regression trees, each grown on a random part of the images and their simple features.",
            _forest,
        ),
    )
}

"""Simple models of when an event comes: what a prognosis must beat before it is worth its trouble."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lucency.columns import standard
from lucency.survival.cox import Cox, fit_penalised_cox
from lucency.survival.curves import aalen_johansen
from lucency.survival.intervals import incidence_of, labelled, marginal_logits
from lucency.survival.outcome import Outcomes

#: Trees of the boosted hazard, their leaves and how fast they learn; small, for tables of a hundred patients.
TREES, LEAVES, RATE, LEAST_IN_LEAF = 80, 4, 0.05, 20
#: Standard deviations beyond which a column of a linear model is cut, and skewness from which on it is logged.
FAR, SKEWED = 4.0, 1.5


@dataclass(frozen=True)
class OutcomeBaseline:
    """A model of time to event that looks at a table of numbers.

    Args:
        name: Key in ``OUTCOME_BASELINES`` and in the report.
        description: One sentence in plain words, for the report.
        table: Which table it looks at: ``"clinical"``, ``"volume"``, ``"radiomics"``, or ``""`` for none.
        fit: (training rows, outcomes, rows, edges, seed) -> (n, causes, m) incidence.
    """

    name: str
    description: str
    table: str
    fit: Callable[[np.ndarray, Outcomes, np.ndarray, np.ndarray, int], np.ndarray]

    def fit_predict(
        self, tables: Mapping[str, tuple[np.ndarray, np.ndarray]], outcomes: Outcomes, edges: np.ndarray, seed: int
    ) -> np.ndarray | None:
        """Fit to training patients and return the incidence of others.

        Args:
            tables: Name to (training rows (n, p), further rows (k, p)), NaN where nothing is known.
            outcomes: (n,) of the training patients.
            edges: (m + 1,) days.
            seed: Of everything random.

        Returns:
            (k, causes, m) probability of each event by the end of each interval; None where its table is missing or
            says nothing of anybody.
        """
        if not self.table:
            rows = next(iter(tables.values()))
            return self.fit(np.zeros((len(outcomes), 0)), outcomes, np.zeros((len(rows[1]), 0)), edges, seed)
        if self.table not in tables:
            return None
        train, further = tables[self.table]
        if not train.shape[1] or not np.isfinite(train).any():
            return None
        return self.fit(train, outcomes, further, edges, seed)


def _everybody(train: np.ndarray, outcomes: Outcomes, further: np.ndarray, edges: np.ndarray, seed: int) -> np.ndarray:
    causes = max(outcomes.causes, default=1)
    curves = np.stack([aalen_johansen(outcomes, c).at(edges[1:]) for c in range(1, causes + 1)])
    return np.tile(curves[None], (len(further), 1, 1))


def _cox(train: np.ndarray, outcomes: Outcomes, further: np.ndarray, edges: np.ndarray, seed: int) -> np.ndarray:
    """Fit a penalised Cox model for each cause, and put the causes together as competing ones."""

    def fit(rows: np.ndarray, told: Outcomes, cause: int) -> Cox:
        return fit_penalised_cox(rows, told.of(cause), np.random.default_rng((seed, cause)))

    return cox_incidence(train, outcomes, further, edges, fit)


def cox_incidence(
    train: np.ndarray,
    outcomes: Outcomes,
    further: np.ndarray,
    edges: np.ndarray,
    fit: Callable[[np.ndarray, Outcomes, int], Cox],
) -> np.ndarray:
    """Return the incidence of patients by Cox models of each cause, put together as competing ones.

    Args:
        train: (n, p) float, NaN where not known.
        outcomes: (n,) of the same patients.
        further: (k, p) to predict.
        edges: (m + 1,) days.
        fit: (standardised rows, outcomes, cause) -> the model of one cause.

    Returns:
        (k, causes, m) probability of each event by the end of each interval.
    """
    train, further = tamed(train, further)
    known = standard(train)
    rows, others = (np.clip(known.apply(t), -FAR, FAR) for t in (train, further))
    logits = []
    for cause in range(1, max(outcomes.causes, default=1) + 1):
        model = fit(rows, outcomes, cause)
        alone = model.incidence(others, edges[1:])
        before = np.concatenate([np.zeros((len(alone), 1)), alone[:, :-1]], axis=1)
        hazard = np.clip((alone - before) / np.maximum(1 - before, 1e-9), 1e-9, 1 - 1e-9)
        logits.append(np.log(hazard / (1 - hazard)))
    return incidence_of(np.stack(logits, axis=1))


def tamed(train: np.ndarray, further: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take the logarithm of columns that are positive and far from even, as sizes and energies are."""
    train, further = train.copy(), further.copy()
    for at in range(train.shape[1]):
        known = train[~np.isnan(train[:, at]), at]
        if known.size < 3 or known.min() <= 0 or known.std() == 0:
            continue
        if (((known - known.mean()) / known.std()) ** 3).mean() > SKEWED:
            for table in (train, further):
                # Half of the smallest training value stands for what is smaller or not positive.
                table[:, at] = np.log(np.maximum(table[:, at], known.min() / 2))
    return train, further


def _boosted(train: np.ndarray, outcomes: Outcomes, further: np.ndarray, edges: np.ndarray, seed: int) -> np.ndarray:
    """Boost trees on one row for each patient and interval: a hazard in discrete time that finds interactions.

    Source: Schmid 2016, doi:10.1007/s10260-015-0344-9 (trees on discrete hazards); histogram gradient boosting: Ke
    2017, Advances in Neural Information Processing Systems 30.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415

    at_risk, kind = labelled(outcomes, edges)
    patient, interval = np.nonzero(at_risk)
    causes = max(outcomes.causes, default=1)
    y = kind[patient, interval]
    model = HistGradientBoostingClassifier(
        learning_rate=RATE,
        max_iter=TREES,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=LEAST_IN_LEAF,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )
    model.fit(np.column_stack([train[patient], interval]), y)
    n, m = len(further), edges.size - 1
    spread = np.column_stack([np.repeat(further, m, axis=0), np.tile(np.arange(m), n)])
    found: Any = model.predict_proba(spread)
    p = np.full((n * m, causes + 1), 1e-9)
    p[:, model.classes_.astype(int)] = np.maximum(found, 1e-9)
    logits = np.log(p[:, 1:] / p[:, :1]).reshape(n, m, causes).transpose(0, 2, 1)
    # An event that no interval of the training patients holds stays as rare as in all of them together.
    absent = [c for c in range(1, causes + 1) if c not in model.classes_]
    if absent:
        base = marginal_logits(outcomes, edges, causes)
        logits[:, [c - 1 for c in absent]] = base[[c - 1 for c in absent]]
    return incidence_of(logits)


OUTCOME_BASELINES: dict[str, OutcomeBaseline] = {
    baseline.name: baseline
    for baseline in (
        OutcomeBaseline(
            "Kaplan-Meier",
            "Gives every patient the curve of all training patients and looks at nothing.",
            "",
            _everybody,
        ),
        OutcomeBaseline(
            "Cox on clinical columns",
            "A weighted sum of the clinical columns multiplies the risk; a penalty keeps the weights small.",
            "clinical",
            _cox,
        ),
        OutcomeBaseline(
            "volume of the region",
            "The logarithm of the volume of the drawn region alone multiplies the risk.",
            "volume",
            _cox,
        ),
        OutcomeBaseline(
            "boosted trees on radiomics",
            "Small decision trees, each correcting the sum of those before, on the radiomics features of the region.",
            "radiomics",
            _boosted,
        ),
        OutcomeBaseline(
            "Cox on radiomics",
            "A weighted sum of the radiomics features of the region multiplies the risk; a penalty keeps it small.",
            "radiomics",
            _cox,
        ),
    )
}

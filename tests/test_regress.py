"""Numbers with intervals: what the network says, what calibration makes of it, how it is judged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from lucency.calibration import Calibration
from lucency.case import Case, Cohort, Source
from lucency.errors import DataError
from lucency.metrics import agreement
from lucency.tasks import Batch, Judged, task_named
from lucency.tasks.regress import conformal_quantile
from tiny import plan_for

REGRESS = task_named("regress")
IMAGE = {"image": (Source(("a.npz",), "", "npz"),)}
PLAN = plan_for("regress", classes=(), task_options={"centre": 50.0, "scale": 10.0, "coverage": 0.9, "dropout": 0.0})


def judged(truth: np.ndarray, value: np.ndarray) -> list[Judged]:
    return [
        Judged(f"{k}", f"{k}", "", "", {}, {"truth": t, "value": v, "mae": abs(t - v)})
        for k, (t, v) in enumerate(zip(truth.tolist(), value.tolist(), strict=True))
    ]


def cohort(targets: list[str | float | None]) -> Cohort:
    cases = tuple(Case(f"{k:03d}", f"{k}", IMAGE, t) for k, t in enumerate(targets))
    return Cohort(cases, {}, frozenset(), classes=tuple(sorted({t for t in targets if isinstance(t, str)})))


def test_numbers_are_its_own_and_number_like_classes_only_when_nothing_else_is_asked() -> None:
    assert REGRESS.suits(cohort([1.5, 2.5, None])) == 1
    assert 0 < REGRESS.suits(cohort(["1", "2", "3"])) < 0.5
    assert REGRESS.suits(cohort(["1", "2", "b"])) == 0
    assert REGRESS.suits(cohort([None])) == 0


def test_a_target_that_is_no_number_is_refused() -> None:
    assert REGRESS.target(Case("a", "a", IMAGE, "7"), PLAN) == 7
    with pytest.raises(DataError, match="not a number"):
        REGRESS.target(Case("a", "a", IMAGE, "seven"), PLAN)


def test_the_network_begins_by_saying_mean_and_deviation_of_the_training_part() -> None:
    net = REGRESS.build(PLAN)["net"].eval()
    with torch.no_grad():
        said = net(torch.randn(3, 1, 16, 16))
    assert said[:, 0].numpy() == pytest.approx(50, abs=3)
    assert said[:, 1].numpy() == pytest.approx(10, abs=2)


def test_the_loss_is_least_where_value_and_deviation_are_those_of_the_data() -> None:
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.normal(60, 5, 4000)).float()

    def loss(value: float, spread: float) -> float:
        net = torch.nn.Module()
        net.forward = lambda images: torch.tensor([[value, spread]]).expand(len(images), 2)
        batch = Batch(torch.zeros(len(truth), 1), truth, {"scale": 10.0})
        # The weight by the variance takes no gradient; for one constant it is divided out.
        found = next(iter(REGRESS.losses({"net": net}, batch, torch.Generator())))[1]
        return float(found) / (spread / 10)

    best = loss(60, 5)
    assert all(loss(*other) > best for other in ((58, 5), (62, 5), (60, 4), (60, 6.5)))


@pytest.mark.parametrize("kind", ["relative", "constant"])
def test_intervals_hold_on_new_cases_at_the_stated_frequency(kind: str) -> None:
    """Noise as the network states it, or noise that it knows nothing of: the interval holds for 90 % of new cases."""
    rng = np.random.default_rng(1)

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        spread = rng.uniform(1, 9, n)
        noise = rng.normal(0, spread) if kind == "relative" else rng.normal(0, 3, n)
        stated = spread / 2 if kind == "relative" else rng.lognormal(0, 2, n)
        value = rng.uniform(0, 100, n)
        return np.stack([value, stated], axis=1), value + noise

    outputs, truth = drawn(1500)
    found = REGRESS.calibrate(list(outputs), list(truth), PLAN, rng)
    assert kind in found.extra
    outputs, truth = drawn(4000)
    held, widths = [], []
    for output, number in zip(outputs, truth, strict=True):
        prediction = REGRESS.decode(output, Case("a", "a", IMAGE, float(number)), None, PLAN, found)  # type: ignore[arg-type]
        assert prediction.lower is not None
        assert prediction.upper is not None
        held.append(prediction.lower <= number <= prediction.upper)
        widths.append(prediction.upper - prediction.lower)
    assert np.mean(held) == pytest.approx(0.9, abs=0.02)
    if kind == "constant":
        assert np.ptp(widths) == pytest.approx(0)
        # 90 % of a normal distribution lie within 1.645 standard deviations.
        assert np.mean(widths) == pytest.approx(2 * 1.645 * 3, rel=0.1)


def test_with_too_few_cases_no_interval_is_claimed() -> None:
    found = REGRESS.calibrate([np.array([1.0, 1.0])] * 8, [1.0] * 8, PLAN, np.random.default_rng(0))
    prediction = REGRESS.decode(np.array([5.0, 1.0]), Case("a", "a", IMAGE, 5.0), None, PLAN, found)  # type: ignore[arg-type]
    assert (prediction.value, prediction.lower, prediction.upper) == (5.0, None, None)


def test_the_rank_of_the_conformal_quantile_is_that_of_the_finite_sample() -> None:
    # 99 cases: the 90th smallest, since (99 + 1) × 0.9 = 90.
    assert conformal_quantile(np.arange(1.0, 100.0), 0.9) == 90
    # 9 cases: the largest; 8 cases would need the 8.1-th.
    assert conformal_quantile(np.arange(1.0, 10.0), 0.9) == 9
    assert conformal_quantile(np.arange(1.0, 9.0), 0.9) is None


def test_measures_are_those_of_textbooks() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(50, 10, 60)
    value = truth * 0.9 + rng.normal(3, 4, 60)
    found = REGRESS.measure(judged(truth, value), PLAN, rng).metrics
    change = value - truth
    assert next(iter(found)) == "mae"
    assert found["mae"].value == pytest.approx(np.abs(change).mean())
    assert found["rmse"].value == pytest.approx(np.sqrt((change**2).mean()))
    assert found["r2"].value == pytest.approx(1 - (change**2).sum() / ((truth - truth.mean()) ** 2).sum())
    r = stats.pearsonr(truth, value).statistic
    lin = 2 * r * truth.std() * value.std() / (truth.var() + value.var() + (truth.mean() - value.mean()) ** 2)
    assert found["ccc"].value == pytest.approx(lin)
    assert found["bias"].value == pytest.approx(change.mean())
    assert found["limit_upper"].value == pytest.approx(change.mean() + 1.959964 * change.std(ddof=1))
    assert found["limit_lower"].value == pytest.approx(change.mean() - 1.959964 * change.std(ddof=1))
    assert all(m.lower is not None and m.upper is not None and m.lower < m.value < m.upper for m in found.values())


def test_weights_count_cases_as_often_as_they_say() -> None:
    truth, value = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    weights = np.array([[2.0, 0.0, 1.0]])
    twice, guess = np.array([1.0, 1.0, 4.0]), np.array([1.5, 1.5, 3.0])
    once = np.ones((1, 3))
    for function in (agreement.concordance, agreement.explained_variance, agreement.root_mean_squared_error):
        assert function(truth, value, weights) == pytest.approx(function(twice, guess, once))


def test_a_smaller_error_is_the_better_one() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(50, 10, 40)
    near, far = truth + rng.normal(0, 1, 40), truth + rng.normal(0, 8, 40)
    difference, p, _ = REGRESS.compare(judged(truth, near), judged(truth, far), PLAN, rng)
    assert difference.value < 0
    assert difference.best == 0
    assert p is not None
    assert p < 0.001


def test_an_uncalibrated_prediction_has_a_value_and_no_interval(tmp_path: Path) -> None:
    prediction = REGRESS.decode(np.array([55.0, 5.0]), Case("a", "a", IMAGE, 50.0), None, PLAN, Calibration())  # type: ignore[arg-type]
    assert (prediction.value, prediction.lower) == (55.0, None)
    assert prediction.doubt == pytest.approx(0.5)
    assert REGRESS.score(prediction, Case("a", "a", IMAGE, 50.0), PLAN) == {"truth": 50, "value": 55, "mae": 5}

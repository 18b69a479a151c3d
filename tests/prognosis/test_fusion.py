"""What the branches are worth is learned from patients that neither saw."""

import numpy as np
import pytest
import torch

from lucency.calibration import Calibration
from lucency.prognosis.fusion import even, fit_fusion, fusion_of, group_of
from lucency.prognosis.network import KnownNorm, PrognoseNet, branches_of, cox_loss, hazard_loss
from lucency.survival.intervals import edges_of, incidence_of, labelled
from lucency.survival.outcome import Outcomes


def patients(n=400, seed=0):
    """Patients whose log hazard is known."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    time, end = rng.exponential(600 * np.exp(-risk)), rng.uniform(100, 2000, n)
    return Outcomes(np.minimum(time, end), (time <= end).astype(int)), risk, rng


def raw(*branches, m):
    """Branches of one risk each, (n, branches, 1, m)."""
    return np.stack([np.tile(b[:, None, None], (1, 1, m)) for b in branches], axis=1)


def test_a_branch_that_knows_counts_and_one_that_guesses_does_not():
    outcomes, risk, rng = patients()
    edges = edges_of(outcomes.time[outcomes.event > 0])
    found = fit_fusion(raw(risk, 3 * rng.normal(size=400), m=len(edges) - 1), outcomes, edges, 365.0)
    assert found.weight[0] == pytest.approx(1.0, abs=0.2)
    assert found.weight[1] < 0.1


def test_the_level_is_that_of_the_patients():
    outcomes, risk, _ = patients()
    edges = edges_of(outcomes.time[outcomes.event > 0])
    # The network's own level is far off; the fused one is not.
    outputs = raw(risk - 7, m=len(edges) - 1)
    found = fit_fusion(outputs, outcomes, edges, 365.0)
    incidence = incidence_of(found.logits(outputs))[:, 0]
    at = len(edges) // 2
    came = (outcomes.time <= edges[at + 1])[outcomes.event > 0].sum() / len(outcomes)
    assert incidence[:, at].mean() == pytest.approx(came, abs=0.12)
    assert incidence_of(even((1, 1, len(edges) - 1)).logits(outputs))[:, 0, at].mean() < 0.1 * came


def test_what_was_learned_survives_the_calibration_file():
    outcomes, risk, rng = patients(80)
    edges = edges_of(outcomes.time[outcomes.event > 0])
    outputs = raw(risk, rng.normal(size=80), m=len(edges) - 1)
    found = fit_fusion(outputs, outcomes, edges, 365.0)
    back = fusion_of(Calibration(extra=found.extra).extra)
    assert back is not None
    assert np.array_equal(back.logits(outputs), found.logits(outputs))
    assert fusion_of(Calibration().extra) is None


@pytest.mark.parametrize(("n", "groups"), [(80, 3), (40, 2)])
def test_risk_groups_are_of_like_size(n, groups):
    outcomes, risk, _ = patients(n)
    edges = edges_of(outcomes.time[outcomes.event > 0])
    outputs = raw(risk, m=len(edges) - 1)
    found = fit_fusion(outputs, outcomes, edges, 365.0)
    at = int(np.searchsorted(edges, 365.0) - 1)
    sizes = np.bincount(group_of(incidence_of(found.logits(outputs))[:, 0, at], found.cuts))
    assert len(sizes) == groups
    assert sizes.max() - sizes.min() <= 2


def test_the_hazard_learns_the_risk_that_is_there():
    outcomes, risk, _ = patients(300)
    edges = edges_of(outcomes.time[outcomes.event > 0])
    at_risk, kind = (torch.from_numpy(a) for a in labelled(outcomes, edges))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = PrognoseNet(None, 2, (1, len(edges) - 1), dropout=0.0, proportional=True)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    facts = torch.from_numpy(np.stack([risk, -risk], axis=1)).float()
    facts[::7, 1] = torch.nan
    for _ in range(80):
        loss = hazard_loss(branches_of(net(torch.zeros(300, 1, 1, 1), facts))[:, 0], at_risk, kind)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    learned = branches_of(net.eval()(torch.zeros(300, 1, 1, 1), facts))[:, 0, 0, 0].detach().numpy()
    assert np.corrcoef(learned, risk)[0, 1] > 0.95
    assert 0.6 < np.polyfit(risk, learned, 1)[0] < 1.4


def test_partial_likelihood_by_hand():
    # Days 1 (event), 2 (censored), 3 (event): log(e⁰ + e¹ + e²) - 0, then log(e²) - 2 = 0; mean of two events.
    loss = cox_loss(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True]))
    assert float(loss) == pytest.approx(np.log(1 + np.e + np.e**2) / 2)
    assert float(cox_loss(torch.zeros(2), torch.ones(2), torch.zeros(2, dtype=torch.bool))) == 0


def test_missing_values_are_the_mean_with_a_flag_and_only_training_moves_it():
    norm = KnownNorm(2)
    x = torch.tensor([[1.0, torch.nan], [3.0, torch.nan]])
    for _ in range(400):
        norm(x)
    norm.eval()
    found = norm(torch.tensor([[3.0, torch.nan], [torch.nan, 7.0]]))
    assert found[0].tolist() == pytest.approx([1.0, 0.0, 0.0, 1.0], abs=0.01)
    # A column that training never saw says nothing, whatever it holds.
    assert found[1].tolist() == pytest.approx([0.0, 0.0, 1.0, 0.0], abs=5.01)
    before = norm.mean.clone()
    norm(torch.full((4, 2), 99.0))
    assert torch.equal(norm.mean, before)

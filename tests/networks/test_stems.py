"""Stems of modalities: what is missing has no say, and what is left out in training is left out as often as said."""

import numpy as np
import pytest
import torch
from torch import nn

from lucency.errors import UsageError
from lucency.networks import body, every_network, options_of
from lucency.networks.stems import Stems, present, thinned

OPTIONS = {"stems": (1.0, 2.0), "modality_dropout": 0.3}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_a_modality_is_there_unless_it_is_zero_throughout():
    x = torch.randn(3, 3, 4, 5)
    x[0, 0] = 0.0
    x[1, 1:] = 0.0
    x[2, 1] = 0.0  # one of two channels: still there
    assert present(torch.split(x, [1, 2], dim=1)).tolist() == [[0, 1], [1, 0], [1, 1]]


def test_the_mean_is_over_those_that_are_there():
    """Worked out by hand: with one of two there the result is its own stem, not half of it."""
    stems = Stems((1, 1), 2, 0.3).eval()
    both = torch.randn(1, 2, 6, 6)
    one, other = both.clone(), both.clone()
    one[:, 1], other[:, 0] = 0.0, 0.0
    assert torch.allclose(stems(both), (stems(one) + stems(other)) / 2, atol=1e-6)
    rectified = nn.functional.leaky_relu(stems.stems[0](both[:, :1]), 0.01)
    assert torch.allclose(stems(one), rectified, atol=1e-6)


def test_a_missing_modality_has_no_say_whatever_its_stem_has_learned():
    stems = Stems((1, 1), 3, 0.3).eval()
    x = torch.randn(2, 2, 4, 4, 4)
    x[:, 1] = 0.0
    before = stems(x)
    nn.init.normal_(stems.stems[1].weight)
    nn.init.normal_(stems.bias[1])
    assert torch.equal(stems(x), before)


def test_what_is_there_may_shift_the_features():
    stems = Stems((1, 1), 2, 0.3).eval()
    x = torch.randn(1, 2, 4, 4)
    with torch.no_grad():
        before = stems(x)
        stems.given[1] += 1.0
    assert torch.allclose(stems(x), before + 1.0, atol=1e-6)
    x[:, 1] = 0.0
    assert not torch.allclose(stems(x), before + 1.0, atol=1e-2)


def test_modalities_are_left_out_as_often_as_said_and_never_all():
    """0.3 each: both at once 0.09, and then both stay, so each is missing in 0.3 - 0.09 = 0.21 of the images."""
    there = torch.ones(40_000, 2)
    kept = thinned(there, 0.3)
    assert kept.sum(dim=1).min() == 1
    assert np.allclose(1 - kept.mean(dim=0), 0.21, atol=0.01)


def test_what_is_missing_stays_missing_when_more_is_left_out():
    there = torch.tensor([[1.0, 0.0, 1.0]]).repeat(2000, 1)
    kept = thinned(there, 0.5)
    assert (kept[:, 1] == 0).all()
    assert kept.sum(dim=1).min() == 1


def test_nothing_is_left_out_when_the_network_answers():
    stems = Stems((1, 1), 2, 0.9).eval()
    x = torch.randn(8, 2, 5, 5)
    assert torch.equal(stems(x), stems(x))
    stems.train()
    assert not torch.equal(stems(x), stems.eval()(x))


@pytest.mark.parametrize("name", [n for n in every_network() if not every_network()[n].sequence])
@pytest.mark.parametrize("dims", [2, 3])
def test_every_network_takes_stems_and_answers_without_a_modality(name, dims):
    assert {"stems", "modality_dropout"} <= set(options_of(name))
    net = body(name, 3, dims, OPTIONS).eval()
    x = torch.randn(2, 3, *(8, 8, 8)[:dims])
    whole = net(x)
    x[:, 1:] = 0.0
    lacking = net(x)
    assert [m.shape for m in whole] == [m.shape for m in lacking]
    assert [m.shape[1] for m in whole] == list(net.channels)
    assert all(torch.isfinite(m).all() for m in lacking)
    assert not torch.allclose(whole[0], lacking[0], atol=1e-3)


def test_without_dropout_there_are_no_stems():
    plain = body("cnn", 3, 2, {})
    same = body("cnn", 3, 2, {**OPTIONS, "modality_dropout": 0.0})
    assert list(plain.state_dict()) == list(same.state_dict())


def test_an_image_without_any_modality_gives_finite_numbers():
    assert torch.isfinite(Stems((1, 1), 2, 0.3).train()(torch.zeros(2, 2, 4, 4))).all()


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 2.0])
def test_a_chance_outside_zero_to_one_is_refused(dropout):
    with pytest.raises(UsageError, match="modality_dropout"):
        Stems((1, 1), 2, dropout)

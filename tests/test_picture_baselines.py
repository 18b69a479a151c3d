"""Images made without a network: each does what it says and nothing more."""

import numpy as np
import pytest

from lucency.baselines import PICTURE_BASELINES
from lucency.errors import DataError


def pairs(relation, n=6, size=(1, 12, 12), channels=1):
    rng = np.random.default_rng(0)
    given = [rng.normal(size=(channels, *size)).astype(np.float32) for _ in range(n)]
    return given, [relation(g).astype(np.float32) for g in given]


def fitted(name, given, wanted):
    return PICTURE_BASELINES[name].fit(given, wanted, np.random.default_rng(0))


def test_the_mean_is_voxel_by_voxel_where_all_have_one_size():
    given, wanted = pairs(lambda g: np.full(g.shape[1:], 2.0) + np.arange(12))
    assert np.allclose(fitted("mean image", given, wanted).predict(given[0]), wanted[0])
    mixed = [*wanted[:-1], wanted[-1][:, :6]]
    one = fitted("mean image", [*given[:-1], given[-1][:, :, :6]], mixed).predict(given[0])
    assert one.shape == (1, 12, 12)
    assert np.allclose(one, 2 + np.arange(12).mean())


def test_the_lookup_learns_any_relation_of_intensities_falling_or_not():
    given, wanted = pairs(lambda g: np.abs(g[0]) * -3)
    made = fitted("intensity lookup", given, wanted).predict(given[0])
    assert np.abs(made - wanted[0]).mean() < 0.1
    assert np.corrcoef(made.ravel(), wanted[0].ravel())[0, 1] > 0.98


@pytest.mark.parametrize("size", [(1, 12, 12), (5, 10, 10)])
def test_the_neighbourhood_learns_a_shift_of_one_column(size):
    # At the edge the first column stands for the one outside.
    given, wanted = pairs(lambda g: np.concatenate([g[0][..., :1], g[0][..., :-1]], axis=2) * 2 + 1, size=size)
    made = fitted("linear neighbourhood", given, wanted).predict(given[0])
    assert np.abs(made - wanted[0]).max() < 0.05


def test_the_neighbourhood_uses_every_channel():
    given, wanted = pairs(lambda g: g[0] - 2 * g[1], channels=2)
    assert np.abs(fitted("linear neighbourhood", given, wanted).predict(given[0]) - wanted[0]).max() < 0.02


@pytest.mark.parametrize("name", PICTURE_BASELINES)
def test_what_is_no_pair_is_refused(name):
    given, wanted = pairs(lambda g: g[0])
    with pytest.raises(DataError, match="0 images and 6 wanted ones"):
        fitted(name, [], wanted)
    with pytest.raises(DataError, match=r"with one of \(1, 12, 6\)"):
        fitted(name, given, [w[:, :, :6] for w in wanted])

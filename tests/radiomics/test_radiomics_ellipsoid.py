"""Depth within the ellipsoid of equal moments, against bodies whose surface is known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lucency.radiomics import ellipsoid


def true_depth(size, centre, axes, degrees):
    """1 less the radius in units of the ellipsoid's own, for (J, I) or (K, J, I)."""
    at = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1) - np.array(centre)
    if len(size) == 2:
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.array([[c, -s], [s, c]])
    else:
        turn = Rotation.from_euler("xyz", [degrees, 20, 50], degrees=True).as_matrix()
    return 1 - np.linalg.norm((at @ turn) / np.array(axes), axis=-1)


@pytest.mark.parametrize(
    ("size", "centre", "axes"),
    [((90, 120), (43.3, 61.8), (18.0, 31.0)), ((40, 50, 60), (19.6, 24.1, 30.2), (9.0, 14.0, 20.0))],
)
@pytest.mark.parametrize("degrees", [0, 25, 110])
def test_an_ellipsoid_is_its_own_and_depth_is_that_of_its_rays(size, centre, axes, degrees):
    true = true_depth(size, centre, axes, degrees)
    flat = true if true.ndim == 3 else true[None]
    found = ellipsoid.depth(flat > 0)
    near = np.abs(flat) < 0.3
    assert found[near] == pytest.approx(flat[near], abs=0.02)
    wrong = (found > 0) != (flat > 0)
    assert wrong.sum() < 0.02 * (flat > 0).sum()
    assert found.max() <= 1
    # Beyond the window that is looked at nothing is inside.
    assert (found[flat < -1] < 0).all()


def test_a_border_that_wobbles_is_gone_through_in_the_middle():
    true = true_depth((120, 160), (60, 80), (30.0, 45.0), 30)[None]
    j, i = np.mgrid[:120, :160]
    wobble = 0.08 * np.sin(7 * np.arctan2(j - 60, i - 80) + 1)
    spoiled = true > wobble
    made = ellipsoid.depth(spoiled) > 0
    overlap = [2 * (m & (true > 0)).sum() / (m.sum() + (true > 0).sum()) for m in (spoiled, made)]
    assert overlap[1] > overlap[0] + 0.02


def test_a_bite_and_a_bulge_are_left_out():
    true = true_depth((120, 160), (60, 80), (30.0, 45.0), 30)[None]
    spoiled = true > 0
    spoiled[0, 55:66, 40:60] = False
    spoiled[0, 85:97, 100:115] = True
    overlap = [
        2 * (m & (true > 0)).sum() / (m.sum() + (true > 0).sum())
        for m in (spoiled, ellipsoid.depth(spoiled) > 0, ellipsoid.fitted(spoiled) > 0)
    ]
    assert overlap[2] > max(overlap[:2]) + 0.015


def test_an_ellipse_is_fitted_by_itself():
    true = true_depth((120, 160), (60, 80), (30.0, 45.0), 30)[None]
    assert np.array_equal(ellipsoid.fitted(true > 0) > 0, ellipsoid.depth(true > 0) > 0)
    assert ellipsoid.fitted(np.zeros((1, 20, 20), dtype=bool)) is None


@pytest.mark.parametrize(
    "inside", [np.s_[:, 0:30, 40:70], np.s_[:, 90:99, 20:60], np.s_[:, 50:54, 50:54], np.s_[:, :0]]
)
def test_what_is_cut_off_or_tiny_has_none(inside):
    mask = np.zeros((1, 99, 120), dtype=bool)
    mask[inside] = True
    assert ellipsoid.depth(mask) is None


def test_a_line_has_an_ellipse_as_thin_as_a_pixel():
    mask = np.zeros((1, 60, 90), dtype=bool)
    mask[0, 30, 20:70] = True
    found = ellipsoid.depth(mask)
    assert np.argwhere(found > 0)[:, 1].tolist() == [30] * int((found > 0).sum())

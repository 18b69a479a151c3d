"""From the network's numbers to stored ones and back."""

import numpy as np
import pytest

from lucency.plan import DECISIONS, Grid, Normalisation, Plan, Schedule
from lucency.prepare import normalise
from lucency.translation.scale import places_of, scale_of

REASONS = dict.fromkeys(DECISIONS, "for a test")


def plan(normalisation, **options):
    return Plan(
        task="translate",
        network="unet",
        network_options={"widths": (4.0, 8.0), "stems": (2.0, 1.0)},
        channels=3,
        modalities=("a", "b"),
        made=("b",),
        dims=2,
        grid=Grid("fit", (1, 8, 8)),
        patch=(1, 8, 8),
        batch=2,
        normalisation=normalisation,
        augmentation={},
        schedule=Schedule(2),
        precision="fp32",
        folds=(0,),
        seed=0,
        minutes=1.0,
        reasons=REASONS,
        task_options=options,
    )


FIXED = Normalisation("fixed", (0, 0, -1024), (9, 9, 3071), (4, 4, -500), (2, 2, 400))
MIXED = Normalisation("mixed", (0, 0, 0), (9, 9, 0), (4, 4, 0), (2, 2, 0))


def test_channels_are_counted_past_those_of_the_modalities_before():
    assert places_of(plan(FIXED)) == ((0, 1), (2,))
    assert plan(FIXED).inputs == ("a",)
    assert plan(FIXED).spares
    assert plan(FIXED).patterns == ()


@pytest.mark.parametrize("seed", range(3))
def test_hounsfield_units_come_back_exactly(seed):
    stored = np.random.default_rng(seed).integers(-1024, 3072, (3, 1, 8, 8)).astype(np.int16)
    own = plan(FIXED, wanted_whole=True, wanted_unit="HU")
    back = scale_of(own).stored(normalise(stored.astype(np.float32), own)[2:])
    assert back.dtype == np.int16
    assert np.array_equal(back, stored[2:])
    assert scale_of(own).span == 4095


def test_numbers_outside_the_range_are_cut_and_bytes_stay_bytes():
    own = plan(Normalisation("fixed", (0,) * 3, (255,) * 3, (100,) * 3, (50,) * 3), wanted_whole=True)
    made = scale_of(own).stored(np.array([[[[-9.0, 0.0, 9.0, 1.0]]]]))
    assert made.dtype == np.uint8
    assert made.ravel().tolist() == [0, 100, 255, 150]


def test_a_modality_without_a_scale_gets_the_usual_one_on_both_sides():
    """Two images of one patient that differ by a factor are one image here; what is made is in usual numbers."""
    own = plan(MIXED, wanted_mean=300.0, wanted_std=50.0, wanted_low=0.0, wanted_high=900.0)
    scale = scale_of(own)
    assert (scale.fixed, scale.mean, scale.std) == (False, 300.0, 50.0)
    image = np.random.default_rng(0).normal(10, 2, (1, 16, 16))
    assert np.allclose(scale.comparable(image), scale.comparable(1000 * image + 7))
    assert scale.comparable(image).mean() == pytest.approx(300, abs=1)
    assert scale.stored(np.zeros((1, 1, 2, 2)))[0, 0, 0, 0] == 300


def test_mixed_normalisation_is_fixed_where_it_has_a_deviation():
    array = np.stack([np.full((1, 4, 4), 4.0), np.full((1, 4, 4), 6.0), np.arange(16.0).reshape(1, 4, 4)])
    found = normalise(array, plan(MIXED))
    assert found[0].max() == 0
    assert found[1].max() == 1
    assert found[2].mean() == pytest.approx(0, abs=1e-6)

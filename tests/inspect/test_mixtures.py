"""Sets whose numbers do not mean the same: said, with what training makes of it; and nothing said of sound sets."""

from dataclasses import replace

import pytest

from lucency import text
from lucency.inspect import ImageFacts
from lucency.inspect.mixtures import mixtures


def facts(case, **other):
    made = ImageFacts(
        case, "image", 0, (1, 8, 8), (1.0, 1.0, 1.0), True, "uint16", 1, 0.0, 4000.0, 900.0, 300.0, "d", ""
    )
    return replace(made, **other)


@pytest.mark.parametrize(
    ("odd", "word", "said_zh"),
    [
        ({"inverted": True}, "1 of 4 images are stored inverted (MONOCHROME1, such as odd)", "反相存储"),
        ({"unit": "HU"}, "numbers without a unit (3, such as a), HU (1, such as odd)", "单位不一致"),
        ({"dtype": "uint8", "maximum": 255.0}, "1 of 4 images have 8 bits (such as odd)", "8 位"),
    ],
)
def test_images_whose_numbers_mean_something_else_passed_silently(odd, word, said_zh):
    (said,) = mixtures([*(facts(c) for c in "abc"), facts("odd", **odd)])
    assert word in said
    assert said_zh in text.sentence(said, "zh")
    assert "images" not in text.sentence(said, "zh")


def test_modalities_may_differ_from_each_other():
    assert mixtures([facts("a", modality="ct", unit="HU"), facts("a", modality="pet", unit="SUV")]) == []


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"dtype": "int16"},
        {"dtype": "uint8", "maximum": 4000.0 / 4 + 1},  # 4000 is less than four times that: one scale
    ],
)
def test_nothing_is_said_of_images_on_one_scale(other):
    assert mixtures([facts("a"), facts("b"), facts("c", **other)]) == []


def test_calibrated_numbers_mean_the_same_in_any_type():
    assert mixtures([facts("a", unit="HU", dtype="int16"), facts("b", unit="HU", dtype="uint8", maximum=200.0)]) == []

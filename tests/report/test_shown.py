"""Which slice of a case is shown, and how its numbers become grey."""

import numpy as np
import pytest

from lucency.case import Case, Prediction, Source
from lucency.evaluate import Shown
from lucency.image import Image, diagonal_affine
from lucency.report import picture


@pytest.mark.parametrize("inverted", [False, True])
def test_an_image_stored_inverted_is_turned_round_for_the_eye(inverted):
    header = {"inverted": True} if inverted else {}
    source = Source(("a.dcm",), "", "dicom", header=header)
    ramp = np.linspace(0, 1000, 101)[None, None, None, :] * np.ones((1, 1, 4, 1))
    shown = Shown(
        Case("a", "p", {"image": (source,)}),
        Image(ramp, diagonal_affine((1, 1, 1))),
        None,
        Prediction("a", "", probabilities={"x": 1.0}),
    )
    grey = picture(shown).image
    assert grey.shape == (4, 101)
    assert (grey[0, 0], grey[0, -1]) == ((1.0, 0.0) if inverted else (0.0, 1.0))

"""What a user asks of the walk is refused before it begins."""

import pytest

from lucency.errors import UsageError
from lucency.synthesize.asked import Ask


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("dcgn", "did you mean 'dcgan'"),
        ("dcgan:size=huge", "Size 'huge'"),
        ("dcgan:wide=yes", "wide=yes"),
    ],
)
def test_a_generator_that_there_is_not_is_refused_at_once(word, said):
    with pytest.raises(UsageError, match=said):
        Ask(generator=word)


def test_what_there_is_is_taken():
    assert Ask(generator="rflow:few=yes").generator == "rflow:few=yes"
    assert Ask().generator == ""

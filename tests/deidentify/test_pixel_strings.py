"""The quick search for the beginnings of names in pixels, against the slow one for whole runs of letters."""

import numpy as np
import pytest

from lucency.deidentify import rescan

NEEDLES = ("smithson", "mrn-4471902", "19610304")


def noise(n=20_000, seed=0, dtype="<i2"):
    """Return pixels like those of soft tissue: small numbers, many of which are letters."""
    return np.random.default_rng(seed).normal(60, 30, n).astype(dtype).tobytes()


@pytest.mark.parametrize("encoding", ["ascii", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("needle", NEEDLES)
@pytest.mark.parametrize("place", [0, 1, 4242, 9999])
def test_a_string_is_never_passed_over(encoding, needle, place):
    for form in (needle, needle.upper(), needle.title()):
        content = noise()
        hidden = form.encode(encoding)
        content = content[:place] + hidden + content[place + len(hidden) :]
        assert rescan._may_hold(content, NEEDLES)
        assert rescan._may_hold(content[: place + len(hidden)], NEEDLES)


@pytest.mark.parametrize("seed", range(5))
def test_what_it_lets_pass_holds_no_run_with_the_string(seed):
    content = noise(seed=seed)
    if not rescan._may_hold(content, NEEDLES):
        runs = rescan._text_in(content, 1) + rescan._text_in(content, 2)
        assert not any(n.encode() in runs for n in NEEDLES)


def test_most_pixels_pass():
    passed = [not rescan._may_hold(noise(2_000, seed, dtype), NEEDLES) for seed in range(10) for dtype in ("u1", "<i2")]
    assert sum(passed) >= 18


@pytest.mark.parametrize("content", [b"", b"s", b"smi", b"s\0m\0"])
def test_too_few_bytes_hold_nothing(content):
    assert not rescan._may_hold(content, NEEDLES)


def test_with_many_strings_the_slow_search_decides():
    assert rescan._may_hold(b"", [f"{n:04}xyz" for n in range(rescan.FEW + 1)])

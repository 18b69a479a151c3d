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
    assert rescan._may_hold(noise(), [f"{n:04}xyz" for n in range(rescan.FEW + 1)])


def around(kind, n, rng):
    """Return pixels of one kind: any bytes, CT in Hounsfield units, nothing but letters, nothing."""
    made = {
        "bytes": rng.integers(0, 256, n, np.uint8),
        "ct": rng.integers(-1000, 100, n // 2 + 1).astype("<i2").view(np.uint8)[:n],
        "letters": rng.integers(20, 130, n // 2 + 1).astype("<u2").view(np.uint8)[:n],
        "nothing": np.zeros(n, np.uint8),
    }
    return made[kind].tobytes()


@pytest.mark.parametrize("kind", ["bytes", "ct", "letters", "nothing"])
@pytest.mark.parametrize("encoding", ["ascii", "utf-16-le", "utf-16-be"])
def test_words_of_two_bytes_tell_of_a_string_wherever_it_lies(kind, encoding):
    rng = np.random.default_rng(3)
    for number in range(150):
        sought = ("smithson", "harri", "mrn-447")[number % 3]
        base, hidden = around(kind, int(rng.integers(1, 300)), rng), sought.upper().encode(encoding)
        place = int(rng.integers(0, len(base) + 1))
        content = base[:place] + hidden + base[place : int(rng.integers(place, len(base) + 1))]
        assert rescan._may_hold(content, [sought])
        assert sought.encode() in rescan._text_in(content, 1) + rescan._text_in(content, 2)


def test_numbers_of_ct_cannot_be_letters():
    # -1000 is 0xFC18 and 40 is 0x0028: no two words in a row lie from 0x2000 to 0x7A7A, no four from 0x20 to 0x7A.
    content = np.tile(np.array([-1000, 40, 40, 40, 300, 20], "<i2"), 500).tobytes()
    words = np.frombuffer(content, "<u2")
    assert not rescan._in_a_row(words, 0x2000, 0x7A7A, 2).size
    assert not rescan._in_a_row(words, 0x20, 0x7A, rescan.WIDE_WORDS).size
    assert not rescan._may_hold(content, NEEDLES)

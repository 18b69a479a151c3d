"""The pieces by which strings are looked up never hide one that a pattern fits."""

import re

import numpy as np
import pytest

from lucency.deidentify.keys import Identities
from lucency.deidentify.spellings import MONTHS, birth_spellings, folded, identifier_pattern, name_patterns

FAMILIES = ("Müller", "Smith-Jones", "Li", "Wang", "O'Neil", "Aue", "Lee", "Weiß", "Jørgensen", "Ebert", "van", "Head")
FAMILIES += ("Wu", "Ng", "Koenig", "Øst", "Eis", "Ueber")
GIVEN = ("Anna Maria", "Jo", "Wei", "Xiao Ming", "J.", "E.", "Ed", "Otto", "Ue", "Aé")
NUMBERS = ("MRN-0012345", "0004711", "ACC 77 88 12", "47112345", "ab-e12x", "Ä4711x", "000", "12", "e-e-778899")
PHRASES = ("St. Elsewhere", "Eastern Clinic", "x", "Ueberlingen")


def a_person(rng):
    """Return names, numbers, birth dates and phrases of somebody."""
    name = f"{rng.choice(FAMILIES)}^{rng.choice(GIVEN)}" + rng.choice(["", "", "=王^小明", "=李^四"])
    birth = f"{rng.integers(1920, 2020)}{rng.integers(1, 13):02}{rng.integers(1, 29):02}"
    return {name}, {str(rng.choice(NUMBERS))}, {birth}, {str(rng.choice(PHRASES))}


def spoiled(rng, person):
    """Return a text that names somebody in one of many spellings, or nearly."""
    names, numbers, births, phrases = (next(iter(group)) for group in person)
    parts = [p for p in re.split(r"[\^ ]+", str(rng.choice(names.split("=")))) if p]
    spell = (str, str.lower, str.upper, lambda p: p.replace("ü", "ue"), lambda p: p.replace("ß", "ss"), lambda p: p[0])
    words = [spell[rng.integers(len(spell))](p) for p in rng.permutation(parts)]
    y, m, d = births[:4], births[4:6], births[6:]
    month = MONTHS[int(m) - 1].title()
    told = [
        str(rng.choice(["", " ", "_", ", ", "-", "."])).join(words),
        str(rng.choice([numbers, numbers.lower(), re.sub(r"\D", "", numbers).lstrip("0"), " ".join(numbers)])),
        str(rng.choice([births, f"{d}.{m}.{y}", f"{int(d)}/{int(m)}/{y[2:]}", f"{int(d)}th {month} {y}", d + m + y])),
        str(rng.choice([f"{month} {d}, {y}", f"{y}年{int(m)}月{d}日", f"{y[2:]} {int(m)} {int(d)}"])),
        phrases.upper(),
    ]
    around = rng.choice(["a ", "ae", "e", "x ", ""]), rng.choice([" CT", "e", "", ",5"])
    return around[0] + told[rng.integers(len(told))] + around[1]


def found_by_patterns(text, *people):
    """Tell whether any pattern of any person's strings fits, one after the other."""
    plain = folded(text)
    for names, numbers, births, phrases in people:
        patterns = [p for n in names for p in name_patterns(n)]
        patterns += [p for n in numbers for p in identifier_pattern(n)]
        patterns += [p for b in births for p in birth_spellings(b)]
        patterns += [rf"(?<!\w){re.escape(folded(p))}(?!\w)" for p in phrases if len(p) >= 5]
        if any(re.search(p, plain) for p in patterns):
            return True
    return False


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n", [1, 6])
def test_looking_up_finds_what_trying_every_pattern_finds(seed, n):
    rng = np.random.default_rng([seed, n])
    answers = set()
    for _ in range(40):
        people = [a_person(rng) for _ in range(n)]
        known = Identities.union(Identities(*map(frozenset, (*p[:3], (), p[3]))) for p in people)
        text = " ".join(spoiled(rng, people[rng.integers(n)] if rng.random() < 0.7 else a_person(rng)) for _ in "ab")
        expected = found_by_patterns(text, *people)
        assert known.found_in(text) is expected, (people, text)
        left = known.scrub(text)
        assert not found_by_patterns(left, *people), (people, text, left)
        assert expected or left == text
        answers.add(expected)
    assert answers == {True, False}


def test_ten_thousand_patients_were_tried_one_after_the_other():
    from lucency.deidentify import matching

    made = Identities(
        frozenset(f"Family{chr(97 + n % 26)}{n:05}x^Given" for n in range(10_000)),
        frozenset(str(7_000_000 + 37 * n) for n in range(10_000)),
    )
    matching._pattern.cache_clear()
    assert not made.found_in("CT CHEST w/o contrast 5.0 B30f")
    assert matching._pattern.cache_info().misses == 0  # no pattern was put together for a text that names nobody
    assert made.found_in("ID 7000037")
    assert matching._pattern.cache_info().misses < 10
    assert made.scrub("for familyb00001x, 5 mm").split() == ["for", ",", "5", "mm"]

"""A search for the strings of one patient or of ten thousand, in any spelling, at much the same price.

Each string has patterns (:mod:`lucency.deidentify.spellings`), and anchors: short pieces one of which stands in every
text that a pattern fits, once blanks, signs and the ``e`` of spelled-out umlauts are gone. Looking for the pieces is
cheap however many there are; the patterns of a string are put together, and tried, only where one of its pieces was
found.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache

from lucency.deidentify.spellings import (
    LONG_MONTHS,
    MONTHS,
    birth_spellings,
    folded,
    identifier_pattern,
    is_wide,
    name_patterns,
    variants_of,
)

#: Letters of a piece by which it is looked up.
GRAM = 3
#: Signs and blanks, which may stand between the parts of a name or a number; letters beyond ASCII stay.
SIGNS = re.compile(r"[\s\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+")
SPELLED_OUT = re.compile(r"([aou])e")
#: Shorter phrases are abbreviations that occur everywhere.
SHORTEST_PHRASE = 5


class Matcher:
    """Finds strings in texts.

    Args:
        strings: Pairs of a kind (``"name"``, ``"number"``, ``"date"``, ``"phrase"``) and a string of it.
    """

    def __init__(self, strings: Iterable[tuple[str, str]]) -> None:
        self._owners: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for kind, text in sorted(set(strings)):
            for anchor in _anchors(kind, text):
                self._owners[anchor].append((kind, text))
        self._by_gram: dict[str, list[str]] = defaultdict(list)
        for anchor in self._owners:
            self._by_gram[anchor[:GRAM]].append(anchor)
        self._sizes = sorted({len(g) for g in self._by_gram})

    def found_in(self, text: str) -> bool:
        """Tell whether any of the strings occurs in ``text``."""
        plain = folded(text)
        return any(p.search(plain) for p in self._candidates(plain))

    def scrub(self, text: str) -> str:
        """Return ``text`` without the strings."""
        # What stood on both sides of one that went may be another; each round makes the text shorter.
        while True:
            plain = folded(text)
            spans = sorted(m.span() for p in self._candidates(plain) for m in p.finditer(plain))
            if not spans:
                return text
            out, end = [], 0
            for start, stop in spans:
                out.append(text[end : max(start, end)])
                end = max(stop, end)
            text = "".join([*out, text[end:]])

    def _candidates(self, plain: str) -> Iterator[re.Pattern[str]]:
        """Yield the patterns of the strings one of whose pieces stands in a folded text."""
        if not self._owners:
            return
        bare = _bare(plain)
        anchors = self._standing_in(bare) if len(self._owners) > len(bare) else (a for a in self._owners if a in bare)
        for owner in dict.fromkeys(o for a in anchors for o in self._owners[a]):
            pattern = _pattern(*owner)
            if pattern is not None:
                yield pattern

    def _standing_in(self, bare: str) -> Iterator[str]:
        for size in self._sizes:
            for gram in {bare[i : i + size] for i in range(len(bare) - size + 1)}:
                for anchor in self._by_gram.get(gram, ()):
                    if anchor in bare:
                        yield anchor


def _bare(plain: str) -> str:
    """Return a folded text without signs, blanks and the second letter of spelled-out umlauts."""
    return SPELLED_OUT.sub(r"\1", SIGNS.sub("", plain).replace("ß", "ss"))


@cache
def _pattern(kind: str, text: str) -> re.Pattern[str] | None:
    """Return what finds a string in a folded text; None for one that names nobody."""
    patterns = sorted(set(_patterns(kind, text)), key=lambda p: (-len(p), p))
    return re.compile("|".join(patterns)) if patterns else None


def _patterns(kind: str, text: str) -> Iterator[str]:
    if kind == "phrase":
        if len(text.strip()) >= SHORTEST_PHRASE:
            yield r"(?<!\w)" + re.escape(folded(text.strip())) + r"(?!\w)"
        return
    yield from {"name": name_patterns, "number": identifier_pattern, "date": birth_spellings}[kind](text)


def _anchors(kind: str, text: str) -> set[str]:
    """Return pieces of which at least one stands, bare, in every text that a pattern of the string fits.

    An ``e`` in front is left out: whether it stays in a bare text depends on the letter before it.
    """
    if kind == "date":
        return _anchors_of_date(text)
    if kind == "number":
        whole = "".join(re.split(r"[^0-9a-z\u0080-\uffff]+", folded(text.strip(" \0"))))
        runs = set(re.findall(r"\d{6,}", whole)) - {whole}
        return {(whole.lstrip("0") or whole) if whole.isdigit() else _bare(whole).lstrip("e"), *runs}
    if kind == "phrase":
        return {_bare(folded(text.strip())).lstrip("e")}
    found: set[str] = set()
    for variant in variants_of(text):
        parts = [p.strip(".") for p in variant]
        for n, part in enumerate(parts):
            if len(part) >= GRAM or (is_wide(part) and len(part) > 1):
                found.add(_bare(part).lstrip("e"))
                continue
            # A short part counts only beside another one, or its initial.
            for other in (o for m, o in enumerate(parts) if m != n and o):
                found |= {_bare(piece).lstrip("e") for piece in (part + other[0], other[0] + part)}
    return found


def _anchors_of_date(date: str) -> set[str]:
    """Return the bare spellings of :func:`birth_spellings`, each as far as it is the same with and without a zero."""
    if not date.isdigit() or not 1 <= int(date[4:6] or 0) <= len(MONTHS):
        return set()
    year, month, day = date[:4], date[4:6], date[6:]
    several_m, several_d = {month, month.lstrip("0")}, {day, day.lstrip("0")}
    m, d = month.lstrip("0"), day.lstrip("0")
    named = MONTHS[int(month) - 1]
    several_names = {named, named + LONG_MONTHS[int(month) - 1]}
    return (
        {d + mm + yy for mm in several_m for yy in (year, year[2:])}
        | {m + dd + yy for dd in several_d for yy in (year, year[2:])}
        | {year[2:] + mm + dd for mm in several_m for dd in several_d}
        | {f"{d}{th}{named}" for th in ("", "st", "nd", "rd", "th")}
        | {_bare(name) + dd for name in several_names for dd in several_d}
        | {f"年{mm}月{dd}日" for mm in several_m for dd in several_d}
    )

"""Many people looked for at once: whole words only, found by looking them up.

The search for one patient knows every spelling. For all the patients of a run, that would take a pattern per patient
for each value, and common words and short numbers would give alarm after alarm. Here only what names a person by
itself counts: a family name of five letters, two parts side by side, a number of six characters. A field that holds
a single word (QIICR, HEADNECK) is no person's name.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from lucency.deidentify.spellings import NOBODY, folded, one_spelling
from lucency.deidentify.vocabulary import is_ordinary

#: Letters of the shortest part of a name that counts alone, and characters of the shortest number.
SHORTEST_NAME, SHORTEST_NUMBER = 5, 6
#: Characters of the longest name in Chinese, Japanese or Korean writing that is looked for.
LONGEST_WIDE = 6
WORD = re.compile(r"[^\W_]+")
CHUNK, DIGITS = re.compile(r"[^\s,;\\]+"), re.compile(r"\d{6,}")
WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2,}")
#: Makers, and words for people and places of work: they stand in name fields and in the files of everybody.
_COMMON = """
philips siemens healthineers toshiba canon hitachi fujifilm agfa kodak carestream hologic samsung shimadzu mindray
united imaging neusoft varian elekta bruker esaote konica minolta general electric healthcare medical systems
lucency dicom annex table slicer observer reader operator physician technologist radiologist doctor hospital clinic
research study subject volunteer person organization
"""
COMMON = frozenset(_COMMON.split())


@dataclass(frozen=True)
class PlainStrings:
    """Words, pairs of words and numbers in one spelling each.

    Args:
        words: Parts of names.
        pairs: Two parts of one name, in either order.
        numbers: Letters and digits of identifiers, without leading zeros.
        wide: Whole names in writing without blanks.
    """

    words: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    numbers: frozenset[str]
    wide: frozenset[str]

    @classmethod
    def of(cls, names: Iterable[str], numbers: Iterable[str]) -> "PlainStrings":
        """Return what counts of names (PN values) and identifiers."""
        words: set[str] = set()
        pairs: set[tuple[str, str]] = set()
        wide: set[str] = set()
        for group in (g for name in names for g in name.split("=")):
            if WIDE.search(group):
                wide.add("".join(WORD.findall(folded(group))))
                continue
            parts = [p for p in WORD.findall(folded(group)) if p not in NOBODY and not p.isdigit()]
            telling = [p for p in parts if not _says_little(p)]
            family = set(WORD.findall(folded(group.split("^")[0])))
            if len(parts) > 1 or "^" in group:
                words.update(one_spelling(p) for p in telling if len(p) >= SHORTEST_NAME and p in family)
            told = [p for p in parts if len(p) > 1][:4]
            pairs.update(
                (one_spelling(a), one_spelling(b)) for a in told for b in told if a != b and {a, b} & set(telling)
            )
        kept = {n for n in map(_digested, numbers) if len(n) >= SHORTEST_NUMBER}
        return cls(
            frozenset(words),
            frozenset(pairs),
            frozenset(n for n in kept if n not in NOBODY | COMMON and not is_ordinary(n)),
            frozenset(w for w in wide if 2 <= len(w) <= LONGEST_WIDE and not is_ordinary(w)),
        )

    def found_in(self, text: str, *, alone: bool = True) -> bool:
        """Tell whether any of them stands in ``text`` as a whole.

        Args:
            text: Any text.
            alone: Whether a family name by itself counts; where places are named after people, it does not.

        Example:
            >>> PlainStrings.of(["MUELLER^Anna"], ["00471-12-34"]).found_in("V2 for Müller")
            True
        """
        return next(self._spans(folded(text), alone), None) is not None

    def scrub(self, text: str, *, alone: bool = True) -> str:
        """Return ``text`` without them; other words stay as they were written.

        Args:
            text: Any text.
            alone: See :meth:`found_in`.

        Example:
            >>> PlainStrings.of(["MUELLER^Anna"], ["00471-12-34"]).scrub("V2 for Müller, ID 471-12-34")
            'V2 for , ID '
        """
        # What stood on both sides of a name that went may be a name itself; each round makes the text shorter.
        while spans := sorted(self._spans(folded(text), alone)):
            out, end = [], 0
            for start, stop in spans:
                out.append(text[end : max(start, end)])
                end = max(stop, end)
            text = "".join([*out, text[end:]])
        return text

    def _spans(self, plain: str, alone: bool) -> Iterator[tuple[int, int]]:
        """Yield where in a folded text one of them stands; spans may lie over each other."""
        found = [m.span() for m in WORD.finditer(plain)]
        spelled = [one_spelling(plain[start:stop]) for start, stop in found]
        if alone:
            yield from (s for s, w in zip(found, spelled, strict=True) if w in self.words)
        if self.pairs:
            for n, pair in enumerate(pairwise(spelled)):
                if pair in self.pairs:
                    yield found[n][0], found[n + 1][1]
        if self.numbers:
            yield from (span for number, span in _numbers(plain, found) if number in self.numbers)
        if self.wide:
            yield from ((i, i + len(w)) for i, w in _wide(plain) if w in self.wide)


def _says_little(word: str) -> bool:
    """Tell whether a folded word is a common one, or two words of radiology written as one (headneck)."""
    halves = ((word[:i], word[i:]) for i in range(3, len(word) - 2))
    return is_ordinary(word) or word in COMMON or any(is_ordinary(a) and is_ordinary(b) for a, b in halves)


def _digested(number: str) -> str:
    return "".join(WORD.findall(folded(number))).lstrip("0")


def _numbers(plain: str, words: list[tuple[int, int]]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield what may be an identifier: words, words in pieces (471-12-34), long runs of digits within words."""
    yield from ((plain[start:stop].lstrip("0"), (start, stop)) for start, stop in words)
    for chunk in CHUNK.finditer(plain):
        yield _digested(chunk[0]), chunk.span()
    for run in DIGITS.finditer(plain):
        yield run[0].lstrip("0"), run.span()


def _wide(plain: str) -> Iterator[tuple[int, str]]:
    for run in WIDE.finditer(plain):
        text = run[0]
        for i in range(len(text) - 1):
            yield from ((run.start() + i, text[i : i + n]) for n in range(2, min(LONGEST_WIDE, len(text) - i) + 1))

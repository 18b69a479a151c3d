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

from lucency.deidentify.spellings import NOBODY, folded
from lucency.deidentify.vocabulary import is_ordinary

#: Letters of the shortest part of a name that counts alone, and characters of the shortest number.
SHORTEST_NAME, SHORTEST_NUMBER = 5, 6
#: Characters of the longest name in Chinese, Japanese or Korean writing that is looked for.
LONGEST_WIDE = 6
WORD = re.compile(r"[^\W_]+")
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
                words.update(_spelled(p) for p in telling if len(p) >= SHORTEST_NAME and p in family)
            told = [p for p in parts if len(p) > 1][:4]
            pairs.update((_spelled(a), _spelled(b)) for a in told for b in told if a != b and {a, b} & set(telling))
        kept = {n for n in map(_digested, numbers) if len(n) >= SHORTEST_NUMBER}
        return cls(
            frozenset(words),
            frozenset(pairs),
            frozenset(n for n in kept if n not in NOBODY | COMMON and not is_ordinary(n)),
            frozenset(w for w in wide if 2 <= len(w) <= LONGEST_WIDE and not is_ordinary(w)),
        )

    def found_in(self, text: str) -> bool:
        """Tell whether any of them stands in ``text`` as a whole.

        Example:
            >>> PlainStrings.of(["MUELLER^Anna"], ["00471-12-34"]).found_in("V2 for Müller")
            True
        """
        plain = folded(text)
        words = WORD.findall(plain)
        spelled = [_spelled(w) for w in words]
        return (
            any(w in self.words for w in spelled)
            or any(pair in self.pairs for pair in pairwise(spelled))
            or any(n in self.numbers for n in _numbers(plain, words))
            or (bool(self.wide) and any(w in self.wide for w in _wide(plain)))
        )


def _says_little(word: str) -> bool:
    """Tell whether a folded word is a common one, or two words of radiology written as one (headneck)."""
    halves = ((word[:i], word[i:]) for i in range(3, len(word) - 2))
    return is_ordinary(word) or word in COMMON or any(is_ordinary(a) and is_ordinary(b) for a, b in halves)


def _spelled(word: str) -> str:
    """Return one spelling for a folded word: that of ``mueller`` is that of ``muller``."""
    return re.sub(r"([aou])e", r"\1", word).replace("ß", "ss")


def _digested(number: str) -> str:
    return "".join(WORD.findall(folded(number))).lstrip("0")


def _numbers(plain: str, words: list[str]) -> Iterator[str]:
    """Yield what may be an identifier: words, words in pieces (471-12-34), long runs of digits within words."""
    yield from (w.lstrip("0") for w in words)
    yield from (_digested(chunk) for chunk in re.split(r"[\s,;\\]+", plain))
    yield from (run.lstrip("0") for run in re.findall(r"\d{6,}", plain))


def _wide(plain: str) -> Iterator[str]:
    for run in WIDE.findall(plain):
        yield from (run[i : i + n] for n in range(2, LONGEST_WIDE + 1) for i in range(len(run) - n + 1))

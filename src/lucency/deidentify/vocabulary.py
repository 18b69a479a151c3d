"""Descriptions keep only the words of a controlled vocabulary; what is not known to be harmless is dropped.

Source:
    DICOM PS3.15, E.3.5 Clean Descriptors Option.
"""

import re
from functools import cache
from importlib import resources

from lucency.deidentify.spellings import folded

#: Short numbers, sizes and codes of slices, coils and vertebrae: they tell what was scanned and name nobody. A bare
#: number has at most three digits (a fourth would let years and short IDs through).
HARMLESS = re.compile(
    r"\d{1,3}(?:[.,]\d{1,3})?(?:mm|cm|ml|s|sec|min|ms|kv|kvp|kev|ma|mas|t|hz|d|x|%|hu|gy|f|st|nd|rd|th)?"
    r"|\d{1,3}(?:\.\d{1,3})?[x*/]\d{1,3}(?:\.\d{1,3})?(?:[x*/]\d{1,3}(?:\.\d{1,3})?)?(?:mm|cm)?"
    r"|[ctls]\d{1,2}(?:[-/][ctls]?\d{1,2})?|b\d{1,4}|t[12]w?\*?|[hbi]\d{2}[fshm]|p\d|r\d|te\d{1,3}|tr\d{1,4}|v\d{1,2}"
)
#: What stands between words. Hyphens, slashes and pluses may also stand within one (T1-weighted, w/o, C+).
SEPARATORS = re.compile(r"[\s,;:_^()\[\]{}<>=&|\\!?\"']+|\.(?=\s|$)")
INNER = re.compile(r"[-/+*.]+")
#: Three groups of digits are a date in some order; so is a number beside the name of a month (English, German, French).
_MONTH = r"(?:jan|feb|fev|mar|mrz|apr|avr|may|mai|jun|juin|jul|juil|aug|aout|sep|oct|okt|nov|dec|dez)(?:[a-z]{0,7})"
DATE = re.compile(
    r"(?<!\d)(?<!\d[.,])\d{1,4}(?:\s*[./,_\-]\s*\d{1,4}){2}(?![.,]?\d)"
    rf"|(?<!\d)\d{{1,4}}(?:st|nd|rd|th)?[\s./,_\-]*(?<![a-z]){_MONTH}(?![a-z])[\s./,_\-]*\d{{0,4}}"
    rf"|(?<![a-z]){_MONTH}(?![a-z])[\s./,_\-]*\d{{1,4}}(?:st|nd|rd|th)?(?:[\s./,_\-]+\d{{2,4}})?"
    r"|\d{1,4}\s*年(?:\s*\d{1,2}\s*月)?(?:\s*\d{1,2}\s*日)?|\d{1,2}\s*月\s*\d{1,2}\s*日"
)
#: Groups of digits in a row: a number written in pieces, unless they are as few as two short ones.
RUN = re.compile(r"(?<!\d)(?<!\d[.,])\d+(?:[\s\-/_()]+\d+)+(?![.,]?\d)")
#: Digits of the shortest number that is looked for in pieces.
LONG_RUN = 6


@cache
def words() -> frozenset[str]:
    """Return the vocabulary, in lower case."""
    text = resources.files("lucency.deidentify").joinpath("data/vocabulary.txt").read_text("utf-8")
    return frozenset(w for line in text.splitlines() if not line.startswith("#") for w in line.split())


def is_ordinary(word: str) -> bool:
    """Tell whether a folded word belongs to the vocabulary."""
    return word in words()


def _harmless(word: str) -> bool:
    plain = folded(word)
    if plain in words() or HARMLESS.fullmatch(plain):
        return True
    if any("一" <= c <= "鿿" for c in plain):
        return _segmented(plain)
    pieces = [p for p in INNER.split(plain) if p]
    if sum(p.isdigit() for p in pieces) > 2:
        return False
    return len(pieces) > 1 and all(p in words() or HARMLESS.fullmatch(p) for p in pieces)


def _segmented(plain: str) -> bool:
    """Tell whether a run of Chinese, written without blanks, is made of words of the vocabulary only."""
    longest = 6
    while plain:
        step = next((n for n in range(min(longest, len(plain)), 0, -1) if plain[:n] in words()), 0)
        if not step:
            return False
        plain = plain[step:].lstrip("+-/")
    return True


def described(text: str) -> str:
    """Return the words of ``text`` that are known to be harmless, in order, with single blanks.

    Example:
        >>> described("CT CHEST w/o contrast 5.0 B30f, Dr. Brown, room 4711")
        'CT CHEST w/o contrast 5.0 B30f'
        >>> described("头颅平扫+增强 王小明")
        '头颅平扫+增强'
    """
    return " ".join(w for w in SEPARATORS.split(_without_dates(text)) if w and _harmless(w))


def _without_dates(text: str) -> str:
    """Return the text with a comma for each date and each number written in pieces."""
    plain = folded(text)
    spans = [m.span() for m in DATE.finditer(plain)]
    spans += [m.span() for m in RUN.finditer(plain) if _is_number(m[0])]
    kept = list(text)
    for start, stop in spans:
        kept[start:stop] = "," * (stop - start)
    return "".join(kept)


def _is_number(run: str) -> bool:
    return sum(map(str.isdigit, run)) >= LONG_RUN or len(re.findall(r"\d+", run)) > 2

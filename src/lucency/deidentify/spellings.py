"""The spellings in which a name, a number or a date may turn up in free text."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import permutations

#: German and Nordic letters that are spelled out where umlauts are not at hand; both spellings are searched.
SPELLED_OUT = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa", "æ": "ae"}
#: Separators between the parts of a name or number.
GAP = r"[\s^,;._\-=/\\]*"
#: What may stand between any two digits of a number.
LOOSE = r"[\s._\-/]{0,2}"
#: Not within a longer word. Digits may adjoin a name ("smith2"); an underscore separates.
LEFT, RIGHT = r"(?<![^\W\d_])", r"(?![^\W\d_])"
#: Shorter parts of a name (Li, Wu, Ng) are looked for only together with another part.
SHORTEST_PART = 3
#: Shorter numbers cannot be told from measurements.
SHORTEST_NUMBER = 4
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
#: Full names of the months after their first three letters.
LONG_MONTHS = ("uary", "ruary", "ch", "il", "", "e", "y", "ust", "tember", "ober", "ember", "ember")
#: Titles and fillers in name fields that name nobody.
_TITLES = ("dr", "prof", "mr", "mrs", "ms", "md", "phd", "jr", "sr", "ii", "iii", "the", "and", "first", "last")
_PARTICLES = ("von", "van", "der", "den", "de", "la", "le", "del")
_FILLERS = ("anonymous", "anonymized", "anonymised", "anon", "unknown", "none", "null", "na", "n/a", "patient", "test")
NOBODY = frozenset((*_TITLES, *_PARTICLES, *_FILLERS, "removed", "deidentified", "noname", "name"))

#: An age above 89 in words: few people are that old (US 45 CFR 164.514(b)(2)(i)(C)). English, German, French, Spanish,
#: Chinese; over folded text.
_OLD = r"(?<![\d.,])0*(?:9\d|1[0-4]\d)(?:[.,]\d+)?(?!\d)"
_YEARS = (
    r"(?:(?:years?|yrs?|y)[\s./\-]*(?:olds?|of[\s\-]+age|o)?"
    r"|ja(?:e)?hrige?[mnrs]?|jahren?|jahre?|ans|anos)(?![^\W\d_])"
)
GREAT_AGE = re.compile(
    rf"{_OLD}[\s\-]*{_YEARS}(?:[\s\-]+alt)?"
    rf"|(?<![^\W_])(?:aged?|alter)(?:\s+(?:of|von|is|at))?[\s:=]*{_OLD}"
    rf"|(?<![^\W_])(?:he|she|sie|er|elle|il|ella)\s+(?:is|was|ist|war|est|tiene)\s+{_OLD}(?=\s*(?:$|[.,;:)]|and\b|und\b))"
    rf"|{_OLD}\s*(?:周岁|岁|歲)|年[龄齡]\s*[:：=为]?\s*{_OLD}"
)


@cache
def _one(letter: str) -> str:
    """Return a letter in lower case without its accent: always one letter, so that places in a text agree."""
    low = letter.lower()
    plain = unicodedata.normalize("NFKD", low)
    first = next((c for c in plain if not unicodedata.combining(c)), low[:1])
    return first if len(low) == 1 else low[:1]


def folded(text: str) -> str:
    """Return ``text`` in lower case without accents, letter by letter.

    Example:
        >>> folded("MÜLLER, José")
        'muller, jose'
    """
    return text.lower() if text.isascii() else "".join(map(_one, text))


def one_spelling(word: str) -> str:
    """Return one spelling for a folded word: that of ``mueller`` is that of ``muller``."""
    return re.sub(r"([aou])e", r"\1", word).replace("ß", "ss")


def without_great_ages(text: str) -> str:
    """Return ``text`` without ages above 89 years; younger ages stay.

    Example:
        >>> without_great_ages("a 95-year-old man, 40 years of smoking")
        'a  man, 40 years of smoking'
    """
    if not any(c in text for c in "19"):
        return text
    out, end = [], 0
    for found in GREAT_AGE.finditer(folded(text)):
        out.append(text[end : found.start()])
        end = found.end()
    return "".join([*out, text[end:]])


def _spelled_out(part: str) -> str:
    return "".join(SPELLED_OUT.get(c, c) for c in unicodedata.normalize("NFC", part.lower()))


def _letters(part: str) -> str:
    """Return a pattern for one part of a name: ``mueller`` also finds ``muller``, the folded ``müller``."""
    return re.sub(r"([aou])e", r"\1e?", re.escape(part)).replace("ss", "(?:ss|ß)")


def is_wide(part: str) -> bool:
    """Chinese, Japanese and Korean are written without blanks: no word ends to look for."""
    return any(unicodedata.east_asian_width(c) in "WF" for c in part)


def name_patterns(name: str) -> Iterator[str]:
    """Yield patterns over folded text for one person name with its component groups.

    Args:
        name: PN value, ``Family^Given^Middle^Prefix^Suffix=ideographic=phonetic``.
    """
    for variant in variants_of(name):
        yield from _of_parts(variant)


def variants_of(name: str) -> Iterator[tuple[str, ...]]:
    """Yield the folded parts of a person name that name somebody, for each group and way to spell umlauts.

    Args:
        name: See :func:`name_patterns`.
    """
    for group in name.split("="):
        parts = [p for p in re.split(r"[\^\s,]+", group.strip(" \0*")) if p]
        parts = [p for p in parts if p.lower().strip(".") not in NOBODY and any(c.isalpha() for c in p)]
        yield from sorted({tuple(map(folded, parts)), tuple(folded(_spelled_out(p)) for p in parts)})


def _of_parts(parts: tuple[str, ...]) -> Iterator[str]:
    from lucency.deidentify.vocabulary import is_ordinary  # noqa: PLC0415 - the list is read when first needed

    wide = [p for p in parts if is_wide(p)]
    if wide:
        yield from (re.escape(p) for p in wide if len(p) >= 2)
        if len(wide) > 1:
            yield GAP.join(map(re.escape, wide[:2]))
            yield GAP.join(map(re.escape, wide[1::-1]))
        return
    # A part that is also an ordinary word of radiology (Head, Foot, Long) says nothing by itself.
    yield from (LEFT + _letters(p) + RIGHT for p in parts if len(p) >= SHORTEST_PART and not is_ordinary(p))
    long = [p.strip(".") for p in parts if len(p.strip(".")) > 1]
    for first, second in permutations(long[:4], 2):
        yield LEFT + _letters(first) + GAP + _letters(second) + RIGHT
    for family, given in permutations(long[:3], 2):
        # jsmith, smithj, j.smith: the forms of user names and signatures
        if len(family) >= SHORTEST_PART:
            yield LEFT + re.escape(given[0]) + r"[._\-]?" + _letters(family) + RIGHT
        # W. Li; Head, P.
        yield LEFT + re.escape(given[0]) + r"\.[\s_]*" + _letters(family) + RIGHT
        yield LEFT + _letters(family) + r"\s*,\s*" + re.escape(given[0]) + RIGHT


def identifier_pattern(number: str) -> Iterator[str]:
    """Yield patterns over folded text for a number such as a Patient ID, with and without its separators.

    An ID that is a word of radiology (HEAD, PHANTOM) is none: it would go from Body Part Examined and Image Type.
    """
    from lucency.deidentify.vocabulary import is_ordinary  # noqa: PLC0415 - the list is read when first needed

    plain = folded(number.strip(" \0"))
    pieces = [p for p in re.split(r"[^0-9a-z\u0080-\uffff]+", plain) if p]
    whole = "".join(pieces)
    if len(whole) < SHORTEST_NUMBER or whole in NOBODY or set(whole) <= {"0"} or is_ordinary(whole):
        return
    edges = (r"(?<![^\W_])", r"(?![^\W_])")
    yield edges[0] + GAP.join(map(re.escape, pieces)) + edges[1]
    # 4711234 is also written 471-12-34 or 471 12 34.
    if len(whole) >= 6 and whole.isdigit():
        yield edges[0] + LOOSE.join(whole) + edges[1]
    # MRN-4471902 is also known as 4471902.
    yield from (rf"(?<!\d){p}(?!\d)" for p in re.findall(r"\d{6,}", whole) if p != whole)
    short = whole.lstrip("0")
    if whole.isdigit() and len(short) >= 5 and short != whole:
        yield edges[0] + "0*" + short + edges[1]


def birth_spellings(date: str) -> Iterator[str]:
    """Yield patterns over folded text for the spellings of one date.

    Args:
        date: ``YYYYMMDD``; anything else yields nothing.
    """
    if not re.fullmatch(r"[12]\d{3}(0[1-9]|1[0-2])([0-2][1-9]|[123]0|31)", date):
        return
    year, month, day = date[:4], date[4:6], date[6:]
    m, d = f"0?{int(month)}", f"0?{int(day)}"
    named = f"{MONTHS[int(month) - 1]}(?:{LONG_MONTHS[int(month) - 1]})?[.,]?"
    short_year = f"(?:{year}|{year[2:]})"
    forms = [
        year + month + day,
        day + month + year,
        month + day + year,
        rf"{short_year}[\s./\-]{m}[\s./\-]{d}",
        rf"{d}[\s./\-]{m}[\s./\-]{short_year}",
        rf"{m}[\s./\-]{d}[\s./\-]{short_year}",
        rf"{d}(?:st|nd|rd|th)?[\s.\-]*{named}[\s.\-]*{short_year}",
        rf"{named}\s*{d}(?:st|nd|rd|th)?,?\s*{year}",
        rf"{year}年\s*{m}月\s*{d}日",
    ]
    yield from (rf"(?<!\d){form}(?!\d)" for form in forms)

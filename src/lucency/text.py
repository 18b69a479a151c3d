"""Every sentence the program shows, in English and Chinese side by side in ``text.toml``."""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from string import Formatter

from lucency.errors import UsageError

#: Languages in the order of the two columns of ``text.toml``.
LANGUAGES = ("en", "zh")

#: What ends a part of a compound sentence, with its Chinese counterpart.
CLOSING = {".": "\u3002", ";": "\uff1b", ":": "\uff1a", "!": "\uff01", "?": "\uff1f"}

#: Where a compound sentence may come apart.
JOINT = re.compile(r"(?<=[.;:!?])\s+")

#: A number as the rooms write them: 7, -3.5, 1,200, 1e-05.
NUMBER = r"-?\d(?:[\d.,]*\d)?(?:e[+-]?\d+)?"


def t(key: str, lang: str, /, **values: object) -> str:
    """Return the message ``key`` in ``lang`` with its placeholders filled.

    Args:
        key: ``"section.name"`` as in ``text.toml``.
        lang: ``"en"`` or ``"zh"``.
        values: One for each placeholder of the message.

    Raises:
        UsageError: No such language.
        KeyError: No such message, or a placeholder without a value; both are faults of the calling code.

    Example:
        >>> t("report.fold", "en", number=2)
        'fold 2'
    """
    column = _column(lang)
    filled = _messages()[key][column].format(**values)
    return _spaced(filled) if column else filled


def counted(key: str, n: int, lang: str, /, **values: object) -> str:
    """Return the message ``key`` about ``n`` things, in the form for none or one where the catalogue has it.

    Args:
        key: As for :func:`t`; the forms are ``key_none`` and ``key_one``.
        n: How many; fills the placeholder ``{n}``.
        lang: ``"en"`` or ``"zh"``.
        values: For the other placeholders.

    Example:
        >>> counted("demo.unseen", 1, "en").split()[-2:], counted("demo.unseen", 2, "en").split()[-2:]
        (['1', 'nodule.'], ['2', 'nodules.'])
    """
    form = key + {0: "_none", 1: "_one"}.get(n, "")
    return t(form if known(form) else key, lang, n=n, **values)


def name(section: str, word: str, lang: str) -> str:
    """Return the display name of a registry word, or the word itself where the catalogue has none.

    Tasks, metrics, networks and baselines may come from a plug-in that the catalogue does not know.

    Example:
        >>> name("metric", "auc", "en"), name("metric", "my_score", "en")
        ('AUC', 'my score')
        >>> name("baseline", "Cox on radiomics", "zh")
        '影像组学 Cox 模型'
    """
    key = f"{section}.{word.replace(' ', '_')}"
    entry = _messages().get(key) or _messages().get(key.lower())
    return entry[_column(lang)] if entry else word.replace("_", " ")


def known(key: str) -> bool:
    """Tell whether the catalogue has this message."""
    return key in _messages()


def keys() -> tuple[str, ...]:
    """Return the keys of all messages, in file order."""
    return tuple(_messages())


def sentence(text: str, lang: str) -> str:
    """Translate a sentence that another room wrote in English; in English say "1 file" for "1 files".

    Rooms write their reasons and notes in English into files that a person may open; the report translates those
    that match a template under ``[sentences]``. The whole text is tried first, then the longest runs of its parts,
    which end at a full stop, semicolon or colon; what matches no template stays English, because a reason in another
    language is better than none.

    Args:
        text: One or more English sentences, or parts of them joined by ``"; "`` or ``": "``.
        lang: ``"en"`` or ``"zh"``.

    Example:
        >>> sentence("3 images carry no label.", "zh")
        '3 幅图像没有标签。'
        >>> sentence("1 of 34 images have no mask: kept as unlabelled.", "en")
        '1 of 34 images has no mask: kept as unlabelled.'
        >>> sentence("3 images carry no label; patient bootstrap, 2000", "zh")
        '3 幅图像没有标签；患者自助法，2000 次'
    """
    if not text:
        return text
    if _column(lang) == 0:
        return _of_one(text)
    whole = _translate(text)
    return _compound(text) if whole is None else whole


def placeholders(message: str) -> frozenset[str]:
    """Return the names of the placeholders of one message."""
    return frozenset(field for _, field, _, _ in Formatter().parse(message) if field)


def _spaced(text: str) -> str:
    """Set a space between Chinese characters and Latin letters or figures, as Chinese typesetting does."""
    text = re.sub(r"(?<=[\u4e00-\u9fff])(?=[A-Za-z0-9])", " ", text)
    return re.sub(r"(?<=[A-Za-z0-9%])(?=[\u4e00-\u9fff])", " ", text)


def _column(lang: str) -> int:
    if lang not in LANGUAGES:
        raise UsageError(f"Language {lang!r}", expected="en or zh", where="--lang")
    return LANGUAGES.index(lang)


@cache
def _messages() -> Mapping[str, tuple[str, str]]:
    """Return key to (English, Chinese)."""
    return {f"{section}.{key}": (en, zh) for section, key, (en, zh, *_) in _entries() if section != "sentences"}


@cache
def _singulars() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return each English template that has a form for one thing as a pattern, with that form."""
    return tuple((_pattern(en), one[0]) for section, _, (en, _, *one) in _entries() if section == "sentences" and one)


def _of_one(text: str) -> str:
    """Return an English sentence that counts one thing as one says it; every other as it is."""
    if not re.search(r"\b1 ", text):
        return text
    for pattern, one in _singulars():
        found = pattern.fullmatch(text)
        if found and found["n"] == "1":
            return one.format(**found.groupdict())
    return text


@cache
def _sentences() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return each English template as a pattern, with its Chinese; the longest literal text is tried first."""
    pairs = [(en, zh) for section, _, (en, zh, *_) in _entries() if section == "sentences"]
    pairs.sort(key=lambda pair: -len(re.sub(r"\{\w+\}", "", pair[0])))
    return tuple((_pattern(en), zh) for en, zh in pairs)


def _entries() -> list[tuple[str, str, list[str]]]:
    """Return (section, key, [English, Chinese, perhaps English for one]) in file order."""
    table = tomllib.loads(resources.files("lucency").joinpath("text.toml").read_text(encoding="utf-8"))
    return [(section, key, pair) for section, entries in table.items() for key, pair in entries.items()]


def _pattern(template: str) -> re.Pattern[str]:
    """Turn ``"{n} images …"`` into a pattern; what a placeholder takes is told by its name (see ``text.toml``)."""
    parts = []
    for literal, field, _, _ in Formatter().parse(template):
        parts.append(re.escape(literal))
        if field:
            parts.append(f"(?P<{field}>{_taken(field)})")
    return re.compile("".join(parts), re.DOTALL)


def _taken(field: str) -> str:
    """Return the pattern of what a placeholder takes."""
    kind = field.partition("_")[0]
    if kind == "n":
        return NUMBER
    if kind == "size":
        return rf"{NUMBER}(?:\s?×\s?{NUMBER})*"
    # A semicolon ends what one template covers; only a placeholder for further sentences reaches over it.
    return ".+?" if kind == "why" else "(?:(?!; ).)+?"


def _translate(text: str) -> str | None:
    """Return the Chinese of one sentence, or None; a final full stop more or less does not matter."""
    for pattern, chinese in _sentences():
        found = pattern.fullmatch(text) or pattern.fullmatch(text + ".") or pattern.fullmatch(text.removesuffix("."))
        if found:
            return chinese.format(**{field: _value(field, said) for field, said in found.groupdict().items()})
    return None


def _value(field: str, said: str) -> str:
    """Return what a placeholder took, as Chinese has it: further sentences translated, lists with their own comma."""
    if field.partition("_")[0] == "why":
        return sentence(said, "zh")
    if field == "counts":
        return t("report.comma", "zh").join(_count(pair) for pair in said.split(", "))
    if field != "names":
        return said
    more = re.search(rf" and ({NUMBER}) more$", said)
    listed = said[: more.start()] if more else said
    return listed.replace(", ", t("report.comma", "zh")) + (t("report.more", "zh", n=more[1]) if more else "")


def _count(pair: str) -> str:
    """Return one thing with its number, as Chinese has it."""
    word, colon, n = pair.rpartition(": ")
    return t("report.pair", "zh", head=sentence(word, "zh"), text=n) if colon else sentence(pair, "zh")


def _compound(text: str) -> str:
    """Translate the longest runs of a text's parts that templates know; the other parts stay English."""
    pieces = [p for p in JOINT.split(text) if p]
    done: list[str] = []
    while pieces:
        runs = ((n, _part(" ".join(pieces[:n]))) for n in range(len(pieces), 0, -1))
        n, chinese = next(((n, found) for n, found in runs if found is not None), (1, None))
        done.append(pieces[0] if chinese is None else chinese)
        pieces = pieces[n:]
    # Chinese needs no space after its own full stop; English left as it was does.
    return "".join(p if p[-1] in CLOSING.values() else p + " " for p in done).strip()


def _part(run: str) -> str | None:
    """Return the Chinese of parts that a template knows, ending as they end, or None."""
    mark = CLOSING.get(run[-1], "")
    chinese = _translate(run) or (_translate(run[:-1]) if mark and run[:-1] else None)
    if chinese is None or not mark:
        return chinese
    return chinese.rstrip("".join(CLOSING.values())) + mark

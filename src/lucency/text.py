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


def name(section: str, word: str, lang: str) -> str:
    """Return the display name of a registry word, or the word itself where the catalogue has none.

    Tasks, metrics, networks and baselines may come from a plug-in that the catalogue does not know.

    Example:
        >>> name("metric", "auc", "en"), name("metric", "my_score", "en")
        ('AUC', 'my score')
    """
    entry = _messages().get(f"{section}.{word.replace(' ', '_')}")
    return entry[_column(lang)] if entry else word.replace("_", " ")


def known(key: str) -> bool:
    """Tell whether the catalogue has this message."""
    return key in _messages()


def keys() -> tuple[str, ...]:
    """Return the keys of all messages, in file order."""
    return tuple(_messages())


def sentence(text: str, lang: str) -> str:
    """Translate a sentence that another room wrote in English.

    Rooms write their reasons and notes in English into files that a person may open; the report translates those
    that match a template under ``[sentences]``. The whole text is tried first, then each of its sentences; what
    matches no template stays English, because a reason in another language is better than none.

    Args:
        text: One or more English sentences.
        lang: ``"en"`` or ``"zh"``.

    Example:
        >>> sentence("3 images carry no label.", "zh")
        '3 幅图像没有标签。'
    """
    if _column(lang) == 0 or not text:
        return text
    whole = _translate(text)
    if whole is not None:
        return whole
    pieces = [p for p in re.split(r"(?<=[.;!?])\s+", text) if p]
    if len(pieces) == 1:
        return text
    done = [_translate(p) or p for p in pieces]
    # Chinese needs no space after its own full stop; English left as it was does.
    return "".join(p if p[-1] in "\u3002\uff1b\uff01\uff1f" else p + " " for p in done).strip()


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
    return {f"{section}.{key}": (en, zh) for section, key, (en, zh) in _entries() if section != "sentences"}


@cache
def _sentences() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return each English template as a pattern, with its Chinese; the longest literal text is tried first."""
    pairs = [(en, zh) for section, _, (en, zh) in _entries() if section == "sentences"]
    pairs.sort(key=lambda pair: -len(re.sub(r"\{\w+\}", "", pair[0])))
    return tuple((_pattern(en), zh) for en, zh in pairs)


def _entries() -> list[tuple[str, str, list[str]]]:
    """Return (section, key, [English, Chinese]) in file order."""
    table = tomllib.loads(resources.files("lucency").joinpath("text.toml").read_text(encoding="utf-8"))
    return [(section, key, pair) for section, entries in table.items() for key, pair in entries.items()]


def _pattern(template: str) -> re.Pattern[str]:
    """Turn ``"{n} images …"`` into a pattern; a placeholder named ``n`` or ``n_…`` takes numbers only."""
    parts = []
    for literal, field, _, _ in Formatter().parse(template):
        parts.append(re.escape(literal))
        if field:
            number = field == "n" or field.startswith("n_")
            parts.append(rf"(?P<{field}>-?\d[\d.,]*\d|\d)" if number else rf"(?P<{field}>.+?)")
    return re.compile("".join(parts), re.DOTALL)


def _translate(text: str) -> str | None:
    """Return the Chinese of one sentence, or None; a final full stop more or less does not matter."""
    for pattern, chinese in _sentences():
        found = pattern.fullmatch(text) or pattern.fullmatch(text + ".") or pattern.fullmatch(text.removesuffix("."))
        if found:
            return chinese.format(**found.groupdict())
    return None

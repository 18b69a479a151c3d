import re
from pathlib import Path

import pytest

from lucency import text
from lucency.errors import UsageError
from lucency.text import keys, name, placeholders, sentence, t

SOURCE = Path(text.__file__).parent
CHINESE = re.compile(r"[\u4e00-\u9fff]")
#: Symbols and proper names that Chinese papers print in Latin letters, so that both languages agree.
SAME_IN_BOTH = {"network.unet"}


def entries(section_filter=lambda section: True):
    return [(f"{s}.{k}", pair) for s, k, pair in text._entries() if section_filter(s)]


def test_every_message_has_both_languages_and_the_same_placeholders():
    for key, pair in entries():
        assert len(pair) == 2, key
        english, chinese = pair
        assert english.strip(), key
        assert chinese.strip(), key
        assert placeholders(english) == placeholders(chinese), key


def test_every_chinese_message_is_chinese_and_every_english_one_is_not():
    for key, (english, chinese) in entries(lambda section: section != "source"):
        assert not CHINESE.search(english), key
        if key not in SAME_IN_BOTH and not re.fullmatch(r"\W*", chinese.strip("{}")):
            assert CHINESE.search(chinese) or placeholders(chinese), key


def test_chinese_messages_use_chinese_punctuation():
    half_width = re.compile(r"[\u4e00-\u9fff][,:;!?]|[,:;!?][\u4e00-\u9fff]|^[,:;!?]")
    wrong = [key for key, (_, chinese) in entries() if half_width.search(chinese)]
    assert wrong == []


def test_every_key_that_the_code_names_is_in_the_catalogue():
    named = set()
    for file in SOURCE.rglob("*.py"):
        named |= set(re.findall(r"""(?<![\w.])t\(\s*["']([a-z]+\.[\w-]+)["']""", file.read_text(encoding="utf-8")))
    for file in SOURCE.rglob("*.jinja"):
        named |= set(re.findall(r"""(?<![\w.])t\(["']([a-z]+\.[\w-]+)["']""", file.read_text(encoding="utf-8")))
    assert len(named) > 60
    assert named <= set(keys()), named - set(keys())


def test_every_definition_has_a_name_and_a_source():
    defined = {k.split(".")[1] for k in keys() if k.startswith("define.")}
    assert defined <= {k.split(".")[1] for k in keys() if k.startswith(("metric.", "method."))}
    cited = {k.split(".")[1] for k in keys() if k.startswith("source.")}
    assert defined - cited == {"permutation"}  # counting all arrangements needs no citation


def test_message_is_filled_in_the_language_asked_for():
    assert t("report.range", "en", low=1, high=2) == "1 to 2"
    assert t("report.range", "zh", low=1, high=2) == "1 \u81f3 2"


def test_latin_letters_are_set_off_from_chinese_ones():
    assert t("verdict.beside", "zh", list="AUC\u4e3a0.9").endswith("AUC \u4e3a 0.9\u3002")
    assert t("verdict.beside", "en", list="AUC\u4e3a0.9") == "Beside it: AUC\u4e3a0.9."


def test_unknown_language_and_missing_value_are_refused():
    with pytest.raises(UsageError, match=r"--lang: Language 'de'. Expected: en or zh"):
        t("report.range", "de", low=1, high=2)
    with pytest.raises(KeyError):
        t("report.range", "en", low=1)


def test_name_of_a_plug_in_is_shown_as_it_is():
    assert name("network", "unet", "en") == "U-Net"
    assert name("network", "my_transformer", "zh") == "my transformer"
    assert name("baseline", "random forest", "zh") == name("baseline", "random_forest", "zh") != "random forest"


@pytest.mark.parametrize(
    ("english", "holds"),
    [
        ("12 of 200 images have no mask: kept as unlabelled.", ("12", "200")),
        ("column 'Patient ID'", ("Patient ID",)),
        ("patient bootstrap, 2000", ("2000",)),
        ("3 of 20 cases have no value for 'label': kept as unlabelled.", ("3", "20", "label")),
    ],
)
def test_known_sentence_is_translated_with_its_numbers(english, holds):
    chinese = sentence(english, "zh")
    assert CHINESE.search(chinese)
    assert all(word in chinese for word in holds)
    assert sentence(english, "en") == english


def test_unknown_sentence_stays_english_beside_a_translated_one():
    mixed = sentence("3 images carry no label. The moon is full.", "zh")
    assert mixed.startswith("3 ")
    assert CHINESE.search(mixed)
    assert mixed.endswith("The moon is full.")


def test_number_placeholder_takes_no_words():
    english = "many images carry no label."
    assert sentence(english, "zh") == english


def test_every_sentence_template_translates_itself():
    for key, (english, chinese) in entries(lambda section: section == "sentences"):
        values = {p: "7" if p == "n" or p.startswith("n_") else "word" for p in placeholders(english)}
        assert sentence(english.format(**values), "zh") == chinese.format(**values), key

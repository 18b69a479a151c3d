import re
from pathlib import Path

import pytest

from lucency import text
from lucency.errors import UsageError
from lucency.read.kinds import OTHERS
from lucency.text import counted, keys, name, placeholders, sentence, t

SOURCE = Path(text.__file__).parent
CHINESE = re.compile(r"[\u4e00-\u9fff]")
#: Symbols and proper names that Chinese papers print in Latin letters, so that both languages agree.
SAME_IN_BOTH = {"network.unet"}


def entries(section_filter=lambda section: True):
    return [(f"{s}.{k}", pair[:2]) for s, k, pair in text._entries() if section_filter(s)]


def test_every_message_has_both_languages_and_the_same_placeholders():
    for key, pair in entries():
        assert len(pair) == 2, key
        english, chinese = pair
        assert english.strip(), key
        assert chinese.strip(), key
        assert placeholders(english) == placeholders(chinese), key


def test_one_file_is_not_called_1_files():
    singular = [(section, key, pair) for section, key, pair in text._entries() if len(pair) > 2]
    assert len(singular) > 30
    for section, key, (english, _, one) in singular:
        assert section == "sentences", key
        assert placeholders(one) == placeholders(english), key
        assert not CHINESE.search(one), key
        some = {p: "3" if p.startswith("n_") else "1" if p == "n" else "that" for p in placeholders(english)}
        assert sentence(english.format(**some), "en") == one.format(**some), key
        many = {**some, "n": "21"}
        assert sentence(english.format(**many), "en") == english.format(**many), key


def test_every_kind_of_dicom_object_has_a_chinese_name():
    for kind in set(OTHERS.values()) - {"DICOMDIR"}:
        assert CHINESE.search(sentence(kind, "zh")), kind


def test_words_about_label_objects_are_translated():
    for said in (
        "7 images are kept with a warning of their quality (cropped: 2, contrast unlike the rest of the set: 2).",
        "Labels come from 33 DICOM segmentations.",
        "a/rt.dcm is older than b/rt.dcm, which draws the same structures.",
        "2 DICOM label objects do not say one thing and were not used: a.dcm: Two objects of the same date draw the "
        "same structure on one image. What to do: keep one of them; b.dcm: Two objects of the same date draw the "
        "same structure on one image. What to do: keep one of them.",
    ):
        assert not re.search(r"[a-z]{2,} [a-z]{2,}", sentence(said, "zh")), said


def test_every_chinese_message_is_chinese_and_every_english_one_is_not():
    for key, (english, chinese) in entries(lambda section: section != "source"):
        assert not CHINESE.search(english), key
        if key not in SAME_IN_BOTH and not re.fullmatch(r"\W*", chinese.strip("{}")):
            assert CHINESE.search(chinese) or placeholders(chinese), key


def test_chinese_messages_use_chinese_punctuation():
    half_width = re.compile(r"[\u4e00-\u9fff}]? ?[(]|[\u4e00-\u9fff}][,:;!?]|[,:;!?][\u4e00-\u9fff]|^[,:;!?]")
    wrong = [key for key, (_, chinese) in entries(lambda section: section != "source") if half_width.search(chinese)]
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
        ("zero filling, fold 2: 20 of 40 planned steps", ("zero filling", "2", "20", "40")),
        ("fold 0 alone: outputs of members that were trained apart cannot be averaged", ("0",)),
        ("plain reaches not to be had", ("plain",)),
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


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (
            "3 images carry no label; patient bootstrap, 2000",
            "3 \u5e45\u56fe\u50cf\u6ca1\u6709\u6807\u7b7e\uff1b\u60a3\u8005\u81ea\u52a9\u6cd5\uff0c2000 \u6b21",
        ),
        # A known head goes before what stays English, and the mark between them becomes Chinese.
        ("folder: the moon", "\u6587\u4ef6\u5939\uff1athe moon"),
        ("The moon: folder. Exact.", "The moon: \u6587\u4ef6\u5939\u3002Exact."),
        # What a remark holds in turn is translated in turn; the list in it gets its own commas.
        (
            "4 DICOM files left out: localizer.",
            "\u5254\u9664 4 \u4e2a DICOM \u6587\u4ef6\uff1a\u5b9a\u4f4d\u50cf\u3002",
        ),
        ("the mask holds 3, 4 and 2 more", "\u63a9\u819c\u542b\u6709 3\u30014 \u7b49\uff08\u53e6\u6709 2 \u4e2a\uff09"),
    ],
)
def test_compound_sentence_is_translated_part_by_part(english, chinese):
    assert sentence(english, "zh") == chinese


def test_one_template_does_not_swallow_two_sentences_of_its_kind():
    both = "a (train) and b (test): the same image; c (train) and d (test): nearly the same image"
    first, second = both.split("; ")
    assert sentence(both, "zh") == f"{sentence(first, 'zh')}\uff1b{sentence(second, 'zh')}"
    assert CHINESE.search(sentence(first, "zh"))


@pytest.mark.parametrize("number", ["7", "-7", "-0.25", "1,200", "1e-05", "-3.4e+38"])
def test_numbers_are_known_however_they_are_written(number):
    assert number in sentence(f"all 8 voxels are {number}", "zh")
    assert CHINESE.search(sentence(f"all 8 voxels are {number}", "zh"))


def test_message_about_none_or_one_has_its_own_form():
    words = {"n_hit": 1, "n_true": 2}
    assert [counted("demo.marked", n, "en", **words).split(" and ")[1] for n in (0, 1, 2)] == [
        "marked nothing else.",
        "marked 1 other place.",
        "marked 2 other places.",
    ]
    # Where the catalogue has no such form the usual one serves.
    assert counted("beware.looks", 1, "en") == t("beware.looks", "en", n=1)


def test_number_placeholder_takes_no_words():
    english = "many images carry no label."
    assert sentence(english, "zh") == english


def test_every_sentence_template_translates_itself():
    for key, (english, chinese) in entries(lambda section: section == "sentences"):
        values = {p: "7" if p.partition("_")[0] in {"n", "size"} else "word" for p in placeholders(english)}
        assert sentence(english.format(**values), "zh") == chinese.format(**values), key

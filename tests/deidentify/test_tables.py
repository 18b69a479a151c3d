"""Tables in many languages: what is not shown to be harmless does not stay, what can be learned from stays."""

import csv
import io

import pytest

from lucency.deidentify import columns, manifest, others
from lucency.deidentify.keys import Identities, Keys

KEYS = Keys(bytes(range(32)))


def clean(text, tmp_path, *, name="t.csv", encoding="utf-8", known=Identities()):  # noqa: B008 - holds nothing
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    outcome = others.clean_other(path, tmp_path / "out", KEYS, known)
    assert outcome.action == "written", outcome.reason
    return outcome.target.read_text(encoding="utf-8")


def rows_of(text, delimiter=","):
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


HEAD = "id,住院号,病历号,身份证号,电话,Fallnummer,Telefon,生日,label"
PEOPLE = (
    "X1,5583921,88213345,110101196103041234,13812345678,40558291,5556677,19610304,1",
    "X2,5583922,88213399,110101195001011234,13912345678,40558297,5556699,19500101,0",
)


@pytest.mark.parametrize("n_rows", [1, 2, 30])
def test_numbers_of_persons_stayed_where_a_patient_had_several_rows(tmp_path, n_rows):
    out = clean("\n".join([HEAD, *(p for p in PEOPLE for _ in range(n_rows))]) + "\n", tmp_path)
    for person in PEOPLE:
        assert not [v for v in person.split(",")[:-1] if v in out]
    assert [r["label"] for r in rows_of(out)] == ["1"] * n_rows + ["0"] * n_rows
    assert len({r["id"] for r in rows_of(out)}) == 2


@pytest.mark.parametrize("name", ["", "foo", "score", "wert", "数值", "T1", "label"])
@pytest.mark.parametrize(
    "values", [("4711234", "4711235"), ("5583921.0", "5583922.0"), ("007123", "007124"), ("1.10101E+17", "1.2E+17")]
)
def test_long_numbers_under_any_name_are_replaced(tmp_path, name, values):
    out = clean(f"{name},size\n" + "".join(f"{v},1.5\n" for v in values * 4), tmp_path)
    assert not [v for v in values if v in out]
    assert "1.5" in out


@pytest.mark.parametrize("value", ["138-123-45678", "030/123 456", "a@b.org", "A12B3456C7"])
def test_phones_with_strokes_are_not_taken_for_sizes(tmp_path, value):
    assert value not in clean(f"x,label\n{value},1\n{value},0\n", tmp_path)


def test_card_with_a_true_check_digit_is_one_even_among_volumes():
    assert columns.is_identifier("11010519491231002X")
    assert columns.kind("volume", ["110105194912310038", "5"], Identities()) != "numbers"


@pytest.mark.parametrize(
    "name",
    [
        "生日",
        "出生",
        "出生年份",
        "出生日期",
        "Geb",
        "Geburtstag",
        "GebDat",
        "Geburtsjahr",
        "fecha_nacimiento",
        "date_de_naissance",
        "DOB",
        "birth_year",
        "data_di_nascita",
        "생년월일",
        "plz",
        "postleitzahl",
        "邮编",
        "zip",
        "code_postal",
        "手机",
        "Telefonnummer",
        "姓名",
        "Nachname",
        "氏名",
        "이름",
    ],
)
def test_birth_dates_and_post_codes_in_other_languages_go(tmp_path, name):
    out = clean(f"patient_id,{name},label\n1,19610304,1\n2,19500101,0\n2,19500101,0\n", tmp_path)
    assert list(rows_of(out)[0]) == ["patient_id", "label"]


@pytest.mark.parametrize("name", ["Datum", "检查日期", "fecha", "x", "study_date"])
@pytest.mark.parametrize("dates", [("20230410", "20230415"), ("2023/4/10", "2023/4/15"), ("10.04.2023", "15.04.2023")])
def test_dates_of_eight_digits_move_with_their_patient_and_keep_their_distance(tmp_path, name, dates):
    import datetime

    out = clean(f"患者编号,{name}\nA,{dates[0]}\nA,{dates[1]}\n", tmp_path)
    assert not [d for d in dates if d in out]
    values = [r[name] for r in rows_of(out)]
    form = columns.date_format(values)
    days = [datetime.datetime.strptime(v, form) for v in values]
    assert (days[1] - days[0]).days == 5
    assert (days[0] - datetime.datetime(2023, 4, 10)).days == KEYS.shift_days(KEYS.patient("", "A"))


def test_years_move_with_their_patient_and_go_without_one(tmp_path):
    moved = rows_of(clean("patient_id,Jahr\nA,2023\nB,2021\n", tmp_path))[0]["Jahr"]
    assert int(moved) <= 2022
    assert list(rows_of(clean("id,year,label\nA,2023,1\nB,2021,0\n", tmp_path))[0]) == ["id", "label"]


@pytest.mark.parametrize(
    "name", ["年龄", "年龄(岁)", "患者年龄", "Alter", "edad", "âge", "idade", "età", "AgeAtScan", "나이", "年齢"]
)
def test_ages_over_89_become_90_in_every_language(tmp_path, name):
    values = [r[name] for r in rows_of(clean(f"{name},label\n95,1\n45,0\n89.5,0\n", tmp_path))]
    assert values == ["90", "45", "89.5"]


def test_a_third_digit_told_who_was_over_99():
    assert {columns.capped(v, "age") for v in ("94", "094", "102", "110.5")} == {"90"}
    assert columns.capped("102岁", "年龄") == columns.capped("94岁", "年龄") == "90岁"
    assert columns.capped("104Y", "age") == columns.capped("092Y", "age") == "090Y"


def test_ages_with_units_are_capped_in_them():
    assert [columns.capped(v, "age") for v in ("092Y", "92 J", "92岁", "095M", "45")] == [
        "090Y",
        "90 J",
        "90岁",
        "095M",
        "45",
    ]
    assert columns.capped("1100", "age months") == "1080"


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_semicolons_tabs_marks_and_gb18030_are_read(tmp_path, name, separator, encoding):
    cells = [["患者编号", "体积", "年龄"], ["4711234", '"1,5"' if separator == "," else "1,5", "95"]]
    out = clean("\n".join(separator.join(c) for c in cells) + "\n", tmp_path, name=name, encoding=encoding)
    assert rows_of(out, separator) == [{"患者编号": KEYS.patient("", "4711234"), "体积": "1,5", "年龄": "90"}]


def test_german_table_in_windows_1252_is_not_read_as_chinese(tmp_path):
    out = clean("Fall-Nr;Größe;Ärztin\n12345678;1,75;Müller\n", tmp_path, encoding="cp1252")
    assert list(rows_of(out, ";")[0]) == ["Fall-Nr", "Größe"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("label", ["0", "1", "2"]),
        ("volume_mm3", ["1234567", "345678", "99"]),
        ("SurvivalTime", ["1950", "2158", "379"]),
        ("orig_width", ["2494", "999", "2000"]),
        ("original_firstorder_Energy", ["1234567890", "2234567890", "3234567890"]),
        ("original_glcm_Id", ["0.24", "0.5", "0.1"]),
        ("feature_17", ["-1.25", "1e-05", "3"]),
        ("体重", ["60", "71.5", "80"]),
        ("sex", ["M", "F", "F"]),
        ("anything", ["12.5", "13", "0.25"]),
    ],
)
def test_what_can_be_learned_stays(tmp_path, name, values):
    out = clean(f"id,{name}\n" + "".join(f"X{n},{v}\n" for n, v in enumerate(values)), tmp_path)
    assert [r[name] for r in rows_of(out)] == values


def test_replaced_numbers_are_said_to_be():
    rules = manifest.Rules(KEYS, Identities(), str, str)
    done = manifest.table(b"foo,label\n4711,1\n4712,0\n", rules=rules)
    assert any("name their column" in r for r in done.remarks)
    assert manifest.table(b"id,label\n4711,1\n4712,0\n", rules=rules).remarks == ()


def test_number_of_a_known_patient_does_not_stay_among_volumes(tmp_path):
    known = Identities(numbers=frozenset({"4711234"}))
    out = clean("volume,label\n4711234,1\n812345,0\n", tmp_path, known=known)
    assert out == "volume,label\n,1\n812345,0\n"


def test_table_that_named_dicom_files_by_their_old_names_names_the_new_ones(room, image):
    room.put(image, "scans/a.dcm")
    (room.src / "scans" / "beside.csv").write_text("image,label\na.dcm,1\n", encoding="utf-8")
    (room.src / "index.csv").write_text("image,label\nscans/a.dcm,1\n", encoding="utf-8")
    (room.src / "far.csv").write_text("文件,label\nC:\\data\\scans\\a.dcm,1\n", encoding="utf-8")
    room.clean()
    (new,) = room.dst.rglob("*.dcm")
    tables = sorted(room.dst.rglob("*.csv"))
    assert len(tables) == 3
    for table in tables:
        path = table.read_text(encoding="utf-8").splitlines()[1].split(",")[0]
        assert (table.parent / path).resolve() == new.resolve()

"""What a column of a table holds, by its name in nine languages and by its values; what is not known is not kept.

Names are searched for words: those of languages with blanks at the bounds of words, Chinese, Japanese and Korean
anywhere. The number of rows and of patients decides nothing.
"""

import datetime
import re
import unicodedata
from collections.abc import Sequence

from lucency.deidentify.keys import Identities
from lucency.deidentify.vocabulary import described


def _named(latin: str, elsewhere: str = "") -> re.Pattern[str]:
    """Return a search for words; ``latin`` is split at blanks and its words may hold patterns."""
    return re.compile(rf"\b(?:{'|'.join(latin.split())})\b" + (f"|{'|'.join(elsewhere.split())}" if elsewhere else ""))


BIRTH = _named(
    r"dob yob bday birth\w* born geb gebdat\w* gebjahr geburt\w* naissance nacimiento nac nascita nascimento nato nata",
    "生日 出生 诞生 誕生 生年 생년 생일 출생",
)
#: Names of persons, contacts, places smaller than a country, payers, free text.
PERSONAL = _named(
    r"\w*names? surname physician doctor radiologist operator author nurse address\w* street city town county zip "
    r"zipcode postcode postal phone\w* \w*telephone mobile cell fax \w*mail ssn nhs nir insurance\w* policy passport "
    r"licence license plate ip url hospital\w* institution institute department clinic ward room employer occupation "
    r"religion relative contact comments? notes? remarks? history report text narrative "
    r"\w*vorname \w*nachname strasse anschrift \w*adress\w* wohnort plz postleitzahl telefon\w* tel handy\w* mobil\w* "
    r"\w*arzt \w*aerztin \w*arztin untersucher\w* befunder\w* krankenhaus klinik station abteilung versicher\w* "
    r"krankenkasse beruf kommentar\w* bemerkung\w* notiz\w* "
    r"nom prenom rue ville portable courriel medecin\w* hopital service commentaires? remarques? nss "
    r"nombres? apellidos? direccion calle ciudad telefonos? movil correo medico medica comentarios? observacion\w* "
    r"informe nome cognome indirizzo citta cellulare ospedale reparto commento referto codice sobrenome endereco rua "
    r"cidade telefone celular observacoes laudo cpf dni nie cap cep",
    "姓名 名字 电话 電話 手机 手機 联系 聯繫 联络 住址 地址 住所 家庭 邮编 邮政 郵便 邮箱 邮件 微信 医生 医师 医師 "
    "主治 技师 科室 病区 病房 床号 医院 病院 单位 职业 民族 籍贯 备注 備考 病史 社保 医保 保险 "
    "保険 身份证 证件 护照 氏名 患者名 名前 先生 병원 이름 성명 전화 연락처 주소 우편 의사 비고 주민",
)
PATIENT = _named(
    r"patients? patientid mrn pid subjects? subjectid participant person patienten\w* patientnummer patnr pat "
    r"proband\w* paciente paziente sujet sujeto soggetto",
    "患者 病人 受试者 被験者 病历号 病案号 환자",
)
NUMBERED = _named(
    r"ids? \w*accession\w* case caseid study series exam examination visit encounter key no nr num nummer \w+nummer "
    r"\w+nr numero numeros code mrn ur",
    "号 號 番号 编码 번호",
)
DATED = _named(
    r"dates? day datetime timestamp acquired scanned performed collected death dod \w*datum fecha jour giorno dia",
    "日期 日時 日付 年月日 检查日 検査日 날짜",
)
YEARS = _named(r"years? yr \w*jahr annee ano anno", "年份 年度 연도")
FILES = _named(
    r"files? filename paths? images? img masks? scans? filepath clip datei\w* pfad bild\w* fichier chemin archivo ruta "
    r"imagen immagine percorso arquivo caminho imagem",
    "文件 路径 图像 图片 影像 掩膜 掩码 ファイル 画像 파일 영상 경로",
)
AGE = _named(r"ages? patientage \w*alter edad eta idade leeftijd", "年龄 年齡 年齢 나이 연령")
#: Classes: their words stay where they are in the vocabulary and become codes where they are not.
SAFE = _named(
    r"sex gender laterality side modality view position projection split fold set subset label labels class classes "
    r"target diagnosis findings? grade stage\w* \w?stage density birads site cent(?:er|re) manufacturer scanner "
    r"bodypart body probe orientation event status outcome histology group "
    r"geschlecht seite klasse diagnose gruppe zentrum stadium grad befund sexe classe diagnostic groupe cote "
    r"sexo sesso clase diagnostico diagnosi grupo gruppo lado lato",
    "性别 性別 侧 模态 标签 类别 诊断 診断 分类 分類 结果 划分 集合 数据集 分组 "
    "中心 部位 设备 分期 分级 结局 事件 状态 성별 진단 분류",
)
#: What is measured or counted: whole numbers of up to five digits stay.
MEASURED = _named(
    r"(?:orig)?w (?:orig)?h x y z [xyz]c? [xyz](?:min|max)\d? [xyz]\d \w*width \w*height weight bmi length size depth "
    r"diameter radius thickness spacing pixel pixelsize mm mm2 mm3 cm cm3 ml cc kg hu score counts? n time times days "
    r"weeks months hours minutes seconds duration survival\w* followup follow dose dlp ctdi\w* kvp mas? exposure tr te "
    r"ti angle frames? slices? rows? columns? volumes? areas? suv\w* psa index rank mean median std min max "
    r"gewicht groesse grosse lange laenge breite hohe hoehe dicke durchmesser tage monate dauer dosis zeit anzahl "
    r"poids taille largeur hauteur longueur epaisseur diametre duree jours mois peso altura talla ancho largo tamano "
    r"espesor diametro dias meses altezza larghezza lunghezza spessore giorni mesi largura comprimento espessura",
    "体重 身高 身長 大小 尺寸 直径 径 长 宽 高度 厚 体积 体積 面积 面積 "
    "天数 日数 时间 時間 随访 月数 评分 分数 剂量 线量 키 체중 크기 부피",
)
#: Quantities that reach millions, and the features of radiomics: whole numbers of any length stay.
LARGE = _named(
    r"\w*volumes? \w*volumen areas? voxels? pixels? surface energy totalenergy intensit\w+ variance total sum bytes "
    r"volum\w+ superficie flache flaeche aire original wavelet\w* log squareroot logarithm exponential gradient lbp "
    r"firstorder glcm glrlm glszm gldm ngtdm shape\w* radiomics? features? feat mm2 mm3",
    "体积 体積 体素 像素 面积 面積 能量 부피",
)

UID = re.compile(r"[0-2](\.(0|[1-9]\d*)){5,}")
FILE_NAME = re.compile(
    r"[^\n]{0,250}\.(nii|nii\.gz|png|jpe?g|tiff?|nrrd|mha|mhd|npy|npz|dcm|dicom|csv|tsv|json|bmp)", re.I
)
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?%?")
#: A whole number, also as programs write it that hold it as a fraction: ``5583921.0``.
WHOLE = re.compile(r"[+-]?(\d+)(?:[.,]0*)?")
MISSING = frozenset(
    [
        "",
        "na",
        "n/a",
        "nan",
        "none",
        "null",
        "-",
        "?",
        "missing",
        "unknown",
        "true",
        "false",
        "yes",
        "no",
        "nd",
        "n.a.",
        "缺失",
        "未知",
        "是",
        "否",
        "ja",
        "nein",
        "oui",
        "non",
        "si",
        "sim",
    ]
)
#: An age, with its unit where one stands beside it.
AGED = re.compile(
    r"(\d{1,5}(?:[.,]\d+)?) ?(|y|yr|yrs|yo|years?|j|jahre?|a|ans?|anni|años?|anos?|岁|歲|歳|세|才|"
    r"d|w|m|days?|weeks?|months?|monate?|mois|天|月|个月)",
    re.IGNORECASE,
)
#: An age above 89 is told as 90 (HIPAA, 45 CFR 164.514(b)(2)(i)(C): all ages over 89 form one group); other
#: units are days, weeks and months.
OLDEST = 90
#: An age as DICOM writes it (PS3.5, 6.2, AS).
AGE_STRING = re.compile(r"\d{3}[DWMY]")
PER_YEAR = (
    (re.compile(r"\b(d|days?|tage|jours|dias|giorni)\b|天|日", re.I), 365.25),
    (re.compile(r"\b(w|weeks?|wochen)\b|周", re.I), 52.18),
    (re.compile(r"\b(m|months?|monate?|mois|meses|mesi)\b|月", re.I), 12.0),
)
#: How dates are written; two spellings that differ in order are told apart by a value above 12 in the column.
DATES: tuple[str, ...] = (
    *("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y"),
    *("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M"),
    *("%d.%m.%Y %H:%M", "%Y%m%d%H%M%S", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%Y-%m", "%Y/%m", "%Y年%m月"),
)
#: A column with more different words than this is text, not a list of classes.
MOST_CLASSES = 50
SEXES = frozenset(["m", "f", "w", "male", "female", "man", "woman", "männlich", "weiblich", "男", "女", "男性", "女性"])
#: Whole numbers from here on are kept only where the column's name says what they measure: three digits name nobody.
UNNAMED = 1000
#: Digits from which a number may be that of a person even in a column of measurements.
LONG = 6


def words(name: str) -> str:
    """Return a column's name as words in lower case without accents.

    Example:
        >>> words("StudyInstanceUID"), words("Âge (années)"), words("年龄(岁)")
        ('study instance uid', 'age annees', '年龄 岁')
    """
    spaced = re.sub(r"(?<=[a-zà-ÿ0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    plain = unicodedata.normalize("NFKC", spaced).replace("ß", "ss").lower()
    bare = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFC", bare)).strip()


def in_chinese(told: str) -> bool:
    """Tell whether a word of Chinese, Japanese or Korean that this file knows stands among the names of columns."""
    everything = (BIRTH, PERSONAL, PATIENT, NUMBERED, DATED, YEARS, FILES, AGE, SAFE, MEASURED, LARGE)
    return any(not m[0].isascii() for p in everything for m in p.finditer(told))


def kind(name: str, column: Sequence[str], identities: Identities) -> str:
    """Return what a column holds.

    Args:
        name: As it stands in the table's first row.
        column: Cells without blanks around them.
        identities: Known strings of the patients.

    Returns:
        "UIDs", "birth dates", "file names", "patient", "names and contacts", "ages", "dates", "years", "numbers of
        examinations" (all to be replaced or removed), "numbers", "words", "mixed" (to stay, the last as codes) or
        "free text".
    """
    values = sorted({v for v in column if v.lower() not in MISSING})
    if values and all(UID.fullmatch(v) for v in values):
        return "UIDs"
    told = words(name)
    found = _by_name(told, values, numeric=bool(values) and all(NUMBER.fullmatch(v) for v in values))
    # Words that come back are classes; each once is text.
    return found or _by_values(told, values, identities, classes=len(values) * 2 <= len(column))


def _by_name(told: str, values: Sequence[str], *, numeric: bool) -> str:
    """Return what a column holds where its name tells, or ``""``."""
    if BIRTH.search(told) and not re.search(r"\bweight\b|gewicht|order|体重", told):
        return "birth dates"
    if values and all(FILE_NAME.fullmatch(v) for v in values):
        return "file names"
    if AGE.search(told) and any(AGED.fullmatch(v) for v in values):
        return "ages"
    patient = PATIENT.search(told) is not None and not any(p.search(told) for p in (AGE, SAFE, DATED, MEASURED))
    personal = PERSONAL.search(told) is not None and not (FILES.search(told) and not patient and not numeric)
    if personal and not DATED.search(told):
        return "names and contacts"
    counted = numeric and any(p.search(told) for p in (LARGE, NUMBERED, PATIENT)) and not DATED.search(told)
    if not counted and is_dates(values):
        return "dates"
    if _in_years(told, values, numeric=numeric):
        return "years"
    if personal:
        return "names and contacts"
    if patient:
        return "patient"
    if DATED.search(told) and not numeric:
        return "free text"
    if FILES.search(told) and not numeric and values and not SAFE.search(told):
        return "file names"
    tally = told.startswith(("n ", "num ", "number of")) or SAFE.search(told) or _fractions(values)
    if NUMBERED.search(told) and not tally:
        return "numbers of examinations"
    return ""


def _in_years(told: str, values: Sequence[str], *, numeric: bool) -> bool:
    """Tell whether whole numbers are years: all look like years, or some do and the name says so."""
    if not numeric:
        return False
    fit = [is_year(v) for v in values]
    return (all(fit) and not (MEASURED.search(told) or LARGE.search(told))) or (
        any(fit) and YEARS.search(told) is not None
    )


def is_year(value: str) -> bool:
    """Tell whether a value looks like a year of examination or birth."""
    found = WHOLE.fullmatch(value)
    return found is not None and len(found[1]) == 4 and 1900 <= int(found[1]) <= 2100


def _by_values(told: str, values: Sequence[str], identities: Identities, *, classes: bool) -> str:
    """Return what a column holds by its values, where its name does not tell."""
    if all(NUMBER.fullmatch(v) for v in values):
        return "numbers" if _measured(told, values) else "numbers of examinations"
    if not any(is_identifier(v) or identities.found_in(v) for v in values) and all(map(is_plain, values)):
        return "words"
    numbers = sum(NUMBER.fullmatch(v) is not None or is_identifier(v) for v in values)
    if numbers * 2 > len(values) and not _fractions(values):
        return "numbers of examinations"
    return "mixed" if len(values) <= MOST_CLASSES and (classes or SAFE.search(told)) else "free text"


def is_plain(value: str) -> bool:
    """Tell whether a class is made of words of the vocabulary only."""
    plain = value.replace("_", " ")
    return plain.lower() in SEXES or described(plain).split() == plain.split()


def _measured(told: str, values: Sequence[str]) -> bool:
    """Tell whether numbers are shown to be measurements, counts or classes."""
    if any(re.match(r"[+-]?0\d\d", v) for v in values):
        return False  # a measurement has no leading zeros
    whole = [w for w in map(_whole, values) if w]
    if _fractions(values) or not whole:
        return True
    if any(_is_card(w) for w in whole):
        return False
    largest = max(map(int, whole))
    if largest < UNNAMED:
        return True
    if LARGE.search(told):
        return not all(re.fullmatch(r"1[3-9]\d{9}", w) for w in whole)
    return MEASURED.search(told) is not None and largest < 10 ** (LONG - 1)


def _fractions(values: Sequence[str]) -> bool:
    """Tell whether most values are numbers with a fraction, as no number of a person is."""
    return sum(NUMBER.fullmatch(v) is not None and not _whole(v) for v in values) * 2 > len(values)


def _whole(value: str) -> str:
    """Return the digits of a whole number, also of 1.10101E+17, as spreadsheets write long ones; else ``""``."""
    found = WHOLE.fullmatch(value)
    if found:
        return found[1]
    if "e" not in value.lower():
        return ""
    number = abs(float(value.replace(",", ".").rstrip("%")))
    return str(int(number)) if number < float("inf") and number >= 10**LONG else ""


def is_identifier(value: str) -> bool:
    """Tell whether a text looks like a number of a person: six digits in it, a card, an address of mail.

    Example:
        >>> is_identifier("030-123 456"), is_identifier("T2w 3.0 mm"), is_identifier("A12B3456C7")
        (True, False, True)
    """
    return "@" in value or sum(c.isdigit() for c in value) >= LONG or _is_card(value)


def _is_card(value: str) -> bool:
    """Tell whether a number is a Chinese identity card's, by its check digit (GB 11643; ISO 7064 MOD 11-2)."""
    if not re.fullmatch(r"\d{17}[\dXx]", value):
        return False
    total = sum(int(d) * pow(2, 17 - n, 11) for n, d in enumerate(value[:17]))
    return "10X98765432"[total % 11] == value[17].upper()


def capped(value: str, told: str) -> str:
    """Return an age, 90 years in its unit where it is above 89; ``""`` if it is none.

    Args:
        value: As it was written, with or without a unit.
        told: Words of the column's name, which may name the unit.

    Example:
        >>> capped("95岁", "年龄"), capped("092Y", "age"), capped("95", "age months"), capped("geb 1961", "alter")
        ('90岁', '090Y', '95', '')
    """
    found = AGED.fullmatch(value)
    if found is None:
        return ""
    per_year = next((n for unit, n in PER_YEAR if unit.search(found[2] or told)), 1.0)
    # 89.5 years are 89: an age is counted in whole years.
    if float(found[1].replace(",", ".")) < OLDEST * per_year:
        return value
    # Three digits are a form in 092Y; elsewhere a third one would tell who is over 99.
    n_digits = 3 if AGE_STRING.fullmatch(value) else 0
    return f"{OLDEST * per_year:.0f}".zfill(n_digits) + value[found.end(1) :]


def date_format(values: Sequence[str]) -> str | None:
    """Return the spelling that fits every date of a column, or None."""
    return next((f for f in DATES if values and all(fits(v, f) for v in values)), None)


def format_of(value: str) -> str | None:
    """Return the spelling of one date if it can have one meaning only, or None."""
    told = {f for f in DATES if fits(value, f)}
    meant = {datetime.datetime.strptime(value, f) for f in told}
    return min(told) if len(meant) == 1 else None


def is_dates(values: Sequence[str]) -> bool:
    """Tell whether all values are dates, in one spelling or in several."""
    return date_format(values) is not None or (bool(values) and all(any(fits(v, f) for f in DATES) for v in values))


def fits(value: str, form: str) -> bool:
    """Tell whether a date has a spelling."""
    if form[:6] == "%Y%m%d" and not re.fullmatch(r"\d{8}(\d{6})?", value):
        return False  # strptime takes 4711123 for a date, too
    try:
        return 1900 <= datetime.datetime.strptime(value, form).year <= 2100
    except ValueError:
        return False

"""Tables and JSON beside images: identifiers become the pseudonyms of the images, dates move, free text goes."""

import csv
import datetime
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lucency.deidentify import boxes
from lucency.deidentify.cleaning import Cleaned, cannot
from lucency.deidentify.keys import Identities, Keys
from lucency.deidentify.vocabulary import described

#: Columns, by the words of their names; the first rule that fits decides.
PERSONAL = re.compile(
    r"\b(name|names|surname|firstname|lastname|fullname|patientname|physician|doctor|radiologist|operator|author|nurse|"
    r"address|street|city|town|county|zip|zipcode|postcode|postal|phone|telephone|mobile|fax|email|mail|ssn|insurance|"
    r"passport|licence|license|plate|ip|url|hospital|institution|institute|department|clinic|ward|room|employer|"
    r"occupation|religion|relative|contact|comment|comments|note|notes|remark|remarks|history|report|text|narrative)\b"
)
PATIENT = re.compile(r"\b(patient|patients|patientid|mrn|pid|subject|subjects|subjectid|participant|person)\b")
NUMBERED = re.compile(
    r"\b(id|ids|accession|accessionnumber|case|caseid|study|series|exam|examination|visit|key|no|nr)\b"
)
BIRTH = re.compile(r"\b(dob|birth|birthdate|birthday|born)\b")
DATED = re.compile(r"\b(date|dates|day|datetime|timestamp|acquired|scanned|performed|collected|death|dod)\b")
FILES = re.compile(r"\b(file|files|filename|path|paths|image|images|img|mask|masks|label file|scan|scans|filepath)\b")
AGE = re.compile(r"\b(age|ages|patientage)\b")
SAFE = re.compile(
    r"\b(sex|gender|laterality|side|modality|view|position|projection|split|fold|set|label|labels|class|target|"
    r"diagnosis|finding|findings|grade|stage|density|birads|site|manufacturer|bodypart|body part|orientation|"
    r"event|status|outcome)\b"
)
#: An age above this is told as this (HIPAA, 45 CFR 164.514(b)(2)(i)(C): all ages over 89 form one group).
OLDEST = 90
UID = re.compile(r"[0-2](\.(0|[1-9]\d*)){5,}")
FILE_NAME = re.compile(
    r"[^\n]{0,250}\.(nii|nii\.gz|png|jpe?g|tiff?|nrrd|mha|mhd|npy|npz|dcm|dicom|csv|tsv|json|bmp)", re.I
)
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?%?")
MISSING = frozenset(
    ["", "na", "n/a", "nan", "none", "null", "-", "?", "missing", "unknown", "true", "false", "yes", "no"]
)
#: Whole numbers of so many digits may be numbers of a patient or an examination.
LONG_NUMBER = re.compile(r"\d{6,}")
#: How dates are written; two spellings that differ in order are told apart by a value above 12 in the column.
DATES: tuple[str, ...] = (
    "%Y-%m-%d",
    "%Y%m%d",
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%Y-%m-%d %H:%M:%S",
)
DATES += ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M", "%Y%m%d%H%M%S", "%Y年%m月%d日")
#: A column with more different words than this is text, not a list of classes.
MOST_CLASSES = 50

#: Keys of BIDS sidecars, of nnU-Net's dataset.json and of BIDS' dataset_description.json that hold physics, sizes or
#: the format's own words (BIDS 1.9, MR and PET; nnU-Net v2).
_HARMLESS_KEYS = (
    "RepetitionTime EchoTime EchoTime1 EchoTime2 InversionTime FlipAngle SliceTiming SliceThickness "
    "SpacingBetweenSlices MagneticFieldStrength ImagingFrequency PhaseEncodingDirection TotalReadoutTime "
    "EffectiveEchoSpacing DwellTime PixelBandwidth EchoTrainLength NumberOfAverages PercentSampling "
    "PercentPhaseFOV AcquisitionMatrixPE ReconMatrixPE ParallelReductionFactorInPlane "
    "MultibandAccelerationFactor PartialFourier BandwidthPerPixelPhaseEncode ImageOrientationPatientDICOM SAR "
    "RepetitionTimePreparation B0FieldIdentifier Modality MRAcquisitionType ScanningSequence SequenceVariant "
    "Manufacturer ManufacturersModelName PatientPosition BodyPart ImageOrientationText SkullStripped "
    "FrameTimesStart FrameDuration KVP XRayExposure XRayTubeCurrent channel_names modality labels numTraining "
    "numTest file_ending tensorImageSize regions_class_order BIDSVersion DatasetType "
    "overwrite_image_reader_writer"
)
HARMLESS_KEYS = frozenset(_HARMLESS_KEYS.split())
#: Lists of files in nnU-Net's dataset.json.
FILE_KEYS = frozenset(["training", "test", "validation", "image", "label"])


@dataclass(frozen=True)
class Rules:
    """What tables and lists are cleaned with.

    Args:
        keys: Pseudonyms, UIDs and shifts.
        identities: Known strings.
        new_path: From a path of the source to that of the output.
        new_stem: From the number of a case or an examination to its pseudonym, that of a file of this name.
    """

    keys: Keys
    identities: Identities
    new_path: Callable[[str], str]
    new_stem: Callable[[str], str]


def table(content: bytes, *, rules: Rules, separator: str) -> Cleaned:
    """Return a table whose identifiers are the images' pseudonyms and whose dates are moved as theirs are.

    Columns of names, contacts and free text go. Patients, UIDs, file names and numbers of examinations are replaced,
    the same one always alike. Dates move with their patient; without a column of patients they go. Birth dates go. Ages
    over 89 become 90. Numbers stay; words stay where each is in the vocabulary, and other classes become codes.

    Args:
        content: A whole file, UTF-8 (else GB18030, else Latin-1), with names of columns in its first row.
        rules: What to clean with.
        separator: "," or tab.

    Raises:
        DataError: Not a table, or no column may stay.
    """
    rows = list(csv.reader(io.StringIO(_decoded(content), newline=""), delimiter=separator))
    rows = [r for r in rows if any(cell.strip() for cell in r)]
    if len(rows) < 2 or any(len(r) > len(rows[0]) for r in rows):
        raise cannot("Not a table with one row of names and rows of as many cells", "save it again as CSV")
    if _looks_like_data(rows[0]):
        raise cannot("A table without a first row of column names", "add one")
    width = len(rows[0])
    body = [[*r, *[""] * (width - len(r))] for r in rows[1:]]
    columns = [[r[n].strip() for r in body] for n in range(width)]
    kinds = [_kind(name, column, rules) for name, column in zip(rows[0], columns, strict=True)]
    patients = next((columns[n] for n, k in enumerate(kinds) if k == "patient"), None)
    out: list[list[str]] = []
    removed: list[str] = []
    for name, column, kind in zip(rows[0], columns, kinds, strict=True):
        done = _column(kind, column, patients, rules)
        if done is None:
            removed.append(f"column of {kind}")
        else:
            out.append([_heading(name, rules, len(out)), *done])
            if kind not in ("numbers", "words", "mixed"):
                removed.append(f"column of {kind}, replaced")
    if not out:
        raise cannot("A table of which no column may stay", "list the columns that are needed by themselves")
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=separator, lineterminator="\n").writerows(zip(*out, strict=True))
    remark = ("Classes with words that are not in the vocabulary became codes.",) if "mixed" in kinds else ()
    return Cleaned(stream.getvalue().encode("utf-8"), tuple(dict.fromkeys(removed)), remark)


def _decoded(content: bytes) -> str:
    if b"\0" in content[:4096]:
        raise cannot("Not a text file", "save it again as CSV in UTF-8")
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def _looks_like_data(row: Sequence[str]) -> bool:
    return any(NUMBER.fullmatch(c.strip()) or FILE_NAME.fullmatch(c.strip()) or _date(c.strip()) for c in row)


def _words(name: str) -> str:
    """Return a column's name as words in lower case: ``StudyInstanceUID`` -> ``study instance uid``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.sub(r"[^0-9a-z\u0080-\uffff]+", " ", spaced.lower()).strip()


def _kind(name: str, column: Sequence[str], rules: Rules) -> str:
    """Return what a column holds, by its values and its name."""
    words = _words(name)
    values = [v for v in column if v.lower() not in MISSING]
    numeric = bool(values) and all(NUMBER.fullmatch(v) for v in values)
    if values and all(UID.fullmatch(v) for v in values):
        return "UIDs"
    return _named(words, values, numeric=numeric) or _unnamed(words, values, rules, numeric=numeric)


def _named(words: str, values: Sequence[str], *, numeric: bool) -> str:
    """Return what a column holds where its name tells, or ``""``."""
    if BIRTH.search(words):
        return "birth dates"
    if values and all(FILE_NAME.fullmatch(v) for v in values):
        return "file names"
    if PATIENT.search(words) and not (AGE.search(words) or SAFE.search(words) or DATED.search(words)):
        return "names and contacts" if re.search(r"\bname\b", words) else "patient"
    if PERSONAL.search(words):
        return "names and contacts"
    if AGE.search(words) and numeric:
        return "ages"
    if values and not (numeric and not DATED.search(words)) and _format(values):
        return "dates"
    if DATED.search(words) and not numeric:
        return "free text"
    if FILES.search(words) and not numeric and values and not SAFE.search(words):
        return "file names"
    if NUMBERED.search(words) and not (words.startswith(("n ", "number of")) or SAFE.search(words)):
        return "numbers of examinations"
    return ""


def _unnamed(words: str, values: Sequence[str], rules: Rules, *, numeric: bool) -> str:
    """Return what a column holds by its values, where its name does not tell."""
    if numeric or not values:
        return "numbers of examinations" if _identifying(values) else "numbers"
    plain = all(described(v.replace("_", " ")).split() == v.replace("_", " ").split() for v in set(values))
    if plain and not any(rules.identities.found_in(v) for v in set(values)):
        return "words"
    if len(set(values)) <= MOST_CLASSES and (SAFE.search(words) or len(set(values)) * 2 <= len(values)):
        return "mixed"
    return "free text"


def _identifying(values: Sequence[str]) -> bool:
    """Tell whether whole numbers look like numbers of persons: long, and nearly all different."""
    long = [v for v in values if LONG_NUMBER.fullmatch(v)]
    return len(long) * 2 > len(values) > 0 and len(set(long)) * 10 >= len(long) * 8


def _column(kind: str, column: Sequence[str], patients: Sequence[str] | None, rules: Rules) -> list[str] | None:
    """Return a column as it may stay, or None."""
    keys = rules.keys

    def each(change: Callable[[str], str]) -> list[str]:
        return [change(v) if v.lower() not in MISSING else ("" if kind == "patient" else v) for v in column]

    match kind:
        case "patient":
            return each(lambda v: _patient(v, keys))
        case "UIDs":
            return each(keys.uid)
        case "file names":
            return each(rules.new_path)
        case "numbers of examinations":
            return each(rules.new_stem)
        case "ages":
            return each(lambda v: str(OLDEST) if float(v.replace(",", ".").rstrip("%")) > OLDEST - 1 else v)
        case "dates":
            return _moved(column, patients, keys)
        case "numbers" | "words":
            return list(column)
        case "mixed":
            return each(lambda v: _class(v, rules))
        case _:
            return None


def _class(value: str, rules: Rules) -> str:
    """Return a class whose words are known; any other becomes a code, the same one always, so that classes stay."""
    plain = value.replace("_", " ")
    if described(plain).split() == plain.split() and not rules.identities.found_in(value):
        return value
    return "C" + rules.keys.token("class\0" + value, 6)


def _patient(value: str, keys: Keys) -> str:
    """Return the pseudonym that the images carry; one of BIDS keeps its form."""
    return ("sub-" if value.startswith("sub-") else "") + keys.patient("", value)


def _moved(column: Sequence[str], patients: Sequence[str] | None, keys: Keys) -> list[str] | None:
    """Return dates moved by each row's patient; None without patients."""
    form = _format([v for v in column if v.lower() not in MISSING])
    if patients is None or form is None:
        return None
    out = []
    for value, patient in zip(column, patients, strict=True):
        if value.lower() in MISSING or not patient:
            out.append("")
            continue
        try:
            days = datetime.timedelta(keys.shift_days(keys.patient("", patient)))
            out.append((datetime.datetime.strptime(value, form) + days).strftime(form))
        except (ValueError, OverflowError):
            out.append("")
    return out


def _format(values: Sequence[str]) -> str | None:
    """Return the spelling that fits every date of a column, or None."""
    different = sorted(set(values))
    return next((f for f in DATES if different and all(_fits(v, f) for v in different)), None)


def _fits(value: str, form: str) -> bool:
    try:
        return 1900 <= datetime.datetime.strptime(value, form).year <= 2100
    except ValueError:
        return False


def _date(value: str) -> bool:
    return any(_fits(value, f) for f in DATES)


def _heading(name: str, rules: Rules, number: int) -> str:
    """Return a column's name; one in which a known string or a long number stands becomes a number."""
    bad = rules.identities.found_in(name) or re.search(r"\d{5,}", name) or len(name) > 60
    return f"column_{number}" if bad else name.strip()


def sidecar(content: bytes, *, rules: Rules) -> Cleaned:
    """Return a JSON file of a data set with physics, sizes and the format's own words only.

    Args:
        content: A BIDS sidecar, nnU-Net's dataset.json, a COCO list of annotations or the like.
        rules: What to clean with.

    Raises:
        DataError: Not JSON, or nothing in it may stay.
    """
    try:
        data = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise cannot("Not a JSON file", "save it again") from error
    if not isinstance(data, dict):
        raise cannot("A JSON file that is not of names and values", "save its numbers as a table")
    if boxes.is_coco(data):
        return boxes.coco(data, rules.new_path, lambda v: _class(v, rules))
    kept = {k: v for k, v in ((k, _harmless(k, v, rules)) for k, v in data.items()) if v is not None}
    if not kept:
        raise cannot("A JSON file of which nothing may stay", "save the values that are needed as a table")
    removed = ("other keys",) if len(kept) < len(data) else ()
    return Cleaned((json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode("utf-8"), removed)


def _harmless(key: str, value: Any, rules: Rules) -> Any:
    """Return what may stay of a value, or None."""
    if key in FILE_KEYS:
        return _paths(value, rules)
    return _value(value, rules) if key in HARMLESS_KEYS else None


def _value(value: Any, rules: Rules) -> Any:
    if isinstance(value, bool | float) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 1_000_000 else None
    if isinstance(value, str):
        return (
            value
            if (NUMBER.fullmatch(value) and len(value) < 10) or FORMAT.fullmatch(value)
            else described(rules.identities.scrub(value))
        )
    if isinstance(value, list):
        return [_value(v, rules) for v in value]
    if isinstance(value, dict):
        named = {described(str(k).replace("_", " ")).replace(" ", "_") or str(k)[:3]: v for k, v in value.items()}
        return {k: _value(v, rules) for k, v in named.items()}
    return None


#: File endings, directions and versions.
FORMAT = re.compile(r"\.[a-z.]{2,8}|[ijk]-?|\d+(\.\d+){1,2}|SimpleITKIO|NibabelIO|NaturalImage2DIO|noNorm|zscore")


def _paths(value: Any, rules: Rules) -> Any:
    if isinstance(value, str):
        return rules.new_path(value) if FILE_NAME.fullmatch(value) else None
    if isinstance(value, list):
        return [_paths(v, rules) for v in value]
    if isinstance(value, dict):
        return {k: _paths(v, rules) for k, v in value.items() if k in FILE_KEYS}
    return None

"""Tables and JSON beside images: identifiers become the pseudonyms of the images, dates move, free text goes."""

import csv
import datetime
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lucency.deidentify import boxes, columns
from lucency.deidentify.cleaning import Cleaned, cannot
from lucency.deidentify.columns import FILE_NAME, MISSING, NUMBER
from lucency.deidentify.keys import Identities, Keys
from lucency.deidentify.vocabulary import described

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


#: Words of the format and of spreadsheets: the separator in the first line.
TOLD_SEPARATOR = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
REPLACED = (
    "Numbers that nothing shows to be measurements were replaced; name their column for what it measures to keep them."
)


def table(content: bytes, *, rules: Rules) -> Cleaned:
    """Return a table whose identifiers are the images' pseudonyms and whose dates are moved as theirs are.

    Columns of names, contacts and free text go, and birth dates. Patients, UIDs, file names and numbers of examinations
    are replaced, the same one always alike. Dates and years move with their patient; without a column of patients they
    go. Ages over 89 become 90. Numbers stay where their values (fractions, at most three digits) or their column's name
    show that they are measured; others are replaced. Words stay where each is in the vocabulary, and other classes
    become codes.

    Args:
        content: A whole file, UTF-8 (else GB18030, else Windows-1252), with names of columns in its first row and tabs,
            semicolons or commas between the cells.
        rules: What to clean with.

    Raises:
        DataError: Not a table, or no column may stay.
    """
    head, body, separator = _rows(content)
    cells = [[r[n].strip() for r in body] for n in range(len(head))]
    kinds = [columns.kind(name, column, rules.identities) for name, column in zip(head, cells, strict=True)]
    patients = next((cells[n] for n, k in enumerate(kinds) if k == "patient"), None)
    out: list[list[str]] = []
    removed: list[str] = []
    for name, column, kind in zip(head, cells, kinds, strict=True):
        done = _column(kind, column, columns.words(name), patients, rules)
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
    remarks = ["Classes with words that are not in the vocabulary became codes."] if "mixed" in kinds else []
    if any(
        k == "numbers of examinations" and not columns.NUMBERED.search(columns.words(n))
        for n, k in zip(head, kinds, strict=True)
    ):
        remarks.append(REPLACED)
    return Cleaned(stream.getvalue().encode("utf-8"), tuple(dict.fromkeys(removed)), tuple(remarks))


def _rows(content: bytes) -> tuple[list[str], list[list[str]], str]:
    """Return names of columns, rows of as many cells, and the separator.

    The separator is the one of tab, semicolon and comma that occurs most often in the first line.
    """
    text = _decoded(content)
    told = TOLD_SEPARATOR.match(text)
    text = text[told.end() :] if told else text
    separator = told[1] if told else max(",;\t", key=text.split("\n", 1)[0].count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise cannot("A table whose cells cannot be told apart", "save it again as CSV") from error
    rows = [r for r in rows if any(cell.strip() for cell in r)]
    if len(rows) < 2 or any(len(r) > len(rows[0]) for r in rows):
        raise cannot("Not a table with one row of names and rows of as many cells", "save it again as CSV")
    if _looks_like_data(rows[0]):
        raise cannot("A table without a first row of column names", "add one")
    return rows[0], [[*r, *[""] * (len(rows[0]) - len(r))] for r in rows[1:]], separator


#: One or two bytes above 127 within a word of Latin letters: Windows-1252, where GB18030 would see a Chinese character.
WESTERN = re.compile(rb"[A-Za-z][\x80-\xff]{1,2}[a-z]")


def _decoded(content: bytes) -> str:
    if b"\0" in content[:4096]:
        raise cannot("Not a text file, or in UTF-16", "save it again as CSV in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        chinese = content.decode("gb18030")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")
    names = columns.words(chinese.split("\n", 1)[0])
    if WESTERN.search(content) and not columns.in_chinese(names):
        return content.decode("cp1252", "replace")
    return chinese


def _looks_like_data(row: Sequence[str]) -> bool:
    cells = [c.strip() for c in row]
    return any(NUMBER.fullmatch(c) or FILE_NAME.fullmatch(c) or columns.is_dates([c]) for c in cells)


def _column(
    kind: str, column: Sequence[str], told: str, patients: Sequence[str] | None, rules: Rules
) -> list[str] | None:
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
            return each(lambda v: columns.capped(v, told))
        case "dates" | "years":
            return _moved(column, patients, keys, years=kind == "years")
        case "numbers":
            known = rules.identities.whole_numbers
            return each(lambda v: "" if re.sub(r"[.,]0*$", "", v.lstrip("+-")).lstrip("0") in known else v)
        case "words":
            return list(column)
        case "mixed":
            return each(lambda v: _class(v, rules))
        case _:
            return None


def _class(value: str, rules: Rules) -> str:
    """Return a class whose words are known; any other becomes a code, the same one always, so that classes stay."""
    if columns.is_plain(value) and not columns.is_identifier(value) and not rules.identities.found_in(value):
        return value
    return "C" + rules.keys.token("class\0" + value, 6)


def _patient(value: str, keys: Keys) -> str:
    """Return the pseudonym that the images carry; one of BIDS keeps its form."""
    return ("sub-" if value.startswith("sub-") else "") + keys.patient("", value)


def _moved(column: Sequence[str], patients: Sequence[str] | None, keys: Keys, *, years: bool) -> list[str] | None:
    """Return dates or years moved by each row's patient; None without patients.

    A year alone moves as its first day would. A date that could have two meanings goes.
    """
    if patients is None:
        return None
    common = None if years else columns.date_format(sorted({v for v in column if v.lower() not in MISSING}))
    out = []
    for value, patient in zip(column, patients, strict=True):
        form = "%Y" if years else common or columns.format_of(value)
        if value.lower() in MISSING or patient.lower() in MISSING or form is None:
            out.append("")
            continue
        try:
            days = datetime.timedelta(keys.shift_days(keys.patient("", patient)))
            plain = str(int(float(value.replace(",", ".")))) if years else value
            out.append((datetime.datetime.strptime(plain, form) + days).strftime(form))
        except (ValueError, OverflowError):
            out.append("")
    return out


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

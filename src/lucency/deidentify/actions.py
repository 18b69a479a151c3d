"""Dummy values that are valid for their representation, and the codes and words that stand for what was removed."""

import re
import struct

from pydicom.charset import encode_string
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

REMOVED = "REMOVED"
#: Representations whose value is text in the dataset's character set (PS3.5, 6.1.2.3).
LOCAL_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
TEXT = LOCAL_TEXT | {"CS", "AE", "UR"}
DATED = frozenset({"DA", "TM", "DT"})
#: Bytes of one value of the binary numbers.
N_BYTES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8, "FL": 4, "FD": 8, "AT": 4, "OF": 4, "OD": 8, "OL": 4}
DUMMIES = {
    "AS": "000Y",
    # The first day that old validators take for a date; 0001-01-01 is refused by some.
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "DS": "0",
    "IS": "0",
    "UR": "urn:removed",
}
#: Attributes whose value must be one of a list.
DEFINED = {"ReasonForTheAttributeModification": "COERCE", "TimezoneOffsetFromUTC": "+0000"}
#: Coding schemes of the standard and of public terminologies (PS3.16, table 8-1): their meanings name no person.
PUBLIC_SCHEMES = frozenset(
    {"DCM", "SRT", "SCT", "SNM3", "99SDM", "LN", "RADLEX", "RADELEMENT", "UMLS", "FMA", "NCIt", "UCUM", "UBERON"}
    | {"RPID", "I9", "I9C", "I10", "I10P", "I11", "C4", "BI", "MSH", "NEU", "ISO639_1", "ISO639_2", "ISO3166_1"}
    | {"NEUROLEX", "FDATRE", "ACR", "RFC3066", "RFC5646", "HPO", "OPCS4", "PUBCHEM_CID", "RXNORM", "ICDO3", "CVX"}
)
#: A letter run with an @, or eight and more digits as in a telephone number: in free text nobody needs them.
CONTACT = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+|\+?\(?\d[\d\s()/\-.]{8,}\d|https?://\S+")


def dummy(vr: str, keyword: str, n_bytes: int = 0) -> bytes:
    """Return a value that is valid for a representation and says nothing.

    Args:
        vr: Value representation.
        keyword: Keyword of the attribute.
        n_bytes: Length of what it replaces, for values that are bytes.
    """
    if keyword in DEFINED:
        return DEFINED[keyword].encode()
    if vr in N_BYTES:
        return bytes(max(n_bytes // N_BYTES[vr], 1) * N_BYTES[vr])
    if vr in {"OB", "OW", "OV", "UN"}:
        return bytes(max(n_bytes + n_bytes % 2, 2))
    return DUMMIES.get(vr, REMOVED).encode()


def put(dataset: Dataset, tag: int, vr: str, value: bytes) -> None:
    """Store the bytes of a value as a file would hold them; nothing is parsed.

    Args:
        dataset: Dataset to change.
        tag: Tag of the element.
        vr: Its value representation.
        value: Its bytes, padded here to even length.
    """
    if len(value) % 2:
        value += b"\0" if vr in {"UI", "OB", "UN"} else b" "
    implicit, little = dataset.original_encoding
    key = BaseTag(tag)
    dataset._dict[key] = RawDataElement(key, vr, len(value), value, 0, bool(implicit), little is not False)


def put_text(dataset: Dataset, tag: int, vr: str, text: str, codecs: list[str]) -> None:
    """Store text in the dataset's character set."""
    put(dataset, tag, vr, text.encode() if text.isascii() else encode_string(text, codecs))


def number(value: float, vr: str, *, little: bool) -> bytes:
    """Return the bytes of one binary number."""
    return struct.pack(("<" if little else ">") + {"US": "H", "SS": "h", "UL": "I", "SL": "i"}[vr], value)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return one item of a code sequence (PS3.3, 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def removed_code() -> Dataset:
    """Return the code that stands where a code was removed; private by its scheme, as PS3.3, 8.2 asks."""
    return code("REMOVED", "99LUCENCY", "Removed")


def dummy_items(keyword: str, old: Sequence) -> Sequence | None:
    """Return items that stand for those of a sequence which must have some; None where their form has to be kept.

    Args:
        keyword: Of the sequence.
        old: Its items.
    """
    if keyword == "ContentSequence":
        return content_dummy()
    if keyword == "GraphicAnnotationSequence":
        return annotation_dummy(old)
    return Sequence([removed_code()]) if keyword.endswith("CodeSequence") else None


def content_dummy() -> Sequence:
    """Return the content of a structured report whose own was removed: one sentence that says so."""
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = Sequence([code("121071", "DCM", "Finding")])
    item.TextValue = "Content removed by de-identification"
    return Sequence([item])


def annotation_dummy(old: Sequence) -> Sequence:
    """Return graphic annotations that hold a point and no text, for a presentation state that must have some."""
    item = Dataset()
    item.GraphicLayer = "REMOVED"
    graphic = Dataset()
    graphic.GraphicAnnotationUnits, graphic.GraphicDimensions, graphic.NumberOfGraphicPoints = "PIXEL", 2, 1
    graphic.GraphicData, graphic.GraphicType = [1.0, 1.0], "POINT"
    item.GraphicObjectSequence = Sequence([graphic])
    if len(old) and "GraphicLayer" in old[0]:
        item.GraphicLayer = old[0].GraphicLayer
    return Sequence([item])

"""One dataset, cleaned in place: every element at every depth meets a rule, and what has no rule is removed.

Elements stay bytes as long as nothing has to change in them, so that a file of eighty elements costs little more than
reading and writing it.

Source:
    DICOM PS3.15, Annex E; PS3.5, 7.8 (private elements); PS3.10, 7.1 (file meta information).
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from lucency import __version__
from lucency.deidentify import actions, dates, faces, table
from lucency.deidentify.actions import put
from lucency.deidentify.ages import cap_age
from lucency.deidentify.elements import CHARSET, codecs_of, sequence
from lucency.deidentify.keys import Identities, Keys
from lucency.deidentify.rules import Rules
from lucency.deidentify.table import Options
from lucency.errors import ReadError

#: Deeper than any real report; stops files made to exhaust the stack.
DEEPEST = 48
#: Text of content items, which the table reaches by the sequence around them.
ALWAYS_DESCRIBED = frozenset({0x0040A160})
#: Attributes that carry the patient's pseudonym.
PSEUDONYMOUS = frozenset({0x00100010, 0x00100020, 0x00120040})
#: Identifiers that only need to be told apart: the same one gets the same token in every file.
TOKENS = frozenset({0x00400512, 0x00400551})
#: Representations of PS3.5, 6.2, with those that pydicom leaves open between two; None for implicit ones.
VRS = frozenset(str(vr) for vr in pydicom.valuerep.VR) | {None}
#: Under which name the report counts slices whose face was removed.
SHEARED = "face sheared"
INSTITUTION = table.KEEP["institution"][0]
IMPLEMENTATION_UID = "2.25.182931405628309872157293046520193857461"


@dataclass(frozen=True)
class Person:
    """Whose file it is.

    Args:
        pseudonym: Stands for Patient ID and name.
        shift: How far the dates move.
        identities: Strings by which the patient is known, looked for in every text.
        patient_id: The ID that the pseudonym replaces, to tell other patients' IDs in the same file.
        shears: Frame of Reference UID to the plane in front of which faces are removed.
    """

    pseudonym: str
    shift: dates.Shift
    identities: Identities
    patient_id: str = ""
    shears: Mapping[str, faces.Shear] = field(default_factory=dict)


@dataclass
class Spot:
    """Where in the file the engine is."""

    iod: str
    person: Person
    codecs: list[str]
    counts: Counter[str]
    parent: str = ""
    depth: int = 0


class Engine(Rules):
    """Cleans datasets under one key and one choice of options.

    Args:
        keys: Source of pseudonyms, UIDs and shifts.
        options: What is kept and cleaned.
    """

    def __init__(self, keys: Keys, options: Options) -> None:
        super().__init__(keys, options)
        self._plans: dict[tuple[str, str], dict[int, Callable[[Dataset, int, Spot], None]]] = {}
        self._codes_done = [actions.code(value, "DCM", meaning) for value, meaning in options.codes]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was worked out on the way: another process makes it anew, and functions do not travel."""
        return {**self.__dict__, "_plans": {}}

    def clean(self, dataset: Dataset, person: Person) -> Counter[str]:
        """Clean a dataset in place.

        Args:
            dataset: As pydicom read it. Its pixels are not looked at, save where a face is to be removed.
            person: Whose it is.

        Returns:
            How many elements met which rule.

        Raises:
            ReadError: Sequences nested deeper than any real object.
            DataError: A face was to be removed and cannot be.
        """
        counts: Counter[str] = Counter()
        sop_class = str(dataset.get("SOPClassUID", "") or "")
        place = Spot(table.iod_of(sop_class), person, codecs_of(dataset, ["iso8859"]), counts)
        sheared = faces.shear_where_planned(dataset, person.shears)
        if sheared:
            counts[SHEARED] += 1
        self._walk(dataset, place)
        self._say_so(dataset, sheared=sheared)
        return counts

    def meta(self, dataset: Dataset, transfer_syntax: str) -> FileMetaDataset:
        """Return file meta information made anew: nothing of the sender's goes through."""
        done = {str(code.CodeValue) for code in dataset.get("DeidentificationMethodCodeSequence") or ()}
        # What was sheared is uncompressed now.
        syntax = str(dataset.file_meta.TransferSyntaxUID) if faces.CODE[0] in done else transfer_syntax
        meta = FileMetaDataset()
        meta.set_original_encoding(False, True, "iso8859")
        put(meta, 0x00020001, "OB", b"\0\1")
        put(meta, 0x00020002, "UI", str(dataset.SOPClassUID).encode())
        put(meta, 0x00020003, "UI", str(dataset.SOPInstanceUID).encode())
        put(meta, 0x00020010, "UI", syntax.encode())
        put(meta, 0x00020012, "UI", IMPLEMENTATION_UID.encode())
        put(meta, 0x00020013, "SH", f"LUCENCY_{__version__}"[:16].encode())
        return meta

    def _say_so(self, dataset: Dataset, *, sheared: bool) -> None:
        method = f"Lucency {__version__}\\DICOM PS3.15 Annex E, Table E.1-1 of 2026c"
        changed = {"shift": "MODIFIED", "remove": "REMOVED", "keep": "UNMODIFIED"}[self.options.dates]
        put(dataset, 0x00120062, "CS", b"YES")
        put(dataset, 0x00120063, "LO", method.encode())
        codes = [*self._codes_done, actions.code(*faces.CODE)] if sheared else self._codes_done
        dataset.add(sequence(0x00120064, sorted(codes, key=lambda c: str(c.CodeValue))))
        put(dataset, 0x00280303, "CS", changed.encode())

    def _walk(self, dataset: Dataset, place: Spot) -> None:
        if place.depth > DEEPEST:
            raise ReadError("Sequences nested more than 48 deep", remedy="leave the file out; it was made to do harm")
        plan = self._plans.setdefault((place.iod, place.parent), {})
        for tag in sorted(dataset._dict, key=int):
            if dataset._dict[tag].VR not in VRS:
                raise ReadError("An element is of a kind that does not exist", remedy="fetch it again; it is damaged")
            step = plan.get(tag)
            if step is None:
                step = plan[tag] = self._step(tag, place)
            step(dataset, tag, place)

    # What a tag means under the options ------------------------------------------------------------------------

    def _step(self, tag: int, place: Spot) -> Callable[[Dataset, int, Spot], None]:
        """Return the rule for a tag at this kind of place."""
        group, element = tag >> 16, tag & 0xFFFF
        if group & 1:
            return self._private
        if element == 0 or group in {0, 2, 4, 6, 0xFFFE} or (group >> 8 in {0x50, 0x60, 0x7F} and group != 0x7FE0):
            return self._drop
        if tag == CHARSET:
            return self._charset
        if not dictionary_has_tag(tag):
            return self._drop
        vr = dictionary_VR(tag)
        row = table.row_of(tag)
        if tag in ALWAYS_DESCRIBED:
            return self._described("D")
        return self._unlisted(tag, vr) if row is None else self._listed(tag, vr, row, place)

    def _unlisted(self, tag: int, vr: str) -> Callable[[Dataset, int, Spot], None]:
        """Attributes that the table leaves alone are still looked through for the patient."""
        if vr == "SQ":
            return self._recurse
        if vr in actions.DATED:
            return self._date if self.options.dates != "remove" else self._dummied
        by_vr = {"PN": self._empty, "AS": self._age, "UI": self._uid, "AE": self._drop, "UR": self._drop}
        if vr in by_vr:
            return by_vr[vr]
        if vr in actions.TEXT:
            return self._text
        if vr in {"DS", "IS"}:
            return self._number
        return self._bytes

    def _listed(self, tag: int, vr: str, row: table.Row, place: Spot) -> Callable[[Dataset, int, Spot], None]:
        keyword = keyword_for_tag(tag)
        wanted, column = table.action(row, self.options)
        basic = table.settled(row.basic, table.type_of(place.iod, place.parent, keyword))
        act = table.settled(wanted, table.type_of(place.iod, place.parent, keyword))
        if act == "C":
            return self._cleaned(vr, column, basic)
        if act == "K":
            kept = self._institution if column == INSTITUTION and vr in actions.TEXT else self._unlisted(tag, vr)
            return self._kept if vr in actions.DATED or vr == "UI" else kept
        return self._basic(act, tag, vr)

    def _basic(self, act: str, tag: int, vr: str) -> Callable[[Dataset, int, Spot], None]:
        if tag in PSEUDONYMOUS and act in "ZD":
            return self._pseudonym
        if act == "X":
            return self._drop
        if act == "U" or (act == "D" and vr == "UI"):
            return self._recurse if vr == "SQ" else self._uid
        if act == "Z":
            return self._empty
        if tag in TOKENS:
            return self._token
        return self._dummied

    def _cleaned(self, vr: str, column: str, basic: str) -> Callable[[Dataset, int, Spot], None]:
        """Return the rule for C, whose meaning depends on the option (PS3.15, E.3)."""
        if column == "retain_longitudinal_modified_dates" and vr in actions.DATED:
            return self._date
        if column in {"clean_structured_content", "clean_graphics"} and vr == "SQ":
            return self._recurse
        if column in {"clean_descriptors", "retain_patient_characteristics"}:
            if vr == "SQ":
                return self._codes(basic)
            if vr in actions.LOCAL_TEXT:
                return self._described(basic)
        if column == "retain_device_identity" and vr == "AE":
            return self._token
        return {"X": self._drop, "Z": self._empty}.get(basic, self._dummied)

    def _recurse(self, dataset: Dataset, tag: int, place: Spot) -> None:
        value = dataset[tag].value
        if not isinstance(value, Sequence):
            self._drop(dataset, tag, place)
            return
        keyword = keyword_for_tag(tag)
        for item in value:
            codecs = codecs_of(item, place.codecs)
            self._walk(item, Spot(place.iod, place.person, codecs, place.counts, keyword, place.depth + 1))
        if keyword == "MeasuredValueSequence" and cap_age(dataset):
            place.counts["great age"] += 1

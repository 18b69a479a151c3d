"""One dataset, cleaned in place: every element at every depth meets a rule, and what has no rule is removed.

Elements stay bytes as long as nothing has to change in them, so that a file of eighty elements costs little more than
reading and writing it.

Source:
    DICOM PS3.15, Annex E; PS3.5, 7.8 (private elements); PS3.10, 7.1 (file meta information).
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from lucency import __version__
from lucency.deidentify import actions, dates, faces, private, table
from lucency.deidentify.actions import put, put_text
from lucency.deidentify.ages import cap_age
from lucency.deidentify.elements import (
    CHARSET,
    codecs_of,
    is_public,
    is_valid,
    private_vr,
    raw_of,
    sequence,
    silence,
    text_of,
    time_beside,
)
from lucency.deidentify.keys import STANDARD_ROOT, Identities, Keys
from lucency.deidentify.scrubbing import Scrubber
from lucency.deidentify.table import Options
from lucency.errors import ReadError

#: Deeper than any real report; stops files made to exhaust the stack.
DEEPEST = 48
#: Keywords of UIDs that name a kind of thing, not a thing: they stay, even those of a maker.
KIND_OF_THING = re.compile(r"(ClassUID|SyntaxUID|CodingSchemeUID|MappingResourceUID|ContextUID)(InFile)?$")
#: Text of content items, which the table reaches by the sequence around them.
ALWAYS_DESCRIBED = frozenset({0x0040A160})
#: Attributes that carry the patient's pseudonym.
PSEUDONYMOUS = frozenset({0x00100010, 0x00100020, 0x00120040})
#: Identifiers that only need to be told apart: the same one gets the same token in every file.
TOKENS = frozenset({0x00400512, 0x00400551})
#: Representations of PS3.5, 6.2, with those that pydicom leaves open between two; None for implicit ones.
VRS = frozenset(str(vr) for vr in pydicom.valuerep.VR) | {None}
NUMBER = re.compile(rb"[0-9+\-.eE\\ \0]*")
#: Bytes of numbers too few to hold a name.
SHORT = 4
#: Characters that no text has (PS3.5, 6.1.3); the escapes of ISO 2022 are gone once it is decoded.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")
#: Under which name the report counts slices whose face was removed.
SHEARED = "face sheared"
INSTITUTION = table.KEEP["institution"][0]
IMPLEMENTATION_UID = "2.25.182931405628309872157293046520193857461"
PIXELS = 0x7FE00010


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
class _Place:
    """Where in the file the engine is."""

    iod: str
    person: Person
    codecs: list[str]
    counts: Counter[str]
    parent: str = ""
    depth: int = 0


class Engine:
    """Cleans datasets under one key and one choice of options.

    Args:
        keys: Source of pseudonyms, UIDs and shifts.
        options: What is kept and cleaned.

    Its ``scrubber`` knows everybody of the run once a session has told it.
    """

    def __init__(self, keys: Keys, options: Options) -> None:
        self.keys, self.options = keys, options
        self._plans: dict[tuple[str, str], dict[int, Callable[[Dataset, int, _Place], None]]] = {}
        self.scrubber = Scrubber()
        self._codes_done = [actions.code(value, "DCM", meaning) for value, meaning in options.codes]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was worked out on the way: another process makes it anew, and functions do not travel."""
        return {**self.__dict__, "_plans": {}}

    def clean(self, dataset: Dataset, person: Person) -> Counter[str]:
        """Clean a dataset in place.

        Args:
            dataset: As pydicom read it. Its pixels are not looked at.
            person: Whose it is.

        Returns:
            How many elements met which rule.

        Raises:
            ReadError: Sequences nested deeper than any real object.
        """
        counts: Counter[str] = Counter()
        sop_class = str(dataset.get("SOPClassUID", "") or "")
        place = _Place(table.iod_of(sop_class), person, codecs_of(dataset, ["iso8859"]), counts)
        sheared = faces.shear_where_planned(dataset, person.shears)
        if sheared:
            counts[SHEARED] += 1
        self._walk(dataset, place)
        self._say_so(dataset, sheared=sheared)
        return counts

    def meta(self, dataset: Dataset, transfer_syntax: str) -> FileMetaDataset:
        """Return file meta information made anew: nothing of the sender's goes through."""
        meta = FileMetaDataset()
        meta.FileMetaInformationVersion = b"\0\1"
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        done = {str(code.CodeValue) for code in dataset.get("DeidentificationMethodCodeSequence") or ()}
        # What was sheared is uncompressed now.
        meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID if faces.CODE[0] in done else transfer_syntax
        meta.ImplementationClassUID = IMPLEMENTATION_UID
        meta.ImplementationVersionName = f"LUCENCY_{__version__}"[:16]
        return meta

    def _say_so(self, dataset: Dataset, *, sheared: bool) -> None:
        method = f"Lucency {__version__}\\DICOM PS3.15 Annex E, Table E.1-1 of 2026c"
        changed = {"shift": "MODIFIED", "remove": "REMOVED", "keep": "UNMODIFIED"}[self.options.dates]
        put(dataset, 0x00120062, "CS", b"YES")
        put(dataset, 0x00120063, "LO", method.encode())
        codes = [*self._codes_done, actions.code(*faces.CODE)] if sheared else self._codes_done
        dataset.add(sequence(0x00120064, sorted(codes, key=lambda c: str(c.CodeValue))))
        put(dataset, 0x00280303, "CS", changed.encode())

    def _walk(self, dataset: Dataset, place: _Place) -> None:
        if place.depth > DEEPEST:
            raise ReadError("Sequences nested more than 48 deep", remedy="leave the file out; it was made to do harm")
        plan = self._plans.setdefault((place.iod, place.parent), {})
        for tag in sorted(dataset._dict):
            if dataset._dict[tag].VR not in VRS:
                raise ReadError("An element is of a kind that does not exist", remedy="fetch it again; it is damaged")
            step = plan.get(tag)
            if step is None:
                step = plan[tag] = self._step(tag, place)
            step(dataset, tag, place)

    # What a tag means under the options ------------------------------------------------------------------------

    def _step(self, tag: int, place: _Place) -> Callable[[Dataset, int, _Place], None]:
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

    def _unlisted(self, tag: int, vr: str) -> Callable[[Dataset, int, _Place], None]:
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

    def _listed(self, tag: int, vr: str, row: table.Row, place: _Place) -> Callable[[Dataset, int, _Place], None]:
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

    def _basic(self, act: str, tag: int, vr: str) -> Callable[[Dataset, int, _Place], None]:
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

    def _cleaned(self, vr: str, column: str, basic: str) -> Callable[[Dataset, int, _Place], None]:
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

    # The rules --------------------------------------------------------------------------------------------------

    def _drop(self, dataset: Dataset, tag: int, place: _Place) -> None:
        del dataset._dict[tag]
        place.counts["removed"] += 1

    def _empty(self, dataset: Dataset, tag: int, place: _Place) -> None:
        vr = dictionary_VR(tag)
        if vr == "SQ":
            dataset[tag] = sequence(tag, [])
        else:
            put(dataset, tag, vr, b"")
        place.counts["emptied"] += 1

    def _dummied(self, dataset: Dataset, tag: int, place: _Place) -> None:
        vr, keyword = dictionary_VR(tag), keyword_for_tag(tag)
        if vr == "SQ":
            self._dummy_items(dataset, tag, place)
        else:
            raw, written = raw_of(dataset, tag)
            vr = written if written in {"OB", "OW"} else vr
            put(dataset, tag, vr, actions.dummy(vr, keyword, len(raw)))
        place.counts["replaced"] += 1

    def _dummy_items(self, dataset: Dataset, tag: int, place: _Place) -> None:
        """Keep the form of a sequence and none of its words."""
        old = dataset[tag].value
        items = actions.dummy_items(keyword_for_tag(tag), old)
        if items is not None:
            dataset[tag] = sequence(tag, items)
            return
        dataset[tag] = sequence(tag, list(old)[:1])
        self._recurse(dataset, tag, place)
        for item in dataset[tag].value:
            silence(item)

    def _pseudonym(self, dataset: Dataset, tag: int, place: _Place) -> None:
        value = place.person.pseudonym
        if tag == 0x00100020 and place.depth:
            text = text_of(dataset, tag, place.codecs).strip(" \0")
            if text and text != place.person.patient_id:
                value = self.keys.patient("", text)
        put(dataset, tag, dictionary_VR(tag), value.encode())
        place.counts["pseudonyms"] += 1

    def _token(self, dataset: Dataset, tag: int, place: _Place) -> None:
        text = text_of(dataset, tag, place.codecs).strip(" \0")
        put(dataset, tag, dictionary_VR(tag), f"ID{self.keys.token(text, 12).upper()}".encode() if text else b"")
        place.counts["pseudonyms"] += 1

    def _uid(self, dataset: Dataset, tag: int, place: _Place) -> None:
        raw, _ = raw_of(dataset, tag)
        if table.row_of(tag) is None and (
            "uids" in self.options.keep or KIND_OF_THING.search(keyword_for_tag(tag)) is not None
        ):
            self._kept(dataset, tag, place)
            return
        values = [v.strip(" \0") for v in raw.decode("ascii", "replace").split("\\")]
        new = "\\".join(v if v.startswith(STANDARD_ROOT) else self.keys.uid(v) for v in values)
        put(dataset, tag, "UI", new.encode())
        place.counts["uids"] += 1

    def _date(self, dataset: Dataset, tag: int, place: _Place) -> None:
        vr = dictionary_VR(tag)
        raw, _ = raw_of(dataset, tag)
        if self.options.dates == "keep":
            self._kept(dataset, tag, place)
            return
        if not raw.strip(b" \0"):
            return
        shift = place.person.shift
        beside = time_beside(dataset, tag) if vr == "DA" else ""
        moved = []
        for value in raw.decode("ascii", "replace").split("\\"):
            by_vr = {"DA": lambda v: shift.date(v, beside), "TM": shift.time, "DT": shift.datetime}
            moved.append(by_vr[vr](value) if value.strip(" \0") else "")
        if None in moved:  # not a date: nothing says what it is, so nothing of it stays
            place.counts["not a date"] += 1
            put(dataset, tag, vr, actions.dummy(vr, ""))
            return
        put(dataset, tag, vr, "\\".join(v or "" for v in moved).encode())
        place.counts["dates"] += 1

    def _kept(self, dataset: Dataset, tag: int, place: _Place) -> None:
        """Keep a date or UID that is one."""
        vr = dictionary_VR(tag)
        raw, _ = raw_of(dataset, tag)
        values = raw.decode("ascii", "replace").split("\\")
        valid = all(not v.strip(" \0") or is_valid(vr, v) for v in values)
        if not valid:
            put(dataset, tag, vr, actions.dummy(vr, "") if vr in actions.DATED else b"")
            place.counts["not a date"] += 1

    def _age(self, dataset: Dataset, tag: int, place: _Place) -> None:
        raw, _ = raw_of(dataset, tag)
        put(dataset, tag, "AS", (dates.age(raw.decode("ascii", "replace")) or "").encode())

    def _text(self, dataset: Dataset, tag: int, place: _Place, *, alone: bool = True) -> None:
        """Keep a text without the strings by which the patient, or another of the run, is known."""
        vr = dictionary_VR(tag)
        text = text_of(dataset, tag, place.codecs)
        if CONTROL.search(text):  # the value of a damaged file runs on into the elements behind it
            put(dataset, tag, vr, b"")
            place.counts["not a text"] += 1
            return
        clean = self.scrubber.text(text, vr, place.person.identities, alone=alone)
        if clean != text:
            put_text(dataset, tag, vr, clean, place.codecs)
            place.counts["identity in text"] += 1

    def _institution(self, dataset: Dataset, tag: int, place: _Place) -> None:
        """Keep the name of an institution, which may be that of a person, but not of another patient in full."""
        self._text(dataset, tag, place, alone=False)

    def _described(self, basic: str) -> Callable[[Dataset, int, _Place], None]:
        """Keep the words of the vocabulary; with none left, do what the basic profile asks."""
        instead = {"X": self._drop, "Z": self._empty}.get(basic, self._dummied)

        def step(dataset: Dataset, tag: int, place: _Place) -> None:
            text = text_of(dataset, tag, place.codecs)
            if not text.strip(" \0"):
                return
            vr = dictionary_VR(tag)
            words = self.scrubber.words(text, place.person.identities)
            if words:
                put_text(dataset, tag, vr, words, place.codecs)
                place.counts["described"] += 1
            else:
                instead(dataset, tag, place)

        return step

    def _codes(self, basic: str) -> Callable[[Dataset, int, _Place], None]:
        """Keep the items of a sequence that are codes of a public terminology."""
        instead = {"X": self._drop, "Z": self._empty}.get(basic, self._dummied)

        def step(dataset: Dataset, tag: int, place: _Place) -> None:
            items = [i for i in dataset[tag].value if is_public(i)]
            if items:
                dataset[tag] = sequence(tag, items)
                self._recurse(dataset, tag, place)
            else:
                instead(dataset, tag, place)

        return step

    def _number(self, dataset: Dataset, tag: int, place: _Place) -> None:
        raw, _ = raw_of(dataset, tag)
        if not NUMBER.fullmatch(raw):
            put(dataset, tag, dictionary_VR(tag), b"")
            place.counts["not a number"] += 1
            return
        vr = dictionary_VR(tag)
        new = self.scrubber.number(raw, vr, place.person.identities)
        if new is not raw:
            put(dataset, tag, vr, new)
            place.counts["identity in number"] += 1

    def _bytes(self, dataset: Dataset, tag: int, place: _Place) -> None:
        """Keep numbers; of bytes only those that hold none of the longer strings of the patient."""
        element = dataset._dict[tag]
        if element.VR in actions.TEXT:  # text where the dictionary has numbers
            self._drop(dataset, tag, place)
            return
        raw = raw_of(dataset, tag)[0]
        if tag == PIXELS or len(raw) <= SHORT:
            return
        if self.scrubber.names_somebody(raw, dictionary_VR(tag), place.person.identities):
            self._drop(dataset, tag, place)
            place.counts["identity in bytes"] += 1

    def _charset(self, dataset: Dataset, tag: int, place: _Place) -> None:
        """Keep the character set; what no reader knows becomes UTF-8, in which new text is written."""
        if place.codecs == ["utf8"] and b"192" not in raw_of(dataset, tag)[0]:
            put(dataset, tag, "CS", b"ISO_IR 192")

    def _recurse(self, dataset: Dataset, tag: int, place: _Place) -> None:
        value = dataset[tag].value
        if not isinstance(value, Sequence):
            self._drop(dataset, tag, place)
            return
        keyword = keyword_for_tag(tag)
        for item in value:
            codecs = codecs_of(item, place.codecs)
            self._walk(item, _Place(place.iod, place.person, codecs, place.counts, keyword, place.depth + 1))
        if keyword == "MeasuredValueSequence" and cap_age(dataset):
            place.counts["great age"] += 1

    def _private(self, dataset: Dataset, tag: int, place: _Place) -> None:
        if "safe-private" in self.options.keep and self._stays(dataset, tag, place):
            place.counts["safe private"] += 1
        else:
            self._drop(dataset, tag, place)

    def _stays(self, dataset: Dataset, tag: int, place: _Place) -> bool:
        group, element = tag >> 16, tag & 0xFFFF
        if 0x10 <= element <= 0xFF:  # a creator stays if an element of its block will
            block = [t for t in dataset._dict if t >> 16 == group and (t & 0xFFFF) >> 8 == element]
            return any(self._stays(dataset, t, place) for t in block)
        creator_tag = group << 16 | element >> 8
        if element < 0x1000 or creator_tag not in dataset._dict:
            return False
        creator = text_of(dataset, creator_tag, place.codecs).strip(" \0")
        raw, vr = raw_of(dataset, tag)
        if vr in {"UN", ""}:
            vr = private_vr(creator, tag)
        safe = vr != "SQ" and private.is_safe(creator, tag, vr, raw)
        text = raw.decode("latin-1")
        named = place.person.identities.found_in(text) or (
            vr in actions.TEXT | {"UN"} and self.scrubber.everybody.found_in(text)
        )
        return safe and not named

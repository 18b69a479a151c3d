"""What becomes of one element: removed, emptied, replaced, moved in time, or kept without anybody's name in it.

Which of these rules an attribute meets is settled in :mod:`lucency.deidentify.engine`.

Source:
    DICOM PS3.15, Table E.1-1a and E.3; PS3.5, 6.2 (value representations), 7.8 (private elements).
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset

from lucency.deidentify import actions, dates, makers, private, table
from lucency.deidentify.actions import put, put_text
from lucency.deidentify.elements import (
    is_public,
    is_valid,
    private_vr,
    raw_of,
    sequence,
    silence,
    text_of,
    time_beside,
)
from lucency.deidentify.keys import STANDARD_ROOT, Keys
from lucency.deidentify.scrubbing import Scrubber
from lucency.deidentify.table import Options

if TYPE_CHECKING:
    from lucency.deidentify.engine import Spot

#: Keywords of UIDs that name a kind of thing, not a thing: they stay, even those of a maker.
KIND_OF_THING = re.compile(r"(ClassUID|SyntaxUID|CodingSchemeUID|MappingResourceUID|ContextUID)(InFile)?$")
NUMBER = re.compile(rb"[0-9+\-.eE\\ \0]*")
#: Bytes of numbers too few to hold a name.
SHORT = 4
#: Characters that no text has (PS3.5, 6.1.3); the escapes of ISO 2022 are gone once it is decoded.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")
PIXELS = 0x7FE00010
#: Short texts that must have a value in many objects (code strings and labels of type 1): a name alone becomes a dummy.
NEEDED = frozenset({"CS", "LO", "SH", "UC"})
#: Letters for the digits of a token, so that it is nobody's number.
LETTERS = str.maketrans("0123456789abcdef", "GHIJKLMNOPABCDEF")
#: (0070,0002), which names the layer that an annotation belongs to.
GRAPHIC_LAYER = 0x00700002


class Rules(ABC):
    """The rules under one key and one choice of options; each is given a dataset, a tag in it and where that is.

    Args:
        keys: Source of pseudonyms, UIDs and shifts.
        options: What is kept and cleaned.

    Its ``scrubber`` knows everybody of the run once a session has told it.
    """

    def __init__(self, keys: Keys, options: Options) -> None:
        self.keys, self.options = keys, options
        self.scrubber = Scrubber()

    @abstractmethod
    def _recurse(self, dataset: Dataset, tag: int, place: "Spot") -> None:
        """Clean the items of a sequence."""

    def _drop(self, dataset: Dataset, tag: int, place: "Spot") -> None:
        del dataset._dict[tag]
        place.counts["removed"] += 1

    def _empty(self, dataset: Dataset, tag: int, place: "Spot") -> None:
        vr = dictionary_VR(tag)
        if vr == "SQ":
            dataset[tag] = sequence(tag, [])
        else:
            put(dataset, tag, vr, b"")
        place.counts["emptied"] += 1

    def _dummied(self, dataset: Dataset, tag: int, place: "Spot") -> None:
        vr, keyword = dictionary_VR(tag), keyword_for_tag(tag)
        if vr == "SQ":
            self._dummy_items(dataset, tag, place)
        else:
            raw, written = raw_of(dataset, tag)
            vr = written if written in {"OB", "OW"} else vr
            put(dataset, tag, vr, actions.dummy(vr, keyword, len(raw)))
        place.counts["replaced"] += 1

    def _dummy_items(self, dataset: Dataset, tag: int, place: "Spot") -> None:
        """Keep the form of a sequence and none of its words."""
        old = dataset[tag].value
        items = actions.dummy_items(keyword_for_tag(tag), old)
        if items is not None:
            dataset[tag] = sequence(tag, items)
            for item in items:
                if GRAPHIC_LAYER in item:  # the one word that a dummy takes over: layers refer to it
                    self._text(item, GRAPHIC_LAYER, place)
            return
        dataset[tag] = sequence(tag, list(old)[:1])
        self._recurse(dataset, tag, place)
        for item in dataset[tag].value:
            silence(item)

    def _pseudonym(self, dataset: Dataset, tag: int, place: "Spot") -> None:
        value = place.person.pseudonym
        if tag == 0x00100020 and place.depth:
            text = text_of(dataset, tag, place.codecs).strip(" \0")
            if text and text != place.person.patient_id:
                value = self.keys.patient("", text)
        put(dataset, tag, dictionary_VR(tag), value.encode())
        place.counts["pseudonyms"] += 1

    def _token(self, dataset: Dataset, tag: int, place: "Spot") -> None:
        text = text_of(dataset, tag, place.codecs).strip(" \0")
        put(dataset, tag, dictionary_VR(tag), f"ID{self.keys.token(text, 12).upper()}".encode() if text else b"")
        place.counts["pseudonyms"] += 1

    def _uid(self, dataset: Dataset, tag: int, place: "Spot") -> None:
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

    def _date(self, dataset: Dataset, tag: int, place: "Spot") -> None:
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

    def _kept(self, dataset: Dataset, tag: int, place: "Spot") -> None:
        """Keep a date or UID that is one."""
        vr = dictionary_VR(tag)
        raw, _ = raw_of(dataset, tag)
        values = raw.decode("ascii", "replace").split("\\")
        valid = all(not v.strip(" \0") or is_valid(vr, v) for v in values)
        if not valid:
            put(dataset, tag, vr, actions.dummy(vr, "") if vr in actions.DATED else b"")
            place.counts["not a date"] += 1

    def _age(self, dataset: Dataset, tag: int, place: "Spot") -> None:
        raw, _ = raw_of(dataset, tag)
        put(dataset, tag, "AS", (dates.age(raw.decode("ascii", "replace")) or "").encode())

    def _text(self, dataset: Dataset, tag: int, place: "Spot", *, alone: bool = True) -> None:
        """Keep a text without the strings by which the patient, or another of the run, is known."""
        vr = dictionary_VR(tag)
        text = text_of(dataset, tag, place.codecs)
        if CONTROL.search(text):  # the value of a damaged file runs on into the elements behind it
            put(dataset, tag, vr, b"")
            place.counts["not a text"] += 1
            return
        if tag == makers.MANUFACTURER and not place.depth and makers.is_maker(text):
            return
        clean = self.scrubber.text(text, vr, place.person.identities, alone=alone)
        if clean != text and tag == GRAPHIC_LAYER:
            # Annotations refer to their layer by this word: the same one everywhere, and never that of another.
            token = self.keys.token(text.strip(), 6).translate(LETTERS)
            clean = f"{clean.strip()[:9].strip() or 'LAYER'}_{token}"
        elif clean != text and vr in NEEDED and not clean.strip(" \\,;^"):
            clean = actions.dummy(vr, keyword_for_tag(tag)).decode()
        if clean != text:
            put_text(dataset, tag, vr, clean, place.codecs)
            place.counts["identity in text"] += 1

    def _institution(self, dataset: Dataset, tag: int, place: "Spot") -> None:
        """Keep the name of an institution, which may be that of a person, but not of another patient in full."""
        self._text(dataset, tag, place, alone=False)

    def _described(self, basic: str) -> Callable[[Dataset, int, "Spot"], None]:
        """Keep the words of the vocabulary; with none left, do what the basic profile asks."""
        instead = {"X": self._drop, "Z": self._empty}.get(basic, self._dummied)

        def step(dataset: Dataset, tag: int, place: "Spot") -> None:
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

    def _codes(self, basic: str) -> Callable[[Dataset, int, "Spot"], None]:
        """Keep the items of a sequence that are codes of a public terminology."""
        instead = {"X": self._drop, "Z": self._empty}.get(basic, self._dummied)

        def step(dataset: Dataset, tag: int, place: "Spot") -> None:
            items = [i for i in dataset[tag].value if is_public(i)]
            if items:
                dataset[tag] = sequence(tag, items)
                self._recurse(dataset, tag, place)
            else:
                instead(dataset, tag, place)

        return step

    def _number(self, dataset: Dataset, tag: int, place: "Spot") -> None:
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

    def _bytes(self, dataset: Dataset, tag: int, place: "Spot") -> None:
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

    def _charset(self, dataset: Dataset, tag: int, place: "Spot") -> None:
        """Keep the character set; what no reader knows becomes UTF-8, in which new text is written."""
        if place.codecs == ["utf8"] and b"192" not in raw_of(dataset, tag)[0]:
            put(dataset, tag, "CS", b"ISO_IR 192")

    def _private(self, dataset: Dataset, tag: int, place: "Spot") -> None:
        if "safe-private" in self.options.keep and self._stays(dataset, tag, place):
            place.counts["safe private"] += 1
        else:
            self._drop(dataset, tag, place)

    def _stays(self, dataset: Dataset, tag: int, place: "Spot") -> bool:
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

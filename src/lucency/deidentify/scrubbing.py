"""What is left of a text, a number or bytes once the patient, and every other patient of the run, is taken out of it.

The patient is looked for in every spelling (:class:`~lucency.deidentify.keys.Identities`), everybody else as whole
words (:class:`~lucency.deidentify.plain.PlainStrings`).
"""

import re

from lucency.deidentify import actions
from lucency.deidentify.elements import SPELLED_AS
from lucency.deidentify.keys import Identities
from lucency.deidentify.plain import PlainStrings
from lucency.deidentify.spellings import without_great_ages
from lucency.deidentify.vocabulary import described

CODE_STRING = re.compile(r"[A-Za-z0-9_ \\]*")
#: Texts that are remembered: those of one patient, most of which stand in each file of a series.
REMEMBERED = 20000
#: A run of letters in bytes, as long as the shortest name that counts alone and what stands around it. Shorter ones
#: turn up in any table of numbers.
RUN = re.compile(rb"[\x20-\x7e\x80-\xff]{8,}")
LETTERS = re.compile(rb"[A-Za-z\x80-\xff]{2}|\d{6}")


class Scrubber:
    """Takes people out of what stays.

    Args:
        everybody: All patients and physicians of the run.
    """

    def __init__(self, everybody: PlainStrings | None = None) -> None:
        self.everybody = everybody or PlainStrings.of((), ())
        self._whose = Identities()
        self._texts: dict[tuple[str, str, bool], str] = {}

    def text(self, text: str, vr: str, identities: Identities, *, alone: bool = True) -> str:
        """Return a text that stays, without anybody.

        Args:
            text: Decoded value.
            vr: Its value representation.
            identities: The patient's.
            alone: Whether another patient's family name by itself counts; St. Martin is a hospital, too.
        """
        if identities is not self._whose:
            if identities != self._whose:
                self._texts.clear()
            self._whose = identities  # held, so that no other patient's can come to lie in its place
        key = (vr, text, alone)
        found = self._texts.get(key)
        if found is None:
            if len(self._texts) > REMEMBERED:
                self._texts.clear()
            found = self._texts[key] = self._scrubbed(text, vr, identities, alone)
        return found

    def _scrubbed(self, text: str, vr: str, identities: Identities, alone: bool) -> str:
        found = self.without_people(text, identities, alone=alone)
        if vr != "CS":
            found = without_great_ages(found)
        if vr in {"LT", "ST", "UT"}:
            found = actions.CONTACT.sub("", found)
        if vr == "CS" and not CODE_STRING.fullmatch(found.strip(" \0")):
            found = described(found)[:16].strip()
        return found

    def words(self, text: str, identities: Identities) -> str:
        """Return the words of the vocabulary in a description."""
        return described(without_great_ages(self.without_people(text, identities)))

    def without_people(self, text: str, identities: Identities, *, alone: bool = True) -> str:
        """Return a text without the strings of the patient and of everybody else."""
        found = self.everybody.scrub(identities.scrub(text), alone=alone)
        # What stood on both sides of another's name may be the patient's, in two pieces.
        return identities.scrub(found) if found != text else text

    def number(self, raw: bytes, vr: str, identities: Identities) -> bytes:
        """Return the bytes of a number in text, 0 in the place of each that is a person's as a whole.

        Another patient's is looked for in whole numbers (IS) only: a measured one (DS) of as many digits may be a
        dose.
        """

        def is_somebody(value: bytes) -> bool:
            digits = value.lstrip(b"0").decode()
            return digits in own or (vr == "IS" and digits in self.everybody.numbers)

        own = identities.whole_numbers
        values = [v.strip(b" \0") for v in raw.split(b"\\")]
        if not any(map(is_somebody, values)):
            return raw
        return b"\\".join(b"0" if is_somebody(v) else v for v in values)

    def names_somebody(self, raw: bytes, vr: str, identities: Identities) -> bool:
        """Tell whether bytes hold one of the longer strings of the patient, or anybody's in a run of letters."""
        low = raw.lower()
        if any(n.lower().encode(c, "ignore") in low for n in identities.needles() for c in SPELLED_AS):
            return True
        if vr not in {"OB", "OW", "UN"}:
            return False
        runs = (run for part in (raw, raw[::2], raw[1::2]) for run in RUN.findall(part) if LETTERS.search(run))
        return any(self.everybody.found_in(run.decode("utf-8", "replace")) for run in runs)

"""The secret behind every pseudonym, and the strings by which one patient can be known.

One key file gives the same pseudonyms, UIDs and date shifts in every process and every run, so that files cleaned
in different months still belong together. Without the key nothing can be turned back.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path

from lucency.deidentify.matching import Matcher
from lucency.deidentify.plain import PlainStrings
from lucency.deidentify.spellings import NOBODY, folded
from lucency.deidentify.vocabulary import is_ordinary
from lucency.errors import OutputError, UsageError

#: First word of the key file; the number rises when derived values change.
KIND = "lucency de-identification key 1"
N_BYTES = 32
#: Dates move by 1 to 3652 days, always into the past, so that no examination lies in the future.
LONGEST_SHIFT_DAYS = 3652
#: UIDs with this root name classes, syntaxes, coding schemes and well-known frames: they identify nobody (PS3.6 A).
STANDARD_ROOT = "1.2.840.10008."


@dataclass(frozen=True)
class Keys:
    """Every derived value of one key file.

    Args:
        master: 32 random bytes.
    """

    master: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.master) != N_BYTES:
            raise UsageError(
                f"Key of {len(self.master)} bytes", expected=f"{N_BYTES} bytes", remedy="use the file lucency wrote"
            )

    @classmethod
    def create(cls, path: Path) -> "Keys":
        """Draw a new key and write it where only its owner may read it.

        Args:
            path: File that must not exist yet.

        Raises:
            UsageError: The file exists; a key is never written over.
            OutputError: The folder cannot be written.
        """
        keys = cls(secrets.token_bytes(N_BYTES))
        text = json.dumps({"kind": KIND, "id": keys.name, "key": base64.b64encode(keys.master).decode()}) + "\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            raise UsageError("The key file exists", where=path.name, remedy="use it, or name another") from None
        except OSError as error:
            raise OutputError(
                f"Cannot write the key ({error.strerror})", where=path.name, remedy="choose a writable folder"
            ) from error
        return keys

    @classmethod
    def load(cls, path: Path) -> "Keys":
        """Read a key file.

        Raises:
            UsageError: No such file, or not a key file of this program.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["kind"] != KIND:
                raise ValueError
            keys = cls(base64.b64decode(content["key"], validate=True))
            if keys.name != content["id"]:
                raise ValueError
        except FileNotFoundError:
            raise UsageError("No such key file", where=path.name, remedy="check the path") from None
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                "Not a key file, or altered",
                expected="the file that lucency wrote",
                where=path.name,
                remedy="restore it from its backup; another key gives other pseudonyms",
            ) from None
        return keys

    def derived(self, purpose: str, n_bytes: int = 32) -> bytes:
        """Return the sub-key of one purpose (HKDF-SHA-256, RFC 5869, without salt)."""
        pseudo = hmac.new(bytes(32), self.master, hashlib.sha256).digest()
        block, out, count = b"", b"", 1
        while len(out) < n_bytes:
            block = hmac.new(pseudo, block + b"lucency/" + purpose.encode() + bytes([count]), hashlib.sha256).digest()
            out, count = out + block, count + 1
        return out[:n_bytes]

    @cached_property
    def name(self) -> str:
        """Digest that names the key without telling it (12 hex digits)."""
        return self.derived("name").hex()[:12]

    @cached_property
    def _uid_key(self) -> bytes:
        return self.derived("uid")

    @cached_property
    def _patient_key(self) -> bytes:
        return self.derived("patient")

    @cached_property
    def _shift_key(self) -> bytes:
        return self.derived("shift")

    @cached_property
    def _token_key(self) -> bytes:
        return self.derived("token")

    def uid(self, old: str) -> str:
        """Return the UID that stands for ``old``: the same one in every file, process and run.

        Args:
            old: UID of an instance, series, study, frame of reference … UIDs of the standard itself come back as
                they are.

        Source:
            DICOM PS3.5, B.2 UUID Derived UID (root 2.25); RFC 9562, version 8.

        Example:
            >>> Keys(bytes(32)).uid("1.2.840.10008.1.2.1")
            '1.2.840.10008.1.2.1'
        """
        old = old.strip(" \0")
        return old if not old or old.startswith(STANDARD_ROOT) else _uid(self._uid_key, old)

    def patient(self, issuer: str, patient_id: str) -> str:
        """Return the pseudonym of a patient, usable as Patient ID, name and folder.

        Args:
            issuer: Issuer of Patient ID, or empty.
            patient_id: Patient ID as in the file; surrounding blanks do not count.
        """
        text = f"{issuer.strip()}\0{patient_id.strip(' ' + chr(0))}"
        return "P" + hmac.new(self._patient_key, text.encode(), hashlib.sha256).hexdigest()[:15].upper()

    def shift_days(self, patient: str) -> int:
        """Return by how many days the dates of a patient move: -3652 to -1.

        Args:
            patient: The pseudonym that :meth:`patient` gave.
        """
        digest = hmac.new(self._shift_key, patient.encode(), hashlib.sha256).digest()
        return -1 - int.from_bytes(digest[:8], "big") % LONGEST_SHIFT_DAYS

    def shift_minutes(self, patient: str) -> int:
        """Return by how many minutes the clock of a patient moves back: 1 to 59."""
        digest = hmac.new(self._shift_key, b"minutes" + patient.encode(), hashlib.sha256).digest()
        return 1 + int.from_bytes(digest[:8], "big") % 59

    def token(self, text: str, n_digits: int = 16) -> str:
        """Return a name for any other text: hex digits, the same for the same text."""
        return hmac.new(self._token_key, text.encode(), hashlib.sha256).hexdigest()[:n_digits]


@lru_cache(maxsize=65536)
def _uid(key: bytes, old: str) -> str:
    """Return a UUID of version 8 as a UID; most UIDs of a series are asked for again in every file."""
    digest = bytearray(hmac.new(key, old.encode(), hashlib.sha256).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(digest, 'big')}"


@dataclass(frozen=True)
class Identities:
    """Strings by which a patient is known, and a search for them in any spelling.

    Args:
        names: Person names as in DICOM: ``Family^Given=ideographic=phonetic``.
        numbers: Patient IDs, accession numbers and the like.
        births: Birth dates, ``YYYYMMDD``.
        dates: Other dates of the patient, ``YYYYMMDD``; looked for in text only.
        phrases: Anything to be found as a whole: an institution, a street.
    """

    names: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    births: frozenset[str] = frozenset()
    dates: frozenset[str] = frozenset()
    phrases: frozenset[str] = frozenset()

    def __or__(self, other: "Identities") -> "Identities":
        """Return the strings of both."""
        return Identities(
            self.names | other.names,
            self.numbers | other.numbers,
            self.births | other.births,
            self.dates | other.dates,
            self.phrases | other.phrases,
        )

    def without(self, phrases: frozenset[str]) -> "Identities":
        """Return the strings save some phrases, which are to be kept."""
        return replace(self, phrases=self.phrases - phrases) if phrases & self.phrases else self

    @classmethod
    def union(cls, several: Iterable["Identities"]) -> "Identities":
        """Return the strings of all of them, for files that belong to no one patient."""
        groups: list[set[str]] = [set(), set(), set(), set(), set()]
        for one in several:
            for i, more in enumerate((one.names, one.numbers, one.births, one.dates, one.phrases)):
                groups[i] |= more
        return cls(*(frozenset(g) for g in groups))

    @cached_property
    def _matcher(self) -> Matcher:
        kinds = {"name": self.names, "number": self.numbers, "date": self.births | self.dates, "phrase": self.phrases}
        return Matcher((kind, text) for kind, texts in kinds.items() for text in texts)

    def __getstate__(self) -> dict[str, object]:
        """Leave out what was worked out on the way: another process makes it anew."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def found_in(self, text: str) -> bool:
        """Tell whether any of the strings occurs in ``text``, whatever its case, accents or separators."""
        return self._matcher.found_in(text)

    def scrub(self, text: str) -> str:
        """Return ``text`` without the strings; other words stay as they were written.

        Example:
            >>> Identities(names=frozenset({"MUELLER^Anna"})).scrub("seen with Mrs. Müller, 5 mm")
            'seen with Mrs. , 5 mm'
        """
        return self._matcher.scrub(text)

    @cached_property
    def whole_numbers(self) -> frozenset[str]:
        """The numbers of six and more digits, without leading zeros: a number that equals one of them is one."""
        runs = (run for n in self.numbers | self.births for run in re.findall(r"\d{6,}", n))
        return frozenset(n for n in (run.lstrip("0") for run in runs) if len(n) >= 6)

    @cached_property
    def plain(self) -> "PlainStrings":
        """The strings that name a person by themselves: for a search for everybody in every file."""
        return PlainStrings.of(self.names, self.numbers)

    def needles(self) -> Iterator[str]:
        """Yield the longer strings as they would stand in bytes: for a search in pixel data and private values."""
        for name in sorted(self.names):
            for group in name.split("="):
                parts = (p for p in re.split(r"[\^\s,]+", group) if not _says_nothing(p))
                yield from (p for p in parts if (len(p) >= 5 or not p.isascii()) and len(p) >= 2)
        yield from (n.strip() for n in sorted(self.numbers) if len(n.strip(" 0")) >= 6 and not _says_nothing(n))
        yield from (d for d in sorted(self.births) if len(d) == 8)


def _says_nothing(word: str) -> bool:
    """Tell whether a name or number is a filler, or a word of radiology, which stays in descriptions."""
    plain = folded(word.strip(" \0"))
    return plain in NOBODY or is_ordinary(plain)

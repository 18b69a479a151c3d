"""Ten checks in the style of MIDI-B (2024) on generated files with planted identities and an answer table.

It is not a MIDI-B score: files, identities and answers are our own. The generator writes the answer of every action
while it plants, before anything is cleaned; the checks read files and answers only.

Source:
    Medical Image De-Identification Benchmark, MICCAI 2024 (arXiv 2507.23608); the names of the ten checks are those of
    its validation script.
"""

import argparse
import csv
import json
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import planted
import pydicom
import recorded
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from lucency.deidentify import deidentify, pseudonyms
from lucency.deidentify.keys import Keys
from lucency.read.head import silent

NAME = "midi_style"
CHECKS = (
    "tag_retained",
    "text_notnull",
    "text_retained",
    "text_removed",
    "date_shifted",
    "uid_changed",
    "pixels_hidden",
    "pixels_retained",
    "uid_consistent",
    "patid_consistent",
)
NEEDED = 99.9
ROWS = 128
#: SOP class, modality and body part of six kinds of image.
KINDS = {
    "CT": ("1.2.840.10008.5.1.4.1.1.2", "CHEST"),
    "MR": ("1.2.840.10008.5.1.4.1.1.4", "BRAIN"),
    "PT": ("1.2.840.10008.5.1.4.1.1.128", "WHOLEBODY"),
    "DX": ("1.2.840.10008.5.1.4.1.1.1.1", "CHEST"),
    "US": ("1.2.840.10008.5.1.4.1.1.6.1", "ABDOMEN"),
    "MG": ("1.2.840.10008.5.1.4.1.1.1.2", "BREAST"),
}
#: Family and given names: a set the program was corrected with, and one that was kept aside until it was done.
NAMES = {
    "seen": (
        "Okonkwo Ngozi/Müller Jörg/Fitzgerald Siobhan/Nakamura Haruto/Szczepaniak Agnieszka/O'Brien Liam/"
        "Garcia_Lopez Dolores/Head Peter/Li Wei/Ødegård Åse"
    ),
    "kept aside": (
        "Abernathy Mary_Ann/van_der_Berg Jan/Nguyen Thi/Kowalczyk Zofia/Ibrahim Yusuf/Ng Ka/Foot Max/St._John Ellie/"
        "Peña José/Çelik Ömer"
    ),
}


@dataclass(frozen=True)
class Answer:
    """One action that a file demands.

    Args:
        uid: SOP Instance UID in the source.
        check: Name of the check.
        place: Keyword path with ``/`` between sequence and element; ``file`` for the bytes of the file.
        value: What must stay, must go, or was there.
    """

    uid: str
    check: str
    place: str
    value: str = ""


class Writer:
    """Plants and writes the answers down in the same step."""

    def __init__(self, folder: Path, seed: int, names: str) -> None:
        self.folder, self.rng, self.answers = folder, np.random.default_rng(seed), list[Answer]()
        self.names = [tuple(n.replace("_", " ") for n in name.split()) for name in NAMES[names].split("/")]
        self.n = 0

    def expect(self, dataset: Dataset, check: str, place: str, value: object = "") -> None:
        """Write one answer down."""
        assert check in CHECKS
        self.answers.append(Answer(str(dataset.SOPInstanceUID), check, place, str(value)))

    def patient(self, number: int, n_each: int) -> None:
        """Write one patient with one examination of each kind."""
        family, given = self.names[number % len(self.names)]
        ident = f"{'MRN' if number % 2 else ''}{self.rng.integers(10**7, 10**8)}"
        birth = f"{self.rng.integers(1930, 2005)}{self.rng.integers(1, 13):02}{self.rng.integers(1, 29):02}"
        for visit, kind in enumerate(KINDS):
            study = f"{planted.ROOT}.{number}.{visit}.{self.rng.integers(10**9)}"
            day = f"20{self.rng.integers(10, 22)}{self.rng.integers(1, 13):02}{self.rng.integers(1, 29):02}"
            for k in range(n_each):
                self._image((family, given, ident, birth), kind, (study, day), k)

    def _image(self, who: tuple[str, str, str, str], kind: str, when: tuple[str, str], k: int) -> None:
        family, given, ident, birth = who
        study, day = when
        made = planted.image(ROWS)
        self.n += 1
        made.SpecificCharacterSet = "ISO_IR 192"
        made.SOPClassUID, part = KINDS[kind]
        made.SOPInstanceUID, made.StudyInstanceUID = f"{study}.{k}.{self.n}", study
        made.SeriesInstanceUID, made.FrameOfReferenceUID = f"{study}.5", f"{study}.6"
        made.PatientName, made.PatientID, made.PatientBirthDate = f"{family}^{given}", ident, birth
        made.Modality, made.BodyPartExamined, made.InstanceNumber = kind, part, k + 1
        made.AccessionNumber = f"A{self.rng.integers(10**8, 10**9)}"
        made.StudyDate = made.SeriesDate = made.AcquisitionDate = made.ContentDate = day
        self._pixels(made, kind)
        self._identities(made, family, given, ident, birth, day)
        self._facts(made, kind)
        path = self.folder / f"{family} {given}" / f"{self.n:04}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        pydicom.dcmwrite(path, made, enforce_file_format=True)

    def _identities(self, made: Dataset, family: str, given: str, ident: str, birth: str, day: str) -> None:
        expect = self.expect
        for place, old in (("PatientName", family), ("PatientID", ident), ("AccessionNumber", made.AccessionNumber)):
            expect(made, "text_removed", place, old)
        expect(made, "text_removed", "PatientBirthDate", birth)
        made.ReferringPhysicianName, made.InstitutionName = "Grey^Meredith", "Grace Memorial Hospital"
        made.StationName, made.OperatorsName = "GMH-CT-07", "Karev^Alex"
        made.PatientAddress, made.PatientTelephoneNumbers = "12 Elm Street", "+1 555 0100 4477"
        for place in ("ReferringPhysicianName", "InstitutionName", "StationName", "OperatorsName", "PatientAddress"):
            expect(made, "text_removed", place, str(made[place].value).split("^")[0])
        spellings = [
            f"{given} {family}",
            f"{family}, {given}",
            f"{given[0]}. {family}",
            f"{family.upper()}_{given.upper()}",
        ]
        told = spellings[self.n % len(spellings)]
        day_told = f"{birth[:4]}-{birth[4:6]}-{birth[6:]}"
        made.StudyDescription = f"{made.Modality} {made.BodyPartExamined} for {told}"
        made.SeriesDescription = f"AXIAL {made.BodyPartExamined} id {ident}"
        made.ImageComments = f"Patient {told} born {day_told} called from +1 555 0100 4477"
        made.SoftwareVersions = f"V7 {told}"
        for place, secret in (
            ("StudyDescription", told),
            ("SeriesDescription", ident),
            ("ImageComments", told),
            ("ImageComments", day_told),
            ("SoftwareVersions", told),
        ):
            expect(made, "text_removed", place, secret)
        request = Dataset()
        request.RequestedProcedureID, request.ScheduledProcedureStepDescription = f"RP{ident}", f"for {told}"
        made.RequestAttributesSequence = Sequence([request])
        made.add_new(0x00290010, "LO", "ACME 3.1")
        made.add_new(0x00291001, "LO", told)
        made.add_new(0x00291002, "UN", ident.encode())
        reference = Dataset()
        reference.ReferencedSOPClassUID = made.SOPClassUID
        reference.ReferencedSOPInstanceUID = f"{made.StudyInstanceUID}.{made.InstanceNumber - 1}.{self.n - 1}"
        made.ReferencedImageSequence = Sequence([reference])
        for secret in (told, ident, made.AccessionNumber, day_told):
            expect(made, "text_removed", "file", secret)
        for place in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
            expect(made, "date_shifted", place, day)
        for place in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            expect(made, "uid_changed", place, made[place].value)
            expect(made, "uid_consistent", place, made[place].value)
        place = "ReferencedImageSequence/ReferencedSOPInstanceUID"
        expect(made, "uid_changed", place, reference.ReferencedSOPInstanceUID)
        expect(made, "uid_consistent", place, reference.ReferencedSOPInstanceUID)
        expect(made, "patid_consistent", "PatientID", ident)

    def _facts(self, made: Dataset, kind: str) -> None:
        expect = self.expect
        for place in ("Modality", "BodyPartExamined", "Manufacturer", "PatientPosition", "RescaleType"):
            expect(made, "text_retained", place, _told(made[place].value))
        # An image of which a part was blanked is DERIVED (PS3.3, C.7.6.1.1.2).
        expect(made, "text_retained", "ImageType", "PRIMARY\\AXIAL" if kind == "US" else "ORIGINAL\\PRIMARY\\AXIAL")
        for place in ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "BitsStored", "RescaleSlope", "KVP"):
            expect(made, "tag_retained", place, _told(made[place].value))
        expect(made, "tag_retained", "SOPClassUID", made.SOPClassUID)
        expect(made, "text_retained", "StudyDescription", f"{kind} {made.BodyPartExamined}")
        expect(made, "text_retained", "SeriesDescription", "AXIAL")
        for place in (
            "PatientID",
            "PatientName",
            "SOPInstanceUID",
            "StudyInstanceUID",
            "Modality",
            "SeriesInstanceUID",
        ):
            expect(made, "text_notnull", place)

    def _pixels(self, made: Dataset, kind: str) -> None:
        """Draw something like a body; on ultrasound a name in the margin, which the regions leave out."""
        j, i = np.mgrid[:ROWS, :ROWS] - ROWS / 2
        body = np.hypot(j, i * 0.8) < ROWS / 3
        smooth = 40 + 20 * np.sin(i / 17 + self.n) * np.cos(j / 13)
        if kind != "US":
            made.PixelData = np.where(body, smooth, 0).astype("<i2").tobytes()
            self.expect(made, "pixels_retained", "PixelData", _digest(made.PixelData))
            return
        made.BitsAllocated = made.BitsStored = 8
        made.HighBit, made.PixelRepresentation = 7, 0
        picture = np.where(body, 90 + smooth, 0).astype(np.uint8)
        picture[:20] = 0
        picture[4:14, 6:90] = _words(str(made.PatientID))
        made.PixelData = picture.tobytes()
        region = Dataset()
        region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 20
        region.RegionLocationMaxX1, region.RegionLocationMaxY1 = ROWS - 1, ROWS - 1
        region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
        made.SequenceOfUltrasoundRegions = Sequence([region])
        made.BurnedInAnnotation = "YES" if self.n % 2 else "NO"
        self.expect(made, "pixels_hidden", "PixelData", json.dumps([4, 6, 14, 90]))
        self.expect(made, "pixels_retained", "region", _digest(picture[20:].tobytes()))


def _words(text: str) -> np.ndarray:
    """Return (10, 84) uint8, white letters on black, drawn with the bundled font of Pillow."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", (84, 10))
    ImageDraw.Draw(picture).text((1, -1), text, fill=255)
    return np.asarray(picture)


def _digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def _told(value: object) -> str:
    return "\\".join(map(str, value)) if isinstance(value, pydicom.multival.MultiValue) else str(value)


class Checker:
    """Reads the output and says of each answer whether it was met."""

    def __init__(self, answers: list[Answer], dst: Path, held: Path, uids: dict[str, str]) -> None:
        self.answers = answers
        #: UID in the source to UID in the output, from the map of pseudonyms; checked for consistency, not trusted.
        self.uids = {old: new for new, old in uids.items()}
        self.files: dict[str, tuple[Path, Dataset]] = {}
        for folder in (dst, held):
            for path in sorted(folder.rglob("*.dcm")):
                with silent():
                    dataset = pydicom.dcmread(path)
                self.files[str(dataset.SOPInstanceUID)] = (path, dataset)
        self.seen_uids: dict[str, set[str]] = {}
        self.seen_patients: dict[str, set[str]] = {}
        self.shifts: dict[str, set[int]] = {}

    def run(self) -> tuple[Counter[str], Counter[str], list[Answer]]:
        """Return right and wrong answers by check, and the wrong ones."""
        right, wrong, which = Counter[str](), Counter[str](), []
        for answer in self.answers:
            if self._met(answer):
                right[answer.check] += 1
            else:
                wrong[answer.check] += 1
                which.append(answer)
        return right, wrong, which

    def _met(self, answer: Answer) -> bool:
        found = self.files.get(self.uids.get(answer.uid, ""))
        if found is None:
            return False
        path, dataset = found
        check: Any = getattr(self, f"_{answer.check}")
        return bool(check(answer, path, dataset))

    def _value(self, answer: Answer, dataset: Dataset) -> str | None:
        here: Any = dataset
        for keyword in answer.place.split("/")[:-1]:
            if keyword not in here or not here[keyword].value:
                return None
            here = here[keyword].value[0]
        last = answer.place.rsplit("/", maxsplit=1)[-1]
        return _told(here[last].value) if last in here else None

    def _tag_retained(self, answer: Answer, _: Path, dataset: Dataset) -> bool:
        return self._value(answer, dataset) == answer.value

    def _text_notnull(self, answer: Answer, _: Path, dataset: Dataset) -> bool:
        return bool(self._value(answer, dataset))

    def _text_retained(self, answer: Answer, _: Path, dataset: Dataset) -> bool:
        return answer.value in (self._value(answer, dataset) or "")

    def _text_removed(self, answer: Answer, path: Path, dataset: Dataset) -> bool:
        if answer.place == "file":
            content = path.read_bytes() + path.name.encode()
            return not any(
                f.encode("utf-8") in content for f in (answer.value, answer.value.upper(), answer.value.lower())
            )
        return answer.value.lower() not in (self._value(answer, dataset) or "").lower()

    def _date_shifted(self, answer: Answer, _: Path, dataset: Dataset) -> bool:
        value = self._value(answer, dataset) or ""
        if not value.isdigit() or value == answer.value:
            return False
        moved = (planted.day(value) - planted.day(answer.value)).days
        # All dates of a patient move by the same number of days.
        return len(self.shifts.setdefault(str(dataset.PatientID), {moved}) | {moved}) == 1

    def _uid_changed(self, answer: Answer, _: Path, dataset: Dataset) -> bool:
        value = self._value(answer, dataset) or ""
        return bool(value) and value != answer.value and pydicom.uid.UID(value).is_valid

    def _uid_consistent(self, answer: Answer, _: Path, dataset: Dataset) -> bool:
        seen = self.seen_uids.setdefault(answer.value, set())
        seen.add(self._value(answer, dataset) or "")
        return len(seen) == 1

    def _patid_consistent(self, answer: Answer, _: Path, dataset: Dataset) -> bool:
        seen = self.seen_patients.setdefault(answer.value, set())
        seen.add(str(dataset.PatientID))
        others = {p for old, ps in self.seen_patients.items() if old != answer.value for p in ps}
        return len(seen) == 1 and not seen & others

    def _pixels_hidden(self, answer: Answer, path: Path, dataset: Dataset) -> bool:
        top, left, bottom, right = json.loads(answer.value)
        frame = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)[0]
        return len(np.unique(frame[top:bottom, left:right])) == 1 or "quarantine" in path.parts

    def _pixels_retained(self, answer: Answer, _: Path, dataset: Dataset) -> bool:
        if answer.place == "region":
            return _digest(np.ascontiguousarray(dataset.pixel_array[20:]).tobytes()) == answer.value
        return _digest(dataset.PixelData) == answer.value


def trial(options: argparse.Namespace, names: str) -> dict[str, Any]:
    """Generate, clean and check one set of names."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        writer = Writer(home / "in", options.seed, names)
        for number in range(2 if options.quick else options.patients):
            writer.patient(number, 1 if options.quick else 4)
        with (home / "answers.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, ("uid", "check", "place", "value"))
            table.writeheader()
            table.writerows(map(asdict, writer.answers))
        report = deidentify(home / "in", home / "out", home / "safe" / "key")
        known = pseudonyms.load(home / "safe" / "key.map", Keys.load(home / "safe" / "key"))["uids"]
        checker = Checker(writer.answers, home / "out", home / "out-records" / "quarantine", known)
        right, wrong, which = checker.run()
    return {
        "files": writer.n,
        "answers": len(writer.answers),
        "percent_correct": round(100 * sum(right.values()) / len(writer.answers), 3),
        "checks": {c: {"right": right[c], "wrong": wrong[c]} for c in CHECKS},
        "wrong_places": dict(Counter(f"{a.check} {a.place}" for a in which)),
        "session": {"actions": report.actions, "left": len(report.left)},
    }


def main() -> None:
    """Check both sets of names and record them."""
    parser = recorded.parser(__doc__.splitlines()[0], NAME)
    parser.add_argument("--patients", type=int, default=10, help="patients of each set; 24 files each [10]")
    options = parser.parse_args()
    result = recorded.begin()
    result |= {"modalities": sorted(KINDS), "needed": NEEDED, "names": {n: trial(options, n) for n in NAMES}}
    said = "MIDI-B style, ten checks, " + "; ".join(
        f"names {n}: {t['percent_correct']:.2f} % of {t['answers']} actions on {t['files']} files of 6 modalities, "
        f"{t['session']['left']} findings of the second look"
        for n, t in result["names"].items()
    )
    recorded.write(NAME, f"{said}; needed {NEEDED} %", result, options)


if __name__ == "__main__":
    main()

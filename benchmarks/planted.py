"""DICOM files with planted identities: a file with every attribute of Table E.1-1, and a CT with its SEG and SR."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from lucency.deidentify import table

NAME, NUMBER, ACCESSION, BIRTH = "Smithson^Harriet", "MRN-4471902", "ACC8830217", "19610304"
SECRET = "SMITHSON"
ROOT = "1.3.6.1.4.1.99999.7"
#: A value for each representation, none of which may come out of a strict cleaning.
VALUES: dict[str, Any] = {
    **dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "UC", "CS", "AE"), SECRET),
    "PN": NAME,
    "DA": "20210304",
    "TM": "112233",
    "DT": "20210304112233",
    "UI": f"{ROOT}.55",
    "DS": "12.34",
    "IS": "1234",
    "AS": "045Y",
    "UR": "https://example.org/SMITHSON",
    **dict.fromkeys(("US", "UL", "SS", "SL"), 7),
    **dict.fromkeys(("FL", "FD"), 7.5),
    **dict.fromkeys(("OB", "OW", "UN", "OF"), b"SMITHSON"),
}


def image(rows: int = 64) -> Dataset:
    """Return a valid CT slice of a patient called Smithson."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, f"{ROOT}.4.1"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = f"{ROOT}.1", f"{ROOT}.2", f"{ROOT}.3"
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = NAME, NUMBER, BIRTH, "F"
    made.StudyDate = made.SeriesDate = made.AcquisitionDate = made.ContentDate = "20210304"
    made.StudyTime = made.SeriesTime = made.AcquisitionTime = made.ContentTime = "101112"
    made.AccessionNumber, made.StudyID, made.ReferringPhysicianName = ACCESSION, "S1", "Grey^Meredith"
    made.Modality, made.Manufacturer, made.ImageType = "CT", "ACME", ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.SeriesNumber, made.AcquisitionNumber, made.InstanceNumber, made.KVP = 1, 1, 1, "120"
    made.BodyPartExamined = "CHEST"
    made.PositionReferenceIndicator, made.PatientPosition = "", "HFS"
    made.ImagePositionPatient, made.ImageOrientationPatient = [-32.0, -32.0, 0.0], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    made.PixelSpacing, made.SliceThickness = [1.0, 1.0], 2.0
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows = made.Columns = rows
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = "0", "1", "HU"
    j, i = np.mgrid[:rows, :rows] - rows / 2
    made.PixelData = np.where(np.hypot(j, i) < rows / 3, 40, -1000).astype("<i2").tobytes()
    return made


def every_attribute(path: Path) -> Dataset:
    """Write a CT slice with every attribute of the table that a file can hold, and traps outside it; return it."""
    made = image()
    for tag, _row in table.by_tag().items():
        if tag >> 16 <= 2 or (tag in made and dictionary_VR(tag) in {"UI", "DA", "TM"}):
            continue
        # pydicom does not know the newest attributes; to a reader like it they are unknown text.
        vr = dictionary_VR(tag).split(" ")[0] if dictionary_has_tag(tag) else "LO"
        made.add_new(tag, vr, Sequence([_person()]) if vr == "SQ" else VALUES[vr])
    made.add_new(0x50000005, "US", 1)
    made.add_new(0x50003000, "OW", b"SMITHSON")
    made.add_new(0x60000010, "US", 8)
    made.add_new(0x60001500, "LO", SECRET)
    made.add_new(0x60003000, "OW", b"SMITHSON")
    made.add_new(0x60004000, "LT", SECRET)
    made.add_new(0x00090010, "LO", "ACME 1.0")
    made.add_new(0x00091001, "LO", SECRET)
    made.add_new(0x00091002, "SQ", Sequence([_person()]))
    made.add_new(0x00189999, "LO", SECRET)
    made.add_new(0x00080000, "UL", 4)
    made.AnatomicRegionSequence = Sequence([_person()])
    made.LossyImageCompressionMethod = SECRET
    made.SoftwareVersions = f"seen by {SECRET.title()}, Harriet"
    made.ScanOptions = "HARRIET"
    made.ConvolutionKernel = "4471902"
    made.file_meta.SourceApplicationEntityTitle = SECRET
    made.file_meta.PrivateInformationCreatorUID = f"{ROOT}.77"
    made.file_meta.PrivateInformation = b"SMITHSON"
    made.preamble = b"MZ SMITHSON".ljust(128, b"\0")
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, made, enforce_file_format=True)
    with path.open("ab") as file:
        file.write(b"\xfc\xff\xfc\xffOB\0\0\x08\0\0\0SMITHSON")
    return made


def _person() -> Dataset:
    """Return an item that names the patient in attributes that the table does and does not list."""
    item = Dataset()
    item.PatientName, item.PatientID, item.TextString = NAME, NUMBER, f"for {SECRET}"
    item.add_new(0x00110010, "LO", "ACME 2.0")
    item.add_new(0x00111001, "LO", SECRET)
    inner = Dataset()
    inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = "1", "99ACME", SECRET
    inner.PersonName, inner.ReferencedSOPInstanceUID = NAME, f"{ROOT}.55"
    item.PurposeOfReferenceCodeSequence = Sequence([inner])
    return item


def unchanged(before: Dataset, after: Dataset) -> list[str]:
    """Return the names of the table's attributes that still hold what was planted."""
    left = []
    for tag, row in table.by_tag().items():
        if tag in after and tag in before and tag >> 16 > 2:
            old, new = before[tag], after[tag]
            told = str(new.value).upper() if new.VR != "UN" else repr(new.value)
            same = SECRET in told or "4471902" in told if new.VR == "SQ" else new.value == old.value and bool(old.value)
            if same:
                left.append(row.name)
    return left


def series(folder: Path, n: int = 300, rows: int = 512, *, reports: bool = True) -> list[Path]:
    """Write a CT series and, with highdicom, a segmentation and a structured report that point to it."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, datasets = [], []
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 12, (rows, rows))
    for k in range(n):
        made = image(rows)
        made.SOPInstanceUID, made.InstanceNumber = f"{ROOT}.4.{k + 1}", k + 1
        made.ImagePositionPatient = [-rows / 2, -rows / 2, 2.0 * k]
        made.SliceLocation, made.SeriesDescription = 2.0 * k, "CT CHEST for Harriet Smithson"
        j, i = np.mgrid[:rows, :rows] - rows / 2
        body = np.where(np.hypot(j, i) < rows / 3, 40, -1000) + np.roll(noise, 7 * k, 0)
        made.PixelData = body.astype("<i2").tobytes()
        made.add_new(0x00090010, "LO", "ACME 1.0")
        made.add_new(0x00091001, "LO", NAME)
        paths.append(folder / f"slice{k:04}.dcm")
        pydicom.dcmwrite(paths[-1], made, enforce_file_format=True)
        datasets.append(made)
    if reports:
        paths += [_segmentation(folder, datasets), _report(folder, datasets)]
    return paths


def _segmentation(folder: Path, datasets: list[Dataset]) -> Path:
    from highdicom import seg
    from highdicom.content import AlgorithmIdentificationSequence
    from pydicom.sr.codedict import codes

    mask = np.zeros((len(datasets), datasets[0].Rows, datasets[0].Columns), np.uint8)
    mask[:, 8:24, 8:24] = 1
    algorithm = AlgorithmIdentificationSequence("threshold", codes.DCM.ArtificialIntelligence, "1")
    description = seg.SegmentDescription(
        1, "Nodule", codes.SCT.Tissue, codes.SCT.Tissue, seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm
    )
    made = seg.Segmentation(
        datasets,
        mask,
        seg.SegmentationTypeValues.BINARY,
        [description],
        f"{ROOT}.9",
        9,
        f"{ROOT}.9.1",
        1,
        "ACME",
        "model",
        "1",
        "9",
    )
    made.save_as(folder / "seg.dcm")
    return folder / "seg.dcm"


def _report(folder: Path, datasets: list[Dataset]) -> Path:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    observer = sr.ObserverContext(codes.DCM.Person, sr.PersonObserverIdentifyingAttributes("Grey^Meredith"))
    context = sr.ObservationContext(observer_person_context=observer)
    group = sr.MeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(f"{ROOT}.8", "nodule of Smithson"),
        measurements=[sr.Measurement(codes.SCT.Diameter, 12.5, codes.UCUM.Millimeter)],
        source_images=[sr.SourceImageForMeasurementGroup.from_source_image(d) for d in datasets],
    )
    content = sr.MeasurementReport(
        context,
        codes.LN.CTUnspecifiedBodyRegion if hasattr(codes.LN, "CTUnspecifiedBodyRegion") else _procedure(),
        [group],
    )
    made = sr.Comprehensive3DSR(
        datasets, content[0], f"{ROOT}.10", 10, f"{ROOT}.10.1", 1, manufacturer="ACME", is_complete=True,
        is_final=True, is_verified=True, verifying_observer_name="Grey^Meredith",
        verifying_organization="Grace Hospital", performed_procedure_codes=[_procedure()],
    )  # fmt: skip
    made.save_as(folder / "sr.dcm")
    return folder / "sr.dcm"


def _procedure() -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept("25045-6", "LN", "CT unspecified body region")


def day(text: str) -> datetime.date:
    """Return a DICOM date as a date."""
    return datetime.date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def is_public(tag: int) -> bool:
    """Tell whether the dictionary knows a tag."""
    return not tag >> 16 & 1 and bool(dictionary_has_tag(tag))

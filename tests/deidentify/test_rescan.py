"""The second look finds what is put into the output behind the engine's back."""

import csv

import planted
import pydicom
import pytest

from lucency.deidentify import Options
from lucency.deidentify.keys import Identities
from lucency.deidentify.rescan import Known, left_in


@pytest.fixture
def cleaned(room, image):
    room.put(image)
    room.clean()
    (path,) = room.dst.rglob("*.dcm")
    output = path.relative_to(room.dst).as_posix()
    person = Identities(
        frozenset({planted.NAME}), frozenset({planted.NUMBER, planted.ACCESSION}), frozenset({planted.BIRTH})
    )
    known = Known({output.split("/")[0]: person}, frozenset({image.SOPInstanceUID, image.StudyInstanceUID}), person)

    def looked(change=None, raw=None):
        if change is not None:
            dataset = pydicom.dcmread(path)
            change(dataset)
            pydicom.dcmwrite(path, dataset)
        if raw is not None:
            path.write_bytes(raw(path.read_bytes()))
        return {(f.kind, f.where) for f in left_in(room.dst, output, known, Options())}

    return looked


def test_clean_output_has_no_findings(cleaned):
    assert cleaned() == set()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda d: setattr(d, "SoftwareVersions", "for smithson"), "name or number"),
        (lambda d: setattr(d, "ImageComments", "4.3.1961"), "name or number"),
        (lambda d: setattr(d, "SeriesNumber", "4471902"), "name or number"),
        (lambda d: setattr(d, "SOPInstanceUID", f"{planted.ROOT}.4.1"), "old UID"),
        (lambda d: setattr(d, "IrradiationEventUID", "1.2.3.4"), "foreign UID"),
        (lambda d: d.add_new(0x00090010, "LO", "ACME"), "private attribute"),
        (lambda d: d.add_new(0x00189999, "LO", "x"), "unknown attribute"),
        (lambda d: d.add_new(0x60003000, "OW", b"\0\0"), "curve, overlay or group length"),
        (lambda d: setattr(d, "OtherPatientNames", "Somebody^Else"), "listed attribute"),
        (lambda d: setattr(d, "InstitutionName", "Grace Hospital"), "listed attribute"),
        (lambda d: delattr(d, "PatientIdentityRemoved"), "not marked as de-identified"),
        (lambda d: setattr(d.file_meta, "SourceApplicationEntityTitle", "X"), "file meta information"),
        (lambda d: setattr(d, "PixelData", b"\0" * 4000 + b"xx Smithson xx" + b"\0" * 4178), "name or number"),
        (
            lambda d: setattr(d, "PixelData", b"\0" * 4001 + "smithson".encode("utf-16-le") + b"\0" * 4175),
            "name or number",
        ),
    ],
)
def test_what_is_put_in_is_found(cleaned, change, kind):
    assert kind in {k for k, _ in cleaned(change)}


def test_preamble_and_trailing_bytes_are_looked_at(cleaned):
    assert ("preamble", "first 128 bytes") in cleaned(raw=lambda b: b"MZ" + b[2:])
    element = b"\xfc\xff\xfc\xffOB\0\0\x08\0\0\0Smithson"
    assert any(k == "name or number" for k, _ in cleaned(raw=lambda b: b + element))


def test_a_file_nobody_wrote_is_found(room, image):
    room.put(image)
    room.clean()
    (room.dst / "extra.txt").write_text("x")
    report = room.clean()
    assert [f.kind for f in report.left] == ["file that was not written here"]
    assert report.exit_status == 1


def test_the_name_of_a_stray_file_stood_in_the_report(room, image):
    room.put(image)
    room.clean()
    for name in ("Smithson Harriet.pdf", "Smithson/scan.Harriet"):
        path = room.dst / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    report = room.clean()
    assert sorted((f.output, f.where) for f in report.left) == [
        ("a .pdf file", "folder level 1"),
        ("a file of another kind", "folder level 2"),
    ]
    said = "\n".join(report.lines()) + (room.records / "report.json").read_text(encoding="utf-8")
    assert "smithson" not in said.lower()
    assert "harriet" not in said.lower()
    assert "out-records/review.csv" in said
    listed = room.records / "review.csv"
    rows = list(csv.DictReader(listed.read_text(encoding="utf-8").splitlines()))
    assert [(r["file"], r["action"]) for r in rows] == [
        ("Smithson Harriet.pdf", "ask"),
        ("Smithson/scan.Harriet", "ask"),
    ]
    # A decision stays as long as the file does, and a file that was taken out is no longer asked about.
    listed.write_text(listed.read_text(encoding="utf-8").rstrip("\n") + "mine\n")
    (room.dst / "Smithson Harriet.pdf").unlink()
    room.clean()
    (row,) = csv.DictReader(listed.read_text(encoding="utf-8").splitlines())
    assert (row["file"], row["decision"]) == ("Smithson/scan.Harriet", "mine")


def test_engine_that_forgets_a_rule_is_caught(room, image, monkeypatch):
    from lucency.deidentify.engine import Engine

    monkeypatch.setattr(Engine, "_private", lambda *_: None)
    monkeypatch.setattr(Engine, "_empty", lambda *_: None)
    image.add_new(0x00090010, "LO", "ACME")
    room.put(image)
    report = room.clean()
    assert report.exit_status == 1
    assert {f.kind for f in report.left} >= {"private attribute", "listed attribute", "name or number"}

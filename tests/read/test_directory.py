import pydicom
import pytest
from pydicom.fileset import FileSet

from lucency.read import directory, read, read_inputs

ROOM = "DISC/DICOMDIR"


@pytest.fixture
def disc(folder):
    """A disc with one CT series, written by pydicom; returns its files."""
    folder.slices(
        "raw",
        StudyInstanceUID="1.2.3.4",
        StudyDate="20200101",
        StudyTime="120000",
        StudyID="S",
        AccessionNumber="A",
        SeriesNumber=1,
        InstanceNumber=(1, 2, 3),
        PatientName="SECRET^NAME",
    )
    disc = FileSet()
    staged = disc._stage["t"]
    for file in sorted((folder.root / "raw").iterdir()):
        disc.add(file)
    disc.write(folder.root / "DISC")
    staged.cleanup()
    disc._stage["t"].cleanup()
    for file in (folder.root / "raw").iterdir():
        file.unlink()
    return sorted(p for p in (folder.root / "DISC").rglob("*") if p.is_file() and p.name != "DICOMDIR")


def test_a_disc_is_read_and_its_directory_says_nothing_when_all_is_there(folder, disc):
    assert len(disc) == 3
    cohort = read(folder.root)
    assert len(cohort.cases) == 1
    assert len(cohort.cases[0].sources[0].paths) == 3
    assert not any("DICOMDIR" in n for n in cohort.notes)
    assert cohort.skipped == ()


def test_files_that_the_directory_names_and_the_disc_has_not_are_counted(folder, disc):
    disc[-1].unlink()
    (note,) = [n for n in read(folder.root).notes if "DICOMDIR" in n]
    assert note == f"{ROOM} names 1 of 3 files that are not there: the copy is incomplete."


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_names_that_lead_out_of_the_folder_are_not_followed(folder, disc):
    outside = folder.root / "outside.dcm"
    disc[0].rename(outside)
    listed = pydicom.dcmread(folder.root / ROOM)
    leaves = [r for r in listed.DirectoryRecordSequence if "ReferencedFileID" in r]
    leaves[0].ReferencedFileID = ["..", "outside.dcm"]
    leaves[1].ReferencedFileID = ["/etc", "passwd"]
    listed.save_as(folder.root / ROOM)
    notes = [n for n in read_inputs(folder.root).notes if "DICOMDIR" in n]
    assert notes == [f"{ROOM} names 2 files outside its own folder; they were not looked at."]


def test_a_directory_that_cannot_be_read_costs_no_image(folder, disc):
    whole = (folder.root / ROOM).read_bytes()
    (folder.root / ROOM).write_bytes(whole[:200] + bytes(30))
    inputs = read_inputs(folder.root)
    assert len(inputs) == 1
    assert len(inputs[0].sources[0].paths) == 3


@pytest.mark.parametrize("parts", [["a", ".."], ["..", "a"], ["/a"], ["a\\..\\b"], ["C:", "a"], [""], ["a\0b"]])
def test_what_is_no_plain_name_leads_nowhere(parts):
    assert directory.inside(parts) == ""

"""What the engine does to one file, element by element, under each option."""

import numpy as np
import planted
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from lucency.deidentify import Options
from lucency.deidentify.table import PROFILES


def codes(dataset):
    return {i.CodeValue for i in dataset.DeidentificationMethodCodeSequence}


def test_what_geometry_and_physics_need_stays_to_the_bit(room, image):
    after = room.one(image)
    for keyword in ("Rows", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "KVP"):
        assert after[keyword].value == image[keyword].value
    assert after.PixelData == image.PixelData
    assert after.Manufacturer == "ACME"


def test_patient_becomes_a_pseudonym_in_folder_id_and_name(room, image):
    after = room.one(image)
    (path,) = room.dst.rglob("*.dcm")
    assert after.PatientID == str(after.PatientName) == path.relative_to(room.dst).parts[0]
    assert after.PatientID != image.PatientID
    assert after.PatientBirthDate == ""
    assert after.PatientIdentityRemoved == "YES"


@pytest.mark.parametrize("profile", PROFILES)
def test_method_codes_say_what_was_done(room, image, profile):
    after = room.one(image, Options(**PROFILES[profile]))
    expected = {"basic": {"113100", "113101"}, "research": {"113100", "113101", "113103", "113104", "113105", "113107"}}
    assert codes(after) == expected[profile]


@pytest.mark.parametrize(
    ("keep", "code", "keyword", "value"),
    [
        ("patient-characteristics", "113108", "PatientWeight", 71.5),
        ("patient-characteristics", "113108", "PatientAge", "090Y"),
        ("device", "113109", "DeviceSerialNumber", "SN-5"),
        ("institution", "113112", "InstitutionalDepartmentName", "Radiology"),
        ("uids", "113110", "FrameOfReferenceUID", f"{planted.ROOT}.3"),
    ],
)
def test_what_an_option_keeps_is_gone_without_it(room, image, keep, code, keyword, value):
    image.PatientWeight, image.PatientAge, image.DeviceSerialNumber = "71.5", "097Y", "SN-5"
    image.InstitutionalDepartmentName = "Radiology"
    room.put(image)
    room.clean(Options(keep=frozenset({keep})))
    (after,) = room.cleaned()
    assert after[keyword].value == value
    assert code in codes(after)
    other = type(room)(room.home / "other")
    bare = other.one(image)
    assert bare.get(keyword) != value
    assert code not in codes(bare)


def test_descriptions_keep_the_words_of_radiology_only(room, image):
    image.SeriesDescription = "CT CHEST w/o contrast for Dr. Brown, room 4711"
    image.ProtocolName = "Brown Special"
    after = room.one(image)
    assert after.SeriesDescription == "CT CHEST w/o contrast for"
    assert "ProtocolName" not in after
    bare = type(room)(room.home / "bare").one(image, Options(**PROFILES["basic"]))
    assert "SeriesDescription" not in bare


def test_texts_the_table_leaves_alone_lose_the_patient_and_nothing_else(room, image):
    image.SoftwareVersions = ["VB20", "licensed to Harriet Smithson"]
    image.ConvolutionKernel = "B30f"
    image.ContrastBolusIngredient = "IODINE"
    after = room.one(image)
    assert after.SoftwareVersions[0] == "VB20"
    assert "mithson" not in str(after.SoftwareVersions)
    assert "licensed to" in after.SoftwareVersions[1]
    assert (after.ConvolutionKernel, after.ContrastBolusIngredient) == ("B30f", "IODINE")


def test_names_nested_five_deep_and_in_unknown_and_private_elements_go(room, image):
    item = Dataset()
    item.PatientName, item.CodeMeaning = planted.NAME, "of Smithson"
    for _ in range(5):
        outer = Dataset()
        outer.add_new(0x00110010, "LO", "ACME")
        outer.add_new(0x00111001, "SQ", Sequence([item]))
        outer.add_new(0x0018FFF0, "LO", planted.SECRET)
        outer.AnatomicRegionSequence = Sequence([item])
        item = outer
    image.AnatomicRegionSequence = Sequence([item])
    room.one(image)
    (path,) = room.dst.rglob("*.dcm")
    assert planted.SECRET.encode() not in path.read_bytes().upper()


def test_safe_private_elements_stay_only_when_asked_and_only_if_they_hold_a_number(room, image):
    image.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    image.add_new(0x0019100C, "IS", "1000")
    image.add_new(0x0019100D, "LO", "a longer text that a site may have typed in")
    image.add_new(0x00191008, "CS", "IMAGE NUM 4")
    after = room.one(image, Options(keep=frozenset({"safe-private"})))
    private = sorted(int(e.tag) for e in after if e.tag.is_private)
    assert private == [0x00190010, 0x0019100C]
    assert after[0x0019100C].value == 1000
    bare = type(room)(room.home / "bare").one(image)
    assert not [e for e in bare if e.tag.is_private]


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192", "GB18030", r"\ISO 2022 IR 87", "NO SUCH SET"])
def test_names_in_other_character_sets_are_found_and_the_file_stays_readable(room, image, charset):
    name = {"ISO_IR 100": "Müller^Jörg", "GB18030": "Wang^XiaoDong=王^小东", "ISO_IR 192": "王^小东"}.get(
        charset, "Yamada^Tarou"
    )
    image.SpecificCharacterSet = charset.split("\\") if "NO" not in charset else "ISO_IR 100"
    image.PatientName = name
    family = name.split("=")[-1].replace("^", "")
    image.SoftwareVersions = f"for {family}"
    image.SeriesDescription = "头颅平扫 王小东" if charset in {"GB18030", "ISO_IR 192"} else "HEAD"
    path = room.put(image)
    if "NO" in charset:
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"NO_SUCH_ST", 1))
    report = room.clean()
    assert report.left == ()
    (after,) = room.cleaned()
    assert str(after.SoftwareVersions).strip() == "for"
    assert after.SeriesDescription == ("头颅平扫" if "王" in name else "HEAD")


def test_file_meta_is_made_anew(room, image):
    image.file_meta.SourceApplicationEntityTitle = "GRACE_CT1"
    image.file_meta.ImplementationVersionName = "ACME"
    meta = room.one(image).file_meta
    assert "SourceApplicationEntityTitle" not in meta
    assert meta.ImplementationVersionName.startswith("LUCENCY")
    assert meta.MediaStorageSOPInstanceUID.startswith("2.25.")


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]
)
def test_every_uncompressed_syntax_gives_the_same_values(room, image, syntax):
    image.file_meta.TransferSyntaxUID = syntax
    if syntax == "1.2.840.10008.1.2.2":
        image.PixelData = np.frombuffer(image.PixelData, "<i2").byteswap().tobytes()
        image["PixelData"].VR = "OW"
    room.src.mkdir()
    pydicom.dcmwrite(room.src / "a.dcm", image, enforce_file_format=True)
    report = room.clean()
    assert report.actions == {"written": 1}, report.reasons
    assert report.left == ()
    (after,) = room.cleaned()
    np.testing.assert_array_equal(after.pixel_array, pydicom.dcmread(room.src / "a.dcm").pixel_array)


def test_a_report_keeps_codes_and_numbers_and_loses_its_sentences(room):
    planted.series(room.src, 3, 64)
    report = room.clean()
    assert report.left == ()
    (after,) = [d for d in room.cleaned() if d.Modality == "SR"]
    values = [e.value for e in after.iterall() if e.keyword == "NumericValue"]
    assert values == [12.5]
    text = " ".join(str(e.value) for e in after.iterall() if e.keyword in {"TextValue", "PersonName", "CodeMeaning"})
    assert "Diameter" in text
    assert "Smithson" not in text
    assert "Grey" not in text


def test_a_report_without_cleaning_has_a_dummy_content(room):
    planted.series(room.src, 3, 64)
    room.clean(Options(**PROFILES["basic"]))
    (after,) = [d for d in room.cleaned() if d.Modality == "SR"]
    assert [i.ValueType for i in after.ContentSequence] == ["TEXT"]


def test_a_number_that_is_the_patients_goes_and_others_stay(room, image):
    image.PatientID, image.SeriesNumber, image.AcquisitionNumber = "4471902", "4471902", "447190"
    after = room.one(image)
    assert (after.SeriesNumber, after.AcquisitionNumber) == (0, 447190)


@pytest.mark.parametrize("profile", ["basic", "research"])
def test_a_graphic_layer_named_after_the_patient_stayed_in_the_basic_profile(room, profile):
    state = planted.image()
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(state, keyword)
    state.SOPClassUID, state.Modality = "1.2.840.10008.5.1.4.1.1.11.1", "PR"
    graphic, layer = Dataset(), Dataset()
    graphic.GraphicLayer = layer.GraphicLayer = "SMITHSON NOTES"
    layer.GraphicLayerOrder = 1
    state.GraphicAnnotationSequence, state.GraphicLayerSequence = Sequence([graphic]), Sequence([layer])
    after = room.one(state, Options(**PROFILES[profile]))
    layers = after.GraphicAnnotationSequence[0].GraphicLayer, after.GraphicLayerSequence[0].GraphicLayer
    assert layers[0] == layers[1]
    assert layers[0].startswith("NOTES_")


def test_presentation_state_still_points_at_its_image_without_its_text(room, image):
    room.put(image, "ct.dcm")
    state = planted.image()
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(state, keyword)
    state.SOPClassUID, state.SOPInstanceUID, state.Modality = "1.2.840.10008.5.1.4.1.1.11.1", f"{planted.ROOT}.44", "PR"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    note = Dataset()
    note.UnformattedTextValue, note.BoundingBoxAnnotationUnits = "tumor of Harriet Smithson", "PIXEL"
    graphic = Dataset()
    graphic.ReferencedImageSequence, graphic.GraphicLayer = Sequence([reference]), "DRAW"
    graphic.TextObjectSequence = Sequence([note])
    state.GraphicAnnotationSequence = Sequence([graphic])
    room.put(state, "pr.dcm")
    report = room.clean()
    assert report.left == ()
    after = {d.Modality: d for d in room.cleaned()}
    item = after["PR"].GraphicAnnotationSequence[0]
    assert item.ReferencedImageSequence[0].ReferencedSOPInstanceUID == after["CT"].SOPInstanceUID
    assert item.TextObjectSequence[0].UnformattedTextValue == "REMOVED"

"""Files that are not DICOM: every planted secret goes, every voxel and pixel stays, nothing unknown is copied."""

import csv
import gzip
import io
import json
import struct
import zlib

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image, PngImagePlugin, TiffImagePlugin

from lucency.deidentify import boxes, manifest, others, pictures
from lucency.deidentify.keys import Identities, Keys
from lucency.errors import DataError

KEYS = Keys(bytes(range(32)))
NOBODY = Identities()
SECRET = "Mustermann Erika"
KNOWN = Identities(names=frozenset({"Mustermann^Erika"}), numbers=frozenset({"MRN778899"}))


def cleaned(path, folder, identities=KNOWN):
    return others.clean_other(path, folder, KEYS, identities)


def secrets_in(content: bytes) -> list[str]:
    """Return which planted words stand in bytes, in any of three encodings."""
    words = ("Mustermann", "Erika", "MRN778899")
    return [w for w in words for e in ("utf-8", "utf-16-le", "utf-16-be") if w.encode(e) in content]


def smooth(shape, seed=0):
    """Return a picture without text: a wide bump with a little noise, uint8."""
    j, i = np.mgrid[: shape[0], : shape[1]]
    rng = np.random.default_rng(seed)
    bump = 120 * np.exp(-(((j - shape[0] / 2) / shape[0]) ** 2 + ((i - shape[1] / 2) / shape[1]) ** 2) * 4)
    return (bump + rng.integers(0, 8, shape)).astype(np.uint8)


def a_nifti(path, two=False):
    array = np.random.default_rng(0).integers(-1000, 1000, (7, 6, 5)).astype(np.int16)
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -3], [0, 0, 3.0, 9], [0, 0, 0, 1]])
    image = (nibabel.Nifti2Image if two else nibabel.Nifti1Image)(array, affine)
    image.header["descrip"] = SECRET
    image.header["aux_file"] = "MRN778899.txt"
    image.header["intent_name"] = "Erika"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", f"seen: {SECRET}".encode()))
    nibabel.save(image, path)
    return array, affine


@pytest.mark.parametrize("name", ["Mustermann_ct.nii", "Mustermann.nii.gz"])
@pytest.mark.parametrize("two", [False, True])
def test_nifti_loses_its_text_and_keeps_voxels_and_place(tmp_path, name, two):
    array, affine = a_nifti(tmp_path / name, two)
    with (tmp_path / name).open("ab") as stream:
        stream.write(gzip.compress(b"Mustermann") if name.endswith("gz") else b"Mustermann")
    outcome = cleaned(tmp_path / name, tmp_path / "out")
    assert outcome.action == "written"
    assert {"descrip", "aux_file", "intent_name", "extensions", "bytes after the voxels"} <= set(outcome.removed)
    assert "recognisable features remain" in outcome.remarks[0]
    back = nibabel.load(outcome.target)
    assert (np.asarray(back.dataobj) == array).all()
    np.testing.assert_array_equal(back.affine, affine)
    content = outcome.target.read_bytes()
    assert secrets_in(gzip.decompress(content) if name.endswith("gz") else content) == []
    assert secrets_in(content) == []
    assert len(back.header.extensions) == 0
    assert "Mustermann" not in outcome.target.name


def test_big_endian_nifti_keeps_its_order(tmp_path):
    image = nibabel.Nifti1Image(
        np.arange(24, dtype=">f4").reshape(2, 3, 4), np.eye(4), nibabel.Nifti1Header(endianness=">")
    )
    image.header["descrip"] = SECRET
    nibabel.save(image, tmp_path / "a.nii")
    back = nibabel.load(cleaned(tmp_path / "a.nii", tmp_path / "out").target)
    assert back.header.endianness == ">"
    assert np.asarray(back.dataobj).sum() == 276


def test_truncated_nifti_is_left_out_with_a_reason(tmp_path):
    a_nifti(tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(content[:-10])
    outcome = cleaned(tmp_path / "a.nii", tmp_path / "out")
    assert (outcome.action, outcome.target) == ("left out", None)
    assert "header promises 420" in outcome.reason
    assert not (tmp_path / "out").exists()


def chunks_of(content):
    return [kind for kind, _, _ in pictures._chunks(content)]


@pytest.mark.parametrize("deep", [False, True])
def test_png_keeps_its_pixels_and_only_the_chunks_they_need(tmp_path, deep):
    pixels = smooth((90, 120)).astype(np.uint16) * 257 if deep else smooth((90, 120))
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", SECRET)
    info.add_text("Comment", SECRET, zip=True)
    info.add_itxt("Title", SECRET)
    exif = Image.Exif()
    exif[0x010E] = SECRET
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=info, exif=exif, dpi=(100, 100))
    with (tmp_path / "a.png").open("ab") as stream:
        stream.write(SECRET.encode())
    outcome = cleaned(tmp_path / "a.png", tmp_path / "out")
    content = outcome.target.read_bytes()
    assert set(chunks_of(content)) == {b"IHDR", b"pHYs", b"IDAT", b"IEND"}
    assert {"tEXt", "zTXt", "iTXt", "eXIf"} <= set(outcome.removed)
    assert secrets_in(content) == []
    assert (np.asarray(Image.open(io.BytesIO(content))) == pixels).all()


def test_animated_and_damaged_png_are_left_out(tmp_path):
    Image.fromarray(smooth((40, 40))).save(
        tmp_path / "a.png", save_all=True, append_images=[Image.fromarray(smooth((40, 40), 1))]
    )
    assert "animated" in cleaned(tmp_path / "a.png", tmp_path / "out").reason
    Image.fromarray(smooth((40, 40))).save(tmp_path / "b.png")
    content = bytearray((tmp_path / "b.png").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "b.png").write_bytes(content)
    assert cleaned(tmp_path / "b.png", tmp_path / "out").action == "left out"


def a_jpeg(pixels, **options):
    exif = Image.Exif()
    exif[0x010E], exif[0x0112], exif[0x0132] = SECRET, 6, "2020:01:02 03:04:05"
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", exif=exif, comment=SECRET.encode(), **options)
    content = stream.getvalue()
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x>" + SECRET.encode() + b"</x>"
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp + content[2:] + SECRET.encode()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"quality": 30}])
@pytest.mark.parametrize("colour", [False, True])
def test_jpeg_keeps_its_packed_pixels_bit_for_bit(tmp_path, options, colour):
    pixels = np.stack([smooth((64, 80), n) for n in range(3)], -1) if colour else smooth((64, 80))
    content = a_jpeg(pixels, **options)
    (tmp_path / "Erika.jpg").write_bytes(content)
    outcome = cleaned(tmp_path / "Erika.jpg", tmp_path / "out")
    out = outcome.target.read_bytes()
    assert secrets_in(out) == []
    assert {"EXIF", "XMP", "comment", "bytes after the picture"} <= set(outcome.removed)
    before, after = Image.open(io.BytesIO(content)), Image.open(io.BytesIO(out))
    assert (np.asarray(before) == np.asarray(after)).all()
    assert dict(after.getexif()) == {0x0112: 6}
    scan = content[content.index(b"\xff\xda") : content.rindex(b"\xff\xd9")]
    assert scan in out


def test_jpeg_keeps_a_colour_profile_unless_it_names_somebody(tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.stack([smooth((64, 64))] * 3, -1)
    for name, icc, kept in (("a.jpg", profile, True), ("b.jpg", profile + SECRET.encode(), False)):
        Image.fromarray(pixels).save(tmp_path / name, icc_profile=icc)
        with Image.open(cleaned(tmp_path / name, tmp_path / "out").target) as out:
            assert (out.info.get("icc_profile") is not None) == kept


def test_truncated_jpeg_is_left_out(tmp_path):
    (tmp_path / "a.jpg").write_bytes(a_jpeg(smooth((64, 80)))[:700])
    assert cleaned(tmp_path / "a.jpg", tmp_path / "out").action == "left out"


def test_picture_with_text_in_its_pixels_is_held_back(tmp_path):
    from PIL import ImageDraw, ImageFont

    picture = Image.fromarray(smooth((160, 240)))
    ImageDraw.Draw(picture).text(
        (5, 5), "MUSTERMANN ERIKA 12.03.1956", fill=255, font=ImageFont.load_default_imagefont()
    )
    picture.save(tmp_path / "a.png")
    outcome = cleaned(tmp_path / "a.png", tmp_path / "out")
    assert (outcome.action, outcome.target) == ("quarantine", None)
    assert outcome.boxes[0].top < 15
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("packing", [None, "tiff_lzw", "tiff_adobe_deflate", "jpeg"])
@pytest.mark.parametrize("big", [False, True])
def test_tiff_is_written_anew_with_the_same_pixels(tmp_path, packing, big):
    pixels = smooth((90, 120))
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270], tags[315], tags[306], tags[65000] = SECRET, SECRET, "2020:01:02 03:04:05", SECRET
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo=tags, compression=packing, big_tiff=big)
    before = np.asarray(Image.open(tmp_path / "a.tif"))
    outcome = cleaned(tmp_path / "a.tif", tmp_path / "out")
    assert secrets_in((tmp_path / "a.tif").read_bytes())
    assert secrets_in(outcome.target.read_bytes()) == []
    after = Image.open(outcome.target)
    assert (np.asarray(after) == before).all()
    assert not {270, 315, 306, 65000} & set(after.tag_v2)


def test_16_bit_stack_of_pages_stays_a_stack_and_pages_of_several_sizes_are_left_out(tmp_path):
    import tifffile

    stack = np.random.default_rng(0).integers(0, 60000, (5, 40, 50)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", description=SECRET)
    outcome = cleaned(tmp_path / "a.tif", tmp_path / "out")
    assert (tifffile.imread(outcome.target) == stack).all()
    assert any("not searched" in r for r in outcome.remarks)
    with tifffile.TiffWriter(tmp_path / "b.tif") as writer:
        writer.write(stack[0])
        writer.write(stack[1][:20])
    assert "photograph of a label" in cleaned(tmp_path / "b.tif", tmp_path / "out").reason


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("packed", [False, True])
def test_itk_formats_keep_grid_and_voxels_only(tmp_path, suffix, packed):
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(-9, 9, (4, 5, 6)).astype(np.int16))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-10.5, 3, 99))
    image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
    image.SetMetaData("PatientName", SECRET)
    image.SetMetaData("Mustermann", "MRN778899")
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path), useCompression=packed)
    assert secrets_in(path.read_bytes())
    outcome = cleaned(path, tmp_path / "out")
    assert secrets_in(outcome.target.read_bytes()) == []
    back = sitk.ReadImage(str(outcome.target))
    assert (sitk.GetArrayFromImage(back) == sitk.GetArrayFromImage(image)).all()
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(back, get)() == pytest.approx(getattr(image, get)())


def test_nrrd_words_that_are_not_the_formats_own_go(tmp_path):
    head = b"NRRD0004\n# Mustermann\ntype: short\ndimension: 1\nsizes: 2\nkinds: Erika\nencoding: raw\nendian: little\n"
    (tmp_path / "a.nrrd").write_bytes(head + b"content: Mustermann\nid:=MRN778899\n\n\1\0\2\0")
    outcome = cleaned(tmp_path / "a.nrrd", tmp_path / "out")
    assert secrets_in(outcome.target.read_bytes()) == []
    assert outcome.target.read_bytes().endswith(b"\n\n\1\0\2\0")


def test_npy_and_npz_keep_numbers_and_lose_text_and_identifiers(tmp_path):
    scan = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    np.savez(
        tmp_path / "a.npz",
        scan=scan,
        names=np.array([SECRET]),
        patient_id=np.array([778899]),
        Erika=scan,
        note=np.array([SECRET]),
    )
    outcome = cleaned(tmp_path / "a.npz", tmp_path / "out")
    with np.load(outcome.target, allow_pickle=False) as back:
        assert (back["scan"] == scan).all()
        assert len(back.files) == 2
        assert "Erika" not in back.files
    assert secrets_in(outcome.target.read_bytes()) == []
    np.save(tmp_path / "b.npy", scan)
    (tmp_path / "b.npy").write_bytes((tmp_path / "b.npy").read_bytes() + SECRET.encode())
    outcome = cleaned(tmp_path / "b.npy", tmp_path / "out")
    assert (np.load(outcome.target) == scan).all()
    assert secrets_in(outcome.target.read_bytes()) == []
    np.save(tmp_path / "c.npy", np.array([SECRET]))
    assert cleaned(tmp_path / "c.npy", tmp_path / "out").action == "left out"


TABLE = """PatientID,PatientName,StudyInstanceUID,StudyDate,BirthDate,Age,Sex,file,diagnosis,remarks,volume_ml,email
MRN778899,Mustermann^Erika,1.2.3.4.5.6.7.8,2020-03-01,1950-04-05,91,F,images/Mustermann_01.png,tumor,Erika,12.5,e@m.de
MRN112233,Doe^John,1.2.3.4.5.6.7.9,2021-12-31,1960-07-08,61,M,images/Doe_02.png,normal,none to speak of,8.25,j@d.org
MRN778899,Mustermann^Erika,1.2.3.4.5.6.7.8,2020-03-11,1950-04-05,91,F,images/Mustermann_02.png,tumor,again,13,e@m.de
"""


def test_table_is_cleaned_column_by_column(tmp_path):
    (tmp_path / "labels.csv").write_text(TABLE, encoding="utf-8")
    outcome = cleaned(tmp_path / "labels.csv", tmp_path / "out")
    text = outcome.target.read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert outcome.target.name == "labels.csv"
    assert list(rows[0]) == [
        "PatientID",
        "StudyInstanceUID",
        "StudyDate",
        "Age",
        "Sex",
        "file",
        "diagnosis",
        "volume_ml",
    ]
    assert [r["PatientID"] for r in rows] == [KEYS.patient("", i) for i in ("MRN778899", "MRN112233", "MRN778899")]
    assert rows[0]["StudyInstanceUID"] == KEYS.uid("1.2.3.4.5.6.7.8")
    days = [np.datetime64(r["StudyDate"]) for r in rows]
    assert days[2] - days[0] == np.timedelta64(10, "D")
    assert days[0] - np.datetime64("2020-03-01") == np.timedelta64(KEYS.shift_days(KEYS.patient("", "MRN778899")), "D")
    assert [r["Age"] for r in rows] == ["90", "61", "90"]
    assert [r["diagnosis"] for r in rows] == ["tumor", "normal", "tumor"]
    assert [r["volume_ml"] for r in rows] == ["12.5", "8.25", "13"]
    assert rows[0]["file"] == f"images/{others.new_name('Mustermann_01.png', KEYS)}"
    assert secrets_in(text.encode()) == []


def test_file_names_in_a_table_are_those_of_the_files(tmp_path):
    Image.fromarray(smooth((40, 40))).save(tmp_path / "Mustermann_01.png")
    outcome = cleaned(tmp_path / "Mustermann_01.png", tmp_path / "out")
    (tmp_path / "t.tsv").write_text("image\tscore\nMustermann_01.png\t3\n", encoding="utf-8")
    table = cleaned(tmp_path / "t.tsv", tmp_path / "out").target.read_text(encoding="utf-8")
    assert outcome.target.name in table


@pytest.mark.parametrize("column", ["id", "case", "PatientID", "image_id", "filename"])
def test_column_of_cases_still_names_the_files(tmp_path, column):
    np.save(tmp_path / "Doe-17.npy", np.zeros(3))
    np.save(tmp_path / "Roe-18.npy", np.zeros(3))
    (tmp_path / "t.csv").write_text(f"{column},label\nDoe-17,0\nRoe-18,1\n", encoding="utf-8")
    files = {cleaned(tmp_path / f"{n}.npy", tmp_path / "out").target.stem for n in ("Doe-17", "Roe-18")}
    table = cleaned(tmp_path / "t.csv", tmp_path / "out").target.read_text(encoding="utf-8")
    assert {line.split(",")[0] for line in table.splitlines()[1:]} == files


def test_dates_without_a_patient_and_unknown_words_go(tmp_path):
    text = "scan date,word,grade\n01.02.2020,Schmidtchen,2\n03.04.2021,Hubertus,3\n"
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    out = cleaned(tmp_path / "a.csv", tmp_path / "out").target.read_text(encoding="utf-8")
    assert out == "grade\n2\n3\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,2\n3,4\n", "first row of column names"),
        ("a\nb\n,,,\n1,2\n", "rows of as many cells"),
        ("name\nErika\nMax\n", "no column"),
    ],
)
def test_tables_that_cannot_be_judged_are_left_out(tmp_path, text, says):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    assert says in cleaned(tmp_path / "a.csv", tmp_path / "out").reason


def test_classes_of_unknown_words_become_codes_and_stay_apart(tmp_path):
    rows = "".join(f"{label},{n}\n" for n, label in enumerate(["normal", "zzyzx", "Erika", "zzyzx", "normal", "Erika"]))
    (tmp_path / "a.csv").write_text("label,volume\n" + rows, encoding="utf-8")
    outcome = cleaned(tmp_path / "a.csv", tmp_path / "out")
    labels = [r["label"] for r in csv.DictReader(outcome.target.read_text(encoding="utf-8").splitlines())]
    assert labels[0] == labels[4] == "normal"
    assert labels[1] == labels[3] != labels[2] == labels[5]
    assert not {"zzyzx", "Erika"} & set(labels)
    assert "became codes" in outcome.remarks[0]


def test_long_numbers_that_differ_are_replaced_and_measurements_stay(tmp_path):
    rows = "".join(f"{700000 + 37 * n},{n % 5}.5\n" for n in range(20))
    (tmp_path / "a.csv").write_text("code,diameter\n" + rows, encoding="utf-8")
    out = cleaned(tmp_path / "a.csv", tmp_path / "out").target.read_text(encoding="utf-8")
    assert "700037" not in out
    assert "1.5" in out


def test_sidecars_keep_physics_and_lose_people(tmp_path):
    content = {
        "RepetitionTime": 2.3,
        "EchoTime": 0.03,
        "PatientName": SECRET,
        "InstitutionName": "St. Erika",
        "AcquisitionTime": "12:30",
        "PhaseEncodingDirection": "j-",
        "training": [{"image": "./imagesTr/Mustermann_0000.nii.gz", "label": "./labelsTr/Mustermann.nii.gz"}],
        "labels": {"background": 0, "tumor": 1},
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    outcome = cleaned(tmp_path / "dataset.json", tmp_path / "out")
    back = json.loads(outcome.target.read_text(encoding="utf-8"))
    assert back["RepetitionTime"] == 2.3
    assert back["PhaseEncodingDirection"] == "j-"
    assert back["labels"] == {"background": 0, "tumor": 1}
    core = others.new_name("Mustermann.nii.gz", KEYS).removesuffix(".nii.gz")
    assert back["training"] == [{"image": f"imagesTr/{core}_0000.nii.gz", "label": f"labelsTr/{core}.nii.gz"}]
    assert set(back) == {"RepetitionTime", "EchoTime", "PhaseEncodingDirection", "training", "labels"}


def test_coco_keeps_boxes_classes_and_the_new_names_of_pictures(tmp_path):
    content = {
        "info": {"contributor": SECRET},
        "images": [
            {"id": 1, "width": 90, "height": 80, "file_name": "Mustermann_1.png", "date_captured": "2020-01-02"}
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3.5, 4], "area": 14, "note": SECRET},
            {"id": 2, "image_id": 1, "category_id": 2, "segmentation": [[1, 2, 3, 4, 5, 6]], "bbox": "Erika"},
        ],
        "categories": [{"id": 2, "name": "nodule", "supercategory": "Erika"}, {"id": 3, "name": "Erika"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    text = cleaned(tmp_path / "a.json", tmp_path / "out").target.read_text(encoding="utf-8")
    back = json.loads(text)
    assert secrets_in(text.encode()) == []
    assert back["images"] == [
        {"id": 1, "width": 90, "height": 80, "file_name": others.new_name("Mustermann_1.png", KEYS)}
    ]
    assert back["annotations"][0] == {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3.5, 4], "area": 14}
    assert back["annotations"][1]["segmentation"] == [[1, 2, 3, 4, 5, 6]]
    assert back["categories"][0] == {"id": 2, "name": "nodule"}
    assert set(back) == {"images", "annotations", "categories"}


@pytest.mark.parametrize("old", [4711882, 12345678901, "HX4711882"])
def test_ids_of_coco_lists_that_were_patients_numbers_stayed_or_lost_their_boxes(tmp_path, old):
    content = {
        "images": [
            {"id": 7, "width": 90, "height": 80, "file_name": "a.png"},
            {"id": old, "width": 90, "height": 80, "file_name": "b.png"},
        ],
        "annotations": [{"id": 5, "image_id": old, "category_id": 2, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 2, "name": "nodule"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    outcome = cleaned(tmp_path / "a.json", tmp_path / "out")
    text = outcome.target.read_text(encoding="utf-8")
    assert str(old) not in text
    back = json.loads(text)
    assert [p["id"] for p in back["images"]] == [1, 2]
    assert back["annotations"] == [{"id": 5, "image_id": 2, "category_id": 2, "bbox": [1, 2, 3, 4]}]
    assert boxes.COUNTED_ANEW in outcome.remarks


def test_text_files_are_written_only_where_they_hold_boxes(tmp_path):
    (tmp_path / "a.txt").write_text("0 0.5 0.25 0.1 0.2\n3 0.1 0.2 0.3 0.4\n", encoding="ascii")
    outcome = cleaned(tmp_path / "a.txt", tmp_path / "out")
    assert outcome.target.read_text(encoding="ascii") == "0 0.5 0.25 0.1 0.2\n3 0.1 0.2 0.3 0.4\n"
    for text in (SECRET, "0 0.5 0.25 0.1 0.2\n# Erika\n", "1 19560312 1 0 1\n"):
        (tmp_path / "b.txt").write_text(text, encoding="ascii")
        assert cleaned(tmp_path / "b.txt", tmp_path / "out").action == "left out"


def test_parts_of_a_case_keep_one_name_and_bids_keeps_its_form():
    names = ("Doe7_0000.nii.gz", "Doe7_0001.nii.gz", "Doe7.nii.gz", "Doe7_mask.png")
    new = [others.new_name(n, KEYS, folder="imagesTr") for n in names]
    assert [n[:16] for n in new] == [KEYS.patient("", "Doe7")] * 4
    assert [n[16:] for n in new] == ["_0000.nii.gz", "_0001.nii.gz", ".nii.gz", "_mask.png"]
    # Elsewhere four digits may be those of a patient.
    assert "1234" not in others.new_name("MRN_1234.nii.gz", KEYS, folder="scans")
    bids = others.new_name("sub-Doe_ses-20200101_run-02_T1w.nii.gz", KEYS)
    assert bids.startswith("sub-P")
    assert bids.endswith("_run-02_T1w.nii.gz")
    assert "Doe" not in bids
    assert "2020" not in bids
    assert bids.split("_")[0] == "sub-" + KEYS.patient("", "sub-Doe")


def test_folders_keep_ordinary_words_only():
    keep = [others.new_folder(n, KEYS, KNOWN) for n in ("imagesTr", "train", "chest", "normal")]
    assert keep == ["imagesTr", "train", "chest", "normal"]
    for name in ("Mustermann", "20200105", "Erika normal", "Zzyzx"):
        assert others.new_folder(name, KEYS, KNOWN).startswith("D")


@pytest.mark.parametrize("name", ["a.docx", "a.pdf", "a", "a.xlsx", "a.mp4", "a.zip", "a.pkl", "a.hdr", ".DS_Store"])
def test_unknown_kinds_are_never_copied(tmp_path, name):
    (tmp_path / name).write_bytes(SECRET.encode())
    outcome = cleaned(tmp_path / name, tmp_path / "out")
    assert (outcome.action, outcome.kind) == ("left out", "unknown")
    assert not (tmp_path / "out").exists()


def test_second_run_gives_the_same_bytes_and_no_leftovers(tmp_path):
    a_nifti(tmp_path / "a.nii.gz")
    first = cleaned(tmp_path / "a.nii.gz", tmp_path / "out").target
    before = first.read_bytes()
    assert cleaned(tmp_path / "a.nii.gz", tmp_path / "out").target.read_bytes() == before
    assert [p.name for p in (tmp_path / "out").iterdir()] == [first.name]


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_never_crash_and_never_leave_half_a_file(tmp_path, seed):
    rng = np.random.default_rng(seed)
    a_nifti(tmp_path / "a.nii")
    a_nifti(tmp_path / "b.nii.gz")
    Image.fromarray(smooth((40, 40))).save(tmp_path / "c.png")
    (tmp_path / "d.jpg").write_bytes(a_jpeg(smooth((40, 40))))
    Image.fromarray(smooth((40, 40))).save(tmp_path / "e.tif", compression="tiff_lzw")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16)), str(tmp_path / "f.mha"))
    sitk.WriteImage(
        sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16)), str(tmp_path / "g.nrrd"), useCompression=True
    )
    np.savez(tmp_path / "h.npz", scan=np.zeros(5))
    (tmp_path / "i.csv").write_text(TABLE, encoding="utf-8")
    for path in sorted(p for p in tmp_path.iterdir() if p.is_file()):
        content = bytearray(path.read_bytes())
        for place in rng.integers(0, min(len(content), 400), 4):
            content[place] = rng.integers(256)
        if rng.random() < 0.3:
            content = content[: int(rng.integers(len(content)))]
        path.write_bytes(content)
        outcome = cleaned(path, tmp_path / "out")
        assert (outcome.target is not None) == (outcome.action == "written")
        assert "tmp" not in outcome.reason
    if (tmp_path / "out").exists():
        assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".writing-")]


def test_bomb_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(others, "MAX_BYTES", 1 << 20)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(30 << 20)))
    assert "8 GiB" in cleaned(tmp_path / "a.nii.gz", tmp_path / "out").reason


def test_colour_profile_bomb_is_dropped(tmp_path):
    body = b"icc\0\0" + zlib.compress(bytes(64 << 20))
    assert not pictures._profile_is_plain(body, NOBODY)


def test_refusal_of_a_cleaner_says_what_to_do():
    with pytest.raises(DataError, match="What to do"):
        manifest.table(b"1,2\n3,4\n", rules=manifest.Rules(KEYS, NOBODY, str, str))

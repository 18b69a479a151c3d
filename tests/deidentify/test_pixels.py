"""Pixel rules, blanking and the review list, on objects made here whose truth is known."""

import copy
import csv
import io

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    JPEG2000,
    MPEG2MPML,
    CTImageStorage,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    UltrasoundImageStorage,
    generate_uid,
)

from lucency.burned_in import Box
from lucency.deidentify import pixels
from lucency.deidentify.blanking import blanked, covered, hidden_numbers
from lucency.deidentify.review import PICTURES, ReviewItem, write_review
from lucency.errors import DataError

ROWS, COLUMNS = 160, 200


def made(pixels_: np.ndarray, kind: str = CTImageStorage, *, syntax: str = ExplicitVRLittleEndian, **values) -> Dataset:
    """Return an object with (n, rows, columns, samples) or (rows, columns) pixels."""
    array = pixels_[None, ..., None] if pixels_.ndim == 2 else pixels_
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, kind
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["pixels"])
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    n, data.Rows, data.Columns, data.SamplesPerPixel = array.shape
    if n > 1:
        data.NumberOfFrames = n
    bits = array.dtype.itemsize * 8
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, int(array.dtype.kind == "i")
    data.PhotometricInterpretation = "RGB" if data.SamplesPerPixel == 3 else "MONOCHROME2"
    if data.SamplesPerPixel == 3:
        data.PlanarConfiguration = 0
    data.PixelData = np.ascontiguousarray(array).tobytes()
    data["PixelData"].VR = "OB" if bits == 8 else "OW"
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def stored(data: Dataset):
    return lambda: data.pixel_array.reshape(
        int(data.get("NumberOfFrames") or 1), data.Rows, data.Columns, data.SamplesPerPixel
    )


def scan(seed: int = 0) -> np.ndarray:
    """Return a smooth round body in air, HU-like int16."""
    rng = np.random.default_rng(seed)
    j, i = np.mgrid[:ROWS, :COLUMNS]
    body = ((j - 80) / 60) ** 2 + ((i - 100) / 80) ** 2 < 1
    return (np.where(body, 40, -1000) + rng.normal(0, 12, (ROWS, COLUMNS))).astype(np.int16)


def with_text(image: np.ndarray, text: str = "SMITH JOHN 12.03.1956", at=(6, 8), level: float = 3000) -> np.ndarray:
    canvas = Image.new("L", (image.shape[1], image.shape[0]))
    ImageDraw.Draw(canvas).text((at[1], at[0]), text, fill=255, font=ImageFont.load_default_imagefont())
    ink = np.asarray(canvas) > 0
    out = image.copy()
    out[ink] = level
    return out


def where(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(before != after)
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def test_clean_ct_is_kept_and_text_on_it_is_to_be_blanked():
    clean, marked = scan(), with_text(scan())
    assert pixels.examine(made(clean), stored(made(clean))).action == "keep"
    verdict = pixels.examine(made(marked), stored(made(marked)))
    assert verdict.action == "blank"
    assert covered(where(clean, marked), verdict.boxes) > 0.95
    assert list(verdict.regions) == [0]


@pytest.mark.parametrize(
    ("values", "kind", "says"),
    [
        ({}, SecondaryCaptureImageStorage, "secondary capture"),
        ({"ConversionType": "SD"}, CTImageStorage, "converted"),
        ({"BurnedInAnnotation": "YES"}, CTImageStorage, "burned into"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, CTImageStorage, "saved screen"),
        ({"SeriesDescription": "Dose Report"}, CTImageStorage, "saved screen"),
        ({"Modality": "OT"}, CTImageStorage, "other"),
        ({"Modality": "DOC"}, CTImageStorage, "document"),
        ({"Modality": "US"}, UltrasoundImageStorage, "regions"),
        ({}, "1.2.840.10008.5.1.4.1.1.77.1.4", "photograph"),
    ],
)
def test_risky_kinds_are_held_back_for_a_person(values, kind, says):
    data = made(scan(), kind, **values)
    verdict = pixels.examine(data, stored(data), ocr=False)
    assert verdict.action == "quarantine"
    assert says in verdict.reason


def test_what_cannot_be_looked_through_is_held_back_without_being_decoded():
    def never():
        raise AssertionError("decoded")

    document = made(scan(), EncapsulatedPDFStorage)
    film = made(scan(), syntax=MPEG2MPML)
    assert pixels.examine(document, never).action == "quarantine"
    assert "video" in pixels.examine(film, never).reason
    mask = made(scan(), SegmentationStorage, Modality="SEG")
    assert pixels.examine(mask, never).action == "keep"


def test_capture_that_says_it_has_no_text_is_believed_only_as_far_as_it_is_true():
    clean = made(scan(), SecondaryCaptureImageStorage, BurnedInAnnotation="NO")
    assert pixels.examine(clean, stored(clean), ocr=False).action == "keep"
    liar = made(with_text(scan()), SecondaryCaptureImageStorage, BurnedInAnnotation="NO")
    verdict = pixels.examine(liar, stored(liar), ocr=False)
    assert verdict.action == "quarantine"
    assert "text was found" in verdict.reason


def ultrasound(**values) -> Dataset:
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 20, 30
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 179, 149
    image = np.full((2, ROWS, COLUMNS, 3), 40, np.uint8)
    return made(
        image,
        UltrasoundImageStorage,
        Modality="US",
        SequenceOfUltrasoundRegions=[region],
        ImageType="ORIGINAL",
        **values,
    )


def test_ultrasound_is_blanked_all_around_its_regions_and_nowhere_else():
    data = ultrasound()
    verdict = pixels.examine(data, stored(data))
    assert verdict.action == "blank"
    out = blanked(copy.deepcopy(data), verdict.boxes).pixel_array
    kept = np.zeros((ROWS, COLUMNS), bool)
    kept[30:150, 20:180] = True
    assert (out[:, kept] == 40).all()
    assert (out[:, ~kept] == 0).all()


def test_regions_outside_the_image_are_no_regions():
    data = ultrasound()
    data.SequenceOfUltrasoundRegions[0].RegionLocationMaxX1 = 5000
    assert pixels.examine(data, stored(data)).action == "quarantine"


@pytest.mark.parametrize("seed", range(5))
def test_outside_covers_exactly_what_no_region_holds(seed):
    rng = np.random.default_rng(seed)
    regions, kept = [], np.zeros((50, 70), bool)
    for _ in range(4):
        top, left = rng.integers(0, 40), rng.integers(0, 60)
        bottom, right = top + rng.integers(1, 30), left + rng.integers(1, 30)
        regions.append(Box(top, left, bottom, right, 1.0))
        kept[top:bottom, left:right] = True
    hit = np.zeros((50, 70), int)
    for box in pixels.outside(regions, (50, 70)):
        hit[box.top : box.bottom, box.left : box.right] += 1
    assert (hit == ~kept).all()


def test_text_in_one_frame_of_a_long_film_is_found_and_blanked_in_all():
    frames = np.stack([scan(n) for n in range(20)])
    marked = frames.copy()
    marked[12] = with_text(frames[12])
    data = made(marked[..., None], "1.2.840.10008.5.1.4.1.1.2.1")
    assert 12 not in pixels.sampled(20)
    verdict = pixels.examine(data, stored(data))
    assert verdict.action == "blank"
    assert covered(where(frames[12], marked[12]), verdict.boxes) > 0.95
    out = blanked(data, verdict.boxes).pixel_array
    box = verdict.boxes[0]
    assert (out[:, box.top : box.bottom, box.left : box.right] == marked.min()).all()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_blanking_fills_with_background_and_changes_nothing_else(photometric):
    image = with_text(scan())
    data = made(image, PhotometricInterpretation=photometric, SmallestImagePixelValue=-1000)
    out = blanked(data, [Box(0, 0, 20, 150, 1.0)])
    inside = np.zeros(image.shape, bool)
    inside[:20, :150] = True
    assert (out.pixel_array[inside] == (image.max() if photometric == "MONOCHROME1" else image.min())).all()
    assert (out.pixel_array[~inside] == image[~inside]).all()
    assert "SmallestImagePixelValue" not in out


def test_blanking_is_recorded_where_the_standard_says_and_copies_of_the_pixels_go():
    icon = Dataset()
    icon.Rows = icon.Columns = 8
    reference = Dataset()
    reference.IconImageSequence = [icon]
    data = made(scan(), IconImageSequence=[icon], ReferencedImageSequence=[reference])
    data.add_new(0x60000010, "US", 160)
    data.add_new(0x60003000, "OW", b"\1\0")
    done = blanked(data, [Box(0, 0, 10, 10, 1.0), Box(500, 500, 510, 510, 1.0)])
    assert done.BurnedInAnnotation == "NO"
    assert done.ImageType[0] == "DERIVED"
    assert done.DerivationDescription == "Regions blanked in every frame: 1; rows/columns from-to: 0-10/0-10"
    assert [c.CodeValue for c in done.DeidentificationMethodCodeSequence] == ["113101"]
    assert "IconImageSequence" not in done
    assert "IconImageSequence" not in done.ReferencedImageSequence[0]
    assert not [e for e in done if e.tag.group == 0x6000]
    blanked(done, [Box(0, 0, 10, 10, 1.0)])
    assert len(done.DeidentificationMethodCodeSequence) == 1


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize(("photometric", "black"), [("RGB", (0, 0, 0)), ("YBR_FULL", (0, 128, 128))])
def test_colour_is_blanked_in_its_own_layout(planar, photometric, black):
    image = np.random.default_rng(0).integers(1, 255, (2, ROWS, COLUMNS, 3), dtype=np.uint8)
    laid = np.moveaxis(image, -1, 1) if planar else image
    data = made(image, PlanarConfiguration=planar, PhotometricInterpretation=photometric)
    data.PixelData = np.ascontiguousarray(laid).tobytes()
    out = np.frombuffer(blanked(data, [Box(5, 7, 9, 30, 1.0)]).PixelData, np.uint8).reshape(laid.shape)
    out = np.moveaxis(out, 1, -1) if planar else out
    assert (out[:, 5:9, 7:30] == black).all()
    image[:, 5:9, 7:30] = black
    assert (out == image).all()


def test_palette_is_blanked_with_its_darkest_colour():
    data = made(np.full((ROWS, COLUMNS), 1, np.uint8), PhotometricInterpretation="PALETTE COLOR")
    table = np.array([200, 100, 10, 250], "<u2")
    for colour in ("Red", "Green", "Blue"):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 16])
        setattr(data, f"{colour}PaletteColorLookupTableData", table.tobytes())
    out = blanked(data, [Box(0, 0, 4, 4, 1.0)])
    assert set(np.frombuffer(out.PixelData, np.uint8)[:4]) == {2}
    assert out.PhotometricInterpretation == "PALETTE COLOR"


@pytest.mark.parametrize(("syntax", "lossy", "ratio"), [(JPEGBaseline8Bit, True, "8"), (JPEG2000, None, None)])
def test_compressed_pixels_become_plain_and_what_was_lost_is_said(syntax, lossy, ratio):
    image = np.random.default_rng(0).integers(0, 255, (1, ROWS, COLUMNS, 1), dtype=np.uint8)
    data = made(image, syntax=syntax)
    data.PixelData = b"x" * (ROWS * COLUMNS // 8)
    if lossy is None:
        data.LossyImageCompression = "00"
    with pytest.raises(DataError, match="not decoded"):
        blanked(data, [Box(0, 0, 4, 4, 1.0)])
    out = blanked(data, [Box(0, 0, 4, 4, 1.0)], stored=lambda: image)
    assert out.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert out.LossyImageCompression == ("01" if lossy else "00")
    assert str(out.get("LossyImageCompressionRatio", "")) == (ratio or "")
    assert (out.pixel_array[4:] == image[0, 4:, :, 0]).all()
    stream = io.BytesIO()
    out.save_as(stream, enforce_file_format=True)
    assert (pydicom.dcmread(io.BytesIO(stream.getvalue())).pixel_array == out.pixel_array).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_decoded_palette_becomes_rgb_without_its_tables(bits):
    data = made(
        np.zeros((ROWS, COLUMNS), np.uint8), syntax="1.2.840.10008.1.2.5", PhotometricInterpretation="PALETTE COLOR"
    )
    for colour in ("Red", "Green", "Blue"):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 16])
        setattr(data, f"{colour}PaletteColorLookupTableData", b"\0" * 8)
    rgb = (
        np.full((1, ROWS, COLUMNS, 3), 7, np.uint8) if bits == 8 else np.full((1, ROWS, COLUMNS, 3), 0x0707, np.uint16)
    )
    out = blanked(data, [Box(0, 0, 4, 4, 1.0)], stored=lambda: rgb)
    assert (out.BitsAllocated, out.BitsStored, out.HighBit) == (8, 8, 7)
    assert (out.PhotometricInterpretation, out.SamplesPerPixel) == ("RGB", 3)
    assert "RedPaletteColorLookupTableData" not in out
    assert out.pixel_array[:4, :4].sum() == 0
    assert (out.pixel_array[5:] == 7).all()


def test_big_endian_pixels_become_little_endian():
    image = scan()
    data = made(image, syntax=ExplicitVRBigEndian)
    data.PixelData = image.astype(">i2").tobytes()
    out = blanked(data, [Box(0, 0, 2, 2, 1.0)], stored=lambda: image[None, ..., None])
    assert out.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (out.pixel_array[2:] == image[2:]).all()


def test_numbers_in_unused_bits_are_found_and_cleared():
    image = np.full((ROWS, COLUMNS), 5, np.uint16)
    image[50:60, 50:60] |= 0xF000
    data = made(image, BitsStored=12, HighBit=11)
    # Decoders clear such bits.
    verdict = pixels.examine(data, lambda: (image & 0xFFF)[None, ..., None])
    assert verdict.action == "blank"
    assert verdict.clear_unused_bits
    done = blanked(data, verdict.boxes)
    assert (np.frombuffer(done.PixelData, "<u2") & 0xF000).sum() == 0
    assert (np.frombuffer(done.PixelData, "<u2") == 5).any()


def test_signed_numbers_in_fewer_bits_keep_their_sign():
    image = np.array([[-1, -2048], [2047, 0]], np.int16).repeat(16, 0).repeat(16, 1)
    data = made(image, BitsStored=12, HighBit=11)
    assert pixels.examine(data, lambda: image[None, ..., None]).action == "keep"
    assert (blanked(data, []).pixel_array == image).all()


@pytest.mark.parametrize(
    ("word", "signed", "high", "hidden"),
    [
        (0x0FFF, 0, 11, False),
        (0x1005, 0, 11, True),
        (0xF800, 1, 11, False),
        (0x0800, 1, 11, False),
        (0x1800, 1, 11, True),
        (0xF005, 1, 11, True),
        (0x0FF0, 0, 15, False),
        (0x0FF1, 0, 15, True),
    ],
)
def test_bits_beside_the_number_are_told_from_its_sign(word, signed, high, hidden):
    data = made(np.full((20, 20), word, np.uint16), BitsStored=12, HighBit=high, PixelRepresentation=signed)
    assert hidden_numbers(data) is hidden
    assert not hidden_numbers(blanked(data, []))


def test_text_around_the_scan_costs_no_look_at_every_frame(monkeypatch):
    data = ultrasound()
    frames = stored(data)().copy()
    frames[:, :25] = np.random.default_rng(0).integers(0, 255, frames[:, :25].shape)
    seen = []
    monkeypatch.setattr(pixels, "find_text", lambda plane: seen.append(plane) or ())
    assert pixels.examine(data, lambda: frames).action == "blank"
    assert all((plane[:25] == plane.min()).all() for plane in seen)


def test_pixels_that_are_not_whole_numbers_are_refused():
    data = made(scan())
    del data.PixelData
    data.FloatPixelData = scan().astype("<f4").tobytes()
    with pytest.raises(DataError, match="not whole numbers"):
        blanked(data, [Box(0, 0, 2, 2, 1.0)], stored=lambda: scan()[None, ..., None].astype(np.float32))


def test_truncated_pixels_are_refused_and_nothing_is_changed():
    data = made(scan())
    data.PixelData = data.PixelData[:100]
    with pytest.raises(DataError, match="50 numbers in the pixels"):
        blanked(data, [Box(0, 0, 2, 2, 1.0)])
    assert "BurnedInAnnotation" not in data


def test_tesseract_reads_large_words_and_finds_none_in_noise():
    if not pixels.shutil.which("tesseract"):
        pytest.skip("tesseract is not installed")
    canvas = Image.new("L", (400, 100))
    ImageDraw.Draw(canvas).text((20, 30), "DAVIDSON DOUGLAS", fill=255, font=ImageFont.load_default(32))
    boxes = pixels.read_text(np.asarray(canvas))
    assert covered((34, 22, 56, 330), boxes) > 0.7
    assert pixels.read_text(np.random.default_rng(0).integers(0, 60, (100, 400), dtype=np.uint8)) == ()


def test_review_list_names_new_files_and_keeps_pictures_in_a_marked_folder(tmp_path):
    image = with_text(scan())
    verdict = pixels.examine(made(image), stored(made(image)))
    items = [
        ReviewItem("2.25.7.dcm", verdict, image),
        ReviewItem("2.25.8.dcm", pixels.PixelVerdict("quarantine", reason="PDF")),
    ]
    table = write_review(items, tmp_path / "review")
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [r["file"] for r in rows] == ["2.25.7.dcm"] * len(verdict.boxes) + ["2.25.8.dcm"]
    assert (int(rows[0]["top"]), rows[0]["decision"]) == (verdict.boxes[0].top, "")
    assert sorted(p.name for p in (tmp_path / "review").iterdir()) == [PICTURES, "review.csv"]
    page = (tmp_path / "review" / PICTURES / "review.html").read_text(encoding="utf-8")
    assert "contains patient images" in page
    assert (tmp_path / "review" / PICTURES / "2.25.7.png").exists()

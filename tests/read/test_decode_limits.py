"""Files that lie, bombs and broken decoders: each is refused by name, within bounds, and costs nothing but itself."""

import io
import os
import struct
import threading
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as Picture
from pixel_files import COMPRESSED, dataset_of, deflated, written

from lucency.case import Source
from lucency.errors import LucencyError, ReadError
from lucency.read import decode, decoder, load, opening, pixelform, read_inputs, workers

SECRETS = ("SECRET^NAME", "SECRET-ID")


def pixels(file):
    ((_, array),) = decode.frames([file], [file.name])
    return array


def refused(file, words):
    """Decode, and return how many bytes were allocated at the most on the way to the refusal."""
    tracemalloc.start()
    try:
        with pytest.raises(ReadError, match=words) as caught:
            pixels(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{file.name}: ")
    assert str(file.parent) not in str(caught.value)
    assert not any(s in str(caught.value) for s in SECRETS)
    return peak


def changed(file, **changes):
    """Change a file's header and leave its pixels as they are."""
    data = pydicom.dcmread(file)
    for name, value in changes.items():
        setattr(data, name, value)
    data.save_as(file)
    return file


@pytest.fixture
def plain(tmp_path):
    return written(tmp_path / "a.dcm", np.arange(3072, dtype=np.uint16).reshape(2, 32, 48, 1))


@pytest.fixture
def packed(tmp_path):
    def make(syntax):
        return written(tmp_path / "a.dcm", np.arange(3072, dtype=np.uint16).reshape(2, 32, 48, 1), syntax)

    return make


def test_two_thousand_frames_of_65535_squared_are_refused_before_any_allocation(plain):
    changed(plain, Rows=65535, Columns=65535, NumberOfFrames=2000)
    assert refused(plain, r"promises 2000 frames of 65535 × 65535 pixels\. Expected: at most") < 4 << 20


def test_a_promise_below_the_limit_is_refused_before_it_is_allocated(plain):
    changed(plain, Rows=16000, Columns=16000)
    assert refused(plain, "6144 of 1024000000 bytes are there") < 4 << 20


@pytest.mark.parametrize("syntax", ["jpeg2000", "jpegls", "rle"])
def test_a_compressed_image_smaller_than_its_header_says_is_refused(packed, syntax):
    file = changed(packed(syntax), Rows=16000, Columns=16000, NumberOfFrames=2)
    # The array is set aside in this process, but no page of it is touched; the worker refuses before it allocates.
    refused(file, "another size than the header says|they are damaged")


@pytest.mark.parametrize("syntax", ["jpeg2000", "jpegls"])
def test_a_stream_that_claims_a_huge_image_is_refused(packed, syntax):
    file = packed(syntax)
    data = bytearray(file.read_bytes())
    if syntax == "jpeg2000":
        place = data.index(b"\xff\x4f\xff\x51") + 8
        data[place : place + 8] = struct.pack(">II", 2**31, 2**31)
    else:
        place = data.index(b"\xff\xf7") + 5
        data[place : place + 4] = struct.pack(">HH", 65535, 65535)
    file.write_bytes(data)
    assert refused(file, "another size than the header says") < 16 << 20


@pytest.mark.parametrize("syntax", ["jpeg2000", "jpegls"])
def test_header_and_stream_that_lie_together_are_bounded(packed, syntax):
    file = changed(packed(syntax), Rows=65535, Columns=65535)
    assert refused(file, "promises 2 frames of 65535 × 65535 pixels") < 16 << 20


@pytest.mark.parametrize("syntax", ["jpeg2000", "jpegls", "rle"])
def test_more_or_fewer_frames_than_promised_are_refused(packed, syntax):
    for n, words in (
        (1, "2 compressed frames, the header says 1"),
        (1000, "2 compressed frames, the header says 1000"),
    ):
        refused(changed(packed(syntax), NumberOfFrames=n), words)


def test_pixels_beyond_what_the_header_promises_are_refused(plain):
    for changes in ({"NumberOfFrames": 1}, {"Rows": 24}, {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}):
        file = changed(written(plain, np.arange(3072, dtype=np.uint16).reshape(2, 32, 48, 1)), **changes)
        refused(file, r"6144 bytes are there, the header promises \d+")


def test_filling_after_the_pixels_is_accepted_and_other_numbers_are_not(tmp_path):
    array = np.arange(1, 1537, dtype=np.uint16).reshape(1, 32, 48, 1)
    for tail, fits in ((bytes(96), True), (b"\xff" * 10, True), (bytes(98), False), (b"\0\1" * 5, False)):
        data = dataset_of(array)
        data.PixelData += tail
        data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        if fits:
            assert np.array_equal(pixels(tmp_path / "a.dcm"), array)
        else:
            refused(tmp_path / "a.dcm", "the header promises 3072")


@pytest.mark.parametrize("syntax", ["explicit", *COMPRESSED])
def test_a_truncated_file_is_refused(packed, plain, syntax):
    file = plain if syntax == "explicit" else packed(syntax)
    whole = file.read_bytes()
    for left in (len(whole) - 300, len(whole) - 20):
        file.write_bytes(whole[:left])
        refused(file, "The pixels cannot be read")


def test_a_stream_that_ends_early_within_a_whole_fragment_is_refused(tmp_path):
    array = np.random.default_rng(0).integers(0, 4096, (1, 256, 256, 1)).astype(np.uint16)
    for syntax in ("jpeg2000", "jpegls", "rle"):
        data = pydicom.dcmread(written(tmp_path / "a.dcm", array, syntax))
        (stream,) = pydicom.encaps.generate_frames(data.PixelData, number_of_frames=1)
        data.PixelData = pydicom.encaps.encapsulate([stream[: len(stream) // 4 * 2]])
        data.save_as(tmp_path / "a.dcm")
        refused(tmp_path / "a.dcm", "they are damaged")


def bomb(megabytes):
    """A deflated DICOM file: a data set of zeros behind a real header."""
    head = io.BytesIO()
    data = dataset_of(np.zeros((1, 4, 4, 1), np.uint16))
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    data.save_as(head, enforce_file_format=True)
    start, _ = opening._file_meta(head.getvalue(), "")
    packer = zlib.compressobj(9, wbits=-15)
    element = struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, megabytes << 20)
    first = packer.compress(element) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block stands for itself and may be repeated.
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head.getvalue()[:start] + first + block * megabytes + packer.flush()


def test_a_deflated_megabyte_that_becomes_two_gigabytes_is_refused(tmp_path):
    (tmp_path / "a.dcm").write_bytes(bomb(2048))
    assert (tmp_path / "a.dcm").stat().st_size < 2.2 * (1 << 20)
    assert refused(tmp_path / "a.dcm", r"deflated and it grows to more than 2\d\d MB") < 600 << 20


def test_a_deflated_file_that_is_cut_or_damaged_is_refused(tmp_path):
    array = np.random.default_rng(0).integers(0, 4096, (1, 64, 64, 1)).astype(np.uint16)
    whole = written(tmp_path / "a.dcm", array, "deflated").read_bytes()
    (tmp_path / "a.dcm").write_bytes(whole[:-100])
    refused(tmp_path / "a.dcm", "it ends before its data do")
    start, _ = opening._file_meta(whole, "")
    # A block whose type is 3 does not exist (RFC 1951, 3.2.3).
    (tmp_path / "a.dcm").write_bytes(whole[:start] + b"\x07" + whole[start + 1 :])
    refused(tmp_path / "a.dcm", "deflated and it is damaged")


def nested(whole, depth, *, undefined):
    """Put sequences inside sequences before the patient's name, with or without lengths."""
    pieces, size = [], 0
    head = struct.pack("<HH2sH", 0x0008, 0x1140, b"SQ", 0)
    for _ in range(depth):
        length, inner = (b"\xff" * 4,) * 2 if undefined else (struct.pack("<I", size + 8), struct.pack("<I", size))
        pieces.append(head + length + b"\xfe\xff\x00\xe0" + inner)
        size += 20
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth if undefined else b""
    place = whole.index(b"\x10\x00\x10\x00PN")
    return whole[:place] + b"".join(reversed(pieces)) + closing + whole[place:]


@pytest.mark.parametrize("undefined", [True, False])
def test_twenty_thousand_nested_sequences_are_bounded(plain, undefined):
    plain.write_bytes(nested(plain.read_bytes(), 20_000, undefined=undefined))
    if undefined:
        refused(plain, "nested too deep")
    else:
        # Lengths are known, so nothing is opened that nobody asks for; the pixels are whole.
        assert pixels(plain).shape == (2, 32, 48, 1)


def test_a_folder_of_bombs_is_read_and_every_bomb_is_named(tmp_path):
    import zipfile

    root = tmp_path / "data"
    root.mkdir()
    good = written(root / "good.dcm", np.arange(3072, dtype=np.uint16).reshape(1, 64, 48, 1), Modality="CT")
    whole = good.read_bytes()
    (root / "deflate.dcm").write_bytes(bomb(2048))
    (root / "nested.dcm").write_bytes(nested(whole, 20_000, undefined=True))
    place = whole.index(b"\x10\x00\x10\x00PN")
    lie = struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, 0xFFFFFFF0)
    (root / "lie.dcm").write_bytes(whole[:place] + lie + whole[place:])
    with zipfile.ZipFile(root / "box.zip", "w", zipfile.ZIP_DEFLATED) as box:
        box.write(good, "../climbs.dcm")
        box.write(good, "inner/good.dcm")
        box.writestr("grows.dcm", bytes(1 << 27))
    tracemalloc.start()
    found = read_inputs(root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {s.path for s in found.skipped} == {
        "deflate.dcm",
        "nested.dcm",
        "lie.dcm",
        "box.zip/../climbs.dcm",
        "box.zip/grows.dcm",
    }
    assert peak < 768 << 20
    assert not (tmp_path / "climbs.dcm").exists()
    read_paths = {p for c in found for s in c.sources for p in s.paths}
    assert read_paths <= {"good.dcm", "box.zip/inner/good.dcm"}
    assert [load(s).size for c in found for s in c.sources] == [(1, 64, 48)] * len(found)
    assert len(found) >= 1


def test_a_length_that_lies_takes_no_memory(plain):
    whole = bytearray(plain.read_bytes())
    place = whole.index(b"\x10\x00\x10\x00PN")
    whole[place : place + 8] = struct.pack("<HH2sH", 0x0009, 0x1010, b"OB", 0)
    whole[place + 8 : place + 12] = struct.pack("<I", 0xFFFFFFF0)
    plain.write_bytes(whole)
    assert refused(plain, "holds no pixels") < 16 << 20


def test_a_pixel_length_that_lies_takes_no_memory(plain):
    whole = bytearray(plain.read_bytes())
    place = whole.index(b"\xe0\x7f\x10\x00OW")
    whole[place + 8 : place + 12] = struct.pack("<I", 0xFFFFFFF0)
    plain.write_bytes(whole)
    assert refused(plain, "the header promises 6144") < 4 << 20


def test_a_header_without_end_is_refused(plain, monkeypatch):
    monkeypatch.setattr(opening, "MAX_HEADER", 1 << 20)
    data = pydicom.dcmread(plain)
    data.add_new(0x00091010, "OB", bytes(2 << 20))
    data.save_as(plain)
    refused(plain, "header has more than 1 MB before any pixels")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"BitsStored": 17}, "contradict each other"),
        ({"HighBit": 3}, "contradict each other"),
        ({"BitsAllocated": 12}, "contradict each other"),
        ({"SamplesPerPixel": 3}, "colours are in a form that is not read"),
        ({"PhotometricInterpretation": "CMYK"}, "colours are in a form that is not read"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette is missing or damaged"),
        ({"Rows": 0}, "the header promises none"),
        ({"Rows": None}, "the header has no Rows"),
        ({"NumberOfFrames": -3}, "the header promises none"),
    ],
)
def test_headers_that_contradict_themselves_are_refused(plain, changes, words):
    refused(changed(plain, **changes), words)


@pytest.mark.parametrize(
    ("uid", "words"),
    [
        ("1.2.840.10008.1.2.4.103", "compressed as MPEG-4 video"),
        ("1.2.840.10008.1.2.4.110", "compressed as JPEG XL"),
        ("1.2.840.99999.1", "compressed as a form that is not known"),
        ("1.2.840.10008.1.2.4.80", "not compressed the way the header says"),
    ],
)
def test_a_syntax_that_is_not_read_is_named(packed, uid, words):
    file = packed("jpeg2000")
    was, now = (u.encode() + b"\0" * (len(u) % 2) for u in (COMPRESSED["jpeg2000"], uid))
    element = b"UI" + struct.pack("<H", len(was)) + was
    file.write_bytes(file.read_bytes().replace(element, b"UI" + struct.pack("<H", len(now)) + now))
    refused(file, words)


def test_a_palette_that_expands_without_end_is_refused(tmp_path):
    data = dataset_of(np.zeros((1, 4, 4, 1), np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        words = np.array([0, 1, 5] + [1, 65535, 9] * 40_000, "<u2")
        setattr(data, f"Segmented{colour}PaletteColorLookupTableData", words.tobytes())
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert refused(tmp_path / "a.dcm", "palette is missing or damaged") < 32 << 20


def test_a_broken_file_among_others_costs_only_itself(tmp_path):
    arrays = [np.full((1, 64, 64, 1), n, np.uint16) for n in range(6)]
    files = [written(tmp_path / f"{n}.dcm", a, "jpeg2000") for n, a in enumerate(arrays)]
    data = bytearray(files[2].read_bytes())
    place = data.index(b"\xff\x4f\xff\x51")
    data[place + 60 : place + 200] = bytes(140)
    files[2].write_bytes(data)
    names = [f.name for f in files]
    found = []
    with pytest.raises(ReadError, match=r"^2\.dcm: The pixels cannot be read"):
        found.extend(a for _, a in decode.frames(files, names))
    assert [int(a[0, 0, 0, 0]) for a in found] == [0, 1]
    rest = [a for _, a in decode.frames(files[3:], names[3:])]
    assert [int(a[0, 0, 0, 0]) for a in rest] == [3, 4, 5]


def test_a_file_that_ends_its_decoder_costs_one_worker_which_is_replaced(tmp_path):
    from pydicom.data import get_testdata_file

    data = bytearray(Path(get_testdata_file("JPGExtended.dcm")).read_bytes())
    start = data.index(b"\xff\xd8\xff")
    # Found by trying: three changed bytes at which GDCM 3 calls abort.
    rng = np.random.default_rng(88)
    for place in rng.integers(start + 2, start + 400, 3):
        data[place] = int(rng.integers(256))
    (tmp_path / "a.dcm").write_bytes(data)
    good = written(tmp_path / "b.dcm", np.full((1, 64, 64, 1), 7, np.uint16), "jpegls")
    for _ in range(3):
        refused(tmp_path / "a.dcm", "they are damaged")
        assert pixels(good).max() == 7


def test_a_worker_that_was_killed_is_replaced():
    frame = decoder.Frame(COMPRESSED["deflated frames"], 4, 4, 1, 8, 8, False, "MONOCHROME2")
    target = bytearray(16)
    worker = workers.Worker()

    def run():
        task = workers.Task(frame, deflated(b"ABCD" * 4), memoryview(target), workers.Allowance(60.0))
        return (worker.receive(task) if worker.send(task) else "died"), bytes(target)

    try:
        assert run() == ("", b"ABCD" * 4)
        first = worker._process
        first.kill()
        # It may still have been running when it was asked, but not a second time.
        assert run()[0] in ("", "died")
        target[:] = bytes(16)
        assert run() == ("", b"ABCD" * 4)
        assert worker._process.pid != first.pid
    finally:
        worker.close()


def test_a_decoder_over_its_time_is_ended(tmp_path, monkeypatch):
    array = np.random.default_rng(0).integers(0, 4096, (1, 1024, 1024, 1)).astype(np.uint16)
    slow = written(tmp_path / "a.dcm", array, "jpeg2000")
    monkeypatch.setattr(decode, "FILE_S", 0.02)
    monkeypatch.setattr(decode, "SECONDS_PER_MILLION", 0.0)
    refused(slow, "took too long and was stopped")
    monkeypatch.undo()
    assert np.array_equal(pixels(slow), array)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the system does not limit the memory of a process")
def test_a_decoder_over_its_memory_is_refused(tmp_path, monkeypatch):
    array = np.random.default_rng(0).integers(0, 4096, (1, 2048, 2048, 1)).astype(np.uint16)
    large = written(tmp_path / "a.dcm", array, "jpeg2000")
    monkeypatch.setattr(decode, "WORKER_BYTES", 8 << 20)
    monkeypatch.setattr(decode, "WORKER_BYTES_PER_SAMPLE", 0)
    refused(large, "more memory than an image of this size may take|ended the decoder|they are damaged")
    monkeypatch.undo()
    assert np.array_equal(pixels(large), array)


def test_a_worker_answers_nothing_but_frames_of_the_promised_length():
    """What comes from a worker is not believed: a process that talks nonsense is ended."""
    frame = decoder.Frame(COMPRESSED["rle"], 4, 4, 1, 8, 8, False, "MONOCHROME2")
    long, other = ({"error": "", "bytes": n, "number": 7 - n // 99} for n in (99, 16))
    for reply in (b"\xff\xff\xff\xff", b"\x02\0\0\0[]", decoder.message(long), decoder.message(other) + bytes(16)):
        worker = workers.Worker()
        process = Talker(decoder.message({"ready": True}) + reply)
        worker._running = lambda process=process: process
        worker._process = process
        task = workers.Task(frame, b"x", memoryview(bytearray(16)), workers.Allowance(10.0), number=6)
        assert worker.send(task)
        assert worker.receive(task) == "died"
        assert process.killed
        assert not worker.alive


class Talker:
    """Stands for a process that says what it is told to."""

    def __init__(self, said):
        self.stdin, self.stdout, self.killed = io.BytesIO(), io.BytesIO(said), False
        decoder.received(self.stdout)

    def kill(self):
        self.killed = True

    def wait(self):
        assert self.killed


def test_threads_share_the_workers(tmp_path):
    arrays = [np.random.default_rng(n).integers(0, 4096, (2, 64, 64, 1)).astype(np.uint16) for n in range(8)]
    files = [written(tmp_path / f"{n}.dcm", a, "jpegls") for n, a in enumerate(arrays)]
    wrong = []

    def work(order):
        found = [a for _, a in decode.frames([files[n] for n in order], [files[n].name for n in order])]
        wrong.extend(n for n, a in zip(order, found, strict=True) if not np.array_equal(a, arrays[n]))

    rng = np.random.default_rng(0)
    threads = [threading.Thread(target=work, args=([int(n) for n in rng.permutation(8)],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(workers.pool()._workers) <= workers.cores()


def test_leaving_early_takes_back_what_was_not_begun(tmp_path):
    files = [written(tmp_path / f"{n}.dcm", np.full((1, 64, 64, 1), n, np.uint16), "jpegls") for n in range(9)]
    stream = decode.frames(files, [f.name for f in files])
    assert int(next(stream)[1].max()) == 0
    stream.close()
    assert int(pixels(files[8]).max()) == 8


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(decode.frames([tmp_path / "none.dcm"], ["none.dcm"]))
    (tmp_path / "empty.dcm").write_bytes(b"")
    refused(tmp_path / "empty.dcm", "0 bytes")
    (tmp_path / "text.dcm").write_text("no DICOM " * 100)
    refused(tmp_path / "text.dcm", "Not readable as DICOM|holds no pixels")


@pytest.mark.parametrize(("depth", "colour"), [(8, 0), (16, 2)], ids=["grey", "deep colour"])
def test_a_picture_of_30000_squared_is_refused(depth, colour, tmp_path):
    head = b"IHDR" + struct.pack(">IIBBBBB", 30000, 30000, depth, colour, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    body = zlib.compress(bytes(30001) * 100)
    data = struct.pack(">I", len(body)) + b"IDAT" + body + struct.pack(">I", zlib.crc32(b"IDAT" + body))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + data + b"\0\0\0\0IEND\xaeB`\x82")
    tracemalloc.start()
    with pytest.raises(LucencyError, match="30000 × 30000 pixels"):
        load(Source(("a.png",), str(tmp_path), "raster"))
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
    Picture.new("L", (8, 8)).save(tmp_path / "a.png")
    assert load(Source(("a.png",), str(tmp_path), "raster")).size == (1, 8, 8)


def test_a_nifti_of_32767_cubed_is_refused(tmp_path):
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header["dim"] = [3, 32767, 32767, 32767, 1, 1, 1, 1]
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(4) + bytes(1000))
    tracemalloc.start()
    with pytest.raises(LucencyError, match=r"^a\.nii: "):
        load(Source(("a.nii",), str(tmp_path), "nifti"))
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_limits_leave_room_for_real_images():
    # A tomosynthesis of 100 frames, 2457 x 1996; an enhanced CT of 2000 slices.
    assert pixelform.MAX_BYTES > 100 * 2457 * 1996 * 2
    assert pixelform.MAX_BYTES > 2000 * 512 * 512 * 2

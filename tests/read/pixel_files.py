"""Small DICOM files in any transfer syntax, of arrays whose numbers are known."""

import shutil
import subprocess
import zlib

import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
ENCAPSULATED = "1.2.840.10008.1.2.1.98"
NATIVE = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
COMPRESSED = {
    "jpeg2000": JPEG2000Lossless,
    "jpegls": JPEGLSLossless,
    "rle": RLELossless,
    "deflated frames": DEFLATED_FRAMES,
    "encapsulated": ENCAPSULATED,
}


def dataset_of(array, stored=None, **changes):
    """(n, rows, columns, samples) of integers as an uncompressed dataset, little-endian."""
    n, rows, columns, samples = array.shape
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    data.PatientName, data.PatientID = "SECRET^NAME", "SECRET-ID"
    data.Rows, data.Columns, data.SamplesPerPixel, data.NumberOfFrames = rows, columns, samples, n
    data.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
    if samples > 1:
        data.PlanarConfiguration = 0
    bits = 8 * array.dtype.itemsize
    data.BitsAllocated, data.BitsStored = bits, stored or bits
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(array.dtype.kind == "i")
    raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    data.PixelData = raw + b"\0" * (len(raw) % 2)
    data["PixelData"].VR = "OB" if bits == 8 else "OW"
    for name, value in changes.items():
        setattr(data, name, value)
    return data


def written(file, array, syntax="explicit", stored=None, **changes):
    """Write an array to a file in a syntax of :data:`NATIVE` or :data:`COMPRESSED`; return the file."""
    data = dataset_of(array, stored, **changes)
    if syntax in NATIVE:
        uid = NATIVE[syntax]
        if syntax == "big":
            raw = array.astype(array.dtype.newbyteorder(">")).tobytes()
            data.PixelData = raw + b"\0" * (len(raw) % 2)
    else:
        uid = COMPRESSED[syntax]
        if uid in (DEFLATED_FRAMES, ENCAPSULATED):
            raw = [f.astype(f.dtype.newbyteorder("<")).tobytes() for f in array]
            data.PixelData = encapsulate([deflated(r) for r in raw] if uid == DEFLATED_FRAMES else raw)
            data["PixelData"].VR = "OB"
            data["PixelData"].is_undefined_length = True
        else:
            plugin = "" if uid == JPEGLSLossless else "pylibjpeg"
            data.compress(uid, encoding_plugin=plugin, generate_instance_uid=False)
    data.file_meta.TransferSyntaxUID = ENCAPSULATED if uid == DEFLATED_FRAMES else uid
    data.save_as(file, implicit_vr=syntax == "implicit", little_endian=syntax != "big", enforce_file_format=True)
    if uid == DEFLATED_FRAMES:
        # pydicom does not know this syntax yet; its UID has the same length.
        file.write_bytes(file.read_bytes().replace(ENCAPSULATED.encode(), DEFLATED_FRAMES.encode() + b"\0"))
    return file


def deflated(raw):
    """Deflate without a header, as DICOM has it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(raw) + packer.flush()


def dcmtk(program, *words):
    """Run one of DCMTK's programs; skip where it is absent."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} (DCMTK) is not installed")
    subprocess.run([found, *map(str, words)], check=True, capture_output=True, timeout=60)

"""Seconds that the header pass over a DICOM archive takes: the first time, and again from its cache."""

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from recorded import begin, parser, write

from lucency import read as reading
from lucency.read import ReadOptions, files, headers
from lucency.read.layout import tree_of

NAME = "header_cache"

#: Slices of a series, as in a thin-slice CT.
SLICES = 200

#: Placeholders in the bytes of the template, each as long as what replaces it.
SERIES, INSTANCE, PATIENT, DEPTH = b"1.2.826.0.1.11111111", b"1.2.826.0.1.222222222222", b"PATIENT000", b"333.33"


def main() -> int:
    """Measure and record."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--files", type=int, default=100_000, help="generated files [100000]")
    made.add_argument("--twice", action="store_true", help="also read the whole cohort twice, checksums and all")
    options = made.parse_args()
    n_files = 600 if options.quick else options.files
    facts = begin()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        data, cache = Path(place) / "data", Path(place) / "headers.sqlite"
        seconds = {"generate": spent(lambda: generate(data, n_files))}
        paths = files.listing(data)
        seconds["listing"] = spent(lambda: files.listing(data))
        found: list[headers.Heads] = []

        def go_through() -> None:
            found.append(headers.heads(data, paths, salt=b"salt", cache=cache))

        seconds["first_pass"] = spent(go_through)
        size = cache.stat().st_size
        seconds["second_pass"] = spent(go_through)
        if found[0].found != found[1].found or found[1].n_read:
            raise SystemExit("the second pass did not come from the cache")
        found.clear()
        tree = tree_of(data, salt=b"salt", cache=cache)
        seconds["grouping"] = spent(lambda: len(tree.units))
        if options.twice or options.quick:
            whole = ReadOptions(salt=b"salt", cache=cache)
            seconds["first_read"] = spent(lambda: reading.read(data, whole))
            seconds["second_read"] = spent(lambda: reading.read(data, whole))
    result: dict[str, Any] = {
        "files": n_files,
        "seconds": {k: round(v, 2) for k, v in seconds.items()},
        "cache_bytes_per_file": round(size / n_files),
        "peak_memory_mb": round(psutil.Process().memory_info().rss / 1e6),
    }
    s = result["seconds"]
    said = f"{n_files} files: first pass {s['first_pass']} s, second pass {s['second_pass']} s (needed: seconds)"
    write(NAME, said, facts | result, options)
    return 0


def spent(work: Callable[[], object]) -> float:
    """Return the wall seconds of some work."""
    before = time.perf_counter()
    work()
    print(f"{time.perf_counter() - before:.1f} s", file=sys.stderr, flush=True)
    return time.perf_counter() - before


def generate(folder: Path, n_files: int) -> None:
    """Write small CT files, a series of :data:`SLICES` to a folder, without suffix, as scanners' discs have them."""
    template = _template()
    for n in range(n_files):
        series, k = divmod(n, SLICES)
        content = template.replace(SERIES, f"1.2.826.0.1.{10_000_000 + series}".encode())
        content = content.replace(INSTANCE, f"1.2.826.0.1.{100_000_000_000 + n}".encode())
        content = content.replace(PATIENT, f"PATIENT{series // 2:03d}".encode()[-10:].rjust(10, b"P"))
        content = content.replace(DEPTH, f"{k * 1.25:06.2f}".encode())
        place = folder / f"study{series // 2:05d}" / f"series{series:05d}"
        if k == 0:
            place.mkdir(parents=True)
        (place / f"IM{k:06d}").write_bytes(content)


def _template() -> bytes:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = INSTANCE.decode()
    data.SeriesInstanceUID = data.StudyInstanceUID = SERIES.decode()
    data.FrameOfReferenceUID = SERIES.decode()
    data.PatientID, data.PatientName, data.PatientSex, data.PatientAge = PATIENT.decode(), "Doe^Jane", "F", "045Y"
    data.Modality, data.Manufacturer, data.ManufacturerModelName = "CT", "Acme", "Scanner 9000"
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = "20200102"
    data.StudyTime = data.SeriesTime = data.AcquisitionTime = data.ContentTime = "101112.5"
    data.StudyDescription, data.SeriesDescription, data.ProtocolName = "CT THORAX", "AX 1.25 LUNG", "Thorax"
    data.ImageType, data.InstanceNumber, data.SeriesNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], 1, 2
    data.KVP, data.XRayTubeCurrent, data.ConvolutionKernel = 120, 200, "B60"
    data.SliceThickness, data.GantryDetectorTilt = 1.25, 0
    data.PixelSpacing, data.ImageOrientationPatient = [0.7, 0.7], [1, 0, 0, 0, 1, 0]
    data.ImagePositionPatient = ["-150.5", "-160.25", DEPTH.decode()]
    data.Rows = data.Columns = 16
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleSlope, data.RescaleIntercept, data.WindowCenter, data.WindowWidth = 1, -1024, -600, 1500
    block = data.private_block(0x0009, "ACME PRIVATE", create=True)
    for n in range(40):
        block.add_new(n, "LO", f"private value {n}")
    data.PixelData = np.random.default_rng(0).integers(0, 4000, (16, 16), dtype=np.uint16).tobytes()
    out = io.BytesIO()
    data.save_as(out, enforce_file_format=True)
    return out.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())

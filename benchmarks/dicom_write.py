"""Results as DICOM for a CT of 300 slices: seconds, memory and size of each kind, beside highdicom's writer."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from recorded import begin, parser, write

from lucency.case import Source
from lucency.image import Image, diagonal_affine
from lucency.write.capture import write_capture
from lucency.write.dicom_object import Origin
from lucency.write.dicom_seg import write_seg
from lucency.write.dicom_series import Identity, write_series
from lucency.write.dicom_source import measured
from lucency.write.dicom_sr import write_found
from lucency.write.parametric import write_parametric

NAME = "dicom_write"

#: Seconds of CPU that a segmentation of a nodule may take: what is asked of the project ("a few seconds").
NEEDED_S = 5.0
SIZE, SMALL = (300, 512, 512), (12, 64, 64)
NAMES = {1: "nodule", 2: "liver", 3: "spleen", 4: "left kidney", 5: "right kidney"}
ORIGIN = Origin("ab" * 32, datetime(2026, 1, 1))

#: Row to what is in the mask: a ball in a twentieth of the slices, or five organs in all of them.
ROWS = {
    "SEG binary, nodule": "nodule",
    "SEG binary, nodule, highdicom": "nodule",
    "SEG label map, nodule": "nodule",
    "SEG binary, organs": "organs",
    "SEG binary, organs, highdicom": "organs",
    "SEG label map, organs": "organs",
    "SR with SEG, nodule": "nodule",
    "parametric map": "nodule",
    "secondary captures, nodule": "nodule",
}


def main() -> int:
    """Measure and record."""
    made = parser(__doc__ or "", NAME)
    made.add_argument("--rounds", type=int, default=3, help="each row is timed once a round [3]")
    made.add_argument("--one", nargs=2, metavar=("ROW", "FOLDER"), help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.one:
        print(json.dumps(once(options.one[0], Path(options.one[1]))))
        return 0
    if options.quick:
        options.rounds = 1
    facts = begin()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        lay_out(Path(folder), SMALL if options.quick else SIZE, options.seed)
        found = rounds(Path(folder), options.rounds)
    result = facts | {"settings": {"size": SMALL if options.quick else SIZE}, "needed_s": NEEDED_S, "rows": found}
    ours, peer = found["SEG binary, nodule"], found["SEG binary, nodule, highdicom"]
    result["reached"] = ours["cpu_s"] <= NEEDED_S
    said = (
        f"SEG of a nodule {ours['cpu_s']:.2f} s CPU ({peer['cpu_s']:.2f} highdicom), {ours['bytes'] / 1e6:.2f} MB, "
        f"{ours['grown_mb']:.0f} MB of memory beside the mask ({peer['grown_mb']:.0f}); needed {NEEDED_S:g} s"
    )
    write(NAME, said, result, options)
    return 0


def lay_out(folder: Path, size: tuple[int, int, int], seed: int) -> None:
    """Write the series and both masks."""
    rng = np.random.default_rng(seed)
    image = Image(rng.integers(-1000, 1000, (1, *size)).astype(np.int16), diagonal_affine((1.0, 0.7, 0.7)), unit="HU")
    write_series(folder / "ct", image, Identity(1, 1))
    k, j, i = np.ogrid[: size[0], : size[1], : size[2]]
    middle, radius = [n // 2 for n in size], max(2, size[0] // 40)
    nodule = (k - middle[0]) ** 2 + (j - middle[1]) ** 2 + (i - middle[2]) ** 2 <= radius**2
    organs = np.zeros(size, np.uint8)
    for value in range(1, 6):
        part = slice(value * size[2] // 7, value * size[2] // 7 + size[2] // 9)
        organs[:, size[1] // 4 : size[1] // 2, part] = value
    np.save(folder / "nodule.npy", nodule.astype(np.uint8))
    np.save(folder / "organs.npy", organs)


def rounds(folder: Path, n: int) -> dict[str, dict[str, Any]]:
    """Return the medians of every row, each timed in a process of its own; rows take turns."""
    seen: dict[str, list[dict[str, Any]]] = {row: [] for row in ROWS}
    for number in range(n):
        for row in ROWS:
            command = [sys.executable, __file__, "--one", row, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seen[row].append(json.loads(done.stdout))
        print(f"round {number + 1} of {n}", file=sys.stderr, flush=True)
    return {
        row: {key: round(statistics.median(one[key] for one in each), 3) for key in each[0]}
        for row, each in seen.items()
    }


def once(row: str, folder: Path) -> dict[str, float]:
    """Do one row: the headers of the source are read again, and the object is written. Imports are not counted."""
    import highdicom  # noqa: F401 - imported before the clock starts, as torch is in a prediction
    import pydicom  # noqa: F401

    array = np.load(folder / f"{ROWS[row]}.npy")
    names = dict(list(NAMES.items())[: int(array.max())])
    mask = Image(array[None], diagonal_affine((1.0, 0.7, 0.7)), kind="labels")
    paths = tuple(sorted(p.name for p in (folder / "ct").iterdir()))
    source = Source(paths, str(folder / "ct"), "dicom")
    with tempfile.TemporaryDirectory(dir=folder) as out:
        work = way(row, mask, source, names, Path(out))
        before = peak()
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        size = sum(p.stat().st_size for p in Path(out).rglob("*") if p.is_file())
    return {"wall_s": wall, "cpu_s": cpu, "grown_mb": (peak() - before) / 1e6, "bytes": size}


def peak() -> int:
    """Return the most bytes that this process has held; what Linux hands down from the parent does not count."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(n for n in status.read_text().splitlines() if n.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def way(row: str, mask: Image, source: Source, names: dict[int, str], out: Path) -> Callable[[], object]:
    """Return what one row does."""
    if row.endswith("highdicom"):
        return lambda: theirs(mask, source, names, out / "a.dcm")
    if row == "parametric map":
        heat = Image(mask.array.astype(np.float32), mask.affine)
        return lambda: write_parametric(out / "a.dcm", heat, measured(source, heat), ORIGIN)
    if row.startswith("secondary"):
        from lucency.read import load

        return lambda: write_capture(out, load(source), mask, measured(source, mask), ORIGIN)
    form = "labelmap" if "label map" in row else "binary"

    def work() -> None:
        seen = measured(source, mask)
        made = write_seg(out / "a.dcm", mask, names, seen, ORIGIN, form=form)
        if row.startswith("SR"):
            write_found(out / "b.dcm", mask, names, seen, ORIGIN, segmentation=made)

    return work


def theirs(mask: Image, source: Source, names: dict[int, str], path: Path) -> None:
    """Write the same mask with highdicom, as its guide does it."""
    import highdicom as hd
    import pydicom
    from pydicom.sr.codedict import codes

    images = [pydicom.dcmread(f, stop_before_pixels=True) for f in source.files]
    algorithm = hd.AlgorithmIdentificationSequence("x", codes.DCM.ArtificialIntelligence, "1")
    described = [
        hd.seg.SegmentDescription(
            segment_number=n,
            segment_label=name,
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for n, name in names.items()
    ]
    hd.seg.Segmentation(
        source_images=images,
        pixel_array=mask.array[0],
        segmentation_type="BINARY",
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="1",
        device_serial_number="1",
    ).save_as(path)


if __name__ == "__main__":
    sys.exit(main())

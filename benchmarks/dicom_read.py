"""A CT series of 300 slices, uncompressed, JPEG 2000 and JPEG-LS, through our door and through others'.

Every reader runs in a process of its own, given the files in slice order; readers take turns. Processor time and wall
clock count to the finished array of HU, with all worker processes and their start (the process's own seconds and the
system's for it also apart; ratios are of medians of their sum); imports, and one uncompressed slice
that brings the late ones with it, come before. The peak of memory is that of the whole reading process, imports and
all (`load` also has its header pass in it, which is not timed).

The series is made here: a body with noise like a scanner's, 12 bits of signal in int16, so that it packs like a CT.
"""

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

#: What must be reached: our processor time over a bare pydicom loop's; MB; our wall clock over SimpleITK's.
CPU_RATIO, PEAK_MB, WALL_RATIO = 1.15, 450, 0.6
KINDS = ("raw", "jpeg2000", "jpegls")
#: Runs of every reader. Uncompressed pixels cost mostly the zeroing of fresh pages by the system, which jumps.
ROUNDS = {"raw": 15, "jpeg2000": 5, "jpegls": 5}
SIZE, SLOPE, INTERCEPT = 512, 1, -1024


def made(folder: Path, n_slices: int, seed: int) -> None:
    """Write the series three times, in one folder for each syntax."""
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

    rng = np.random.default_rng(seed)
    j, i = np.mgrid[:SIZE, :SIZE]
    body = ((j - 256) / 180) ** 2 + ((i - 256) / 230) ** 2 < 1
    for k in range(n_slices):
        lung = ((j - 230) / 60) ** 2 + ((i - 180 - k / 5) / 80) ** 2 < 1
        hu = np.where(body, rng.normal(40, 20, body.shape), rng.normal(-1000, 12, body.shape)) - 850.0 * (lung & body)
        stored = (np.rint(hu).clip(-1024, 3071) - INTERCEPT).astype(np.int16)
        for kind, syntax in zip(KINDS, (ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless), strict=True):
            data = pydicom.Dataset()
            data.file_meta = pydicom.dataset.FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data.SOPClassUID = CTImageStorage
            data.SOPInstanceUID = f"1.2.3.{KINDS.index(kind)}.{k + 1}"
            data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", f"1.2.3.{KINDS.index(kind)}"
            data.FrameOfReferenceUID, data.PatientID, data.Modality = "1.2.3.9", "GENERATED", "CT"
            data.ImageType, data.InstanceNumber, data.SeriesNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1, 1
            data.Rows = data.Columns = SIZE
            data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
            data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
            data.PixelSpacing, data.SliceThickness = [0.7, 0.7], 1
            data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-180, -180, float(k)]
            data.RescaleSlope, data.RescaleIntercept = SLOPE, INTERCEPT
            data.PixelData = stored.tobytes()
            if kind != "raw":
                data.compress(syntax, encoding_plugin="pylibjpeg" if kind == "jpeg2000" else "")
            place = folder / kind
            place.mkdir(exist_ok=True)
            data.save_as(place / f"{k:04d}.dcm", enforce_file_format=True)


def with_load(files: list[Path]) -> Callable[[], np.ndarray]:
    """Ours, as everything in this program reads."""
    from lucency import read

    (case,) = read.read_inputs(files[0].parent if len(files) > 1 else files[0])
    (source,) = case.sources
    return lambda: read.load(source).array[0]


def with_frames(files: list[Path]) -> Callable[[], np.ndarray]:
    """Ours, decoding only."""
    from lucency.read import decode

    def work() -> np.ndarray:
        array = np.empty((len(files), SIZE, SIZE), np.int16)
        for k, (data, stored) in enumerate(decode.frames(files, [f.name for f in files])):
            np.add(stored[0, ..., 0], np.int16(int(data.RescaleIntercept)), out=array[k])
        return array

    return work


def with_pydicom(files: list[Path]) -> Callable[[], np.ndarray]:
    """A bare loop that wastes nothing."""
    import pydicom

    def work() -> np.ndarray:
        array = np.empty((len(files), SIZE, SIZE), np.int16)
        for k, file in enumerate(files):
            data = pydicom.dcmread(file)
            np.add(data.pixel_array, np.int16(int(data.RescaleIntercept)), out=array[k])
        return array

    return work


def with_simpleitk(files: list[Path]) -> Callable[[], np.ndarray]:
    """ImageSeriesReader, given the files in order."""
    import SimpleITK as sitk  # noqa: N813

    views: list[object] = []

    def work() -> np.ndarray:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames([str(f) for f in files])
        image = reader.Execute()
        views.append(image)  # the array is a view of it
        return sitk.GetArrayViewFromImage(image)

    return work


def with_monai(files: list[Path]) -> Callable[[], np.ndarray]:
    """PydicomReader."""
    from monai.data import PydicomReader

    def work() -> np.ndarray:
        reader = PydicomReader()
        array, _ = reader.get_data(reader.read(str(files[0].parent if len(files) > 1 else files[0])))
        return np.moveaxis(array, -1, 0)

    return work


READERS = {
    "lucency load": with_load,
    "lucency frames": with_frames,
    "pydicom loop": with_pydicom,
    "SimpleITK": with_simpleitk,
    "MONAI": with_monai,
}


def alone(name: str, folder: Path) -> dict[str, Any]:
    """Read once, in this process, and say what it took."""
    # One uncompressed slice first: what a library imports with the first file is not timed; our workers' start is.
    READERS[name](sorted((folder.parent / KINDS[0]).iterdir())[:1])()
    files = sorted(folder.iterdir())
    work = READERS[name](files)
    user, system, wall = *spent(), time.perf_counter()
    array = work()
    wall = time.perf_counter() - wall
    if name.startswith("lucency"):
        from lucency.read import workers

        workers.pool().close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)
    user, system = (now - before for now, before in zip(spent(), (user, system), strict=True))
    total = sum(int(part.sum(dtype=np.float64)) for part in array)  # slice by slice: no second array
    took = {"cpu_s": user + system, "user_s": user, "system_s": system, "wall_s": wall}
    return {**took, "peak_mb": peak, "sum": total, "dtype": str(array.dtype)}


def spent() -> tuple[float, float]:
    """Processor seconds of this process and of its ended children: its own, and the system's for it."""
    both = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime for u in both), sum(u.ru_stime for u in both)


def apart(name: str, folder: Path) -> dict[str, Any]:
    """Read once in a new process."""
    command = [sys.executable, __file__, "--alone", name, "--folder", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return json.loads(said.splitlines()[-1])


def measured(root: Path, rounds: dict[str, int], names: list[str]) -> dict[str, Any]:
    """Read every kind with every reader, in turns; return medians, extremes and the sums, which must agree."""
    rows: dict[str, Any] = {}
    for kind in KINDS:
        each: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for number in range(rounds[kind]):
            turn = number % len(names)
            for name in (*names[turn:], *names[:turn]):
                each[name].append(apart(name, root / kind))
            print(f"{kind}: round {number + 1} of {rounds[kind]}", file=sys.stderr, flush=True)
        sums = {name: runs[0]["sum"] for name, runs in each.items()}
        if len(set(sums.values())) > 1:
            raise SystemExit(f"{kind}: the readers disagree: {sums}")
        rows[kind] = {
            name: {
                key: {
                    "median": round(statistics.median(r[key] for r in runs), 3),
                    "lowest": round(min(r[key] for r in runs), 3),
                    "highest": round(max(r[key] for r in runs), 3),
                }
                for key in ("cpu_s", "user_s", "system_s", "wall_s", "peak_mb")
            }
            | {"dtype": runs[0]["dtype"]}
            for name, runs in each.items()
        }
    return rows


def verdicts(rows: dict[str, Any]) -> dict[str, Any]:
    """Return every number that was asked for beside what must be reached."""

    def of(kind: str, name: str, key: str) -> float:
        return float(rows[kind][name][key]["median"])

    found = {}
    for ours in ("lucency load", "lucency frames"):
        if ours not in rows["raw"]:
            continue
        ratio = of("raw", ours, "cpu_s") / of("raw", "pydicom loop", "cpu_s")
        found[f"{ours}: raw, processor time / pydicom loop"] = {"is": round(ratio, 3), "at_most": CPU_RATIO}
        found[f"{ours}: raw, peak MB"] = {"is": of("raw", ours, "peak_mb"), "at_most": PEAK_MB}
        for kind in KINDS[1:]:
            ratio = of(kind, ours, "wall_s") / of(kind, "SimpleITK", "wall_s")
            found[f"{ours}: {kind}, wall / SimpleITK"] = {"is": round(ratio, 3), "at_most": WALL_RATIO}
    return found


def main() -> None:
    options = parsed()
    if options.alone:
        print(json.dumps(alone(options.alone, options.folder)))
        return
    from recorded import begin, write

    result = begin()
    names = [n for n in READERS if not options.readers or n in options.readers.split(",")]
    if importlib.util.find_spec("monai") is None:
        names.remove("MONAI")
    rounds = {k: options.rounds or n for k, n in ROUNDS.items()}
    n_slices, rounds = (6, dict.fromkeys(KINDS, 1)) if options.quick else (options.slices, rounds)
    with tempfile.TemporaryDirectory() as place:
        made(Path(place), n_slices, options.seed)
        packed = {k: sum(f.stat().st_size for f in (Path(place) / k).iterdir()) for k in KINDS}
        rows = measured(Path(place), rounds, names)
    result |= {"slices": n_slices, "rounds": rounds, "bytes": packed, "rows": rows, "targets": verdicts(rows)}
    said = "; ".join(f"{name} {v['is']} (≤ {v['at_most']})" for name, v in result["targets"].items() if "load" in name)
    write("dicom_read", said or "DICOM series", result, options)


def parsed() -> argparse.Namespace:
    """Return the options."""
    if "--alone" in sys.argv:
        # The measured process imports nothing that its reader does not need.
        made_parser = argparse.ArgumentParser()
        made_parser.add_argument("--alone")
        made_parser.add_argument("--folder", type=Path)
        return made_parser.parse_args()
    from recorded import parser

    options = parser("DICOM series: processor time, wall clock and memory beside other readers", "dicom_read")
    options.add_argument("--slices", type=int, default=300, help="of the series [300]")
    options.add_argument("--rounds", type=int, default=0, help=f"runs of every reader {ROUNDS}")
    options.add_argument("--readers", default="", help="names with commas between them [all]")
    options.set_defaults(alone="")
    return options.parse_args()


if __name__ == "__main__":
    main()

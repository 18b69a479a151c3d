"""Damaged DICOM files through the whole first door: nothing crashes, hangs or takes memory without bound.

The seeds are pydicom's own test files and generated images in every syntax that can be written here. Each mutant is a
seed with flipped bits, cut short, with a length that lies, swapped tags, zeros, doubled or foreign bytes. Batches run
in processes of their own: a crash or a hang is seen from outside. In each batch all mutants are read as one folder, and
each by itself; what is accepted is loaded; what is not must be named with a reason that holds no value of the file.

The numbers say how the door behaves on this list of seeds, not how it would on files made to attack one decoder.
"""

import argparse
import collections
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

BATCH = 100
#: Seconds that a batch may take before it counts as a hang; a hundred small files take some ten.
BATCH_S = 900.0
#: Largest seed: what is mutated should be read quickly.
MAX_SEED = 400_000
#: MB that the reading process and one worker may take; the largest seed has 1 MB of pixels.
PEAK_MB = 1024
#: The tag of Pixel Data in either byte order.
PIXELS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
#: What is planted in the generated seeds and must not turn up in any message.
PLANTED = "PLANTED^NAME"


def seeds() -> list[tuple[str, bytes]]:
    """Return every seed with its name, sorted."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    found = [(f.name, f.read_bytes()) for f in sorted(folder.rglob("*")) if f.is_file() and f.suffix != ".py"]
    return [s for s in found if 200 < len(s[1]) <= MAX_SEED] + sorted(generated())


def generated() -> Iterator[tuple[str, bytes]]:
    """Yield images of known numbers in every syntax that can be written, grey and in colour."""
    from pydicom import uid

    rng = np.random.default_rng(0)
    for samples in (1, 3):
        for name, syntax in (
            ("implicit", uid.ImplicitVRLittleEndian),
            ("explicit", uid.ExplicitVRLittleEndian),
            ("big", uid.ExplicitVRBigEndian),
            ("deflated", uid.DeflatedExplicitVRLittleEndian),
            ("jpeg2000", uid.JPEG2000Lossless),
            ("jpegls", uid.JPEGLSLossless),
            ("rle", uid.RLELossless),
        ):
            dtype = np.int16 if samples == 1 else np.uint8
            pixels = rng.integers(0, 200, (1, 48, 40, samples)).astype(dtype)
            data = _dataset(pixels)
            if syntax.is_compressed and syntax != uid.DeflatedExplicitVRLittleEndian:
                data.compress(syntax, encoding_plugin="" if name == "jpegls" else "pylibjpeg")
            elif name == "big":
                data.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
            data.file_meta.TransferSyntaxUID = syntax
            buffer = io.BytesIO()
            data.save_as(buffer, implicit_vr=name == "implicit", little_endian=name != "big", enforce_file_format=True)
            yield f"generated-{name}-{samples}.dcm", buffer.getvalue()


def _dataset(pixels: np.ndarray) -> pydicom.Dataset:
    n, rows, columns, samples = pixels.shape
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    grey = samples == 1
    data.SOPClassUID = pydicom.uid.CTImageStorage if grey else pydicom.uid.SecondaryCaptureImageStorage
    data.SOPInstanceUID, data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3.4", "1.2.3", "1.2.3.1"
    data.Modality, data.InstanceNumber = "CT" if grey else "OT", 1
    if grey:
        data.ImagePositionPatient, data.ImageOrientationPatient = [-10, -20, 30], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.RescaleSlope, data.RescaleIntercept = [0.5, 0.75], 1, -1024
    data.PatientName, data.PatientID = PLANTED, PLANTED
    if n > 1:
        data.NumberOfFrames = n
    data.Rows, data.Columns, data.SamplesPerPixel = rows, columns, samples
    data.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
    if samples > 1:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"
    return data


def mutant(rng: np.random.Generator, seed: bytes, other: bytes) -> tuple[str, bytes]:
    """Return how a seed was damaged, and the result; one to three damages."""
    kinds = list(DAMAGES)
    said = []
    data = bytearray(seed)
    for _ in range(int(rng.choice((1, 2, 3), p=(0.6, 0.25, 0.15)))):
        kind = kinds[int(rng.integers(len(kinds)))]
        said.append(kind)
        data = DAMAGES[kind](rng, data, other)
    return "+".join(said), bytes(data)


def _place(rng: np.random.Generator, data: bytearray) -> int:
    """Return a place: two times in three in the pixels, where there are any, else in the header."""
    found = [n for tag in PIXELS if (n := bytes(data).rfind(tag)) > 0]
    if found and rng.random() < 2 / 3:
        # The head of a compressed stream holds more to break than its body.
        return int(min(len(data) - 1, max(found) + rng.integers(0, 64) ** 2))
    end = min(len(data), 3000)
    return int(rng.integers(min(132, end - 1), end)) if end > 1 else 0


def _flip(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    for _n in range(int(rng.integers(1, 9))):
        data[_place(rng, data)] ^= 1 << int(rng.integers(8))
    return data


def _cut(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    return data[: max(2, int(rng.integers(len(data) // 10 + 1, len(data) + 1)))]


def _elements(data: bytearray) -> list[int]:
    """Return places that look like explicit elements: four bytes of tag, then a VR."""
    vrs = rb"(?:AE|AS|AT|CS|DA|DS|DT|FL|FD|IS|LO|LT|OB|OD|OF|OW|PN|SH|SL|SQ|SS|ST|TM|UI|UL|UN|US|UT)"
    return [m.start() for m in re.finditer(rb"[\x02-\x54\xe0]." + rb".." + vrs, bytes(data[:20000]), re.DOTALL)]


def _lie(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    found = _elements(data)
    if not found:
        return _flip(rng, data, b"")
    place = found[int(rng.integers(len(found)))]
    lies = (0, 1, 0xFF, 0x7FFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF)
    lie = lies[int(rng.integers(len(lies)))]
    if data[place + 4 : place + 6] in (b"OB", b"OW", b"OF", b"OD", b"SQ", b"UN", b"UT"):
        data[place + 8 : place + 12] = lie.to_bytes(4, "little")
    else:
        data[place + 6 : place + 8] = (lie & 0xFFFF).to_bytes(2, "little")
    return data


def _number(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    """Change one of the numbers that the pixels hang on: group 0028 in explicit little-endian."""
    found = [m.start() for m in re.finditer(rb"\x28\x00..US\x02\x00", bytes(data[:20000]), re.DOTALL)]
    if not found:
        return _flip(rng, data, b"")
    value = (0, 1, 2, 3, 7, 8, 15, 16, 255, 4096, 32767, 65535)[int(rng.integers(12))]
    place = found[int(rng.integers(len(found)))]
    data[place + 8 : place + 10] = value.to_bytes(2, "little")
    return data


def _swap(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    found = _elements(data)
    if len(found) < 2:
        return _flip(rng, data, b"")
    one, two = (found[int(n)] for n in rng.choice(len(found), 2, replace=False))
    data[one : one + 4], data[two : two + 4] = data[two : two + 4], data[one : one + 4]
    return data


def _zeros(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    place = _place(rng, data)
    end = min(len(data), place + int(rng.integers(1, 400)))
    data[place:end] = bytes(end - place)
    return data


def _double(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    place = _place(rng, data)
    return data[:place] + data[place : place + int(rng.integers(1, 600))] + data[place:]


def _foreign(rng: np.random.Generator, data: bytearray, other: bytes) -> bytearray:
    place, taken = _place(rng, data), int(rng.integers(0, max(1, len(other) - 1)))
    return data[:place] + other[taken : taken + int(rng.integers(1, 2000))] + data[place:]


def _noise(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    place = _place(rng, data)
    new = rng.integers(0, 256, int(rng.integers(1, 64)), dtype=np.uint8).tobytes()
    data[place : place + len(new)] = new
    return data


DAMAGES: dict[str, Callable[[np.random.Generator, bytearray, bytes], bytearray]] = {
    "flip": _flip,
    "cut": _cut,
    "lie": _lie,
    "number": _number,
    "swap": _swap,
    "zeros": _zeros,
    "double": _double,
    "foreign": _foreign,
    "noise": _noise,
}


def mutants(seed: int, first: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield mutants number ``first`` and on: file name and bytes; the same number gives the same mutant."""
    stock = seeds()
    # Objects without pixels end early; three in four mutants come from images.
    images = [s for s in stock if any(tag in s[1] for tag in PIXELS) or "deflated" in s[0]]
    for number in range(first, first + count):
        rng = np.random.default_rng((seed, number))
        chosen = images if rng.random() < 0.75 else stock
        name, data = chosen[int(rng.integers(len(chosen)))]
        said, made = mutant(rng, data, stock[int(rng.integers(len(stock)))][1])
        yield f"{number:06d}-{said}-{name}", made


def checked(folder: Path, made: Iterator[tuple[str, bytes]]) -> dict[str, Any]:
    """Send mutants through the door; return outcomes by kind, and everything that must not happen."""
    outcomes: collections.Counter[str] = collections.Counter()
    wrong: list[str] = []
    names = []
    with warnings.catch_warnings():
        # Other people's remarks on damaged files; a remark that becomes an error is not ours to test here.
        warnings.simplefilter("ignore")
        for number, (name, data) in enumerate(made):
            place = folder / f"{number:03d}" / name
            place.parent.mkdir(parents=True)
            place.write_bytes(data)
            names.append(place.relative_to(folder).as_posix())
        _read_all(folder, names, outcomes, wrong)
        for name in names:
            _read_one(folder / name, outcomes, wrong)
    return {"outcomes": dict(outcomes), "wrong": wrong, "files": len(names)}


def _read_all(folder: Path, names: list[str], outcomes: collections.Counter[str], wrong: list[str]) -> None:
    """Read the whole folder, as predicting and as training would."""
    from lucency.errors import LucencyError
    from lucency.read import read, read_inputs

    for door in (read, read_inputs):
        try:
            found = door(folder)
            skipped = found.skipped
            told = {p for s in skipped for p in (s.path,)}
            cases = getattr(found, "cases", found)
            told |= {p for c in cases for s in c.sources for p in s.paths}
            outcomes[f"folder, {door.__name__}: named"] += len(told & set(names))
            outcomes[f"folder, {door.__name__}: in a series left out, or counted in a note"] += len(set(names) - told)
            words = " ".join([*(s.reason for s in skipped), *found.notes])
            _refuse_values(words, str(folder), f"{door.__name__} of {folder.name}", wrong)
        except LucencyError as error:
            outcomes[f"folder, {door.__name__}: refused as a whole"] += len(names)
            _refuse_values(str(error), str(folder), f"{door.__name__} of {folder.name}", wrong)
        except Exception as error:
            wrong.append(f"{door.__name__} of {names[0]} …: {type(error).__name__} {error}"[:300])


def _read_one(file: Path, outcomes: collections.Counter[str], wrong: list[str]) -> None:
    """Read one file by itself, load what is accepted, and decode it whether or not the door would."""
    from lucency.errors import LucencyError
    from lucency.read import load, read_inputs
    from lucency.read.decode import frames

    try:
        for case in read_inputs(file):
            for source in case.sources:
                load(source)
        outcomes["alone: accepted and loaded"] += 1
    except LucencyError as error:
        outcomes["alone: refused in words"] += 1
        _refuse_values(str(error), str(file.parent), file.name, wrong)
    except Exception as error:
        wrong.append(f"read_inputs/load of {file.name}: {type(error).__name__} {error}"[:300])
    try:
        for _ in frames([file], [file.name]):
            outcomes["decode: pixels"] += 1
    except LucencyError as error:
        outcomes[f"decode: {_kind(str(error.args[0]), file.name)}"] += 1
        _refuse_values(str(error), str(file.parent), file.name, wrong)
    except Exception as error:
        wrong.append(f"decode of {file.name}: {type(error).__name__} {error}"[:300])


def _kind(words: str, name: str) -> str:
    """Return a refusal's first sentence without its name and numbers."""
    first = words.removeprefix(f"{name}: ").split(" Expected:")[0].split(" What to do:")[0]
    return re.sub(r"\d+( \d+)*", "N", first)[:90]


def _refuse_values(words: str, place: str, what: str, wrong: list[str]) -> None:
    if PLANTED in words or place in words:
        wrong.append(f"{what}: a message shows a value or a path")


def batch(seed: int, first: int, count: int) -> dict[str, Any]:
    """Run one batch in this process."""
    from lucency.read import workers

    with tempfile.TemporaryDirectory() as place:
        found = checked(Path(place) / "data", mutants(seed, first, count))
    workers.pool().close()
    unit = 1024 if sys.platform == "linux" else 1 << 20
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    found["worker_peak_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    return found


def apart(seed: int, first: int, count: int) -> dict[str, Any]:
    """Run one batch in a new process; a crash or a hang is an outcome."""
    command = [sys.executable, __file__, "--seed", str(seed), "--first", str(first), "--batch", str(count)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=BATCH_S, check=False)
    except subprocess.TimeoutExpired:
        return {"outcomes": {}, "wrong": [f"mutants {first} to {first + count}: a hang"], "files": count}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1][:200]
        return {"outcomes": {}, "wrong": [f"mutants {first} …: a crash ({done.returncode}) {last}"], "files": count}
    return json.loads(done.stdout.splitlines()[-1]) | {"seconds": time.monotonic() - began}


def main() -> None:
    options = parsed()
    if options.batch:
        print(json.dumps(batch(options.seed, options.first, options.batch)))
        return
    from recorded import begin, write

    count = 40 if options.quick else options.count
    result = begin()
    outcomes: collections.Counter[str] = collections.Counter()
    found = []
    for first in range(options.first, options.first + count, BATCH):
        found.append(apart(options.seed, first, min(BATCH, options.first + count - first)))
        outcomes.update(found[-1]["outcomes"])
        for words in found[-1]["wrong"]:
            print(words, file=sys.stderr, flush=True)
        print(f"{first + BATCH - options.first} of {count}", file=sys.stderr, flush=True)
    wrong = [w for f in found for w in f["wrong"]]
    peaks = [max(f.get(key, 0.0) for f in found) for key in ("peak_mb", "worker_peak_mb")]
    result |= {
        "mutants": sum(f["files"] for f in found),
        "outcomes": dict(sorted(outcomes.items())),
        "wrong": wrong,
        "slowest_batch_s": round(max(f.get("seconds", BATCH_S) for f in found), 1),
        "targets": {
            "crashes, hangs, errors without words, values shown": {"is": len(wrong), "at_most": 0},
            "peak MB of the reading process": {"is": round(peaks[0], 1), "at_most": PEAK_MB},
            "peak MB of a worker": {"is": round(peaks[1], 1), "at_most": PEAK_MB},
        },
    }
    said = f"{count} damaged files: {len(wrong)} wrong; peak {peaks[0]:.0f} MB, a worker {peaks[1]:.0f} MB"
    write("dicom_mutated", said, result, options)


def parsed() -> argparse.Namespace:
    """Return the options."""
    if "--batch" in sys.argv:
        options = argparse.ArgumentParser()
        options.add_argument("--seed", type=int)
    else:
        from recorded import parser

        options = parser("Damaged DICOM files through the first door", "dicom_mutated")
        options.add_argument("--count", type=int, default=5000, help="mutants [5000]")
    options.add_argument("--batch", type=int, default=0, help=argparse.SUPPRESS)
    options.add_argument("--first", type=int, default=0, help="number of the first mutant [0]")
    return options.parse_args()


if __name__ == "__main__":
    main()

"""De-identification beside dicognito: files per second, what is left of planted identities, links, validity.

dicognito looks at no pixels, keeps no journal and does not look at its output again. So three rows of ours are given:
the engine with reading and writing, which is the same work; the whole command without the pixel check; and all of it.
They are given in CPU time within one process. Both commands as a user starts them, with what they do by default on all
cores, are given by the clock on the wall and by the CPU time of all their processes.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import planted
import pydicom
import recorded

from lucency.deidentify import Options, deidentify, encoding, sources, table, work
from lucency.deidentify.dates import Shift
from lucency.deidentify.engine import Person
from lucency.deidentify.keys import Keys
from lucency.read.head import silent
from lucency.record import write_bytes

NAME = "deidentify"
FIELDS = Options().clean - {"pixels"}


def main() -> None:
    """Run the comparison and record it."""
    parser = recorded.parser(__doc__.splitlines()[0], NAME)
    parser.add_argument("--slices", type=int, default=300, help="CT slices of 512 x 512, with their SEG and SR [300]")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, interleaved [3]")
    options = parser.parse_args()
    slices, rows = (6, 64) if options.quick else (options.slices, 512)
    result = recorded.begin()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        files = planted.series(home / "in", slices, rows)
        contenders = [
            recorded.Row("ours, engine with reading and writing", lambda: _engine(home), len(files)),
            recorded.Row("ours, whole command without pixels", lambda: _command(home, FIELDS, "fields"), len(files)),
            recorded.Row("ours, whole command", lambda: _command(home, Options().clean, "all"), len(files)),
            recorded.Row("dicognito", lambda: _dicognito(home), len(files)),
        ]
        rounds = 1 if options.quick else options.rounds
        cpu = recorded.interleaved(contenders, rounds, time.process_time)
        rates = recorded.rates(contenders, cpu)
        commands = [
            recorded.Row("ours, as started", lambda: _started(home), len(files)),
            recorded.Row("dicognito, as started", lambda: _dicognito_started(home), len(files)),
        ]
        wall = recorded.interleaved(commands, rounds, time.perf_counter)
        spent = recorded.interleaved(commands, rounds, _spent)
        result |= {
            "files_per_wall_s": recorded.rates(commands, wall),
            "ratio_wall": recorded.ratio_of(wall, "dicognito, as started", "ours, as started"),
            "files_per_cpu_s_as_started": recorded.rates(commands, spent),
            "ratio_cpu_as_started": recorded.ratio_of(spent, "dicognito, as started", "ours, as started"),
            "files": len(files),
            "files_per_cpu_s": rates,
            "ratio_engine": recorded.ratio_of(cpu, "dicognito", "ours, engine with reading and writing"),
            "ratio_command_without_pixels": recorded.ratio_of(cpu, "dicognito", "ours, whole command without pixels"),
            "ratio_command": recorded.ratio_of(cpu, "dicognito", "ours, whole command"),
            "needed_ratio": 1.0,
            "links": {
                "source": _links(home / "in"),
                "ours": _links(home / "all"),
                "dicognito": _links(home / "cognito"),
            },
            "new_errors_dciodvfy": {k: _new_errors(home / "in", home / k) for k in ("all", "cognito")},
            "planted": _planted(home),
            "versions": {**result["versions"], "pydicom": pydicom.__version__, "dicognito": _version()},
        }
    left = result["planted"]
    said = (
        f"{rates['ours, engine with reading and writing']['median']:.0f} files per CPU second (engine), "
        f"{rates['ours, whole command without pixels']['median']:.0f} (command without pixels), "
        f"{rates['ours, whole command']['median']:.0f} (all), dicognito {rates['dicognito']['median']:.0f}; "
        f"as started {result['ratio_wall']:.2f} × dicognito by the clock; "
        f"planted attributes left {left['ours']['left']} of {left['attributes']}, "
        f"dicognito {left['dicognito']['left']}"
    )
    recorded.write(NAME, said, result, options)


def _engine(home: Path) -> None:
    """Read, clean and write, one file after the other: the work that dicognito does."""
    keys = Keys(bytes(32))
    place = work.Place(home / "in", home / "engine", home / "x", keys, Options(clean=FIELDS))
    for path in sorted((home / "in").glob("*.dcm")):
        dataset = sources.load(path, path.name, pixels=True)
        assert dataset is not None
        with silent():
            known = sources.identities_of(dataset)
            pseudonym = keys.patient("", str(dataset.PatientID))
            shift = Shift(keys.shift_days(pseudonym), keys.shift_minutes(pseudonym))
            place.engine.clean(dataset, Person(pseudonym, shift, known, str(dataset.PatientID)))
            dataset.file_meta = place.engine.meta(dataset, dataset.file_meta.TransferSyntaxUID)
            content = encoding.written(dataset)
        write_bytes(home / "engine" / f"{dataset.SOPInstanceUID}.dcm", content)


def _command(home: Path, clean: frozenset[str], name: str) -> None:
    for folder in (home / name, home / f"{name}-records", home / f"{name}-keys"):
        shutil.rmtree(folder, ignore_errors=True)
    report = deidentify(home / "in", home / name, home / f"{name}-keys" / "key", Options(clean=clean))
    assert report.exit_status == 0, report.left[:3]


def _started(home: Path) -> None:
    for folder in (home / "started", home / "started-records", home / "started-keys"):
        shutil.rmtree(folder, ignore_errors=True)
    words = ["deidentify", home / "in", home / "started", "--key", home / "started-keys" / "key", "--quiet"]
    subprocess.run([sys.executable, "-m", "lucency", *map(str, words)], check=True)


def _dicognito_started(home: Path) -> None:
    shutil.rmtree(home / "cognito-started", ignore_errors=True)
    words = [str(home / "in"), "--output-directory", str(home / "cognito-started"), "--quiet"]
    # What it says of each file it says on its output.
    subprocess.run([sys.executable, "-m", "dicognito", *words], check=True, capture_output=True)


def _spent() -> float:
    """Return the CPU time of the processes started so far that have ended, theirs included, s."""
    times = os.times()
    return times.children_user + times.children_system


def _dicognito(home: Path) -> None:
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer(seed="seed")
    (home / "cognito").mkdir(exist_ok=True)
    for path in sorted((home / "in").glob("*.dcm")):
        with silent():
            dataset = pydicom.dcmread(path)
            anonymizer.anonymize(dataset)
            dataset.save_as(home / "cognito" / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)


def _links(folder: Path) -> dict[str, Any]:
    """Return how many references of SEG and SR meet an image, and whether a UID of the source is left."""
    images, references = set(), {}
    old = 0
    for path in sorted(folder.rglob("*.dcm")):
        with silent():
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            old += any(planted.ROOT in str(e.value) for e in dataset.iterall() if e.VR == "UI")
            if dataset.Modality == "CT":
                images.add(dataset.SOPInstanceUID)
            else:
                found = {e.value for e in dataset.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
                references[dataset.Modality] = found
    met = {m: f"{len(r & images)} of {len(r)}" for m, r in references.items()}
    return {"images": len(images), "met": met, "files_with_old_uids": old}


def _new_errors(before: Path, after: Path) -> int | None:
    """Return how many errors the validator finds that it did not find in the source; None without a validator."""
    if shutil.which("dciodvfy") is None:
        return None
    return sum((_errors(after) - _errors(before)).values())


def _errors(folder: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.dcm")):
        run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
        lines = (re.sub(r"UID [0-9.]+", "UID", line) for line in run.stderr.splitlines())
        found.update(line for line in lines if line.startswith("Error"))
    return found


def _planted(home: Path) -> dict[str, Any]:
    """Return what is left of a file with every attribute of the table and traps outside it."""
    from dicognito.anonymizer import Anonymizer

    source = home / "every" / "a.dcm"
    before = planted.every_attribute(source)
    deidentify(home / "every", home / "every-ours", home / "every-keys" / "key")
    (ours,) = (home / "every-ours").rglob("*.dcm")
    other = home / "every-cognito.dcm"
    with silent():
        dataset = pydicom.dcmread(source)
        Anonymizer(seed="seed").anonymize(dataset)
        dataset.save_as(other, enforce_file_format=True)
    secrets = (b"SMITHSON", b"HARRIET", b"4471902", planted.ACCESSION.encode(), planted.BIRTH.encode(), b"MZ ")
    found: dict[str, Any] = {"attributes": sum(tag in before for tag in table.by_tag())}
    for name, path in (("ours", ours), ("dicognito", other)):
        with silent():
            left = planted.unchanged(before, pydicom.dcmread(path))
        content = path.read_bytes().upper()
        found[name] = {
            "left": len(left),
            "strings_left": sum(s in content for s in secrets),
            "private_left": sum(e.tag.is_private for e in pydicom.dcmread(path)),
        }
    return found


def _version() -> str:
    import importlib.metadata

    return importlib.metadata.version("dicognito")


if __name__ == "__main__":
    main()

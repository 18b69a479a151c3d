"""What this computer offers and what is missing, each with the command that mends it."""

import importlib
import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from lucency.text import known, t

State = Literal["ok", "warn", "missing"]
MARKS = {"ok": "✓", "warn": "!", "missing": "✗"}

#: Distributions whose module has another name.
MODULES = {
    "scikit-learn": "sklearn",
    "scikit-image": "skimage",
    "pillow": "PIL",
    "simpleitk": "SimpleITK",
    "pyjpegls": "jpeg_ls",
    "pylibjpeg-openjpeg": "openjpeg",
    "pylibjpeg-rle": "rle",
    "python-gdcm": "gdcm",
}
#: Programs that are not required, and what they add.
OPTIONAL = {"tesseract": "burned_in"}
#: Below these a run of the demo's size is in doubt (its peak was 1.3 GiB, its folder 0.1 GiB).
LEAST_MEMORY_MIB, LEAST_DISK_MIB = 2048, 1024
OLDEST = (3, 11)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: What; a key under ``[doctor]`` of the catalogue, or the name of a distribution.
        state: ``"ok"``; ``"warn"``: works, with a limit; ``"missing"``: lucency cannot work.
        detail: What was found.
        remedy: Command or step that mends it, or "".
    """

    name: str
    state: State
    detail: str
    remedy: str = ""


def examine(*, measure: bool = False) -> list[Finding]:
    """Look at Python, hardware, libraries and the current folder.

    Args:
        measure: Also measure the rate of training, in about three seconds.
    """
    libraries = list(_libraries())
    return [_python(), *_hardware(measure=measure), _disk(), _writable(), *libraries, *_optional()]


def usable(findings: list[Finding]) -> bool:
    """Tell whether nothing that is needed is missing."""
    return all(f.state != "missing" for f in findings)


def told(findings: list[Finding], lang: str) -> list[str]:
    """Return one line for each finding, its remedy below it, and the conclusion."""
    names = [t(f"doctor.{f.name}", lang) if known(f"doctor.{f.name}") else f.name for f in findings]
    width = max(map(_cells, names))
    lines = []
    for title, finding in zip(names, findings, strict=True):
        lines.append(f"{MARKS[finding.state]} {title}{' ' * (width - _cells(title))}  {finding.detail}")
        if finding.remedy:
            lines.append(f"  → {finding.remedy}")
    return [*lines, t("doctor.usable" if usable(findings) else "doctor.unusable", lang)]


def _cells(text: str) -> int:
    """Return how many columns a text takes on a terminal; Chinese characters take two."""
    return sum(2 if "\u2e80" <= c <= "\uffef" else 1 for c in text)


def _python() -> Finding:
    found = platform.python_version()
    detail = f"{found}, {platform.system()} {platform.release()} {platform.machine()}"
    if sys.version_info[:2] < OLDEST:
        return Finding("python", "missing", detail, "install Python 3.11 or newer, then make the environment anew")
    return Finding("python", "ok", detail)


def _hardware(*, measure: bool) -> Iterator[Finding]:
    """Say what the planner will find: cores, memory, accelerator, and the measured rate when asked."""
    try:
        machine = importlib.import_module("lucency.machine")
        torch = importlib.import_module("torch")
    except Exception as error:  # a library that is broken may raise anything; its own line says how to mend it
        yield Finding("cores", "warn", f"{os.cpu_count()} (unmeasured: {type(error).__name__})")
        return
    yield Finding("cores", "ok", f"{machine.cores()} ({machine.name()})")
    free = machine.free_memory_mib()
    short = free < LEAST_MEMORY_MIB
    remedy = f"close other programs: {LEAST_MEMORY_MIB} MiB are needed for small data" if short else ""
    yield Finding("memory", "warn" if short else "ok", f"{free:.0f} MiB", remedy)
    if torch.cuda.is_available():
        yield Finding("accelerator", "ok", str(torch.cuda.get_device_name()))
    else:
        yield Finding("accelerator", "ok", "none; the processor is used")
    if measure:
        found = machine.measure()
        faster = "bf16" if found.bf16 else "fp32"
        rates = f"{faster}: {found.gflops:.0f} GFLOP/s; fp32: {found.gflops_fp32:.0f} GFLOP/s"
        yield Finding("rate", "ok", rates if found.bf16 else f"fp32: {found.gflops_fp32:.0f} GFLOP/s; bf16 not faster")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 2**20
    short = free < LEAST_DISK_MIB
    return Finding(
        "disk",
        "warn" if short else "ok",
        f"{free / 1024:.1f} GiB",
        "free some space, or work elsewhere" if short else "",
    )


def _writable() -> Finding:
    try:
        with tempfile.TemporaryFile(dir=Path.cwd()):
            pass
    except OSError as error:
        return Finding("folder", "warn", str(error.strerror), "change to a folder you may write to, or give --out")
    return Finding("folder", "ok", "writable")


def _libraries() -> Iterator[Finding]:
    """Import everything that the installed package declares as needed."""
    for requirement in metadata.requires("lucency") or ():
        if "extra ==" in requirement:
            continue
        wanted = requirement.partition(";")[0].strip()
        name = re.match(r"[\w.-]+", wanted)
        if name:
            yield library(name[0], wanted)


def library(name: str, wanted: str) -> Finding:
    """Say whether a distribution is installed, new enough, and can be imported.

    Args:
        name: Of the distribution.
        wanted: Requirement, for example ``"torch<3,>=2.13"``.
    """
    mend = f'{Path(sys.executable).name} -m pip install "{wanted}"'
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", "not installed", mend)
    least = re.search(r">=\s*([\d.]+)", wanted)
    if least and _numbers(version) < _numbers(least[1]):
        return Finding(name, "missing", f"{version} is older than {least[1]}", mend)
    try:
        importlib.import_module(MODULES.get(name.lower(), name.replace("-", "_")))
    except Exception as error:  # whatever a broken installation raises is the finding
        again = mend.replace("pip install", "pip install --force-reinstall")
        return Finding(name, "missing", f"{version}, cannot be imported ({type(error).__name__})", again)
    return Finding(name, "ok", version)


def _numbers(version: str) -> tuple[int, ...]:
    """Return ``"2.13.0+cpu"`` as (2, 13, 0)."""
    return tuple(int(n) for n in re.findall(r"\d+", version.partition("+")[0])[:3])


def _optional() -> Iterator[Finding]:
    for program, adds in OPTIONAL.items():
        if shutil.which(program) is None:
            yield Finding(adds, "warn", f"{program} not installed, not needed otherwise")
        else:
            yield Finding(adds, "ok", program)

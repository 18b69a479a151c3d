"""Make the project's own Python environment, once, for demo.py and check.py. Standard library only."""

from __future__ import annotations  # an older Python must get as far as the message that it is too old

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
#: Tells what is installed; when it says otherwise than the files below, pip runs again.
STAMP = ENVIRONMENT / "installed.sha256"
INPUTS = ("pyproject.toml", "constraints.txt")
OLDEST = (3, 11)

#: Programs of others that some tests ask for their opinion, and Debian's packages of them. Without them those tests are
#: skipped.
PEERS = {
    "Orthanc": ("orthanc", "orthanc-dicomweb"),
    "storescu": ("dcmtk",),
    "dciodvfy": ("dicom3tools",),
    "tesseract": ("tesseract-ocr",),
}
#: Where programs are looked for; a user's own path leaves out the system's part on Debian.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
#: Tells that the installation was tried; it is tried once.
TRIED = ENVIRONMENT / "peers.tried"
PATIENCE_S = 900
#: Installs without starting anything: Debian would start Orthanc at once and at every boot, on all interfaces.
INSTALL = """
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\\nexit 101\\n' > "$policy" && chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@" || exit 1
case " $* " in *" orthanc "*) command -v systemctl > /dev/null && systemctl disable orthanc ;; esac
exit 0
"""


class NotReadyError(Exception):
    """The environment cannot be made; the message says why and what to do."""


def ready() -> Path:
    """Return the interpreter of ``.venv``; make the environment and install where needed.

    Raises:
        NotReadyError: Python is too old, has no venv module, or pip did not succeed.
    """
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        raise NotReadyError(f"This is Python {found}; 3.11 or newer is needed. Start it with python3.11 or newer.")
    if not PYTHON.exists() or run([str(PYTHON), "-m", "pip", "--version"], quiet=True) != 0:
        _make()
    wanted = _digest()
    if not STAMP.exists() or STAMP.read_text(encoding="utf-8").strip() != wanted:
        _install()
        STAMP.write_text(wanted + "\n", encoding="utf-8")
    return PYTHON


def run(command: list[str], *, quiet: bool = False) -> int:
    """Run ``command`` in the project's folder and return its exit status; Ctrl-C is the child's to answer."""
    silent = subprocess.DEVNULL if quiet else None
    try:
        child = subprocess.Popen(command, cwd=ROOT, stdout=silent, stderr=silent)  # noqa: S603  # our own commands
    except OSError:
        return 127
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue  # the terminal sent it to the child as well, which may still be saving its work


def peers() -> None:
    """Install the programs of others where this user may; say in one line what was done. Never a reason to stop."""
    missing = [name for name in PEERS if shutil.which(name, path=PATH) is None]
    if not missing:
        return
    packages = [p for name in missing for p in PEERS[name]]
    by_hand = f"tests with {', '.join(missing)} are skipped; for them: apt-get install {' '.join(packages)}"
    root = _as_root()
    if root is None or TRIED.exists():
        say(f"Peers: {by_hand}")
        return
    say(f"Peers: installing {' '.join(packages)} (once, nothing is started) ...")
    TRIED.write_text("\n".join(packages) + "\n", encoding="utf-8")
    command = [*root, "sh", "-c", INSTALL, "sh", *packages]
    try:
        done = subprocess.run(  # noqa: S603  # our own command
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_S, check=False
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        done = 1
    say("Peers: installed." if done == 0 else f"Peers: could not be installed (offline?); {by_hand}")


def _as_root() -> list[str] | None:
    """Return what stands before a command that needs the administrator's rights; None where there are none to have."""
    if shutil.which("apt-get") is None or not hasattr(os, "geteuid"):
        return None
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    return [sudo, "-n"] if sudo and run([sudo, "-n", "true"], quiet=True) == 0 else None


def say(line: str) -> None:
    """Write one line to the terminal now, in order with what the children write."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _make() -> None:
    """Make an empty environment with this interpreter."""
    # Debian and Ubuntu ship venv without ensurepip unless python3-venv is installed.
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise NotReadyError(
            "This Python has no venv module, so no environment can be made. "
            f"On Debian and Ubuntu: sudo apt install python{version}-venv (or python3-venv); then start again."
        )
    say(f"Making the environment {ENVIRONMENT.name} with Python {sysconfig.get_python_version()}.")
    if run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)]) != 0:
        raise NotReadyError(
            f"The folder {ENVIRONMENT.name} could not be made. Is the disk full, or the project's folder read-only?"
        )


def _install() -> None:
    """Install the pinned packages and the project itself, editable."""
    say(
        "Installing the pinned packages (once): a download of about 0.4 GB with torch for CPU, of several GB where "
        "pip picks torch with CUDA, as on most Linux machines."
    )
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    status = run([*pip, "-c", "constraints.txt", "-e", ".[dev]"])
    if status != 0:
        raise NotReadyError(
            f"pip stopped with status {status}; its own message is above. If it speaks of a connection, a time-out or "
            "a name that cannot be resolved: check the network or proxy and start again, nothing is lost. If it found "
            "no matching version: use Python 3.11, 3.12 or 3.13. If the disk is full: 2 GB are needed, about 8 GB with "
            "CUDA."
        )


def _digest() -> str:
    """Digest of what pip is told and of the folder that the editable install points to."""
    state = hashlib.sha256(str(ROOT).encode())
    for name in INPUTS:
        state.update((ROOT / name).read_bytes())
    return state.hexdigest()

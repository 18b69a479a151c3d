"""The edge of the program: whatever goes wrong inside becomes one message and an exit status."""

import errno
import json
import platform
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from lucency import __version__
from lucency.errors import LucencyError, MemoryShortError, OutputError, UsageError
from lucency.text import LANGUAGES, t

CRASH_LOG = "crash.log"

#: Errors of the operating system that mean "cannot be written here": disk full, quota, read-only.
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EROFS}
FORBIDDEN = {errno.EACCES, errno.EPERM}


#: What commands share.
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run or model folder.")]
Images = Annotated[Path, typer.Argument(metavar="SRC", help="Image, folder, DICOM tree or npz file.")]
Filling = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="nan=VALUE fills NaN and infinite voxels.")
]
Lang = Annotated[str | None, typer.Option(metavar="en|zh", help="Language of messages and pages: en or zh.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON; everything else goes to stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no closing words.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show whole tracebacks; they may quote the data.")]


@dataclass(frozen=True)
class Manner:
    """How a command speaks.

    Args:
        lang: ``"en"`` or ``"zh"``.
        as_json: One JSON object on standard output, everything else on standard error.
        quiet: No progress and no closing words; errors are still told.
        debug: Show warnings and whole tracebacks, which may quote the data.
    """

    lang: str = "en"
    as_json: bool = False
    quiet: bool = False
    debug: bool = False

    def say(self, *lines: str) -> None:
        """Print lines of the result, unless quiet; beside JSON they go to standard error."""
        if not self.quiet:
            print(*lines, sep="\n", file=sys.stderr if self.as_json else sys.stdout)

    def result(self, value: dict[str, Any]) -> None:
        """Print the machine-readable result, if it was asked for."""
        if self.as_json:
            print(json.dumps({"schema": 1, **value}, ensure_ascii=False, allow_nan=False))


def steady_streams() -> None:
    """Let no character that a console cannot show stop the program (Windows code pages, LANG=C)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@contextmanager
def boundary(manner: Manner, run: Path | None = None) -> Iterator[None]:
    """Run the body of a command; leave with the exit status of section 7 of the architecture when it fails.

    Args:
        manner: How to speak.
        run: Folder of the run; a crash is logged there, or in the current folder when there is none.

    Raises:
        typer.Exit: With status 2 wrong use, 3 the data cannot support it, 1 anything else.
    """
    try:
        with warnings.catch_warnings():
            if not manner.debug and not sys.warnoptions:
                # A library's warning to its programmers tells a user nothing; what matters is in the report.
                warnings.simplefilter("ignore")
            yield
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        _tell(manner, "KeyboardInterrupt", t("cli.stopped", _known(manner.lang)), 1)
        raise typer.Exit(1) from None
    except Exception as error:
        if manner.debug:
            traceback.print_exc()
        refusal = as_refusal(error, run)
        if refusal is not None:
            _tell(manner, type(refusal).__name__, str(refusal), refusal.exit_status)
            raise typer.Exit(refusal.exit_status) from None
        _tell(manner, type(error).__name__, _crashed(error, run, manner), 1)
        raise typer.Exit(1) from None


def as_refusal(error: BaseException, run: Path | None) -> LucencyError | None:
    """Return the refusal that an exception amounts to; None for a fault of the program.

    Args:
        error: What was raised.
        run: Folder of the run, to tell its files from the data.
    """
    if isinstance(error, LucencyError):
        return error
    if isinstance(error, OSError) and error.errno in FULL | FORBIDDEN:
        return _refused_by_system(error, run)
    if _out_of_memory(error):
        return MemoryShortError(
            "The machine ran out of memory", remedy="close other programs, or use images or a plan that are smaller"
        )
    return None


def _refused_by_system(error: OSError, run: Path | None) -> LucencyError:
    """Tell a file that may not be read from an output that cannot be written."""
    where = Path(str(error.filename)).name if error.filename else ""
    why = error.strerror or type(error).__name__
    inside = error.filename is not None and run is not None and _within(Path(str(error.filename)), run)
    if error.errno in FULL or inside:
        return OutputError(
            f"Cannot write ({why})", where=where, remedy="free space or choose a writable folder with --out"
        )
    return OutputError(
        f"The system refuses access ({why})",
        where=where,
        remedy="allow this user to read the data and to write to the output folder, or choose another with --out",
    )


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    # Only a program that has loaded torch can run out of a GPU's memory.
    machine = sys.modules.get("lucency.machine")
    return machine is not None and bool(machine.is_out_of_memory(error))


def _tell(manner: Manner, kind: str, message: str, status: int) -> None:
    print(f"lucency: {message}", file=sys.stderr)
    manner.result({"error": {"kind": kind, "message": message, "exit_status": status}})


def _known(lang: str) -> str:
    """Return the language, or English while the language itself is what is wrong."""
    return lang if lang in LANGUAGES else LANGUAGES[0]


def _crashed(error: Exception, run: Path | None, manner: Manner) -> str:
    """Write the crash log and return what to tell."""
    lang, kind = _known(manner.lang), type(error).__name__
    folder = run if run is not None and run.is_dir() else Path()
    path = folder / (CRASH_LOG if folder == run else f"lucency-{CRASH_LOG}")
    try:
        path.write_text(crash_report(error), encoding="utf-8")
    except OSError:
        return t("cli.bug_unlogged", lang, kind=kind)
    return t("cli.bug", lang, kind=kind, log=path)


def crash_report(error: BaseException) -> str:
    """Return the traceback without anything that could come from the data.

    Messages of exceptions may quote a path, a file name or a DICOM value, so only their types are kept; of the
    source files the path within the package, because a home folder may bear a name as well.
    """
    lines = [
        f"lucency {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        "Messages of exceptions are left out, as they may quote the data; --debug shows them on the terminal.",
    ]
    link: BaseException | None = error
    while link is not None:
        lines += ["", f"{type(link).__module__}.{type(link).__qualname__}"]
        for frame in traceback.extract_tb(link.__traceback__):
            lines += [f"  {_place(frame.filename)}:{frame.lineno} in {frame.name}", f"    {frame.line or ''}"]
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n".join(lines) + "\n"


def _place(filename: str) -> str:
    """Return a source file's path below the package, the libraries or Python; else its bare name."""
    path = Path(filename)
    paths = sysconfig.get_paths()
    for root in (Path(__file__).parents[2], Path(paths["purelib"]), Path(paths["stdlib"])):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.name


def must_exist(*paths: Path) -> None:
    """Refuse a mistyped path before anything heavy is loaded or written."""
    from lucency.errors import UsageError  # noqa: PLC0415

    for path in paths:
        if not path.expanduser().exists():
            raise UsageError("No such file or folder", where=path.name, remedy="check the path")


def settings_of(pairs: list[str], option: str = "--set") -> dict[str, str]:
    """Return the ``key=value`` pairs of an option that may stand several times.

    Args:
        pairs: As typed.
        option: Its name, for the error.

    Raises:
        typer.BadParameter: A pair without ``=`` or key, or a key that is set twice.

    Example:
        >>> settings_of(["batch=8", "nan=0"])
        {'batch': '8', 'nan': '0'}
    """
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{pair!r} is not key=value", param_hint=f"'{option}'")
        if key.strip() in found:
            raise typer.BadParameter(f"{key.strip()!r} is set twice", param_hint=f"'{option}'")
        found[key.strip()] = value.strip()
    return found


def nan_of(values: dict[str, str], others: Sequence[str] = ()) -> float | None:
    """Return the value for NaN voxels where it is the only setting that is left.

    Args:
        values: Settings, those that the command has taken out already no longer among them.
        others: Names of these, which the error lists.

    Raises:
        UsageError: Another setting, or a value that is no number.
    """
    for key in values:
        if key != "nan":
            raise UsageError(f"No setting {key!r}", expected=", ".join(("nan", *others)), where="--set")
    try:
        return float(values["nan"]) if "nan" in values else None
    except ValueError:
        raise UsageError(f"nan = {values['nan']!r}", expected="a number", where="--set nan") from None

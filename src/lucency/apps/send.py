"""``lucency send``: DICOM files to an archive, and what it says of each."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lucency.apps.boundary import Debug, Json, Lang, Manner, Quiet, boundary, must_exist
from lucency.errors import OutputError, UsageError
from lucency.text import counted, t

if TYPE_CHECKING:
    from lucency.apps.dicomweb import Access

#: A file with a password that others may read is no secret (POSIX permission bits of group and others).
OPEN_TO_OTHERS = 0o077

Login = Annotated[
    Path | None,
    typer.Option("--login", metavar="FILE", help="File with NAME:PASSWORD or a bearer token on its first line."),
]
AskLogin = Annotated[bool, typer.Option("--ask", help="Ask for name and password.")]
Certificate = Annotated[
    Path | None, typer.Option("--ca", metavar="FILE", help="Certificate of the authority that signed the server's.")
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Allow plain http to another computer.")]


def offer(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        short_help="Send DICOM files to an archive, by C-STORE or STOW-RS.",
        epilog="\b\nExamples:\n  lucency send results --to dicom://ORTHANC@pacs.hospital:104\n"
        "  lucency send results --to https://pacs.hospital/dicom-web --login secret.txt",
    )
    def send(  # noqa: PLR0913, PLR0917 - one parameter for each option of the interface
        paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="DICOM files and folders.")],
        to: Annotated[
            str,
            typer.Option(
                "--to", metavar="URL", help="dicom://AET@host:port, dicoms:// with TLS, or https://host/path."
            ),
        ],
        title: Annotated[str, typer.Option("--title", metavar="AET", help="What we call ourselves.")] = "LUCENCY",
        done: Annotated[
            Path | None,
            typer.Option(
                "--done", metavar="FILE", help="List of what was stored; what stands in it is not sent again."
            ),
        ] = None,
        login: Login = None,
        ask: AskLogin = False,
        ca: Certificate = None,
        insecure: Insecure = False,
        lang: Lang = None,
        as_json: Json = False,
        quiet: Quiet = False,
        debug: Debug = False,
    ) -> None:
        """Send DICOM files to an archive; an object counts as stored only when the archive itself says so."""
        manner = Manner(lang or "en", as_json, quiet, debug)
        with boundary(manner):
            must_exist(*paths)
            access = access_of(login, ca, ask=ask, insecure=insecure)
            show(deliver(paths, to, access, title=title, done=done), manner)


def access_of(login: Path | None, ca: Path | None, *, ask: bool, insecure: bool) -> "Access":
    """Return who asks a server, and how the server is known; see the options of the same names."""
    from lucency.apps.dicomweb import Access  # noqa: PLC0415 - its libraries are not needed for --help

    user, secret = credentials(login, ask=ask)
    return Access(user, secret, ca, insecure)


def deliver(paths: Iterable[Path], to: str, access: Any, *, title: str, done: Path | None = None) -> dict[str, Any]:
    """Send what lies below ``paths``.

    Args:
        paths: Files and folders.
        to: ``dicom://``, ``dicoms://`` or ``https://`` address.
        access: :class:`lucency.apps.dicomweb.Access`; DIMSE uses its certificate only.
        title: Our application entity title.
        done: List of what was stored before, and then again.

    Returns:
        ``stored``: how many; ``known``: how many stood in the list; ``refused`` and ``left_out``: file to reason;
        ``left_out_kinds``: how many of each kind of :class:`lucency.apps.pacs.LeftOut`.

    Raises:
        UsageError: A wrong address.
        OutputError: No connection. Files that are stored stand in the list all the same.
    """
    from lucency.apps import dicomweb, pacs  # noqa: PLC0415

    peer = pacs.peer_of(to) if to.startswith(("dicom:", "dicoms:")) else None
    server = None if peer else dicomweb.Server(to, access)
    given, left_out = pacs.instances(paths)
    known = _known(done)
    marks = {one.uid: _mark(one.uid, to) for one in given}
    waiting = [one for one in given if marks[one.uid] not in known]
    refused: dict[str, str] = {}
    stored: list[str] = []

    def told(one: pacs.Instance, why: str | None) -> None:
        if why is not None:
            refused[one.shown] = why
            return
        stored.append(one.uid)
        if done is not None:
            with done.open("a", encoding="ascii") as file:
                file.write(marks[one.uid] + "\n")

    if peer is not None and waiting:
        pacs.c_store(peer, waiting, told, title=title, ca=access.ca)
    elif server is not None:
        server.store(waiting, told)
    return {
        "stored": len(stored),
        "known": len(given) - len(waiting),
        "refused": refused,
        "left_out": {one.shown: one.why for one in left_out},
        "left_out_kinds": dict(sorted(Counter(one.kind for one in left_out).items())),
    }


def show(found: dict[str, Any], manner: Manner) -> None:
    """Say what came of it.

    Raises:
        UsageError: There was nothing to send.
        typer.Exit: With status 1, something was refused.
    """
    if not found["stored"] and not found["known"] and not found["refused"]:
        raise UsageError("No DICOM file to send", remedy="check the path")
    manner.say(counted("cli.sent", found["stored"], manner.lang))
    if found["known"]:
        manner.say(t("cli.sent_before", manner.lang, n=found["known"]))
    for kind, n in found["left_out_kinds"].items():
        manner.say(counted(f"cli.not_sent_{kind}", n, manner.lang))
    close(found, found["refused"], "were not stored", manner)


def close(result: dict[str, Any], failed: dict[str, str], what: str, manner: Manner) -> None:
    """Print the result as JSON and, where something failed, leave with status 1; there is one JSON object in any case.

    Args:
        result: For other programs.
        failed: File to reason.
        what: What happened to them, in words.
        manner: How to speak.

    Raises:
        typer.Exit: Something failed.
    """
    if not failed:
        manner.result(result)
        return
    name, why = next(iter(failed.items()))
    error = OutputError(
        f"{len(failed)} objects {what}; the first: {why}",
        where=name,
        remedy="mend what is objected to and start the same command again; --json lists all of them",
    )
    typer.echo(f"lucency: {error}", err=True)
    manner.result(
        {**result, "error": {"kind": type(error).__name__, "message": str(error), "exit_status": error.exit_status}}
    )
    raise typer.Exit(error.exit_status)


def credentials(login: Path | None, *, ask: bool) -> tuple[str, str]:
    """Return (name, password), or ("", token), from a file or the keyboard; two empty texts when there are none.

    Raises:
        UsageError: The file is absent, empty, or open to other users of this computer.
    """
    if ask:
        name = typer.prompt("Name", default="", show_default=False, err=True)
        return name, typer.prompt("Password or token", hide_input=True, err=True)
    if login is None:
        return "", ""
    try:
        mode, text = login.stat().st_mode, login.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError("The file cannot be read", where="--login", remedy="check the path") from None
    if mode & OPEN_TO_OTHERS and _has_permissions():
        raise UsageError("The file can be read by other users", where="--login", remedy=f"chmod 600 {login.name}")
    line = text.strip().partition("\n")[0].strip()
    if not line:
        raise UsageError("The file is empty", expected="NAME:PASSWORD or a token", where="--login")
    name, colon, password = line.partition(":")
    return (name, password) if colon else ("", line)


def _has_permissions() -> bool:
    """Windows keeps no permission bits of this kind."""
    import os  # noqa: PLC0415

    return os.name == "posix"


def _mark(uid: str, to: str) -> str:
    """Return what stands for an object at an archive: a digest, for the list leaves the hospital's computers too."""
    return hashlib.sha256(f"{to}\0{uid}".encode()).hexdigest()


def _known(done: Path | None) -> set[str]:
    try:
        return set(done.read_text(encoding="ascii").split()) if done is not None and done.exists() else set()
    except (OSError, UnicodeDecodeError):
        raise UsageError("The list cannot be read", where="--done", remedy="name another file") from None

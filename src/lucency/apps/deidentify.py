"""The commands ``lucency deidentify`` and ``lucency pseudonyms``."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lucency.apps.boundary import Manner, boundary

KEEP = "patient-characteristics,device,institution,uids,safe-private,full-dates"
CLEAN = "descriptors,structured-content,graphics,pixels"


def offer(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(
        "deidentify",
        short_help="Copy images without anything written that names a patient; links and dates' order stay.",
        epilog="\b\nExamples:\n  lucency deidentify SRC DST --key hospital.key\n"
        "  lucency deidentify SRC DST --key hospital.key --profile basic\n"
        "  lucency deidentify SRC DST --key hospital.key --keep patient-characteristics,device",
    )(deidentify)
    app.command(
        "pseudonyms",
        short_help="Say who is behind a pseudonym, with the key.",
        epilog="\b\nExamples:\n  lucency pseudonyms --key hospital.key P0123456789ABCDE\n"
        "  lucency pseudonyms --key hospital.key --json",
    )(pseudonyms)


def deidentify(  # noqa: PLR0913, PLR0917 - one parameter for each option of the interface
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Folder or file of images; it stays as it is.")],
    dst: Annotated[Path, typer.Argument(metavar="DST", help="Output folder: new, or of an earlier session.")],
    key: Annotated[
        Path, typer.Option(metavar="FILE", help="Key file; made if there is none and DST is new. Keep it safe.")
    ],
    profile: Annotated[
        str,
        typer.Option(
            metavar="research|basic",
            help="basic: everything the standard's basic profile removes. research: dates shifted, words of "
            "descriptions and contents of reports cleaned instead of removed.",
        ),
    ] = "research",
    dates: Annotated[
        str | None, typer.Option(metavar="shift|remove|keep", help="Dates: shift by a secret number of days.")
    ] = None,
    keep: Annotated[str, typer.Option(metavar="LIST", help=f"Keep, with commas: {KEEP}.")] = "",
    clean: Annotated[
        str | None, typer.Option(metavar="LIST", help=f"Clean instead of remove, with commas: {CLEAN}; or none.")
    ] = None,
    issuer: Annotated[
        bool, typer.Option("--issuer", help="The same Patient ID of two issuers is two patients.")
    ] = False,
    shear_faces: Annotated[
        bool,
        typer.Option(
            "--shear-faces",
            help="Remove what lies in front of and below the brain where a brain mask (NIfTI, '...brain...mask...') "
            "lies in the folder of the slices. Ears and the shape of the skull remain.",
        ),
    ] = False,
    records: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Report, audit log, quarantine [default: DST-records].")
    ] = None,
    map_: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="Encrypted map of pseudonyms [default: KEY.map].")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes [default: one for each core, at most 8].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No closing words.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show whole tracebacks; they may quote the data.")] = False,
) -> None:
    """Copy a folder of images without anything written that names a patient, after DICOM PS3.15 Annex E.

    Every attribute at every depth meets a rule of the standard; UIDs, patients and dates get the same new values in
    every file and every run of one key, so that segmentations and reports still belong to their images. Objects whose
    pixels may show text are blanked or held back. Then the whole output is looked through once more. Exit status: 0
    nothing left, 1 something left, 2 wrong use, 3 no file could be written. Faces in head images stay unless
    --shear-faces finds a brain mask.
    """
    manner = Manner("en", as_json, quiet, debug)
    with boundary(manner, records):
        import os  # noqa: PLC0415

        from lucency.deidentify import deidentify as run  # noqa: PLC0415
        from lucency.deidentify.table import PROFILES, Options  # noqa: PLC0415
        from lucency.errors import UsageError  # noqa: PLC0415
        from lucency.record import to_json  # noqa: PLC0415

        if profile not in PROFILES:
            raise UsageError(f"Unknown profile {profile!r}", expected=", ".join(PROFILES), where="--profile")
        chosen = dict(PROFILES[profile])
        if dates is not None:
            chosen["dates"] = dates
        if clean is not None:
            chosen["clean"] = frozenset() if clean == "none" else _named(clean)
        options = Options(keep=_named(keep), issuer=issuer, shear=shear_faces, **chosen)
        if "full-dates" in _named(keep) and dates not in {None, "keep"}:
            raise UsageError(f"--keep full-dates and --dates {dates} contradict each other", remedy="choose one")
        n = workers or min(os.cpu_count() or 1, 8)
        listeners = [] if quiet else [_shown]
        report = run(src, dst, key, options, records=records, map_=map_, n_workers=n, listeners=listeners)
        manner.say(*report.lines())
        manner.result({**to_json(report), "clean": report.clean, "exit_status": report.exit_status})
        if report.exit_status:
            raise typer.Exit(report.exit_status)


def _shown(event: dict[str, Any]) -> None:
    """Tell how far a session is, on a terminal only."""
    words = {"survey": "{n} files to look at", "clean": "{n} files to clean", "rescan": "second look at {n} files"}
    if sys.stderr.isatty():
        text = words.get(event["kind"], "{n} of {of}" if event["kind"] == "progress" else "")
        print(f"\r\033[K{text.format(**event)}", end="\n" if event["kind"] == "rescan" else "", file=sys.stderr)


def _named(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def pseudonyms(
    key: Annotated[Path, typer.Option(metavar="FILE", help="Key file.")],
    pseudonym: Annotated[
        str, typer.Argument(metavar="PSEUDONYM", help="Pseudonym or new UID to look up [default: all patients].")
    ] = "",
    map_: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="Encrypted map of pseudonyms [default: KEY.map].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show whole tracebacks; they may quote the data.")] = False,
) -> None:
    """Say who is behind a pseudonym or a new UID. The answer names patients."""
    manner = Manner("en", as_json, debug=debug)
    with boundary(manner):
        from lucency.deidentify import pseudonyms as maps  # noqa: PLC0415
        from lucency.deidentify.keys import Keys  # noqa: PLC0415
        from lucency.errors import UsageError  # noqa: PLC0415

        place = map_ or key.with_name(key.name + ".map")
        if not place.exists():
            raise UsageError("No such map", where=place.name, remedy="name it with --map")
        found = maps.load(place, Keys.load(key))
        if pseudonym:
            hits = {k: {pseudonym: e[pseudonym]} for k, e in found.items() if pseudonym in e}
            if not hits:
                raise UsageError("No such pseudonym in the map", where=place.name, remedy="check key and map")
        else:
            hits = {k: found.get(k, {}) for k in ("patients", "names")}
        manner.say(*(f"{p}\t{k}\t{original}" for k, e in hits.items() for p, original in e.items()))
        manner.result(dict(hits))

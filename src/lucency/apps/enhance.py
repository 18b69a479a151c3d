"""The command ``lucency enhance``."""

from pathlib import Path
from typing import Annotated

import typer

from lucency.apps.boundary import Manner, boundary, settings_of


def offer(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(
        "enhance",
        short_help="Filter images: denoise, sharpen, contrast, bias field, crop to the body.",
        epilog="\b\nExamples:\n  lucency enhance --list\n  lucency enhance SRC --out DIR --filter denoise\n"
        "  lucency enhance SRC --out DIR --filter bias --filter crop --set margin=10\n"
        "  lucency enhance SRC --out DIR --filter window --set centre=-600 --set width=1500",
    )(enhance)


def enhance(  # noqa: PLR0913, PLR0917 - one parameter for each option of the interface
    src: Annotated[
        Path | None, typer.Argument(metavar="SRC", help="Image, folder, DICOM tree or npz; it stays as it is.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Output folder.")] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="NAME", help="Filter; repeat it to apply several in order.")
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Setting of a filter: KEY, or FILTER.KEY; or nan=VALUE."),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show all filters with their settings.")] = False,
    lang: Annotated[str | None, typer.Option(help="Language of messages: en or zh.", metavar="en|zh")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no closing words.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show whole tracebacks; they may quote the data.")] = False,
) -> None:
    """Filter images and write them to another folder: volumes and DICOM as NIfTI, pictures as PNG of the same depth.

    The place in the patient is kept, the sources are left as they are, and enhanced.json says what was done.
    """
    manner = Manner(lang or "en", as_json, quiet, debug)
    with boundary(manner, out):
        if listed:
            _list(manner)
            return
        if src is None or out is None:
            lacking = "SRC" if src is None else "--out"
            raise typer.BadParameter(f"{lacking} is missing; 'lucency enhance --help' shows how to call it")
        _enhance(src, out, filters or [], settings_of(values or []), manner)


def _list(manner: Manner) -> None:
    from lucency.filters import FILTERS  # noqa: PLC0415

    for one in FILTERS.values():
        settings = ", ".join(f"{k}={v:g}" for k, v in one.settings.items())
        manner.say(f"{one.name:10} {one.sentence}", f"{'':10} --set {settings}")
    manner.result({"filters": {f.name: dict(f.settings) for f in FILTERS.values()}})


def _enhance(src: Path, out: Path, filters: list[str], values: dict[str, str], manner: Manner) -> None:
    from lucency.apps.summary import short  # noqa: PLC0415
    from lucency.apps.terminal import display  # noqa: PLC0415
    from lucency.enhance import enhance as run  # noqa: PLC0415
    from lucency.errors import UsageError  # noqa: PLC0415
    from lucency.events import Events  # noqa: PLC0415
    from lucency.text import counted, t  # noqa: PLC0415

    nan = values.pop("nan", None)
    try:
        fill = None if nan is None else float(nan)
    except ValueError:
        raise UsageError(f"nan = {nan!r}", expected="a number", where="--set nan") from None
    with display(manner.lang, quiet=manner.quiet) as shown:
        Events(None, shown).emit("enhance", "begin")
        made = run(src, out, filters, settings=values, nan=fill, listeners=[shown])
    manner.say(counted("cli.enhanced", len(made.files), manner.lang, folder=short(out)))
    if made.skipped:
        first = made.skipped[0].path
        manner.say(t("cli.skipped", manner.lang, n=len(made.skipped), first=first))
    manner.say(t("report.banner", manner.lang))
    manner.result({"out": str(out), "files": dict(made.files), "skipped": len(made.skipped)})

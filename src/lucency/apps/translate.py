"""The command ``lucency translate``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lucency.apps.boundary import Debug, Json, Lang, Manner, Quiet, boundary, must_exist, settings_of

#: Registry name of the task that the command walks with.
TASK = "translate"


def offer(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(
        "translate",
        short_help="Learn to make images of one modality of those of another, judge them and report.",
        epilog="\b\nExamples:\n  lucency translate DATA --source 0000 --target 0001 --out RUN\n"
        "  lucency translate DATA --source CT --target MR --out RUN\n"
        "  lucency translate DATA --source T1,FLAIR --target T2 --out RUN --minutes 60\n"
        "  lucency predict RUN NEW_IMAGES --out made",
    )(translate)


def translate(  # noqa: PLR0913, PLR0917 - one parameter for each option of the interface
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of images, or a RUN to go on with.")],
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Run folder [default: runs/<name of DATA>].")] = None,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="Modality that is given; several with commas.")
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="NAME", help="Modality that is to be made.")] = None,
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of a table that says the modality of each image.")
    ] = None,
    patient: Annotated[str | None, typer.Option(metavar="REGEX|COLUMN", help="What tells patients apart.")] = None,
    layout: Annotated[str | None, typer.Option(metavar="NAME", help="Layout, where two fit the data.")] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="M", help="Wall clock from profile to report [default: 10].")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="S", help="Of everything random [default: 0].")] = None,
    lang: Lang = None,
    force: Annotated[
        bool, typer.Option("--force", help="Forget what an earlier run left in RUN and start anew.")
    ] = False,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Settle a decision of the plan: translate=pix2pix|reggan|cyclegan|cut, slices=2d|2.5d|3d …; or "
            "pairs=name joins images of equal file names in two folders.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Learn to make images of one modality of those of another: in pairs, in pairs that are misaligned, or without.

    What was made is judged on patients that training has not seen, beside simple baselines, and by what a model that
    was trained on real images makes of it. Every image that is written afterwards is marked as synthetic.
    """
    manner = Manner(lang or "en", as_json, quiet, debug)
    said = settings_of(values or [])
    said |= {k: v for k, v in (("from_modality", source), ("to_modality", target)) if v is not None}
    given: dict[str, Any] = {
        "target": by,
        "patient": patient,
        "layout": layout,
        "minutes": minutes,
        "seed": seed,
        "lang": lang,
    }
    from lucency.apps.cli import run_folder, walk_and_say  # noqa: PLC0415 - it imports this module
    from lucency.errors import UsageError  # noqa: PLC0415

    with boundary(manner, run_folder(data, out)):
        must_exist(data)
        if not (data / "run.json").is_file() and not (source and target) and "from_modality" not in said:
            raise UsageError(
                "No modalities",
                expected="the one that is given and the one to be made",
                where="--source and --target",
                remedy="name both as the data do: channel numbers, folders, words of a column or of DICOM headers",
            )
        known = {k: v for k, v in given.items() if v is not None} | {"task": TASK}
        if said:
            known["values"] = said
        walk_and_say(data, out, known, "report", manner, force=force)

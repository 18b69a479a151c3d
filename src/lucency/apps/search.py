"""The command ``lucency search``."""

from pathlib import Path
from typing import Annotated

import typer

from lucency.apps.boundary import (
    Debug,
    Filling,
    Images,
    Json,
    Lang,
    Manner,
    Quiet,
    boundary,
    must_exist,
    nan_of,
    settings_of,
)


def offer(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(
        "search",
        short_help="Find the cases of a run that are most similar to an image, and show why.",
        epilog="\b\nExamples:\n  lucency search RUN scan.png\n  lucency search RUN FOLDER --top 5 --out similar\n"
        "  lucency search RUN scan.dcm --where modality=CT --where age=40-60",
    )(search)


def search(  # noqa: PLR0913, PLR0917 - one parameter for each option of the interface
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or a model folder with its index.")],
    src: Images,
    top: Annotated[int, typer.Option(metavar="N", help="Neighbours for each image.")] = 10,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for neighbours.csv and index.html [default: RUN/search].")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="KEY=VALUE",
            help="Only cases with this label, modality, sex, site, scanner, body_part or part; age takes a range, "
            "age=40-60. Repeat it to set several.",
        ),
    ] = None,
    values: Filling = None,
    lang: Lang = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find the cases of a run that are most similar to each image, never of the same patient, and show why.

    The first search embeds every case of the run (RUN/model/index); later ones only look. neighbours.csv lists what
    was found, index.html shows it with pictures of patients.
    """
    manner = Manner(lang or "en", as_json, quiet, debug)
    given, asked = settings_of(values or []), settings_of(where or [], "--where")
    folder = out if out is not None else run / "search"
    with boundary(manner, folder):
        _search((run, src, folder), (top, asked, given), manner)


def _search(places: tuple[Path, Path, Path], asked: tuple[int, dict[str, str], dict[str, str]], manner: Manner) -> None:
    from lucency.apps.summary import n_left_out, short  # noqa: PLC0415
    from lucency.apps.terminal import display  # noqa: PLC0415
    from lucency.events import Events  # noqa: PLC0415
    from lucency.search import Ask  # noqa: PLC0415
    from lucency.search import search as run_search  # noqa: PLC0415
    from lucency.text import counted, t  # noqa: PLC0415

    run, src, folder = places
    top, where, given = asked
    must_exist(run, src)
    ask = Ask(top, where, nan_of(given), manner.lang)
    with display(manner.lang, quiet=manner.quiet) as shown:
        Events(None, shown).emit("search", "begin")
        answers = run_search(run, src, folder, ask=ask, listeners=[shown])
    page = short(folder / "index.html")
    manner.say(counted("search.done", len(answers), manner.lang, path=page))
    for answer in answers:
        if answer.note:
            manner.say(t("search.note", manner.lang, text=f"{answer.case}: {answer.note}"))
    lost = n_left_out(folder)
    if lost:
        typer.echo(f"lucency: {counted('cli.not_predicted', lost, manner.lang)}", err=True)
    manner.say(t("report.banner", manner.lang))
    manner.result(
        {
            "out": str(folder),
            "table": str(folder / "neighbours.csv"),
            "page": str(folder / "index.html"),
            "n_queries": len(answers),
            "n_skipped": lost,
        }
    )

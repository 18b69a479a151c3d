"""The command ``lucency explain``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lucency.apps.boundary import (
    Debug,
    Filling,
    Images,
    Json,
    Lang,
    Manner,
    Quiet,
    RunFolder,
    boundary,
    must_exist,
    nan_of,
    settings_of,
)

#: Images that the page shows; the table and the maps hold all.
SHOWN = 50


def offer(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(
        "explain",
        short_help="Show where a model looked, with tests that say how far each map may be believed.",
        epilog="\b\nExamples:\n  lucency explain RUN scan.png --out why\n"
        "  lucency explain RUN FOLDER --out why --method occlusion",
    )(explain)


def explain(  # noqa: PLR0913, PLR0917 - one parameter for each option of the interface
    run: RunFolder,
    src: Images,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for maps, explained.csv and index.html.")],
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", metavar="NAME", help="grad-cam, integrated-gradients or occlusion [default: all]."),
    ] = None,
    values: Filling = None,
    lang: Lang = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show where a model looked: one map per image and method on the image's own grid, each with its tests.

    explained.csv says of every map whether it needs the weights, repeats and points at what counts; a map that fails a
    test shows the image and not what the model learned, and must not be read as a reason.
    """
    manner = Manner(lang or "en", as_json, quiet, debug)
    given = settings_of(values or [])
    with boundary(manner, out):
        _explain((run, src, out), methods, given, manner)


def _explain(places: tuple[Path, Path, Path], methods: list[str] | None, given: dict[str, str], manner: Manner) -> None:
    from lucency import model as models  # noqa: PLC0415
    from lucency.apps.summary import short  # noqa: PLC0415
    from lucency.apps.terminal import display  # noqa: PLC0415
    from lucency.case import Case, Skipped  # noqa: PLC0415
    from lucency.errors import DataError  # noqa: PLC0415
    from lucency.events import Events  # noqa: PLC0415
    from lucency.explain import METHODS  # noqa: PLC0415
    from lucency.explain import explain as run_explain  # noqa: PLC0415
    from lucency.read.formats import reason  # noqa: PLC0415
    from lucency.report.explained import shown, verdict, write_explained  # noqa: PLC0415
    from lucency.text import counted, t  # noqa: PLC0415
    from lucency.walk import inputs_as_trained  # noqa: PLC0415
    from lucency.write.nifti import write_nifti  # noqa: PLC0415
    from lucency.write.rows import Cell  # noqa: PLC0415
    from lucency.write.table import write_table  # noqa: PLC0415

    run, src, out = places
    must_exist(run, src)
    model = models.load(run.expanduser())
    cases = inputs_as_trained(run, model.plan, src)
    lost: list[Skipped] = list(cases.skipped)
    rows: list[tuple[Cell, ...]] = []
    entries: list[dict[str, Any]] = []

    def refused(case: Case, error: DataError) -> None:
        if len(cases) == 1:
            raise error
        lost.append(Skipped(error.where or case.sources[0].where, reason(error)))

    with display(manner.lang, quiet=manner.quiet) as listener:
        events = Events(None, listener)
        events.emit("explain", "begin")
        found = run_explain(model, cases, tuple(methods or METHODS), nan=nan_of(given), refused=refused)
        for number, one in enumerate(found, start=1):
            for name, mapped in one.maps.items():
                write_nifti(out / f"{one.case}-{name}.nii.gz", mapped.image)
                tried = mapped.trials
                told = (round(tried.randomised, 3), round(tried.repeated, 3), round(tried.pointing, 3))
                rows.append((one.case, one.answer, name, *told, " ".join(tried.failed)))
                manner.say(f"{one.case} {name}: {verdict(mapped, manner.lang)}")
            if len(entries) < SHOWN:
                entries.append(shown(one, manner.lang))
            events.emit("explain", "progress", done=number, of=len(cases))
    write_table(
        out / "explained.csv", ("case", "answer", "method", "randomised", "repeated", "pointing", "failed"), rows
    )
    (out / "skipped.csv").unlink(missing_ok=True)
    if lost:
        write_table(out / "skipped.csv", ("path", "reason"), [(s.path, s.reason) for s in lost])
        typer.echo(f"lucency: {counted('cli.not_predicted', len(lost), manner.lang)}", err=True)
    write_explained(out / "index.html", entries, manner.lang)
    n = len({row[0] for row in rows})
    manner.say(counted("explain.done", n, manner.lang, path=short(out / "index.html")), t("report.banner", manner.lang))
    manner.result({"out": str(out), "table": str(out / "explained.csv"), "n_images": n, "n_skipped": len(lost)})

"""The command ``lucency annotate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from lucency.annotate import Wish


def offer(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(
        "annotate",
        short_help="Pre-annotate images, say which to look at first, and take corrected work back.",
        epilog="\b\nExamples:\n  lucency annotate RUN NEW_IMAGES --out todo\n"
        "  lucency annotate RUN NEW_IMAGES --out todo --strategy worst-first --done finished\n"
        "  lucency annotate RUN NEW_IMAGES --out todo --format label-studio\n"
        "  lucency annotate RUN NEW_IMAGES --out todo --returned reader1 --returned reader2",
    )(annotate)


def annotate(  # noqa: PLR0913, PLR0917 - one parameter for each option of the interface
    run: RunFolder,
    src: Images,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for pre/, worklist.csv and index.html.")],
    strategy: Annotated[
        str, typer.Option(metavar="NAME", help="mixed, uncertainty, diversity, worst-first or random.")
    ] = "mixed",
    done: Annotated[
        list[Path] | None,
        typer.Option("--done", metavar="FOLDER", help="Annotations that are there; their cases are left out."),
    ] = None,
    returned: Annotated[
        list[Path] | None,
        typer.Option(
            "--returned", metavar="FOLDER", help="Corrected work of one annotator; repeat it for each annotator."
        ),
    ] = None,
    form: Annotated[
        list[str] | None,
        typer.Option(
            "--format", metavar="FORM", help="Also nifti, seg-nrrd, dicom-seg, coco or label-studio; may be repeated."
        ),
    ] = None,
    patient: Annotated[str | None, typer.Option(metavar="REGEX|COLUMN", help="What tells patients apart.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the draws.")] = 0,
    values: Filling = None,
    lang: Lang = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Pre-annotate images, say which to look at first, and take corrected work back.

    pre/ holds masks, boxes or labels as 'lucency predict' writes them, worklist.csv the order, index.html the same
    with pictures of patients. With --returned the corrected files are compared (agreement.csv), and annotated/ becomes
    a data set that 'lucency fit' reads.
    """
    manner = Manner(lang or "en", as_json, quiet, debug)
    given = settings_of(values or [])
    with boundary(manner, out):
        must_exist(run, src, *(done or ()), *(returned or ()))
        from lucency.annotate import Wish  # noqa: PLC0415

        wish = Wish(strategy, tuple(done or ()), tuple(returned or ()), seed, nan_of(given), tuple(form or ()))
        _annotate((run.expanduser(), src.expanduser().absolute(), out.expanduser()), wish, patient or "", manner)


def _annotate(places: tuple[Path, Path, Path], wish: "Wish", patient: str, manner: Manner) -> None:
    from lucency import model as models  # noqa: PLC0415
    from lucency.annotate import annotate as run_round  # noqa: PLC0415
    from lucency.apps.summary import short  # noqa: PLC0415
    from lucency.apps.terminal import display  # noqa: PLC0415
    from lucency.events import Events  # noqa: PLC0415
    from lucency.report.annotated import painter, write_page  # noqa: PLC0415
    from lucency.text import counted, t  # noqa: PLC0415
    from lucency.walk import inputs_as_trained  # noqa: PLC0415
    from lucency.write.table import write_table  # noqa: PLC0415

    run, src, out = places
    model = models.load(run)
    cases = inputs_as_trained(run, model.plan, src, patient=patient)
    with display(manner.lang, quiet=manner.quiet) as listener:
        events = Events(None, listener)
        events.emit("annotate", "begin")

        def told(n: int) -> None:
            events.emit("annotate", "progress", done=n, of=len(cases))

        found = run_round(model, cases, out, wish, run=run, paint=painter(model, manner.lang), told=told)
    lost = (*cases.skipped, *found.skipped)
    (out / "skipped.csv").unlink(missing_ok=True)
    if lost:
        write_table(out / "skipped.csv", ("path", "reason"), [(s.path, s.reason) for s in lost])
    page = out / "index.html"
    write_page(page, found, wish.strategy, manner.lang)
    manner.say(counted("annotate.done", len(found.listed), manner.lang, path=short(page)))
    if wish.returned:
        manner.say(counted("annotate.returned", found.n_used, manner.lang))
    if found.left_out:
        typer.echo(f"lucency: {counted('annotate.not_used', len(found.left_out), manner.lang)}", err=True)
    if lost:
        typer.echo(f"lucency: {counted('cli.not_predicted', len(lost), manner.lang)}", err=True)
    manner.say(t("report.banner", manner.lang))
    manner.result(
        {
            "out": str(out),
            "table": str(out / "worklist.csv"),
            "page": str(page),
            "n_cases": len(found.listed),
            "n_annotated": found.n_done,
            "n_returned": found.n_used,
            "n_not_used": len(found.left_out),
            "n_skipped": len(lost),
        }
    )

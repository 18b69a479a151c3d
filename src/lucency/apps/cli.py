"""The command ``lucency``: each command parses, calls a room and shows the result. Heavy imports wait until then."""

import platform
from pathlib import Path
from typing import Annotated, Any

import typer

from lucency import __version__
from lucency.apps import annotate, deidentify, enhance, explain, fetch, search, send, synthesize, translate
from lucency.apps.boundary import (
    Debug,
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
    steady_streams,
)
from lucency.apps.company import company

#: Rooms that are commands of their own: name, last room to enter, one sentence, examples.
ROOMS = (
    (
        "fit",
        "report",
        "Turn a folder of images into a trained, calibrated and honestly evaluated model with its report.",
        ("fit DATA", "fit DATA --out runs/chest --minutes 30", "fit DATA --target diagnosis --patient PatientID"),
    ),
    (
        "read",
        "read",
        "Recognise the layout of the data: cases, targets, patients, folds (cohort.json).",
        ("read DATA --out RUN", "read DATA --out RUN --layout pairs"),
    ),
    (
        "inspect",
        "inspect",
        "Look at every image once: geometry, quality, duplicates, leakage (inspection.json).",
        ("inspect DATA --out RUN", "inspect RUN"),
    ),
    (
        "profile",
        "profile",
        "Count sizes, spacings, intensities and classes of the training part (profile.json).",
        ("profile DATA --out RUN", "profile RUN"),
    ),
    (
        "plan",
        "plan",
        "Decide everything, with a reason for each decision; edit the file if you know better (plan.json).",
        ("plan DATA --out RUN --minutes 30", "plan RUN --set network=cnn"),
    ),
    (
        "prepare",
        "prepare",
        "Put the images on the network's grid (prepared/, may be deleted at any time).",
        ("prepare RUN",),
    ),
    (
        "train",
        "train",
        "Train the networks of the plan and calibrate them on held-out patients (model/).",
        ("train RUN", "train DATA --out RUN --minutes 30"),
    ),
    (
        "evaluate",
        "evaluate",
        "Judge the model on patients it has not seen, beside simple baselines (evaluation.json).",
        ("evaluate RUN",),
    ),
)

app = typer.Typer(
    name="lucency",
    help="Point it at a folder of medical images; get back an honest, calibrated, documented model, or a clear "
    "reason why the data cannot support one. Nothing leaves this computer.\n\n"
    "Research use only, not a medical device.",
    epilog="First steps: 'lucency demo' walks the whole line on generated patients; 'lucency fit DATA' on yours.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help reads the same on every terminal and comes up three times as fast as a decorated one.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Settle a decision of the plan; or nan=VALUE fills NaN voxels, missing_slices=interpolate fills in slices "
        "that a DICOM series lacks.",
    ),
]


def main() -> None:
    """Run the program; section 7 of the architecture lists the exit statuses."""
    steady_streams()
    with company() as asked:
        if asked:
            app()


def _version(wanted: bool) -> None:
    if wanted:
        print(f"lucency {__version__}, Python {platform.python_version()}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def _examples(*lines: str) -> str:
    # The mark \b keeps the lines as they are.
    return "\b\nExamples:\n" + "\n".join(f"  lucency {line}" for line in lines)


def _offer_walk(command: str, upto: str, sentence: str, examples: tuple[str, ...]) -> None:
    """Add one of the commands that walk the straight line; they differ only in where they stop."""

    @app.command(command, help=sentence, short_help=sentence, epilog=_examples(*examples))
    def walk(  # noqa: PLR0913, PLR0917 - one parameter for each option of the interface
        data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder or file of images, or a RUN to go on with.")],
        out: Annotated[
            Path | None, typer.Option(metavar="RUN", help="Run folder [default: runs/<name of DATA>].")
        ] = None,
        task: Annotated[str | None, typer.Option(metavar="NAME", help="Task, where the targets allow several.")] = None,
        target: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column to learn.")] = None,
        patient: Annotated[str | None, typer.Option(metavar="REGEX|COLUMN", help="What tells patients apart.")] = None,
        layout: Annotated[str | None, typer.Option(metavar="NAME", help="Layout, where two fit the data.")] = None,
        minutes: Annotated[
            float | None, typer.Option(metavar="M", help="Wall clock from profile to report [default: 10].")
        ] = None,
        seed: Annotated[int | None, typer.Option(metavar="S", help="Of everything random [default: 0].")] = None,
        test: Annotated[
            str | None, typer.Option(metavar="PATH", help="Further data that become the locked part.")
        ] = None,
        start: Annotated[
            str | None,
            typer.Option(
                "--from", metavar="RUN", help="Run or model whose weights training starts from, where they fit."
            ),
        ] = None,
        synthetic: Annotated[
            str | None,
            typer.Option(
                metavar="RUN", help="Run of 'lucency synthesize' whose images are trained on too, if it accepted them."
            ),
        ] = None,
        lang: Lang = None,
        allow_leak: Annotated[
            bool,
            typer.Option("--allow-leak", help="Go on although parts share patients or images; the report says so."),
        ] = False,
        force: Annotated[
            bool,
            typer.Option(
                "--force",
                help="Forget what an earlier run left in RUN and start anew; with --synthetic, use images without "
                "evidence.",
            ),
        ] = False,
        values: Set = None,
        as_json: Json = False,
        quiet: Quiet = False,
        debug: Debug = False,
    ) -> None:
        given = {
            "task": task,
            "target": target,
            "patient": patient,
            "layout": layout,
            "minutes": minutes,
            "seed": seed,
            "test": test,
            "start": start,
            "synthetic": synthetic,
            "lang": lang,
            "allow_leak": allow_leak or None,
            "values": settings_of(values) if values else None,
        }
        manner = Manner(lang or "en", as_json, quiet, debug)
        with boundary(manner, run_folder(data, out)):
            walk_and_say(data, out, {k: v for k, v in given.items() if v is not None}, upto, manner, force=force)


for _room in ROOMS:
    _offer_walk(*_room)


def walk_and_say(
    data: Path, out: Path | None, given: dict[str, Any], upto: str, manner: Manner, *, force: bool
) -> None:
    """Walk up to a room and show what came of it.

    Args:
        data: Folder or file of images, or a run to go on with.
        out: Run folder, or None.
        given: What was said of the settings.
        upto: Last room.
        manner: How to speak.
        force: Forget what an earlier run left.
    """
    must_exist(data)
    from dataclasses import replace  # noqa: PLC0415

    from lucency.apps import summary  # noqa: PLC0415
    from lucency.apps.terminal import display  # noqa: PLC0415
    from lucency.fit import Passport, Settings, check_synthetic, fit, folder_of, forget  # noqa: PLC0415
    from lucency.record import read  # noqa: PLC0415
    from lucency.walk import CONSENT  # noqa: PLC0415

    known = data / "run.json"
    settings = replace(read(Passport, known).settings if known.is_file() else Settings(), **given)
    manner = replace(manner, lang=settings.lang)
    if force:
        if settings.synthetic is not None:
            settings = replace(settings, values={**settings.values, CONSENT: "yes"})
            check_synthetic(settings, folder_of(data, out))
        forget(run_folder(data, out), data)
    with display(settings.lang, quiet=manner.quiet) as shown:
        run = fit(data, out, settings=settings, upto=upto, listeners=[shown])
    manner.say(*summary.lines(run.folder, upto, settings.lang))
    manner.result(summary.facts(run.folder, upto))


def run_folder(data: Path, out: Path | None) -> Path:
    """Return where a walk leaves its files, for the crash log; the walk itself decides it in the same way."""
    if out is not None:
        return out
    if (data / "run.json").is_file():
        return data
    return Path("runs") / (data.absolute().name.split(".")[0] or "data")


@app.command(
    short_help="Predict new images with a trained model, on their own grid.",
    epilog=_examples(
        "predict RUN NEW_IMAGES --out predictions",
        "predict RUN scan.nii.gz --out predictions --json",
        "predict RUN STUDY --out results --format dicom-sr",
    ),
)
def predict(  # noqa: PLR0913, PLR0917 - one parameter for each option of the interface
    run: RunFolder,
    src: Images,
    out: Annotated[Path, typer.Option(metavar="OUT", help="Folder for predictions.csv and masks.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="auto|nifti|png|dicom-seg|dicom-sr|dicom-sc|csv",
            help="Files to write; auto suits the source. DICOM results need DICOM sources.",
        ),
    ] = "auto",
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="nan=VALUE fills NaN and infinite voxels; missing_slices=interpolate fills in slices that a DICOM "
            "series lacks; seg=binary|labelmap and sr=comprehensive-3d|enhanced say how DICOM results are encoded.",
        ),
    ] = None,
    lang: Lang = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict new images with a trained model, on their own grid, in the patient's own coordinates."""
    given = settings_of(values or [])
    encoding: dict[str, str] = {key: given.pop(key) for key in ("seg", "sr") if key in given}
    missing_slices = given.pop("missing_slices", "refuse")
    manner = Manner(lang or "en", as_json, quiet, debug)
    with boundary(manner, out):
        nan = nan_of(given, ("missing_slices", "seg", "sr"))
        must_exist(run, src)
        from lucency.errors import UsageError  # noqa: PLC0415
        from lucency.write.outputs import FORMATS  # noqa: PLC0415

        if form not in FORMATS:
            raise UsageError(f"No format {form!r}", expected=", ".join(FORMATS), where="--format")
        from lucency.apps import summary  # noqa: PLC0415
        from lucency.apps.terminal import display  # noqa: PLC0415
        from lucency.events import Events  # noqa: PLC0415
        from lucency.fit import predict_folder  # noqa: PLC0415
        from lucency.text import counted  # noqa: PLC0415

        with display(manner.lang, quiet=quiet) as shown:
            Events(None, shown).emit("predict", "begin")
            found = predict_folder(
                run,
                src,
                out,
                format=form,
                encoding=encoding,
                nan=nan,
                missing_slices=missing_slices,
                listeners=[shown],
            )
        manner.say(*summary.predicted(found, out, manner.lang))
        lost = summary.n_left_out(out)
        if lost:
            typer.echo(f"lucency: {counted('cli.not_predicted', lost, manner.lang)}", err=True)
        manner.result(
            {"out": str(out), "table": str(out / "predictions.csv"), "n_cases": len(found), "n_skipped": lost}
        )


@app.command(
    short_help="Say what hardware and libraries were found and what is missing.",
    epilog=_examples("doctor", "doctor --measure", "doctor --json"),
)
def doctor(
    measure: Annotated[bool, typer.Option("--measure", help="Measure the training rate, in about 3 seconds.")] = False,
    lang: Lang = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what hardware and libraries were found and what is missing, with the command that mends it."""
    manner = Manner(lang or "en", as_json, debug=debug)
    with boundary(manner):
        from lucency.apps.doctor import examine, told, usable  # noqa: PLC0415

        findings = examine(measure=measure)
        manner.say(*told(findings, manner.lang))
        manner.result(
            {"usable": usable(findings), "findings": [vars(f) for f in findings]},
        )
        if not usable(findings):
            raise typer.Exit(1)


@app.command(
    short_help="Walk the whole line on generated chest CT.",
    epilog=_examples("demo", "demo --out demo-run --minutes 2"),
)
def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for data, run and predictions.")] = Path(
        "demo-run"
    ),
    minutes: Annotated[float, typer.Option(metavar="M", help="Wall clock from profile to report.")] = 3.5,
    lang: Lang = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Walk the whole line on generated chest CT, then find the nodules of a patient the model has not seen."""
    manner = Manner(lang or "en", as_json, quiet, debug)
    with boundary(manner, out / "run"):
        from lucency.apps.demo import show  # noqa: PLC0415

        show(out, minutes, manner)


@app.command(
    short_help="Check every file of a model against its SHA-256.", epilog=_examples("verify RUN", "verify RUN/model")
)
def verify(run: RunFolder, lang: Lang = None, as_json: Json = False, debug: Debug = False) -> None:
    """Check every file of a model against its SHA-256 and print the model's digest."""
    manner = Manner(lang or "en", as_json, debug=debug)
    with boundary(manner):
        from lucency import model as models  # noqa: PLC0415
        from lucency.record import read_object  # noqa: PLC0415
        from lucency.text import t  # noqa: PLC0415

        found = models.load(run)
        manifest = read_object(found.folder / models.MANIFEST)
        files, version = manifest["files"], str(manifest.get("lucency", ""))
        manner.say(t("cli.verified", manner.lang, n=len(files), version=version, digest=found.digest))
        manner.result({"digest": found.digest, "lucency": version, "files": files})


send.offer(app)
fetch.offer(app)
deidentify.offer(app)
enhance.offer(app)
search.offer(app)
explain.offer(app)
annotate.offer(app)
synthesize.offer(app)
translate.offer(app)

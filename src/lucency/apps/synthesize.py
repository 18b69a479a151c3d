"""The command ``lucency synthesize``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lucency.apps.boundary import Debug, Json, Lang, Manner, Quiet, boundary, must_exist, settings_of

if TYPE_CHECKING:
    from lucency.synthesize.asked import Ask

#: Minutes where nobody says otherwise: ten generators and eighty short trainings want an hour at least.
MINUTES = 60.0


def offer(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(
        "synthesize",
        short_help="Train a generator and prove or refute that its images help on real patients.",
        epilog="\b\nExamples:\n  lucency synthesize DATA --out RUN\n"
        "  lucency synthesize DATA --out RUN --minutes 240 --generator dcgan --set side=64\n"
        "  lucency fit DATA --synthetic RUN",
    )(synthesize)


def synthesize(  # noqa: PLR0913, PLR0917 - one parameter for each option of the interface
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder or file of images, or a RUN to go on with.")],
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Run folder [default: runs/<name of DATA>].")] = None,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="Task, where the targets allow several.")] = None,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column to learn.")] = None,
    patient: Annotated[str | None, typer.Option(metavar="REGEX|COLUMN", help="What tells patients apart.")] = None,
    layout: Annotated[str | None, typer.Option(metavar="NAME", help="Layout, where two fit the data.")] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", help="Wall clock of everything [default: 60].")] = None,
    seed: Annotated[int | None, typer.Option(metavar="S", help="Of everything random [default: 0].")] = None,
    test: Annotated[str | None, typer.Option(metavar="PATH", help="Further data that become the locked part.")] = None,
    generator: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Family of generators, as vae or dp-gan:epsilon=8 [default: what suits the machine].",
        ),
    ] = "",
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="side=N longest side of the images; seeds=N repetitions of each fold; steps=N of each arm; whole=yes "
            "goes through all stages whatever the first show; or a decision of the plan.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Forget what an earlier run left in RUN and start anew.")
    ] = False,
    lang: Lang = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a generator for each fold, audit it, and find out whether its images help a model on real patients.

    The forecast of hours is printed before it starts; interrupted, it goes on where it was. The verdict is ACCEPT,
    REJECT or INCONCLUSIVE, with its reasons; RUN/report/synthesis.html tells the whole and shows pictures of patients.
    """
    given = {
        "task": task,
        "target": target,
        "patient": patient,
        "layout": layout,
        "minutes": minutes,
        "seed": seed,
        "test": test,
        "lang": lang,
        "values": settings_of(values) if values else None,
    }
    manner = Manner(lang or "en", as_json, quiet, debug)
    from lucency.apps.cli import run_folder  # noqa: PLC0415 - that module offers this one

    with boundary(manner, run_folder(data, out)):
        ask = _asked(data, {k: v for k, v in given.items() if v is not None}, generator)
        _synthesize(data, out, ask, manner, force=force)


def _asked(data: Path, given: dict[str, Any], generator: str) -> "Ask":
    """Return what is asked: of a run that is gone on with, what it was begun with, and what is said now."""
    must_exist(data)
    from dataclasses import replace  # noqa: PLC0415

    from lucency.fit import Passport, Settings  # noqa: PLC0415
    from lucency.record import read  # noqa: PLC0415
    from lucency.synthesize.asked import ask_of, asked_before  # noqa: PLC0415

    known, before = data / "run.json", asked_before(data)
    if before is not None:
        settings = before.settings
    elif known.is_file():
        settings = replace(read(Passport, known).settings, minutes=MINUTES)
    else:
        settings = Settings(minutes=MINUTES)
    values = {**settings.values, **given.pop("values", {})}
    return ask_of(replace(settings, **given, values=values), generator, before)


def _synthesize(data: Path, out: Path | None, ask: "Ask", manner: Manner, *, force: bool) -> None:
    from dataclasses import replace  # noqa: PLC0415

    from lucency.apps.summary import short  # noqa: PLC0415
    from lucency.apps.terminal import display  # noqa: PLC0415
    from lucency.fit import folder_of, forget  # noqa: PLC0415
    from lucency.record import to_json  # noqa: PLC0415
    from lucency.synthesize import synthesize as walk  # noqa: PLC0415
    from lucency.synthesize.page import PAGE  # noqa: PLC0415
    from lucency.text import sentence, t  # noqa: PLC0415

    manner = replace(manner, lang=ask.settings.lang)
    if force:
        forget(folder_of(data, out), data)
    with display(manner.lang, quiet=manner.quiet) as shown:
        found = walk(data, out, ask=ask, listeners=[shown])
    page = found.folder / PAGE
    manner.say(t(f"synthesize.{found.verdict.word.lower()}", manner.lang))
    manner.say(*(f"  {sentence(reason, manner.lang)}" for reason in found.verdict.reasons))
    manner.say(t("synthesize.read", manner.lang, path=short(page)))
    if found.verdict.word == "ACCEPT":
        manner.say(t("synthesize.next", manner.lang, command=following(found.folder, ask)))
    manner.say(t("report.banner", manner.lang))
    verdict = to_json(found.verdict)
    manner.result({"out": str(found.folder), "page": str(page), "seconds": found.seconds, "verdict": verdict})


def following(run: Path, ask: "Ask") -> str:
    """Return the command that trains with the images: on the same data, read alike, into a folder of its own."""
    from lucency.apps.summary import quoted, short  # noqa: PLC0415
    from lucency.fit import Passport  # noqa: PLC0415
    from lucency.record import read  # noqa: PLC0415

    told = ask.settings
    given = {name: getattr(told, name) for name in ("task", "target", "patient", "layout", "test")}
    words = ["lucency fit", quoted(short(Path(read(Passport, run / "run.json").data)))]
    words += [f"--{name} {quoted(value)}" for name, value in given.items() if value]
    words += [f"--set {quoted(f'{key}={value}')}" for key, value in told.values.items()]
    words += ["--allow-leak"] * told.allow_leak
    return " ".join(
        [*words, f"--out {quoted(short(run.with_name(f'{run.name}-model')))}", f"--synthetic {quoted(short(run))}"]
    )

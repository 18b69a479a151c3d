"""``lucency fetch``: studies from a DICOMweb server into a folder that the other commands read."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lucency.apps.boundary import Debug, Json, Lang, Manner, Quiet, boundary, settings_of
from lucency.apps.send import AskLogin, Certificate, Insecure, Login, access_of, close
from lucency.errors import DataError, LucencyError, UsageError
from lucency.text import counted, t

if TYPE_CHECKING:
    from lucency.apps.dicomweb import Server

#: Objects that are asked for at a time; a server that works hard for one client is no help to the ward.
AT_ONCE = 4
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"


def offer(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        short_help="Fetch studies from a DICOMweb server into a folder.",
        epilog="\b\nExamples:\n  lucency fetch --from https://pacs.hospital/dicom-web --study 1.2.3 --out DATA\n"
        "  lucency fetch --from http://127.0.0.1:8042/dicom-web --query ModalitiesInStudy=CT --out DATA",
    )
    def fetch(  # noqa: PLR0913, PLR0917 - one parameter for each option of the interface
        source: Annotated[str, typer.Option("--from", metavar="URL", help="Root of the DICOMweb service.")],
        out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.")],
        study: Annotated[
            list[str] | None, typer.Option(metavar="UID", help="Study Instance UID; may be repeated.")
        ] = None,
        patient: Annotated[list[str] | None, typer.Option(metavar="ID", help="Patient ID; may be repeated.")] = None,
        query: Annotated[
            list[str] | None, typer.Option(metavar="KEY=VALUE", help="Attribute of the studies; may be repeated.")
        ] = None,
        modality: Annotated[str | None, typer.Option(metavar="CT|MR|…", help="Series of this modality only.")] = None,
        most: Annotated[int, typer.Option(metavar="N", help="Refuse a query that matches more studies.")] = 100,
        login: Login = None,
        ask: AskLogin = False,
        ca: Certificate = None,
        insecure: Insecure = False,
        lang: Lang = None,
        as_json: Json = False,
        quiet: Quiet = False,
        debug: Debug = False,
    ) -> None:
        """Fetch studies from a DICOMweb server into a folder; what is there already is not fetched again."""
        manner = Manner(lang or "en", as_json, quiet, debug)
        with boundary(manner, out):
            from lucency.apps.dicomweb import Server  # noqa: PLC0415 - not needed for --help

            server = Server(source, access_of(login, ca, ask=ask, insecure=insecure))
            wanted = queries(study or [], patient or [], settings_of(query or [], "--query"))
            answers = [found(server, one, most) for one in wanted]
            studies = list(dict.fromkeys(s for own, _ in answers for s in own))
            discarded = sum(n for _, n in answers)
            if not studies:
                said = f"; {discarded} studies that the server listed are others" if discarded else ""
                raise DataError(f"Nothing on the server matches{said}", remedy="check the identifier or the query")
            show({**collect(server, studies, out, modality), "discarded": discarded}, out, manner)


def queries(studies: list[str], patients: list[str], attributes: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the queries for what a user asked for.

    Raises:
        UsageError: Nothing was asked for, which would be everything; something that is no UID; a Patient ID with a
            wildcard; or a key that is no DICOM keyword.
    """
    from lucency.apps.dicomweb import UID  # noqa: PLC0415
    from lucency.apps.query import asked_of, exact  # noqa: PLC0415

    if any(not UID.fullmatch(s) or len(s) > 64 for s in studies):
        raise UsageError("No UID", expected="digits and dots", where="--study")
    further = {a.keyword: a.value for a in asked_of(attributes)}
    twice = {"StudyInstanceUID": studies, "PatientID": patients}.items()
    if any(given and keyword in further for keyword, given in twice):
        raise UsageError("The same attribute in two options", where="--query", remedy="leave it out of --query")
    wanted = [{"StudyInstanceUID": s, **further} for s in studies]
    wanted += [{"PatientID": p, **further} for p in exact(patients) if p]
    if not wanted and further:
        wanted = [further]
    if not wanted or not all(v.strip(" *") for one in wanted for v in one.values()):
        raise UsageError("Nothing to look for", expected="--study, --patient or --query with a value")
    return wanted


def found(server: "Server", query: Mapping[str, str], most: int) -> tuple[list[str], int]:
    """Return the Study Instance UIDs that match, and how many listed studies do not: servers overlook what they like.

    Raises:
        UsageError: More than ``most``, or a key that is no DICOM keyword.
        OutputError: No answer, or one that does not say what was asked for.
    """
    from lucency.apps.dicomweb import UID, first  # noqa: PLC0415
    from lucency.apps.query import asked_of, restricted  # noqa: PLC0415

    asked = asked_of(query)
    listed = server.search("studies", {a.keyword: a.value for a in asked}, [a.keyword for a in asked])
    rows, discarded = restricted(listed, asked)
    uids = [u for u in (str(first(row, STUDY)) for row in rows) if UID.fullmatch(u) and len(u) <= 64]
    if len(uids) > most:
        raise UsageError(
            f"The query matches more than {most} studies",
            where="--query",
            remedy="ask more narrowly, or allow more with --most",
        )
    return uids, discarded


def collect(server: "Server", studies: list[str], out: Path, modality: str | None) -> dict[str, Any]:
    """Fetch studies into ``out``; names of folders and files are digests of UIDs, never text of the server's.

    Args:
        server: Where from.
        studies: Study Instance UIDs.
        out: Made if absent.
        modality: Of the series; None for all.

    Returns:
        ``studies``, ``fetched``, ``known`` (there already), ``bytes``, ``discarded_series``: listed, but of
        another modality, ``lost``: file to reason.

    Raises:
        OutputError: No answer, or a disk that cannot be written. What was fetched stays, and is not fetched again.
    """
    from lucency.apps.dicomweb import UID, first  # noqa: PLC0415
    from lucency.apps.query import asked_of, restricted  # noqa: PLC0415

    kind = asked_of({} if modality is None else {"Modality": modality})
    others = 0
    places: dict[Path, tuple[str, str, str]] = {}
    for study in studies:
        listed = server.search(f"studies/{study}/series", {a.keyword: a.value for a in kind})
        rows, more = restricted(listed, kind)
        others += more
        for row in rows:
            series = str(first(row, SERIES))
            if not UID.fullmatch(series):
                continue
            for inner in server.search(f"studies/{study}/series/{series}/instances", {}):
                uid = str(first(inner, INSTANCE))
                if UID.fullmatch(uid):
                    places[out / _name(study) / _name(series) / f"{_name(uid)}.dcm"] = (study, series, uid)
    waiting = [path for path in places if not path.exists()]
    lost: dict[str, str] = {}
    total = 0

    def one(path: Path) -> int | LucencyError:
        try:
            return server.retrieve(*places[path], path)
        except LucencyError as error:
            return error

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for path, result in zip(waiting, pool.map(one, waiting), strict=True):
            if isinstance(result, int):
                total += result
            else:
                lost[path.relative_to(out).as_posix()] = result.found
    return {
        "studies": len(studies),
        "fetched": len(waiting) - len(lost),
        "known": len(places) - len(waiting),
        "bytes": total,
        "discarded_series": others,
        "lost": lost,
    }


def show(result: dict[str, Any], out: Path, manner: Manner) -> None:
    """Say what came of it.

    Raises:
        DataError: The studies hold nothing.
        typer.Exit: With status 1, something could not be fetched.
    """
    if not result["fetched"] and not result["known"] and not result["lost"]:
        raise DataError("The studies hold no object of that kind", remedy="leave out --modality")
    manner.say(counted("cli.fetched", result["fetched"], manner.lang, studies=result["studies"]))
    if result["known"]:
        manner.say(t("cli.fetched_before", manner.lang, n=result["known"]))
    for key in ("discarded", "discarded_series"):
        if result[key]:
            manner.say(counted(f"cli.{key}", result[key], manner.lang))
    close({"out": str(out), **result}, result["lost"], "could not be fetched", manner)


def _name(uid: str) -> str:
    """Return the name that stands for a UID: 96 bits of its digest."""
    return hashlib.sha256(uid.encode()).hexdigest()[:24]

"""Annotated cases as a data set that ``fit`` reads as it is, with a note of who annotated what."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lucency import record
from lucency.annotate.returned import Work
from lucency.annotation import Annotation
from lucency.case import Case, Source
from lucency.errors import OutputError
from lucency.model import Model
from lucency.plan import Plan
from lucency.read import load
from lucency.read.files import suffix_of
from lucency.tasks import task_named
from lucency.write.nifti import write_nifti
from lucency.write.raster import write_raster
from lucency.write.rows import Cell, box_columns
from lucency.write.table import write_table

#: Readers whose files stand for themselves and may be copied; others (series, containers, archives) become NIfTI.
COPIED = ("raster", "nifti", "itk")

#: What ``dataset.json`` says of itself.
MADE = "annotate"


@dataclass(frozen=True, eq=False)
class Chosen:
    """The annotation of a case that the data set takes.

    Args:
        case: Its image.
        annotation: What was drawn.
        by: Who drew it.
    """

    case: Case
    annotation: Annotation
    by: str


def write_dataset(folder: Path, cases: Sequence[Case], work: Sequence[Work], model: Model) -> int:
    """Write the annotated cases as a data set and return how many they are.

    Masks become nnU-Net's raw layout, boxes a table beside the images, words and numbers a table. Of several
    annotators of one case the first is taken. ``dataset.json`` says who annotated which case.

    Args:
        folder: What an earlier round left there is replaced.
        cases: Images that were given out.
        work: What came back; the first has precedence.
        model: What it answers and what it calls things.

    Raises:
        OutputError: The disk cannot be written.
    """
    task, plan = task_named(model.plan.task), model.plan
    _ours(folder)
    # Made beside it and put in its place at the end: what is there is whole, also where a disk is full.
    part = folder.with_name(f"{folder.name}.part")
    _cleared(part)
    taken = {id_: one for one in reversed(work) for id_ in one.annotations}
    who: dict[str, str] = {}
    rows: list[tuple[Cell, ...]] = []
    images = part / ("imagesTr" if task.dense else "images")
    for case in (c for c in cases if c.id in taken):
        one = taken[case.id]
        chosen = Chosen(case, one.annotations[case.id](), one.by)
        names = _images(images, case, plan, numbered=task.dense)
        if task.dense:
            _mask(part / "labelsTr", chosen)
        else:
            rows += _rows(chosen, names[0], plan)
        who[case.id] = one.by
    if not who:
        _cleared(folder)
        return 0
    if not task.dense:
        columns = _columns(plan) if not task.boxes else ("image", *box_columns(plan.dims == 2)[1:2], *_edges(plan))
        write_table(part / ("boxes.csv" if task.boxes else "labels.csv"), columns, rows)
    _patients(part, [c for c in cases if c.id in who])
    record.write(part / "dataset.json", _described(plan, cases[0], who, dense=task.dense))
    _cleared(folder)
    part.rename(folder)
    return len(who)


def _ours(folder: Path) -> None:
    """Refuse a folder that holds anything but what an earlier round left."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    try:
        described = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        described = None
    if not isinstance(described, dict) or described.get("lucency") != MADE:
        raise OutputError(
            "The folder for annotated cases holds something else",
            expected="an empty folder, or the data set of an earlier round",
            where=folder.name,
            remedy="choose another folder with --out",
        )


def _cleared(folder: Path) -> None:
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(
            f"Cannot be replaced ({error.strerror})", where=folder.name, remedy="close what has its files open"
        ) from error


def _images(folder: Path, case: Case, plan: Plan, *, numbered: bool) -> list[str]:
    """Put the images of a case into the folder and return their names; a channel keeps its number where one lacks."""
    channels = _channels(plan, case)
    names = []
    for name, (source, *_) in sorted(case.images.items()):
        stem = f"{case.id}_{channels.index(name):04d}" if numbered or len(channels) > 1 else case.id
        names.append(_image(folder, stem, source))
    return names


def _channels(plan: Plan, case: Case) -> list[str]:
    """Return the modalities in the order of their channel numbers; the one of a plain model may be called otherwise."""
    known = sorted(plan.modalities)
    return known if set(case.images) <= set(known) else sorted(case.images)


def _image(folder: Path, stem: str, source: Source) -> str:
    plain = source.reader in COPIED and len(source.files) == 1 and not source.item and source.files[0].is_file()
    suffix = suffix_of(source.paths[0]) if plain else ".nii.gz"
    path = folder / f"{stem}{suffix}"
    if not plain or suffix in (".mhd", ".nhdr", ".hdr"):
        path = folder / f"{stem}.nii.gz"
        write_nifti(path, load(source))
        return path.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.files[0], path)
    except OSError as error:
        raise OutputError(
            f"Cannot write ({error.strerror})", where=path.name, remedy="free space or choose a writable folder"
        ) from error
    return path.name


def _mask(folder: Path, chosen: Chosen) -> None:
    (mask,) = chosen.annotation.layers
    if chosen.case.sources[0].reader == "raster" and mask.size[0] == 1:
        write_raster(folder / f"{chosen.case.id}.png", mask)
    else:
        write_nifti(folder / f"{chosen.case.id}.nii.gz", mask)


def _edges(plan: Plan) -> tuple[str, ...]:
    return tuple(c for c in box_columns(plan.dims == 2) if c.endswith(("min", "max")))


def _columns(plan: Plan) -> tuple[str, ...]:
    return ("image", "label" if plan.classes else "value")


def _rows(chosen: Chosen, name: str, plan: Plan) -> list[tuple[Cell, ...]]:
    """Return the rows of a case; one of a name alone says that there is nothing on it."""
    found = chosen.annotation
    if found.boxes is None:
        return [(name, "|".join(found.classes or ()) or "none")]
    edges = _edges(plan)
    if not found.boxes:
        return [(name, None, *(None for _ in edges))]
    rows: list[tuple[Cell, ...]] = []
    for box in found.boxes:
        (k, j, i), (k_end, j_end, i_end) = box.low, box.high
        by_name = {"xmin": i, "ymin": j, "xmax": i_end, "ymax": j_end, "zmin": k, "zmax": k_end}
        rows.append((name, box.label, *(by_name[e] for e in edges)))
    return rows


def _patients(folder: Path, cases: Sequence[Case]) -> None:
    """Write whose each case is, where anybody has several; else each is its own patient anyway."""
    if len({c.patient for c in cases}) < len(cases):
        write_table(folder / "patients.csv", ("case", "patient"), [(c.id, c.patient) for c in cases])


def _described(plan: Plan, case: Case, who: Mapping[str, str], *, dense: bool) -> dict[str, object]:
    """Return what ``dataset.json`` says."""
    described: dict[str, object] = {"annotators": dict(who), "lucency": MADE}
    if dense:
        labels: dict[str, int] = {"background": 0, **{name: value for value, name in sorted(plan.labels.items())}}
        if plan.ignore is not None:
            labels["ignore"] = plan.ignore
        channels = {str(n): name for n, name in enumerate(_channels(plan, case))}
        described |= {"channel_names": channels, "labels": labels, "numTraining": len(who)}
    return described

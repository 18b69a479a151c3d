"""Filter whole folders of images: any readable input in, the same kind out, with a record of what was done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lucency import __version__, record
from lucency.case import Case, Skipped, Source
from lucency.errors import DataError, UsageError
from lucency.events import Events, Listener
from lucency.filters import Setting, filtered, found, settings_for
from lucency.image import Image
from lucency.read import load, read_inputs
from lucency.write.nifti import write_nifti
from lucency.write.raster import write_picture

NOTICE = """Research use only, not a medical device.
研究用途，非医疗器械。

Made by lucency enhance: these are processed images, not the originals. enhanced.json says which filters were applied,
with which settings, to which file. Do not read a diagnosis from them.
"""

#: What was done, beside the images.
PROVENANCE = "enhanced.json"


@dataclass(frozen=True)
class Step:
    """One filter with all its settings.

    Args:
        filter: Name.
        settings: Setting to number, the defaults included.
    """

    filter: str
    settings: Mapping[str, Setting]


@dataclass(frozen=True)
class Enhanced:
    """What was made.

    Args:
        steps: Filters in the order in which they were applied.
        files: Name of each file to its source, relative to SRC.
        skipped: Files that could not be read or filtered, with the reason.
        lucency: Version of the program.
    """

    steps: tuple[Step, ...]
    files: Mapping[str, str]
    skipped: tuple[Skipped, ...] = ()
    lucency: str = __version__


def steps_of(names: Sequence[str], settings: Mapping[str, str | Setting]) -> tuple[Step, ...]:
    """Return the steps that a user names.

    Args:
        names: Filters, in order.
        settings: ``"key"`` for every filter that has it, or ``"filter.key"`` for one of them.

    Raises:
        UsageError: No filter, an unknown one, or a setting that none of them has.
    """
    if not names:
        raise UsageError("No filter", expected="--filter NAME", remedy="'lucency enhance --list' shows them")
    used: set[str] = set()
    steps = []
    for name in names:
        given: dict[str, str | Setting] = {}
        for key, value in settings.items():
            head, dot, tail = key.partition(".")
            if (dot and head == name) or (not dot and key in found(name).settings):
                given[tail if dot else key] = value
                used.add(key)
        steps.append(Step(name, settings_for(name, given)))
    for key in settings:
        if key not in used:
            # The last filter refuses it, and names what is nearest.
            settings_for(names[-1], {key: settings[key]})
    return tuple(steps)


def enhance(
    src: str | Path,
    out: str | Path,
    filters: Sequence[str] | str,
    *,
    settings: Mapping[str, str | Setting] | None = None,
    nan: float | None = None,
    listeners: Sequence[Listener] = (),
) -> Enhanced:
    """Apply filters to every image in ``src`` and write the results to ``out``.

    Volumes and DICOM become NIfTI, flat pictures PNG of the same bit depth; names are those of the cases.

    Args:
        src: Image, folder, DICOM tree or npz container.
        out: Output folder; made if absent. A source is never written over.
        filters: Name of a filter, or several in order.
        settings: See :func:`steps_of`.
        nan: Value for NaN voxels; None refuses them.
        listeners: Called with progress events.

    Returns:
        What was made; the same as in ``enhanced.json``.

    Raises:
        UsageError: Unknown filter or setting, or an output folder that is the source's own or holds images made with
            other filters.
        DataError: No image could be filtered.
        OutputError: The disk is full or the folder cannot be written.
    """
    steps = steps_of([filters] if isinstance(filters, str) else list(filters), settings or {})
    place, folder = Path(src).expanduser().absolute(), Path(out).expanduser().absolute()
    earlier = _earlier(folder, steps)
    cases = read_inputs(place)
    kept = {file.resolve() for case in cases for source in _sources(case) for file in source.files}
    events = Events(None, *listeners)
    files: dict[str, str] = {}
    skipped = list(cases.skipped)
    for number, case in enumerate(cases, start=1):
        for name, source in _named(case):
            try:
                image = _applied(load(source, nan=nan), steps)
            except UsageError:
                raise
            except DataError as error:
                skipped.append(Skipped(source.where, error.found))
                continue
            path = folder / f"{name}{_suffix(source, image)}"
            if path.resolve() in kept:
                raise UsageError(
                    "The output would take the place of its source", where=path.name, remedy="choose another --out"
                )
            _write(path, image)
            files[path.name] = source.where
        events.emit("enhance", "progress", done=number, of=len(cases))
    if not files:
        first = f": {skipped[0].reason}" if skipped else ""
        raise DataError(f"No image could be filtered{first}", where=place.name, expected="images")
    made = Enhanced(steps, files, tuple(skipped))
    record.write(folder / PROVENANCE, replace(made, files=dict(sorted({**earlier, **files}.items()))))
    record.write_text(folder / "README.txt", NOTICE)
    return made


def _earlier(folder: Path, steps: tuple[Step, ...]) -> Mapping[str, str]:
    """Return what an earlier call left in the folder; one record cannot speak of two ways of filtering."""
    path = folder / PROVENANCE
    if not path.exists():
        return {}
    old = record.read(Enhanced, path)
    if old.steps != steps:
        raise UsageError(
            "The folder holds images made with other filters or settings", where="--out", remedy="choose another folder"
        )
    return old.files


def _sources(case: Case) -> list[Source]:
    return [source for modality in sorted(case.images) for source in case.images[modality]]


def _named(case: Case) -> list[tuple[str, Source]]:
    """Return a file name for each image of a case: the case's, with modality and time where there are several."""
    if len(_sources(case)) == 1:
        return [(case.id, _sources(case)[0])]
    named = []
    for modality in sorted(case.images):
        for time, source in enumerate(case.images[modality]):
            named.append((f"{case.id}__{modality}" + (f"__{time}" if len(case.images[modality]) > 1 else ""), source))
    return named


def _applied(image: Image, steps: Sequence[Step]) -> Image:
    if image.kind == "labels":
        image = replace(image, kind="intensity")
    for step in steps:
        image = filtered(image, step.filter, step.settings)
    return image


def _suffix(source: Source, image: Image) -> str:
    flat = image.size[0] == 1 and image.channels in (1, 3) and image.array.dtype in (np.uint8, np.uint16)
    grey = image.channels == 1 or image.array.dtype == np.uint8
    return ".png" if flat and grey and source.reader in ("raster", "npz") else ".nii.gz"


def _write(path: Path, image: Image) -> None:
    if path.suffix == ".png":
        write_picture(path, image)
    else:
        write_nifti(path, image)

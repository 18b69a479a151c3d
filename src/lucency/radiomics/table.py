"""Features of a whole cohort, one row for each case."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from lucency.case import Case, Source
from lucency.errors import DataError
from lucency.image import Image
from lucency.radiomics.measured import measure
from lucency.radiomics.settings import Settings


@dataclass(frozen=True)
class Row:
    """One case of the table.

    Args:
        case: Case id.
        values: Name to number; empty where the case was refused.
        undefined: Name to reason, for every NaN.
        refused: Why the case has no features, or "".
    """

    case: str
    values: Mapping[str, float] = field(default_factory=dict)
    undefined: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""


def table(
    cases: Iterable[Case],
    load: Callable[[Source], Image],
    settings: Settings | None = None,
    *,
    mask: Callable[[Case], Image | None] | None = None,
    label: int = 1,
) -> Iterator[Row]:
    """Yield the features of every case, in the order of the cases.

    A case that cannot be measured is refused in its own row, with the reason, and the others go on. Images of several
    modalities are measured under the same mask; the names then begin with the modality.

    Args:
        cases: Of a cohort; the first time point of each.
        load: :func:`lucency.read.load`, or one that remembers.
        settings: As for :func:`lucency.radiomics.measure`.
        mask: Where a case's region comes from; None takes the case's target where that is a mask.
        label: Value of the mask that is the region.
    """
    for case in cases:
        try:
            yield _row(case, load, settings, mask, label)
        except DataError as error:
            yield Row(case.id, refused=str(error))


def _row(
    case: Case,
    load: Callable[[Source], Image],
    settings: Settings | None,
    mask: Callable[[Case], Image | None] | None,
    label: int,
) -> Row:
    """Return one case's row."""
    region = mask(case) if mask is not None else None
    if mask is None and isinstance(case.target, Source):
        region = load(case.target)
    if region is None:
        raise DataError("No mask for this case", expected="a region to measure", remedy="draw one, or leave it out")
    values: dict[str, float] = {}
    undefined: dict[str, str] = {}
    for modality in sorted(case.images):
        found = measure(load(case.images[modality][0]), region, settings, label)
        before = f"{modality}_" if len(case.images) > 1 else ""
        values |= {before + name: value for name, value in found.values.items()}
        undefined |= {before + name: why for name, why in found.undefined.items()}
    return Row(case.id, values, undefined)

"""The room's verb: one image, one mask, one label, and every feature that they have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lucency.image import Image
from lucency.radiomics import firstorder, glcm, gldm, glrlm, glszm, ngtdm, shape
from lucency.radiomics.feature import Feature, Undefined
from lucency.radiomics.region import Region, region_of
from lucency.radiomics.settings import CLASSES, Settings

_CLASSES: Mapping[str, Callable[[Region], dict[str, Feature]]] = {
    "firstorder": firstorder.features,
    "shape": shape.features,
    "shape2D": shape.features_2d,
    "glcm": glcm.features,
    "glrlm": glrlm.features,
    "glszm": glszm.features,
    "gldm": gldm.features,
    "ngtdm": ngtdm.features,
}


@dataclass(frozen=True)
class Measured:
    """The features of one region.

    Args:
        values: Name (``original_<class>_<Feature>``) to number; NaN where the region has no such feature.
        undefined: Name to reason, for every NaN.
    """

    values: Mapping[str, float]
    undefined: Mapping[str, str] = field(default_factory=dict)


def measure(image: Image, mask: Image, settings: Settings | None = None, label: int = 1) -> Measured:
    """Return the features of a region, and why some are not defined.

    Args:
        image: One channel, a volume or one slice; axes at right angles.
        mask: Whole numbers on the same grid.
        settings: How; None is bins of 25, no resampling.
        label: Value of the mask that is the region.

    Returns:
        All classes that apply, or those of ``settings.classes``, in the order of :data:`CLASSES`.

    Raises:
        DataError: Empty mask, too small region, mask on another grid, too many grey levels; the message says which.
    """
    settings = settings or Settings()
    region = region_of(image, mask, settings, label)
    values: dict[str, float] = {}
    undefined: dict[str, str] = {}
    for name in settings.classes or classes_of(region):
        found = _CLASSES[name](region)
        for feature in sorted(found):
            key, value = f"original_{name}_{feature}", found[feature]
            if isinstance(value, Undefined):
                undefined[key] = value.reason
                value = value.conventional if settings.flat == "conventional" else float("nan")
            values[key] = float(value)
    if settings.flat == "conventional":
        undefined = {key: why for key, why in undefined.items() if values[key] != values[key]}
    return Measured(values, undefined)


def features(image: Image, mask: Image, settings: Settings | None = None, label: int = 1) -> dict[str, float]:
    """Return name to number of every feature of a region; see :func:`measure`, which also tells why one is NaN."""
    return dict(measure(image, mask, settings, label).values)


def classes_of(region: Region) -> tuple[str, ...]:
    """Return the classes that apply: the shape of a volume or that of a slice, not both."""
    settings = region.settings
    flat = settings.planar and region.outline.shape[settings.planar_axis] == 1
    return tuple(name for name in CLASSES if name != ("shape" if flat else "shape2D"))

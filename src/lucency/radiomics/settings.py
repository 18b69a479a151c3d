"""How features are computed: one frozen record, and the names that parameter files use for the same things."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lucency.errors import UsageError

Interpolation = Literal["bspline", "linear", "nearest"]
ResegmentMode = Literal["absolute", "relative", "sigma"]
Weighting = Literal["separate", "merged", "euclidean", "manhattan", "infinity"]
Whole = Literal["truncated", "rounded", "kept"]
Flat = Literal["undefined", "conventional"]

#: Feature classes in the order of the result. ``shape2D`` takes the place of ``shape`` where there is one slice.
CLASSES = ("firstorder", "shape", "shape2D", "glcm", "glrlm", "glszm", "gldm", "ngtdm")

#: Above this, texture matrices are mostly empty and a bin width is nearly always mistaken (IBSI advises 16 to 128
#: levels for most uses; a CT of -1000 to 3000 HU in bins of 25 has 160).
MOST_LEVELS = 2000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How features are computed. Every choice changes the numbers, so keep it beside them.

    Args:
        bin_width: Width of a grey level in the image's unit, > 0; bins begin at multiples of it. For images whose
            numbers mean something (HU, SUV). None if ``bin_count`` is given.
        bin_count: Number of grey levels between the region's minimum and maximum, >= 2. For images whose numbers
            mean nothing by themselves (most MR). Replaces ``bin_width``.
        spacing_mm: (k, j, i), mm: resample to this first; 0 keeps an axis. None keeps the grid.
        interpolation: Of the image when it is resampled; masks take the nearest voxel.
        whole: What becomes of a whole-numbered image's fractions when it is resampled: ``"truncated"`` towards 0, as
            ITK does and with it most published tables, ``"rounded"``, as the IBSI advises for HU, or ``"kept"``.
        normalise: Subtract the mean of the whole image and divide by its standard deviation.
        normalise_scale: Multiplies the normalised image, > 0.
        outliers: Clip a normalised image at this many standard deviations, > 0; None clips nothing.
        resegment: Lowest value, or lowest and highest, that stay in the region; () keeps all. Shape uses the region
            before this step.
        resegment_mode: Whether these are values (``"absolute"``), shares of the region's maximum (``"relative"``)
            or standard deviations from the region's mean (``"sigma"``).
        distances: Chebyshev distances in voxels between neighbours, for GLCM, GLDM and NGTDM; each >= 1.
        symmetric: Count each pair of a GLCM in both orders.
        weighting: GLCM and GLRLM over the directions: ``"separate"`` averages the features of each direction,
            ``"merged"`` adds the matrices up, the others add them weighted by exp(-d²) with d in mm by that norm.
        planar: Neighbours, runs and zones only within a plane. On for an image of one slice.
        planar_axis: Axis across that plane: 0 is k, 1 is j, 2 is i.
        dependence: GLDM: neighbours depend when their levels differ by at most this, >= 0.
        shift: Added to every value before energy and root mean square, so that negative ones do not weigh most.
        flat: A ratio of 0 to 0 (mostly in a region of one grey level) has no value: ``"undefined"`` leaves it NaN
            with its reason, ``"conventional"`` takes the number that other programs write.
        min_dimensions: The region must extend over at least two voxels along so many axes, 1 to 3.
        min_voxels: The region must have so many voxels, >= 1.
        correct_mask: Take a mask on another grid to the image's (nearest voxel) instead of refusing it.
        classes: Of :data:`CLASSES`; () is all that apply.

    Raises:
        UsageError: A value outside its range; the message names it.
    """

    bin_width: float | None = 25.0
    bin_count: int | None = None
    spacing_mm: tuple[float, float, float] | None = None
    interpolation: Interpolation = "bspline"
    whole: Whole = "truncated"
    normalise: bool = False
    normalise_scale: float = 1.0
    outliers: float | None = None
    resegment: tuple[float, ...] = ()
    resegment_mode: ResegmentMode = "absolute"
    distances: tuple[int, ...] = (1,)
    symmetric: bool = True
    weighting: Weighting = "separate"
    planar: bool = False
    planar_axis: int = 0
    dependence: float = 0.0
    shift: float = 0.0
    flat: Flat = "undefined"
    min_dimensions: int = 2
    min_voxels: int = 1
    correct_mask: bool = False
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.bin_count is not None:
            object.__setattr__(self, "bin_width", None)
        _within("bin_count", self.bin_count is None or 2 <= self.bin_count <= MOST_LEVELS, f"2 to {MOST_LEVELS}")
        _within("bin_width", self.bin_count is not None or (self.bin_width or 0) > 0, "above 0, or a bin_count")
        spacing = self.spacing_mm
        _within("spacing_mm", spacing is None or (len(spacing) == 3 and min(spacing) >= 0), "three numbers, 0 or more")
        _within("normalise_scale", self.normalise_scale > 0, "above 0")
        _within("outliers", self.outliers is None or self.outliers > 0, "above 0")
        cut = self.resegment
        _within(
            "resegment", len(cut) < 2 or (len(cut) == 2 and cut[0] < cut[1]), "none, the lowest, or lowest < highest"
        )
        _within("distances", bool(self.distances) and min(self.distances) >= 1, "whole numbers of 1 or more")
        _within("planar_axis", self.planar_axis in (0, 1, 2), "0, 1 or 2")
        _within("dependence", self.dependence >= 0, "0 or more")
        _within("min_dimensions", 1 <= self.min_dimensions <= 3, "1 to 3")
        _within("min_voxels", self.min_voxels >= 1, "1 or more")
        for name, kind in (
            ("interpolation", Interpolation),
            ("whole", Whole),
            ("resegment_mode", ResegmentMode),
            ("weighting", Weighting),
            ("flat", Flat),
        ):
            _within(name, getattr(self, name) in get_args(kind), ", ".join(get_args(kind)))
        _within("classes", set(self.classes) <= set(CLASSES), ", ".join(CLASSES))


def _within(name: str, fine: bool, expected: str) -> None:
    """Refuse a setting outside its range; the value itself may be anything and is not shown."""
    if not fine:
        raise UsageError(f"Setting {name} is out of range", expected=expected, where="radiomics settings")


#: Names of parameter files that stand for a setting as it is.
_SAME = {
    "binWidth": "bin_width",
    "binCount": "bin_count",
    "normalize": "normalise",
    "normalizeScale": "normalise_scale",
    "removeOutliers": "outliers",
    "resegmentMode": "resegment_mode",
    "symmetricalGLCM": "symmetric",
    "force2D": "planar",
    "force2Ddimension": "planar_axis",
    "gldm_a": "dependence",
    "voxelArrayShift": "shift",
    "minimumROIDimensions": "min_dimensions",
    "correctMask": "correct_mask",
}
#: Names that change no number here: what is cropped and padded when is our own affair.
_WITHOUT_EFFECT = {"padDistance", "preCrop", "additionalInfo", "geometryTolerance", "enableCExtensions"}
_INTERPOLATION = {"sitkBSpline": "bspline", "sitkLinear": "linear", "sitkNearestNeighbor": "nearest"}
_WEIGHTING = {"no_weighting": "merged", "euclidean": "euclidean", "manhattan": "manhattan", "infinity": "infinity"}


def _named(names: Mapping[str, str]) -> Callable[[Any], str]:
    """Return a function that looks a value up."""

    def found(value: Any) -> str:
        if str(value) not in names:
            raise UsageError("A parameter has a value not known here", expected=", ".join(names))
        return names[str(value)]

    return found


def _only_one(value: Any) -> int:
    """Refuse a label: a file that names one would otherwise be obeyed in silence for another."""
    if value != 1:
        raise UsageError("Parameter label is not 1", expected="no label", remedy="give label= to features()")
    return 1


#: Names that stand for a setting in another form: the setting, and how it is made of the value.
_FORMED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "interpolator": ("interpolation", _named(_INTERPOLATION)),
    "weightingNorm": ("weighting", _named(_WEIGHTING)),
    # Spacing is (i, j, k) there.
    "resampledPixelSpacing": ("spacing_mm", lambda value: tuple(float(v) for v in value[::-1])),
    "resegmentRange": ("resegment", lambda value: tuple(float(v) for v in value)),
    "distances": ("distances", lambda value: tuple(int(v) for v in value)),
    # There a region of exactly this size is too small.
    "minimumROISize": ("min_voxels", lambda value: int(value) + 1),
    "label": ("", _only_one),
}


def from_parameters(found: Mapping[str, Any]) -> Settings:
    """Return the settings that a radiomics parameter file in its usual words (``binWidth`` …) asks for.

    Ratios of 0 to 0 get their conventional numbers, as in the program that such files are written for.

    Args:
        found: Name to value, the ``setting`` part of the file.

    Raises:
        UsageError: A name or a value that is not known here; the message offers the nearest name.
    """
    known = {*_SAME, *_FORMED, *_WITHOUT_EFFECT}
    values: dict[str, Any] = {"flat": "conventional"}
    for name, value in found.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise UsageError(f"Parameter {name!r} is not known here", where="radiomics settings", remedy=hint)
        if value is None or name in _WITHOUT_EFFECT:
            continue
        setting, formed = _FORMED.get(name, (_SAME.get(name, ""), lambda given: given))
        values[setting] = formed(value)
    values.pop("", None)
    if not found.get("interpolator", True):
        values.pop("spacing_mm", None)
    return Settings(**values)

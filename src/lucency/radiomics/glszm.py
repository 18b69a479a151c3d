"""Grey level size zones: how large the patches of one level are."""

import numpy as np

from lucency.radiomics.feature import Feature
from lucency.radiomics.region import Region
from lucency.radiomics.sizes import Counted, counted, described

NAMES = {
    "level_evenness": "GrayLevelNonUniformity",
    "level_evenness_share": "GrayLevelNonUniformityNormalized",
    "level_variance": "GrayLevelVariance",
    "high": "HighGrayLevelZoneEmphasis",
    "large": "LargeAreaEmphasis",
    "large_high": "LargeAreaHighGrayLevelEmphasis",
    "large_low": "LargeAreaLowGrayLevelEmphasis",
    "low": "LowGrayLevelZoneEmphasis",
    "size_evenness": "SizeZoneNonUniformity",
    "size_evenness_share": "SizeZoneNonUniformityNormalized",
    "small": "SmallAreaEmphasis",
    "small_high": "SmallAreaHighGrayLevelEmphasis",
    "small_low": "SmallAreaLowGrayLevelEmphasis",
    "entropy": "ZoneEntropy",
    "filled": "ZonePercentage",
    "size_variance": "ZoneVariance",
}


def features(region: Region) -> dict[str, Feature]:
    """Return the 16 size zone features.

    Args:
        region: Its grey levels. Voxels that share a face, an edge or a corner touch; in a plane, an edge or a corner.

    Source:
        IBSI reference manual, grey level size zone based features (9SAK), doi:10.1148/radiol.2020191145.
    """
    return described(zones(region), NAMES)


def zones(region: Region) -> Counted:
    """Return the zones of a region by level and number of voxels."""
    from skimage.measure import label  # noqa: PLC0415 - slow to import

    levels = region.levels
    stack = np.moveaxis(levels, region.settings.planar_axis, 0) if region.settings.planar else levels[None]
    level: list[np.ndarray] = []
    size: list[np.ndarray] = []
    for part in stack:
        number = label(part, background=0, connectivity=part.ndim)
        count = np.bincount(number.ravel())
        own = np.zeros(len(count), dtype=np.int64)
        own[number.ravel()] = part.ravel()
        level.append(own[1:])
        size.append(count[1:])
    return counted(np.concatenate(level), np.concatenate(size))

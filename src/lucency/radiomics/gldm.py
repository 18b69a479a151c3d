"""Grey level dependence: how many neighbours are of a voxel's own level."""

import numpy as np

from lucency.radiomics.feature import Feature
from lucency.radiomics.neighbours import both_ways, directions, paired
from lucency.radiomics.region import Region
from lucency.radiomics.sizes import Counted, counted, described

NAMES = {
    "entropy": "DependenceEntropy",
    "size_evenness": "DependenceNonUniformity",
    "size_evenness_share": "DependenceNonUniformityNormalized",
    "size_variance": "DependenceVariance",
    "level_evenness": "GrayLevelNonUniformity",
    "level_variance": "GrayLevelVariance",
    "high": "HighGrayLevelEmphasis",
    "large": "LargeDependenceEmphasis",
    "large_high": "LargeDependenceHighGrayLevelEmphasis",
    "large_low": "LargeDependenceLowGrayLevelEmphasis",
    "low": "LowGrayLevelEmphasis",
    "small": "SmallDependenceEmphasis",
    "small_high": "SmallDependenceHighGrayLevelEmphasis",
    "small_low": "SmallDependenceLowGrayLevelEmphasis",
}


def features(region: Region) -> dict[str, Feature]:
    """Return the 14 dependence features.

    Args:
        region: Its grey levels, ``distances`` and ``dependence``.

    Source:
        IBSI reference manual, neighbouring grey level dependence based features (REK0),
        doi:10.1148/radiol.2020191145; Sun and Wee 1983, doi:10.1016/0734-189X(83)90032-4.
    """
    return described(dependences(region), NAMES)


def dependences(region: Region) -> Counted:
    """Return the voxels of a region by level and by 1 + the number of neighbours that depend on them."""
    settings = region.settings
    size = region.inside.astype(np.int64)
    steps = directions(settings, settings.distances, region.inside.shape)
    for step in both_ways(steps):
        (a, b), (in_a, in_b) = paired(region.levels, step), paired(region.inside, step)
        paired(size, step)[0][...] += in_a & in_b & (np.abs(a - b) <= settings.dependence)
    return counted(region.levels[region.inside], size[region.inside])

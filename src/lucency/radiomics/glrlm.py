"""Grey level run lengths: how long a level goes on in a direction."""

import numpy as np

from lucency.radiomics.feature import Feature, Undefined, mean_of
from lucency.radiomics.neighbours import TOO_FAR, Step, directions, weights
from lucency.radiomics.region import Region
from lucency.radiomics.sizes import Counted, counted, described, merged

NAMES = {
    "level_evenness": "GrayLevelNonUniformity",
    "level_evenness_share": "GrayLevelNonUniformityNormalized",
    "level_variance": "GrayLevelVariance",
    "high": "HighGrayLevelRunEmphasis",
    "large": "LongRunEmphasis",
    "large_high": "LongRunHighGrayLevelEmphasis",
    "large_low": "LongRunLowGrayLevelEmphasis",
    "low": "LowGrayLevelRunEmphasis",
    "entropy": "RunEntropy",
    "size_evenness": "RunLengthNonUniformity",
    "size_evenness_share": "RunLengthNonUniformityNormalized",
    "filled": "RunPercentage",
    "size_variance": "RunVariance",
    "small": "ShortRunEmphasis",
    "small_high": "ShortRunHighGrayLevelEmphasis",
    "small_low": "ShortRunLowGrayLevelEmphasis",
}


def features(region: Region) -> dict[str, Feature]:
    """Return the 16 run length features; a run always goes on to the next voxel, whatever ``distances`` says.

    Args:
        region: Its grey levels and ``weighting``.

    Source:
        IBSI reference manual, grey level run length based features (TP0I), doi:10.1148/radiol.2020191145;
        Galloway 1975, doi:10.1016/S0146-664X(75)80008-6.
    """
    settings = region.settings
    steps = directions(settings, (1,), region.inside.shape)
    if not steps:
        return dict.fromkeys(NAMES.values(), Undefined("The region is one voxel wide in every direction that counts"))
    weight = weights(steps, region.spacing, settings)
    if not weight.any():
        return dict.fromkeys(NAMES.values(), Undefined(TOO_FAR))
    each = [runs(region.levels, step, float(w)) for step, w in zip(steps, weight, strict=True)]
    if settings.weighting != "separate":
        each = [merged(each)]
    return mean_of([described(one, NAMES) for one in each])


def runs(levels: np.ndarray, step: Step, weight: float = 1.0) -> Counted:
    """Return the runs along one direction.

    Args:
        levels: (K, J, I) int, 0 outside the region, which is not empty.
        step: (k, j, i), each -1, 0 or 1.
        weight: What one run counts.
    """
    # With a rim of zeros a walk ends before it leaves the array.
    padded = np.pad(levels, 1)
    stride = int(np.dot(step, (padded.shape[1] * padded.shape[2], padded.shape[2], 1)))
    line = padded.ravel()
    own = np.flatnonzero(line)
    start = own[line[own - stride] != line[own]]
    level = line[start]
    length = np.ones(len(start), dtype=np.int64)
    alive, ahead = np.arange(len(start)), start + stride
    while len(alive):
        same = line[ahead] == level[alive]
        alive, ahead = alive[same], ahead[same] + stride
        length[alive] += 1
    return counted(level, length, weight)

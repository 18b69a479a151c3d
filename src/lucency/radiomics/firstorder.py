"""First-order features: the values of the region, wherever they lie."""

import numpy as np

from lucency.radiomics.feature import Feature, Undefined
from lucency.radiomics.region import Region


def features(region: Region) -> dict[str, Feature]:
    """Return the 18 first-order features.

    Variance is that of the population; a normal distribution has kurtosis 3 (IBSI counts its excess over 3).
    Entropy and uniformity are of the grey levels.

    Args:
        region: Its values, in the image's unit.

    Source:
        IBSI reference manual, intensity-based statistical features (UHIW) and intensity histogram (ZVCW),
        doi:10.1148/radiol.2020191145.
    """
    values = region.values[region.inside]
    mean = values.mean()
    away = values - mean
    variance = float((away**2).mean())
    p10, p25, median, p75, p90 = np.percentile(values, (10, 25, 50, 75, 90))
    middle = values[(values >= p10) & (values <= p90)]
    energy = float(((values + region.settings.shift) ** 2).sum())
    share = np.bincount(region.levels[region.inside]) / len(values)
    skewness: Feature = Undefined("All values are the same: no spread to be skewed", 0.0)
    kurtosis: Feature = Undefined("All values are the same: no spread to have tails", 0.0)
    robust: Feature = Undefined("No value lies between the 10th and the 90th percentile")
    if len(middle):
        robust = float(np.abs(middle - middle.mean()).mean())
    # A spread within the rounding of the mean is none.
    if variance > (1e-12 * max(abs(float(mean)), np.finfo(float).tiny)) ** 2:
        skewness = float((away**3).mean() / variance**1.5)
        kurtosis = float((away**4).mean() / variance**2)
    return {
        "10Percentile": float(p10),
        "90Percentile": float(p90),
        "Energy": energy,
        "Entropy": entropy(share),
        "InterquartileRange": float(p75 - p25),
        "Kurtosis": kurtosis,
        "Maximum": float(values.max()),
        "MeanAbsoluteDeviation": float(np.abs(away).mean()),
        "Mean": float(mean),
        "Median": float(median),
        "Minimum": float(values.min()),
        "Range": float(np.ptp(values)),
        "RobustMeanAbsoluteDeviation": robust,
        "RootMeanSquared": float(np.sqrt(energy / len(values))),
        "Skewness": skewness,
        "TotalEnergy": energy * region.voxel_mm3,
        "Uniformity": float((share**2).sum()),
        "Variance": variance,
    }


def entropy(share: np.ndarray) -> float:
    """Return the Shannon entropy in bits of shares that add up to 1; a share of 0 adds nothing."""
    some = share[share > 0]
    # The zero keeps a certain outcome from being -0.
    return float(-(some * np.log2(some)).sum() + 0.0)

"""Tests that a map must pass before it is worth looking at: it needs the weights, repeats, points at what counts."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from lucency.explain.maps import Method, Scored

#: Noise for the repeatability test, in standard deviations of the image: less than any scanner's.
NOISE = 0.05

#: Share of the image that is hidden in the pointing test, and how many random places it is compared with.
HIDDEN, DRAWS = 0.1, 20

#: What a map must reach: its rank correlation with the map of random weights at most, with that of the slightly noisy
#: image at least, and the share of random places that matter less than those it marks at least.
MOST_RANDOM, LEAST_REPEATED, LEAST_POINTING = 0.5, 0.8, 0.8


@dataclass(frozen=True)
class Trials:
    """What the tests of one map gave.

    Args:
        randomised: Rank correlation with the map of the same network with random weights, -1 to 1. Near 0 is good: a
            map that stays is drawn by the image, not by what was learned (Adebayo 2018, doi 10.48550/arXiv.1810.03292).
        repeated: Rank correlation with the map of the same image with a little noise, -1 to 1. Near 1 is good
            (Arun 2021, doi 10.1148/ryai.2021200267).
        pointing: Share of random places of the same size that matter less to the answer when they are hidden than the
            tenth of the image that the map marks most, 0 to 1 (Petsiuk 2018, doi 10.48550/arXiv.1806.07421).
    """

    randomised: float
    repeated: float
    pointing: float

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the tests that were not passed."""
        found = {
            "randomised": abs(self.randomised) > MOST_RANDOM,
            "repeated": self.repeated < LEAST_REPEATED,
            "pointing": self.pointing < LEAST_POINTING,
        }
        return tuple(name for name, bad in found.items() if bad)


def trials(method: Method, scored: Scored, array: np.ndarray, drawn: np.ndarray, rng: np.random.Generator) -> Trials:
    """Put a map to the tests.

    Args:
        method: What drew it.
        scored: Network and number.
        array: (C, K, J, I), the image.
        drawn: (K, J, I), the map.
        rng: Of weights, noise and places.
    """
    foreign = method(replace(scored, net=randomised(scored.net, rng)), array)
    noisy = array + NOISE * float(array.std()) * rng.normal(size=array.shape).astype(np.float32)
    again = method(scored, noisy)
    return Trials(_ranks_agree(drawn, foreign), _ranks_agree(drawn, again), _pointing(scored, array, drawn, rng))


def randomised(net: nn.Module, rng: np.random.Generator) -> nn.Module:
    """Return the network with every weight drawn anew at the size it had; normalisation keeps its statistics."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.ndim > 1:
                fresh = torch.from_numpy(rng.normal(size=tuple(parameter.shape)).astype(np.float32))
                parameter.copy_(fresh * parameter.std(unbiased=False))
    return other


def _ranks_agree(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's correlation; 0 where a map says nothing anywhere."""
    from scipy.stats import rankdata  # noqa: PLC0415  (half a second that importing this room should not cost)

    first, second = (rankdata(m.reshape(-1)) for m in (one, other))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


@torch.inference_mode()
def _pointing(scored: Scored, array: np.ndarray, drawn: np.ndarray, rng: np.random.Generator) -> float:
    n = max(1, round(HIDDEN * drawn.size))
    best = np.zeros(drawn.size, dtype=bool)
    best[np.argsort(-drawn.reshape(-1), kind="stable")[:n]] = True
    marked = best.reshape(drawn.shape)
    places = [marked]
    for _ in range(DRAWS):
        # The same shape elsewhere: what is compared is the place alone.
        shift = tuple(int(rng.integers(0, size)) for size in drawn.shape)
        places.append(np.roll(marked, shift, axis=(0, 1, 2)))
    falls = []
    for place in places:
        hidden = np.where(place[None], 0, array).astype(np.float32)
        falls.append(-float(scored(torch.from_numpy(hidden)[None])[0]))
    return float(np.mean([f < falls[0] for f in falls[1:]]))

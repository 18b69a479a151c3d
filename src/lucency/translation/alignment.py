"""How far two images of one patient lie apart, by their edges, whatever their contrasts are."""

import numpy as np
from scipy import fft, ndimage

#: Pixels by which one image may be shifted against the other at the most; what lies farther apart is no pair.
FARTHEST = 12

#: By so much the edges must agree better elsewhere than where they are, as a correlation, or they lie on each other.
GAIN = 0.02

#: Pixels of a smoothing before edges are sought: noise has edges everywhere.
SMOOTH = 1.0


def displacement(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return how far one slice must be shifted to lie on another, and how well the two agree then.

    Args:
        first: (J, I) float.
        second: (J, I) float, of the same patient on the same grid.

    Returns:
        Pixels, 0 where no shift is clearly better; and the correlation of their edges at the best shift, -1 to 1. Both
        0 where either has no edges.

    Source:
        Cross-correlation by Fourier transform, Lewis 1995, Fast normalized cross-correlation, Vision Interface; of
        gradient magnitudes, which keep their place where contrasts change (Pluim 2000, doi 10.1109/42.876307).
    """
    a, b = (_edges(v) for v in (first, second))
    if not a.any() or not b.any():
        return 0.0, 0.0
    size = tuple(fft.next_fast_len(2 * n, real=True) for n in a.shape)
    product = fft.irfft2(fft.rfft2(a, size) * np.conj(fft.rfft2(b, size)), size)
    reach = [min(FARTHEST, n // 4) for n in a.shape]
    rows, columns = (np.arange(-r, r + 1) for r in reach)
    found = product[np.ix_(rows, columns)] / (np.linalg.norm(a) * np.linalg.norm(b))
    at = np.unravel_index(int(found.argmax()), found.shape)
    best, here = float(found[at]), float(found[reach[0], reach[1]])
    if best - here < GAIN:
        return 0.0, here
    return float(np.hypot(rows[at[0]], columns[at[1]])), best


def _edges(plane: np.ndarray) -> np.ndarray:
    """Return the strength of the edges, their mean taken off; zero where there is none."""
    strength = ndimage.gaussian_gradient_magnitude(np.asarray(plane, dtype=np.float64), SMOOTH)
    centred: np.ndarray = strength - strength.mean()
    return centred if strength.std() > 1e-9 * (1 + abs(strength.mean())) else np.zeros_like(centred)

"""Generated images with a known truth: blobs whose class is their shape, and sets drawn from them or copied."""

import numpy as np
from scipy.ndimage import gaussian_filter

from lucency.synthesize.drawn import Drawn


def blobs(n, seed=0, size=(1, 16, 16), classes=2, each=1, coarse=0.6):
    """Images of a bright blob: round in class 0, long in class 1; ``each`` of one patient differ a little."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(s) for s in size), indexing="ij")).astype(float)
    images, labels, patients = [], [], []
    smooth = [1.2 if s > 1 else 0 for s in size]
    thin = [a for a in range(3) if size[a] > 1]
    for number in range(n):
        label = number % classes
        centre = np.array([s / 2 + rng.uniform(-s / 5, s / 5) for s in size])
        width = rng.uniform(1.5, 2.5, 3)
        if label:
            width[thin[-1]] *= 2
        for _ in range(each):
            at = centre + rng.normal(0, 0.2, 3) * (each > 1)
            image = np.exp(-(((grid - at[:, None, None, None]) / width[:, None, None, None])[thin] ** 2).sum(0))
            # Every patient has texture of its own, so that no two look the same by chance.
            texture = coarse * gaussian_filter(np.random.default_rng((seed, number)).normal(0, 1, size), smooth)
            images.append(image * rng.uniform(0.7, 1.3) + texture + rng.normal(0, 0.02, size))
            labels.append(label)
            patients.append(f"p{seed}-{number}")
    return Drawn(np.stack(images)[:, None].astype(np.float32), np.array(labels), np.array(patients))

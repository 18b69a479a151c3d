"""Copies of patients' images, changed as a generator that copies might change them: what the auditor must find."""

from collections.abc import Callable, Mapping

import numpy as np
from scipy import ndimage

from lucency.synthesize.drawn import Drawn

#: Deviation of the noise, as a share of an image's own range.
NOISE = 0.05

#: Largest shift in pixels; largest turn in degrees; share that is cropped off; ends of the exponent and of the blur.
SHIFT, TURN, CROP, GAMMA, BLUR = 2, 5.0, 0.05, (0.7, 1.4), (0.5, 1.0)

#: Changes of a mixture.
MIXED = (2, 3)

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _axes(image: np.ndarray) -> list[int]:
    return [a for a in (1, 2, 3) if image.shape[a] > 1]


def shifted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move an image, (C, K, J, I), by up to two whole pixels along each axis; its edge goes on."""
    by = [int(rng.integers(-SHIFT, SHIFT + 1)) if n > 1 else 0 for n in image.shape[1:]]
    return np.asarray(ndimage.shift(image, (0, *by), order=0, mode="nearest"))


def mirrored(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror an image along one of its axes."""
    return np.flip(image, axis=int(rng.choice(_axes(image))))


def bent(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change an image's contrast by a power of its own range."""
    low, span = float(image.min()), max(float(np.ptp(image)), 1e-12)
    return np.asarray(low + span * ((image - low) / span) ** rng.uniform(*GAMMA))


def noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add noise of 5 % of an image's own range."""
    return np.asarray(image + rng.normal(0, NOISE * float(np.ptp(image)), image.shape))


def blurred(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur an image by up to a pixel."""
    sigma = rng.uniform(*BLUR)
    return np.asarray(ndimage.gaussian_filter(image, (0, *(sigma if n > 1 else 0 for n in image.shape[1:]))))


def turned(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn an image by 5 degrees either way in its plane."""
    angle = TURN * float(rng.choice([-1, 1]))
    return np.asarray(ndimage.rotate(image, angle, axes=(2, 3), reshape=False, order=1, mode="nearest"))


def cropped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Crop 5 % of each side off and scale what is left to the old size."""
    scale = [1 - CROP if n > 1 else 1.0 for n in image.shape[1:]]
    start = [(n - 1) * (1 - s) * rng.uniform() for n, s in zip(image.shape[1:], scale, strict=True)]
    each = [ndimage.affine_transform(c, scale, start, order=1, mode="nearest") for c in image]
    return np.stack(each)


#: Name to change; the catalogue has the names.
CHANGES: Mapping[str, Change] = {
    "shift": shifted,
    "flip": mirrored,
    "gamma": bent,
    "noise": noisy,
    "blur": blurred,
    "rotation": turned,
    "crop": cropped,
}

#: Changes, and several of them together.
KINDS = (*CHANGES, "mixture")


def changed(image: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return an image, (C, K, J, I) float32, changed.

    Args:
        image: Of a patient.
        kind: A name of :data:`KINDS`.
        rng: How much, and for ``"mixture"`` which changes.
    """
    if kind == "mixture":
        n = int(rng.integers(MIXED[0], MIXED[1] + 1))
        for name in rng.choice(list(CHANGES), n, replace=False):
            image = CHANGES[str(name)](image, rng)
        return np.ascontiguousarray(image, dtype=np.float32)
    return np.ascontiguousarray(CHANGES[kind](image, rng), dtype=np.float32)


def planted(members: Drawn, n: int, rng: np.random.Generator) -> tuple[Drawn, tuple[str, ...], np.ndarray]:
    """Return changed copies of members, as many of each kind, the kind of each, and the row of each in ``members``.

    Args:
        members: Copied from; each about as often.
        n: Copies in all, rounded up to a whole number of each kind.
        rng: Which and how.
    """
    each = -(-n // len(KINDS))
    kinds = tuple(k for k in KINDS for _ in range(each))
    order = np.concatenate([rng.permutation(len(members)) for _ in range(-(-len(kinds) // len(members)))])
    rows = order[: len(kinds)]
    images = np.stack([changed(members.images[r], k, rng) for r, k in zip(rows, kinds, strict=True)])
    return Drawn(images, members.labels[rows], np.full(len(rows), "")), kinds, rows


def resampled(members: Drawn, n: int, rng: np.random.Generator) -> Drawn:
    """Return what a generator that has only learned its training images by heart would draw: members, moved and noisy.

    Args:
        members: Copied from.
        n: Images.
        rng: Which and how.
    """
    rows = rng.permutation(np.arange(n) % len(members))
    images = np.stack([noisy(shifted(members.images[r], rng), rng) for r in rows])
    return Drawn(images.astype(np.float32), members.labels[rows], np.full(n, ""))

"""Small pairs of images whose relation is known."""

from pathlib import Path

import numpy as np
from PIL import Image as Picture

from lucency.case import Case, Cohort, Source
from lucency.image import Image, diagonal_affine
from lucency.write.nifti import write_nifti

SIDE = 24


def pair(rng, side=SIDE):
    """A body with a ball in it: bright in the first modality, dark in the second. Returns both and the ball."""
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij")) - (side - 1) / 2
    middle, radius = rng.uniform(-side / 6, side / 6, 2), rng.uniform(side / 8, side / 5)
    ball = ((grid - middle[:, None, None]) ** 2).sum(axis=0) < radius**2
    body = (grid**2).sum(axis=0) < (0.45 * side) ** 2
    first = 20 + 60 * body + 90 * ball + rng.normal(0, 3, body.shape)
    second = 10 + 200 * body - 150 * ball + rng.normal(0, 3, body.shape)
    return first.clip(0, 255).astype(np.uint8), second.clip(0, 255).astype(np.uint8), ball.astype(np.uint8)


def nnunet(folder: Path, n=24, have=lambda number: ("0000", "0001"), seed=0, labels=True):
    """An nnU-Net raw folder of pictures; ``have`` says which modalities a case has."""
    rng = np.random.default_rng(seed)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(n):
        first, second, ball = pair(rng)
        for channel, pixels in (("0000", first), ("0001", second)):
            if channel in have(number):
                Picture.fromarray(pixels).save(folder / "imagesTr" / f"p{number:02d}_{channel}.png")
        if labels:
            Picture.fromarray(ball).save(folder / "labelsTr" / f"p{number:02d}.png")
    return folder


def cohort(folder: Path, n=10, size=(1, SIDE, SIDE), affine=None, shift=0, made="b"):
    """Cases with both modalities as NIfTI; the second may be shifted by rows."""
    rng, cases = np.random.default_rng(0), []
    affine = diagonal_affine((1, 1, 1)) if affine is None else affine
    for number in range(n):
        planes = [pair(rng, size[1])[:2] for _ in range(size[0])]
        images = {"a": np.stack([p[0] for p in planes]), "b": np.stack([np.roll(p[1], shift, 0) for p in planes])}
        sources = {}
        for name, voxels in images.items():
            write_nifti(folder / f"{number}{name}.nii.gz", Image(voxels[None], affine))
            header = {"size": size, "spacing_known": True}
            path = f"{number}{name}.nii.gz"
            sources[name] = (Source((path,), str(folder), "nifti", checksum=path, header=header),)
        cases.append(Case(f"{number}", f"{number}", sources, "both"))
    return Cohort(tuple(cases), {c.id: k % 5 for k, c in enumerate(cases)}, frozenset(), made=made)

"""A shelf of images in memory, which stands in for the readers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lucency.case import Case, Cohort, Source
from lucency.errors import ReadError
from lucency.image import Image, diagonal_affine


class Shelf:
    """Builds a cohort whose pixels lie in a dictionary."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.pixels: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.broken: set[str] = set()
        self.cases: list[Case] = []
        self.opened: list[str] = []

    def picture(self, size: tuple[int, int, int] = (1, 40, 48)) -> np.ndarray:
        """Smooth random anatomy with some noise, (1, K, J, I) int16."""
        coarse = self.rng.normal(size=tuple(max(1, n // 4) for n in size))
        for axis, n in enumerate(size):
            coarse = np.repeat(coarse, -(-n // coarse.shape[axis]), axis)
        image = 300 * coarse[: size[0], : size[1], : size[2]] + self.rng.normal(scale=15, size=size)
        return image[None].astype(np.int16)

    def source(self, path: str, array: np.ndarray, affine: np.ndarray | None, **header: Any) -> Source:
        kind = header.pop("kind", "intensity")
        self.pixels[path] = (array, diagonal_affine((1, 1, 1)) if affine is None else affine)
        return Source((path,), "nowhere", "shelf", kind=kind, header=header, checksum=path)

    def add(
        self,
        name: str,
        array: np.ndarray | None = None,
        target: object = "a",
        *,
        patient: str = "",
        part: str = "",
        affine: np.ndarray | None = None,
        mask_affine: np.ndarray | None = None,
        **header: Any,
    ) -> None:
        image = self.picture() if array is None else array
        source = self.source(f"images/{name}.png", image, affine, **header)
        if isinstance(target, np.ndarray):
            place = affine if mask_affine is None else mask_affine
            target = self.source(f"labels/{name}.png", target, place, kind="labels", **header)
        self.cases.append(Case(name, patient or name, {"image": (source,)}, target, part))  # type: ignore[arg-type]

    def cohort(self, **settings: Any) -> Cohort:
        names = {c.target for c in self.cases if isinstance(c.target, str)}
        return Cohort(tuple(self.cases), {}, frozenset(), **{"classes": tuple(sorted(names)), **settings})

    def load(self, source: Source, *, nan: float | None = None) -> Image:
        self.opened.append(source.where)
        if source.where in self.broken:
            raise ReadError("Truncated after 12 bytes", where=source.where, remedy="copy the file again")
        array, affine = self.pixels[source.where]
        if nan is not None and array.dtype.kind == "f":
            array = np.where(np.isfinite(array), array, nan)
        return Image(array, affine, kind=source.kind)  # type: ignore[arg-type]


@pytest.fixture
def shelf() -> Shelf:
    """An empty shelf."""
    return Shelf()


@pytest.fixture
def two_classes() -> Callable[..., Shelf]:
    """A sound set of two classes, to be spoilt by the test."""

    def build(n: int = 40, seed: int = 0) -> Shelf:
        shelf = Shelf(seed)
        for i in range(n):
            shelf.add(f"case{i:03}", target="ab"[i % 2])
        return shelf

    return build


@pytest.fixture
def with_masks() -> Callable[..., Shelf]:
    """A sound set of images with masks of label 1, to be spoilt by the test."""

    def build(n: int = 40, size: tuple[int, int, int] = (6, 20, 24), seed: int = 0) -> Shelf:
        shelf = Shelf(seed)
        for i in range(n):
            mask = np.zeros((1, *size), np.uint8)
            mask[:, :, 5:12, 6 : 12 + i % 3] = 1
            shelf.add(f"case{i:03}", shelf.picture(size), mask)
        return shelf

    return build

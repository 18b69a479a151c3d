"""Published tables and small regions for the radiomics tests."""

import ast
import csv
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from lucency.case import Source
from lucency.image import Image, diagonal_affine
from lucency.read import load

DATA = Path(os.environ.get("LUCENCY_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "pyradiomics"


class Published:
    """Feature tables that another program made, with the settings of each column, and its images."""

    @staticmethod
    @cache
    def table(kind):
        """Row name to column name to text."""
        with (DATA / "baseline" / f"baseline_{kind}.csv").open(newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}

    def columns(self, kind, case):
        """Column name to (parameters, feature name to number)."""
        table = self.table(kind)
        names = [n for n in table["diagnostics_Configuration_Settings"] if n.split("_")[0] == case]
        return {
            n: (
                ast.literal_eval(table["diagnostics_Configuration_Settings"][n]),
                {row: float(each[n]) for row, each in table.items() if row.startswith("original_")},
            )
            for n in names
        }

    @staticmethod
    @cache
    def pair(case):
        """Image and mask of a case."""
        image, mask = f"{case}_image.nrrd", f"{case}_label.nrrd"
        return load(Source((image,), str(DATA), "itk")), load(Source((mask,), str(DATA), "itk", kind="labels"))

    def slice_of(self, column, mask):
        """The mask's one slice that a 2-D column was made of, by the column's own bounding box (i, j, k, sizes)."""
        k = ast.literal_eval(self.table("shape2D")["diagnostics_Mask-corrected_BoundingBox"][column])[2]
        only = np.zeros_like(mask.array)
        only[:, k] = mask.array[:, k]
        return mask.with_array(only)


@pytest.fixture(scope="session")
def published():
    if not (DATA / "baseline").exists():
        pytest.skip("real data 'pyradiomics' are not here; set LUCENCY_TEST_DATA")
    return Published()


@pytest.fixture
def pair():
    """Make an image and a mask of the same grid from levels; 0 is outside unless a mask is given."""

    def made(values, mask=None, spacing=(1.0, 1.0, 1.0)):
        values = np.asarray(values)
        values = values[None] if values.ndim == 2 else values
        mask = values != 0 if mask is None else np.asarray(mask).reshape(values.shape)
        affine = diagonal_affine(spacing)
        return Image(values[None], affine), Image(mask[None].astype(np.uint8), affine, kind="labels")

    return made


@pytest.fixture
def blob(pair):
    """Make a smooth, lopsided region over smooth noise: no voxels of it meet at an edge or a corner only."""

    def made(seed=0, size=(14, 17, 20), spacing=(2.0, 0.8, 1.1)):
        from scipy.ndimage import gaussian_filter

        rng = np.random.default_rng(seed)
        k, j, i = np.indices(size)
        middle = (np.array(size) - 1) / 2
        away = ((k - middle[0]) / 5) ** 2 + ((j - middle[1]) / 6) ** 2 + ((i - middle[2]) / 8) ** 2
        mask = away + 0.02 * (i - middle[2]) < 1
        values = 200 * gaussian_filter(rng.normal(size=size), 0.8)
        return pair(np.round(values).astype(np.int16), mask, spacing)

    return made

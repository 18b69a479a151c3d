"""Radiomics: numbers that describe a region of an image, by the definitions of the IBSI.

>>> import lucency
>>> found = lucency.radiomics.features(image, mask)  # doctest: +SKIP
>>> found["original_firstorder_Entropy"]  # doctest: +SKIP

The definitions are those of the Image Biomarker Standardisation Initiative (Zwanenburg 2020,
doi:10.1148/radiol.2020191145, and its reference manual, arXiv:1612.07003); the names and the few choices that it leaves
open are those of the usual tables, so that models of other people can be applied.
"""

from lucency.radiomics.measured import Measured, features, measure
from lucency.radiomics.settings import CLASSES, Settings, from_parameters
from lucency.radiomics.table import Row, table

__all__ = ["CLASSES", "Measured", "Row", "Settings", "features", "from_parameters", "measure", "table"]

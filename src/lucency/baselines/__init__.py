"""Simple models on the same cases: what a network must beat before it is worth its trouble.

Registries. ``IMAGE_BASELINES`` give class probabilities and ``NUMBER_BASELINES`` numbers from :func:`features` of an
image; ``MASK_BASELINES`` draw a mask without learning shapes; ``PICTURE_BASELINES`` make an image of others voxel by
voxel; ``BOX_BASELINES`` say where boxes were on others; ``OUTCOME_BASELINES`` give the incidence of events from
clinical columns, the region's volume or its radiomics features.
scikit-learn is imported when a model is fitted, since its import is slow.
"""

from lucency.baselines.boxes import BOX_BASELINES, BoxBaseline
from lucency.baselines.classes import IMAGE_BASELINES, ImageBaseline
from lucency.baselines.describe import features
from lucency.baselines.likeness import LIKENESSES
from lucency.baselines.masks import MASK_BASELINES, MASK_IMAGES, Band, LocationPrior, MaskBaseline, MaskModel, Threshold
from lucency.baselines.numbers import NUMBER_BASELINES, NumberBaseline
from lucency.baselines.outcomes import OUTCOME_BASELINES, OutcomeBaseline
from lucency.baselines.pictures import PICTURE_BASELINES, PictureBaseline, PictureModel, pairs_for

__all__ = [
    "BOX_BASELINES",
    "IMAGE_BASELINES",
    "LIKENESSES",
    "MASK_BASELINES",
    "MASK_IMAGES",
    "NUMBER_BASELINES",
    "OUTCOME_BASELINES",
    "PICTURE_BASELINES",
    "Band",
    "BoxBaseline",
    "ImageBaseline",
    "LocationPrior",
    "MaskBaseline",
    "MaskModel",
    "NumberBaseline",
    "OutcomeBaseline",
    "PictureBaseline",
    "PictureModel",
    "Threshold",
    "features",
    "pairs_for",
]

"""Masks as further channels of their images, -1 outside a label and 1 inside, and back again.

Source:
    Image and labels as channels of one generator: Bowles 2018 (doi 10.48550/arXiv.1810.10863).
"""

import numpy as np

from lucency.synthesize.drawn import UNKNOWN, Drawn


def with_masks(drawn: Drawn, n_labels: int) -> np.ndarray:
    """Return images with one channel more for each label, (n, C + labels, K, J, I) float32.

    What nobody annotated counts as outside of every label: the network is not to draw what is not known.

    Args:
        drawn: With masks; label 0 is the background.
        n_labels: Labels without the background.
    """
    if drawn.masks is None:
        return drawn.images
    return np.concatenate([drawn.images, channels_of(drawn.masks, n_labels)], axis=1)


def channels_of(masks: np.ndarray, n_labels: int) -> np.ndarray:
    """Return a channel for each label, (n, labels, K, J, I) float32, -1 outside of it and 1 inside.

    Args:
        masks: (n, K, J, I) label numbers.
        n_labels: Labels without the background.
    """
    inside = [np.where(masks == label, 1.0, -1.0) for label in range(1, n_labels + 1)]
    return np.stack(inside, axis=1).astype(np.float32)


def apart(images: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return images and their masks, (n, C, K, J, I) float32 and (n, K, J, I) int16; no masks without labels.

    Each voxel has the label whose channel is highest there, or none where all are below 0.

    Args:
        images: (n, C + labels, K, J, I), as :func:`with_masks` makes them.
        n_labels: Labels without the background.

    Example:
        >>> both = np.array([[0.5, -0.2], [0.3, 0.4], [-1.0, 0.9]]).reshape(1, 3, 1, 1, 2)
        >>> apart(both, 2)[1].tolist()
        [[[[1, 2]]]]
    """
    if not n_labels:
        return images, None
    drawn, channels = images[:, :-n_labels], images[:, -n_labels:]
    highest = channels.argmax(axis=1)
    labels = np.where(channels.max(axis=1) > 0, highest + 1, 0).astype(np.int16)
    return drawn, labels


def one_class(drawn: Drawn, images: np.ndarray) -> Drawn:
    """Return images as of one class, for tasks whose targets are none.

    Args:
        drawn: Whose images they are.
        images: (n, C, K, J, I), in the same order.
    """
    return Drawn(images, np.zeros(len(drawn), dtype=np.int64), drawn.patients)


def classed(drawn: Drawn) -> bool:
    """Tell whether every image has its class."""
    return bool((drawn.labels != UNKNOWN).all()) and drawn.masks is None

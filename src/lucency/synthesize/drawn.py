"""Images on the network's grid with what is known of each: real ones out of a store, or drawn by a generator."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lucency.errors import DataError, UsageError
from lucency.prepare import Store

#: Label of an image whose class is not known, or that has none.
UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Drawn:
    """Some images of one size, real or generated.

    Args:
        images: (n, C, K, J, I) float32, normalised as the plan says; K is 1 for flat images.
        labels: (n,) int, class numbers or :data:`UNKNOWN`.
        patients: (n,) str, the patient of each real image; "" for a generated one.
        masks: (n, K, J, I) int16, as the store keeps them, or None.

    Raises:
        DataError: Arrays that do not fit together, or voxels that are not finite.
    """

    images: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    masks: np.ndarray | None = None

    def __post_init__(self) -> None:
        images = np.asarray(self.images, dtype=np.float32)
        n = len(images)
        if images.ndim != 5 or not n:
            raise DataError(f"Images of shape {images.shape}", expected="(n, C, K, J, I) with one image or more")
        if not np.isfinite(images).all():
            bad = int((~np.isfinite(images.reshape(n, -1)).all(axis=1)).sum())
            raise DataError(
                f"{bad} of {n} images with voxels that are not finite", remedy="leave them out, or train anew"
            )
        labels = np.asarray(self.labels, dtype=np.int64)
        patients = np.asarray(self.patients, dtype=np.str_)
        if labels.shape != (n,) or patients.shape != (n,):
            raise DataError(f"{labels.shape} labels and {patients.shape} patients", expected=f"{n}, one for each image")
        masks = None if self.masks is None else np.asarray(self.masks, dtype=np.int16)
        if masks is not None and masks.shape != (n, *images.shape[2:]):
            raise DataError(f"Masks of shape {masks.shape}", expected=f"{(n, *images.shape[2:])}")
        for name, array in (("images", images), ("labels", labels), ("patients", patients), ("masks", masks)):
            if array is not None:
                seen = array.view()
                seen.flags.writeable = False
                object.__setattr__(self, name, seen)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def dims(self) -> int:
        """2 for flat images, 3 for volumes."""
        return 2 if self.images.shape[2] == 1 else 3

    @property
    def classes(self) -> tuple[int, ...]:
        """The class numbers that occur, ascending; :data:`UNKNOWN` is none."""
        return tuple(int(k) for k in np.unique(self.labels) if k != UNKNOWN)

    @property
    def counts(self) -> dict[int, int]:
        """Images of each class that occurs."""
        return {k: int((self.labels == k).sum()) for k in self.classes}

    @property
    def people(self) -> np.ndarray:
        """(n,) str, the patient of each image; an image without one counts as its own."""
        alone = np.array([f"image {n}" for n in range(len(self))])
        return np.where(self.patients == "", alone, self.patients)

    @property
    def digest(self) -> str:
        """SHA-256 over everything, hexadecimal."""
        state = hashlib.sha256(repr(self.images.shape).encode())
        for array in (self.images, self.labels, self.masks):
            state.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        state.update("\0".join(self.patients.tolist()).encode())
        return state.hexdigest()

    def take(self, rows: "np.ndarray | Sequence[int]") -> "Drawn":
        """Return the images of these rows, in their order; a row may occur twice.

        Args:
            rows: Whole numbers, or (n,) bool.

        Raises:
            DataError: None is left.
        """
        at = np.asarray(rows)
        at = np.flatnonzero(at) if at.dtype == bool else at.astype(np.int64)
        masks = None if self.masks is None else self.masks[at]
        return Drawn(self.images[at], self.labels[at], self.patients[at], masks)

    def of_class(self, number: int) -> "Drawn":
        """Return the images of one class.

        Raises:
            DataError: There is none.
        """
        return self.take(self.labels == number)

    def nameless(self) -> "Drawn":
        """Return the same images as if a generator had drawn them: of no patient."""
        return replace(self, patients=np.full(len(self), ""))


def joined(parts: Sequence[Drawn]) -> Drawn:
    """Return several as one, one behind the other; masks only where all have them.

    Raises:
        UsageError: None given, or images of unlike sizes.
    """
    if not parts:
        raise UsageError("No images to join")
    if len({p.images.shape[1:] for p in parts}) > 1:
        sizes = ", ".join(sorted({str(p.images.shape[1:]) for p in parts}))
        raise UsageError(f"Images of {sizes}", expected="one size", remedy="bring them onto one grid first")
    masks = [p.masks for p in parts if p.masks is not None]
    return Drawn(
        np.concatenate([p.images for p in parts]),
        np.concatenate([p.labels for p in parts]),
        np.concatenate([p.patients for p in parts]),
        np.concatenate(masks) if len(masks) == len(parts) else None,
    )


def drawn_of(store: Store, ids: Sequence[str], patients: Sequence[str], *, classed: bool = True) -> Drawn:
    """Return prepared cases as arrays.

    Args:
        store: Prepared cases.
        ids: Which of them.
        patients: Of each.
        classed: The targets are class numbers; else no label is taken from them.

    Raises:
        DataError: No case, or cases of unlike sizes.
    """
    if not ids:
        raise DataError("No case", expected="one or more", remedy="label more cases")
    entries = [store.entries[i] for i in ids]
    sizes = {e.shape for e in entries}
    if len(sizes) > 1:
        raise DataError(
            f"Prepared images of {len(sizes)} sizes",
            expected="one size, as generators make them",
            remedy="make the plan with a grid of one size",
        )
    labels = [e.target if classed and np.isfinite(e.target) and not e.vector else UNKNOWN for e in entries]
    masks = np.stack([store.mask(i) for i in ids]) if any(e.mask_at >= 0 for e in entries) else None
    images = np.stack([store.image(i) for i in ids]).astype(np.float32)
    return Drawn(images, np.array(labels).astype(np.int64), np.array(list(patients)), masks)

"""What a training part is like, in numbers only."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from lucency.mirror import Mirror
from lucency.profile.sums import Summary, merged, rank

PerAxis = tuple[Mapping[int, int], Mapping[int, int], Mapping[int, int]]


@dataclass(frozen=True)
class Profile:
    """The fingerprint of a training part. Axes are k, j, i after :func:`lucency.image.reorient`.

    Args:
        n_cases: Labelled training cases.
        n_patients: Their patients.
        n_unlabelled: Further cases without a label.
        modalities: Name to number of cases that have it.
        dicom_modalities: DICOM Modality (CT, MR, CR …) to number of images, where the files say it.
        units: Unit of the intensities to number of images.
        dtypes: Stored type to number of images.
        scales: Modality to what its numbers count in, the unit or else the stored type, to number of images.
        channels: Channels of a case, all modalities together, to number of cases.
        dims: 2 or 3 to number of cases.
        sizes: Per axis, voxels to number of cases.
        spacings: Per axis, mm; of the cases whose files give it.
        spacing_known: Number of those cases.
        extents: Per axis, mm; of the same cases.
        k_axes: What runs along k (``"space"``, ``"time"``; ``"visit"`` for a patient's visits) to number of cases.
        voxels: Voxels of a case's grid.
        intensity: Modality to a summary per channel, of all voxels, in stored units.
        body: The same without the background: the lowest value, where 5 % of the voxels hold it.
        labelled: The same of the voxels under any label; empty without masks.
        missing: Fact to number of cases that lack it.
        class_counts: Class to number of cases; every class of the cohort. Of several labels, those that are there.
        class_known: Of several labels, each to the number of cases of which it is known.
        values: Numbers to predict.
        outcomes: Kind of event (``"0"`` none: last seen) to its times, in days.
        label_cases: Mask value to number of cases that hold it; every label of the cohort.
        label_voxels: Mask value to number of voxels.
        label_mm3: Mask value to sum of volumes.
        label_extents: Mask value to bounding box, per axis, voxels to number of cases.
        mirrors: Group to axis ("k", "j", "i") to how far images differ from their mirror images. A group is a class
            (within it, so that a flip that turns one class into another does not look safe), "" without classes,
            and "labels" for the masks.
        box_counts: Boxes on an image to number of images.
        box_shapes: Sides of a box along k, j, i as quarter octaves of the image's longest side (``"-40,-7,-6"``; see
            :mod:`lucency.profile.boxes`) to number of boxes.
        box_places: Class to where the middle of its boxes lies along k, j, i, as a share of the image.
        n_masks: Number of masks.
        n_empty_masks: Number of masks without any label.
    """

    n_cases: int = 0
    n_patients: int = 0
    n_unlabelled: int = 0
    modalities: Mapping[str, int] = field(default_factory=dict)
    dicom_modalities: Mapping[str, int] = field(default_factory=dict)
    units: Mapping[str, int] = field(default_factory=dict)
    dtypes: Mapping[str, int] = field(default_factory=dict)
    scales: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    channels: Mapping[int, int] = field(default_factory=dict)
    dims: Mapping[int, int] = field(default_factory=dict)
    sizes: PerAxis = ({}, {}, {})
    spacings: tuple[Summary, Summary, Summary] = (Summary(), Summary(), Summary())
    spacing_known: int = 0
    extents: tuple[Summary, Summary, Summary] = (Summary(), Summary(), Summary())
    k_axes: Mapping[str, int] = field(default_factory=dict)
    voxels: Summary = field(default_factory=Summary)
    intensity: Mapping[str, tuple[Summary, ...]] = field(default_factory=dict)
    body: Mapping[str, tuple[Summary, ...]] = field(default_factory=dict)
    labelled: Mapping[str, tuple[Summary, ...]] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    class_counts: Mapping[str, int] = field(default_factory=dict)
    class_known: Mapping[str, int] = field(default_factory=dict)
    values: Summary = field(default_factory=Summary)
    outcomes: Mapping[str, Summary] = field(default_factory=dict)
    label_cases: Mapping[int, int] = field(default_factory=dict)
    label_voxels: Mapping[int, int] = field(default_factory=dict)
    label_mm3: Mapping[int, float] = field(default_factory=dict)
    label_extents: Mapping[int, PerAxis] = field(default_factory=dict)
    mirrors: Mapping[str, Mapping[str, Mirror]] = field(default_factory=dict)
    box_counts: Mapping[int, int] = field(default_factory=dict)
    box_shapes: Mapping[str, int] = field(default_factory=dict)
    box_places: Mapping[str, tuple[Summary, ...]] = field(default_factory=dict)
    n_masks: int = 0
    n_empty_masks: int = 0

    def merge(self, other: "Profile") -> "Profile":
        """Return the profile of the union of two sets of cases that share no patient."""
        return Profile(**{f.name: merged(getattr(self, f.name), getattr(other, f.name)) for f in _FIELDS})

    def size_percentile(self, q: float) -> tuple[int, int, int]:
        """(K, J, I) in voxels that ``q`` per cent (0 to 100) of the cases do not exceed, axis by axis; exact."""
        k, j, i = (rank(axis, q) for axis in self.sizes)
        return k, j, i

    def median_size(self) -> tuple[int, int, int]:
        """(K, J, I) in voxels."""
        return self.size_percentile(50)

    def spacing_percentile(self, q: float) -> tuple[float, float, float]:
        """(k, j, i) in mm that ``q`` per cent (0 to 100) of the cases do not exceed; 1 mm where none is known."""
        k, j, i = (axis.percentile(q) if axis.count else 1.0 for axis in self.spacings)
        return k, j, i

    def median_spacing(self) -> tuple[float, float, float]:
        """(k, j, i) in mm."""
        return self.spacing_percentile(50)

    def mirror_separability(self, axis: str) -> float:
        """AUC of telling mirror images along ``axis`` from originals, where it is easiest; 1 if unknown."""
        found = [axes[axis].separability for axes in self.mirrors.values() if axis in axes]
        return max(found, default=1.0)


_FIELDS = dataclasses.fields(Profile)

"""Arrays on the network's grid, and the way back. Whatever is done to an image here is undone here."""

import hashlib
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from lucency.case import Case, Cohort, Source
from lucency.errors import DataError, OutputError
from lucency.events import Events
from lucency.image import Image, Orientation, orientation_of
from lucency.losses import IGNORE
from lucency.plan import Plan
from lucency.read import load
from lucency.record import from_json, to_json, write_text

#: Percentiles between which an image's own mean and deviation are taken; outliers (metal, hot pixels) stay out.
ROBUST = (0.5, 99.5)

#: Normalised values beyond this carry no contrast and would spoil half precision.
CLIP = 10.0

#: Voxels read for an image's own percentiles; more changes them by less than 1 %.
SAMPLE = 200_000

#: A stack that leans by less than this over its whole height, in pixels, stands upright.
UPRIGHT = 0.05


@dataclass(frozen=True)
class Place:
    """What is needed to bring an array from the network's grid back to the source's.

    Args:
        turn: From the source's axes to k, j, i.
        source_size: (K, J, I) of the source, in its own order.
        scaled: (K, J, I) after turning and scaling.
        start: (k, j, i) where the scaled image begins in the frame; 0 without a frame.
        frame: (K, J, I) of the prepared array.
        lean: (j, i) pixels by which each slice of the source is shifted against the one before it (gantry tilt); the
            source is set upright before it is turned and scaled.
    """

    turn: Orientation
    source_size: tuple[int, int, int]
    scaled: tuple[int, int, int]
    start: tuple[int, int, int]
    frame: tuple[int, int, int]
    lean: tuple[float, float] = (0.0, 0.0)

    @property
    def upright_size(self) -> tuple[int, int, int]:
        """(K, J, I) of the source once it stands upright: as wide as all its slices beside each other."""
        k, j, i = self.source_size
        return k, j + _overhang(self.lean[0], k), i + _overhang(self.lean[1], k)


def _overhang(lean: float, n_slices: int) -> int:
    # A hundredth of a pixel is rounding: an image and its mask must come to the same size.
    return max(0, math.ceil(abs(lean) * (n_slices - 1) - 0.01))


@dataclass(frozen=True, eq=False)
class Prepared:
    """One case on the network's grid.

    Args:
        array: (C, K, J, I) float32, normalised.
        place: The way back.
        affine: (4, 4) of the source, mm.
    """

    array: np.ndarray
    place: Place
    affine: np.ndarray


def place_of(image: Image, plan: Plan) -> Place:
    """Decide where the image comes to lie on the plan's grid."""
    affine, lean = upright_of(image)
    bare = Place(Orientation((0, 1, 2), (False, False, False)), image.size, image.size, (0, 0, 0), image.size, lean)
    turn = orientation_of(affine) if plan.dims == 3 else bare.turn
    size = [bare.upright_size[a] for a in turn.order]
    spacing = [float(np.linalg.norm(affine[:3, a])) for a in turn.order]
    if plan.grid.mode == "spacing":
        target = plan.grid.spacing
        scaled = [_whole(n * s / t) for n, s, t in zip(size, spacing, target, strict=True)]
        if plan.dims == 2:
            scaled[0] = 1
        frame, start = scaled, [0, 0, 0]
    else:
        frame = list(plan.grid.size)
        axes = range(3) if plan.dims == 3 else range(1, 3)
        step = max(size[a] * spacing[a] / frame[a] for a in axes)
        scaled = [min(frame[a], _whole(size[a] * spacing[a] / step)) if a in axes else 1 for a in range(3)]
        start = [(f - s) // 2 for f, s in zip(frame, scaled, strict=True)]
    return Place(turn, image.size, _triple(scaled), _triple(start), _triple(frame), lean)


def upright_of(image: Image) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the affine of a sheared stack set upright, and by how many pixels each of its slices is shifted.

    Args:
        image: Its rows and columns are at right angles; slices may be shifted against each other (gantry tilt).

    Returns:
        (4, 4) mm, LPS, with column k along the slice normal, and (j, i) pixels; the image's own affine and zeros
        where it stands upright.
    """
    normal = np.cross(image.affine[:3, 2], image.affine[:3, 1])
    normal = normal / np.linalg.norm(normal)
    gap = float(image.affine[:3, 0] @ normal)
    # In pixels: where the foot of the next slice lies in the plane of this one.
    inside = np.linalg.lstsq(image.affine[:3, 1:3], image.affine[:3, 0] - gap * normal, rcond=None)[0]
    if image.k_axis == "time" or np.abs(inside).max() * (image.size[0] - 1) <= UPRIGHT:
        return image.affine, (0.0, 0.0)
    lean = round(float(inside[0]), 6), round(float(inside[1]), 6)
    affine = image.affine.copy()
    affine[:3, 0] = gap * normal
    for axis, shift in ((1, lean[0]), (2, lean[1])):
        affine[:3, 3] -= affine[:3, axis] * _start(shift, image.size[0])
    return affine, lean


def _start(lean: float, n_slices: int) -> float:
    """Return where slice 0 begins in the upright grid, in pixels."""
    return max(0.0, -lean * (n_slices - 1))


def set_upright(array: np.ndarray, place: Place) -> np.ndarray:
    """Shift the slices of a leaning stack beside each other onto a rectangular grid.

    Args:
        array: (C, K, J, I) of the source. Floats are interpolated and go on beyond their edge; integers are labels,
            taken from the nearest pixel with background beside them.
        place: Of the source.

    Returns:
        (C, K, J, I) with ``place.upright_size``; the array itself where nothing leans.
    """
    return _sheared(array, place, place.upright_size, back=False)


def lean_back(array: np.ndarray, place: Place) -> np.ndarray:
    """Undo :func:`set_upright`: every slice is again where the scanner took it, (C, K, J, I) of the source."""
    return _sheared(array, place, place.source_size, back=True)


def _sheared(array: np.ndarray, place: Place, size: tuple[int, int, int], *, back: bool) -> np.ndarray:
    if place.lean == (0.0, 0.0):
        return array
    n_slices = size[0]
    made = np.zeros((len(array), *size), dtype=array.dtype)
    for k in range(n_slices):
        plane = array[:, k]
        for axis, lean in enumerate(place.lean, start=1):
            shift = _start(lean, n_slices) + lean * k
            plane = _shifted(plane, shift if back else -shift, axis, size[axis])
        made[:, k] = plane
    return made


def _shifted(plane: np.ndarray, by: float, axis: int, size: int) -> np.ndarray:
    """Return ``size`` rows or columns of (C, J, I), the first of them at ``by`` pixels of the plane."""
    last = plane.shape[axis] - 1
    at = np.arange(size) + by
    if plane.dtype.kind in "iu":
        nearest = np.floor(at + 0.5).astype(int)
        inside = (nearest >= 0) & (nearest <= last)
        taken = plane.take(np.clip(nearest, 0, last), axis)
        return np.asarray(taken * inside.reshape([-1 if a == axis else 1 for a in range(3)]).astype(plane.dtype))
    at = np.clip(at, 0, last)
    below = np.minimum(at.astype(int), max(0, last - 1))
    part = (at - below).astype(plane.dtype).reshape([-1 if a == axis else 1 for a in range(3)])
    return np.asarray(plane.take(below, axis) * (1 - part) + plane.take(np.minimum(below + 1, last), axis) * part)


def _whole(length: float) -> int:
    """Return a length as voxels, at least one.

    Just above the half is rounded down: an image and its mask whose headers differ in the seventh digit must come
    to the same size, and exact halves are common (a 0.5 mm image on a 1 mm grid).
    """
    return max(1, math.ceil(length - 0.501))


def _triple(values: Sequence[int]) -> tuple[int, int, int]:
    k, j, i = values
    return int(k), int(j), int(i)


def prepare_image(images: Sequence[Image], plan: Plan) -> Prepared:
    """Bring the images of a case (one per modality, on one grid) onto the network's grid.

    Raises:
        DataError: Channel count or grid does not fit the plan.
    """
    first = images[0]
    for other in images[1:]:
        if not first.same_grid(other):
            raise DataError(
                f"Modalities of one case on different grids ({first.size} and {other.size})",
                expected="images of one case registered and resampled to one grid",
            )
    array = np.concatenate([i.array for i in images], axis=0) if len(images) > 1 else first.array
    if array.shape[0] != plan.channels:
        raise DataError(
            f"{array.shape[0]} channels", expected=f"{plan.channels}, as in training", remedy="convert the image first"
        )
    if plan.dims == 2 and first.size[0] != 1:
        raise DataError(
            f"A volume of {first.size[0]} slices",
            expected="single images, as in training",
            remedy="give single images, or use a model trained on volumes",
        )
    if plan.dims == 3 and first.size[0] == 1 and min(plan.patch) > 1:
        raise DataError(
            "A single image",
            expected="volumes, as in training",
            remedy="give the whole series, or use a model trained on single images",
        )
    place = place_of(first, plan)
    normal = set_upright(normalise(array.astype(np.float32), plan), place)
    scaled = resize(torch.from_numpy(np.ascontiguousarray(place.turn.apply(normal))), place.scaled)
    return Prepared(_framed(scaled, place, edge=True).numpy(), place, first.affine)


def prepare_labels(mask: Image, plan: Plan) -> np.ndarray:
    """Bring a mask onto the network's grid.

    Returns:
        (K, J, I) int16: 0 background, 1..L in the order of ``plan.labels``, IGNORE where not annotated.
    """
    place = place_of(mask, plan)
    index = np.full(mask.size, 0, dtype=np.int16)
    for number, value in enumerate(sorted(plan.labels), start=1):
        index[mask.array[0] == value] = number
    if plan.ignore is not None:
        index[mask.array[0] == plan.ignore] = IGNORE
    turned = np.ascontiguousarray(place.turn.apply(set_upright(index[None], place)[0]))
    if turned.shape == place.scaled:
        scaled = torch.from_numpy(turned)
    elif len(plan.labels) <= 8:
        # Each label's share of the new voxel decides: smoother than the nearest voxel, and unbiased.
        values = [IGNORE, *range(len(plan.labels) + 1)] if plan.ignore is not None else range(len(plan.labels) + 1)
        shares = [_share(turned == v, place.scaled) for v in values]
        winner = torch.stack(shares).argmax(dim=0)
        scaled = torch.tensor(list(values), dtype=torch.int16)[winner]
    else:
        scaled = functional.interpolate(
            torch.from_numpy(turned)[None, None].float(), size=place.scaled, mode="nearest-exact"
        )[0, 0].short()
    return _framed(scaled[None], place, edge=False)[0].numpy()


def _share(inside: np.ndarray, size: tuple[int, int, int]) -> torch.Tensor:
    """Return the share of each new voxel that lies inside; means over the voxel itself where the grid gets coarser.

    The wider filter that suits intensities would shrink small structures: 10 to 24 % of the volume of balls of two to
    four voxels.
    """
    flat = inside.astype(np.float32)
    if not all(new <= old for new, old in zip(size, inside.shape, strict=True)):
        return resize(torch.from_numpy(flat)[None], size)[0]
    for axis, new in enumerate(size):
        old = flat.shape[axis]
        if new == old:
            continue
        # Means over new voxels, those cut by a border by their share: differences of the running sum at the borders.
        running = np.concatenate([np.zeros_like(flat.take([0], axis)), flat.cumsum(axis)], axis=axis)
        borders = np.arange(new + 1) * (old / new)
        below = np.minimum(borders.astype(int), old - 1)
        part = (borders - below).reshape([-1 if a == axis else 1 for a in range(3)])
        at = running.take(below, axis) * (1 - part) + running.take(below + 1, axis) * part
        flat = np.diff(at, axis=axis) * (new / old)
    return torch.from_numpy(flat.astype(np.float32))


def restore(array: np.ndarray, place: Place) -> np.ndarray:
    """Bring (L, K, J, I) from the network's grid back to the source's own grid and axis order."""
    window = tuple(slice(a, a + n) for a, n in zip(place.start, place.scaled, strict=True))
    inner = torch.from_numpy(np.ascontiguousarray(array[(slice(None), *window)], dtype=np.float32))
    turned_size = _triple([place.upright_size[a] for a in place.turn.order])
    upright = place.turn.undo(resize(inner, turned_size).numpy())
    return np.ascontiguousarray(lean_back(upright, place))


def _framed(array: torch.Tensor, place: Place, *, edge: bool) -> torch.Tensor:
    """Put (C, K, J, I) into its frame: edge values around images, background around masks."""
    if place.frame == place.scaled:
        return array
    pads: list[int] = []
    for axis in (2, 1, 0):
        before = place.start[axis]
        pads += [before, place.frame[axis] - place.scaled[axis] - before]
    if edge:
        return functional.pad(array[None], pads, mode="replicate")[0]
    return functional.pad(array, pads)


def resize(array: torch.Tensor, size: tuple[int, int, int]) -> torch.Tensor:
    """Scale (C, K, J, I) float to ``size``, linear, with a low-pass where it shrinks; voxel edges stay in place."""
    c, k, j, i = array.shape
    if (j, i) != size[1:]:
        array = functional.interpolate(array, size=size[1:], mode="bilinear", antialias=True, align_corners=False)
    if k != size[0]:
        flat = array.reshape(1, c, k, -1)
        flat = functional.interpolate(
            flat, size=(size[0], flat.shape[3]), mode="bilinear", antialias=True, align_corners=False
        )
        array = flat.reshape(c, *size)
    return array


def normalise(array: np.ndarray, plan: Plan) -> np.ndarray:
    """Return (C, K, J, I) float32 as the plan's normalisation says."""
    how = plan.normalisation
    out = np.empty(array.shape, dtype=np.float32)
    for number, channel in enumerate(array):
        if how.kind == "fixed":
            clipped = np.clip(channel, how.lower[number], how.upper[number])
            mean, std = how.mean[number], how.std[number]
        else:
            flat = channel.reshape(-1)
            sample = flat[:: max(1, flat.size // SAMPLE)]
            low, high = np.percentile(sample, ROBUST)
            clipped = np.clip(channel, low, high)
            mean, std = float(clipped.mean(dtype=np.float64)), float(clipped.std(dtype=np.float64))
        out[number] = np.clip((clipped - mean) / max(std, 1e-6), -CLIP, CLIP)
    return out


# --- the store: every prepared case of a run in two flat files -----------------------------------------------------

TargetOf = Callable[[Case, Plan], "np.ndarray | int | float | None"]


@dataclass(frozen=True)
class Entry:
    """Where one case lies in the store.

    Args:
        case: Case id.
        shape: (C, K, J, I).
        image_at: First value in ``images.bin``.
        mask_at: First value in ``masks.bin``; -1 without a mask.
        target: Class index or number; NaN for masks.
        place: The way back.
        affine: 16 numbers, row by row.
    """

    case: str
    shape: tuple[int, int, int, int]
    image_at: int
    mask_at: int
    target: float
    place: Place
    affine: tuple[float, ...]


class Store:
    """Prepared cases in two flat files (float16 images, int16 masks), read through memory maps.

    Args:
        folder: ``prepared/<digest>``; may be deleted any time, the next run makes it anew.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        lines = (
            (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
            if (folder / "index.jsonl").exists()
            else []
        )
        self.entries: dict[str, Entry] = {}
        for line in lines:
            try:
                entry = from_json(Entry, json.loads(line), "index.jsonl")
            except json.JSONDecodeError:
                break  # cut off by a crash; everything before it is whole
            self.entries[entry.case] = entry
        self._images = self._map("images.bin", np.float16)
        self._masks = self._map("masks.bin", np.int16)
        # A line may outlive a power cut that its arrays did not.
        self.entries = {c: e for c, e in self.entries.items() if self._holds(e)}

    def _map(self, name: str, kind: type[np.generic]) -> np.ndarray:
        path = self.folder / name
        if not path.exists() or path.stat().st_size == 0:
            return np.zeros(0, dtype=kind)
        # A crash may have cut the last number in two.
        return np.memmap(path, dtype=kind, mode="r", shape=(path.stat().st_size // np.dtype(kind).itemsize,))

    def _holds(self, entry: Entry) -> bool:
        """Tell whether the arrays reach as far as the entry says."""
        image, mask = int(np.prod(entry.shape)), int(np.prod(entry.shape[1:]))
        return (
            entry.image_at + image <= self._images.size
            and entry.mask_at + mask * (entry.mask_at >= 0) <= self._masks.size
        )

    def image(self, case: str) -> np.ndarray:
        """(C, K, J, I) float16."""
        entry = self.entries[case]
        return self._images[entry.image_at : entry.image_at + int(np.prod(entry.shape))].reshape(entry.shape)

    def mask(self, case: str) -> np.ndarray:
        """(K, J, I) int16."""
        entry = self.entries[case]
        size = entry.shape[1:]
        return self._masks[entry.mask_at : entry.mask_at + int(np.prod(size))].reshape(size)

    def target(self, case: str) -> float:
        """Class index or number."""
        return self.entries[case].target

    def prepared(self, case: str) -> Prepared:
        """The case as :func:`prepare_image` gave it, at float16 precision."""
        entry = self.entries[case]
        affine = np.array(entry.affine).reshape(4, 4)
        return Prepared(self.image(case).astype(np.float32), entry.place, affine)

    @property
    def mebibytes(self) -> float:
        """Size of the arrays in MiB."""
        return (self._images.nbytes + self._masks.nbytes) / 2**20


def images_of(case: Case, plan: Plan, nan: float | None) -> list[Image]:
    """Load the images of a case in the plan's channel order.

    Raises:
        DataError: The case lacks a modality that the plan names.
    """
    lacking = [m for m in plan.modalities if m not in case.images]
    if lacking and len(plan.modalities) == len(case.images) == 1:
        return [load(next(iter(case.images.values()))[0], nan=nan)]
    if lacking:
        raise DataError(f"Modality {', '.join(lacking)} is missing", expected=", ".join(plan.modalities), where=case.id)
    return [load(case.images[m][0], nan=nan) for m in plan.modalities]


def digest_of(cohort: Cohort, plan: Plan) -> str:
    """Return the name of the store: it changes with the data and with what the grid depends on."""
    state = [
        cohort.digest,
        to_json(plan.grid),
        to_json(plan.normalisation),
        plan.dims,
        sorted(plan.labels),
        plan.ignore,
    ]
    state += [list(plan.classes), list(plan.modalities), plan.task, plan.task_options.get("nan")]
    return hashlib.sha256(json.dumps(state, default=str).encode()).hexdigest()[:16]


def prepare(
    cohort: Cohort, plan: Plan, target: TargetOf, folder: Path, *, workers: int = 1, events: Events | None = None
) -> Store:
    """Prepare every labelled case of the cohort; what an interrupted call left whole is kept.

    Args:
        cohort: After ``inspect``.
        plan: Its grid and normalisation are used.
        target: The task's own ``target``.
        folder: ``RUN/prepared``.
        workers: Threads that decode and resample.
        events: Progress.

    Raises:
        OutputError: The disk is full.
        DataError: A case does not fit the plan; the message names it.
    """
    store_folder = folder / digest_of(cohort, plan)
    store_folder.mkdir(parents=True, exist_ok=True)
    before = Store(store_folder)
    done = before.entries
    image_at = max((e.image_at + int(np.prod(e.shape)) for e in done.values()), default=0)
    mask_at = max((e.mask_at + int(np.prod(e.shape[1:])) for e in done.values() if e.mask_at >= 0), default=0)
    todo = [c for c in (*cohort.trainable, *cohort.locked_cases) if c.id not in done]
    if not todo:
        return before
    # Written anew: behind a line that a crash cut off, nothing could be appended.
    del before
    write_text(store_folder / "index.jsonl", "".join(json.dumps(to_json(e)) + "\n" for e in done.values()))
    nan = plan.task_options.get("nan")
    fill = float(nan) if isinstance(nan, int | float) else None

    def work(case: Case) -> tuple[Case, Prepared, "np.ndarray | int | float | None"]:
        try:
            image, learned = prepare_image(images_of(case, plan, fill), plan), target(case, plan)
            if isinstance(learned, np.ndarray) and learned.shape != image.array.shape[1:]:
                raise DataError(
                    f"On the network's grid the mask is {learned.shape} and the image {image.array.shape[1:]}",
                    expected="a mask on the grid of its image",
                    remedy="resample the mask to the image, or export both again",
                )
            return case, image, learned
        except DataError as error:
            raise type(error)(
                error.found, expected=error.expected, where=error.where or case.id, remedy=error.remedy
            ) from error

    try:
        with (
            (store_folder / "images.bin").open("r+b" if done else "wb") as image_file,
            (store_folder / "masks.bin").open("r+b" if done else "wb") as mask_file,
            (store_folder / "index.jsonl").open("a", encoding="utf-8") as index_file,
        ):
            image_file.seek(image_at * 2)
            mask_file.seek(mask_at * 2)
            for number, (case, prepared, learned) in enumerate(_in_order(work, todo, workers), start=1):
                image_file.write(prepared.array.astype(np.float16).tobytes())
                is_mask = isinstance(learned, np.ndarray)
                if isinstance(learned, np.ndarray):
                    mask_file.write(learned.astype(np.int16).tobytes())
                entry = Entry(
                    case=case.id,
                    shape=tuple(prepared.array.shape),
                    image_at=image_at,
                    mask_at=mask_at if is_mask else -1,
                    target=float("nan") if isinstance(learned, np.ndarray) or learned is None else float(learned),
                    place=prepared.place,
                    affine=tuple(float(v) for v in prepared.affine.reshape(-1)),
                )
                image_at += prepared.array.size
                mask_at += prepared.array[0].size if is_mask else 0
                # Arrays first, then the index line that vouches for them.
                image_file.flush()
                mask_file.flush()
                index_file.write(json.dumps(to_json(entry)) + "\n")
                index_file.flush()
                if events is not None and (number % max(1, len(todo) // 20) == 0 or number == len(todo)):
                    events.emit("prepare", "progress", done=number, of=len(todo))
    except OSError as error:
        raise OutputError(
            f"Cannot write prepared arrays ({error.strerror})", where=folder.name, remedy="free space, then run again"
        ) from error
    return Store(store_folder)


def _in_order(
    work: Callable[[Case], tuple[Case, Prepared, "np.ndarray | int | float | None"]],
    cases: Sequence[Case],
    workers: int,
) -> Iterable[tuple[Case, Prepared, "np.ndarray | int | float | None"]]:
    """Run ``work`` in threads and yield in order; at most four cases a worker are in memory."""
    if workers <= 1:
        yield from map(work, cases)
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead = 4 * workers
        waiting = deque(pool.submit(work, c) for c in cases[:ahead])
        for number in range(len(cases)):
            # A future that is still referred to would keep its arrays in memory.
            result = waiting.popleft().result()
            if number + ahead < len(cases):
                waiting.append(pool.submit(work, cases[number + ahead]))
            yield result


def label_source(case: Case) -> Source:
    """Return the case's mask.

    Raises:
        DataError: The target is not a mask.
    """
    if not isinstance(case.target, Source):
        raise DataError("The target is not a mask", where=case.id, remedy="choose another --task or --target")
    return case.target

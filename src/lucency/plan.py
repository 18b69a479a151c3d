"""Every decision with its reason, in words and numbers; a person may edit the file, only here."""

import difflib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from lucency.columns import Column
from lucency.errors import UsageError

Option = str | float | int | bool | tuple[float, ...]

#: What stands for a number that is not there.
Default = TypeVar("Default", float, None)


def number_of(options: Mapping[str, Option], key: str, default: Default) -> float | Default:
    """Return an option as a number; ``default`` where it is absent or none.

    Example:
        >>> number_of({"l1": 20, "slices": "2d"}, "l1", 1.0), number_of({"slices": "2d"}, "slices", None)
        (20.0, None)
    """
    value = options.get(key)
    return float(value) if isinstance(value, int | float) else default


#: So begins the reason of a plan whose generated images have no evidence.
UNPROVEN = "USED WITHOUT EVIDENCE"

#: See :class:`Grid`.
GRID_MODES = ("spacing", "fit", "frames", "canvas")


@dataclass(frozen=True)
class Grid:
    """The network's grid.

    Args:
        mode: ``"spacing"``: every image is resampled to ``spacing``; ``"fit"``: scaled, keeping its proportions,
            to fit into ``size`` and centred there; ``"frames"``: the same within each slice or frame, and of these at
            most as many as ``size`` has, evenly taken; ``"canvas"``: resampled to ``spacing`` and centred in ``size``,
            so that what is larger in the patient is larger here.
        size: (K, J, I) voxels: the frame, or the median image on this grid for ``"spacing"``.
        spacing: (k, j, i) mm; only for ``"spacing"`` and ``"canvas"``.
    """

    mode: str
    size: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Normalisation:
    """How stored numbers become network input.

    Args:
        kind: ``"zscore"``: each image by its own mean and standard deviation; ``"fixed"``: all by the same
            ``mean`` and ``std`` after clipping to ``lower`` and ``upper`` (CT, radiographs of one device); ``"mixed"``:
            channels whose ``std`` is over 0 as ``"fixed"``, the others as ``"zscore"``.
        lower: Clip, in stored units; per channel.
        upper: Clip; per channel.
        mean: Per channel.
        std: Per channel.
    """

    kind: str
    lower: tuple[float, ...] = ()
    upper: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def is_fixed(self, channel: int) -> bool:
        """Tell whether all images of a channel are brought to the same mean and deviation."""
        return self.kind != "zscore" and self.std[channel] > 0


#: Optimiser to its usual (rate, weight decay), which go with it where nobody says otherwise: Sutskever 2013 and He 2016
#: (doi 10.1109/CVPR.2016.90) for SGD with Nesterov's momentum of .9, a batch of 32 to 128; Kingma 2015
#: (doi 10.48550/arXiv.1412.6980) for Adam, without decay, which its adaptive rates distort; Loshchilov 2019
#: (doi 10.48550/arXiv.1711.05101) for AdamW.
OPTIMISERS: Mapping[str, tuple[float, float]] = {"sgd": (0.05, 5e-4), "adam": (1e-3, 0.0), "adamw": (2e-3, 0.05)}

#: What a network's body may learn from images alone before it learns the task, and what its training may do with images
#: without a label; see docs/decisions and :mod:`lucency.train.early`, :mod:`lucency.train.teacher`.
PRETRAIN = ("none", "contrastive", "masked")
UNLABELLED = ("none", "mean-teacher", "pseudo")

#: See :class:`Schedule`. Loshchilov 2017 (doi 10.48550/arXiv.1608.03983) for the cosine.
SHAPES = ("constant", "step", "cosine", "plateau")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Args:
        steps: Optimiser steps per member.
        rate: Peak learning rate.
        weight_decay: Decoupled for AdamW, else a penalty in the gradient; norms and biases go without.
        warmup: Steps of linear warm-up; ``shape`` afterwards.
        clip: Largest gradient norm.
        ema: Decay of the exponential moving average of the weights.
        optimiser: A name of :data:`OPTIMISERS`.
        shape: Of the rate, a name of :data:`SHAPES`: ``"cosine"`` falls to 0, ``"step"`` to a tenth after half and
            again after three quarters of the steps, ``"plateau"`` whenever the training loss no longer falls,
            ``"constant"`` stays.

    Raises:
        UsageError: A name that there is not; the message gives the nearest.
    """

    steps: int
    rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup: int = 50
    clip: float = 5.0
    ema: float = 0.995
    optimiser: str = "adamw"
    shape: str = "cosine"

    def __post_init__(self) -> None:
        for name, value, known in (("optimiser", self.optimiser, OPTIMISERS), ("shape", self.shape, SHAPES)):
            if value not in known:
                near = difflib.get_close_matches(str(value), known, n=1)
                raise UsageError(
                    f"schedule.{name} = {value!r}",
                    expected=", ".join(known),
                    where="plan.json",
                    remedy=f"did you mean {near[0]!r}?" if near else "",
                )


@dataclass(frozen=True)
class Forecast:
    """What the planner expects; the report shows it beside what happened.

    Args:
        memory_mib: Peak resident memory of the process (of the device, on a GPU).
        seconds: Room to seconds.
    """

    memory_mib: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """What the computer offers, as measured.

    Args:
        cores: Usable processor cores.
        memory_mib: Memory free for this program.
        accelerator: ``"cpu"``, ``"cuda"`` or ``"mps"``.
        device_memory_mib: Memory of the accelerator, 0 without one.
        gflops: Measured dense rate in the chosen precision, 10⁹ operations a second.
        gflops_fp32: The same in fp32.
        bf16: Whether bf16 is faster here.
        name: Processor or GPU name, for the report.
    """

    cores: int
    memory_mib: float
    accelerator: str = "cpu"
    device_memory_mib: float = 0.0
    gflops: float = 50.0
    gflops_fp32: float = 50.0
    bf16: bool = False
    name: str = ""


@dataclass(frozen=True)
class Timing:
    """What a rehearsal of the plan took on this machine.

    Args:
        step_s: One training step.
        predict_s: One member's output for one case.
        score_s: Decoding and scoring one case.
        memory_mib: Peak memory so far, the rehearsal's step and prediction included.
        store_mib: Prepared arrays that training keeps at hand.
        channels_last: The faster memory layout.
    """

    step_s: float
    predict_s: float
    score_s: float
    memory_mib: float
    store_mib: float
    channels_last: bool = False


@dataclass(frozen=True)
class Needs:
    """What a task asks of the planner.

    Args:
        task: Registry name of the task that asks.
        network: Registry name of the default network.
        outputs: Channels of the head.
        dense: One output per voxel (masks) instead of one per image.
        options: Defaults of the task's own settings.
        reasons: Why, for each of them.
        sequence: The network reads slices or frames as a sequence.
        sized: The size of things may be what is asked for: images keep their scale in mm where it is known.
        classes: The targets are classes.
        controls: Names of the simpler networks that train beside the network, each for as long.
        facts: The network is told clinical columns beside the image, where there are any.
        boxes: Things are looked for: the grid shows the small ones, and boxes are moved with the image.
        members: Most members that an ensemble can use; 1 where outputs of several cannot be averaged.
        least_members: Members that are wanted even where each then makes fewer passes: few patients are judged out of
            fold, all of them or none.
        most_passes: Passes after which so few cases are only learned by heart; 0 is what recognition bears.
        narrow: Few cases say little about an image: a narrow, shallow network.
        passes: Passes over the images that the task needs at least; 0 is what recognition needs.
        least_side: Side in pixels that images may be scaled down to for that; 0 is what recognition needs.
        batch: Images in a step at least.
        pretrain: What its network's body may learn first from images alone, where most of them have no label; a name of
            :data:`PRETRAIN`.
        frame: Longest side in pixels that every image is scaled to, whole; 0 is what suits. For images beside which
            generated ones are laid: a generator makes one size.
        exact: What a number means is what is learned: images on a common scale keep it, and augmentation changes no
            intensities.
        tried: Setting of the task's own to values that are tried against its default on held-out patients, where the
            budget allows; the task's metric for that is :meth:`lucency.tasks.Task.balanced`.
    """

    task: str
    network: str
    outputs: int
    dense: bool
    options: Mapping[str, Option] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    sequence: bool = False
    sized: bool = False
    classes: bool = True
    controls: tuple[str, ...] = ()
    facts: bool = False
    boxes: bool = False
    members: int = 5
    least_members: int = 1
    most_passes: int = 0
    narrow: bool = False
    passes: int = 0
    least_side: int = 0
    batch: int = 1
    pretrain: str = "contrastive"
    exact: bool = False
    tried: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frame: int = 0


@dataclass(frozen=True)
class Plan:
    """Everything that training and prediction need to know, and why.

    Args:
        task: Registry name.
        network: Registry name.
        network_options: Arguments of the network's function (widths, depth, residual …).
        channels: Input channels.
        modalities: Names of the images of a case, in channel order.
        dims: 2 or 3.
        classes: Class names in order (classification).
        labels: Mask value to name, background left out (masks).
        ignore: Mask value that means "not annotated".
        grid: See :class:`Grid`.
        patch: (K, J, I) the network sees at once while training.
        tile: (K, J, I) the largest block the network sees at once while predicting; larger images go in tiles.
        batch: Patches or images per step.
        normalisation: See :class:`Normalisation`.
        augmentation: Transform to its strength; 0 or absent is off.
        schedule: See :class:`Schedule`.
        precision: ``"bf16"`` or ``"fp32"``.
        accelerator: ``"cpu"``, ``"cuda"``, ``"mps"``.
        channels_last: Memory layout.
        compile: Whether ``torch.compile`` repays itself.
        folds: Which folds are trained; each gives one member of the ensemble.
        tta: Axes whose mirror image is averaged at prediction: ``"k"``, ``"j"``, ``"i"``.
        seed: Of everything random.
        minutes: Budget from profile to report.
        reasons: Field name to reason; every decision has one.
        task_options: The task's own settings.
        facts: Clinical columns that the network is told beside the image.
        members: Most members that an ensemble can use.
        least_members: Members that are wanted even where each then makes fewer passes.
        most_passes: Passes that are not exceeded whatever the budget allows; 0 is what recognition bears.
        controls: Simpler network that the network is compared with to its optimiser steps; 0 until they were timed.
        start: Digest of the model whose weights training starts from; "" starts from random ones.
        synthetic: Digest of the generated images that are trained on beside the real ones; "" is none.
        pretrain: What the body learns from images alone before training, a name of :data:`PRETRAIN`.
        pretrain_steps: Optimiser steps of that for each member; 0 until one was timed.
        pretrain_share: Share of a member's training time that it may take, 0 or more and under 1.
        unlabelled: What training does with images without a label, a name of :data:`UNLABELLED`.
        made: Modalities that are made of the others: prepared for a case that has them, and not asked for later.
        forecast: See :class:`Forecast`.

    Raises:
        UsageError: A decision without a reason, or a value out of range.
    """

    task: str
    network: str
    network_options: Mapping[str, Option]
    channels: int
    modalities: tuple[str, ...]
    dims: int
    grid: Grid
    patch: tuple[int, int, int]
    batch: int
    normalisation: Normalisation
    augmentation: Mapping[str, float]
    schedule: Schedule
    precision: str
    folds: tuple[int, ...]
    seed: int
    minutes: float
    reasons: Mapping[str, str]
    classes: tuple[str, ...] = ()
    labels: Mapping[int, str] = field(default_factory=dict)
    ignore: int | None = None
    tile: tuple[int, int, int] = (0, 0, 0)
    accelerator: str = "cpu"
    channels_last: bool = False
    compile: bool = False
    tta: tuple[str, ...] = ()
    task_options: Mapping[str, Option] = field(default_factory=dict)
    facts: tuple[Column, ...] = ()
    members: int = 5
    least_members: int = 1
    most_passes: int = 0
    controls: Mapping[str, int] = field(default_factory=dict)
    start: str = ""
    synthetic: str = ""
    pretrain: str = "none"
    pretrain_steps: int = 0
    pretrain_share: float = 0.0
    unlabelled: str = "none"
    made: tuple[str, ...] = ()
    forecast: Forecast = Forecast()

    def __post_init__(self) -> None:
        for name in DECISIONS:
            if not self.reasons.get(name):
                raise UsageError(f"Decision {name!r} has no reason", where="plan.json", remedy="add it under 'reasons'")
        for name, ok, want in (
            ("batch", self.batch >= 1, "1 or more"),
            ("dims", self.dims in (2, 3), "2 or 3"),
            ("precision", self.precision in ("bf16", "fp32"), "bf16 or fp32"),
            ("folds", self.folds and all(0 <= f < 5 for f in self.folds), "at least one of 0 to 4"),
            ("schedule.steps", self.schedule.steps >= 1, "1 or more"),
            ("patch", min(self.patch) >= 1, "1 or more along k, j and i"),
            ("tta", set(self.tta) <= {"k", "j", "i"}, "of k, j and i"),
            ("normalisation.kind", self.normalisation.kind in ("zscore", "fixed", "mixed"), "zscore, fixed or mixed"),
            ("grid.mode", self.grid.mode in GRID_MODES, ", ".join(GRID_MODES)),
            ("pretrain", self.pretrain in PRETRAIN, ", ".join(PRETRAIN)),
            ("unlabelled", self.unlabelled in UNLABELLED, ", ".join(UNLABELLED)),
            ("pretrain_steps", self.pretrain_steps >= 0, "0 or more"),
            ("pretrain_share", 0 <= self.pretrain_share < 1, "0 or more and under 1"),
            ("controls", all(n >= 0 for n in self.controls.values()), "names with 0 steps or more"),
        ):
            if not ok:
                raise UsageError(f"{name} = {getattr(self, name.split('.')[0])}", expected=want, where="plan.json")

    @property
    def uses_unlabelled(self) -> bool:
        """Whether images without a label are prepared."""
        return self.pretrain != "none" or self.unlabelled != "none"

    @property
    def nan(self) -> float | None:
        """Number in the place of voxels that are none; None where images with such voxels are refused."""
        return number_of(self.task_options, "nan", None)

    @property
    def stems(self) -> tuple[int, ...]:
        """Channels of each modality, in their order; all in one where that was not said."""
        said = self.network_options.get("stems", ())
        return tuple(int(n) for n in said) if isinstance(said, tuple | list) and said else (self.channels,)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The modalities that a network is given."""
        return tuple(m for m in self.modalities if m not in self.made)

    @property
    def spares(self) -> bool:
        """Whether a case may lack a modality: the network is trained for that, or makes it."""
        dropout = bool(self.network_options.get("modality_dropout", 0.0)) or bool(self.made)
        return len(self.modalities) > 1 and len(self.stems) == len(self.modalities) and dropout

    @property
    def patterns(self) -> tuple[tuple[str, ...], ...]:
        """Choices of modalities that a report scores, all of them first; none where no case may lack one.

        Of more than :data:`ALL_PATTERNS` modalities only those that lack one and those that have one.
        """
        if not self.spares or self.made:
            return ()
        n = len(self.modalities)
        sizes = range(n, 0, -1) if n <= ALL_PATTERNS else (n, n - 1, 1)
        return tuple(c for size in sizes for c in itertools.combinations(self.modalities, size))


#: Modalities up to which every choice of them is scored: 15 of four; of five it would be 31.
ALL_PATTERNS = 4


#: Fields of a Plan that are decisions and must say why.
DECISIONS = (
    "task",
    "network",
    "grid",
    "patch",
    "batch",
    "normalisation",
    "augmentation",
    "schedule",
    "precision",
    "folds",
    "tta",
)

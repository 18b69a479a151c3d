"""Image sequences: one 2-D encoder for all frames, then a recurrent, an attending or a plain summary over them.

The frames of a volume or clip (CT and MR slices, ultrasound frames) go through the same residual network; what it says
of each frame is read in order by a GRU or LSTM in both directions. A frame without any contrast (all voxels one number)
is no frame: sequences may differ in length and may miss frames, and a sequence of one frame is a sequence.
"""

import math

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lucency.errors import UsageError
from lucency.networks import Body, network
from lucency.networks.layers import MeanPool, parse_strides, parse_widths
from lucency.networks.resnet import resnet

CELLS = ("gru", "lstm", "none")
POOLINGS = ("mean", "max", "attention")

#: Frames encoded at once outside training, so that a long clip needs no more memory than a short one.
FRAMES_AT_ONCE = 64


class Recurrent(Body):
    """A 2-D encoder over frames and a summary of the sequence, written into its coarsest map.

    The mean of the coarsest map over all places and frames is the summary of the sequence, so every head that pools by
    the mean reads it, whatever the pooling over frames; the map still shows where in which frame it comes from.

    Args:
        encoder: 2-D body.
        dims: 2 (every image is a sequence of one frame) or 3.
        steps: Frames pooled between the levels.
        order: Reads the sequence, or None.
        pooling: ``"mean"``, ``"max"`` or ``"attention"`` over the frames.
        missing: Share of the frames left out at random in training.
    """

    def __init__(
        self, encoder: Body, dims: int, steps: list[int], order: "Order | None", pooling: str, missing: float
    ) -> None:
        super().__init__()
        self.encoder, self.order, self.pooling, self.dims = encoder, order, pooling, dims
        self.channels = encoder.channels
        self.paces = [math.prod(steps[: n + 1]) for n in range(len(steps))]
        flat = encoder.strides
        self.strides = flat if dims == 2 else tuple((p, *s) for p, s in zip([1, *self.paces], flat, strict=True))
        self.attention = Attention(self.channels[-1]) if pooling == "attention" else None
        self.missing = nn.Dropout(missing)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one map a stage, (B, C, K, J, I); the last holds the summary of the sequence."""
        clip = x[:, :, None] if self.dims == 2 else x
        present = frames_present(clip)
        if self.training:
            present = self._thinned(present)
        frames = clip.transpose(1, 2)[present].contiguous(memory_format=torch.channels_last)
        size = present.shape
        maps = [self._placed(m, present) for m in self._encoded(frames)]
        paced = [_paced(m, present, p) for m, p in zip(maps, [1, *self.paces], strict=True)]
        kept = _share(present, self.paces[-1])[:, 0, :, 0, 0] > 0
        out = [*paced[:-1], self._summarised(paced[-1], kept)]
        return [m[:, :, 0] for m in out] if self.dims == 2 and size[1] == 1 else out

    def _encoded(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """Return the encoder's maps of (n, C, J, I) frames; in pieces where no gradient is wanted."""
        if self.training or len(frames) <= FRAMES_AT_ONCE:
            return self.encoder(frames)  # type: ignore[no-any-return]
        pieces = [self.encoder(piece) for piece in torch.split(frames, FRAMES_AT_ONCE)]
        return [torch.cat(level) for level in zip(*pieces, strict=True)]

    def _thinned(self, present: torch.Tensor) -> torch.Tensor:
        """Leave frames out at random, never all of a sequence."""
        kept = present & (self.missing(torch.ones_like(present, dtype=torch.float32)) > 0)
        return torch.where(kept.any(dim=1, keepdim=True), kept, present)

    def _placed(self, features: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Put (n, C, J, I) of the frames there are into (B, C, K, J, I), zeros elsewhere."""
        out = features.new_zeros(*present.shape, *features.shape[1:])
        return out.masked_scatter(present[:, :, None, None, None], features).transpose(1, 2)

    def _summarised(self, features: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        # Sums over a sequence in half precision lose what tells its frames apart.
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            vectors = features.mean(dim=(3, 4)).transpose(1, 2)
            context = self.order(vectors, present) if self.order is not None else torch.zeros_like(vectors)
            told = vectors + context
            if self.pooling == "max":
                most = told.masked_fill(~present[:, :, None], -torch.inf).amax(dim=1)
                return most[:, :, None, None, None].expand(features.shape)
            if self.attention is not None:
                weight = self.attention(told, present)
            else:
                weight = present.float() / present.sum(dim=1, keepdim=True)
            placed = features + context.transpose(1, 2)[..., None, None]
            scaled: torch.Tensor = placed * (weight * weight.shape[1])[:, None, :, None, None]
            return scaled


class Order(nn.Module):
    """Reads the frames that are there, in order, and gives each what stands before and behind it."""

    def __init__(self, cell: str, channels: int, hidden: int, *, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        kind = nn.GRU if cell == "gru" else nn.LSTM
        self.reader = kind(channels, hidden, batch_first=True, bidirectional=bidirectional)
        self.drop = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(channels)
        self.back = nn.Linear(hidden * (2 if bidirectional else 1), channels)

    def forward(self, vectors: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return (B, K, C) of (B, K, C); zeros where no frame is."""
        lengths = present.sum(dim=1)
        # The frames that are there move together, so that the reader sees no gap; a stable sort keeps their order.
        order = (~present).to(torch.uint8).argsort(dim=1, stable=True)
        wide = order[:, :, None].expand(vectors.shape)
        together = self.norm(vectors).gather(1, wide)
        packed = pack_padded_sequence(together, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.reader(packed)[0], batch_first=True, total_length=vectors.shape[1])
        said = self.back(self.drop(states))
        return torch.zeros_like(said).scatter(1, wide, said) * present[:, :, None]


class Attention(nn.Module):
    """Gated attention over frames (Ilse 2018, arXiv:1802.04712)."""

    def __init__(self, channels: int, hidden: int = 32) -> None:
        super().__init__()
        self.content, self.gate = nn.Linear(channels, hidden), nn.Linear(channels, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, vectors: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return (B, K) weights of (B, K, C) vectors; they sum to 1 over the frames that are there."""
        scores = self.score(torch.tanh(self.content(vectors)) * torch.sigmoid(self.gate(vectors)))[..., 0]
        return torch.softmax(scores.masked_fill(~present, -torch.inf), dim=1)


def frames_present(clip: torch.Tensor) -> torch.Tensor:
    """Return (B, K) bool: which frames of (B, C, K, J, I) show anything; all of them where none does."""
    flat = clip.detach().transpose(1, 2).flatten(2)
    present = flat.amax(dim=2) > flat.amin(dim=2)
    return present | ~present.any(dim=1, keepdim=True)


def _paced(features: torch.Tensor, present: torch.Tensor, pace: int) -> torch.Tensor:
    """Return the mean of each ``pace`` frames that are there, (B, C, K / pace, J, I)."""
    if pace == 1:
        return features
    pool = MeanPool((pace, 1, 1))
    paced: torch.Tensor = pool(features) / _share(present, pace).to(features.dtype).clamp_min(1e-6)
    return paced


def _share(present: torch.Tensor, pace: int) -> torch.Tensor:
    """Return which share of each ``pace`` frames is there, (B, 1, K / pace, 1, 1)."""
    shares: torch.Tensor = MeanPool((pace, 1, 1))(present[:, None, :, None, None].float())
    return shares


@network(
    "recurrent",
    doi="10.1109/CVPR.2015.7298878",
    sequence=True,
    controls={
        "mean over frames": ("recurrent", {"cell": "none", "pooling": "mean"}),
        "attention over frames": ("recurrent", {"cell": "none", "pooling": "attention"}),
        # As the planner gives volumes.
        "3-D network": ("resnet", {"widths": (8.0, 16.0, 32.0, 64.0), "depth": 14}),
    },
)
def recurrent(  # noqa: PLR0913 - the options of a network
    channels: int,
    dims: int,
    *,
    widths: tuple[float, ...] = (16, 32, 64),
    depth: int = 14,
    strides: str = "",
    residual: bool = True,
    dropout: float = 0.2,
    cell: str = "gru",
    hidden: int = 64,
    bidirectional: bool = True,
    pooling: str = "mean",
    missing: float = 0.5,
) -> Body:
    """Return a network over image sequences.

    Args:
        channels: Input channels.
        dims: 2 or 3; the frames of a sequence lie along k. In 2-D there is one frame and nothing to read in order.
        widths: Channels of each stage of the encoder.
        depth: Convolutions of the encoder, as in ``resnet``.
        strides: Downsampling between the stages; empty means 2 within the frame and none over frames.
        residual: Keep the encoder's skip connections.
        dropout: In the encoder's blocks and behind the reader.
        cell: ``"gru"``, ``"lstm"``, or ``"none"`` to pool the frames without reading their order.
        hidden: Units of the reader, in each direction.
        bidirectional: Read in both directions.
        pooling: Over the frames: ``"mean"``, ``"max"`` or ``"attention"``.
        missing: Share of the frames left out at random in training, 0 to 0.9: neighbours say nearly the same, and a
            step takes that much less time.

    Raises:
        UsageError: A cell, pooling or share that there is not.

    Source:
        Donahue 2015 (doi 10.1109/CVPR.2015.7298878); Cho 2014 (doi 10.3115/v1/D14-1179); Hochreiter 1997
        (doi 10.1162/neco.1997.9.8.1735).
    """
    for key, value, known in (("cell", cell, CELLS), ("pooling", pooling, POOLINGS)):
        if value not in known:
            raise UsageError(f"{key} {value!r}", expected=", ".join(known), where=f"network_options.{key}")
    if not 0 <= missing <= 0.9 or hidden < 1:
        raise UsageError(
            f"missing {missing}, hidden {hidden}",
            expected="a share of 0 to 0.9 and at least one unit",
            where="network_options",
        )
    whole = parse_widths(widths)
    steps = parse_strides(strides, dims, len(whole)) if strides or dims == 2 else [(1, 2, 2)] * (len(whole) - 1)
    flat = ",".join("x".join(map(str, s[-2:])) for s in steps)
    encoder = resnet(channels, 2, widths=widths, depth=depth, strides=flat, residual=residual, dropout=dropout)
    paces = [s[0] if dims == 3 else 1 for s in steps]
    order = None
    # One frame has no order: there the recurrent weights would never learn.
    if cell != "none" and dims == 3:
        order = Order(cell, whole[-1], hidden, bidirectional=bidirectional, dropout=dropout)
    return Recurrent(encoder, dims, paces, order, pooling, missing)

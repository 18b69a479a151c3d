"""Several processes that train one network: the rows of a batch are dealt, what comes of them is gathered again.

Every process draws the same numbers and forms the same loss of the whole batch; only what a network does is shared, row
by row. Norms and other layers that look over a batch look over all of it. So many processes move the weights as one
does, but for rounding, whatever the loss: pairs, logarithms and penalties of gradients included.

Gathering is differentiable: each process takes back the gradient of its rows from all of them. A loss is divided by the
number of processes, and the gradients are added up as one flat tensor after the backward pass. A wrapper that hooks
into the backward pass, as DDP does, breaks where the loss holds a gradient itself (Huang 2024, doi
10.48550/arXiv.2501.05441, whose training adds up flat gradients for that reason).
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from lucency.errors import UsageError

#: What a function of rows gives.
Rows = torch.Tensor | tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, and which of them this one is.

    Args:
        n: Processes; 1 is the ordinary case, in which nothing is dealt, gathered or awaited.
        rank: Number of this one, from 0.
    """

    n: int = 1
    rank: int = 0

    @property
    def first(self) -> bool:
        """Tell whether this process is the one that decides and writes."""
        return self.rank == 0

    def own(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows of this process, every ``n``-th one.

        Args:
            rows: (B, ...), the same in each process.

        Raises:
            UsageError: Fewer rows than processes.
        """
        if self.n == 1:
            return rows
        if len(rows) < self.n:
            raise UsageError(
                f"{len(rows)} rows of a batch for {self.n} processes",
                expected="one row or more for each",
                where="--nproc-per-node",
                remedy="start fewer processes",
            )
        return rows[self.rank :: self.n]

    def whole(self, own: torch.Tensor) -> torch.Tensor:
        """Return the rows of all processes in their order, differentiable once.

        Args:
            own: (b, ...), as :meth:`own` dealt them.
        """
        if self.n == 1:
            return own
        gathered: torch.Tensor = _Gathered.apply(own, self)  # type: ignore[no-untyped-call]
        return gathered

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes, differentiable once."""
        if self.n == 1:
            return value
        summed: torch.Tensor = _Summed.apply(value)  # type: ignore[no-untyped-call]
        return summed

    def told(self, value: float) -> float:
        """Return the first process's number in each."""
        if self.n == 1:
            return value
        number = torch.tensor([value], dtype=torch.float64)
        distributed.broadcast(number, 0)
        return float(number)

    def bring_together(self, weights: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes, as one flat tensor.

        Args:
            weights: Of a part; those without a gradient have none in any process.
        """
        if self.n == 1:
            return
        slopes = [w.grad for w in weights if w.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in slopes])
        distributed.all_reduce(flat)
        at = 0
        for slope in slopes:
            slope.copy_(flat[at : at + slope.numel()].view_as(slope))
            at += slope.numel()


def joined() -> Ranks:
    """Return the processes that this one was started with; one where it was started alone."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Ranks()
    return Ranks(distributed.get_world_size(), distributed.get_rank())


class Dealt(nn.Module):
    """A part that works on its process's rows and gives those of all; it is called as the part itself is.

    Args:
        module: The part.
        ranks: Who shares it.
    """

    def __init__(self, module: nn.Module, ranks: Ranks) -> None:
        super().__init__()
        self.module, self.ranks = module, ranks

    def forward(self, *given: torch.Tensor) -> Any:
        """Return what the part makes of all rows, (B, ...), from (B, ...) each."""
        return self.in_rows(self.module, *given)

    def in_rows(self, function: Callable[..., Rows], *given: torch.Tensor) -> Rows:
        """Return what a function makes of all rows; each process computes its own.

        Args:
            function: Takes rows and gives as many, (b, ...), in one tensor or several.
            given: (B, ...) each.
        """
        found = function(*(self.ranks.own(rows) for rows in given))
        if isinstance(found, torch.Tensor):
            return self.ranks.whole(found)
        return tuple(self.ranks.whole(rows) for rows in found)


def in_rows(part: nn.Module, function: Callable[..., Rows], *given: torch.Tensor) -> Rows:
    """Return what a function of a part makes of rows, dealt as the part is.

    Args:
        part: As the loop holds it.
        function: Takes rows and gives as many.
        given: (B, ...) each.
    """
    return part.in_rows(function, *given) if isinstance(part, Dealt) else function(*given)


class OverRows(nn.Module):
    """A layer that looks over the rows of a batch; the loop tells it with whom its process shares them."""

    ranks = Ranks()


class SharedNorm(nn.BatchNorm1d, OverRows):
    """Batch normalisation over the rows of all processes, for any number of axes; torch's own is for CUDA alone.

    Source:
        Ioffe 2015 (doi 10.48550/arXiv.1502.03167), algorithm 1.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (b, C, ...) from (b, C, ...)."""
        if not self.training or self.ranks.n == 1:
            return super().forward(x)
        axes, shape = [0, *range(2, x.ndim)], (1, -1, *(1 for _ in x.shape[2:]))
        with torch.autocast(x.device.type, enabled=False):
            seen = x.float()
            here = seen.new_tensor([x.numel() / x.shape[1]])
            sums = self.ranks.total(torch.cat([seen.sum(axes), here]))
            n = sums[-1].detach()
            mean = sums[:-1] / n
            away = seen - mean.view(shape)
            spread = self.ranks.total(away.square().sum(axes)) / n
            self._remember(mean.detach(), spread.detach() * n / (n - 1))
            y = away * (spread + self.eps).rsqrt().view(shape)
            if self.affine:
                y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    def _remember(self, mean: torch.Tensor, spread: torch.Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(spread, share)

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Any number of axes will do."""


def shared(part: nn.Module, ranks: Ranks) -> None:
    """Let the layers of a part that look over a batch look over the rows of all processes; names of weights stay.

    Args:
        part: Changed in place.
        ranks: Who shares its rows.
    """
    for name, layer in list(part.named_children()):
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            setattr(part, name, _shared_norm(layer))
    for layer in part.children():
        if isinstance(layer, OverRows):
            layer.ranks = ranks
        shared(layer, ranks)


def _shared_norm(norm: "nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d") -> SharedNorm:
    """Return a norm with the weights of another."""
    new = SharedNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name, weight in norm.named_parameters(recurse=False):
        setattr(new, name, weight)
    for name, buffer in norm.named_buffers(recurse=False):
        setattr(new, name, buffer)
    return new.train(norm.training)


def send(order: "dict[str, Any] | None") -> None:
    """Tell all other processes what to do next, as JSON; None tells them to end.

    Args:
        order: Plain JSON types.
    """
    content = torch.frombuffer(bytearray(json.dumps(order).encode()), dtype=torch.uint8)
    distributed.broadcast(torch.tensor([len(content)]), 0)
    distributed.broadcast(content, 0)


def awaited() -> "dict[str, Any] | None":
    """Wait for what the first process sends."""
    length = torch.zeros(1, dtype=torch.int64)
    distributed.broadcast(length, 0)
    content = torch.zeros(int(length), dtype=torch.uint8)
    distributed.broadcast(content, 0)
    order: dict[str, Any] | None = json.loads(bytes(content.tolist()))
    return order


def placed(device: str, ranks: Ranks) -> Sequence[int] | int:
    """Return what Fabric is told of devices: its own GPU for each process of this machine, else one.

    Args:
        device: ``"cpu"``, ``"cuda"`` or ``"mps"``.
        ranks: Who trains together.
    """
    return [torch.cuda.current_device()] if ranks.n > 1 and device == "cuda" else 1


class _Gathered(torch.autograd.Function):
    """Rows of all processes; backward each takes the gradient of its own rows from all of them."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor, ranks: Ranks) -> torch.Tensor:
        ctx.ranks = ranks
        # Processes differ by one row at most; the count says how many there are in all.
        count = torch.tensor([len(own)])
        distributed.all_reduce(count)
        most = -(-int(count) // ranks.n)
        sent = own.new_zeros(most, *own.shape[1:])
        sent[: len(own)] = own
        parts = [torch.empty_like(sent) for _ in range(ranks.n)]
        distributed.all_gather(parts, sent)
        return torch.stack(parts, dim=1).flatten(0, 1)[: int(count)]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, None]:
        every = slope.contiguous().clone()
        distributed.all_reduce(every)
        return ctx.ranks.own(every), None


class _Summed(torch.autograd.Function):
    """A sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        summed = value.contiguous().clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        every = slope.contiguous().clone()
        distributed.all_reduce(every)
        return every

"""Networks over image sequences: lengths, gaps, order, and what the coarsest map says."""

from collections.abc import Iterator

import pytest
import torch

from lucency.errors import UsageError
from lucency.networks import body
from lucency.networks.recurrent import FRAMES_AT_ONCE, frames_present

SMALL = {"widths": (4.0, 8.0), "depth": 6, "hidden": 5, "dropout": 0.0}
KINDS = [(c, p) for c in ("gru", "lstm", "none") for p in ("mean", "max", "attention")]


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same weights in every test; the global generator is given back."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def summary(net: torch.nn.Module, clip: torch.Tensor) -> torch.Tensor:
    """What a head that pools by the mean sees of (B, C, K, J, I)."""
    with torch.no_grad():
        found: torch.Tensor = net(clip)[-1].mean(dim=(2, 3, 4))
    return found


@pytest.mark.parametrize(("cell", "pooling"), KINDS)
def test_frames_that_are_missing_change_nothing_wherever_they_stand(cell: str, pooling: str) -> None:
    net = body("recurrent", 1, 3, {**SMALL, "cell": cell, "pooling": pooling}).eval()
    clip = torch.randn(1, 1, 4, 12, 12)
    padded = torch.zeros(1, 1, 9, 12, 12)
    for place, frame in zip((1, 2, 5, 7), range(4), strict=True):
        padded[:, :, place] = clip[:, :, frame]
    assert torch.allclose(summary(net, padded), summary(net, clip), atol=1e-5)


@pytest.mark.parametrize(("cell", "pooling"), KINDS)
def test_a_short_clip_reads_the_same_alone_and_beside_a_long_one(cell: str, pooling: str) -> None:
    net = body("recurrent", 1, 3, {**SMALL, "cell": cell, "pooling": pooling}).eval()
    long, short = torch.randn(1, 1, 6, 12, 12), torch.randn(1, 1, 1, 12, 12)
    batch = torch.zeros(2, 1, 6, 12, 12)
    batch[0], batch[1, :, 3:4] = long[0], short[0]
    together = summary(net, batch)
    assert torch.allclose(together[1:], summary(net, short), atol=1e-5)
    assert torch.allclose(together[:1], summary(net, long), atol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_only_a_recurrent_network_sees_the_order(cell: str) -> None:
    clip = torch.randn(1, 1, 6, 12, 12)
    turned = clip[:, :, [3, 0, 5, 1, 4, 2]]
    for name, told in ((cell, True), ("none", False)):
        net = body("recurrent", 1, 3, {**SMALL, "cell": name}).eval()
        assert torch.allclose(summary(net, clip), summary(net, turned), atol=1e-5) != told


def test_with_one_direction_the_past_does_not_know_the_future() -> None:
    net = body("recurrent", 1, 3, {**SMALL, "bidirectional": False}).eval()
    clip = torch.randn(1, 1, 5, 12, 12)
    other = clip.clone()
    other[:, :, 4] = torch.randn(1, 1, 12, 12)
    with torch.no_grad():
        one, two = (net(c)[-1].mean(dim=(3, 4)) for c in (clip, other))
    assert torch.allclose(one[:, :, :4], two[:, :, :4], atol=1e-5)
    assert not torch.allclose(one[:, :, 4], two[:, :, 4], atol=1e-3)


def test_the_mean_over_frames_is_that_of_the_frames_alone() -> None:
    """Without a reader the summary of a clip is the mean of what a 2-D network says of each frame."""
    net = body("recurrent", 1, 3, {**SMALL, "cell": "none"}).eval()
    clip = torch.randn(1, 1, 5, 12, 12)
    with torch.no_grad():
        alone = [net.encoder(clip[:, :, k])[-1].mean(dim=(2, 3)) for k in range(5)]  # type: ignore[operator]
    assert torch.allclose(summary(net, clip), torch.stack(alone).mean(dim=0), atol=1e-5)


def test_a_long_clip_in_pieces_reads_as_it_does_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = body("recurrent", 1, 3, SMALL).eval()
    clip = torch.randn(1, 1, FRAMES_AT_ONCE + 7, 8, 8)
    seen: list[int] = []
    net.encoder.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))  # type: ignore[union-attr]
    pieces = summary(net, clip)
    monkeypatch.setattr("lucency.networks.recurrent.FRAMES_AT_ONCE", 1000)
    whole = summary(net, clip)
    assert seen == [FRAMES_AT_ONCE, 7, FRAMES_AT_ONCE + 7]
    assert torch.allclose(pieces, whole, atol=1e-5)


def test_frames_left_out_in_training_never_leave_a_sequence_empty() -> None:
    net = body("recurrent", 1, 3, {**SMALL, "missing": 0.9}).train()
    clip = torch.randn(40, 1, 2, 8, 8)
    kept = net._thinned(frames_present(clip))  # type: ignore[operator]
    assert kept.any(dim=1).all()
    assert not kept.all()
    assert torch.isfinite(net(clip)[-1]).all()


def test_a_clip_of_blank_frames_is_still_a_clip() -> None:
    net = body("recurrent", 1, 3, SMALL).eval()
    assert torch.isfinite(summary(net, torch.zeros(2, 1, 4, 8, 8))).all()


def test_frames_without_contrast_are_not_there() -> None:
    clip = torch.zeros(2, 1, 3, 4, 4)
    clip[0, 0, 1, 2, 2] = 1.0
    clip[1, 0, 2] = 5.0
    assert frames_present(clip).tolist() == [[False, True, False], [True, True, True]]


@pytest.mark.parametrize(
    ("option", "said"),
    [({"cell": "rnn"}, "cell 'rnn'.*gru, lstm"), ({"pooling": "sum"}, "pooling 'sum'"), ({"missing": 1.0}, "missing")],
)
def test_options_that_there_are_not_are_refused(option: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        body("recurrent", 1, 3, {**SMALL, **option})


@pytest.mark.parametrize("name", ["resnet", "recurrent"])
def test_a_clip_shorter_than_the_stride_over_frames_is_still_read(name: str) -> None:
    net = body(name, 1, 3, {"widths": (4.0, 8.0, 8.0), "depth": 8, "strides": "2x2x2,2x2x2"}).eval()
    for n_frames in (1, 2, 3):
        assert net(torch.randn(1, 1, n_frames, 12, 12))[-1].shape == (1, 8, 1, 3, 3)

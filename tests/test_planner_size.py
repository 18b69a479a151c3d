"""Width and depth follow images, patch and time, and never the wrong way round."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from lucency.case import Cohort
from lucency.plan import Machine
from lucency.planner import Budget, plan
from lucency.planner.size import SMALL, USUAL, scaled, sized
from lucency.profile import Profile, summary
from lucency.tasks import task_named

MACHINE = Machine(cores=2, memory_mib=6000, gflops=100.0)
GPU = replace(MACHINE, accelerator="cuda", device_memory_mib=20_000.0, gflops=20_000.0)
KINDS = {"pictures": ((1, 28, 28), 2), "x-rays": ((1, 512, 512), 2), "slices": ((1, 128, 128), 0)}
KINDS |= {"volumes": ((36, 50, 35), 0), "scans": ((40, 64, 64), 2)}


def planned(kind, n, minutes=10.0, machine=MACHINE):
    size, classes = KINDS[kind]
    voxels = summary(np.linspace(0, 255, 256))
    profile = Profile(
        n_cases=n,
        n_patients=n,
        modalities={"image": n},
        units={"1": n},
        channels={1: n},
        dims={2 if size[0] == 1 else 3: n},
        sizes=tuple({s: n} for s in size),
        spacings=tuple(summary(np.ones(n)) for _ in size),
        spacing_known=n,
        intensity={"image": (voxels,)},
        body={"image": (voxels,)},
        class_counts={f"class {c}": n // classes for c in range(classes)},
        label_cases={} if classes else {1: n},
    )
    names = tuple(profile.class_counts)
    cohort = Cohort((), {}, frozenset(), classes=names, labels={} if names else {1: "a"})
    return plan(
        cohort, profile, task_named("classify" if classes else "segment").needs(profile), machine, Budget(minutes)
    )


def weights(found):
    return sum(p.numel() for p in tiny.network_of(found).parameters())


def shrinks(plans):
    """Pairs of plans of one image size of which the second has the smaller network."""
    return [(a, b) for a, b in itertools.pairwise(plans) if a.patch == b.patch and weights(b) < weights(a)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("machine", [MACHINE, GPU], ids=["cpu", "gpu"])
def test_more_images_never_give_a_smaller_network_at_equal_image_size(kind, machine):
    for minutes in (1, 600):
        plans = [planned(kind, n, minutes, machine) for n in (5, 11, 12, 30, 200, 1999, 2000, 20_000, 300_000)]
        assert shrinks(plans) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [8, 300, 30_000])
def test_more_time_never_gives_a_smaller_network_at_equal_image_size(kind, n):
    assert shrinks([planned(kind, n, m) for m in (0.2, 1, 10, 60, 600, 10_000)]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_handful_of_images_gets_a_small_network_and_masses_with_time_a_large_one(kind):
    few, usual, many = (planned(kind, n, 2000, GPU) for n in (8, 300, 300_000))
    assert weights(few) < 0.6 * weights(usual)
    assert weights(many) > 1.5 * weights(usual)
    assert "show little variety" in few.reasons["network_options"]
    assert "300 images" not in few.reasons["network_options"]
    assert "wider and deeper than usual" in many.reasons["network_options"]


def test_many_images_without_the_time_get_the_usual_one_and_the_plan_says_why():
    found = planned("pictures", 30_000, 10)
    assert found.network_options["widths"] == (32.0, 64.0, 128.0)
    assert found.reasons["network_options"].endswith("30000 images would bear a larger one, the time does not")


def test_next_to_no_time_gives_a_small_network():
    assert planned("pictures", 300, 0.02).network_options["widths"] == (16.0, 32.0, 64.0)
    assert planned("pictures", 300, 10).network_options["widths"] == (32.0, 64.0, 128.0)


def test_blocks_are_counted_as_the_network_does():
    """Three levels of two blocks of two convolutions and two more: 14; one block less: 8; one more: 20."""
    base = {"widths": (32.0, 64.0, 128.0), "depth": 14}
    assert [scaled(base, s, dense=False)["depth"] for s in (-1, 0, 1, 2)] == [8, 14, 20, 26]
    assert scaled(base, 1, dense=False)["widths"] == (48.0, 96.0, 192.0)
    assert scaled({"widths": (12.0, 24.0)}, SMALL, dense=True) == {"widths": (8.0, 16.0)}
    assert scaled(base, USUAL, dense=True) == base


def test_what_the_time_allows_is_asked_of_the_size_itself():
    asked = []

    def affordable(options):
        asked.append(options["widths"])
        return 1e9 if options["widths"][0] <= 48 else 0.0

    reasons = {}
    found = sized({"widths": (32.0,), "depth": 6}, 10**6, affordable, reasons, dense=False)
    assert found["widths"] == (48.0,)
    assert asked == [(64.0,), (48.0,)]


def test_every_size_runs():
    for kind, size in itertools.product(("pictures", "slices"), (8, 300, 300_000)):
        found = planned(kind, size, 2000, GPU)
        with torch.inference_mode():
            out = tiny.network_of(found)(torch.zeros(1, 1, *found.patch[1:]))
        assert torch.isfinite(out).all()

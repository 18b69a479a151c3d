"""Width and steps from what a step takes: 92 % of the time is planned for."""

from types import SimpleNamespace

import pytest

import tiny
from lucency.errors import DataError, MemoryShortError, UsageError
from lucency.generators import family_named
from lucency.plan import Grid
from lucency.synthesize import sizes
from lucency.synthesize.asked import refuse_unfit
from lucency.synthesize.sizes import chosen, default_family, family_for, spoken

FAMILY = family_named("dcgan")
WIDTHS = {width: name for name, width in FAMILY.widths.items()}


def drafted(width):
    return tiny.plan_for("classify", network_options={"width": width}, batch=32)


def choose(monkeypatch, times, seconds, size=""):
    """The plan where a step of each width takes these seconds; None is out of memory."""
    asked = []

    def timed(work, _seconds):
        name = WIDTHS[work.network_options["width"]]
        asked.append(name)
        return times[name]

    monkeypatch.setattr(sizes, "_timed", timed)
    return chosen(FAMILY, size, drafted, lambda plan: plan, seconds), asked


def test_the_widest_that_comes_to_the_end_of_it_is_taken(monkeypatch):
    """At 10 ms a step 320.1 s show .92 * 320.1 / .01 * 32 = 942 374 images: enough for medium, not for large."""
    times = dict.fromkeys(("tiny", "small", "medium", "large"), 0.01)
    plan, asked = choose(monkeypatch, times, 320.1)
    assert plan.network_options["width"] == FAMILY.widths["medium"]
    assert plan.schedule.steps == 29449
    assert asked == ["tiny", "small", "medium", "medium"]
    assert "medium: the widest that sees 480000 images" in plan.reasons["network_options"]
    assert "10 ms a step, 3200 images a second" in plan.reasons["schedule"]


def test_a_wider_one_that_is_too_slow_is_left(monkeypatch):
    plan, _ = choose(monkeypatch, {"tiny": 0.01, "small": 0.01, "medium": 0.04, "large": 0.1}, 200.0)
    assert plan.network_options["width"] == FAMILY.widths["small"]


def test_the_narrowest_is_taken_where_there_is_no_time_for_more(monkeypatch):
    plan, asked = choose(monkeypatch, {"tiny": 0.01}, 15.0)
    assert plan.network_options["width"] == FAMILY.widths["tiny"]
    assert asked == ["tiny", "tiny"]
    assert plan.schedule.steps == 1380


@pytest.mark.parametrize(("other_s", "last"), [(0.005, True), (0.02, False), (None, False)])
def test_the_faster_memory_layout_is_taken(monkeypatch, other_s, last):
    monkeypatch.setattr(sizes, "_timed", lambda work, seconds: other_s if work.channels_last else 0.01)
    plan = chosen(FAMILY, "tiny", drafted, lambda plan: plan, 200.0)
    assert plan.channels_last is last
    assert plan.schedule.steps == (36800 if last else 18400)


def test_too_little_time_is_refused_with_what_it_would_take(monkeypatch):
    """A quarter of 60 000 images at 32 in a step of .5 s: .25 * 60000 * .5 / (.92 * 32) = 255 s, 5 minutes."""
    with pytest.raises(
        UsageError, match=r"In 1 min generator 'dcgan' \(tiny\) would see 3533 images.*give 5 min"
    ) as told:
        choose(monkeypatch, {"tiny": 0.5}, 60.0)
    assert "better 17 min" in str(told.value)
    assert told.value.exit_status == 2


def test_what_it_would_take_is_known_before_it_is_begun(monkeypatch):
    """The same 255 s: what is promised up front is what is asked for later."""
    monkeypatch.setattr(sizes, "_timed", lambda work, seconds: 0.5)
    assert sizes.least_seconds(FAMILY, drafted(64), None) == pytest.approx(0.25 * 60000 * 0.5 / (0.92 * 32))
    monkeypatch.setattr(sizes, "_timed", lambda work, seconds: None)
    assert sizes.least_seconds(FAMILY, drafted(64), None) == 0


def test_memory_that_runs_out_ends_the_search_or_refuses(monkeypatch):
    plan, _ = choose(monkeypatch, {"tiny": 0.01, "small": None}, 200.0)
    assert plan.network_options["width"] == FAMILY.widths["tiny"]
    with pytest.raises(MemoryShortError, match="one step of generator 'dcgan'"):
        choose(monkeypatch, {"tiny": None}, 200.0)


def test_a_step_that_would_not_fit_into_the_memory_is_not_tried(monkeypatch):
    """80 of 100 MiB may be taken: widths of 16 and 32 need 21 and 42, one of 64 needs 83."""
    monkeypatch.setattr(sizes.machine, "free_memory_mib", lambda: 100.0)
    monkeypatch.setattr(type(FAMILY), "memory_mib", lambda self, shape, batch: 1.3 * shape.width)
    plan, asked = choose(monkeypatch, dict.fromkeys(FAMILY.widths, 1e-3), 3600.0)
    assert plan.network_options["width"] == 32
    assert plan.forecast.memory_mib == pytest.approx(41.6)
    assert set(asked) == {"tiny", "small"}
    monkeypatch.setattr(type(FAMILY), "memory_mib", lambda self, shape, batch: 90.0)
    with pytest.raises(MemoryShortError, match=r"or would: about 90 MiB beside what is in use"):
        choose(monkeypatch, dict.fromkeys(FAMILY.widths, 1e-3), 3600.0)


def test_a_size_that_the_user_says_is_taken(monkeypatch):
    plan, asked = choose(monkeypatch, {"large": 0.05}, 200.0, size="large")
    assert plan.network_options["width"] == FAMILY.widths["large"]
    assert asked == ["large", "large"]
    assert plan.reasons["network_options"] == "large: as the user says"


def test_a_small_set_is_not_shown_more_often_than_helps(monkeypatch):
    plan, _ = choose(monkeypatch, dict.fromkeys(FAMILY.widths, 1e-4), 3600.0)
    assert plan.schedule.steps == sizes.MOST_SEEN // 32


def test_a_family_for_thousands_of_images_is_refused_for_fewer_without_a_word():
    with pytest.raises(DataError, match=r"400 images for generator 'rflow'.*5000 at least"):
        family_for("rflow", 400, "cpu", few=False, masked=False)
    assert family_for("rflow", 400, "cpu", few=True, masked=False).name == "rflow"
    assert family_for("rflow", 5000, "cpu", few=False, masked=False).name == "rflow"


def test_a_family_for_masks_is_refused_for_images_without_and_the_others_are_named():
    with pytest.raises(DataError, match=r"'spade' for images without masks.*choose another: dcgan.*wgan-gp") as told:
        family_for("spade", 400, "cpu", few=False, masked=False)
    assert "spade" not in str(told.value).partition("another")[2]
    assert family_for("spade", 400, "cpu", few=False, masked=True).name == "spade"


def test_volumes_beyond_the_usual_side_are_for_the_family_that_goes_through_a_code(tmp_path):
    size = (96, 128, 128)
    cohort, plan = tiny.masks(tmp_path), tiny.plan_for("segment", size=size, grid=Grid("fit", size))
    store = SimpleNamespace(entries={c.id: SimpleNamespace(vector=False, width=0, shape=size) for c in cohort.cases})
    with pytest.raises(UsageError, match=r"128 voxels along a side for generator 'dcgan'.*at most 64") as told:
        refuse_unfit(cohort, plan, store, "")
    assert "--set side=64, or --generator latent-flow" in str(told.value)
    assert refuse_unfit(cohort, plan, store, "latent-flow:few=yes") == (0, 1, 2)


def test_nobody_needs_to_name_a_family():
    assert family_for("", 100, "cpu", few=False, masked=True).name == default_family("cpu")
    assert default_family("mps") == default_family("cpu")
    with pytest.raises(UsageError, match=r"No generator 'dcgn'.*did you mean 'dcgan'"):
        family_for("dcgn", 100, "cpu", few=False, masked=True)


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (59.9, "60 s"), (61, "2 min"), (3601, "1.1 h")])
def test_times_are_rounded_up(seconds, words):
    assert spoken(seconds) == words

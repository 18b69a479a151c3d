"""What a user asks of the walk is refused before it begins."""

from dataclasses import replace

import pytest

import tiny
from lucency import record
from lucency.errors import DataError, UsageError
from lucency.supplement import FOLDER
from lucency.synthesize.asked import FILE, Ask, asked_before, refuse_other, refuse_unfit
from lucency.walk import Settings


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("dcgn", "did you mean 'dcgan'"),
        ("dcgan:size=huge", "Size 'huge'"),
        ("dcgan:wide=yes", "wide=yes"),
    ],
)
def test_a_generator_that_there_is_not_is_refused_at_once(word, said):
    with pytest.raises(UsageError, match=said):
        Ask(generator=word)


def test_what_there_is_is_taken():
    assert Ask(generator="rflow:few=yes").generator == "rflow:few=yes"
    assert Ask().generator == ""


STATE = f"{FOLDER}/fold0/generator/training/fold0.checkpoint.safetensors"


@pytest.fixture
def begun(tmp_path):
    """A run folder in which a generator has begun to learn."""
    ask = Ask(Settings(minutes=60, values={"mixup": "0"}), "dcgan", 32)
    record.write(tmp_path / FOLDER / FILE, ask)
    record.write_text(tmp_path / STATE, "weights")
    return tmp_path, ask


def test_what_was_asked_is_read_again_as_it_was(begun):
    run, ask = begun
    assert asked_before(run) == ask
    refuse_other(run, ask)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"side": 64}, "side"),
        ({"generator": "vae", "steps": 9}, "generator, steps"),
        ({"settings": Settings(minutes=20, values={"mixup": "0"})}, "minutes"),
        ({"settings": Settings(minutes=60, values={"mixup": "0.4"})}, "mixup"),
    ],
)
def test_other_settings_do_not_throw_away_what_was_done(begun, changes, named):
    run, ask = begun
    with pytest.raises(UsageError, match=rf"begun with other settings: {named}\. Expected.*--force to begin anew"):
        refuse_other(run, replace(ask, **changes))
    (run / STATE).unlink()
    refuse_other(run, replace(ask, **changes))  # nothing was done yet: too few minutes may be followed by more


def test_language_and_going_through_all_stages_change_no_number(begun):
    run, ask = begun
    refuse_other(run, replace(ask, whole=True, settings=replace(ask.settings, lang="zh")))


def test_a_model_of_fit_is_not_overwritten(tmp_path):
    refuse_other(tmp_path, Ask())
    record.write(tmp_path / "plan.json", {})
    with pytest.raises(UsageError, match=r"a plan or a model of 'lucency fit', which would be lost.*another --out"):
        refuse_other(tmp_path, Ask())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "ordinal"}, "Task 'ordinal' is judged by kappa"),
        ({"task": "retrieve"}, "Task 'retrieve' is judged by precision_at_10"),
        ({"modalities": ("image", "T2")}, "24 of 24 cases lack a modality"),
    ],
)
def test_what_the_gate_cannot_judge_and_lacking_modalities_are_refused(tmp_path, changes, said):
    plan, cohort = tiny.plan_for("classify"), tiny.stripes(tmp_path, n=24)
    store = tiny.stored(cohort, plan, tmp_path)
    with pytest.raises(DataError, match=said):
        refuse_unfit(cohort, replace(plan, **changes), store, "dcgan")

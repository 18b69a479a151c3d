"""From a folder of pictures to a verdict on generated ones, and into ``fit``: in little, but every stage of it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lucency import record
from lucency.apps.cli import app
from lucency.errors import DataError, UsageError
from lucency.events import read_events
from lucency.fit import fit, forget
from lucency.supplement import FILE, FOLDER, Supplement
from lucency.synthesize import synthesize
from lucency.synthesize.asked import Ask, refuse_unfit
from lucency.synthesize.gate import ACCEPT, INCONCLUSIVE, REJECT, stopped
from lucency.synthesize.page import PAGE, write_page
from lucency.walk import Settings

pytestmark = pytest.mark.journey

FEW = {"network_options.widths": "[4, 8]", "network_options.depth": "6"}


def ask(whole=True, generator="gan-mlp", **more):
    settings = Settings(minutes=more.pop("minutes", 20_000.0), values={**FEW, **more.pop("values", {})})
    return Ask(settings, generator, 28, 1, (1.0,), 6, whole=whole)


@pytest.fixture
def squares(bench, little):
    """Noise with a square in it, bright or dark."""
    for number in range(100):
        array = bench.rng.integers(60, 120, (28, 28), dtype=np.uint8)
        j, i = bench.rng.integers(2, 16, 2)
        array[j : j + 9, i : i + 9] = 200 if number % 4 else 10
        bench.picture(f"{'bright' if number % 4 else 'dark'}/{number:03d}.png", array)
    return bench


@pytest.fixture
def outlined(bench, little):
    """Noise with a bright square in it, and its mask."""
    for number in range(40):
        array, mask = bench.rng.integers(60, 120, (28, 28), dtype=np.uint8), np.zeros((28, 28), np.uint8)
        j, i = bench.rng.integers(2, 16, 2)
        array[j : j + 9, i : i + 9] = 200
        mask[j : j + 9, i : i + 9] = 255
        bench.picture(f"images/{number:03d}.png", array)
        bench.picture(f"masks/{number:03d}.png", mask)
    return bench


@pytest.fixture
def little(monkeypatch):
    """Generators of a second, and audits of a few images."""
    for name in ("LEAST_GENERATOR_S", "MOST_GENERATOR_S"):
        monkeypatch.setattr(f"lucency.synthesize.gate.design.{name}", 2.0)
    monkeypatch.setattr("lucency.synthesize.sizes.HOPELESS", 0.0)
    # Three outer folds of the five are enough to go through every stage.
    few = lambda *given: refuse_unfit(*given)[:3]  # noqa: E731
    monkeypatch.setattr("lucency.synthesize.walked.refuse_unfit", few)
    # Fewer planted copies than an audit of patients needs, in a fraction of the time.
    monkeypatch.setattr("lucency.synthesize.audit.room.PLANTED", 16)
    monkeypatch.setattr("lucency.synthesize.audit.room.CONTROL", 20)
    monkeypatch.setattr("lucency.synthesize.looking.AUDITED", 24)


def test_a_folder_becomes_a_verdict_a_report_and_a_supplement_and_nothing_is_done_twice(squares):
    found = synthesize(squares.data, squares.out, ask=ask())
    assert found.verdict.word in (REJECT, INCONCLUSIVE)  # three runs are too few to accept anything
    assert len(found.looked) == 3
    assert {r.arm for r in found.runs} >= {"real", "real again", "generated 1"}
    assert all(len(r.outer) == 3 for r in found.runs)
    assert found.verdict.confirmation is None
    assert not (squares.out / "ledger.jsonl").exists(), "nothing was certain, so nobody may have looked"
    _no_generator_saw_its_judges(squares.out, found)
    before = {p: p.stat().st_mtime_ns for p in (squares.out / FOLDER).rglob("*.safetensors")}
    assert before
    again = synthesize(squares.out, ask=ask())
    assert record.to_json(again.verdict) == record.to_json(found.verdict)
    assert before == {p: p.stat().st_mtime_ns for p in (squares.out / FOLDER).rglob("*.safetensors")}
    for lang, title in (("en", "do they help?"), ("zh", "是否有帮助")):
        path = write_page(found.folder, found.verdict, found.design, found.looked, found.runs, lang)
        page = path.read_text(encoding="utf-8")
        assert path == squares.out / PAGE
        assert title in page
        assert page.count("data:image/png") > 10
        assert str(squares.data) not in page
        assert "{" not in page.split("<body>")[1].split("<svg")[0]
    _fit_uses_them_on_the_users_word_alone(squares)


def _no_generator_saw_its_judges(out, found):
    """Ids of every store that a generator learned from belong to folds that it may see."""
    cohort = json.loads((out / "cohort.json").read_text(encoding="utf-8"))
    for one in found.looked:
        made = json.loads((out / FOLDER / f"fold{one.fold}" / "generator" / "generator.json").read_text("utf-8"))
        allowed = sum(f not in (one.fold, one.inner) for f in cohort["folds"].values())
        assert sum(made["images"].values()) == allowed == sum(one.counts.values())


def _fit_uses_them_on_the_users_word_alone(squares):
    run = str(squares.out)
    few = {**FEW, "schedule.steps": "6", "folds": "[0]"}
    model = squares.out.with_name("fit")
    command = ["fit", str(squares.data), "--out", str(model), "--synthetic", run, "--minutes", "1"]
    command += [f"--set={key}={value}" for key, value in few.items()]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 3
    assert "No evidence that these generated images help" in refused.stderr
    assert not (model / "cohort.json").exists(), "it is refused before anything is read"
    accepted = CliRunner().invoke(app, [*command, "--force"])
    assert accepted.exit_code == 0, accepted.stderr
    done = fit(model)
    assert done.plan.reasons["synthetic"].startswith("USED WITHOUT EVIDENCE")
    assert max(done.plan.grid.size) == 28
    page = done.report.read_text(encoding="utf-8")
    assert "Generated images were trained on: USED WITHOUT EVIDENCE" in page
    assert "Generated images were trained on" in (done.folder / "model" / "card.md").read_text(encoding="utf-8")


def useless(monkeypatch):
    """Any generator certainly teaches too little, also where so few judge that there is no interval."""
    monkeypatch.setattr("lucency.synthesize.walked.TEACHES", 10.0)
    monkeypatch.setattr("lucency.synthesize.looking.Looked.teaches_at_most", property(lambda looked: looked.teaches))


def test_a_generator_that_teaches_too_little_ends_the_walk_and_leaves_nothing_to_use(squares, monkeypatch):
    useless(monkeypatch)
    found = synthesize(squares.data, squares.out, ask=ask(whole=False))
    assert found.verdict.word == REJECT
    assert len(found.looked) == 1
    assert found.runs == ()
    assert record.read(Supplement, squares.out / FOLDER / FILE).ids == {}
    page = write_page(found.folder, found.verdict, found.design, found.looked, found.runs, "en")
    assert "Whether the images help was not tried" in page.read_text(encoding="utf-8")
    with pytest.raises(DataError, match="No generated image to use; the gate's verdict was REJECT"):
        fit(squares.data, squares.out.with_name("fit"), settings=Settings(minutes=1, synthetic=str(squares.out)))


def test_images_for_masks_are_made_judged_and_said_to_have_masks_of_patients(outlined, monkeypatch):
    # One fold is enough: what a walk does after it is the same for every generator.
    monkeypatch.setattr("lucency.synthesize.walked.settled", lambda one: stopped("no more", one.audit.verdict))
    settings = Settings(minutes=20_000.0, values={"network_options.widths": "[4, 8]"})
    found = synthesize(outlined.data, outlined.out, ask=Ask(settings, "spade", 28, 1, (1.0,), 6))
    (looked,) = found.looked
    assert looked.family == "spade"
    made = json.loads((outlined.out / FOLDER / "fold0" / "generator" / "generator.json").read_text(encoding="utf-8"))
    n = made["patients"]
    assert looked.audit.counts["masks"] == n == sum(looked.counts.values())
    assert [(r.key, r.values) for r in looked.audit.reasons][-1] == ("masks", {"n": n})
    assert looked.audit.scope == ("internal training",)
    for lang, words in (("en", f"made for the masks of {n} patients who"), ("zh", f"依据 {n} 名训练患者的掩膜生成")):
        path = write_page(found.folder, found.verdict, found.design, found.looked, found.runs, lang)
        assert words in path.read_text(encoding="utf-8")


def test_a_generator_for_masks_is_refused_where_there_are_none_before_anything_is_trained(squares):
    with pytest.raises(DataError, match=r"'spade' for images without masks.*choose another: dcgan") as told:
        synthesize(squares.data, squares.out, ask=ask(generator="spade"))
    assert told.value.exit_status == 3
    assert not list((squares.out / FOLDER).rglob("*.safetensors"))


def test_too_few_minutes_are_refused_before_anything_is_trained(squares):
    with pytest.raises(UsageError, match=r"minutes are too few for a verdict.*about \d+ minutes"):
        synthesize(squares.data, squares.out, ask=ask(minutes=0.2))
    assert not list((squares.out / FOLDER).rglob("generator.safetensors"))


def test_the_forecast_comes_first(squares, monkeypatch):
    monkeypatch.setattr("lucency.synthesize.walked.TEACHES", 10.0)
    synthesize(squares.data, squares.out, ask=ask(whole=False))
    own = [e for e in read_events(squares.out / "events.jsonl") if e["room"] == "synthesize"]
    assert [e["kind"] for e in own][:2] == ["begin", "forecast"]
    assert "minutes for 3 generators" in own[1]["says"][0]
    assert own[1]["seconds_left"] > 0


def test_other_settings_and_other_data_throw_nothing_away_until_the_user_says_so(squares, monkeypatch):
    useless(monkeypatch)
    first = synthesize(squares.data, squares.out, ask=ask(whole=False))
    kept = {p: p.stat().st_mtime_ns for p in (squares.out / FOLDER).rglob("*.safetensors")}
    other = Ask(ask().settings, "gan-mlp", 28, 1, (0.5,), 6)
    with pytest.raises(UsageError, match="begun with other settings: ratios"):
        synthesize(squares.data, squares.out, ask=other)
    squares.picture("bright/more.png", squares.rng.integers(60, 220, (28, 28), dtype=np.uint8))
    with pytest.raises(UsageError, match="have changed since 1 of 3 generators were trained"):
        synthesize(squares.data, squares.out)
    assert kept == {p: p.stat().st_mtime_ns for p in (squares.out / FOLDER).rglob("*.safetensors")}
    forget(squares.out, squares.data)
    second = synthesize(squares.data, squares.out, ask=other)
    assert first.design.digest != second.design.digest


def test_numbers_to_learn_are_refused(bench):
    for number in range(30):
        bench.picture(f"pictures/{number:03d}.png")
    bench.table([f"{n:03d}.png,{n / 7:.3f}" for n in range(30)], header="image,age_years")
    with pytest.raises(DataError, match="learns something else than one class or one mask"):
        synthesize(bench.data, bench.out, ask=Ask(Settings(minutes=40, task="regress", target="age_years")))


def test_verdict_words_are_those_that_fit_asks_for():
    from lucency.supplement import ACCEPTED

    assert ACCEPTED == ACCEPT

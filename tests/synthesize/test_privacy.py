"""What a private training costs, who is drawn in it, and what its record says."""

import math
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from blobs import blobs
from test_making import given, normalised, seconds_for
from test_synthesis_page import looked

import tiny
from lucency import record
from lucency.errors import UsageError
from lucency.events import Clock
from lucency.plan import number_of
from lucency.synthesize import privacy as counting
from lucency.synthesize.maker import RECORD_FILE, Made
from lucency.synthesize.making import Order, make
from lucency.synthesize.page import audited
from lucency.synthesize.privacy import Privacy, cost, epsilon_of, noise_for, wanted, with_noise
from lucency.train.sampler import Alone, Sampler

needs_opacus = pytest.mark.skipif(
    counting.importlib.util.find_spec("opacus") is None, reason="the extra dp (opacus) is not installed"
)


pytestmark = pytest.mark.usefixtures("ten_images")


@needs_opacus
def test_noise_follows_from_epsilon_and_costs_it():
    noise = noise_for(8.0, 1 / 500, 0.064, 400)
    spent = epsilon_of(noise, 1 / 500, 0.064, 400)
    assert 7.9 < spent <= 8.0
    assert noise_for(2.0, 1 / 500, 0.064, 400) > 2 * noise
    assert epsilon_of(noise, 1 / 500, 0.064, 200) < spent
    assert epsilon_of(noise, 1 / 500, 0.064, 0) == 0


@needs_opacus
def test_with_everybody_in_every_step_it_is_the_gaussian_mechanism():
    """One step of noise 4: RDP of order a is a / 32; Mironov's bound, a / 32 + log(1 / delta) / (a - 1), is least at
    a = 1 + sqrt(32 log(1 / delta)), 1 / 32 + 2 sqrt(log(1 / delta) / 32) = 1.23 for 1e-5. Opacus' is no larger than it,
    and no smaller than the exact 0.97 (Balle 2018, doi 10.48550/arXiv.1805.06530, theorem 8)."""
    delta = 1e-5
    assert 0.97 < epsilon_of(4.0, delta, 1.0, 1) <= 1 / 32 + 2 * math.sqrt(math.log(1 / delta) / 32)


@needs_opacus
def test_what_was_spent_is_of_the_steps_made_and_names_its_unit():
    options = with_noise(wanted(8.0, 400, 64), 100)
    assert (options["rate"], options["delta"], options["rows"]) == (0.16, 1 / 4000, 64)
    whole, half = (cost(options, n, known=True) for n in (100, 50))
    assert half.epsilon < whole.epsilon <= 8.0
    assert (whole.unit, cost(options, 50, known=False).unit) == ("patient", "image")
    assert record.from_json(Privacy, record.to_json(whole)) == whole


def test_everybody_is_drawn_in_every_step_where_there_are_fewer_than_a_batch():
    assert wanted(8.0, 20, 64)["rate"] == 1.0


def test_patients_are_drawn_each_by_himself_with_one_image_of_his(tmp_path):
    """Forty patients, the first of whom has ten images, at a chance of a tenth in 400 steps: 40 times, deviation 6."""
    cohort = tiny.stripes(tmp_path, n=49)
    plan = tiny.plan_for("classify", batch=4)
    store = tiny.stored(cohort, plan, tmp_path)
    cases = [c.id for c in cohort.cases]
    patients = ["first"] * 10 + [f"p{n}" for n in range(39)]
    sampler = Sampler(store, cases, plan, dense=False, alone=Alone(patients, 12345))
    drawn = [sampler._chosen(step) for step in range(400)]
    assert all(len({patients[n] for n in rows}) == len(rows) for rows in drawn)
    times = Counter(patients[n] for rows in drawn for n in rows)
    assert len(times) == 40
    assert all(10 < n < 75 for n in times.values())
    assert {n for rows in drawn for n in rows if n < 10} == set(range(10))
    sizes_seen = {len(rows) for rows in drawn}
    assert min(sizes_seen) == 0
    assert max(sizes_seen) > 7
    # 4 expected of 400 steps, deviation of the mean .1.
    assert np.mean([len(rows) for rows in drawn]) == pytest.approx(4, abs=0.5)
    images, targets = sampler.batch(next(n for n, rows in enumerate(drawn) if not rows))
    assert (images.shape, targets.shape) == ((0, 1, 1, 16, 16), (0,))
    other = Sampler(store, cases, plan, dense=False, alone=Alone(patients, 54321))
    assert [other._chosen(step) for step in range(20)] != drawn[:20]


@needs_opacus
def test_a_private_generator_states_what_it_cost_and_no_seed_repeats_it(tmp_path, monkeypatch):
    """In the second step nobody is drawn."""
    own = Sampler._chosen
    monkeypatch.setattr(Sampler, "_chosen", lambda self, step: [] if self._alone and step == 1 else own(self, step))
    drawn = normalised(blobs(30, each=2))
    cohort, plan, store = given(tmp_path, drawn)
    cohort = replace(cohort, patient_key="column 'patient'")
    makers = []
    for name in ("one", "two"):
        order = Order(family="dp-gan:epsilon=8", size="tiny", clock=Clock(now=lambda: 0.0))
        makers.append(make(cohort, plan, store, 0, tmp_path / name, seconds_for(4), order))
    spent = makers[0].made.privacy
    assert spent is not None
    assert (spent.unit, spent.steps, spent.accountant) == ("patient", 4, "RDP")
    assert spent.delta == pytest.approx(1 / 300)
    assert 7.5 < spent.epsilon <= 8.0
    options = makers[0].plan.task_options
    assert number_of(options, "noise", 0.0) == spent.noise
    assert number_of(options, "rows", 0.0) == makers[0].plan.batch == 30
    assert record.read(Made, tmp_path / "one" / RECORD_FILE).privacy == spent
    assert makers[0].plan == makers[1].plan
    pictures = [m.sample([0, 1], np.random.default_rng(0)).images for m in makers]
    assert not np.allclose(*pictures)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("dcgan:epsilon=8", r"epsilon=8 for a generator that is not private.*dp-gan:epsilon=8"),
        ("dp-gan:epsilon=0", "epsilon=0"),
        ("dp-gan:epsilon=few", "epsilon=few"),
        ("dp-gan:epsilon=8,adaptive=yes", r"adaptive=yes for dp-gan.*leave it out"),
    ],
)
def test_orders_that_promise_nothing_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        Order(words)


def test_without_the_library_that_counts_the_order_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus", None)
    monkeypatch.setattr(counting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"opacus, which is not installed.*pip install 'lucency\[dp\]'"):
        Order("dp-gan")


@needs_opacus
def test_where_nothing_is_said_a_usual_epsilon_is_taken():
    assert Order("dp-gan").epsilon == counting.EPSILON
    assert Order("dcgan").epsilon == 0


@pytest.mark.parametrize(
    ("lang", "words"), [("en", "ε = 7.95 at δ = 1/376 for each single"), ("zh", "ε = 7.95，δ = 1/376")]
)
@pytest.mark.parametrize("unit", ["patient", "image"])
def test_the_report_states_epsilon_and_for_whom(lang, words, unit):
    spent = Privacy(7.95, 1 / 376, 2.4, 1.0, 0.085, 3000, unit)
    assert words in audited(replace(looked(0), privacy=spent), lang)["privacy"]
    assert audited(looked(0), lang)["privacy"] == ""

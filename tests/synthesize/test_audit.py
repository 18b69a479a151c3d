"""The auditor: what it measures against values worked out by hand, and generators that copy or do not."""

from dataclasses import replace

import numpy as np
import pytest
from blobs import blobs
from scipy import ndimage

from lucency import record
from lucency.errors import DataError, UsageError
from lucency.statistics import Metric
from lucency.synthesize.audit import (
    FAIL,
    INSIDE,
    KINDS,
    NOT_AUDITABLE,
    PASS,
    SAMPLES,
    TOLD,
    UNDECIDED,
    UNSEEN,
    WEIGHTS,
    Ask,
    Audit,
    Auditor,
    Control,
    audit,
    planted,
)
from lucency.synthesize.audit.closeness import authentic, closer, share_over
from lucency.synthesize.audit.finder import excess, finder_of, one_each, rank_of
from lucency.synthesize.audit.finding import share_outcome, surely_above
from lucency.synthesize.audit.membership import auc_outcome, membership
from lucency.synthesize.audit.planted import changed
from lucency.synthesize.audit.room import _scope
from lucency.synthesize.audit.sides import Made, Real, links
from lucency.synthesize.audit.spaces import Pixels, near
from lucency.synthesize.drawn import Drawn, joined
from lucency.synthesize.encoders import random_encoder
from lucency.text import name, t

pytestmark = pytest.mark.usefixtures("one_thread")


def rng(seed=0):
    return np.random.default_rng(seed)


def eyes(dims=2):
    """Two eyes that nobody taught; teaching takes minutes and is tested elsewhere."""
    return [replace(random_encoder(1, dims, seed=7), name="trained"), random_encoder(1, dims)]


class Line:
    """Images that are one number each; their distance is the difference."""

    name = "line"
    learned = False

    def plain(self, images):
        return np.asarray(images, dtype=np.float32).reshape(-1, 1)

    def asks(self, images):
        return lambda rows: self.plain(images[rows])[:, None]

    def apart(self, asks, others):
        return np.abs(asks[:, 0] - others.T).astype(np.float32)


def on_line(values):
    return np.asarray(values, dtype=np.float32)


def across(measure, images, others):
    """All distances of images to others."""
    return measure.apart(measure.asks(images)(slice(None)), measure.plain(others))


def test_pixels_find_an_image_again_that_was_moved_mirrored_and_made_brighter():
    others = rng(0).normal(size=(40, 1, 1, 28, 28)).astype(np.float32)
    moved = np.roll(others[[5, 9]], (2, -1), axis=(3, 4))
    moved[1] = 3 * moved[1, ..., ::-1] + 7
    pixels = Pixels(2)
    apart = across(pixels, moved, others)
    assert apart.argmin(axis=1).tolist() == [5, 9]
    assert apart.min(axis=1) == pytest.approx(0, abs=1e-5)
    assert np.delete(apart[0], 5).min() > 0.6


@pytest.mark.parametrize(("size", "side"), [((1, 64, 48), (1, 32, 32)), ((20, 18, 10), (12, 12, 10))])
def test_large_images_are_compared_small(size, side):
    pixels = Pixels(2 if size[0] == 1 else 3)
    images = rng(0).normal(size=(3, 1, *size)).astype(np.float32)
    assert pixels.asks(images)(slice(0, 2)).shape == (2, 5 * (3 if size[0] == 1 else 4), 1, *side)
    assert np.diag(across(pixels, images, images)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("size", [(1, 28, 28), (1, 20, 30), (12, 12, 12)])
@pytest.mark.parametrize("change", ["turn", "scale"])
def test_a_turned_or_scaled_image_is_turned_and_scaled_back(size, change):
    smooth = [0, *(1.5 if n > 1 else 0 for n in size)]
    others = np.stack([ndimage.gaussian_filter(rng(s).normal(size=(1, *size)), smooth) for s in range(8)])
    if change == "turn":
        asked = ndimage.rotate(others, 5, axes=(3, 4), reshape=False, order=1, mode="nearest")
    else:
        scale = np.array([1, 1, *(0.95 if n > 1 else 1 for n in size)])
        asked = ndimage.affine_transform(others, scale, (np.array(others.shape) - 1) * (1 - scale) / 2, order=1)
    apart = across(Pixels(2 if size[0] == 1 else 3), asked, others)
    back = np.diag(apart)
    bare = Pixels(2 if size[0] == 1 else 3)
    alone = np.diag(bare.apart(bare.plain(asked)[:, None], bare.plain(others)))
    assert back.max() < 0.1
    assert (back < alone).all()


def test_a_constant_image_resembles_nothing():
    pixels = Pixels(2)
    images = np.stack([np.ones((1, 1, 12, 12)), rng(0).normal(size=(1, 1, 12, 12))]).astype(np.float32)
    apart = across(pixels, images, images)
    assert apart[0].min() == 1.0


def test_the_nearest_and_the_nearest_of_another_patient_by_hand():
    """From 0: to 1 and 2 of patient a, then 4 of b. From 5: to 4 of b, then 2 of a."""
    found = near(Line(), on_line([0, 5]), Line().plain([1, 2, 4]), np.array(["a", "a", "b"]))
    assert found.first.tolist() == [1, 1]
    assert found.at.tolist() == [0, 2]
    assert found.second.tolist() == [4, 3]
    assert found.back.tolist() == [1, 2, 1]
    own = near(Line(), on_line([1, 4]), Line().plain([1, 2, 4]), np.array(["a", "a", "b"]), own=np.array(["a", "b"]))
    assert own.first.tolist() == [3, 2]


def test_the_nearest_are_the_same_however_many_are_held_at_once(monkeypatch):
    asks, others, people = on_line(rng(0).normal(size=50)), Line().plain(rng(1).normal(size=30)), np.arange(30) // 2
    whole = near(Line(), asks, others, people.astype(str))
    monkeypatch.setattr("lucency.synthesize.audit.spaces.AT_ONCE", 70)
    pieces = near(Line(), asks, others, people.astype(str))
    for part in ("first", "at", "second", "back"):
        assert np.array_equal(getattr(whole, part), getattr(pieces, part))


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_copy_differs_from_its_image_and_is_still_that_image(kind):
    image = blobs(1, 3).images[0]
    copy = changed(image, kind, rng(1))
    assert copy.shape == image.shape
    assert copy.dtype == np.float32
    assert float(across(Pixels(2), copy[None], image[None])[0, 0]) < 0.5
    if kind != "shift":  # which may be by nothing
        assert not np.array_equal(copy, image)


def test_copies_are_planted_of_every_kind_as_often():
    copies, kinds, rows = planted(blobs(10), 30, rng())
    assert [kinds.count(k) for k in KINDS] == [4] * len(KINDS)
    assert len(copies) == len(rows) == 32
    assert np.bincount(rows, minlength=10).min() >= 3


def test_the_probability_of_so_many_copies_is_that_of_drawing_them():
    """Of two held-out scores the lower is the mark: three new ones all lie below it once in 10, of C(5, 3) orders."""
    assert excess(3, 3, 1, 2) == pytest.approx(1 / 10)
    generator = rng(0)
    hits = [(generator.random(20) < np.sort(generator.random(99))[rank_of(99) - 1]).sum() >= 2 for _ in range(4000)]
    assert np.mean(hits) == pytest.approx(excess(2, 20, 1, 99), abs=0.008)


def test_one_image_stands_for_a_patient():
    rows = one_each(np.array(["a", "a", "b", "c", "c"]), rng())
    assert len(rows) == 3
    assert set(np.array(["a", "a", "b", "c", "c"])[rows]) == {"a", "b", "c"}


def test_whether_an_image_leads_to_the_others_of_a_patient_by_hand():
    """Nearest is a's first image; a's other lies at 3, the others at 2, 4, 5: two of three farther off."""
    assert links(np.array([[1.0, 3.0, 2.0, 4.0, 5.0]]), np.array(list("aabcd"))) == pytest.approx([2 / 3])
    assert np.isnan(links(np.array([[3.0, 2.0, 1.0]]), np.array(list("aab"))))[0]


@pytest.mark.parametrize(
    ("metric", "outcome"),
    [
        (Metric(0.50, 0.48, 0.52), PASS),
        (Metric(0.60, 0.57, 0.63), FAIL),
        (Metric(0.57, 0.54, 0.61), UNDECIDED),
        (Metric(0.56, 0.54, 0.58), PASS),
        (Metric(0.9), UNDECIDED),
    ],
)
def test_a_share_fails_beyond_chance_only_and_passes_where_it_is_narrow_only(metric, outcome):
    assert share_outcome(metric, 0.55, 0.60, 0.5) == outcome


@pytest.mark.parametrize(
    ("metric", "outcome"),
    [
        (Metric(0.52, 0.47, 0.57), PASS),
        (Metric(0.70, 0.66, 0.74), FAIL),
        # The interval reaches the limit, and stretched by half it holds .5: nothing is known.
        (Metric(0.56, 0.51, 0.61), UNDECIDED),
        (Metric(0.8), UNDECIDED),
    ],
)
def test_an_attack_fails_a_generator_beyond_chance_only(metric, outcome):
    assert auc_outcome(metric) == outcome


def test_an_interval_is_stretched_by_half():
    assert surely_above(Metric(0.6, 0.54, 0.66), 0.509)
    assert not surely_above(Metric(0.6, 0.54, 0.66), 0.511)


def line_side(members, held, made):
    """Everything on a line, each image its own patient."""
    people, others = (np.array([f"{k}{n}" for n in range(len(v))]) for k, v in (("m", members), ("h", held)))
    a, b, c = on_line(members), on_line(held), on_line(made)
    x, y = Line().plain(a), Line().plain(b)
    empty = np.zeros(0)
    real = Real(
        Line(),
        x,
        y,
        people,
        others,
        near(Line(), b, x, people),
        near(Line(), b, y, others, own=others),
        near(Line(), a, x, people, own=people),
        empty,
        empty,
        empty,
    )
    return real, Made(near(Line(), c, x, people), near(Line(), c, y, others), empty)


def test_the_share_that_is_closer_is_brought_to_equal_numbers_by_its_odds():
    """Three of four are nearer to a member, of whom there are twice as many: odds 3 / 2, a share of .6."""
    real, made = line_side([0, 10, 20, 30], [5, 25], [0, 10, 20, 25.1])
    assert closer(real, made).value.value == pytest.approx(0.6)


def test_a_patient_who_is_nearest_to_all_counts_once():
    """Ninety images near one patient and ten near ten others: 100² / (90² + 10) patients, about one."""
    hubs = np.array(["a"] * 90 + [f"b{n}" for n in range(10)])
    found = share_over(hubs == "a", hubs)
    assert found.n == 1
    assert found.value == 0.9
    assert found.lower < 0.25
    even = share_over(np.arange(100) < 90, np.arange(100))
    assert even.n == 100
    assert even.lower == pytest.approx(0.826, abs=0.001)  # Wilson 1927 for 90 of 100


def test_authenticity_by_hand():
    """Members 0, 1, 10: nearest others at 1, 1, 9. Made .5 and 12 lie nearer to theirs (0 and 10), made -3 does not.

    Held-out 100, 101: made ones all lie farther off than 1. So 1/3 - 1 = -2/3.
    """
    real, made = line_side([0, 1, 10], [100, 101], [0.5, 12, -3])
    assert authentic(real, made, rng()).value.value == pytest.approx(-2 / 3)


def test_members_that_stand_out_are_told_and_counted_at_few_false_alarms():
    theirs = np.linspace(0, 1, 200)
    ours = np.concatenate([np.full(50, 2.0), np.linspace(0, 1, 150)])
    people = np.arange(200).astype(str), (np.arange(200) + 200).astype(str)
    auc, rare = membership("x", ours, theirs, people, rng())
    # A quarter stands above all, the rest is as the others: .25 + .75 / 2.
    assert auc.value.value == pytest.approx(0.625, abs=0.003)
    assert auc.outcome == FAIL
    # The second highest of 200 is the mark: 50 above it, and one of the 150 that are alike.
    assert rare.value.value == pytest.approx(51 / 200)
    assert rare.outcome == FAIL


@pytest.fixture(scope="module")
def real():
    return blobs(240, 0), blobs(160, 1)


def test_new_images_pass_and_copies_fail_whatever_was_done_to_them(real, tmp_path):
    members, held = real
    fresh = blobs(600, 2).nameless()
    good = audit(fresh, members, held, eyes(), rng())
    assert good.self_test.able, good.self_test
    assert good.self_test.found.value >= 0.95
    assert FAIL not in {f.outcome for f in good.findings}, good.reasons
    assert any(f.outcome == FAIL for f in good.control)
    assert good.control_is == "resampled"
    assert (good.verdict == PASS) == (good.scope == (INSIDE, SAMPLES))
    copies = planted(members, 60, rng(5))[0]
    bad = audit(joined([fresh.take(np.arange(540)), copies]), members, held, eyes(), rng())
    assert bad.verdict == FAIL
    assert bad.scope == (INSIDE,)
    assert {"fails_copies"} <= {r.key for r in bad.reasons}
    # The closest pairs are copies, each beside the image that it is of.
    rows = planted(members, 60, rng(5))[2]
    pairs = [(p.made - 540, p.member) for p in bad.gallery]
    assert all(made >= 0 for made, _ in pairs)
    assert np.mean([rows[made] == member for made, member in pairs]) >= 0.9
    assert bad.gallery[0].score < good.gallery[0].score
    record.write(tmp_path / "audit.json", bad)
    assert record.read(Audit, tmp_path / "audit.json") == bad


def test_a_generator_of_smooth_images_is_no_copier_though_it_is_near_to_everybody(real):
    """Without the texture that every patient has of his own, an image is nearer to all of them than they are."""
    members, held = real
    smooth = blobs(400, 2, coarse=0.05).nameless()
    pixels = Pixels(2)
    seen = pixels.plain(members.images)
    usual, ours = (near(pixels, d.images, seen, members.people).first for d in (held, smooth))
    # Told by the distance alone, a good part of them would be called copies, where one in a hundred should.
    assert (ours < np.quantile(usual, 0.01)).mean() > 0.3
    found = audit(smooth, members, held, eyes(), rng())
    assert found.verdict != FAIL, found.reasons


def test_an_auditor_that_cannot_see_gives_no_pass():
    """Patients who all look alike: a copy is nothing special among them."""
    base = blobs(1, 0).images
    alike = [
        Drawn(
            base + np.random.default_rng(s).normal(0, 1e-3, (n, *base.shape[1:])),
            np.zeros(n),
            np.array([f"{s}-{k}" for k in range(n)]),
        )
        for s, n in ((1, 150), (2, 120), (3, 200))
    ]
    found = audit(alike[2].nameless(), alike[0], alike[1], eyes(), rng())
    assert found.verdict == NOT_AUDITABLE
    assert "blind" in {r.key for r in found.reasons}
    assert found.self_test.found.value < 0.95


def test_too_few_patients_are_a_verdict_that_says_how_many_it_takes(real):
    members, held = real
    found = audit(blobs(50, 2).nameless(), members, held.take(np.arange(98)), eyes(), rng())
    assert found.verdict == NOT_AUDITABLE
    assert found.scope == (INSIDE,)
    assert found.reasons[0].key == "few"
    assert found.reasons[0].values["held"] == 98
    assert found.reasons[0].values["wanted"] == 99
    assert found.findings == ()


def test_masks_of_patients_keep_images_in_the_house_whatever_is_found(real):
    members, held = real
    few = held.take(np.arange(98))
    found = audit(blobs(50, 2).nameless(), members, few, eyes(), rng(), Ask(masks=240))
    assert [r.key for r in found.reasons] == ["few", "masks"]
    assert (found.reasons[-1].values, found.counts["masks"]) == ({"n": 240}, 240)
    assert _scope(PASS, (), blind=False) == (INSIDE, SAMPLES)
    assert _scope(PASS, (), blind=True) == (INSIDE,)


def test_where_patients_are_not_known_images_stay_in_the_house(real):
    members, held = real
    found = audit(blobs(50, 2).nameless(), members, held.take(np.arange(98)), eyes(), rng(), Ask(known=False))
    assert [r.key for r in found.reasons] == ["few", "unknown_patients"]
    assert (found.by, found.scope) == ("image", (INSIDE,))


def test_ninety_nine_images_of_few_patients_are_few(real):
    members, _ = real
    same = blobs(33, 1, each=3)
    found = audit(blobs(50, 2).nameless(), members, same, eyes(), rng())
    assert found.reasons[0].values["held"] == 33


def test_too_few_generated_images_give_no_pass(real):
    members, held = real
    found = audit(blobs(30, 2).nameless(), members, held, eyes(), rng())
    assert found.verdict == NOT_AUDITABLE
    assert any(r.key.startswith("wide_") for r in found.reasons)


def test_held_out_images_that_are_members_are_left_out_and_counted(real):
    members, held = real
    leaky = joined([held, Drawn(members.images[:5], members.labels[:5], np.array([f"x{n}" for n in range(5)]))])
    found = audit(blobs(300, 2).nameless(), members, leaky, eyes(), rng())
    assert found.counts["repeated"] == 5
    assert found.counts["held_out"] == len(held)
    assert found.self_test.able


def test_a_critic_that_knows_its_patients_forbids_sharing_weights_and_an_innocent_one_allows_it(real):
    members, held = real
    fresh = blobs(600, 2).nameless()
    known = {image.tobytes() for image in members.images}

    def tells(images):
        return np.array([float(image.tobytes() in known) for image in images]) + rng(1).normal(0, 0.5, len(images))

    bad = audit(fresh, members, held, eyes(), rng(), Ask(discriminator=tells))
    alone = audit(fresh, members, held, eyes(), rng())
    # Who has the images has not the critic: the verdict on the images stays as it is.
    assert bad.verdict == alone.verdict
    assert WEIGHTS not in bad.scope
    assert bad.reasons[-1].key == "critic"
    assert bad.reasons[-1].values["value"] > 0.8
    good = audit(fresh, members, held, eyes(), rng(), Ask(discriminator=lambda x: x.mean(axis=(1, 2, 3, 4))))
    alone = next(f for f in good.findings if f.name == "membership_isolated")
    if good.verdict == PASS:
        assert (WEIGHTS in good.scope) == (alone.outcome == PASS)


def test_a_control_that_does_not_copy_shows_that_nothing_was_shown(real):
    members, held = real
    innocent = Control(blobs(300, 9).nameless(), np.arange(16))
    found = audit(blobs(600, 2).nameless(), members, held, eyes(), rng(), Ask(control=innocent))
    assert found.control_is == "overfitted"
    assert found.counts["control"] == 16
    assert found.verdict == NOT_AUDITABLE
    assert found.scope == (INSIDE,)
    keys = {r.key for r in found.reasons}
    # Copies are asked of members, moved and made noisy, and these were found.
    assert "control_members" in keys
    assert "control_unseen" not in keys
    attacks = [f for f in found.findings if f.name.startswith("membership")]
    assert UNSEEN in {f.outcome for f in attacks}
    assert PASS not in {f.outcome for f in attacks}


def test_an_attack_that_finds_an_overfitted_generator_is_believed(real):
    members, held = real
    rows = np.arange(20, 36)
    known = planted(members.take(rows), 320, rng(3))[0]
    judge = Auditor(members, held, eyes(), rng(), Ask(control=Control(known, rows)))
    assert judge.leaky == {"pixels", "trained", "random"}
    # Of the members it has learned sixteen and no others: the attack is tried on these alone.
    found = next(f.value for f in judge.control if (f.name, f.space) == ("membership", "pixels"))
    assert found.value > 0.95
    said = judge.judge(blobs(600, 2).nameless())
    assert UNSEEN not in {f.outcome for f in said.findings}
    assert not {"control_members", "control_unseen"} & {r.key for r in said.reasons}


def test_a_space_that_the_members_have_taught_shows_nothing_of_an_attack(real):
    members, held = real
    taught = [replace(random_encoder(1, 2, seed=7), name="trained", learned=True), random_encoder(1, 2)]
    judge = Auditor(members, held, taught, rng())
    assert judge.leaky == {"pixels", "random"}


def test_patients_with_several_images_are_counted_once_and_looked_for():
    members, held = blobs(80, 0, each=3), blobs(120, 1, each=2)
    fresh = audit(blobs(300, 2).nameless(), members, held, eyes(), rng())
    again = next(f for f in fresh.findings if f.name == "reidentified")
    assert again.outcome in (PASS, TOLD)
    copies = planted(members, 160, rng())[0]
    found = audit(joined([blobs(140, 2).nameless(), copies]), members, held, eyes(), rng())
    led = next(f for f in found.findings if f.name == "reidentified")
    assert led.value.value > again.value.value
    assert found.counts["patients"] == 80
    assert found.verdict == FAIL


def test_volumes_are_audited_too():
    members, held = (blobs(n, s, size=(8, 10, 10)) for n, s in ((130, 0), (110, 1)))
    copies = planted(members, 100, rng())[0]
    found = audit(copies, members, held, eyes(3), rng())
    assert found.verdict == FAIL
    fresh = audit(blobs(300, 2, size=(8, 10, 10)).nameless(), members, held, eyes(3), rng())
    assert fresh.verdict != FAIL, fresh.reasons


def test_what_cannot_be_compared_is_refused(real):
    members, held = real
    with pytest.raises(UsageError, match="patients on one side only"):
        audit(blobs(50, 2).nameless(), members, joined([held, members.take([0])]), eyes(), rng())
    with pytest.raises(UsageError, match="No encoder"):
        audit(blobs(50, 2).nameless(), members, held, [], rng())
    with pytest.raises(UsageError, match="one grid"):
        audit(blobs(50, 2, size=(1, 20, 20)).nameless(), members, held, eyes(), rng())
    few = [line_side([0, 1, 2], [5, 6], [1])[0]] * 2
    with pytest.raises(DataError, match="99 or more"):
        finder_of(few, rng())


def test_the_audit_says_whether_patients_are_known_and_which_data_it_saw(real):
    members, held = real
    found = audit(blobs(60, 2).nameless(), members, held, eyes(), rng(), Ask(known=False))
    assert found.by == "image"
    assert found.digests["members"] == members.digest
    assert found.digests["trained"] == eyes()[0].digest


def test_the_same_seed_gives_the_same_verdict(real):
    members, held = real
    made = blobs(200, 2).nameless()
    first, again = (audit(made, members, held, eyes(), rng(4)) for _ in range(2))
    assert record.to_json(first) == record.to_json(again)


FINDINGS = (
    "copies",
    "certain",
    "closer",
    "ratio",
    "authentic",
    "membership",
    "membership_rare",
    "membership_isolated",
    "copies_isolated",
    "reidentified",
)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_answer_and_reason_has_words(lang, real):
    found = audit(blobs(60, 2).nameless(), *real, eyes(), rng(), Ask(discriminator=lambda x: x.mean(axis=(1, 2, 3, 4))))
    assert {f.name for f in found.findings} <= set(FINDINGS)
    gaps = {"name": "", "space": "", "value": 0.3, "lower": 0.2, "upper": 0.4, "limit": 0.1}
    for finding in FINDINGS:
        assert name("synth", f"audit_{finding}", lang) != f"audit {finding}"
        assert "{" not in t(f"synth.fails_{finding}", lang, **gaps)
    for finding in ("copies", "closer", "ratio", "authentic", "membership"):
        assert "{" not in t(f"synth.wide_{finding}", lang, **gaps)
    for kind in KINDS:
        assert name("synth", f"kind_{kind}", lang) != f"kind {kind}"
    for space in {f.space for f in found.findings} - {""}:
        assert name("synth", space, lang) != space or lang == "en"
    assert "{" not in t("synth.critic", lang, **gaps)
    for reason in found.reasons:
        assert t(f"synth.{reason.key}", lang, **reason.values)
    few = audit(blobs(60, 2).nameless(), real[0], real[1].take([0, 1]), eyes(), rng())
    assert "99" in t("synth.few", lang, **few.reasons[0].values)


def test_in_a_space_that_the_members_have_taught_nothing_hangs_on_comparing_them_with_strangers(real):
    taught = [replace(eyes()[0], learned=True), eyes()[1]]
    found = audit(planted(real[0], 200, rng())[0], *real, taught, rng())
    asked = {(f.name, f.outcome) for f in found.findings if f.space == "trained"}
    assert asked
    assert {outcome for _, outcome in asked} == {TOLD}
    # Copies are found with its help all the same.
    assert next(f for f in found.findings if f.name == "copies").outcome == FAIL


def test_one_auditor_judges_several_generators_as_it_would_each_alone(real):
    members, held = real
    judge = Auditor(members, held, eyes(), rng(4))
    alone = audit(blobs(300, 2).nameless(), members, held, eyes(), rng(4))
    assert record.to_json(judge.judge(blobs(300, 2).nameless())) == record.to_json(alone)
    assert judge.judge(planted(members, 200, rng())[0]).verdict == FAIL

import io

import numpy as np
import pytest
from PIL import Image as Picture

from lucency.inspect.duplicates import Pair, Thumb, _close_hashes, find_pairs, merge
from lucency.inspect.scan import pixel_digest
from lucency.inspect.thumbnail import glance


def thumb(case, array, modality="image"):
    seen = glance(array)
    return Thumb(case, modality, pixel_digest(array), seen.picture, seen.detail, seen.hash)


def jpeg(array, quality):
    file = io.BytesIO()
    Picture.fromarray(array[0, 0]).save(file, "JPEG", quality=quality)
    return np.asarray(Picture.open(file))[None, None]


def half(array):
    return array.reshape(1, 1, array.shape[2] // 2, 2, array.shape[3] // 2, 2).mean(axis=(3, 5))


CHANGES = {
    "jpeg": lambda a, rng: jpeg(a, 50),
    "half size": lambda a, rng: half(a),
    "double size": lambda a, rng: np.repeat(np.repeat(a, 2, 2), 2, 3),
    "16 bit": lambda a, rng: a.astype(np.uint16) * 257,
    "noise": lambda a, rng: a + rng.normal(scale=0.03 * a.std(), size=a.shape),
    "gamma": lambda a, rng: (a / 255.0) ** 1.2,
}


def anatomy(shelf, n, size=(1, 64, 64)):
    return [np.clip(shelf.picture(size) / 8 + 128, 0, 255).astype(np.uint8) for _ in range(n)]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_changed_copies_are_found_and_nothing_else(shelf, change):
    images = anatomy(shelf, 60)
    thumbs = [thumb(f"a{i:02}", a) for i, a in enumerate(images)]
    thumbs += [thumb(f"b{i:02}", CHANGES[change](images[i], shelf.rng)) for i in range(0, 60, 7)]
    pairs = find_pairs(thumbs, {t.case: "train" for t in thumbs})
    assert {(p.first, p.second) for p in pairs} == {(f"a{i:02}", f"b{i:02}") for i in range(0, 60, 7)}
    assert all(p.kind == "near" and p.correlation >= 0.98 for p in pairs)


@pytest.mark.parametrize("turn", [lambda a: a[..., ::-1], lambda a: a[..., ::-1, :], lambda a: 255 - a], ids=str)
def test_mirrored_and_inverted_images_are_other_images(shelf, turn):
    images = anatomy(shelf, 30)
    thumbs = [thumb(f"a{i:02}", a) for i, a in enumerate(images)] + [thumb("turned", turn(images[3]))]
    assert find_pairs(thumbs, {t.case: "train" for t in thumbs}) == []


def test_different_patients_on_one_template_are_not_duplicates(shelf):
    # Registered brain slices: a template that all share, plus a tenth of its contrast that is the patient's own.
    # Uncorrelated own parts a, b of variance .01 give cor = 1 / (1 + .01) = .990, above .98.
    template = shelf.picture((1, 64, 64)).astype(float)
    own = [shelf.picture((1, 64, 64)) * 0.1 for _ in range(40)]
    thumbs = [thumb(f"p{i:02}", template + o) for i, o in enumerate(own)]
    first, second = (t.picture.ravel().astype(float) for t in thumbs[:2])
    assert np.corrcoef(first, second)[0, 1] > 0.98
    thumbs.append(thumb("again", template + own[5] + shelf.rng.normal(scale=1.0, size=template.shape)))
    pairs = find_pairs(thumbs, {t.case: "train" for t in thumbs})
    assert [(p.first, p.second) for p in pairs] == [("again", "p05")]


def test_volumes_are_compared_too(shelf):
    volumes = [shelf.picture((20, 40, 44)) for _ in range(12)]
    thumbs = [thumb(f"v{i:02}", v) for i, v in enumerate(volumes)]
    thumbs.append(thumb("w", volumes[4] + shelf.rng.normal(scale=10, size=volumes[4].shape)))
    assert [(p.first, p.second) for p in find_pairs(thumbs, {t.case: "train" for t in thumbs})] == [("v04", "w")]


def test_copies_are_tied_to_one_of_every_part(shelf):
    image = anatomy(shelf, 1)[0]
    part = {"t1": "train", "t2": "train", "v1": "val", "v2": "val", "x": "test"}
    pairs = {(p.first, p.second) for p in find_pairs([thumb(c, image) for c in part], part)}
    assert {("t1", "v1"), ("t2", "v1"), ("t1", "x"), ("t2", "x"), ("v1", "x"), ("v2", "x")} <= pairs
    assert all(p.kind == "exact" for p in find_pairs([thumb(c, image) for c in part], part))


def test_images_of_two_modalities_are_only_compared_for_equality(shelf):
    image = anatomy(shelf, 1)[0]
    thumbs = [thumb("a", image, "T1"), thumb("b", jpeg(image, 80), "T2"), thumb("c", image, "T2")]
    found = {(p.first, p.second): p.kind for p in find_pairs(thumbs, dict.fromkeys("abc", "train"))}
    assert found == {("a", "c"): "exact", ("b", "c"): "near"}


def test_blockwise_hash_comparison_agrees_with_the_plain_one(monkeypatch):
    rng = np.random.default_rng(3)
    base = rng.integers(0, 2**63, (60, 4), dtype=np.uint64)
    # A copy of each with up to 90 flipped bits; the limit is 76 of 256.
    bits = np.unpackbits(base.view(np.uint8), axis=1)
    for row in bits:
        row[rng.choice(256, rng.integers(50, 91), replace=False)] ^= 1
    hashes = np.concatenate([base, np.packbits(bits, axis=1).view(np.uint64)])
    plain = {
        (i, j)
        for i in range(120)
        for j in range(i + 1, 120)
        if sum(int(a ^ b).bit_count() for a, b in zip(hashes[i], hashes[j], strict=True)) <= 76
    }
    monkeypatch.setattr("lucency.inspect.duplicates.HASH_BLOCK", 500)
    found = [pair for i, j in _close_hashes(hashes) for pair in zip(i.tolist(), j.tolist(), strict=True)]
    assert len(found) == len(set(found))
    assert set(found) == plain
    assert 10 < len(plain) < 60


def test_chain_of_look_alikes_stops_at_five_per_cent():
    # 200 cases, so 10 in a group: nine of the links of a chain of 30 join, the tenth would make eleven.
    chain = [Pair(f"c{i:03}", f"c{i + 1:03}", "near", 0.999 - i / 1000) for i in range(30)]
    merged = merge(chain, 200)
    assert max(len(g) for g in merged.groups) == 10
    assert merged.groups[0] == tuple(f"c{i:03}" for i in range(10))
    assert len(merged.pairs) + len(merged.refused) == 30
    assert merged.refused


def test_equal_images_are_joined_however_many_they_are():
    star = [Pair("c000", f"c{i:03}", "exact") for i in range(1, 40)]
    merged = merge(star, 100)
    assert [len(g) for g in merged.groups] == [40]
    assert not merged.refused


def test_groups_do_not_depend_on_the_order_of_the_images(shelf):
    images = anatomy(shelf, 25)
    thumbs = [thumb(f"a{i:02}", a) for i, a in enumerate(images)]
    thumbs += [thumb(f"b{i:02}", jpeg(images[i], 60)) for i in (2, 9)] + [thumb("c", images[2])]
    part = {t.case: "train" for t in thumbs}
    expected = merge(find_pairs(thumbs, part), 28)
    assert {"a02", "b02", "c"} in [set(g) for g in expected.groups]
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(thumbs))
        assert merge(find_pairs([thumbs[i] for i in order], part), 28) == expected

"""The section on quality: counts that add up, thumbnails of what was left out, suspected labels."""

from dataclasses import replace

import numpy as np
import pytest

from lucency.evaluate import Scored, suspects
from lucency.image import Image, diagonal_affine
from lucency.inspect import ImageFacts
from lucency.report import doubtful, quality, thumbnail
from lucency.report.page import render


def facts_of(case, quality="accept", reason="", **faults):
    measures = {"p50": 1.0}
    return ImageFacts(
        *(case, "image", 0, (1, 8, 8), (1.0, 1.0, 1.0), True, "uint8", 1, 0.0, 1.0, 0.5, 0.1, "d", "h"),
        quality=quality,
        reason=reason,
        measures=measures,
        faults=faults,
    )


@pytest.fixture
def judged(classification):
    names = [c.id for c in classification.cohort.cases[:4]]
    images = (
        facts_of(names[0], "reject", "noisy (9.0 deviations); blurred (4.5 deviations)", noisy=9.0, blurred=4.5),
        facts_of(names[1], "warn", "noisy (5.0 deviations)", noisy=5.0),
        facts_of(names[2], "warn", "cropped (7.9 deviations)", cropped=7.9),
        facts_of(names[3], noisy=0.1),
    )
    grey = Image(np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8), diagonal_affine((1, 1, 1)))
    return replace(classification, images=images, thumbnails={n: thumbnail(grey) for n in names[:2]})


def test_rejected_come_first_then_the_worst(judged):
    assert [i.case for i in doubtful(judged.images)] == [judged.images[n].case for n in (0, 2, 1)]


def test_counts_by_fault_and_in_all(judged):
    table = quality.counted(judged, "en")
    assert table.rows == (
        ("noisy", "1", "1"),
        ("blurred", "0", "1"),
        ("cropped field of view", "1", "0"),
        ("images in all", "2", "1"),
    )
    assert "1 of 4 images were accepted" in table.caption


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_page_has_the_section_with_its_thumbnails(judged, lang):
    page = render(judged, lang)
    section = page[page.index('aria-labelledby="quality"') :]
    section = section[: section.index("</section>")]
    assert section.count('<figure class="case">') == 2
    assert judged.images[0].case in section
    words = ("left out", "noisy") if lang == "en" else ("剔除", "噪声大（9.0 个标准差）")
    assert all(w in section for w in words)


def test_nothing_measured_and_no_suspects_leave_no_section(classification):
    assert 'aria-labelledby="quality"' not in render(classification, "en")


def test_thumbnail_of_eight_bits_is_as_dark_as_the_image():
    dark = Image(np.full((1, 1, 4, 4), 51, np.uint8) + np.eye(4, dtype=np.uint8), diagonal_affine((1, 1, 1)))
    assert thumbnail(dark).image[0, 1] == pytest.approx(51 / 255)
    assert thumbnail(dark, inverted=True).image[0, 1] == pytest.approx(204 / 255)


def test_suspected_labels_are_the_confident_contradictions_out_of_fold(classification):
    def scored(case, p, part="fold 0"):
        chances = {"normal": p, "pneumonia": 1 - p}
        return Scored(case, case, part, {}, "normal", "pneumonia", chances)

    part = replace(classification.evaluation.parts[0], name="out-of-fold", cases=())
    out = replace(part, cases=(scored("a", 0.04), scored("b", 0.01), scored("c", 0.06), scored("d", 0.9)))
    locked = replace(part, name="locked", cases=(scored("e", 0.001, "locked"),))
    found = suspects((locked, out))
    assert [c.case for c in found] == ["b", "a"]
    evaluation = replace(classification.evaluation, suspects=found)
    table = quality.suspects(replace(classification, evaluation=evaluation), "en")
    assert [r[:3] for r in table.rows] == [("b", "normal", "pneumonia"), ("a", "normal", "pneumonia")]
    assert "2 of 2 cases" in table.caption

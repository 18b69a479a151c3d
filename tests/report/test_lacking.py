"""The report's table of missing modalities, in both languages."""

import re
from dataclasses import replace

import pytest

from lucency.evaluate import Pattern
from lucency.report.lacking import table
from lucency.report.page import render
from lucency.report.stored import metrics_json
from lucency.statistics import Metric
from lucency.text import sentence


def metric(value, half):
    return Metric(value, value - half, value + half, 58, "patient bootstrap, 2000")


PATTERNS = (
    Pattern(("t1", "t2"), 60, 58, metric(0.94, 0.03), zero_filling=metric(0.95, 0.03), gain=metric(-0.01, 0.02)),
    Pattern(
        ("t1",),
        60,
        58,
        metric(0.91, 0.04),
        metric(-0.03, 0.02),
        0.0004,
        metric(0.70, 0.08),
        metric(0.21, 0.07),
        0.02,
        "paired DeLong",
    ),
)


def with_patterns(facts):
    parts = tuple(replace(p, patterns=PATTERNS) for p in facts.evaluation.parts)
    return replace(facts, evaluation=replace(facts.evaluation, parts=parts))


def test_the_table_says_what_is_lost_and_what_is_gained(classification):
    facts = with_patterns(classification)
    found = table(facts.locked, facts.evaluation.headline, "en")
    assert found.heads[0] == "Given"
    whole, alone = found.rows
    assert whole[:2] == ("t1 + t2", "58")
    assert whole[3:5] == ("—", "—")
    assert alone[0] == "t1"
    assert "\u22120.030" in alone[3]
    assert alone[4] == "< 0.001"
    assert alone[6].startswith("+0.210")
    assert all(len(r) == len(found.heads) for r in found.rows)


def test_without_a_network_given_zeros_its_columns_are_left_out(classification):
    facts = with_patterns(classification)
    bare = replace(facts.locked, patterns=tuple(replace(p, zero_filling=None, gain=None) for p in PATTERNS))
    assert len(table(bare, facts.evaluation.headline, "en").heads) == 5


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_has_the_section_only_where_a_modality_may_be_missing(classification, lang):
    word = {"en": "When a modality is missing", "zh": "缺少模态时"}[lang]
    assert word not in render(classification, lang)
    assert word in render(with_patterns(classification), lang)


def test_metrics_json_holds_every_choice_and_nothing_where_there_is_none(classification):
    assert "modalities" not in metrics_json(classification)["parts"]["locked"]
    held = metrics_json(with_patterns(classification))["parts"]["locked"]["modalities"]
    assert [p["given"] for p in held] == [["t1", "t2"], ["t1"]]
    assert held[1]["minus_zero_filling"]["value"] == pytest.approx(0.21)
    assert held[1]["p_against_all"] == pytest.approx(0.0004)


@pytest.mark.parametrize(
    "said",
    [
        "modality t2 is missing",
        "12 cases lack modality t2: a, b, c, d, e and 7 more.",
        "1 cases have modality pet, which training has never seen and which is passed over: a.",
        "passed over, for fewer than 3 of 60 training cases have it: pet (1)",
        "no training case lacks a modality, and none may be missing later; --set modality_dropout=0.3 trains for that",
        "missing in training cases: 0000 in 18, 0001 in 4 of 54; each modality has a stem of its own, the mean is over "
        "those that are there, and each is left out of 30% of the training images, never all",
    ],
)
def test_what_is_said_of_modalities_is_said_in_chinese(said):
    spoken = sentence(said, "zh").replace("--set modality", "")
    assert not re.search(r"[a-z]{3,} [a-z]{3,}", spoken), spoken

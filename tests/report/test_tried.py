"""What a trial of choices looks like in the report."""

from dataclasses import replace

from lucency.planner import Arm, Trial, Tried
from lucency.report.page import render
from lucency.report.tables import tried as table_of
from lucency.statistics import Metric
from lucency.text import t

TRIAL = Trial("imbalance", ("plain", "balanced_mixup", "focal"), (0, 1, 2), 60, 30.0)


def test_the_report_has_a_table_of_what_was_tried(classification):
    assert table_of(classification, "en") is None
    value, gain = Metric(0.9, 0.85, 0.94, 60, "b"), Metric(0.02, 0.01, 0.03, 3, "n")
    arms = (
        Arm("plain", value),
        Arm("balanced_mixup", value, gain, 0.01, 0.02, "Nadeau–Bengio corrected t"),
        Arm("focal", None),
    )
    facts = replace(classification, tried=Tried(TRIAL, arms, "balanced_mixup", "why", 60.0))
    for lang in ("en", "zh"):
        table = table_of(facts, lang)
        assert table.strong == {1}
        assert (table.rows[1][1], table.rows[1][3]) == ("0.900 (0.850–0.940)", "0.020")
        assert table.rows[1][2].startswith("+0.020")
        assert table.rows[2][1] == t("plan.diverged", lang)
        assert table.caption in render(facts, lang)


def test_a_trial_that_was_broken_off_has_no_table(classification):
    facts = replace(classification, tried=Tried(TRIAL, (), "plain", "why", 60.0))
    assert table_of(facts, "en") is None

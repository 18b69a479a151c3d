"""Numbers as the report writes them."""

from lucency.report.numbers import estimate
from lucency.statistics import Metric


def test_a_small_p_value_is_not_written_as_nothing():
    assert estimate("log_rank_p", Metric(0.00004, n=119, method="log-rank test"), "en") == "< 0.001"
    assert estimate("log_rank_p", Metric(0.0866, n=21, method="log-rank test"), "en") == "0.087"
    assert estimate("uno_c", Metric(0.0, n=21, method="exact"), "en") == "0.000"

"""The report: one self-contained page, the numbers as JSON, and the model card."""

from lucency.report.facts import Facts, Picture, cases_to_show
from lucency.report.modelcard import card
from lucency.report.page import write_report
from lucency.report.shown import picture

__all__ = ["Facts", "Picture", "card", "cases_to_show", "picture", "write_report"]

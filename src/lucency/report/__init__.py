"""The report: one self-contained page, the numbers as JSON, and the model card."""

from lucency.report.facts import Facts, Picture, cases_to_show
from lucency.report.modelcard import card
from lucency.report.page import write_report
from lucency.report.quality import doubtful
from lucency.report.shown import picture, thumbnail

__all__ = ["Facts", "Picture", "card", "cases_to_show", "doubtful", "picture", "thumbnail", "write_report"]

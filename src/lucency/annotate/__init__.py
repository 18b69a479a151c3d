"""Annotation with a model's help: what to look at first, and what came back."""

from lucency.annotate.compared import Agreement
from lucency.annotate.orders import STRATEGIES, Place, Pool, ordered
from lucency.annotate.room import Look, listed, look
from lucency.annotate.session import Round, Wish, annotate

__all__ = ["STRATEGIES", "Agreement", "Look", "Place", "Pool", "Round", "Wish", "annotate", "listed", "look", "ordered"]

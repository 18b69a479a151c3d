"""Similar cases: the index of a run, the search in it, and the page that shows what was found and why."""

from lucency.search.asking import Answer, Ask, Neighbour, search
from lucency.search.building import index_of

__all__ = ["Answer", "Ask", "Neighbour", "index_of", "search"]

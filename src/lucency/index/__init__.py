"""Embeddings of many cases, who they belong to, and which of them lie nearest to a query."""

from lucency.index.exact import nearest, ranks_of_same
from lucency.index.rows import Rows, Wanted
from lucency.index.space import Space, averaged, averaged_all, space_of
from lucency.index.stored import Found, Index, remember

__all__ = [
    "Found",
    "Index",
    "Rows",
    "Space",
    "Wanted",
    "averaged",
    "averaged_all",
    "nearest",
    "ranks_of_same",
    "remember",
    "space_of",
]

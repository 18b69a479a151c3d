"""Embeddings of many cases, who they belong to, and which of them lie nearest to a query."""

from lucency.index.exact import nearest, ranks_of_same
from lucency.index.rows import Rows, Wanted
from lucency.index.stored import Found, Index, placed, remember, spread_of

__all__ = ["Found", "Index", "Rows", "Wanted", "nearest", "placed", "ranks_of_same", "remember", "spread_of"]

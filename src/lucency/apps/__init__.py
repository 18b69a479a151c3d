"""Thin programs over the rooms: they parse, call a room and show the result."""

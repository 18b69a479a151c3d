"""Annotation with a model's help: what to look at first, and what came back."""

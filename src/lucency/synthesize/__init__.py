"""Generated images, accepted only with evidence: how good they are, whom they give away, and whether they help."""

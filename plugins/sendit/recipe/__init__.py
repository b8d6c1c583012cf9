"""Recipes: deid's language read, refused where it would fail open, and understood."""

"""Recipes: parse deid's language, refuse what would fail open, and say what the rest does."""

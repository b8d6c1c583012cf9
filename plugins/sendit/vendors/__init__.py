"""Vendors' own structures, reduced to their understood numbers; one module for each."""


class NotUnderstood(ValueError):
    """The value is not the structure that a module knows; nothing of it may be used."""

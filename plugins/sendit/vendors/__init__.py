"""Parse vendors' proprietary structures and rebuild them from known numbers; a module each."""


class NotUnderstood(ValueError):
    """The value does not have the expected structure, so it must not be used."""

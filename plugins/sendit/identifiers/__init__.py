"""Coded identifiers and the jitter: the services that give them."""

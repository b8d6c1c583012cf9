"""Identifier services."""

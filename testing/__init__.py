"""Builders and stand-ins that tests, chaos, demo and benchmarks share."""

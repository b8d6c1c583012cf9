"""Pixels: frames read, text found in them, regions blanked."""

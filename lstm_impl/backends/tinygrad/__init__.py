"""Compute with tinygrad."""

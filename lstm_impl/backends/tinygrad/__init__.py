"""Backends that compute with tinygrad."""

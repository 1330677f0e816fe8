"""Backends that compute with JAX."""

"""Compute with JAX, and with Flax on JAX."""

"""Backends of other runtimes, and the plain loop in NumPy."""

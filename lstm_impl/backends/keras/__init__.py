"""Compute with Keras's layers and models, on each of its backends."""

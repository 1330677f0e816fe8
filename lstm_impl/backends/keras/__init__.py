"""Backends that call Keras's own layers."""

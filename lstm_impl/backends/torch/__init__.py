"""Backends that compute with PyTorch."""

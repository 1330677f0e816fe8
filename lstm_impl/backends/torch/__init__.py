"""Compute with PyTorch."""

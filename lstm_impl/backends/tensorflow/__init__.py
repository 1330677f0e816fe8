"""Compute with TensorFlow's ops."""

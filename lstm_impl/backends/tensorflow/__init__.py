"""Backends made of TensorFlow's ops."""

"""Compute with NumPy, LiteRT and OpenVINO, which have few backends each."""

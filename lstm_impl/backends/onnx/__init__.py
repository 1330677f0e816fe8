"""Backends that run ONNX graphs."""

"""Compute with ONNX Runtime."""

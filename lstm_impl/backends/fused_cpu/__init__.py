"""A fused LSTM op of our own in C++, for CPUs, and its library."""

from lstm_impl.backends.fused_cpu.backend import FusedCpu, ops

__all__ = ["FusedCpu", "ops"]

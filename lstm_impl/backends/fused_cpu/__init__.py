"""Run a fused LSTM op in C++ on CPUs, and build its library."""

from lstm_impl.backends.fused_cpu.backend import FusedCpu, ops

__all__ = ["FusedCpu", "ops"]

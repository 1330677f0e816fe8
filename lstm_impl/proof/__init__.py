"""The library's own proof: a backend computes what the float64 reference computes, within bounds.

``gate`` puts a model before a judge on a workload's own shapes; ``comparison`` has the errors and
their bounds. It knows models by their public methods, and nothing of time or files.
"""

from lstm_impl.proof.check import GateResult, final_gradient, gate, judged_parts
from lstm_impl.proof.judge import Judge, numpy_judge

__all__ = ["GateResult", "Judge", "final_gradient", "gate", "judged_parts", "numpy_judge"]

"""The proof that a backend computes what the float64 reference computes, within bounds."""

from lstm_impl.proof.check import GateResult, final_gradient, gate, judged_parts
from lstm_impl.proof.judge import Judge, numpy_judge

__all__ = ["GateResult", "Judge", "final_gradient", "gate", "judged_parts", "numpy_judge"]

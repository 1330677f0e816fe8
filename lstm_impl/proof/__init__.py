"""Prove that a backend computes what the float64 reference computes, within bounds on the error."""

from lstm_impl.proof.check import GateResult, gate, make_final_gradient, select_judged_parts
from lstm_impl.proof.judge import Judge, make_numpy_judge

__all__ = [
    "GateResult",
    "Judge",
    "gate",
    "make_final_gradient",
    "make_numpy_judge",
    "select_judged_parts",
]

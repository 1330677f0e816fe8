"""One roof: what it is and whose, what of a case it counts, and what a case above it means."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.records.schema import Figures, Reason
from bench.worker.roof_work import Sizes
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload

WELL_ABOVE = 1.5
"""Times a roof from which on a case is doubted. On one CPU the best products of two libraries
differ by more, but here each library's own are in the roof; a clock changes by a tenth or two."""

IMPOSSIBLE = 3.0
"""Times the rate of products of every library at hand: no kernel is so much better than all that
its own library, and the others, do best; half a step's work, or none, would be."""

WORDS = {
    "matmul": "the matrix-product rate",
    "bandwidth": "the memory bandwidth",
    "chain": "the serial chain of products",
}

THIS_PROCESS = "this process"
"""Where a roof comes from that no other process on this machine has exceeded."""


class AccountingError(RuntimeError):
    """A case seems to be faster than its device can possibly be; the message says by how much."""


@dataclass(frozen=True)
class Roof:
    """Seconds of one unit (an operation, a byte, a product) at the best, and who was that fast.

    origin: ``THIS_PROCESS``, or when another one on this machine saw it. here: the best of this
    process; infinite if it measured none.
    """

    seconds: float
    by: str
    origin: str = THIS_PROCESS
    here: float = math.inf


def doubts(figures: Figures) -> list[Reason]:
    """Why a case is not to be trusted whose figures these are: it is well above a roof.

    Never for the chain, which a kernel that holds the weights is rightly above; for the rate of
    products only if those of every framework in the process are in it; and for the bandwidth only
    if the case's data is larger than the arrays that it was measured with: what fits into caches
    is moved by them.
    """
    judged = []
    if not figures.get("matmul_without"):
        judged.append("matmul")
    size, whole = figures.get("bytes"), figures.get("array_bytes")
    if isinstance(size, float) and isinstance(whole, float) and size > whole:
        judged.append("bandwidth")
    found = []
    for name in judged:
        part = figures.get(f"of_{name}")
        if isinstance(part, float) and part > WELL_ABOVE:
            found.append(
                Reason(
                    "above_roof",
                    f"it would be at {part:.0%} of {WORDS[name]}, the best that was seen here "
                    f"({figures[f'{name}_by']}), which was measured again",
                    "measure it again on a quiet machine; if it stays, either the step does less "
                    "than is counted, or the roof is too low: please report it",
                )
            )
    return found


def check_accounting(found: Figures, seconds: float) -> None:
    """Raise AccountingError for a case that is past all that is possible."""
    part = found.get("of_matmul")
    if isinstance(part, float) and part > IMPOSSIBLE:
        raise AccountingError(
            f"accounting error: {seconds:.3g} s a step would be {part:.0%} of "
            f"{WORDS['matmul']}, over {IMPOSSIBLE:.0%} of what every library here reaches "
            f"at best ({found['matmul_by']})"
        )


def chain(spec: LSTMSpec, workload: Workload) -> dict[Sizes, float]:
    """How many products of each size must wait for one another in one step.

    Forward each timestep takes ``[batch, hidden] x [hidden, 4 hidden]``, and in training one of
    ``[batch, 4 hidden] x [4 hidden, hidden]`` backward. Directions can run side by side. So can
    layers, each one timestep behind the one below (Appleyard, Kočiský and Blunsom 2016), unless
    there are two directions: the next layer then waits for both ends. Windows follow one another.
    Sequences that have ended take no part: a product counts for the part of its rows that is valid.
    That for the initial state's gradient, a window's last, is counted whether it is asked for or
    not: most backends compute it in their loop.
    """
    layers = spec.num_layers
    steps = 0
    for window in workload.windows():
        length = window.stop - window.start
        steps += length * layers if spec.bidirectional else length + layers - 1
    counted = steps * workload.valid_timesteps() / (workload.batch * workload.timesteps)
    forward = (workload.batch, spec.hidden_size, 4 * spec.hidden_size)
    backward = (workload.batch, 4 * spec.hidden_size, spec.hidden_size)
    return {forward: counted, backward: counted} if workload.training else {forward: counted}


def precisions(spec: LSTMSpec, device: str) -> tuple[str, ...]:
    """What a case's products may be computed in: the fastest makes its roof.

    A CPU may compute halves in float32, and often has to; it knows no TF32.
    """
    compute = spec.precision.compute
    if device == "cpu":
        return (compute, "float32") if compute in ("float16", "bfloat16") else (compute,)
    return ("tf32", "float32") if spec.dtype == "tf32" else (compute,)

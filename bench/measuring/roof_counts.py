"""What of a case its roofs count: the products that wait for one another, and their precision."""

from __future__ import annotations

from bench.measuring.roof_work import Sizes
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload


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

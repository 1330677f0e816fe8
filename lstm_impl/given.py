"""A step on arrays of the caller's own: what ``Model.prepare`` makes of random ones.

For who measures what random inputs do not show, such as sequences whose lengths differ from batch
to batch, or numbers so small that arithmetic on them is slow.
"""

from __future__ import annotations

import numpy as np

from lstm_impl.call import Call, Outputs, RawGradients, Request, Upstream
from lstm_impl.model import Model
from lstm_impl.spec import FloatArray, UnsupportedError
from lstm_impl.state import LSTMState
from lstm_impl.step import Step
from lstm_impl.workload import Inputs, Workload


def given_step(
    model: Model, inputs: Inputs, mode: str = "inference", gradients: str = "weights"
) -> Step:
    """The step on ``inputs``, which are placed on the model's device now.

    mode: ``inference``, or ``training``, in which ``inputs.dy`` flows into the outputs and nothing
    into the final state. gradients: what training differentiates, one of ``GRADIENTS``.

    Raises UnsupportedError for what the backend cannot do.
    """
    timesteps, batch = inputs.x.shape[:2]
    lengths = inputs.lengths
    training = mode == "training"
    workload = Workload(
        batch,
        timesteps,
        mode,
        min_length=None if lengths is None else int(lengths.min()),
        batch_major=model.batch_major,
        gradients=gradients if training else "all",
    )
    if reason := model.backend.refusal(model.spec, workload):
        raise UnsupportedError(f"{model.backend.name}: {reason}")

    def sequence(array: FloatArray) -> FloatArray:
        return np.swapaxes(array, 0, 1) if model.batch_major else array

    place = model._to_device
    call = Call(
        place(sequence(inputs.x)),
        place(inputs.state.h),
        place(inputs.state.c),
        None if lengths is None else place(lengths),
        None if inputs.masks is None else place(inputs.masks),
    )
    if not training:

        def infer() -> Outputs:
            return model._infer(call)

        request = Request(None, call)
        return Step(
            infer, model.synchronize, lambda: model._trace_ahead(request), None, model._host_results
        )
    zero = place(LSTMState.zeros(model.spec, batch).h)
    upstream = Upstream(place(sequence(inputs.dy)), zero, zero)

    def train() -> RawGradients:
        return model._train(gradients, call, upstream)

    request = Request(gradients, call, upstream)
    return Step(
        train, model.synchronize, lambda: model._trace_ahead(request), None, model._host_results
    )

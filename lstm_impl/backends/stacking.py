"""Loop over layers and directions, for all frameworks whose tensors index and multiply."""

from collections.abc import Callable

from lstm_impl.call import Call, Outputs, Tensor
from lstm_impl.spec import LSTMSpec

Layer = Callable[[int, Call, bool], Outputs]
"""Compute one direction of one layer, from its row in the state, its own call (h and c ``[B, H]``)
and whether it reads backwards; outputs stand at the step they belong to."""


def through_layers(
    spec: LSTMSpec,
    call: Call,
    layer: Layer,
    join: Callable[[list[Tensor]], Tensor],
    stack: Callable[[list[Tensor]], Tensor],
) -> Outputs:
    """Compute the network: outputs ``[.., .., D*H]`` with the input's axes, final h and c."""
    x = call.x
    h_last, c_last = [], []
    for number in range(spec.num_layers):
        if number and call.masks is not None:
            x = x * call.masks[number - 1]
        outputs = []
        for direction in range(spec.num_directions):
            row = number * spec.num_directions + direction
            own = Call(x, call.h[row], call.c[row], call.lengths)
            y, h, c = layer(row, own, direction == 1)
            outputs.append(y)
            h_last.append(h)
            c_last.append(c)
        x = outputs[0] if len(outputs) == 1 else join(outputs)
    return Outputs(x, stack(h_last), stack(c_last))

"""Loop over layers and directions, for all frameworks whose tensors index and multiply."""

from collections.abc import Callable

from lstm_impl.call import Call, Outputs, States, Tensor
from lstm_impl.spec import LSTMSpec

Layer = Callable[[int, Call, bool], Outputs]
"""Compute one direction of one layer, from its row in the states, its own call (states ``[B, H]``)
and whether it reads backwards; outputs stand at the step they belong to."""


def through_layers(
    spec: LSTMSpec,
    call: Call,
    layer: Layer,
    join: Callable[[list[Tensor]], Tensor],
    stack: Callable[[list[Tensor]], Tensor],
) -> Outputs:
    """Compute the network: outputs ``[.., .., D*H]`` with the input's axes, and final states."""
    x = call.x
    last: list[States] = []
    for number in range(spec.num_layers):
        if number and call.masks is not None:
            x = x * call.masks[number - 1]
        outputs = []
        for direction in range(spec.num_directions):
            row = number * spec.num_directions + direction
            own = call._replace(x=x, states=tuple(each[row] for each in call.states), masks=None)
            y, states = layer(row, own, direction == 1)
            outputs.append(y)
            last.append(states)
        x = outputs[0] if len(outputs) == 1 else join(outputs)
    return Outputs(x, tuple(stack(list(each)) for each in zip(*last, strict=True)))

"""Loop over layers and directions in any framework whose tensors support indexing and ``*``."""

from collections.abc import Callable

from lstm_impl.call import Call, Outputs, States, Tensor
from lstm_impl.spec import LSTMSpec

Layer = Callable[[int, Call, bool], Outputs]
"""Compute one direction of one layer. The arguments are its row in the states, its call with states
``[B, H]``, and whether it reads the sequence backwards. Each output stands at the step to which it
belongs."""


def through_layers(
    spec: LSTMSpec,
    call: Call,
    layer: Layer,
    join: Callable[[list[Tensor]], Tensor],
    stack: Callable[[list[Tensor]], Tensor],
) -> Outputs:
    """Compute all layers and directions of a network.

    Parameters
    ----------
    spec, call
        The network, and its inputs.
    layer
        A function that computes one direction of one layer.
    join
        A function that concatenates the outputs of two directions on the feature axis.
    stack
        A function that stacks the final states of all layers and directions.

    Returns
    -------
    Outputs
        The outputs with the axes of the input and D*H features, and the final states.
    """
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

"""Run loops over time in a graph: one or more timesteps an iteration, ``tf.scan``, or unrolled."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from lstm_impl.backends.recurrence import make_recurrence
from lstm_impl.backends.tensorflow.backend import (
    FirstStepBits,
    FirstSteps,
    PaddingMask,
    TensorFlowBackend,
)
from lstm_impl.backends.tensorflow.gru_gradient import backward_gru, forward_gru
from lstm_impl.call import Call, Outputs, States, Tensor, Tensors, Upstream
from lstm_impl.cell import DEFAULT, GRU, Cell, Operations, Recurrence
from lstm_impl.spec import LSTMSpec, Refusal, RefusalReason, UnsupportedError
from lstm_impl.workload import Workload

Carry = tuple[Tensor, ...]
Slices = tuple[Tensor, ...]
StepFunction = Callable[[Carry, Slices], tuple[Carry, Slices]]


class LayerInputs(NamedTuple):
    """Hold the inputs of a layer that have gradients, or these gradients.

    Attributes
    ----------
    x
        ``[T, B, in]``.
    states
        The initial states, ``[B, H]`` each, in the order of ``Cell.states``.
    parameters
        The kernel ``[in, G*H]``, the recurrent kernel ``[H, G*H]``, the bias ``[G*H]``, and the
        second bias of a cell that has two.
    """

    x: Tensor
    states: States
    parameters: tuple[Tensor, ...]

    @property
    def flat(self) -> tuple[Tensor, ...]:
        """The input, each state and each parameter, one after the other."""
        return (self.x, *self.states, *self.parameters)

    @classmethod
    def from_flat(cls, tensors: Tensors, cell: Cell) -> LayerInputs:
        """Make the inputs of a layer of ``cell`` from tensors in the order of ``flat``."""
        end = 1 + len(cell.states)
        return cls(tensors[0], tuple(tensors[1:end]), tuple(tensors[end:]))


class LoopBackend(TensorFlowBackend, abc.ABC):
    """Loop over time with ``scan``.

    The option ``+preproject`` computes the input product of all timesteps in one matrix product
    before the loop, which needs more memory and makes fewer products. ``+hoisted`` uses the
    hand-written gradient, which preprojects too. ``+xla`` compiles the step.
    """

    flags = ("preproject", "hoisted", "xla")
    takes_resets = True
    cells = None

    def cell_refusal(self, spec: LSTMSpec) -> str:
        by_hand = spec.cell == DEFAULT or isinstance(spec.cell, GRU)
        if "hoisted" in self.options and not by_hand:
            text = (
                f"its hand-written gradients are those of lstm and gru, not of {spec.cell.name}; "
                "leave +hoisted out"
            )
            return RefusalReason(text, Refusal.NO_CELL)
        return super().cell_refusal(spec)

    def conflict(self) -> str:
        if "preproject" in self.options and "hoisted" in self.options:
            return "+hoisted computes the input product before the loop; leave +preproject out"
        return ""

    @abc.abstractmethod
    def scan(
        self, step: StepFunction, carry: Carry, sequences: Slices, outputs: Slices, reverse: bool
    ) -> tuple[Carry, Slices]:
        """Run ``step(carry, slices) -> carry, outputs`` over time.

        Parameters
        ----------
        step
            A function of one timestep.
        carry
            What the first step gets. Each step passes its carry on to the next one.
        sequences
            Tensors ``[T, ...]``, of which each step gets a slice.
        outputs
            For each output of a step, a tensor with its shape and type.
        reverse
            Whether the loop goes from the last timestep to the first. Each output still stands at
            its own timestep.

        Returns
        -------
        tuple
            The last carry, and the outputs stacked over time.
        """

    def layer(
        self,
        call: Call,
        parameters: Tensors,
        padding: PaddingMask | None,
        reverse: bool,
        cell: Cell = DEFAULT,
    ) -> Outputs:
        # In reverse, the state stays unchanged up to the first valid step, so x need not be
        # reversed.
        mask = None if padding is None else padding.mask
        first = FirstSteps.of(call, mask, reverse)
        if "hoisted" in self.options:
            given = LayerInputs(call.x, tuple(call.states), tuple(parameters))
            return self._hoisted_layer(given, mask, reverse, first, cell)
        return self.plain_layer(call, parameters, mask, reverse, first, cell)

    def plain_layer(
        self,
        call: Call,
        parameters: Tensors,
        mask: Tensor | None,
        reverse: bool,
        first: FirstSteps | FirstStepBits | None,
        cell: Cell,
    ) -> Outputs:
        """Compute a layer with ops that TensorFlow can differentiate any number of times.

        mask: bool ``[T, B, 1]``, or None. first: where sequences start over in this direction, in
        place of the call's resets.
        """
        import tensorflow as tf

        x, initial = call.x, call.states
        kernel, recurrent_kernel, bias, *second = parameters
        recurrence = self.make_recurrence([recurrent_kernel, *second], cell)
        preproject = "preproject" in self.options
        sequence = project(x, kernel, bias) if preproject else x

        def step(carry: Carry, slices: Slices) -> tuple[Carry, Slices]:
            projected = slices[0] if preproject else tf.matmul(slices[0], kernel) + bias
            if first is not None:
                carry = first.begin(slices[-1], carry, initial)
            new = cell.equations(operations(), projected, recurrence, carry)
            if mask is None:
                return new, new[:1]
            valid = slices[1]
            y = tf.where(valid, new[0], tf.zeros_like(new[0]))
            pairs = zip(new, carry, strict=True)
            return tuple(tf.where(valid, after, before) for after, before in pairs), (y,)

        sequences = _present(sequence, mask, first and first.steps)
        states, (y,) = self.scan(step, initial, sequences, initial[:1], reverse)
        return Outputs(y, states)

    def make_recurrence(self, recurrent: Tensors, cell: Cell) -> Recurrence:
        """Return the product with the recurrent kernel that the equations of ``cell`` call."""
        return make_recurrence(recurrent)

    # -- the hand-written gradient

    def _hoisted_layer(
        self,
        inputs: LayerInputs,
        mask: Tensor | None,
        reverse: bool,
        first: FirstSteps | None,
        cell: Cell,
    ) -> Outputs:
        import tensorflow as tf

        @tf.custom_gradient
        def layer(*inputs: Tensor) -> tuple[Any, Callable[..., Any]]:
            given = LayerInputs.from_flat(inputs, cell)
            outputs, residuals = self.forward_with_residuals(given, mask, reverse, first, cell)

            def backward(dy: Tensor, *dstates: Tensor) -> Any:
                how = given, mask, reverse, Upstream(dy, dstates), first, cell
                return self.backward_from_residuals(residuals, *how).flat

            return outputs.flat, backward

        return Outputs.from_flat(layer(*inputs.flat))

    def forward_with_residuals(
        self,
        inputs: LayerInputs,
        mask: Tensor | None,
        reverse: bool,
        first: FirstSteps | None = None,
        cell: Cell = DEFAULT,
    ) -> tuple[Outputs, Slices]:
        """Compute the outputs, and what the backward pass needs of each step.

        For an LSTM, that is the gates i, f, g and o, each in an array of its own because that is
        how they are used, and the hidden and the cell state. For a GRU, see ``forward_gru``.
        """
        import tensorflow as tf

        if isinstance(cell, GRU):
            x, (h0,), parameters = inputs
            y, last, kept = forward_gru(self.scan, x, h0, parameters, mask, reverse, first)
            return Outputs(y, (last,)), kept
        x, (h0, c0), (kernel, recurrent_kernel, bias) = inputs

        def step(carry: Carry, slices: Slices) -> tuple[Carry, Slices]:
            h, c = carry if first is None else first.begin(slices[-1], carry, (h0, c0))
            i, f, g, o = split_gates(slices[0] + tf.matmul(h, recurrent_kernel))
            h_new, c_new = lstm_states((i, f, g, o), c)
            if mask is not None:
                h_new, c_new = tf.where(slices[1], h_new, h), tf.where(slices[1], c_new, c)
            return (h_new, c_new), (i, f, g, o, h_new, c_new)

        projected = project(x, kernel, bias)
        sequences = _present(projected, mask, first and first.steps)
        (h, c), residuals = self.scan(step, (h0, c0), sequences, (h0,) * 6, reverse)
        hidden = residuals[4]
        y = hidden if mask is None else tf.where(mask, hidden, tf.zeros_like(hidden))
        return Outputs(y, (h, c)), residuals

    def backward_from_residuals(
        self,
        residuals: Slices,
        inputs: LayerInputs,
        mask: Tensor | None,
        reverse: bool,
        upstream: Upstream,
        first: FirstSteps | None = None,
        cell: Cell = DEFAULT,
    ) -> LayerInputs:
        """Compute the gradient of each input."""
        import tensorflow as tf

        if isinstance(cell, GRU):
            x, (h0,), parameters = inputs
            flow = upstream.dy, upstream.dstates[0]
            how = x, h0, parameters, mask, reverse, first
            return LayerInputs.from_flat(backward_gru(self.scan, *how, residuals, flow), cell)
        x, (h0, c0), (kernel, recurrent_kernel, _) = inputs
        dy, (dh, dc) = upstream
        *gates, hidden, cells = residuals
        hidden_before = shift(hidden, h0, reverse)
        cells_before = shift(cells, c0, reverse)
        if first is not None:
            hidden_before = first.before(hidden_before, h0)
            cells_before = first.before(cells_before, c0)
        # Each of these is one op in place of three, for y * (1 - y) * dy and (1 - y * y) * dy.
        sigmoid_gradient, tanh_gradient = tf.raw_ops.SigmoidGrad, tf.raw_ops.TanhGrad

        def step(carry: Carry, slices: Slices) -> tuple[Carry, Slices]:
            dh, dc, *of_initial = carry
            dy_t, i, f, g, o, c_t, c_before = slices[:7]

            def before(*flow: Tensor) -> Carry:
                if first is None:
                    return flow
                passed, caught = first.cut(slices[-1], flow, of_initial)
                return (*passed, *caught)

            tanh_c = tf.tanh(c_t)
            dh_t = dh + dy_t
            dc_t = dc + tanh_gradient(y=tanh_c, dy=dh_t * o)
            di = sigmoid_gradient(y=i, dy=dc_t * g)
            df = sigmoid_gradient(y=f, dy=dc_t * c_before)
            dg = tanh_gradient(y=g, dy=dc_t * i)
            do = sigmoid_gradient(y=o, dy=dh_t * tanh_c)
            dz = tf.concat([di, df, dg, do], axis=-1)
            if mask is not None:
                valid = slices[7]
                dz = tf.where(valid, dz, tf.zeros_like(dz))
                dh_next = tf.matmul(dz, recurrent_kernel, transpose_b=True)
                return before(tf.where(valid, dh_next, dh), tf.where(valid, dc_t * f, dc)), (dz,)
            return before(tf.matmul(dz, recurrent_kernel, transpose_b=True), dc_t * f), (dz,)

        # The output in padding is zero, so its gradient has no effect.
        sequences = _present(dy, *gates, cells, cells_before, mask, first and first.steps)
        carry: Carry = (dh, dc)
        if first is not None and first.to_initial:
            carry = (*carry, tf.zeros_like(dh), tf.zeros_like(dc))
        like = tf.concat([h0, h0, h0, h0], axis=-1)
        (dh0, dc0, *of_initial), (dz,) = self.scan(step, carry, sequences, (like,), not reverse)
        if of_initial:
            dh0, dc0 = dh0 + of_initial[0], dc0 + of_initial[1]
        flat = tf.reshape(dz, [-1, dz.shape[-1]])
        return LayerInputs(
            tf.reshape(tf.matmul(flat, kernel, transpose_b=True), tf.shape(x)),
            (dh0, dc0),
            (
                tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), flat, transpose_a=True),
                tf.matmul(tf.reshape(hidden_before, [-1, h0.shape[-1]]), flat, transpose_a=True),
                tf.reduce_sum(flat, axis=0),
            ),
        )


def _present(*tensors: Tensor | None) -> Slices:
    """Return the tensors that are not None."""
    return tuple(each for each in tensors if each is not None)


def by_loop(
    backend: LoopBackend,
    inputs: LayerInputs,
    mask: Tensor | None,
    reverse: bool,
    cell: Cell = DEFAULT,
) -> Outputs:
    """Compute one layer with a loop, which takes any mask ``[T, B, 1]``."""
    # A loop needs only the mask, and no lengths.
    padding = None if mask is None else PaddingMask(None, mask)
    call = Call(inputs.x, inputs.states)
    return backend.layer(call, inputs.parameters, padding, reverse, cell)


def shift(states: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    """Return the state before each step.

    This is ``[T, B, H]``, shifted by one step, with the initial state first.
    """
    import tensorflow as tf

    if reverse:
        return tf.concat([states[1:], initial[None]], axis=0)
    return tf.concat([initial[None], states[:-1]], axis=0)


def project(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Multiply an input ``[T, B, in]`` by the kernel in one product, and add the bias.

    The result is ``[T, B, 4H]``.
    """
    import tensorflow as tf

    shape = tf.shape(x)
    flat = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel) + bias
    return tf.reshape(flat, [shape[0], shape[1], kernel.shape[-1]])


@functools.cache
def operations() -> Operations:
    """Return TensorFlow's functions for the equations of a cell."""
    import tensorflow as tf

    return Operations(tf.sigmoid, tf.tanh, functools.partial(tf.split, axis=-1))


def split_gates(z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gates i, f, g, o from the sums before them, ``[B, 4H]``."""
    import tensorflow as tf

    i, f, g, o = tf.split(z, 4, axis=-1)
    return tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)


def lstm_states(gates: tuple[Tensor, Tensor, Tensor, Tensor], c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the new h and c from the gates and the previous cell state."""
    import tensorflow as tf

    i, f, g, o = gates
    c = f * c + i * g
    return o * tf.tanh(c), c


# -- the loops


class WhileLoop(LoopBackend):
    """Loop with ``tf.while_loop``, one timestep an iteration, as ``tf.nn.dynamic_rnn`` does."""

    strategy = "while_loop"
    summary = "tf.while_loop over tensor arrays, one timestep an iteration"
    listed = ("", "+preproject", "+hoisted", "+xla", "+preproject+xla", "+hoisted+xla")

    def scan(
        self, step: StepFunction, carry: Carry, sequences: Slices, outputs: Slices, reverse: bool
    ) -> tuple[Carry, Slices]:
        loop = TimeLoop(sequences, outputs, reverse)
        return loop.stack(*loop.run(step, carry, loop.empty(), 0, loop.timesteps))


class TimeLoop:
    """Run ``tf.while_loop`` over the time axis of sequences, in one or more parts."""

    def __init__(self, sequences: Slices, outputs: Slices, reverse: bool) -> None:
        import tensorflow as tf

        self._tf = tf
        self._outputs = outputs
        self._reverse = reverse
        first = sequences[0]
        # XLA can bound the loop only if its length is a static number, and the gradient needs a
        # bound.
        self.timesteps = tf.shape(first)[0] if first.shape[0] is None else first.shape[0]
        self._inputs = [
            tf.TensorArray(
                sequence.dtype, self.timesteps, element_shape=sequence.shape[1:]
            ).unstack(sequence)
            for sequence in sequences
        ]

    def empty(self) -> Slices:
        """Return empty tensor arrays for the outputs of the steps."""
        return tuple(
            self._tf.TensorArray(
                like.dtype, self.timesteps, element_shape=like.shape, clear_after_read=False
            )
            for like in self._outputs
        )

    def run(
        self,
        step: StepFunction,
        carry: Carry,
        arrays: Slices,
        start: Tensor | int,
        iterations: Tensor | int,
        steps_per_iteration: int = 1,
    ) -> tuple[Carry, Slices]:
        """Run iterations of the loop from step ``start`` on, each of some timesteps."""
        tf = self._tf
        width = len(carry)

        def body(turn: Tensor, *state: Tensor) -> Slices:
            carry, arrays = state[:width], state[width:]
            for offset in range(steps_per_iteration):
                t = start + turn * steps_per_iteration + offset
                if self._reverse:
                    t = self.timesteps - 1 - t
                carry, out = step(carry, tuple(array.read(t) for array in self._inputs))
                arrays = tuple(
                    array.write(t, value) for array, value in zip(arrays, out, strict=True)
                )
            return (turn + 1, *carry, *arrays)

        _, *state = tf.while_loop(
            lambda turn, *_: turn < iterations,
            body,
            (tf.constant(0), *carry, *arrays),
            # XLA bounds the gradient's stacks by this number. It does not accept an empty stack,
            # which 0 iterations would need.
            maximum_iterations=tf.maximum(iterations, 1),
        )
        return tuple(state[:width]), tuple(state[width:])

    def stack(self, carry: Carry, arrays: Slices) -> tuple[Carry, Slices]:
        """Return the carry unchanged, and stack each tensor array to one tensor ``[T, ...]``."""
        return carry, tuple(array.stack() for array in arrays)


class PartialUnroll(LoopBackend):
    """Loop with ``tf.while_loop``, k timesteps an iteration."""

    strategy = "partial_unroll"
    summary = "tf.while_loop, k timesteps an iteration"
    takes_number = True
    listed = ("@5", "@10", "@10+hoisted", "@10+xla")

    def scan(
        self, step: StepFunction, carry: Carry, sequences: Slices, outputs: Slices, reverse: bool
    ) -> tuple[Carry, Slices]:
        assert self.number is not None
        loop = TimeLoop(sequences, outputs, reverse)
        iterations = loop.timesteps // self.number
        done = iterations * self.number
        carry, arrays = loop.run(step, carry, loop.empty(), 0, iterations, self.number)
        # Both loops write into the same arrays, so that no array is empty, which XLA would not
        # accept.
        return loop.stack(*loop.run(step, carry, arrays, done, loop.timesteps - done))


class Scan(LoopBackend):
    """Loop with ``tf.scan`` over the timesteps."""

    strategy = "scan"
    summary = "tf.scan over the timesteps"
    listed = ("", "+xla")

    def scan(
        self, step: StepFunction, carry: Carry, sequences: Slices, outputs: Slices, reverse: bool
    ) -> tuple[Carry, Slices]:
        import tensorflow as tf

        width = len(carry)

        def body(before: Slices, slices: Slices) -> Slices:
            after, out = step(before[:width], slices)
            return (*after, *out)

        initial = (*carry, *(tf.zeros_like(like) for like in outputs))
        stacked = tf.scan(body, sequences, initializer=initial, reverse=reverse)
        last = 0 if reverse else -1
        return tuple(column[last] for column in stacked[:width]), tuple(stacked[width:])


class StaticUnroll(LoopBackend):
    """Loop in Python while the graph is traced."""

    strategy = "static_unroll"
    summary = "the loop over time unrolled into the graph"
    dynamic = False
    listed = ("", "+preproject", "+hoisted", "+xla")

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if self.xla and spec.bidirectional and spec.dtype == "float64":
            # With TensorFlow 2.21 on a CPU, outputs are wrong by 119% at hidden size 5. They are
            # right with 2.18 and 2.22.0rc0.
            return (
                "XLA compiles unrolled bidirectional float64 networks wrongly at some sizes; "
                "use while_loop+xla, or leave +xla out"
            )
        return super().refusal(spec, workload)

    def scan(
        self, step: StepFunction, carry: Carry, sequences: Slices, outputs: Slices, reverse: bool
    ) -> tuple[Carry, Slices]:
        import tensorflow as tf

        timesteps = sequences[0].shape[0]
        if timesteps is None:
            raise UnsupportedError(
                f"{self.name} needs to know the number of timesteps when it is traced; "
                "give the input a static first axis, or use while_loop"
            )
        # The sequence is unstacked once. Slicing it T times would add T strided slices and their
        # gradients.
        slices = list(zip(*(tf.unstack(sequence) for sequence in sequences), strict=True))
        results = []
        for now in reversed(slices) if reverse else slices:
            carry, out = step(carry, now)
            results.append(out)
        if reverse:
            results.reverse()
        return carry, tuple(tf.stack(column) for column in zip(*results, strict=True))
